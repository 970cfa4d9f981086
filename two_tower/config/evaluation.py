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

    baseline_seconds: NonNegative = 60.0
    """Time in seconds for choosing the settings of the baselines on the validation window. Each is fitted at least
    once. Raise it for large data, where a fit takes long: with fewer comparisons, the baselines are weaker."""

    min_lift: NonNegative = 1.0
    """Multiple of the popularity baseline's recall@20 that the model's recall@20 has to exceed. With 0, any recall
    above 0 passes, and no baseline holds the model back. Raise it if a model is only worth serving well above
    popularity."""

    baseline_tolerance: Share = 0.05
    """Share by which recall@20 may lie below that of each baseline other than popularity (`item_knn`, `cooccurrence`,
    `ease`), in addition to the 95 % interval of the difference. Below a baseline by less, the verdict has a warning.
    Lower it to 0 to promote only models that no baseline beats beyond noise; 1 turns the comparison off."""

    tolerance: Share = 0.0
    """Share by which recall@20 may lie below that of the current release, in addition to the 95 % interval of the
    difference. Raise it to promote a model that is somewhat worse but better in another respect, such as fresher
    data."""
