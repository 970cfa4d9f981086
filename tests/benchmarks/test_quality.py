"""The metric against answers worked out by hand, the models on a world where they can be known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from benchmarks import quality, quality_search
from benchmarks.quality_metrics import evaluate, per_user
from benchmarks.quality_models import Ease, ItemKnn, Spectral, popularity, randomised_svd
from benchmarks.quality_splits import Split, block_world, carved, in_time

WORLD = block_world()


def ones(rows: list[list[int]], items: int) -> sparse.csr_array:
    matrix = np.zeros((len(rows), items), np.float32)
    for row, taken in zip(matrix, rows, strict=True):
        row[taken] = 1
    return sparse.csr_array(matrix)


def test_recall_and_ndcg_by_hand():
    """Four of 30 items are to be found; of the first 20 that are not in train, places 1 and 4 are right."""
    split = Split(ones([[0, 1]], 30), ones([[2, 5, 28, 29]], 30))
    scores = -np.arange(30, dtype=np.float32)[None]
    recall, ndcg = per_user(scores, split, np.array([0]), 20)[0]
    assert recall == 2 / 4
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4) + 1 / np.log2(5)
    assert ndcg == pytest.approx((1 + 1 / np.log2(5)) / ideal)


def test_recall_divides_by_all_that_there_is_to_find_and_ndcg_by_the_best_list():
    split = Split(ones([[0]], 30), ones([[*range(1, 26)]], 30))
    scores = -np.arange(30, dtype=np.float32)[None]
    assert per_user(scores, split, np.array([0]), 20)[0] == pytest.approx([20 / 25, 1])


def test_users_without_anything_to_find_do_not_count():
    split = Split(ones([[0], [0]], 3), ones([[], [1]], 3))
    assert evaluate(popularity(split.train), split, 1) == {"recall@1": 1, "ndcg@1": 1}


def test_ties_among_candidates_do_not_favour_the_right_one():
    split = Split(ones([[0]], 4), ones([[1]], 4), candidates=np.array([[1, 2, 3]]))
    assert per_user(np.zeros((1, 4), np.float32), split, np.array([0]), 2)[0].tolist() == [0, 0]
    assert per_user(np.array([[9, 1, 2, 0]], np.float32), split, np.array([0]), 2)[0] == pytest.approx(
        [1, 1 / np.log2(3)]
    )


@pytest.mark.parametrize(
    "model",
    [
        ItemKnn(),
        Ease(),
        Ease(5.0, 0.4, 0.2, 0.2, 0.1, 0.5),
        Spectral(4),
        Spectral(4, ridge=0.1),
        Spectral(4, linear=1.0),
    ],
)
def test_blocks_are_found(model):
    """Four groups, four dimensions: each user's two missing items are the only ones of the group that are left."""
    assert evaluate(model.fit(WORLD.final.train), WORLD.final, 2) == {"recall@2": 1, "ndcg@2": 1}


def test_popularity_finds_few_blocks():
    assert evaluate(popularity(WORLD.final.train), WORLD.final, 2)["recall@2"] < 0.3


def test_the_randomised_svd_is_the_svd():
    dense = np.random.default_rng(0).random((60, 40), dtype=np.float32) ** 4
    values, vectors = randomised_svd(sparse.csr_array(dense), 10, seed=0)
    _, exact, right = torch.linalg.svd(torch.from_numpy(dense), full_matrices=False)
    assert values == pytest.approx(exact[:10], rel=1e-4)
    assert (vectors.T @ right[:10].T).abs().diagonal() == pytest.approx(np.ones(10), abs=1e-2)


def test_ease_solves_its_own_problem():
    """Steck's closed form, written out: B = I - P / diag(P) with a zero diagonal; scores are X B."""
    train = sparse.csr_array((np.random.default_rng(0).random((50, 12)) < 0.4).astype(np.float32))
    dense = train.toarray()
    gram = dense.T @ dense
    inverse = np.linalg.inv(gram + 2 * np.diag(gram).mean() * np.eye(12))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    unseen = dense == 0
    assert Ease(ridge=2.0).fit(train)(np.arange(50))[unseen] == pytest.approx((dense @ weights)[unseen], abs=1e-4)


