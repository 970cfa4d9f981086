from two_tower.evaluation.metrics import roc


def test_the_curve_counts_right_and_wrong_items() -> None:
    """Of 201 items one is right: the first 10 hold it in half of the events, and 9.5 wrong ones of 200."""
    wrong, right, k = roc({"recall@10": 0.5, "recall@20": 0.6, "recall@100": 0.9}, items=201)
    assert k == [0, 10, 20, 100, 201]
    assert right == [0, 0.5, 0.6, 0.9, 1]
    assert wrong == [0, 9.5 / 200, 19.4 / 200, 99.1 / 200, 1]


def test_a_small_catalogue_has_fewer_cut_offs() -> None:
    assert roc({"recall@10": 0.5, "recall@20": 1, "recall@100": 1}, items=15) == (
        [0, 9.5 / 14, 1],
        [0, 0.5, 1],
        [0, 10, 15],
    )
