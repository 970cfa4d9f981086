"""The parity gate: the exported files must return the embeddings of the trained network, and the same top 100.

The gate compares real rows at several batch sizes, rows with values that are not in the training data, and rows with
missing values.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import torch

from two_tower.data.pulled import Pulled
from two_tower.gates import Verdict
from two_tower.inputs import Array
from two_tower.losses.similarity import similarity
from two_tower.releases.item_index import tower_inputs
from two_tower.runtime import Device, open_session
from two_tower.schema import EMBEDDING, EVENT_TIME, MISSING_INT, MISSING_STRING, TowerName
from two_tower.training.network.encoders import TOWERS, prepare
from two_tower.training.network.model import Model

BATCHES = (1, 7, 256)
TOP = 100
USERS = 64  # users whose top 100 are compared
BLOCK = 4096
LEAST_OVERLAP = 0.999
TOLERANCE: dict[Device, float] = {"cpu": 1e-5, "cuda": 1e-4}
_UNKNOWN_STRING, _UNKNOWN_INT, _UNKNOWN_FLOAT = "\x7fnever seen", 2**62 + 1, np.float32(1e30)


def check(model: Model, towers: Path, pulled: Pulled, device: Device = "cpu") -> Verdict:
    """Compare torch on the CPU with ONNX Runtime on a device.

    The gate holds the model if the metadata differ from the model's, if embeddings differ by more than 1e-5 (1e-4 on
    CUDA; relative to the largest norm if that is above one), or if less than 0.999 of the top 100 agree, for 64 users
    and the newest catalogue. An item is in torch's top 100 if its score is at least the hundredth score minus the
    tolerance, so items that tie can be in any order.

    Args:
        model: Trained model.
        towers: Folder with user_tower.onnx and item_tower.onnx.
        pulled: Pulled tables.
        device: Device of ONNX Runtime.

    Returns:
        The verdict of the gate.

    Raises:
        InputError: A file is missing or incomplete, or the device is not available.
    """
    sessions = {tower: open_session(towers / f"{tower}_tower.onnx", device) for tower in TOWERS}
    reasons = [reason for tower in TOWERS for reason in _metadata(model, tower, sessions[tower])]
    differences = {tower: _difference(model, tower, sessions[tower], pulled) for tower in TOWERS}
    tolerance = TOLERANCE[device]
    for tower, difference in differences.items():
        if not difference <= tolerance:  # also true for NaN
            reasons.append(
                f"{tower}_tower.onnx differs from the trained network by {difference:.2g}; "
                f"at most {tolerance:g} is allowed. Export again."
            )
    overlap = _overlap(model, sessions, pulled, tolerance)
    if not overlap >= LEAST_OVERLAP:
        reasons.append(
            f"only {overlap:.4f} of the top {TOP} agree with the trained network; at least {LEAST_OVERLAP} is needed. "
            "Export again."
        )
    details = {"device": device, "max_difference": differences, "top_100_overlap": overlap, "batches": list(BATCHES)}
    return Verdict(gate="parity", passed=not reasons, reasons=tuple(reasons), details=details)


def _metadata(model: Model, tower: TowerName, session: ort.InferenceSession) -> list[str]:
    metadata = session.get_modelmeta().custom_metadata_map
    expected = {
        "contract": model.contract.to_json(),
        "embedding_space": model.embedding_space,
        "similarity": model.config.similarity,
        "tower": tower,
    }
    return [
        f"{tower}_tower.onnx has the {k} of another model. Export again."
        for k, v in expected.items()
        if metadata.get(k) != v
    ]


def _difference(model: Model, tower: TowerName, session: ort.InferenceSession, pulled: Pulled) -> float:
    """The largest difference of an embedding component, relative to the largest norm if that is above one."""
    worst, longest = 0.0, 1.0
    for inputs in _cases(tower, session, pulled):
        expected, exported = _torch(model, tower, inputs), session.run([EMBEDDING], inputs)[0]
        worst = float(np.maximum(worst, np.abs(exported - expected).max()))
        longest = float(np.maximum(longest, np.linalg.norm(expected, axis=1).max()))
    return worst / longest


def _cases(tower: TowerName, session: ort.InferenceSession, pulled: Pulled) -> list[dict[str, Array]]:
    """Inputs: batches of rows evenly spread over time, and one with unknown and missing values."""
    batches = [_real(tower, session, pulled, size) for size in BATCHES]
    return [*batches, _disturbed(batches[1])]


def _real(tower: TowerName, session: ort.InferenceSession, pulled: Pulled, size: int) -> dict[str, Array]:
    table: pa.Table = getattr(pulled, tower)
    rows = np.unique(np.linspace(0, table.num_rows - 1, size).astype(np.int64))
    return tower_inputs(session, table.take(rows), pulled.contract.tower(tower), pulled.seconds[rows])


def _disturbed(inputs: dict[str, Array]) -> dict[str, Array]:
    """The rows, then copies with unknown values in each feature and in all, then copies with missing values."""
    names = [name for name in inputs if name != EVENT_TIME]
    blocks = [inputs]
    for value in (_unknown, _missing):
        blocks += [{**inputs, name: value(inputs[name])} for name in names]
        blocks.append({**inputs, **{name: value(inputs[name]) for name in names}})
    return {name: np.concatenate([b[name] for b in blocks]) for name in inputs}


def _unknown(values: Array) -> Array:
    kinds = {"O": _UNKNOWN_STRING, "i": _UNKNOWN_INT, "f": _UNKNOWN_FLOAT}
    return np.full_like(values, kinds[values.dtype.kind])


def _missing(values: Array) -> Array:
    kinds = {"O": MISSING_STRING, "i": MISSING_INT, "f": np.nan}
    return np.full_like(values, kinds[values.dtype.kind])


def _torch(model: Model, tower: TowerName, inputs: dict[str, Array]) -> Array:
    with torch.no_grad():
        embedding: Array = getattr(model.network, tower)(prepare(model.encoders, tower, inputs)).numpy()
    return embedding


def _overlap(model: Model, sessions: dict[TowerName, ort.InferenceSession], pulled: Pulled, tolerance: float) -> float:
    """Share of the files' top 100 that is also in the network's top 100, averaged over users."""
    user = _real("user", sessions["user"], pulled, USERS)
    items = list(_catalogue(sessions["item"], pulled))
    trained = _scores(model, _torch(model, "user", user), [_torch(model, "item", i) for i in items])
    exported = _scores(
        model, sessions["user"].run([EMBEDDING], user)[0], [sessions["item"].run([EMBEDDING], i)[0] for i in items]
    )
    k = min(TOP, trained.shape[1])
    top = np.argpartition(-exported, k - 1, axis=1)[:, :k]
    hundredth = -np.partition(-trained, k - 1, axis=1)[:, k - 1 : k]
    scale = max(1.0, float(np.abs(trained).max()))
    return float((np.take_along_axis(trained, top, axis=1) >= hundredth - tolerance * scale).mean())


def _catalogue(session: ort.InferenceSession, pulled: Pulled) -> Iterator[dict[str, Array]]:
    """The newest catalogue as inputs of the item tower, in blocks of rows."""
    as_of = pulled.bounds.as_of
    table = pulled.catalogue_at(as_of)
    for start in range(0, table.num_rows, BLOCK):
        rows = table.slice(start, BLOCK)
        seconds = np.full(rows.num_rows, int(as_of.timestamp()))
        yield tower_inputs(session, rows, pulled.contract.item, seconds)


def _scores(model: Model, user: Array, items: list[Array]) -> Array:
    """Scores of each user with each item, `(users, items) float32`."""
    item = np.concatenate(items)
    scores: Array = similarity(torch.from_numpy(user), torch.from_numpy(item), model.config.similarity).numpy()
    return scores
