"""Fixtures: the application on hand-written releases, with and without a real Feast online store."""

import pytest

from tests.devices import DEVICES
from tests.serving.making import made
from tests.serving.running import opened
from tests.serving.shelves import stocked


@pytest.fixture(scope="session")
def feast_repo(tmp_path_factory):
    """A Feast repository whose SQLite online store holds USERS."""
    return stocked(tmp_path_factory.mktemp("feast"))


@pytest.fixture
def releases(tmp_path):
    return tmp_path / "releases"


@pytest.fixture
def release(releases, tmp_path):
    """The id of a current release without a feature store."""
    return made(releases, tmp_path / "parts")


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.fixture
def client(releases, release, device):
    with opened(releases, device=device) as client:
        yield client


@pytest.fixture
def with_store(releases, tmp_path, feast_repo, device):
    """Client of a service whose release refers to the feature store."""
    made(releases, tmp_path / "parts", feast_repo)
    with opened(releases, device=device) as client:
        yield client
