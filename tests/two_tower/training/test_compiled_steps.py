"""Compiled towers and losses beside eager ones."""

import shutil

import pytest
import torch

from tests.two_tower.worlds import checkerboard, every_encoding
from two_tower.config import Settings, TrainConfig
from two_tower.errors import InputError
from two_tower.losses import LOSSES, JointLoss
from two_tower.losses.similarity import SIMILARITIES
from two_tower.training.compiled import embedder, loss_function
from two_tower.training.network.encoders import fit
from two_tower.training.network.towers import TwoTower
from two_tower.training.streaming.source import InMemory
from two_tower.training.trainer import Trainer

CPU = torch.device("cpu")


def losses(config: TrainConfig) -> tuple[list[float], list[torch.Tensor]]:
    """Of two epochs, and the weights at their end."""
    torch.manual_seed(0)
    world = checkerboard(users=20, items=40, per_user=16)
    encoders = fit(world)
    network = TwoTower(encoders, config)
    trainer = Trainer(network, InMemory(world).positives(encoders, network, config, CPU), config)
    found = [trainer.advance(rows).item() for epoch in (1, 2) for rows in trainer.batches(epoch)]
    return found, list(network.parameters())


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # importing inductor
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo looks at it, of what towers give a loss
def test_compiled_and_eager_training_agree():
    settings = {"dim": 8, "hidden": 8, "batch_size": 48, "dropout": 0, "id_dropout": 0, "history": "attention"}
    (eager, weights), (compiled, others) = (losses(TrainConfig(**settings, compile=on)) for on in (False, True))
    assert compiled == pytest.approx(eager, abs=1e-4) and len(eager) >= 6
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(weights, others, strict=True))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")
@pytest.mark.parametrize(
    ("loss", "similarity"),
    [*((loss, "cosine") for loss in LOSSES), *(("bpr", name) for name in SIMILARITIES if name != "cosine")],
)
def test_compiled_and_eager_losses_agree(loss, similarity):
    random, config = torch.Generator().manual_seed(0), TrainConfig(loss=loss, similarity=similarity, compile=True)
    user, item = (torch.randn(rows, 8, generator=random).requires_grad_() for rows in (12, 9))
    given = (
        torch.randint(9, (12,), generator=random),
        torch.rand(7, generator=random),
        torch.rand(12, 7, generator=random) < 0.2,
        torch.rand(12, generator=random),
    )
    loss = JointLoss(config)
    eager, compiled = (one(user, item, *given) for one in (loss, loss_function(loss, config)))
    assert compiled.item() == pytest.approx(eager.item(), rel=1e-4) and abs(eager.item()) > 1e-3
    gradients = [torch.autograd.grad(one, (user, item)) for one in (eager, compiled)]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*gradients, strict=True))


def test_without_a_compiler_it_is_told(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    tower = TwoTower(fit(every_encoding()), TrainConfig()).user
    with pytest.raises(InputError, match=r"compile=true on cpu needs a C\+\+ compiler.*no-such-compiler"):
        embedder(tower, TrainConfig(compile=True), CPU)
    assert embedder(tower, TrainConfig(), CPU) == tower.embed


def test_sparse_tables_are_refused_and_both_ways_out_are_told():
    config = TrainConfig(compile=True, sparse_rows=60)
    network = TwoTower(fit(checkerboard()), config)  # of 80 items and 40 users, so one table of 81 rows
    with pytest.raises(InputError, match=r"sparse_rows=60 .*largest here has 81. Set compile=false, or sparse_rows=82"):
        embedder(network.item, config, CPU)
    assert embedder(network.item, TrainConfig(sparse_rows=60), CPU) == network.item.embed


def test_the_setting_is_true_or_false():
    assert Settings().with_assignments(["compile=true"]).train.compile is True
    assert Settings().with_values({"compile": False}).train.compile is False
    with pytest.raises(InputError, match="compile='maybe' is neither true nor false"):
        Settings().with_assignments(["compile=maybe"])
