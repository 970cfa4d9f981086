"""The online store, written after a training run. Reads what training reads with; see `online` for the other end."""

import contextlib
import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from feast import FeatureStore

from two_tower import sources
from two_tower.repository import apply

_EARLIEST = datetime(1700, 1, 1, tzinfo=UTC)  # before any feature row, and within pandas' nanoseconds
_MARGIN = timedelta(seconds=1)  # rows about the last event are stamped just after it


def materialize(repo: Path, as_of: datetime) -> dict[str, int]:
    """Write the newest row of each key at or before as_of, and a second more, to the online store.

    Every feature view with online=True is written; applies the repository's definitions first.
    Returns rows (distinct keys) per view.
    """
    end = (as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)) + _MARGIN
    store = apply(repo)
    counts = {}
    with contextlib.chdir(repo), sources.ibis_session():
        for source in store.list_feature_views():
            if source.online:
                sys.stderr.write(f"materialize: {source.name} …\n")
                with _quietly():
                    store.materialize(_EARLIEST, end, feature_views=[source.name])
                keys = [column.name for column in source.entity_columns]
                counts[source.name] = _count_distinct(store, source, keys, end)
    return counts


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without Feast's progress bars, which are drawn on both streams."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _count_distinct(store: FeatureStore, source: Any, keys: list[str], end: datetime) -> int:
    table = sources.read(store, source, keys, until=end)
    if len(keys) == 1:
        return int(pc.count_distinct(table[keys[0]]).as_py())
    return int(table.select(keys).group_by(keys).aggregate([]).num_rows)
