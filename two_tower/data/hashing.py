"""Numbers to well-mixed numbers: whatever samples rows by their keys takes the same ones everywhere."""

import numpy as np

from two_tower.inputs import Array


def mix(x: Array) -> Array:
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): uint64, every bit depends on all."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
