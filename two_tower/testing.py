"""Contract tests for plug-ins. Call them from your own test suite; they raise InputError naming the broken rule."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from two_tower.config import TrainConfig
from two_tower.exporting.export import export, tower_file
from two_tower.inputs import ARROW_TYPES, to_inputs
from two_tower.losses.contract import check_loss
from two_tower.plugins import reference, violation
from two_tower.runtime import open_session
from two_tower.schema import EMBEDDING, Contract, Dtype, feature
from two_tower.training.callbacks import check_callback
from two_tower.training.network.contract import check_layer
from two_tower.training.network.encoders import Encoders, fit_feature, prepare
from two_tower.training.network.fitted import EncoderFactory, Fitted, Layer
from two_tower.training.network.layers import HistoryFactory
from two_tower.training.network.model import Model
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling.contract import check_negatives

__all__ = ["check_callback", "check_encoder", "check_history", "check_loss", "check_negatives"]

TOLERANCE = 1e-5
ROWS = 40


def check_history(history: HistoryFactory | str) -> None:
    """Check that a history encoder follows the protocol, and that its ONNX export gives the same embeddings.

    Args:
        history: Class or function of (name, table, max_length) at the top level of a module, or its name as in the
            setting `history`.

    Raises:
        InputError: The encoder breaks the protocol, or cannot be imported by its name.
    """
    name = history if isinstance(history, str) else reference(history, "history")
    check_layer(name)
    _check_export("history", Dtype.INTS, {}, _values(Dtype.INTS), TrainConfig(history=name, dim=8), f"history={name}")


def check_encoder(
    encoding: EncoderFactory | str,
    dtype: str,
    tags: Mapping[str, str] | None = None,
    values: Sequence[Any] | None = None,
) -> None:
    """Check that a feature encoder follows the protocol, and that its ONNX export gives the same embeddings.

    Args:
        encoding: Class or function without parameters at the top level of a module, or its name as in the Feast tag
            `encoding`.
        dtype: Feast dtype of the feature, such as "Float32".
        tags: Further tags of the feature, such as {"buckets": "100"}.
        values: Training values, None where missing. Default: 40 random ones.

    Raises:
        InputError: The encoder breaks the protocol, or cannot be imported by its name.
    """
    name = encoding if isinstance(encoding, str) else reference(encoding, "encoding")
    label = f"encoding={name}"
    shown = list(values) if values is not None else _values(Dtype(dtype))
    _check_export(name, Dtype(dtype), dict(tags or {}), shown, TrainConfig(dim=8), label)


def _check_export(
    encoding: str, dtype: Dtype, tags: dict[str, str], values: list[Any], config: TrainConfig, label: str
) -> None:
    f, other = feature("feature", dtype, {"encoding": encoding, **tags}), feature("price", "Float32", {})
    column = pa.chunked_array([pa.array(values, type=ARROW_TYPES[dtype])])
    seconds = np.full(len(values), 1_700_000_000)
    fitted = fit_feature(f, column, seconds, "user:feature")
    contract = Contract(
        user_key="user",
        user_key_dtype=Dtype.STRING,
        item_key="item",
        item_key_dtype=Dtype.STRING,
        user=(f,),
        item=(other,),
    )
    encoders = Encoders((fitted,), (Fitted(feature=other, mean=(0.0,), std=(1.0,)),))
    try:
        restored = Encoders.from_dict(json.loads(json.dumps(encoders.to_dict())), contract)
    except TypeError as error:
        raise violation(label, "an encoder", f"what it learned cannot be written as JSON: {error}.") from error
    if restored != encoders:
        raise violation(label, "an encoder", "what it learned changes when it is written as JSON and read again.")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TwoTower(encoders, config).eval()
    inputs = to_inputs(pa.table({"feature": column}), (f,), seconds)
    _check_layer(network, prepare(encoders, "user", inputs), label)
    model = Model(network, encoders, contract, config, "000000000000")
    with tempfile.TemporaryDirectory() as folder:
        export(model, Path(folder))
        session = open_session(Path(folder) / tower_file("user"), "cpu")
        names = {i.name for i in session.get_inputs()}
        for size in (1, 7, len(values)):
            batch = {key: array[-size:] for key, array in inputs.items() if key in names}
            with torch.no_grad():
                expected = network.user(prepare(encoders, "user", batch)).numpy()
            difference = float(np.abs(session.run([EMBEDDING], batch)[0] - expected).max())
            if not difference <= TOLERANCE:
                raise violation(label, "an encoder", f"its ONNX export differs from torch by {difference:.2g}.")


def _check_layer(network: TwoTower, prepared: dict[str, torch.Tensor], label: str) -> None:
    """Check the layer of the only user feature on all rows, and on one."""
    layer: Any = network.user.layers[0]
    if not isinstance(layer, Layer):
        raise violation(label, "an encoder", f"its layer is {type(layer).__name__}, which is not a Layer.")
    read, rows = layer.read(prepared), len(next(iter(prepared.values())))
    if read.ndim not in (1, 2) or len(read) != rows:
        raise violation(label, "an encoder", f"`read` returns {tuple(read.shape)}, not (batch,) or (batch, n).")
    single = layer.read({name: tensor[:1] for name, tensor in prepared.items()})
    if not torch.equal(single, read[:1]):
        raise violation(label, "an encoder", "`read` depends on other rows, but training calls it for all rows.")
    vectors = layer.embed(read)
    if vectors.shape != (rows, layer.width) or vectors.dtype != torch.float32 or not vectors.isfinite().all():
        raise violation(label, "an encoder", "`embed` does not return finite float32 of shape (batch, width).")


def _values(dtype: Dtype) -> list[Any]:
    """Random values, every fifth missing."""
    random = np.random.default_rng(0)
    make: dict[Dtype, Callable[[], Any]] = {
        Dtype.STRING: lambda: str(random.choice(["a", "b", "c"])),
        Dtype.INT64: lambda: int(random.integers(-3, 10)),
        Dtype.FLOAT32: lambda: float(random.normal()),
        Dtype.FLOAT64: lambda: float(random.normal()),
        Dtype.BOOL: lambda: bool(random.random() < 0.5),
        Dtype.TIMESTAMP: lambda: int(random.integers(0, 10**15)),
        Dtype.STRINGS: lambda: [str(random.choice(["a", "b", "c"])) for _ in range(random.integers(0, 6))],
        Dtype.INTS: lambda: [int(random.integers(0, 9)) for _ in range(random.integers(0, 6))],
        Dtype.FLOATS: lambda: [float(x) for x in random.normal(size=3)],
    }
    return [None if row % 5 == 4 else make[dtype]() for row in range(ROWS)]
