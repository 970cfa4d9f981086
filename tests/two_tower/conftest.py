"""Fixtures: a model with every encoding, exported once per session because the export takes seconds."""

from pathlib import Path

import pytest
import torch

from tests.two_tower.worlds import every_encoding
from two_tower.config import TrainConfig
from two_tower.data.pulled import Pulled
from two_tower.exporting.export import export
from two_tower.training.network.encoders import fit
from two_tower.training.network.model import Model
from two_tower.training.network.towers import TwoTower


def untrained(world: Pulled, **settings) -> Model:
    """Create a model with random weights, large enough that every input changes the output."""
    torch.manual_seed(0)
    config = TrainConfig(dim=16, **settings)
    encoders = fit(world)
    network = TwoTower(encoders, config).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.normal_(0, 0.3)
    return Model(network, encoders, world.contract, config, "space-1")


@pytest.fixture(scope="session")
def world() -> Pulled:
    return every_encoding()


@pytest.fixture(scope="session")
def model(world: Pulled) -> Model:
    return untrained(world)


@pytest.fixture(scope="session")
def exported(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the ONNX files of both towers."""
    folder = tmp_path_factory.mktemp("towers")
    export(model, folder)
    return folder
