"""A hash function for integers. Samples of rows that are drawn by the hash of their keys are the same everywhere."""

import numpy as np

from two_tower.inputs import Array


def mix(x: Array) -> Array:
    """Hash integers so that every output bit depends on all input bits.

    Args:
        x: uint64 array of any shape.

    Returns:
        uint64 array of the same shape.

    Source:
        The finaliser of splitmix64: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
    """
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
