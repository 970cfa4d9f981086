"""Data checks: the data gate before training, the leak gate, drift, and skew between training and serving."""

from two_tower.statistics import reference

__all__ = ["reference"]
