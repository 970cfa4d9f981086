"""The online store, written after a training run. Reads what training reads with; see `online` for the other end."""

import contextlib
import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore, FeatureView

from two_tower.data import sources, stores
from two_tower.data.repository import apply
from two_tower.schema import Dtype

_EARLIEST = datetime(1700, 1, 1, tzinfo=UTC)  # before any feature row, and within pandas' nanoseconds
_PROBED = 20
_MARGIN = timedelta(seconds=1)  # rows about the last event are stamped just after it


def materialize(repo: Path, as_of: datetime) -> dict[str, int]:
    """Write the newest row of each key at or before as_of, and a second more, to the online store.

    Every feature view with online=True is written; applies the repository's definitions first. A view that was written
    before, as the registry knows, is gone on with from then on, unless the online store has lost it. A row takes the
    place of the older one of its key, so that nothing is doubled by a view that is written again.
    Returns rows (distinct keys) written per view. Raises InputError where a store cannot be reached; views that were
    done stay so, and a rerun goes on with the rest.
    """
    end = (as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)) + _MARGIN
    store = apply(repo)
    counts = {}
    with contextlib.chdir(repo), sources.ibis_session():
        for source in store.list_feature_views():
            if source.online:
                sys.stderr.write(f"materialize: {source.name} …\n")
                doing = f"feature view {source.name!r} is written to the online store of {repo.name}"
                with stores.told(doing, "Start it, and run materialise again: it goes on with this view."):
                    counts[source.name] = _write(store, source, end)
    return counts


def _write(store: FeatureStore, source: FeatureView, end: datetime) -> int:
    """Materialise one view up to `end`; the number of keys that were written."""
    keys = [column.name for column in source.entity_columns]
    start = max((until for _, until in source.materialization_intervals), default=_EARLIEST)
    table = sources.read(store, source, keys, until=end)
    stamps = sources.cast(table.column(len(keys)), "timestamp", Dtype.TIMESTAMP)
    new = table.filter(pc.greater(stamps, pa.scalar(start, stamps.type)))
    if start > _EARLIEST and not _holds(store, source, table.select(keys)):
        start, new = _EARLIEST, table
    if new.num_rows:
        with _quietly():
            store.materialize(start, end, feature_views=[source.name])
    return int(new.select(keys).group_by(keys).aggregate([]).num_rows)


def _holds(store: FeatureStore, source: FeatureView, keys: pa.Table) -> bool:
    """Whether the online store knows a few of the view's keys, the first, the last and between."""
    some = keys.take(pa.array(np.linspace(0, keys.num_rows - 1, min(_PROBED, keys.num_rows)).astype(np.int64)))
    name = source.features[0].name
    said = store.get_online_features([f"{source.name}:{name}"], some.to_pylist()).to_dict(include_event_timestamps=True)
    return all(said[f"{name}__ts"])


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without Feast's progress bars, which are drawn on both streams."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
