"""Data of the service benchmarks: a trained user tower, users in a Feast online store, catalogues of any size.

The users and the towers come from the checkerboard data set, trained for one epoch; their quality does not matter here.
The items are random unit vectors in the embedding space of the towers, with the ids `first`, `first` + 1, …
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from benchmarks.harness import progress, quiet
from two_tower.config import PullConfig, TrainConfig
from two_tower.data.features import materialize, pull
from two_tower.data.online_config import online_config
from two_tower.data.pulled import Pulled
from two_tower.datasets.prepare import prepare
from two_tower.exporting.export import export
from two_tower.inputs import ARROW_TYPES, Array
from two_tower.releases import release
from two_tower.releases.manifest import File, Manifest
from two_tower.retrieval import index
from two_tower.schema import POPULARITY
from two_tower.training.network.model import load
from two_tower.training.train import train

DIM = 64


@dataclass(frozen=True)
class World:
    """Folders of the feature repository, the torch model and the ONNX towers. users: the ids in the online store."""

    folder: Path
    pulled: Pulled
    embedding_space: str
    users: list[int]

    @property
    def repo(self) -> Path:
        return self.folder / "repo"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def towers(self) -> Path:
        return self.folder / "towers"


def make(folder: Path, redis_port: int | None = None) -> World:
    """Create a Feast repository with a materialised online store (SQLite, or Redis on a loopback port), and towers."""
    progress("preparing feature store and towers")
    repo = folder / "repo"
    with quiet():
        prepare("checkerboard", None, repo)
        if redis_port:
            config = yaml.safe_load((repo / "feature_store.yaml").read_text())
            config["online_store"] = {"type": "redis", "connection_string": f"127.0.0.1:{redis_port}"}
            (repo / "feature_store.yaml").write_text(yaml.safe_dump(config))
        pulled = pull(repo, PullConfig(), None, folder / "pulled")
        train(pulled, TrainConfig(dim=DIM, epochs=1, batch_size=256, device="cpu"), folder / "model")
        model = load(folder / "model")
        export(model, folder / "towers")
        materialize(repo, pulled.bounds.as_of)
    users = pc.unique(pulled.interactions[pulled.contract.user_key]).to_pylist()
    return World(folder, pulled, model.embedding_space, users)


def publish(world: World, items: int, releases: Path, first: int = 10_000_000, seed: int = 0) -> str:
    """Publish a release of the towers with `items` items; returns the release id."""
    folder = world.folder / f"index-{first}-{items}-{seed}"
    folder.mkdir(exist_ok=True)
    vectors = item_vectors(items, seed)
    index.build(vectors, "cosine", world.embedding_space, folder / File.INDEX)
    contract = world.pulled.contract
    catalogue = world.pulled.catalogue_at(world.pulled.bounds.as_of)
    table = catalogue.take(pa.array(np.arange(items) % catalogue.num_rows))
    ids = pa.array(np.arange(first, first + items), type=ARROW_TYPES[contract.item_key_dtype])
    table = table.set_column(table.column_names.index(contract.item_key), contract.item_key, ids)
    popularity = np.random.default_rng(seed).permutation(items).astype(np.float64)
    pq.write_table(table.append_column(POPULARITY, pa.array(popularity)), folder / File.ITEMS)
    (folder / File.FEATURE_STORE).write_text(online_config(world.repo))
    manifest = Manifest(
        dataset="benchmark",
        contract=contract,
        embedding_space=world.embedding_space,
        bounds=json.loads((world.folder / "pulled" / "pulled.json").read_text())["bounds"],
        metrics={},
        gates={},
        settings={},
        versions={},
    )
    return release.publish(releases, [world.towers, folder], manifest)


def item_vectors(items: int, seed: int = 0) -> Array:
    """Generate the item embeddings of a release: unit length, float32 `(items, DIM)`."""
    vectors = np.random.default_rng(seed).standard_normal((items, DIM), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
