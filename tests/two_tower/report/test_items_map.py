import numpy as np
import pytest

from two_tower.report import items_map


def test_the_plane_holds_the_two_directions_that_vary_most():
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(500, 4)).astype(np.float32) * [9, 3, 0.1, 0.1]
    turned = wide @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    plane, explained = items_map.project(turned)
    assert explained > 0.99
    assert abs(np.corrcoef(plane[:, 0], wide[:, 0])[0, 1]) > 0.999
    assert abs(np.corrcoef(plane[:, 1], wide[:, 1])[0, 1]) > 0.99
    assert np.abs(plane).max() == pytest.approx(1)


@pytest.mark.parametrize("shape", [(3, 1), (1, 4)])
def test_a_line_and_a_single_item_are_maps_too(shape):
    plane, explained = items_map.project(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    assert plane.shape == (shape[0], 2)
    assert explained == pytest.approx(1)


def test_neighbours_are_those_of_a_full_sort_without_the_item(monkeypatch):
    monkeypatch.setattr(items_map, "BLOCK", 7)
    embeddings = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -np.inf)
    assert items_map.neighbours(embeddings).tolist() == np.argsort(-scores, axis=1)[:, :5].tolist()
    assert items_map.neighbours(embeddings[:3]).shape == (3, 2)
