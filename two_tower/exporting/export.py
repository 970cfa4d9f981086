"""Export of each tower to an ONNX file that takes raw Feast values and returns the embedding.

The file merges the look-up of ids (`onnx_lookup`) with the network that torch exports. Its metadata contains the
contract, the embedding space and the similarity, so the file is sufficient to use the tower.
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnx import compose, helper
from torch import Tensor, nn

from two_tower.exporting import onnx_lookup
from two_tower.exporting.onnx_lookup import HASH_DOMAIN, LISTS, ML_DOMAIN, READY
from two_tower.schema import EMBEDDING, EVENT_TIME, Dtype, TowerName, needs_event_time
from two_tower.training.network.encoders import TOWERS
from two_tower.training.network.fitted import Fitted, encoder, is_looked_up
from two_tower.training.network.model import Model

_NETWORK = "network/"
_ML_OPSET, _HASH_OPSET = 4, 1


def tower_file(tower: TowerName) -> str:
    """Return the file name of a tower."""
    return f"{tower}_tower.onnx"


def export(model: Model, folder: Path) -> None:
    """Write `user_tower.onnx` and `item_tower.onnx`.

    Inputs of a file: one per feature, with its name, in the order of the contract; then `event_time` if a feature is an
    age. See `inputs.to_inputs` for shapes, dtypes and missing values. Output: `embedding`, `(batch, dim) float32`.

    Args:
        model: Trained model.
        folder: Folder to write to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {
        "contract": model.contract.to_json(),
        "embedding_space": model.embedding_space,
        "similarity": model.config.similarity,
    }
    for tower in TOWERS:
        fitted = model.encoders.tower(tower)
        network = _network(getattr(model.network, tower), fitted)
        merged = _merge(fitted, network)
        helper.set_model_props(merged, {**metadata, "tower": tower})
        onnx.save_model(merged, folder / tower_file(tower))


class _ByPosition(nn.Module):
    """A tower with positional inputs, because the exporter can change the names and the order of a dictionary."""

    def __init__(self, tower: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.tower, self.names = tower, names

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.tower(dict(zip(self.names, tensors, strict=True)))


def _network(tower: nn.Module, fitted: Sequence[Fitted]) -> onnx.ModelProto:
    """The network without the look-up. Names have the prefix `network/`; inputs are in the order of its outputs."""
    names, examples = _examples(fitted)
    shapes = tuple(dict.fromkeys(_free_axes(e), torch.export.Dim.DYNAMIC) for e in examples)
    quiet = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it warns that torchvision is not installed, which is not needed
    try:
        with warnings.catch_warnings():
            # torch 2.13 itself calls the deprecated form of this check.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            program = torch.onnx.export(
                _ByPosition(tower, names).eval(),
                tuple(examples),
                dynamo=True,
                verbose=False,
                dynamic_shapes=(shapes,),
                input_names=[f"in{i}" for i in range(len(names))],
                output_names=["out"],
                external_data=False,
            )
    finally:
        quiet.setLevel(level)
    assert program is not None
    exported = program.model_proto
    _forget_origin(exported)
    return compose.add_prefix(exported, _NETWORK)


def _examples(fitted: Sequence[Fitted]) -> tuple[list[str], list[Tensor]]:
    """Names and example tensors of the network's inputs, without the sizes that the exporter treats as constants."""
    batch, length = 3, 4
    names, tensors = [], []
    for f in fitted:
        feature = f.feature
        names.append(feature.name)
        if feature.dtype == Dtype.FLOATS:
            tensors.append(torch.zeros(batch, encoder(feature).list_length(f)))
        elif feature.dtype in LISTS:
            tensors.append(torch.ones(batch, length, dtype=torch.int64))
        elif not is_looked_up(feature) and feature.dtype in (Dtype.FLOAT32, Dtype.FLOAT64):
            tensors.append(torch.zeros(batch))
        else:
            tensors.append(torch.ones(batch, dtype=torch.int64))
    if needs_event_time(tuple(f.feature for f in fitted)):
        names.append(EVENT_TIME)
        tensors.append(torch.ones(batch, dtype=torch.int64))
    return names, tensors


def _free_axes(example: Tensor) -> range:
    """Axes of dynamic size: the batch, and the length of a list of ids. The width of a vector is fixed."""
    return range(1 if example.is_floating_point() else example.ndim)


def _forget_origin(model: onnx.ModelProto) -> None:
    """Remove the exporter's stack traces, which contain paths of this machine."""
    model.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _merge(fitted: Sequence[Fitted], network: onnx.ModelProto) -> onnx.ModelProto:
    ready = onnx_lookup.graph(fitted)
    opsets = [
        *network.opset_import,
        helper.make_opsetid(ML_DOMAIN, _ML_OPSET),
        helper.make_opsetid(HASH_DOMAIN, _HASH_OPSET),
    ]
    lookup = helper.make_model(ready, opset_imports=opsets, ir_version=network.ir_version)
    pairs = [(o.name, i.name) for o, i in zip(ready.output, network.graph.input, strict=True)]
    assert all(o.startswith(READY) for o, _ in pairs)
    merged = compose.merge_models(lookup, network, io_map=pairs)
    # Renamed last, because a feature or an inner value of the exporter can have the same name.
    merged.graph.node.append(helper.make_node("Identity", [_NETWORK + "out"], [EMBEDDING]))
    dim = network.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    del merged.graph.output[:]
    merged.graph.output.append(helper.make_tensor_value_info(EMBEDDING, onnx.TensorProto.FLOAT, ["batch", dim]))
    onnx.checker.check_model(merged)
    return merged
