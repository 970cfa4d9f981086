import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.devices import DEVICES
from tests.two_tower.worlds import checkerboard, every_encoding
from two_tower.config import TrainConfig
from two_tower.data.pulled import Pulled, Split
from two_tower.errors import InputError
from two_tower.losses import LOSSES, similarity
from two_tower.training.network import model
from two_tower.training.network.encoders import prepare_table
from two_tower.training.train import DivergedError, choose_device, train
from two_tower.training.validation import Validation

SMALL = {"dim": 16, "feature_dim": 16, "hidden": 32, "batch_size": 64, "patience": 15}


WAYS = [
    {},
    {"loss": "bpr", "similarity": "dot", "negatives": "mixed", "sampled_negatives": 48},
    {"negatives": "queue", "sampled_negatives": 48, "sparse_rows": 1},  # every table is sparse
    {"negatives": "hard", "sampled_negatives": 64, "hard_refresh": 10, "history": "attention"},
]
MORE_WAYS = [
    *(
        {"loss": loss, "similarity": name, "epochs": 20}
        for loss in LOSSES
        for name in ("cosine", "dot", "euclidean")
        if loss != "cosine_contrastive" or name == "cosine"
    ),
    {"loss": "triplet", "mining": "semi_hard"},
    {"loss": "triplet", "mining": "hard", "batch_size": 8},  # the hardest of many is one that the user takes later
    *({"negatives": "own", "loss": loss, "sampled_negatives": 256, "epochs": 20} for loss in ("pointwise", "bpr")),
    *({"negatives": negatives, "sampled_negatives": 48} for negatives in ("uniform", "popularity")),
    {"schedule": "cosine", "warmup": 20, "epochs": 20},
    {"precision": "bfloat16"},
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "way",
    [*WAYS, *(pytest.param(way, marks=pytest.mark.slow) for way in MORE_WAYS)],
    ids=lambda way: " ".join(map(str, way.values())),
)
def test_the_checkerboard_is_learned(tmp_path, way, device):
    """Every test event is among the first 20 untaken items: a user has at most 12 of the own parity left."""
    world = checkerboard()
    train(world, TrainConfig(**{"epochs": 10, **SMALL, **way, "device": device}), tmp_path)
    trained = model.load(tmp_path)
    rows = world.rows(Split.TEST)
    catalogue = world.catalogue_at(world.bounds.as_of)
    items = catalogue["item_id"].to_pylist()
    with torch.no_grad():
        users = trained.network.user(
            prepare_table(trained.encoders, "user", world.user.take(rows), world.seconds[rows])
        )
        goods = trained.network.item(prepare_table(trained.encoders, "item", catalogue, np.zeros(len(items), np.int64)))
        scores = similarity(users, goods, trained.config.similarity).numpy()
    user, item = world.interactions["user_id"].to_pylist(), world.interactions["item_id"].to_pylist()
    for event, row in enumerate(rows):
        taken = [items.index(item[r]) for r in range(row) if user[r] == user[row]]
        scores[event, taken] = -np.inf
        assert (scores[event] >= scores[event, items.index(item[row])]).sum() <= 20


def test_the_same_seed_gives_the_same_weights(tmp_path):
    runs = [
        train(every_encoding(), TrainConfig(epochs=2, device="cpu", seed=seed), tmp_path / str(i))
        for i, seed in enumerate([3, 3, 4])
    ]
    assert runs[0]["embedding_space"] == runs[1]["embedding_space"] != runs[2]["embedding_space"]


def test_training_leaves_the_callers_random_numbers_alone(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(every_encoding(), TrainConfig(epochs=1, device="cpu"), tmp_path)
    assert torch.equal(torch.rand(3), expected)


def with_recalls(monkeypatch, folder: Path, recalls: list[float], **settings) -> tuple[list[float], bytes]:
    """Train while validation measures these recalls; the recalls of the epochs that were run, and the weights."""
    measured = iter(recalls)
    monkeypatch.setattr(Validation, "recall", lambda *_: next(measured))
    result = train(every_encoding(), TrainConfig(**SMALL | settings, averaging=0, device="cpu"), folder)
    return [epoch["recall@20"] for epoch in result["history"]], (folder / "model.safetensors").read_bytes()


RECALLS = [0.1, 0.4, 0.3, 0.5, 0.5, 0.2]


@pytest.mark.parametrize("best", [1, 2, 4, 6])
def test_the_weights_are_those_of_the_best_epoch(tmp_path, monkeypatch, best):
    """The first of equal ones: the weights of a run that ends after it."""
    recalls = [0.0] * (best - 1) + [0.9, 0.9, *RECALLS][: 7 - best]
    _, weights = with_recalls(monkeypatch, tmp_path / "all", recalls, epochs=6)
    _, shorter = with_recalls(monkeypatch, tmp_path / "shorter", recalls, epochs=best)
    _, longer = with_recalls(monkeypatch, tmp_path / "longer", [0.0] * best + [1.0], epochs=best + 1)
    assert weights == shorter != longer


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 6), (3, 7)])
def test_patience_counts_the_epochs_since_the_best(tmp_path, monkeypatch, patience, epochs):
    recalls, _ = with_recalls(monkeypatch, tmp_path, [*RECALLS, 0.1, 0.1], epochs=8, patience=patience)
    assert len(recalls) == epochs


def test_each_epoch_has_a_line_in_the_log(tmp_path, capsys):
    train(every_encoding(), TrainConfig(epochs=40, patience=2, device="cpu"), tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and "recall@20 1.0000" in lines[0] and "left" in lines[0]


def test_a_loss_that_is_no_number_names_the_step(tmp_path):
    config = TrainConfig(similarity="dot", learning_rate=1e30, epochs=5, batch_size=32, device="cpu")
    with pytest.raises(DivergedError, match=r"The loss is (nan|inf) at step \d+ of epoch \d+.*learning_rate"):
        train(checkerboard(), config, tmp_path)
    assert not (tmp_path / "model.json").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="no CUDA device"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def with_column(world: Pulled, table: str, name: str, values: list) -> Pulled:
    """The same world with one column of a table replaced."""
    old = getattr(world, table)
    place = old.schema.get_field_index(name)
    return replace(world, **{table: old.set_column(place, name, pa.array(values, type=old.schema.field(name).type))})


def test_a_number_that_is_none_reads_as_missing(tmp_path):
    world = every_encoding()
    spend = [math.nan if i % 3 else math.inf for i in range(world.user.num_rows)]
    result = train(with_column(world, "user", "spend", spend), TrainConfig(epochs=1, device="cpu"), tmp_path)
    assert math.isfinite(result["best"]["loss"])


def test_a_batch_larger_than_the_data_is_all_of_it(tmp_path):
    result = train(every_encoding(), TrainConfig(epochs=2, batch_size=100_000, device="cpu"), tmp_path)
    assert len(result["history"]) == 2 and math.isfinite(result["best"]["loss"])


def test_a_vocabulary_of_one_trains(tmp_path):
    world = every_encoding()
    one = with_column(world, "user", "country", ["a"] * world.user.num_rows)
    assert math.isfinite(train(one, TrainConfig(epochs=1, device="cpu"), tmp_path)["best"]["loss"])
    assert len(model.load(tmp_path).encoders.user[0].vocabulary) == 1
