import contextlib

import numpy as np
import pandas as pd
import pyarrow as pa

from tests.two_tower import shop
from two_tower.data import features, sources
from two_tower.data.repository import open_store

JOINED = ["customers:age", "activity:orders", "activity:recent", "products:colour", "stock:left"]


def entities(count: int) -> pd.DataFrame:
    """Random customers and products, unknown ones among them, before the first row, at and after the last."""
    rng = np.random.default_rng(0)
    minutes = rng.integers(-2, shop.EVENTS + 150, count)
    columns = {"customer": rng.integers(0, 8, count), "sku": [f"p{n}" for n in rng.integers(0, 9, count)]}
    stamps = pd.to_datetime([shop.at(int(m)) for m in minutes]).astype("datetime64[us, UTC]")
    return pd.DataFrame({**columns, "event_timestamp": stamps, "asked": np.arange(count)})


def test_the_asof_join_answers_as_feast_s_own(repo):
    features.apply(repo)
    answers = []
    with contextlib.chdir(repo), sources.ibis_session():
        for asof in (False, True):
            found = open_store(repo, asof=asof).get_historical_features(entities(300), JOINED).to_arrow()
            answers.append(found.sort_by("asked").to_pylist())
    assert answers[0] == answers[1]
    for name in (ref.split(":")[1] for ref in JOINED):
        missing = [row[name] is None for row in answers[1]]
        assert any(missing) and not all(missing)


def test_a_source_is_read_once_and_nothing_is_kept_of_what_was_asked(tmp_path):
    repo = shop.write(tmp_path / "repo")
    features.apply(repo)
    with contextlib.chdir(repo), sources.ibis_session():
        store = open_store(repo, asof=True)
        first = store.get_historical_features(entities(300), JOINED).to_arrow()
        for path in (repo / "data").glob("*.parquet"):
            path.unlink()
        kept = pa.total_allocated_bytes()
        assert store.get_historical_features(entities(300), JOINED).to_arrow() == first
        assert pa.total_allocated_bytes() == kept
