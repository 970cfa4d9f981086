import numpy as np

from two_tower.data.hashing import mix


def test_the_hash_is_splitmix64() -> None:
    """The first outputs of the published generator with seed 0: its state grows by a constant before each output."""
    state = np.cumsum(np.full(3, 0x9E3779B97F4A7C15, dtype=np.uint64))
    assert [hex(x) for x in mix(state).tolist()] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f"]
