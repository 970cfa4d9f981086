"""Settings of the evaluate and promote steps."""

from dataclasses import dataclass
from typing import Annotated

from two_tower.config.fields import Bounds, NonNegative, Share
from two_tower.config.section import Section


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Section):
    """Evaluation: what the promotion gate requires of a new model."""

    bootstrap_samples: Annotated[int, Bounds(at_least=10)] = 500
    """Number of bootstrap resamples of the users for each 95 % interval. More samples give steadier intervals and take
    longer."""

    min_lift: NonNegative = 1.0
    """Multiple of the popularity baseline's recall@20 that the model's recall@20 has to exceed. With 0, any recall
    above 0 passes. Raise it if a model is only worth serving well above popularity."""

    tolerance: Share = 0.0
    """Share by which recall@20 may lie below that of the current release, in addition to the 95 % interval of the
    difference. Raise it to promote a model that is somewhat worse but better in another respect, such as fresher
    data."""
