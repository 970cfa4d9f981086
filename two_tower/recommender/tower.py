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
    """Attributes: session, features, name, provider (the execution provider that it really runs on)."""

    def __init__(self, folder: Path, name: TowerName, contract: Contract, device: Device, threads: int) -> None:
        file = f"{name}_tower.onnx"
        self.name = name
        self.features = contract.tower(name)
        self.session = open_session(folder / file, device, threads)
        self.provider: str = self.session.get_providers()[0]
        shapes = {given.name: given.shape for given in self.session.get_inputs()}
        wanted = {f.name for f in self.features} | ({EVENT_TIME} if needs_event_time(self.features) else set())
        if set(shapes) != wanted:
            odd = ", ".join(sorted(set(shapes) ^ wanted))
            raise ReleaseError(f"{file} and the contract differ in the inputs {odd}. Export the towers again.")
        vectors = [f.name for f in self.features if f.dtype == Dtype.FLOATS]
        self._widths = {one: shapes[one][1] for one in vectors if isinstance(shapes[one][1], int)}

    def embed(self, rows: Sequence[Mapping[str, Any]], seconds: int) -> Array:
        """Embeddings, float32 [rows, dim]. Raises RequestError 422 for a value that is not of its feature's dtype.

        rows: raw feature values by name; absent ones are missing. seconds: when, since 1970. A row whose values are
        far out of their range may give an embedding that is not finite.
        """
        try:
            inputs = inputs_from_rows(rows, self.features, np.full(len(rows), seconds, dtype=np.int64))
        except InputError as error:
            raise invalid(str(error), "Send the value in the feature's own type.") from error
        for name, width in self._widths.items():
            inputs[name] = _fit(name, inputs[name], width)
        (embedding,) = self.session.run([EMBEDDING], inputs)
        return np.asarray(embedding)


def _fit(name: str, vectors: Array, width: int) -> Array:
    """Vector inputs, [rows, width]; where all are missing, their width is unknown, and is the tower's."""
    if vectors.shape[1] == width:
        return vectors
    if np.isnan(vectors).all():
        return np.full((len(vectors), width), np.nan, dtype=np.float32)
    raise invalid(f"feature {name!r} has {vectors.shape[1]} numbers.", f"It takes vectors of {width}.")
