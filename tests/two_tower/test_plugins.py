import functools

import pytest

from tests.two_tower import plugged
from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.plugins import Registry, is_reference, load, reference

HERE = "tests.two_tower.plugged"


@pytest.mark.parametrize("text", ["a:B", "a.b:C", "a_1.b:C.d"])
def test_a_reference_has_a_module_and_a_name(text):
    assert is_reference(text)


@pytest.mark.parametrize("text", ["", "a", "a:", ":B", "a.b", "a:B:C", "a b:C", "1a:B", "a.:B", "../a:B"])
def test_other_texts_are_no_references(text):
    assert not is_reference(text)


def test_an_object_is_recorded_by_its_name_and_loaded_by_it():
    assert reference(plugged.HingeLoss, "loss") == f"{HERE}:HingeLoss"
    assert load(f"{HERE}:HingeLoss", "loss") is plugged.HingeLoss
    assert load(f"{HERE}:HingeLoss.__call__", "loss") is plugged.HingeLoss.__call__


@pytest.mark.parametrize("plugin", [functools.partial(plugged.HingeLoss), lambda config: None, 3])
def test_what_has_no_name_cannot_be_recorded(plugin):
    with pytest.raises(InputError, match=r"loss=.* cannot be recorded"):
        reference(plugin, "loss")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no_such_package.losses:Hinge", "importing 'no_such_package.losses' failed: ModuleNotFoundError"),
        (f"{HERE}:HingeLos", "unknown attribute 'HingeLos'. Did you mean 'HingeLoss'"),
        (f"{HERE}:HingeLoss.weight", "unknown attribute 'weight'"),
    ],
)
def test_what_cannot_be_loaded_is_named(text, problem):
    with pytest.raises(InputError, match=f"loss={text}.*{problem}"):
        load(text, "loss")


def test_a_module_that_fails_is_named_with_its_error(tmp_path, monkeypatch):
    (tmp_path / "faulty_losses.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="importing 'faulty_losses' failed: ZeroDivisionError"):
        load("faulty_losses:Hinge", "loss")


def test_a_registry_has_names_and_imports_others():
    registry: Registry = Registry("loss", "config")
    registry.register("hinge")(plugged.HingeLoss)
    assert list(registry) == ["hinge"] and len(registry) == 1 and "hinge" in registry
    assert registry["hinge"] is registry[f"{HERE}:HingeLoss"] is plugged.HingeLoss
    with pytest.raises(InputError, match=r"unknown loss 'hing'. Did you mean 'hinge'\? Allowed: hinge, package.module"):
        registry["hing"]
    with pytest.raises(InputError, match=r"LossWithoutConfig cannot be called with \(config\)"):
        registry[f"{HERE}:LossWithoutConfig"]
    with pytest.raises(InputError, match="torch is not callable"):
        registry[f"{HERE}:torch"]


def test_a_setting_takes_the_object_and_records_its_name():
    config = TrainConfig(loss=plugged.HingeLoss, negatives=plugged.EvenSampler, history=plugged.NewestFirst)
    assert TrainConfig.from_json(config.to_json()) == config
    assert config.loss == f"{HERE}:HingeLoss" and config.history == f"{HERE}:NewestFirst"
    with pytest.raises(InputError, match=r"loss=.*cannot be recorded"):
        TrainConfig(loss=lambda config: None)
