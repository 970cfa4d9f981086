"""Joint losses of both towers, one file each; `LOSSES` has them by name."""

from two_tower.losses.bpr import BPR
from two_tower.losses.contrastive import Contrastive
from two_tower.losses.cosine_contrastive import CosineContrastive
from two_tower.losses.info_nce import InfoNCE
from two_tower.losses.joint import JointLoss
from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.pointwise import Pointwise
from two_tower.losses.protocol import LOSSES, Loss, LossInputs
from two_tower.losses.sampled_softmax import SampledSoftmax
from two_tower.losses.similarity import distance, paired, similarity, weighted_mean
from two_tower.losses.triplet import Triplet

__all__ = [
    "BPR",
    "LOSSES",
    "Contrastive",
    "CosineContrastive",
    "InfoNCE",
    "JointLoss",
    "Loss",
    "LossInputs",
    "Pointwise",
    "SampledSoftmax",
    "Triplet",
    "distance",
    "mean_of_negatives",
    "paired",
    "similarity",
    "weighted_mean",
]
