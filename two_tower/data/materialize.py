"""Write the online store after a training run, from the same sources as training. `online` reads the store."""

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

_EARLIEST = datetime(1700, 1, 1, tzinfo=UTC)  # before any feature row, and within the range of pandas timestamps
_PROBED = 20  # keys to look up in the online store
_MARGIN = timedelta(seconds=1)  # the timestamps of rows about the last event are just after it


def materialize(repo: Path, as_of: datetime) -> dict[str, int]:
    """Write the newest row of each key to the online store, for every feature view with online=True.

    Applies the definitions of the repository first. Materialisation is incremental: the registry records up to when a
    view is materialised, and only later rows are written, unless the online store has lost the view. A row replaces
    the older row of its key, so writing a view again does not duplicate rows.

    Args:
        repo: The folder of the Feast feature repository.
        as_of: Rows up to this time, plus one second, are written. A time without a time zone is UTC.

    Returns:
        The number of written rows (distinct keys) per feature view.

    Raises:
        InputError: If a store cannot be reached. Views that are already written stay written; the next call continues
            with the others.
    """
    end = (as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)) + _MARGIN
    store = apply(repo)
    counts = {}
    with contextlib.chdir(repo), sources.ibis_session():
        for source in store.list_feature_views():
            if source.online:
                sys.stderr.write(f"materialize: {source.name} …\n")
                failure = f"cannot write feature view {source.name!r} to the online store of {repo.name}"
                next_step = "Start the store and run materialise again; it continues with this view."
                with stores.as_input_error(failure, next_step):
                    counts[source.name] = _write(store, source, end)
    return counts


def _write(store: FeatureStore, source: FeatureView, end: datetime) -> int:
    """Materialise one view up to `end`, and return the number of written keys."""
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
    """Return whether the online store has rows for a sample of the view's keys: the first, the last, and between."""
    sample = keys.take(pa.array(np.linspace(0, keys.num_rows - 1, min(_PROBED, keys.num_rows)).astype(np.int64)))
    name = source.features[0].name
    response = store.get_online_features([f"{source.name}:{name}"], sample.to_pylist())
    return all(response.to_dict(include_event_timestamps=True)[f"{name}__ts"])


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Suppress the progress bars of Feast, which it writes to standard output and standard error."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
