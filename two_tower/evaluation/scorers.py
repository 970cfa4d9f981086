"""The towers and the oracle as scorers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from two_tower.data.pulled import Pulled
from two_tower.datasets.world import Oracle
from two_tower.errors import InputError
from two_tower.evaluation.ranking import Snapshot, Task
from two_tower.inputs import Array
from two_tower.releases.item_index import embed_items, embed_users
from two_tower.runtime import open_session
from two_tower.schema import Contract

SECOND = 1_000_000  # in microseconds


@dataclass(frozen=True)
class TowerScorer:
    """Embeddings of the events' users and of each snapshot's items, compared as the release will.

    events: rows of the interactions, ascending, one for each row of `user`, float32 [events, dim].
    item: by snapshot, float32 [items, dim].
    """

    events: Array
    user: Array
    item: tuple[Array, ...]
    similarity: str

    @classmethod
    def open(cls, towers: Path, contract: Contract, pulled: Pulled, task: Task) -> "TowerScorer":
        """Run both towers: users as of their events, items as of each refresh of the index."""
        user = embed_users(towers, pulled.user.take(task.events), contract, pulled.seconds[task.events])
        _require_finite("user_tower.onnx", user)
        item = []
        for snapshot in task.snapshots:
            seconds = np.full(len(snapshot.items), snapshot.micros // SECOND)
            item.append(embed_items(towers, snapshot.table, contract, seconds))
            _require_finite("item_tower.onnx", item[-1])
        metadata = open_session(towers / "user_tower.onnx").get_modelmeta().custom_metadata_map
        return cls(task.events, user, tuple(item), metadata["similarity"])

    def scores(self, events: Array, snapshot: Snapshot) -> Array:
        return compare(self.user[np.searchsorted(self.events, events)], self.item[snapshot.number], self.similarity)


def compare(user: Array, item: Array, similarity: str) -> Array:
    """The similarity of each user with each item, float32 [users, items]; higher is nearer.

    user: [users, dim]; item: [items, dim]. Cosine towers give unit vectors, so that their product is the cosine. For
    `euclidean` the squared distance, negative, less what is the same for all of a user's items: the same order.
    """
    scores = user @ item.T
    if similarity == "euclidean":
        scores -= 0.5 * np.square(item).sum(axis=1)
    return scores


def _require_finite(file: str, embedding: Array) -> None:
    bad = int((~np.isfinite(embedding).all(axis=1)).sum())
    if bad:
        raise InputError(
            f"{file} gives what is no number for {bad} of {len(embedding)} rows of the test window. Look in the data "
            "gate's report for infinite values among the features, and train again."
        )


@dataclass(frozen=True)
class OracleScorer:
    """The simulated world's own preferences: the best that any model could reach."""

    oracle: Oracle
    task: Task

    @classmethod
    def open(cls, folder: Path, task: Task) -> "OracleScorer":
        return cls(Oracle.read(folder), task)

    def scores(self, events: Array, snapshot: Snapshot) -> Array:
        log = self.task.interactions
        users = log.users.take(log.user[events]).to_numpy(zero_copy_only=False)
        items = log.items.take(snapshot.items).to_numpy(zero_copy_only=False)
        return self.oracle.scores(users, items, log.micros[events] // SECOND)
