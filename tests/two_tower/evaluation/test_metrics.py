import numpy as np
import pytest

from two_tower.evaluation import metrics

INF = np.inf


def test_a_rank_counts_the_better_items():
    scores = np.array([[0.9, 0.5, 0.7, 0.1]] * 4, dtype=np.float32)
    assert metrics.ranks(scores, np.array([0, 1, 2, 3])).tolist() == [0, 2, 1, 3]


def test_ties_share_the_mean_of_their_places():
    scores = np.array([[3, 2, 2, 2, 1], [1, 1, 1, 1, 1]], dtype=np.float32)
    assert metrics.ranks(scores, np.array([2, 0])).tolist() == [2, 2]


def test_an_item_that_is_not_allowed_is_a_miss_and_has_no_effect_on_other_ranks():
    scores = np.array([[-INF, 2, 1], [-INF, 2, 1], [3, 2, 1]], dtype=np.float32)
    assert metrics.ranks(scores, np.array([2, 0, -1])).tolist() == [1, INF, INF]


def test_a_nan_score_is_an_error():
    with pytest.raises(AssertionError, match="not NaN"):
        metrics.ranks(np.array([[np.nan, 1]], dtype=np.float32), np.array([0]))


def test_metrics_by_hand():
    rank = np.array([0, 1, 9, 10, INF])
    assert metrics.recall(rank, 10).tolist() == [1, 1, 1, 0, 0]
    assert metrics.ndcg(rank, 10) == pytest.approx([1, 0.63093, 0.28906, 0, 0], abs=1e-5)
    assert metrics.mrr(rank, 10) == pytest.approx([1, 0.5, 0.1, 0, 0])
    assert metrics.recall(np.array([0.5]), 1).tolist() == [0], "tied for the first two places"


def test_users_have_equal_weight():
    summary = metrics.summary(np.array([0, 0, 0, 50]), np.array([7, 7, 7, 3]))
    assert summary["recall@20"] == 0.5
    assert summary["recall@100"] == 1
    assert summary["mrr@100"] == pytest.approx((1 + 1 / 51) / 2)


def test_per_user_is_in_order_of_the_users_codes():
    assert metrics.per_user(np.array([1.0, 0.0, 0.5]), np.array([9, 2, 9])).tolist() == [0, 0.75]


@pytest.mark.parametrize("users", [2, 5, 12, 100])
def test_the_interval_covers_the_true_mean(users):
    random = np.random.default_rng(0)
    truth, worlds, covered = 0.25, 400, 0
    for _ in range(worlds):
        low, high = metrics.interval(random.beta(1, 3, size=users), samples=100)
        covered += low <= truth <= high
    # A few users of a skewed distribution cover a little less than 0.95.
    assert 0.88 <= covered / worlds <= 0.98


def test_the_interval_of_one_user_is_infinite():
    assert metrics.interval(np.array([0.4]), samples=50) == (-INF, INF)


def test_a_paired_interval_ignores_the_spread_between_users():
    random = np.random.default_rng(0)
    before = random.random(200)
    after = before - 0.02 + random.normal(0, 0.01, size=200)
    low, high = metrics.interval(after - before, samples=100)
    assert -0.03 < low < high < -0.01
    assert metrics.interval(after, 200)[1] > before.mean(), "unpaired, nothing is seen"


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random(50)
    assert metrics.interval(values, 50) == metrics.interval(values, 50) != metrics.interval(values, 50, seed=1)


def test_top_lists_only_what_is_allowed():
    scores = np.array([[5, 4, 3, 2], [-INF, -INF, -INF, 1], [1, 1, 1, 9]], dtype=np.float32)
    lists = metrics.top(scores, 2)
    assert sorted(lists[:2]) == [0, 1] and lists[2] == 3 and 3 in lists[3:] and len(lists) == 5
    assert sorted(metrics.top(scores, 9)) == [0, 0, 1, 1, 2, 2, 3, 3, 3]


def test_roc_by_hand():
    """One of 201 items is relevant: half of the top 10 contain it, so they have 9.5 of 200 other items on average."""
    wrong, right, k = metrics.roc({"recall@10": 0.5, "recall@20": 0.6, "recall@100": 0.9}, items=201)
    assert k == [0, 10, 20, 100, 201]
    assert right == [0, 0.5, 0.6, 0.9, 1]
    assert wrong == [0, 9.5 / 200, 19.4 / 200, 99.1 / 200, 1]


def test_roc_of_a_small_catalogue_has_fewer_cut_offs():
    assert metrics.roc({"recall@10": 0.5, "recall@20": 1, "recall@100": 1}, items=15) == (
        [0, 9.5 / 14, 1],
        [0, 0.5, 1],
        [0, 10, 15],
    )
