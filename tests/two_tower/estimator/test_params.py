import pickle

import pytest

from two_tower import InputError, NotFittedError, TwoTowerRecommender


def test_clone_set_params_and_repr_round_trip() -> None:
    base = pytest.importorskip("sklearn.base")
    model = TwoTowerRecommender(dim=32, loss="bpr", user_column="customer", verbose=False)
    again = base.clone(model)
    assert again is not model and again.get_params() == model.get_params()
    assert repr(model) == "TwoTowerRecommender(dim=32, loss='bpr', user_column='customer', verbose=False)"
    assert eval(repr(model)).get_params() == model.get_params()
    assert model.set_params(dim=16) is model and model.dim == 16 and model.loss == "bpr"
    assert repr(TwoTowerRecommender()) == "TwoTowerRecommender()"
    assert pickle.loads(pickle.dumps(model)).get_params() == model.get_params()


def test_all_settings_of_pull_train_and_evaluation_are_parameters() -> None:
    names = TwoTowerRecommender().get_params()
    assert {"train_fraction", "epochs", "seed", "bootstrap_samples", "weight_column", "verbose"} <= set(names)
    model = TwoTowerRecommender(epochs=1)
    model.epochs = 7  # scikit-learn's tools set attributes, too
    assert model.get_params()["epochs"] == 7


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epoch": 3}, "unknown parameter of TwoTowerRecommender 'epoch'. Did you mean 'epochs'"),
        ({"user_col": "u"}, "Did you mean 'user_column'"),
        ({"epochs": 0}, "epochs=0"),
        ({"epochs": "3"}, "epochs='3' is not a whole number"),
        ({"hidden": 64.5}, "hidden=64.5 is not a whole number"),
        ({"seed": True}, "seed=True is not a whole number"),
        ({"dropout": float("nan")}, "dropout=nan is not a finite number"),
        ({"loss": "bprr"}, "Did you mean 'bpr'"),
        ({"train_fraction": 1.5}, "train_fraction=1.5"),
    ],
)
def test_a_wrong_parameter_is_named_and_nothing_changes(params: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TwoTowerRecommender(**params)
    model = TwoTowerRecommender(dim=8)
    with pytest.raises(InputError, match=message):
        model.set_params(dim=16, **params)
    assert model.dim == 8


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.recommend([1]),
        lambda model: model.similar_items([1]),
        lambda model: model.score([]),
        lambda model: model.user_embeddings(),
        lambda model: model.item_embeddings(),
        lambda model: model.evaluate([]),
        lambda model: model.save("nowhere"),
    ],
)
def test_an_estimator_that_is_not_fitted_says_what_to_do(call) -> None:
    with pytest.raises(NotFittedError, match=r"is not fitted\. Call fit\(interactions\) first"):
        call(TwoTowerRecommender())


def test_a_fitted_attribute_before_fit_says_what_to_do() -> None:
    model = TwoTowerRecommender()
    with pytest.raises(NotFittedError, match=r"has no metrics_\. Call fit\(interactions\) first"):
        _ = model.metrics_
    assert not hasattr(model, "metrics_")
    with pytest.raises(AttributeError, match="no attribute 'metric'"):
        _ = model.metric
