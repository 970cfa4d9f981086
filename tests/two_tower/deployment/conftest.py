"""A stand-in cluster, and two releases that are real files."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.two_tower import parts
from tests.two_tower.cluster import Cluster, cluster
from two_tower.deployment import kubernetes, readiness, smoke_test
from two_tower.releases import release
from two_tower.releases.item_index import embed_items
from two_tower.retrieval.index import build


@pytest.fixture
def kube():
    with cluster() as running:
        yield running


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "POLL_INTERVAL", 0.01)
    monkeypatch.setattr(smoke_test, "PAUSE", 0.0)
    monkeypatch.setattr(kubernetes, "FIRST_PAUSE", 0.01)


@pytest.fixture
def releases(tmp_path: Path, kube: Cluster) -> tuple[str, str, str]:
    """A folder under its URL, for pods need one, and two releases in it."""
    where = kube.releases = f"file://{tmp_path}/releases"
    made = [release.publish(where, [consistent(tmp_path / name, prefix=name)], parts.manifest()) for name in ("a", "b")]
    return where, *made


def consistent(folder: Path, prefix: str = "i") -> Path:
    """The files of a release whose index has the embeddings of its item tower."""
    parts.write(folder, prefix=prefix)
    items = pq.read_table(folder / "items.parquet")
    embedded = embed_items(folder, items, parts.CONTRACT, np.zeros(items.num_rows, dtype=np.int64))
    build(embedded, "dot", "space-1", folder / "index.onnx")
    return folder
