"""Data checks: the data gate before training, the leak gate, drift, and skew between training and serving."""

from two_tower.statistics import reference  # scripts of version 0.1 import it from here

__all__ = ["reference"]
