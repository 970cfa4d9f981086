"""One tower of a release: raw feature values in, embeddings out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from two_tower.errors import InputError
from two_tower.inputs import Array, inputs_from_rows
from two_tower.recommender.errors import invalid
from two_tower.releases.manifest import ReleaseError
from two_tower.runtime import Device, open_session
from two_tower.schema import EMBEDDING, EVENT_TIME, Contract, Dtype, TowerName, needs_event_time


class Tower:
    """A tower of a release, opened.

    Attributes:
        name: user or item.
        features: the features that it takes.
        session: the ONNX Runtime session.
        provider: execution provider that the session runs on.
        dim: width of an embedding.

    Args:
        folder: folder of a release.
        name: user or item.
        contract: feature contract of the release.
        device: device of the tower.
        threads: cores that one call may use.

    Raises:
        ReleaseError: if the inputs of the ONNX file differ from the contract.
    """

    def __init__(self, folder: Path, name: TowerName, contract: Contract, device: Device, threads: int) -> None:
        file = f"{name}_tower.onnx"
        self.name = name
        self.features = contract.tower(name)
        self.session = open_session(folder / file, device, threads)
        self.provider: str = self.session.get_providers()[0]
        self.dim: int = self.session.get_outputs()[0].shape[1]
        shapes = {tensor.name: tensor.shape for tensor in self.session.get_inputs()}
        expected = {f.name for f in self.features} | ({EVENT_TIME} if needs_event_time(self.features) else set())
        if set(shapes) != expected:
            names = ", ".join(sorted(set(shapes) ^ expected))
            raise ReleaseError(f"{file} and the contract differ in the inputs {names}. Export the towers again.")
        vectors = [f.name for f in self.features if f.dtype == Dtype.FLOATS]
        self._widths = {one: shapes[one][1] for one in vectors if isinstance(shapes[one][1], int)}

    def embed(self, rows: Sequence[Mapping[str, Any]], seconds: int) -> Array:
        """Embed rows, (rows, dim) float32. The embedding of values far out of range may not be finite.

        Args:
            rows: raw feature values by name; absent ones are missing.
            seconds: time of the request, seconds since 1970.

        Raises:
            RequestError: 422 if a value does not have the dtype of its feature.
        """
        try:
            inputs = inputs_from_rows(rows, self.features, np.full(len(rows), seconds, dtype=np.int64))
        except InputError as error:
            raise invalid(str(error), "Send the value with the dtype of the feature.") from error
        for name, width in self._widths.items():
            inputs[name] = _fit(name, inputs[name], width)
        (embedding,) = self.session.run([EMBEDDING], inputs)
        return np.asarray(embedding)


def _fit(name: str, vectors: Array, width: int) -> Array:
    """Vectors as (rows, width). If all are missing, their width is unknown and the tower's is used."""
    if vectors.shape[1] == width:
        return vectors
    if np.isnan(vectors).all():
        return np.full((len(vectors), width), np.nan, dtype=np.float32)
    raise invalid(f"feature {name!r} has {vectors.shape[1]} numbers.", f"It takes vectors of {width}.")
