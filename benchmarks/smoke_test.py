"""The smoke test on good and on damaged releases: `python -m benchmarks.smoke_test [--data-dir D] [--json F]`.

Towers are trained for one epoch with several settings and seeds, published, and deployed by the deployer `local`. Each
release is deployed once as it is, which must promote it, and once with each kind of fault: in the online store, in the
index, in a tower, in the registry. A fault counts as caught if the release is not promoted.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
from feast import FeatureStore, FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from onnx import numpy_helper

from benchmarks.harness import arguments, finish, machine, progress, quiet
from serving.http.background import serve_in_background
from two_tower.config import DeployConfig, PullConfig, TrainConfig
from two_tower.data.features import materialize, pull
from two_tower.data.online_config import online_config
from two_tower.data.pulled import Pulled
from two_tower.data.repository import open_store
from two_tower.data.sample_users import pull_sample
from two_tower.datasets import locate
from two_tower.datasets.prepare import prepare
from two_tower.deployment import deploy
from two_tower.deployment.questions import Questions
from two_tower.errors import InputError
from two_tower.exporting.export import export
from two_tower.gates import Verdict
from two_tower.releases import release
from two_tower.releases.item_index import build_index, embed_items
from two_tower.releases.manifest import File, Manifest
from two_tower.retrieval.index import build
from two_tower.schema import Dtype
from two_tower.training.network.model import load
from two_tower.training.train import train

DATA_SETS = ("sample", "movielens-100k")
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"dim": 16},
    {"similarity": "dot"},
    {"similarity": "euclidean"},
    {"loss": "bpr"},
    {"loss": "triplet", "similarity": "euclidean"},
    {"negatives": "uniform"},
    {"dim": 8, "seed": 1},
    {"seed": 2},
    {"seed": 3, "history": "attention"},
)
CONFIG = DeployConfig(questions=100)


@dataclass(frozen=True)
class World:
    """A data set that was pulled and materialised, with the features of its users offline."""

    repo: Path
    pulled: Pulled
    sample: Path


@dataclass(frozen=True)
class Parts:
    """The files of one good release, and its questions."""

    world: World
    towers: Path
    index: Path
    space: str
    questions: Questions

    def manifest(self) -> Manifest:
        return Manifest(
            dataset=self.world.repo.name,
            contract=self.world.pulled.contract,
            embedding_space=self.space,
            bounds={"as_of": self.world.pulled.bounds.as_of.isoformat()},
            metrics={},
            gates={},
            settings={},
            versions={},
        )


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--data-dir", type=Path, metavar="D", help="Folder with the raw files of movielens-100k.")
    options = parser.parse_args()
    description = machine()
    with tempfile.TemporaryDirectory(prefix="two-tower-") as folder:
        rows = list(_rows(Path(folder), options.data_dir, quick=options.quick))
    faults = [row for row in rows if row["fault"] != "none"]
    claims = {
        "faults": len(faults),
        "caught": sum(not row["promoted"] for row in faults),
        "good_releases": len(rows) - len(faults),
        "false_alarms": sum(not row["promoted"] for row in rows if row["fault"] == "none"),
    }
    finish(rows, claims, description, options.json)


def _rows(folder: Path, data_dir: Path | None, *, quick: bool) -> Iterator[dict[str, Any]]:
    for name in ("checkerboard",) if quick else DATA_SETS:
        progress(f"{name}: pull and materialise")
        with quiet():
            world = _world(name, data_dir, folder / name)
            made = [
                _train(world, settings, folder / name / str(number))
                for number, settings in enumerate(SETTINGS[:2] if quick else SETTINGS)
            ]
        for settings, parts in zip(SETTINGS, made, strict=False):
            yield _deployed(name, settings, "none", parts, folder)
        for fault, damage in FAULTS.items():
            with _backup(world.repo / "data"):
                yield _deployed(name, SETTINGS[0], fault, damage(made[0], made[1]), folder)


def _deployed(name: str, settings: dict[str, Any], fault: str, parts: Parts, folder: Path) -> dict[str, Any]:
    """Publish and deploy a release; the row of the table."""
    progress(f"{name} {settings}: {fault}")
    with tempfile.TemporaryDirectory(dir=folder) as releases, quiet():
        store = Path(releases) / File.FEATURE_STORE
        store.write_text(online_config(parts.world.repo))
        try:
            made = release.publish(releases, [parts.towers, parts.index, store], parts.manifest())
            verdict = deploy.deploy(made, releases, parts.questions, CONFIG, serve_in_background)
        except InputError as error:
            verdict = Verdict(gate="deploy", passed=False, reasons=(str(error),))
    reason = verdict.reasons[0][:300] if verdict.reasons else ""
    return {"data": name, "settings": str(settings), "fault": fault, "promoted": verdict.passed, "reason": reason}


def _world(name: str, data_dir: Path | None, folder: Path) -> World:
    raw = locate(name, data_dir) if name == "movielens-100k" else None
    prepare(name, raw, folder / "repo")
    pulled = pull(folder / "repo", PullConfig(), None, folder / "pulled")
    materialize(folder / "repo", pulled.bounds.as_of)
    pq.write_table(pull_sample(folder / "repo", folder / "pulled", pulled.bounds.as_of), folder / "users.parquet")
    return World(folder / "repo", pulled, folder / "users.parquet")


def _train(world: World, settings: dict[str, Any], folder: Path) -> Parts:
    train(world.pulled, TrainConfig(**{"dim": 32, "epochs": 1, "device": "cpu", **settings}), folder / "model")
    model = load(folder / "model")
    export(model, folder / "towers")
    build_index(folder / "towers", world.pulled, folder / "index")
    questions = Questions.of_run(world.sample, world.pulled.contract, folder / "towers", folder / "index")
    return Parts(world, folder / "towers", folder / "index", model.embedding_space, questions)


@contextmanager
def _backup(folder: Path) -> Iterator[None]:
    """Restore a folder after the block."""
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(folder, copy)
    try:
        yield
    finally:
        shutil.rmtree(folder)
        copy.rename(folder)


# --- faults in the online store ---------------------------------------------------------------------------------------


def _write(parts: Parts, user: Any, feature: str, value: Value, stamp: datetime) -> None:
    """Write the value of one feature of a user to the online store."""
    store, source = _source(parts, feature)
    key = _key(parts, user)
    store._get_provider().online_write_batch(store.config, source, [(key, {feature: value}, stamp, None)], None)


def _source(parts: Parts, feature: str) -> tuple[FeatureStore, FeatureView]:
    store = open_store(parts.world.repo)
    return store, store.get_feature_view(parts.questions.views[feature])


def _key(parts: Parts, user: Any) -> EntityKey:
    value = Value(int64_val=user) if isinstance(user, int) else Value(string_val=user)
    return EntityKey(join_keys=[parts.world.pulled.contract.user_key], entity_values=[value])


def _known(parts: Parts, dtype: Dtype, least: int = 1) -> tuple[Any, str, Any]:
    """A user of the questions, a feature of a dtype, and its value; a list has at least some different elements."""
    contract = parts.world.pulled.contract
    for f in (*contract.user, *([contract.seen] if contract.seen else [])):
        for user, row in zip(parts.questions.users, parts.questions.rows or (), strict=True):
            value = row[f.name]
            if f.dtype == dtype and value is not None and (not isinstance(value, list) or len(set(value)) >= least):
                return user, f.name, value
    raise AssertionError(f"no user has a value of {dtype}")


def _list(values: list[Any]) -> Value:
    value = Value()
    (value.int64_list_val if isinstance(values[0], int) else value.string_list_val).val.extend(values)
    return value


def _lists(parts: Parts) -> Dtype:
    return Dtype.INTS if parts.world.pulled.contract.item_key_dtype == Dtype.INT64 else Dtype.STRINGS


def _changed(value: Callable[[Any], Value], dtype: Callable[[Parts], Dtype]) -> Callable[[Parts, Parts], Parts]:
    """A fault that changes one value of one user online."""

    def damage(parts: Parts, _: Parts) -> Parts:
        user, feature, known = _known(parts, dtype(parts), least=2)
        _write(parts, user, feature, value(known), parts.world.pulled.bounds.as_of)
        return parts

    return damage


def _without(users: int | None) -> Callable[[Parts, Parts], Parts]:
    """A fault that removes rows of one view from the online store: of the first users, or all."""

    def damage(parts: Parts, _: Parts) -> Parts:
        _, feature, _ = _known(parts, _lists(parts))
        store, source = _source(parts, feature)
        keys = [serialize_entity_key(_key(parts, user), 3) for user in parts.questions.users[:users]]
        with sqlite3.connect(store.config.repo_path / store.config.online_store.path) as connection:
            table = f'"{store.project}_{source.name}"'
            connection.executemany(f"DELETE FROM {table} WHERE entity_key = ?", [(key,) for key in keys])
        return parts

    return damage


def _stale(parts: Parts, _: Parts) -> Parts:
    """A user has the list of an earlier time, with its timestamp."""
    user, feature, value = _known(parts, _lists(parts), least=2)
    _write(parts, user, feature, _list(value[:-1]), parts.world.pulled.bounds.as_of - timedelta(days=1))
    return parts


def _other_user(parts: Parts, _: Parts) -> Parts:
    """A user has the list of another user."""
    _, feature, value = _known(parts, _lists(parts), least=2)
    other = next(
        user
        for user, row in zip(parts.questions.users, parts.questions.rows or (), strict=True)
        if row[feature] != value
    )
    _write(parts, other, feature, _list(value), parts.world.pulled.bounds.as_of)
    return parts


def _empty_store(parts: Parts, _: Parts) -> Parts:
    """The release names the online store and registry of another environment."""
    other = parts.world.repo.with_name("other")
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(parts.world.repo, other)
    (other / "data" / "online_store.db").unlink(missing_ok=True)
    for path in (other / "data").glob("*.db"):
        if "registry" not in path.name:
            path.unlink()
    return replace(parts, world=replace(parts.world, repo=other))


# --- faults in the release --------------------------------------------------------------------------------------------


def _copy(folder: Path) -> Path:
    new = Path(tempfile.mkdtemp(prefix="fault-", dir=folder.parent))
    shutil.copytree(folder, new, dirs_exist_ok=True)
    return new


def _other_index(parts: Parts, other: Parts) -> Parts:
    """The index of other towers, under the embedding space of these."""
    index, catalogue = _copy(parts.index), pq.read_table(parts.index / File.ITEMS)
    contract, as_of = parts.world.pulled.contract, int(parts.world.pulled.bounds.as_of.timestamp())
    embedded = embed_items(other.towers, catalogue, contract, np.full(catalogue.num_rows, as_of))
    width = onnx.load(parts.towers / File.USER_TOWER).graph.output[0].type.tensor_type.shape.dim[1].dim_value
    widened = np.pad(embedded, ((0, 0), (0, max(0, width - embedded.shape[1]))))[:, :width]
    build(np.ascontiguousarray(widened), _similarity(parts), parts.space, index / File.INDEX)
    return replace(parts, index=index)


def _rolled_index(parts: Parts, _: Parts) -> Parts:
    """The index of an earlier order of the catalogue: each row has the embedding of its neighbour."""
    index, catalogue = _copy(parts.index), pq.read_table(parts.index / File.ITEMS)
    contract, as_of = parts.world.pulled.contract, int(parts.world.pulled.bounds.as_of.timestamp())
    embedded = embed_items(parts.towers, catalogue, contract, np.full(catalogue.num_rows, as_of))
    build(np.roll(embedded, 1, axis=0), _similarity(parts), parts.space, index / File.INDEX)
    return replace(parts, index=index)


def _fewer_items(parts: Parts, _: Parts) -> Parts:
    """The index and the items of an earlier catalogue."""
    index, catalogue = _copy(parts.index), pq.read_table(parts.index / File.ITEMS)
    fewer = catalogue.slice(0, catalogue.num_rows - 3)
    contract, as_of = parts.world.pulled.contract, int(parts.world.pulled.bounds.as_of.timestamp())
    embedded = embed_items(parts.towers, fewer, contract, np.full(fewer.num_rows, as_of))
    build(embedded, _similarity(parts), parts.space, index / File.INDEX)
    pq.write_table(fewer, index / File.ITEMS)
    return replace(parts, index=index)


def _similarity(parts: Parts) -> Any:
    return next(p.value for p in onnx.load(parts.index / File.INDEX).metadata_props if p.key == "similarity")


def _one_weight(parts: Parts, _: Parts) -> Parts:
    """One weight of the user tower is another."""
    towers = _copy(parts.towers)
    model = onnx.load(towers / File.USER_TOWER)
    floats = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and np.prod(t.dims) > 1]
    values = numpy_helper.to_array(floats[0]).copy()
    values.flat[0] += 0.001
    floats[0].CopyFrom(numpy_helper.from_array(values, floats[0].name))
    onnx.save(model, towers / File.USER_TOWER)
    return replace(parts, towers=towers)


def _text_of(value: Any) -> Value:
    return Value(string_val=str(value))


FAULTS: dict[str, Callable[[Parts, Parts], Parts]] = {
    "one wrong value": _changed(lambda value: Value(int64_val=value + 1), lambda _: Dtype.INT64),
    "an integer as text": _changed(_text_of, lambda _: Dtype.INT64),
    "a list in another order": _changed(lambda value: _list(value[::-1]), _lists),
    "a list without its last element": _changed(lambda value: _list(value[:-1]), _lists),
    "ids in a list as text": _changed(lambda value: _list([f" {item}" for item in value]), _lists),
    "a time one hour off": _changed(
        lambda value: Value(unix_timestamp_val=int(value.replace(tzinfo=value.tzinfo or UTC).timestamp()) + 3600),
        lambda _: Dtype.TIMESTAMP,
    ),
    "one missing user": _without(1),
    "a view that was not materialised": _without(None),
    "a stale row": _stale,
    "the row of another user": _other_user,
    "an empty store": _empty_store,
    "the index of another release": _other_index,
    "an index in another order": _rolled_index,
    "the index and items of an earlier catalogue": _fewer_items,
    "one wrong weight in a tower": _one_weight,
}

if __name__ == "__main__":
    main()
