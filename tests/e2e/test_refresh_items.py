"""The refresh pipeline after a training run, step by step on this machine."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.local.runner import run as run_locally
from pipelines.refresh_items import refresh_items_in
from two_tower.releases import release

pytestmark = pytest.mark.slow


def test_a_new_item_reaches_users_without_training(run, repo: Path, tmp_path: Path) -> None:
    trained = run(
        tmp_path / "out",
        "--feature-repo",
        str(repo),
        "--set",
        "epochs=2",
        "--set",
        "min_lift=0",
    )
    assert trained.status == 0, trained.stderr
    releases = tmp_path / "out" / "releases"
    before = release.current(releases)
    new_item = add_an_item(repo)

    arguments = {"feature_repo": str(repo), "releases": str(releases), "fingerprint": "with a new item"}
    done = run_locally(refresh_items_in(shards=2), arguments, tmp_path / "refreshed", lambda *_: None)
    assert done.failed is None, done.failed.lines[-20:]
    assert done.output == release.current(releases) != before
    names = [step.name for step in done.steps]
    assert names.count("embed") == 2
    assert not {"train", "export"} & set(names)

    old, new = (json.loads((releases / one / "manifest.json").read_text()) for one in (before, done.output))
    assert new["embedding_space"] == old["embedding_space"]
    items = [pq.read_table(releases / one / "items.parquet")["item_id"].to_pylist() for one in (before, done.output)]
    assert set(items[1]) - set(items[0]) == {new_item}


def add_an_item(repo: Path) -> int:
    """A row like the first of the items' table, of an item that nobody knows yet; its id."""
    path = next(p for p in (repo / "data").glob("*.parquet") if p.stem == "items")
    table = pq.read_table(path)
    key, unknown = table.column_names.index("item_id"), pc.max(table["item_id"]).as_py() + 1
    new = table.slice(0, 1).set_column(key, "item_id", pa.array([unknown], table.schema.field("item_id").type))
    pq.write_table(pa.concat_tables([table, new]), path)
    return unknown