def test_the_linear_part_is_the_filter_written_out():
    train = WORLD.final.train
    model = Spectral(4, linear=2.0, linear_history=0.5, linear_user=0.8, linear_out=-0.3)
    dense, users, items = train.toarray(), train.sum(axis=1), train.sum(axis=0)
    alike = (dense * items**-0.5) @ dense.T * users**-0.8
    linear = alike / np.linalg.norm(alike, axis=1, keepdims=True) @ dense * items**-0.3
    everyone = np.arange(train.shape[0])
    spectral = replace(model, linear=0.0).fit(train)(everyone)
    assert model.fit(train)(everyone) == pytest.approx(spectral + 2 * linear, rel=1e-3)


def test_recency_weighs_the_history_by_its_age():
    """Three histories over orthogonal items: the oldest item of three counts 3^-2 of the latest."""
    train = ones([[0, 1, 2], [1, 3], [2]], 4)
    age = sparse.csr_array(np.array([[3, 1, 2, 0], [0, 2, 0, 1], [0, 0, 1, 0]], np.float32))
    model = Spectral(3, 0, 0, 0, 0, recency=2.0, linear=1.0, linear_history=0.0, linear_user=0.0)
    weighted = np.array([[1 / 9, 1, 1 / 4, 0], [0, 1 / 4, 0, 1], [0, 0, 1, 0]])
    _, _, right = np.linalg.svd(train.toarray())
    dense = weighted @ right[:3].T
    alike = weighted @ train.toarray().T
    dense, alike = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (dense, alike))
    found = model.fit(train, age=age)(np.arange(3))
    assert found == pytest.approx(dense @ right[:3] + alike @ train.toarray(), abs=1e-4)


def test_recency_without_an_order_is_a_mistake():
    with pytest.raises(AssertionError, match="order"):
        Spectral(2, recency=1.0).fit(WORLD.final.train)


def test_validation_of_gowalla_is_the_last_fifth_of_each_line():
    user, item = np.repeat([0, 1], [5, 9]), np.array([4, 0, 3, 1, 2, *range(9)])
    split = in_time(user, item, (3, 9), 0.8)
    assert [row.nonzero()[0].tolist() for row in split.held.toarray()] == [[2], [7, 8], []]
    assert split.age is not None and (split.train + split.held).sum() == 14
    assert split.age.toarray()[0].tolist() == [3, 1, 0, 2, 4, 0, 0, 0, 0]


def test_validation_of_ncf_is_one_item_a_user_and_99_that_nobody_told():
    rng = np.random.default_rng(0)
    taken = sparse.csr_array((rng.random((20, 200)) < 0.1).astype(np.float32))
    split = carved(taken, ones([[0]] * 20, 200), seed=0)
    assert split.held.sum(axis=1).tolist() == [1] * 20 and (split.train + split.held != taken).nnz == 0
    assert split.candidates is not None and split.candidates.shape == (20, 100)
    wrong = split.candidates[:, 1:]
    assert not (taken.toarray()[np.arange(20)[:, None], wrong]).any() and not (wrong == 0).any()


def test_search_leaves_a_bad_start():
    start = Spectral(width=1)
    found = quality_search.search("x", start, {"width": (2, 4)}, WORLD.choose, 2, users=120)
    assert found == replace(start, width=4)


def test_finalists_are_asked_for_all_users():
    """For the sample, of one user, a width of 3 is as good as 4, so that the start stays; for all of them it is not."""
    start, space = Spectral(width=3), {"width": (4,)}
    assert quality_search.search("x", start, space, WORLD.choose, 2, users=1) == start
    assert quality_search.search("x", start, space, WORLD.choose, 2, users=1, finalists=2) == replace(start, width=4)


def test_quick(tmp_path, monkeypatch, capsys):
    file = tmp_path / "out.json"
    monkeypatch.setattr("sys.argv", ["quality", "gowalla", "--quick", "--json", str(file)])
    quality.main()
    said = json.loads(file.read_text())
    claims = said["claims"]
    assert claims["honest_recall@2"] == claims["spectral_honest_recall@2"] == claims["leaderboard_ndcg@2"] == 1
    assert claims["popularity_honest_recall@2"] < 0.3 and "honest_recall@2" in capsys.readouterr().out
    assert {row["model"] for row in said["rows"]} == {"popularity", "item_knn", "ease", "spectral", "best"}


def test_every_split_has_settings_of_both_protocols():
    settings = quality.tomllib.loads(quality.SETTINGS.read_text())
    for name in quality.CUTOFF:
        for protocol in quality.PROTOCOLS:
            models = settings[name][protocol]
            assert {"item_knn", "spectral", "best"} <= set(models)
            assert all(quality._model(chosen) for chosen in models.values())
