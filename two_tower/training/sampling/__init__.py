"""Draws batches and their negatives from the training positives."""

from two_tower.training.sampling.negatives import NEGATIVES, BatchSampler, Candidates, Sample, Sampler
from two_tower.training.sampling.samplers import (
    HardSampler,
    MixedSampler,
    OwnSampler,
    PopularitySampler,
    QueueSampler,
    UniformSampler,
)

__all__ = [
    "NEGATIVES",
    "BatchSampler",
    "Candidates",
    "HardSampler",
    "MixedSampler",
    "OwnSampler",
    "PopularitySampler",
    "QueueSampler",
    "Sample",
    "Sampler",
    "UniformSampler",
]
