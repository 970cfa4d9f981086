from pathlib import Path

import pytest

from pipelines.local.settings import SETTINGS_FILE, settings_from
from two_tower.errors import InputError


def repository(folder: Path, text: str | bytes) -> Path:
    (folder / SETTINGS_FILE).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def test_the_command_line_takes_precedence_over_the_repository(tmp_path: Path) -> None:
    repository(tmp_path, 'epochs = 7\ndim = 32\ntemperature = 1\nloss = "my_losses:Focal"\ncompile = true\n')
    train = settings_from(tmp_path, ["dim=16"]).train
    assert (train.epochs, train.dim, train.temperature, train.loss, train.compile) == (
        7,
        16,
        1.0,
        "my_losses:Focal",
        True,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('epochs = "3"', "epochs='3' is not a whole number. Allowed: whole number, at least 1."),
        ("epochs = 3.0", "epochs=3.0 is not a whole number"),
        ("learning_rate = nan", "learning_rate=nan is not a finite number"),
        ("weight_decay = -inf", "weight_decay=-inf is not a finite number"),
        ("seed = true", "seed=True is not a whole number"),
        ("compile = 1", "compile=1 is neither true nor false"),
        ("mlflow = 2026-01-01", "is not text"),
        ("dim = [64]", "dim=[64] is not a whole number"),
        ("epoch = 3", "unknown setting 'epoch'. Did you mean 'epochs'?"),
        ("[train]\nepochs = 3", "unknown setting 'train'"),
        ('train_memory = "8Gi"', "train_memory is a setting of the cluster"),
        ("epochs: 3", "Expected '='"),
        (b"mlflow = '\xff'", "utf-8"),
    ],
)
def test_a_wrong_line_of_the_file_is_explained_with_the_file(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        settings_from(repository(tmp_path, text), [])
    assert str(caught.value).startswith(f"{tmp_path / SETTINGS_FILE}: ") and message in str(caught.value)


def test_a_setting_of_the_cluster_is_refused_on_this_machine() -> None:
    with pytest.raises(InputError, match="shards is a setting of the cluster"):
        settings_from(None, ["shards=4"])


def test_a_folder_without_the_file_gives_the_defaults(tmp_path: Path) -> None:
    assert settings_from(tmp_path, []) == settings_from(None, [])
