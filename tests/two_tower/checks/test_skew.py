"""Four ways in which training and serving part, each planted by hand and named, in a real store and service."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn
from onnx import helper, parser

from serving.http.web import create_app
from tests.serving.running import wait_until_ready
from tests.two_tower import parts
from tests.two_tower.starter import tables
from two_tower.checks.skew import check
from two_tower.data.features import contract
from two_tower.data.materialize import materialize
from two_tower.data.online_config import online_config
from two_tower.data.repository import apply
from two_tower.releases import item_index
from two_tower.releases.release import Release, activate, publish
from two_tower.retrieval.index import build
from two_tower.starter.create import create
from two_tower.starter.options import Options

AS_OF = tables.when(tables.EVENTS - 1)
# A user is an angle: events so far, and the items of the history; an item is the angle of its id.
USER = """
<ir_version: 10, opset_import: ["" : 21]>
user (int64[batch, length] recent_items, int64[batch] user_events, int64[batch] last_seen, int64[batch] event_time)
  => (float[batch, 2] embedding)
<int64 zero = {0}, int64[1] last = {1}, float turn = {%s}>
{
  there = Greater(recent_items, zero)
  known = Where(there, recent_items, zero)
  items = ReduceSum <keepdims = 0> (known, last)
  whole = Add(items, user_events)
  number = Cast <to = 1> (whole)
  angle = Mul(number, turn)
  x = Cos(angle)
  y = Sin(angle)
  columns = Unsqueeze(x, last)
  rows = Unsqueeze(y, last)
  embedding = Concat <axis = 1> (columns, rows)
}
"""
ITEM = """
<ir_version: 10, opset_import: ["" : 21]>
item (int64[batch] item, int64[batch] first_seen, int64[batch] item_events_7d, int64[batch] item_events_30d,
      int64[batch] item_events, int64[batch] event_time) => (float[batch, 2] embedding)
<int64[1] last = {1}, float turn = {0.31}>
{
  number = Cast <to = 1> (item)
  angle = Mul(number, turn)
  x = Cos(angle)
  y = Sin(angle)
  columns = Unsqueeze(x, last)
  rows = Unsqueeze(y, last)
  embedding = Concat <axis = 1> (columns, rows)
}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `repo`, materialised."""
    folder = tmp_path_factory.mktemp("skew")
    create(folder / "repo", Options(interactions=tables.events(folder)))
    materialize(folder / "repo", AS_OF)
    return folder


def released(folder: Path, repo: Path, *, turn: float = 0.17, index_turn: float = 0.0) -> tuple[Path, str]:
    """The releases' folder and the id of a release whose towers turn users by so much, and the index likewise."""
    schema = contract(apply(repo))
    files = folder / f"parts-{turn}-{index_turn}"
    files.mkdir()
    said = {"embedding_space": "space-1", "contract": schema.to_json(), "similarity": "dot"}
    for tower, text in (("user", USER % turn), ("item", ITEM)):
        model = parser.parse_model(text)
        helper.set_model_props(model, said)
        onnx.save(model, files / f"{tower}_tower.onnx")
    items = pa.table({"sku": list(range(tables.ITEMS)), "item": list(range(tables.ITEMS))})
    for f in schema.item[1:]:
        items = items.append_column(f.name, pa.array([None] * len(items), parts.ARROW_TYPES[f.dtype]))
    embedded = item_index.embed_items(files, items, schema, np.zeros(len(items), dtype=np.int64))
    turned = np.array([[np.cos(index_turn), np.sin(index_turn)], [-np.sin(index_turn), np.cos(index_turn)]])
    build((embedded @ turned).astype(np.float32), "dot", "space-1", files / "index.onnx")
    pq.write_table(items.append_column("popularity", pa.array([1.0] * len(items))), files / "items.parquet")
    (files / "feature_store.yaml").write_text(online_config(repo))
    manifest = parts.manifest(contract=schema, bounds={"as_of": AS_OF.isoformat()})
    one = publish(folder / "releases", [files], manifest)
    activate(folder / "releases", one)
    return folder / "releases", one


@contextmanager
def serving(releases: Path) -> Iterator[str]:
    config = uvicorn.Config(create_app(str(releases)), port=0, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    wait_until_ready(address)
    yield address
    server.should_exit = True
    thread.join(10)


def release(releases: Path, one: str) -> Release:
    return Release.read(releases / one)


def edit(path: Path, change: Callable[[str], str]) -> None:
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))


@pytest.mark.slow
def test_what_agrees_passes_and_what_parts_is_named_by_its_layer(made: Path) -> None:
    repo = made / "repo"
    releases, one = released(made, repo)
    trained = release(releases, one)
    with serving(releases) as address:
        agreed = check(repo, trained, address, users=20)
        assert agreed.passed, agreed.reasons
        assert {n: v["differ"] for n, v in agreed.details["layers"].items()} == dict.fromkeys(
            ("materialisation", "type", "encoder", "store", "index"), 0
        )

        # A release of a turned tower was meant; the service still has the first.
        _, turned = released(made, repo, turn=0.23)
        activate(releases, one)
        (encoder,) = check(repo, release(releases, turned), address, users=20).reasons
        assert encoder.startswith("encoder:")
        assert f"serves release {one}, not {turned}" in encoder

    released(made, repo, index_turn=1.5)  # the same towers, an index of something else
    with serving(releases) as address:
        (index,) = check(repo, trained, address, users=20).reasons
        assert index.startswith("index:")


def test_a_stale_store_is_named_with_its_feature(made: Path, tmp_path: Path) -> None:
    tables.events(tmp_path)
    create(tmp_path / "repo", Options(interactions=tmp_path / "orders.csv"))
    materialize(tmp_path / "repo", tables.when(200))
    releases, one = released(tmp_path, tmp_path / "repo")
    with serving(releases) as address:
        verdict = check(tmp_path / "repo", release(releases, one), address, users=20)
    assert all(reason.startswith("materialisation:") for reason in verdict.reasons), verdict.reasons
    assert any("'recent_items' is stale" in reason for reason in verdict.reasons)


def test_a_changed_type_is_named_with_its_feature(made: Path, tmp_path: Path) -> None:
    """Somebody declares the count as text and materialises, with a release that was trained on the number."""
    tables.events(tmp_path)
    repo = tmp_path / "repo"
    create(repo, Options(interactions=tmp_path / "orders.csv"))
    releases, one = released(tmp_path, repo)
    edit(
        repo / "definitions.py",
        lambda t: t.replace(
            'name="user_events", dtype=Int64, tags={"encoding": "bucketized", "buckets": "16"}',
            'name="user_events", dtype=String',
        ).replace("Int64, UnixTimestamp", "Int64, String, UnixTimestamp"),
    )
    path = repo / "data" / "user_activity.parquet"
    table = pq.read_table(path)
    texts = table["user_events"].cast(pa.string())
    pq.write_table(table.set_column(table.column_names.index("user_events"), "user_events", texts), path)
    materialize(repo, AS_OF)
    with serving(releases) as address:
        (reason,) = check(repo, release(releases, one), address, users=20).reasons
    assert reason.startswith("type: feature 'user_events'")
    assert "trained on Int64" in reason
