"""A stand-in cluster, and two releases that are real files."""

from pathlib import Path

import pytest

from tests.two_tower import parts
from tests.two_tower.cluster import cluster
from two_tower.deployment import kserve, kubernetes
from two_tower.releases import release


@pytest.fixture
def kube():
    with cluster() as running:
        yield running


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kserve, "POLL_INTERVAL", 0.01)
    monkeypatch.setattr(kubernetes, "FIRST_PAUSE", 0.01)


@pytest.fixture
def releases(tmp_path: Path) -> tuple[str, str, str]:
    """A folder under its URL, for pods need one, and two releases in it."""
    where = f"file://{tmp_path}/releases"
    made = [
        release.publish(where, [parts.write(tmp_path / name, prefix=name)], parts.manifest()) for name in ("a", "b")
    ]
    return where, *made
