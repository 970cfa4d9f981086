"""Files of a small hand-written release: towers with known outputs, and an index of a few items.

The score of item j is 1 - j/100 for users of group `a`, j/100 for users of group `b`, and 0 for others. `age` is added
to the whole embedding, so that an infinite age gives an infinite embedding. The item tower maps red items to (1, 0) and
other items to (0, 1). Item j is red if j is even, has the price j, and the tag "t<j mod 3>".
"""

from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import helper, parser

from two_tower.inputs import ARROW_TYPES
from two_tower.releases.manifest import Manifest
from two_tower.retrieval.index import build
from two_tower.schema import Contract, Dtype, feature

BOUNDS = {"as_of": "2024-03-01T12:00:00+00:00"}

CONTRACT = Contract(
    user_key="user_id",
    user_key_dtype=Dtype.STRING,
    item_key="item_id",
    item_key_dtype=Dtype.STRING,
    user=(
        feature("group", "String", {}),
        feature("age", "Float32", {}),
        feature("visits", "Int64", {}),
        feature("member", "Bool", {}),
        feature("joined", "UnixTimestamp", {}),
        feature("recent", "Array(String)", {"encoding": "history", "max_length": "3"}),
        feature("taste", "Array(Float32)", {}),
    ),
    item=(feature("colour", "String", {}), feature("price", "Float32", {}), feature("tags", "Array(String)", {})),
    seen=feature("seen_items", "Array(String)", {}),
)

_USER = """
<ir_version: 10, opset_import: ["" : 21, "ai.onnx.ml" : 4]>
user (string[batch] group, float[batch] age, int64[batch] visits, int64[batch] member, int64[batch] joined,
      string[batch, length] recent, float[batch, 2] taste, int64[batch] event_time) => (float[batch, 2] embedding)
<float[3, 2] table = {0, 0, 1, 0, 0, 1}, int64[1] last = {-1}, float zero = {0}, float times = {1000}>
{
  id = ai.onnx.ml.LabelEncoder <keys_strings = ["a", "b"], values_int64s = [1, 2], default_int64 = 0> (group)
  vector = Gather(table, id)
  missing = IsNaN(age)
  known = Where(missing, zero, age)
  far = Mul(known, times)
  column = Unsqueeze(far, last)
  embedding = Add(vector, column)
}
"""

_ITEM = """
<ir_version: 10, opset_import: ["" : 21, "ai.onnx.ml" : 4]>
item (string[batch] colour, float[batch] price, string[batch, length] tags) => (float[batch, 2] embedding)
<float[2, 2] table = {0, 1, 1, 0}>
{
  id = ai.onnx.ml.LabelEncoder <keys_strings = ["red"], values_int64s = [1], default_int64 = 0> (colour)
  embedding = Gather(table, id)
}
"""


def write(folder: Path, *, items: int = 10, prefix: str = "i", space: str = "space-1") -> Path:
    """Write the files of a release except the manifest. Item ids are <prefix>0 …; the last item is the most popular."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"embedding_space": space, "contract": CONTRACT.to_json(), "similarity": "dot"}
    for tower, text in (("user", _USER), ("item", _ITEM)):
        model = parser.parse_model(text)
        helper.set_model_props(model, metadata)
        onnx.save(model, folder / f"{tower}_tower.onnx")
    share = np.arange(items, dtype=np.float32) / 100
    build(np.column_stack([1 - share, share]), "dot", space, folder / "index.onnx")
    ids = pa.array([f"{prefix}{j}" for j in range(items)], type=ARROW_TYPES[Dtype.STRING])
    features = {
        "colour": pa.array([("red", "blue")[j % 2] for j in range(items)]),
        "price": pa.array(np.arange(items, dtype=np.float32)),
        "tags": pa.array([[f"t{j % 3}"] for j in range(items)]),
    }
    popularity = pa.array(np.arange(items, dtype=np.float64))
    pq.write_table(pa.table({"item_id": ids, **features, "popularity": popularity}), folder / "items.parquet")
    return folder


def manifest(space: str = "space-1", **others: object) -> Manifest:
    fields: dict[str, object] = {
        "dataset": "by hand",
        "contract": CONTRACT,
        "embedding_space": space,
        "bounds": BOUNDS,
        "metrics": {"two_tower": {"recall@20": 0.5}},
        "gates": {},
        "settings": {},
        "versions": {},
    }
    return Manifest(**{**fields, **others})
