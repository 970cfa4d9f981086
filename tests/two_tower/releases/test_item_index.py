import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from two_tower.errors import InputError
from two_tower.releases.item_index import build_index, embed_items, embed_users, query_users
from two_tower.retrieval.index import Index


def test_batches_do_not_change_the_embeddings(world, exported):
    whole = embed_users(exported, world.user, world.contract, world.seconds)
    parts = embed_users(exported, world.user, world.contract, world.seconds, batch=7)
    assert whole.shape == (200, 16) and whole.dtype == np.float32
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_an_age_depends_on_when_it_is_asked(world, exported):
    early = embed_items(exported, world.item, world.contract, world.seconds)
    late = embed_items(exported, world.item, world.contract, world.seconds + 30 * 86_400)
    assert np.abs(late - early).max() > 1e-3


def test_no_rows_give_no_embeddings(world, exported):
    none = world.user.slice(0, 0)
    assert embed_users(exported, none, world.contract, world.seconds[:0]).shape == (0, 16)


def test_vectors_all_missing_or_of_another_width(world, exported):
    place = world.user.column_names.index("portrait")
    missing = world.user.set_column(place, "portrait", pa.nulls(200, world.user["portrait"].type))
    assert np.isfinite(embed_users(exported, missing, world.contract, world.seconds)).all()
    wide = missing.set_column(place, "portrait", pa.array([[1.0] * 5] * 200, world.user["portrait"].type))
    with pytest.raises(InputError, match="'portrait' has vectors of width 5; the tower was trained on width 3"):
        embed_users(exported, wide, world.contract, world.seconds)


def test_the_index_of_the_newest_catalogue(world, exported, tmp_path):
    build_index(exported, world, tmp_path)
    found = Index(tmp_path / "index.onnx")
    items = pq.read_table(tmp_path / "items.parquet")
    assert (found.items, found.embedding_space, found.similarity) == (items.num_rows, "space-1", "cosine")
    assert items.column_names == ["item_id", "item", "price", "made", "popularity"]
    seconds = np.full(items.num_rows, int(world.bounds.as_of.timestamp()))
    embedding = embed_items(exported, items, world.contract, seconds)
    rows, scores = found.search(embedding, k=1)
    assert rows[:, 0].tolist() == list(range(items.num_rows))
    np.testing.assert_allclose(scores, 1, atol=1e-5)
    profile = json.loads((tmp_path / "profile.json").read_text())
    assert profile["item"]["rows"] == items.num_rows and profile["user"]["rows"] == 160


def test_the_approximate_index_is_compared_for_users(world, exported, tmp_path):
    build_index(exported, world, tmp_path)
    assert json.loads((tmp_path / "choice.json").read_text())["queries"] == "users"
    users = query_users(exported, world)
    everyone = embed_users(exported, world.user, world.contract, world.seconds)
    assert users.shape == (64, everyone.shape[1])
    assert all(np.isclose(everyone, user, atol=1e-6).all(axis=1).any() for user in users)


def test_popularity_counts_thirty_days(world, exported, tmp_path):
    """The interactions lie an hour apart, so all 200 are within thirty days; i9 has none."""
    build_index(exported, world, tmp_path)
    items = pq.read_table(tmp_path / "items.parquet")
    expected = {
        item: pc.sum(pc.equal(world.interactions["item_id"], item)).as_py() or 0
        for item in items["item_id"].to_pylist()
    }
    assert dict(zip(items["item_id"].to_pylist(), items["popularity"].to_pylist(), strict=True)) == expected
    assert expected["i9"] == 0 and sum(expected.values()) == 200
