"""A release in Python, without a server: features in, items out. Needs neither torch nor Feast."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow.parquet as pq

from two_tower.errors import InputError, unknown
from two_tower.inputs import table_from_rows
from two_tower.releases import release
from two_tower.releases.item_index import tower_inputs
from two_tower.retrieval.index import Index
from two_tower.runtime import Device, open_session
from two_tower.schema import EMBEDDING, Contract

CACHE = Path("~/.cache/two-tower/releases")


@dataclass(frozen=True)
class Released:
    """An opened release. items: ids of the catalogue, row by row of the index."""

    manifest: Mapping[str, Any]
    contract: Contract
    items: tuple[str | int, ...]
    user_tower: ort.InferenceSession
    index: Index

    @property
    def id(self) -> str:
        return str(self.manifest["id"])

    def recommend(
        self, features: Mapping[str, Any], k: int = 10, exclude: Iterable[str | int] = (), now: float | None = None
    ) -> list[tuple[str | int, float]]:
        """The k items nearest to a user, as (item id, score), the best first; fewer where fewer are left.

        features: raw values by the names of the feature service `user_tower`; absent ones are missing. exclude: item
        ids not to be returned. now: seconds since 1970, the present by default. Raises InputError for a name that is no
        feature, a value of another type, and a k that is not from 1 to the size of the catalogue.
        """
        if not 1 <= k <= len(self.items):
            raise InputError(f"k={k} is out of range. Allowed: 1 to {len(self.items)}, the size of the catalogue.")
        known = [f.name for f in self.contract.user]
        for name in features:
            if name not in known:
                raise unknown("feature of the user tower", name, known)
        table = table_from_rows([features], self.contract.user)
        seconds = np.array([int(time.time() if now is None else now)])
        embedding = self.user_tower.run([EMBEDDING], tower_inputs(self.user_tower, table, self.contract.user, seconds))[
            0
        ]
        hidden = set(exclude)
        out = np.array([[row for row, item in enumerate(self.items) if item in hidden]], dtype=np.int64)
        rows, scores = self.index.search(embedding, k, out.reshape(1, -1))
        return [
            (self.items[row], score)
            for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True)
            if row >= 0
        ]


def load_release(
    releases: str | Path, release_id: str | None = None, device: Device = "cpu", cache: Path = CACHE
) -> Released:
    """Verify and open a release, the current one by default.

    releases: a folder, or an address in object storage, whose files are copied into `cache`. Raises ReleaseError, an
    InputError, where there is none or where its files are not what was published.
    """
    wanted = release_id or release.current(releases)
    if wanted is None:
        raise release.ReleaseError(f"no release of {releases} is active. Name one of `two-tower releases list`.")
    folder = release.local_copy(releases, wanted, cache.expanduser())
    manifest = json.loads((folder / release.MANIFEST).read_text())
    contract = Contract.from_dict(manifest["contract"])
    items = pq.read_table(folder / release.ITEMS, columns=[contract.item_key])[contract.item_key].to_pylist()
    tower = open_session(folder / "user_tower.onnx", device)
    return Released(manifest, contract, tuple(items), tower, Index(folder / "index.onnx", device))
