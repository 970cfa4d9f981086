"""Settings of the pull and validate steps."""

from dataclasses import dataclass
from typing import Annotated, Literal

from two_tower.config.fields import Bounds
from two_tower.config.section import Section

_Fraction = Annotated[float, Bounds(above=0, below=1)]


@dataclass(frozen=True, kw_only=True)
class PullConfig(Section):
    """Data: how the interactions are split, and what the data gate compares them with."""

    train_fraction: _Fraction = 0.8
    """Share of the interactions, the oldest ones, that training uses. Together with validation_fraction it must stay
    below 1; the rest is the test window. Lower it if the test window has too few interactions. Without times, it is a
    random share of the interactions of each user."""

    validation_fraction: _Fraction = 0.1
    """Share of the interactions, those after the training window, on which early stopping and `two-tower tune` measure
    recall. Each window needs at least 20 interactions. Raise it if the recall varies too much to compare epochs."""

    index_refreshes: Annotated[int, Bounds(at_least=1, at_most=1000)] = 8
    """Number of times that evaluation refreshes the item index within the test window, at equal distances. With the
    default, a test window of 20 days has a refresh every 2.2 days. Set it to how often your refresh job would run in
    that time: for a nightly job, to the number of days of the test window."""

    split_seed: Annotated[int, Bounds(at_least=0, at_most=2**32 - 1)] = 0
    """Seed of the per-user holdout, the split of interactions without times. The split by time ignores it. Change it to
    see how much the metrics vary with the split."""

    compare_with: Literal["release", "nothing"] = "release"
    """Reference of the data gate: the data of the current release, or nothing. Set it to `nothing` for one run, to
    accept an intended change of the data."""

    def check(self) -> None:
        room = 1 - self.train_fraction
        self.require(
            self.validation_fraction < room,
            "validation_fraction",
            f"below {room:.3g}, for train_fraction={self.train_fraction}",
        )
