from pathlib import Path

import pytest

from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.tuning.space import DEFAULT, TUNABLE, Choices, Range, Space, with_values


def test_lists_and_ranges_are_read():
    space = Space.of({"dim": [32, 64], "hidden": {"low": 8, "high": 512, "log": True}, "loss": ["bpr", "info_nce"]})
    assert space.dimensions == {
        "dim": Choices((32, 64)),
        "hidden": Range(8, 512, log=True, whole=True),
        "loss": Choices(("bpr", "info_nce")),
    }


def test_the_shipped_space_holds_the_usual_settings():
    space = Space.read(DEFAULT)
    assert len(space.dimensions) >= 8 and set(space.dimensions) <= set(TUNABLE)
    assert set(space.shared(TrainConfig())) == set(space.dimensions), "so that the first trial is the usual settings"


def test_values_of_a_configuration_in_a_space():
    space = Space.of({"dim": [32, 128], "dropout": {"low": 0.0, "high": 0.3}})
    assert space.shared(TrainConfig(dim=64, dropout=0.2)) == {"dropout": 0.2}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "the search space is empty"),
        ({"learningrate": [0.1, 0.2]}, "Did you mean 'learning_rate'"),
        ({"device": ["cpu", "cuda"]}, "'device' cannot be searched"),
        ({"seed": [1, 2]}, "--set seed=VALUE"),
        ({"min_lift": [1.0, 2.0]}, "unknown setting in the search space 'min_lift'"),
        ({"loss": ["sampled_softmax", "softmax"]}, "Did you mean 'sampled_softmax'"),
        ({"loss": {"low": 0, "high": 1}}, "loss is not a number"),
        ({"dim": [64]}, "two different values"),
        ({"dim": [64, 64, 32]}, "each once"),
        ({"dim": [64, 64.5]}, "dim=64.5 is not a whole number"),
        ({"dim": [0, 64]}, "dim=0 is out of range"),
        ({"dim": 64}, "give a list of values"),
        ({"dropout": [True, False]}, "dropout=True is not a finite number"),
        ({"dropout": {"low": 0.1, "hihg": 0.2}}, "Did you mean 'high'"),
        ({"dropout": {"low": 0.1}}, "give a list of values"),
        ({"dropout": {"low": 0.3, "high": 0.1}}, "low < high"),
        ({"dropout": {"low": 0.0, "high": 0.1, "log": True}}, "0 < low < high"),
        ({"dropout": {"low": 0.0, "high": 1.0}}, "dropout=1.0 is out of range"),
        ({"hidden": {"low": 8, "high": 9.5}}, "hidden=9.5 is not a whole number"),
    ],
)
def test_a_space_that_cannot_be_searched_is_an_error(space, message):
    with pytest.raises(InputError, match=message):
        Space.of(space)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path):
    (tmp_path / "s.toml").write_text("dim: [1, 2]")
    for file in ("s.toml", "missing.toml"):
        with pytest.raises(InputError, match=file):
            Space.read(tmp_path / file)


def test_values_that_are_not_allowed_together():
    assert with_values(TrainConfig(), {"dim": 32, "loss": "bpr"}) == TrainConfig(dim=32, loss="bpr")
    with pytest.raises(InputError, match="similarity"):
        with_values(TrainConfig(), {"loss": "cosine_contrastive", "similarity": "dot"})
