"""A simple recommendation service, one afternoon of work: KServe predictor, torch tower, FAISS flat, Feast inline.

    python -m benchmarks.peers.afternoon REPO MODEL ITEMS.npz PORT

POST /v1/models/two_tower:predict {"instances": [{"user_id": 1, "k": 100}]} → {"predictions": [[{"item_id", "score"}]]}
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import kserve
import numpy as np
import torch
from feast import FeatureStore

from two_tower.inputs import table_from_rows, to_inputs
from two_tower.training.network.encoders import prepare
from two_tower.training.network.model import load


class Recommender(kserve.Model):
    """Features of the user from Feast, user tower in torch, nearest items by FAISS without the seen items."""

    def __init__(self, repo: str, model: str, items: str) -> None:
        super().__init__("two_tower")
        self.store = FeatureStore(repo_path=repo)
        self.model = load(Path(model))
        saved = np.load(items)
        self.ids = saved["ids"]
        self.index = faiss.IndexFlatIP(saved["vectors"].shape[1])
        self.index.add(saved["vectors"])
        service = self.store.get_feature_service("user_tower")
        self.features = [f"{view.name}:{f.name}" for view in service.feature_view_projections for f in view.features]
        if self.model.contract.seen:
            view = self.store.get_feature_service("user_seen").feature_view_projections[0]
            self.features.append(f"{view.name}:{self.model.contract.seen.name}")
        self.ready = True

    def predict(self, payload: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        return {"predictions": [self.recommend(one["user_id"], one["k"]) for one in payload["instances"]]}

    def recommend(self, user: int, k: int) -> list[dict[str, Any]]:
        contract = self.model.contract
        features = self.store.get_online_features(self.features, [{contract.user_key: user}]).to_dict()
        row = {f.name: features[f.name][0] for f in contract.user}
        seen = set(features[contract.seen.name][0] or []) if contract.seen else set()
        now = np.array([int(time.time())])
        inputs = to_inputs(table_from_rows([_dated(row, contract)], contract.user), contract.user, now)
        with torch.inference_mode():
            embedding = self.model.network.user(prepare(self.model.encoders, "user", inputs)).numpy()
        scores, rows = self.index.search(embedding, k + len(seen))
        items_found = [
            {"item_id": int(self.ids[r]), "score": float(score)}
            for r, score in zip(rows[0], scores[0], strict=True)
            if int(self.ids[r]) not in seen
        ]
        return items_found[:k]


def _dated(row: dict[str, Any], contract: Any) -> dict[str, Any]:
    """Convert timestamps: Feast's to_dict() returns seconds or datetimes, the tower takes datetimes."""
    stamps = {f.name for f in contract.user if f.dtype == "UnixTimestamp"}
    return {
        name: datetime.fromtimestamp(value, tz=UTC) if name in stamps and isinstance(value, int) else value
        for name, value in row.items()
    }


if __name__ == "__main__":
    repo, model, items, port = sys.argv[1:]
    kserve.ModelServer(http_port=int(port), enable_grpc=False, access_log_format=None).start(
        [Recommender(repo, model, items)]
    )
