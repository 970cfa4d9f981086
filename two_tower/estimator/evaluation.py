"""Metrics of interactions that come after the training window."""

import shutil
import tempfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower.config import EvaluationConfig, PullConfig
from two_tower.data.pulled import EVENT_TIMESTAMP
from two_tower.errors import InputError
from two_tower.estimator.fitted import Fitted
from two_tower.estimator.fitting import REPOSITORY, TABLES
from two_tower.estimator.frames import Frame, require, to_arrow

if TYPE_CHECKING:
    from two_tower.datasets.tables import Tables
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
    ends: tuple[datetime, datetime] | None = None
    is_path = isinstance(interactions, str | Path)
    if is_path != (fitted.plan is None):
        expected = "a table of interactions" if fitted.plan else "the path of a Feast repository"
        raise InputError(f"evaluate() takes what fit() took: {expected}; got {type(interactions).__name__}.")
    with tempfile.TemporaryDirectory(prefix="two-tower-evaluate-") as scratch:
        repo = Path(interactions).resolve() if is_path else Path(scratch) / "repo"
        if fitted.plan and fitted.plan.read_at:
            ends = _write_without_times(fitted, fitted.plan, to_arrow("interactions", interactions), repo)
        elif fitted.plan:
            ends = (
                train_end,
                _write_repository(fitted, fitted.plan, to_arrow("interactions", interactions), start, repo),
            )
        elif bounds.get("split", "time") == "time":
            ends = train_end, start
        pulled = features.pull(repo, pull, None, Path(scratch) / "pulled", ends)
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
    fitted_events = pq.read_table(fitted.folder / TABLES / "interactions.parquet")
    history = fitted_events.filter(pc.less(_moments(plan, fitted_events), pa.scalar(first, _TIME)))
    _write(fitted, _tables(fitted, plan, history, events), repo)
    return first


def _write_without_times(
    fitted: Fitted, plan: "Plan", events: pa.Table, repo: Path
) -> tuple[datetime, datetime] | None:
    """Write the repository of `fit` with the interactions in `events` that `fit` did not have, one second later.

    Returns:
        The time of the interactions of `fit`, twice. None if `events` has no others.
    """
    require("interactions", events, [fitted.user_column, fitted.item_column])
    keys = [plan.user_key, plan.item_key]
    known = pq.read_table(fitted.folder / TABLES / "interactions.parquet")
    tables, fitted_tables = _tables(fitted, plan, known, events), _tables(fitted, plan, known, known.slice(0, 0))
    new = tables.interactions.join(fitted_tables.interactions.select(keys), keys, join_type="left anti")
    if not new.num_rows:
        _write(fitted, fitted_tables, repo)
        return None
    at = pc.max(new[EVENT_TIMESTAMP]).as_py()
    later = pa.repeat(pa.scalar(at + timedelta(seconds=1), _TIME), new.num_rows)
    new = new.set_column(new.column_names.index(EVENT_TIMESTAMP), EVENT_TIMESTAMP, later)
    _write(fitted, replace(tables, interactions=pa.concat_tables([fitted_tables.interactions, new])), repo)
    return at, at


def _tables(fitted: Fitted, plan: "Plan", history: pa.Table, events: pa.Table) -> "Tables":
    """Return the tables of the repository of `fit` with other interactions: `history` and `events`."""
    from two_tower.starter.build import build

    try:
        events = pa.concat_tables([history, events.select(_shared(history, events))], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"interactions: the type of a column differs from fit(): {error}.") from error
    own = [who for who in ("user", "item") if getattr(plan, f"{who}s")]
    return build(
        plan, {"event": events} | {who: pq.read_table(fitted.folder / TABLES / f"{who}s.parquet") for who in own}
    )


def _write(fitted: Fitted, tables: "Tables", repo: Path) -> None:
    from two_tower.datasets.prepare import write_sources

    repo.mkdir()
    for name in ("definitions.py", "feature_store.yaml"):
        shutil.copyfile(fitted.folder / REPOSITORY / name, repo / name)
    write_sources(tables, repo / "data")


def _shared(history: pa.Table, events: pa.Table) -> list[str]:
    return [name for name in events.column_names if name in history.column_names]


def _moments(plan: "Plan", events: pa.Table) -> pa.Array:
    """The time of each interaction, microseconds in UTC."""
    from two_tower.starter import values

    column = plan.interactions.role("time")
    return values.read_as(events[column.source], column.source, column.kind).array.cast(_TIME)
