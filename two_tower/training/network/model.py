"""A trained model as a folder: `model.safetensors` (weights) and `model.json` (everything else)."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.schema import Contract
from two_tower.training.network.encoders import Encoders
from two_tower.training.network.towers import TwoTower

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode, and the encoders of its inputs.

    Attributes:
        network: Both towers.
        encoders: Fitted encoders.
        contract: Features of both towers.
        config: Settings of the training.
        embedding_space: Twelve hexadecimal digits, a hash of the weights and encoders. Only embeddings of the same
            space can be compared.
    """

    network: TwoTower
    encoders: Encoders
    contract: Contract
    config: TrainConfig
    embedding_space: str


def save(
    folder: Path, network: TwoTower, encoders: Encoders, contract: Contract, config: TrainConfig, history: list[Any]
) -> str:
    """Write the model and return its embedding space.

    Args:
        folder: Output folder.
        network: Both towers.
        encoders: Fitted encoders.
        contract: Features of both towers.
        config: Settings of the training.
        history: Metrics of each epoch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A table that both towers share is written once.
    weights = {name: p.detach().cpu().contiguous() for name, p in network.named_parameters()}
    description = {"contract": contract.to_dict(), "encoders": encoders.to_dict(), "config": asdict(config)}
    space = _embedding_space(weights, description)
    save_file(weights, folder / WEIGHTS)
    text = json.dumps({**description, "embedding_space": space, "history": history}, indent=1)
    (folder / DESCRIPTION).write_text(text)
    return space


def _embedding_space(weights: dict[str, torch.Tensor], description: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].numpy().tobytes())
    return digest.hexdigest()[:12]


def load(folder: Path) -> Model:
    """Read what `save` wrote, on the CPU.

    Raises:
        InputError: A file is missing, the files are of different models, or a plug-in cannot be imported.
    """
    for name in (WEIGHTS, DESCRIPTION):
        if not (folder / name).is_file():
            raise InputError(f"{folder} is not a trained model: {name} is missing. Pass the folder of the train step.")
    described = json.loads((folder / DESCRIPTION).read_text())
    contract = Contract.from_dict(described["contract"])
    encoders = Encoders.from_dict(described["encoders"], contract)
    config = TrainConfig(**described["config"])
    network = TwoTower(encoders, config)
    weights, parameters = load_file(folder / WEIGHTS), dict(network.named_parameters())
    if {n: w.shape for n, w in weights.items()} != {n: p.shape for n, p in parameters.items()}:
        raise InputError(f"{folder}: {WEIGHTS} and {DESCRIPTION} are of different models. Train again.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    return Model(network.eval(), encoders, contract, config, described["embedding_space"])
