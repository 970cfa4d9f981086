import json
from pathlib import Path

import faiss
import numpy as np
import pytest

from two_tower.retrieval import ann_comparison
from two_tower.retrieval.index import build


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
@pytest.mark.parametrize("graph_up_to", [10_000, 100], ids=["HNSW", "IVF"])
def test_the_curve_decides_the_winner(tmp_path: Path, monkeypatch, similarity, graph_up_to, request):
    monkeypatch.setattr(ann_comparison, "GRAPH_UP_TO", graph_up_to)
    monkeypatch.setattr(ann_comparison, "SECONDS", 0.01)
    items = np.random.default_rng(0).normal(size=(2_000, 16)).astype(np.float32)
    build(items, similarity, "s", tmp_path / "index.onnx")
    threads = faiss.omp_get_max_threads()
    ann_comparison.write(items, similarity, tmp_path / "index.onnx", tmp_path / "choice.json")
    result = json.loads((tmp_path / "choice.json").read_text())
    exact, *others = result["curve"]
    assert exact["index"] == "exact" and exact["recall@100"] == 1 and len(others) == 3
    assert {p["index"] for p in others} == {"HNSW" if graph_up_to == 10_000 else "IVF"}
    assert others[-1]["recall@100"] > 0.9  # the widest setting finds nearly all: both mean the same neighbours
    good = [p for p in others if p["recall@100"] >= 0.99 and p["milliseconds"] <= exact["milliseconds"] / 2]
    assert (result["winner"] == "exact") == (not good) and result["note"] == "" and result["items"] == 2_000
    assert faiss.omp_get_max_threads() == threads


def test_the_queries_are_users(tmp_path: Path):
    """These users have one direction that no item has."""
    items = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    items[:, 0] = 0
    users = np.zeros((3, 8), np.float32)
    users[:, 0] = 1
    build(items, "dot", "s", tmp_path / "index.onnx")
    result = ann_comparison.measure(items, "dot", tmp_path / "index.onnx", users)
    assert result["queries"] == "users" and result["curve"][0]["recall@100"] == 1
    assert ann_comparison.measure(items, "dot", tmp_path / "index.onnx")["queries"] == "items"


def test_fewer_items_than_k(tmp_path: Path):
    items = np.eye(5, 8, dtype=np.float32)
    build(items, "dot", "s", tmp_path / "index.onnx")
    assert ann_comparison.measure(items, "dot", tmp_path / "index.onnx")["curve"][0]["recall@100"] == 1


def test_a_catalogue_too_large_to_compare(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(ann_comparison, "MOST", 4)
    items = np.eye(5, 8, dtype=np.float32)
    build(items, "dot", "s", tmp_path / "index.onnx")
    result = ann_comparison.measure(items, "dot", tmp_path / "index.onnx")
    assert result["winner"] == "exact" and len(result["curve"]) == 1 and "more than 4 items" in result["note"]
