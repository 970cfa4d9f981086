"""Metrics of interactions that come after the training window."""

import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower.config import EvaluationConfig, PullConfig
from two_tower.errors import InputError
from two_tower.estimator.fitted import Fitted
from two_tower.estimator.fitting import REPOSITORY, TABLES
from two_tower.estimator.frames import Frame, require, to_arrow

if TYPE_CHECKING:
    from two_tower.starter.plan import Plan

_TIME = pa.timestamp("us", tz="UTC")


def evaluate(
    fitted: Fitted, interactions: Frame | str | Path, pull: PullConfig, config: EvaluationConfig
) -> dict[str, dict[str, float]]:
    """Rank interactions after the validation window of `fit`; see `TwoTowerRecommender.evaluate`."""
    from two_tower.data import features
    from two_tower.evaluation.evaluate import evaluate as evaluate_towers

    bounds = fitted.release.manifest.bounds
    train_end, start = (datetime.fromisoformat(bounds[name]) for name in ("train_end", "validation_end"))
    is_path = isinstance(interactions, str | Path)
    if is_path != (fitted.plan is None):
        expected = "a table of interactions" if fitted.plan else "the path of a Feast repository"
        raise InputError(f"evaluate() takes what fit() took: {expected}; got {type(interactions).__name__}.")
    with tempfile.TemporaryDirectory(prefix="two-tower-evaluate-") as scratch:
        repo = Path(interactions).resolve() if is_path else Path(scratch) / "repo"
        if fitted.plan:
            start = _write_repository(fitted, fitted.plan, to_arrow("interactions", interactions), start, repo)
        pulled = features.pull(repo, pull, None, Path(scratch) / "pulled", (train_end, start))
        return evaluate_towers(pulled, fitted.release.folder, None, config).metrics


def _write_repository(fitted: Fitted, plan: "Plan", events: pa.Table, start: datetime, repo: Path) -> datetime:
    """Write the repository of `fit` with `events` and the interactions of `fit` before the first ranked one.

    Args:
        fitted: The opened folder of a fitted estimator.
        plan: The role and encoding of each column.
        events: Interactions to rank, from `start` on; earlier ones become part of the users' history.
        start: End of the validation window.
        repo: Output folder.

    Returns:
        The time of the first interaction that is ranked.
    """
    from two_tower.datasets.prepare import write_sources
    from two_tower.starter.build import build

    tables = fitted.folder / TABLES
    time = plan.interactions.role("time").source
    require("interactions", events, [fitted.user_column, fitted.item_column, time])
    moments = _moments(plan, events)
    later = events.filter(pc.greater_equal(moments, pa.scalar(start, _TIME)))
    if not later.num_rows:
        raise InputError(
            f"interactions: none of {events.num_rows} is after the training and validation windows of fit(), which end "
            f"at {start.isoformat()}. Pass later interactions."
        )
    first: datetime = pc.min(_moments(plan, later)).as_py()
    fitted_events = pq.read_table(tables / "interactions.parquet")
    history = fitted_events.filter(pc.less(_moments(plan, fitted_events), pa.scalar(first, _TIME)))
    try:
        events = pa.concat_tables([history, events.select(_shared(history, events))], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"interactions: the type of a column differs from fit(): {error}.") from error
    read = {"event": events} | {
        who: pq.read_table(tables / f"{who}s.parquet") for who in ("user", "item") if getattr(plan, f"{who}s")
    }
    repo.mkdir()
    for name in ("definitions.py", "feature_store.yaml"):
        shutil.copyfile(fitted.folder / REPOSITORY / name, repo / name)
    write_sources(build(plan, read), repo / "data")
    return first


def _shared(history: pa.Table, events: pa.Table) -> list[str]:
    return [name for name in events.column_names if name in history.column_names]


def _moments(plan: "Plan", events: pa.Table) -> pa.Array:
    """The time of each interaction, microseconds in UTC."""
    from two_tower.starter import values

    column = plan.interactions.role("time")
    return values.read_as(events[column.source], column.source, column.kind).array.cast(_TIME)
