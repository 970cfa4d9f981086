from dataclasses import fields

import pytest

from two_tower.config import Settings, TrainConfig, parse_assignments
from two_tower.errors import InputError


def test_every_field_has_one_owner() -> None:
    names = [f.name for section in Settings().sections().values() for f in fields(section)]
    assert len(names) == len(set(names))


def test_assignments_reach_their_section_as_the_type_of_their_field() -> None:
    settings = Settings().with_assignments(["epochs=3", "train_fraction=0.5", "loss=triplet", "compile=True"])
    assert (settings.train.epochs, settings.pull.train_fraction, settings.train.loss) == (3, 0.5, "triplet")
    assert settings.train.compile is True


def test_values_reach_their_section() -> None:
    settings = Settings().with_values({"epochs": 3, "temperature": 1, "model_registry": "http://registry"})
    assert settings.train == TrainConfig(epochs=3, temperature=1.0)
    assert settings.deploy.model_registry == "http://registry"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epoch=3", "Did you mean 'epochs'"),
        ("epochs=three", "epochs='three' is not a whole number"),
        ("epochs=3.0", "epochs='3.0' is not a whole number"),
        ("epochs=1e3", "epochs='1e3' is not a whole number"),
        ("epochs=٣", "is not a whole number"),
        ("epochs=", "epochs='' is not a whole number"),
        ("epochs=0", "epochs=0 is out of range. Allowed: whole number, at least 1."),
        ("loss=tripet", "Did you mean 'triplet'"),
        ("loss=my_losses:", "is not of the form package.module:Name"),
        ("compile=1", "compile='1' is neither true nor false"),
        ("learning_rate=-1", "learning_rate=-1.0 is out of range"),
        ("learning_rate=nan", "learning_rate=nan is not a finite number"),
        ("weight_decay=1e999", "weight_decay=inf is not a finite number"),
        ("temperature=0,1", "temperature='0,1' is not a finite number"),
        ("validation_fraction=0.9", "below 0.2, for train_fraction=0.8"),
        ("service=Two_Tower", "lower-case letters"),
        ("model_registry=registry:8080", "https://"),
        ("canary_percent=0", "1 to 100"),
    ],
)
def test_a_wrong_assignment_is_explained(assignment: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Settings().with_assignments([assignment])
    assert message in str(caught.value)


def test_a_typed_value_is_not_parsed() -> None:
    """TOML and Python have types of their own: text that looks like a number is not one."""
    with pytest.raises(InputError, match="epochs='3' is not a whole number"):
        Settings().with_values({"epochs": "3"})
    with pytest.raises(InputError, match="compile='true' is neither true nor false"):
        Settings().with_values({"compile": "true"})


def test_assignments_are_split_at_the_first_equals_sign() -> None:
    assert parse_assignments(["a=1", "b=x=y", "a=2"]) == {"a": "2", "b": "x=y"}
    with pytest.raises(InputError, match="KEY=VALUE"):
        parse_assignments(["epochs"])
