"""The point-in-time join of a feature service, in the order of its entity rows."""

import contextlib
import io

import numpy as np
import pandas as pd
import pyarrow as pa
from feast import FeatureStore

from two_tower.data.repository import service

_TIME, _ROW = "two_tower_time", "two_tower_row"  # columns of the entity dataframe; no feature has such a name


def historical_features(
    store: FeatureStore, service_name: str, key: str, keys: pa.Array | pa.ChunkedArray, stamps: pa.Array
) -> pa.Table:
    """Read the features of a service as of a time for each key.

    Args:
        store: The feature store.
        service_name: The name of the feature service.
        key: The join key.
        keys: (rows,) keys.
        stamps: (rows,) timestamps.

    Returns:
        Table with one row per key, in the order of `keys`, and one column per feature.
    """
    entities = pd.DataFrame({key: keys.to_pandas(), _TIME: stamps.to_pandas(), _ROW: np.arange(len(keys))})
    with contextlib.redirect_stdout(io.StringIO()):  # Feast prints the name of the timestamp column
        joined = store.get_historical_features(entity_df=entities, features=service(store, service_name)).to_arrow()
    assert joined.num_rows == len(keys), "a point-in-time join returns one row per entity row"
    rows = joined[_ROW].to_numpy()
    if (rows[1:] < rows[:-1]).any():  # a warehouse may return the rows in any order
        joined = joined.take(pa.array(np.argsort(rows)))
    return joined.drop_columns([key, _TIME, _ROW])
