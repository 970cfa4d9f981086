import json
import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import two_tower
from pipelines.kubeflow.cluster import ClusterConfig
from two_tower.config import DeployConfig, EvaluationConfig, PullConfig, ReportConfig, Section, TrainConfig
from two_tower.config.fields import field_types
from two_tower.errors import InputError

SECTIONS = [PullConfig, TrainConfig, EvaluationConfig, DeployConfig, ReportConfig, ClusterConfig]
FIELDS = [(section, f.name) for section in SECTIONS for f in fields(section)]
NUMBERS = st.integers() | st.floats() | st.sampled_from([-0.0, 10**30, 10**400, 5e-324])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["bpr", "own", "mean", "attention", "local", "my.losses:Focal", ":", "a:", "2Gi", "latest", "a=b"]
)


@settings(max_examples=1500, deadline=None)
@given(field=st.sampled_from(FIELDS), value=JSON | NUMBERS | NAMES)
def test_any_json_value_is_accepted_and_survives_or_is_an_error_that_names_the_field(field, value):
    section, name = field
    text = json.dumps({name: value})
    try:
        made = section.from_json(text)
    except InputError:
        with pytest.raises(InputError, match=name):
            section.from_json(text)
        return
    stored = getattr(made, name)
    assert section.from_json(made.to_json()) == made
    assert type(stored) is field_types(section)[name].type and stored == type(stored)(value)
    assert str(stored) != "-0.0"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("epochs", "3", "epochs='3' is not a whole number. Allowed: whole number, at least 1."),
        ("dim", 64.5, "dim=64.5 is not a whole number"),
        ("dim", 64.0, "dim=64.0 is not a whole number"),
        ("seed", True, "seed=True is not a whole number"),
        ("seed", -1, "seed=-1 is out of range"),
        ("dim", None, "dim=None is not a whole number"),
        ("dim", [64], r"dim=\[64\] is not a whole number"),
        ("dim", 2**63, "does not fit in 64 bits"),
        ("dropout", math.nan, "dropout=nan is not a finite number"),
        ("dropout", False, "dropout=False is not a finite number"),
        ("weight_decay", math.inf, "weight_decay=inf is not a finite number"),
        ("weight_decay", 10**400, "is not a finite number"),
        ("learning_rate", -0.0, "learning_rate=0.0 is out of range. Allowed: number, above 0"),
        ("compile", 1, "compile=1 is neither true nor false"),
        ("mlflow", b"http://x", "mlflow=b'http://x' is not text"),
        ("similarity", 3, "similarity=3 is not text. Allowed: cosine, dot, euclidean"),
        ("similarity", "cos", "Did you mean 'cosine'"),
        ("history", "meen", "Did you mean 'mean'.*or package.module:Name"),
        ("checkpoints", ["x" * 500], "…"),
    ],
)
def test_a_wrong_value_from_python_is_explained(name: str, value: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        TrainConfig(**{name: value})


def test_the_steps_as_functions_check_their_settings_before_they_work() -> None:
    with pytest.raises(InputError, match="epochs='3' is not a whole number"):
        two_tower.train_towers(None, epochs="3")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Did you mean 'epochs'"):
        two_tower.train_towers(None, epoch=3)  # type: ignore[arg-type]


def test_an_integer_too_long_to_print_is_explained() -> None:
    with pytest.raises(InputError, match=r"dim=\(an integer of \d+ bits\) does not fit"):
        TrainConfig(dim=10**5000)


def test_numbers_become_pythons_own() -> None:
    made = TrainConfig(dim=np.int64(32), dropout=np.float32(0.5), temperature=1, weight_decay=-0.0)  # type: ignore[arg-type]
    assert made == TrainConfig(dim=32, dropout=0.5, temperature=1.0, weight_decay=0.0)
    assert '"weight_decay": 0.0' in made.to_json() and '"temperature": 1.0' in made.to_json()


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "null", '{"epochs": NaN}', '{"epoch": 3}', '{"dim": 1e2}'])
def test_text_that_is_not_a_section_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError):
        TrainConfig.from_json(text)


@pytest.mark.parametrize("name", ["loss", "negatives", "history"])
def test_a_plugin_is_named_by_its_module_and_attribute(name: str) -> None:
    assert getattr(TrainConfig(**{name: "my_package.parts:Mine"}), name) == "my_package.parts:Mine"
    for text in ("my_package.parts", "my_package:", ":Mine", "a-b:Mine", "a:b:c", "a..b:C", "my.class:Mine", "a: B"):
        with pytest.raises(InputError, match=f"{name}="):
            TrainConfig(**{name: text})


def test_rules_on_two_fields() -> None:
    with pytest.raises(InputError, match=r"similarity='dot'.*Allowed: cosine"):
        TrainConfig(loss="cosine_contrastive", similarity="dot")
    with pytest.raises(InputError, match="loss='sampled_softmax'"):
        TrainConfig(negatives="own")
    with pytest.raises(InputError, match="validation_fraction"):
        PullConfig(train_fraction=0.95)


def test_a_section_keeps_its_defaults() -> None:
    for section in SECTIONS:
        assert section.from_json("{}") == section() == section.of({})
    assert issubclass(ClusterConfig, Section)
