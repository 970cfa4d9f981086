"""Scorers for the towers and for the oracle of a simulated world."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from two_tower.data.pulled import Pulled
from two_tower.datasets.preferences import Oracle
from two_tower.errors import InputError
from two_tower.evaluation.ranking import Snapshot, Task
from two_tower.inputs import Array
from two_tower.releases.item_index import embed_items, embed_users
from two_tower.runtime import open_session
from two_tower.schema import Contract

SECOND = 1_000_000  # microseconds


@dataclass(frozen=True)
class TowerScorer:
    """Embeddings of the users of the events and of the items of each snapshot, compared as in the service.

    Attributes:
        events: Rows of the interactions, ascending, `(events,) int64`.
        user: Embedding of the user of each event, `(events, dim) float32`.
        item: Item embeddings of each snapshot, `(items, dim) float32`.
        similarity: Similarity of the towers.
    """

    events: Array
    user: Array
    item: tuple[Array, ...]
    similarity: str

    @classmethod
    def open(cls, towers: Path, contract: Contract, pulled: Pulled, task: Task) -> "TowerScorer":
        """Run both towers: on users as of their events, and on items as of each refresh of the index.

        Args:
            towers: Folder with user_tower.onnx and item_tower.onnx.
            contract: Contract of these towers.
            pulled: Pulled tables.
            task: Events and catalogues.

        Returns:
            The scorer.

        Raises:
            InputError: A tower returns NaN or infinite values.
        """
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
        """Score the items of a snapshot; see `Scorer.scores`."""
        return compare(self.user[np.searchsorted(self.events, events)], self.item[snapshot.number], self.similarity)


def compare(user: Array, item: Array, similarity: str) -> Array:
    """Score each user with each item; a higher score means a nearer item.

    Cosine towers return unit vectors, so the dot product is the cosine. For `euclidean`, the score orders the items as
    the negative distance does: terms that are equal for all items of a user are left out.

    Args:
        user: User embeddings, `(users, dim) float32`.
        item: Item embeddings, `(items, dim) float32`.
        similarity: `cosine`, `dot` or `euclidean`.

    Returns:
        `(users, items) float32`.
    """
    scores = user @ item.T
    if similarity == "euclidean":
        scores -= 0.5 * np.square(item).sum(axis=1)
    return scores


def _require_finite(file: str, embedding: Array) -> None:
    bad = int((~np.isfinite(embedding).all(axis=1)).sum())
    if bad:
        raise InputError(
            f"{file} returns NaN or infinite values for {bad} of {len(embedding)} rows of the test window. Look for "
            "infinite values of the features in the data gate's report, and train again."
        )


@dataclass(frozen=True)
class OracleScorer:
    """Scores by the true preferences of the simulated world, an upper bound for any model."""

    oracle: Oracle
    task: Task

    @classmethod
    def open(cls, folder: Path, task: Task) -> "OracleScorer":
        """Read the oracle of a folder."""
        return cls(Oracle.read(folder), task)

    def scores(self, events: Array, snapshot: Snapshot) -> Array:
        """Score the items of a snapshot; see `Scorer.scores`."""
        log = self.task.interactions
        users = log.users.take(log.user[events]).to_numpy(zero_copy_only=False)
        items = log.items.take(snapshot.items).to_numpy(zero_copy_only=False)
        return self.oracle.scores(users, items, log.micros[events] // SECOND)
