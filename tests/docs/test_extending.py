"""The example of the page on extending runs as it is shown."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from tests.two_tower.worlds import checkerboard
from two_tower.config import TrainConfig
from two_tower.training.train import train

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The modules of the page, in a folder that Python imports from."""
    for name, code in re.findall(r"`(\w+)\.py`:\n\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield
    for name in ("my_plugins", "test_my_plugins"):
        sys.modules.pop(name, None)


def test_the_plug_ins_pass_their_contract_tests(example):
    importlib.import_module("test_my_plugins").test_plugins()


def test_training_takes_them(example, tmp_path):
    settings = {"loss": "HingeLoss", "negatives": "WithRandomItems", "history": "LastItems", "callbacks": "Curve"}
    config = TrainConfig(**{name: f"my_plugins:{value}" for name, value in settings.items()}, epochs=2, device="cpu")
    train(checkerboard(users=20, items=40, per_user=16), config, tmp_path / "model")
    assert len((tmp_path / "curve.txt").read_text().splitlines()) == 2
