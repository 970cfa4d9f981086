from pathlib import Path

import pytest

from tests.two_tower import shop
from tests.two_tower.data.pulling import CONFIG
from two_tower.data import features
from two_tower.data.pulled import Pulled


@pytest.fixture(scope="session")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop.write(tmp_path_factory.mktemp("shop") / "repo")


@pytest.fixture(scope="session")
def pulled(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Pulled:
    return features.pull(repo, CONFIG, None, tmp_path_factory.mktemp("pulled"))
