"""Hand-written pulled tables for tests with results computed by hand."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper

from two_tower.data.pulled import SNAPSHOT, Bounds, Pulled
from two_tower.inputs import ARROW_TYPES
from two_tower.schema import EMBEDDING, Contract, Dtype, feature

STAMP = ARROW_TYPES[Dtype.TIMESTAMP]
CONTRACT = Contract(
    user_key="user_id",
    user_key_dtype=Dtype.STRING,
    item_key="item_id",
    item_key_dtype=Dtype.STRING,
    user=(feature("user", "String", {}),),
    item=(feature("item", "String", {}),),
)


def at(hour: float) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour)


def timeline(
    events: list[tuple[str, str, float]],
    catalogues: dict[float, str],
    train_end: float,
    validation_end: float,
    weights: list[float] | None = None,
) -> Pulled:
    """Build a pull.

    events: (user, item, hour) in order of time. catalogues: hour of the snapshot -> its items, separated by spaces.
    weights: one for each event; 1 without it.
    """
    users, items, hours = zip(*events, strict=True)
    split = ["train" if h < train_end else "validation" if h < validation_end else "test" for h in hours]
    listed = [(at(h), item) for h, words in catalogues.items() for item in words.split()]
    known = pa.array([item for _, item in listed])
    return Pulled(
        CONTRACT,
        Bounds(
            train_end=at(train_end),
            validation_end=at(validation_end),
            as_of=at(max(catalogues)),
            snapshots=tuple(map(at, catalogues)),
        ),
        pa.table(
            {
                "user_id": users,
                "item_id": items,
                "event_timestamp": pa.array(map(at, hours), type=STAMP),
                "weight": pa.array(weights or [1.0] * len(events), type=pa.float32()),
                "split": split,
            }
        ),
        pa.table({"user": users}),
        pa.table({"item": items}),
        pa.table({SNAPSHOT: pa.array([s for s, _ in listed], type=STAMP), "item_id": known, "item": known}),
    )


def lookup_towers(
    folder: Path, user: dict[str, list[float]], item: dict[str, list[float]], similarity: str = "dot"
) -> Path:
    """Write towers for CONTRACT that look up embeddings in a table; other names get zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("user", user), ("item", item)):
        vectors = np.array([*table.values(), np.zeros(len(next(iter(table.values()))))], dtype=np.float32)
        nodes = [
            helper.make_node(
                "LabelEncoder",
                [name],
                ["row"],
                domain="ai.onnx.ml",
                keys_strings=list(table),
                values_int64s=list(range(len(table))),
                default_int64=len(table),
            ),
            helper.make_node("Gather", ["vectors", "row"], [EMBEDDING]),
        ]
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(name, TensorProto.STRING, ["batch"])],
            [helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["batch", vectors.shape[1]])],
            [numpy_helper.from_array(vectors, "vectors")],
        )
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        helper.set_model_props(model, {"similarity": similarity, "embedding_space": "space"})
        onnx.save(model, folder / f"{name}_tower.onnx")
    return folder
