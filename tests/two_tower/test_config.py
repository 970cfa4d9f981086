from dataclasses import fields

import pytest

from two_tower.config import Settings, TrainConfig, parse_assignments
from two_tower.errors import InputError


def test_every_field_has_one_owner() -> None:
    settings = Settings()
    names = [f.name for section in fields(settings) for f in fields(getattr(settings, section.name))]
    assert len(names) == len(set(names))


def test_values_reach_their_section_and_survive_json() -> None:
    settings = Settings().with_values({"epochs": "3", "train_fraction": "0.5", "loss": "triplet"})
    assert (settings.train.epochs, settings.pull.train_fraction, settings.train.loss) == (3, 0.5, "triplet")
    assert TrainConfig.from_json(settings.train.to_json()) == settings.train


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("epoch", "3", "Did you mean 'epochs'"),
        ("epochs", "three", "not a whole number"),
        ("epochs", "0", "epochs=0 is out of range"),
        ("loss", "tripet", "Did you mean 'triplet'"),
        ("learning_rate", "-1", "learning_rate=-1.0 is out of range"),
        ("validation_fraction", "0.9", "between 0 and 0.2"),
        ("service", "Two_Tower", "lower-case letters"),
        ("model_registry", "registry:8080", "https://"),
        ("canary_percent", "0", "1 to 100"),
    ],
)
def test_a_wrong_setting_is_explained(key: str, value: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Settings().with_values({key: value})
    assert said in str(caught.value)


def test_assignments() -> None:
    assert parse_assignments(["a=1", "b=x=y", "a=2"]) == {"a": "2", "b": "x=y"}
    with pytest.raises(InputError, match="KEY=VALUE"):
        parse_assignments(["epochs"])
