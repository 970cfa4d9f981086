"""One small shop, fitted once; what it answers, what it refuses, and what it saves."""

import copy
import pickle
import re
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import two_tower
from tests.serving.running import service
from tests.two_tower.starter import tables
from two_tower import InputError, TwoTowerRecommender, load_release
from two_tower.datasets import checkerboard
from two_tower.estimator import fitting
from two_tower.http_json import call

README = Path(two_tower.__file__).parents[1] / "README.md"
NOW = tables.when(tables.EVENTS).astimezone(UTC)
SMALL = {"epochs": 1, "dim": 8, "hidden": 16, "bootstrap_samples": 10, "verbose": False}


class Shop:
    """The tables of a shop as pandas frames, and an estimator fitted on them."""

    def __init__(self, folder: Path) -> None:
        self.orders = pd.read_csv(tables.events(folder))
        self.customers = pd.read_csv(tables.users(folder))
        self.articles = pd.read_csv(tables.items(folder), sep=";")
        self.model = TwoTowerRecommender(**SMALL).fit(self.orders, self.customers, self.articles)
        self.saved = self.model.save(folder / "saved")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


def test_fitted_attributes(shop: Shop) -> None:
    model = shop.model
    assert (model.n_users_, model.n_items_) == (tables.USERS, tables.ITEMS)
    assert model.train_end_ < model.validation_end_ < model.as_of_ == tables.when(tables.EVENTS - 1)
    assert set(model.metrics_) == {"two_tower", "popularity", "item_knn", "cooccurrence", "ease"}
    assert 0 <= model.metrics_["two_tower"]["recall@20"] <= 1
    assert [epoch["epoch"] for epoch in model.history_] == [1]
    became = model.columns_.set_index(["table", "column"])["role"]
    assert became["users", "id"] == "user key" and became["items", "title"] == "item feature"
    assert became["interactions", "ordered_at"] == "time" and became["users", "last_login"] == "unused"
    assert model.contract_.user_key == "customer"


def test_each_user_gets_k_unseen_items_best_first(shop: Shop) -> None:
    users = ["c001", "c007", "c001"]
    frame = shop.model.recommend(users, k=4, now=NOW)
    assert list(frame.columns) == ["customer", "sku", "score", "rank", "fallback"]
    assert frame["customer"].tolist() == [user for user in users for _ in range(4)]
    assert frame["rank"].tolist() == [1, 2, 3, 4] * 3
    assert frame["fallback"].isna().all()
    for _, part in frame.groupby(np.arange(len(frame)) // 4):
        assert part["score"].is_monotonic_decreasing
        seen = shop.orders.loc[shop.orders["customer"] == part["customer"].iloc[0], "sku"]
        assert not set(part["sku"]) & set(seen)
    everything = shop.model.recommend("c001", k=tables.ITEMS, exclude_seen=False, now=NOW)
    assert set(everything["sku"]) == set(range(tables.ITEMS))
    unseen = tables.ITEMS - shop.orders.loc[shop.orders["customer"] == "c001", "sku"].nunique()
    assert len(shop.model.recommend("c001", k=tables.ITEMS, now=NOW)) == unseen


def test_an_unknown_user_gets_popular_items_and_the_frame_says_so(shop: Shop) -> None:
    frame = shop.model.recommend(["c001", "nobody"], k=3, now=NOW)
    assert frame["fallback"].tolist() == [None] * 3 + ["popular"] * 3
    recent = shop.orders[pd.to_datetime(shop.orders["ordered_at"]) > shop.model.as_of_ - timedelta(days=30)]
    counts = recent["sku"].value_counts()
    assert frame["score"].tolist()[3:] == sorted(counts, reverse=True)[:3]


def test_a_filter_keeps_items_that_fulfil_it(shop: Shop) -> None:
    frame = shop.model.recommend(["c001", "nobody"], k=20, filter={"price": {"max": 20}}, exclude_seen=False, now=NOW)
    assert set(frame["sku"]) == set(shop.articles.loc[shop.articles["price"] <= 20, "sku"])
    with pytest.raises(InputError, match="Did you mean 'price'"):
        shop.model.recommend(["c001"], filter={"prise": 3})


def test_a_table_describes_users_known_and_new(shop: Shop) -> None:
    columns = ["id", "age", "city", "joined", "newsletter"]
    known = shop.customers.loc[shop.customers["id"] == "c003", columns]
    same = shop.model.recommend(known, k=5, now=NOW)
    pd.testing.assert_frame_equal(same, shop.model.recommend(["c003"], k=5, now=NOW))
    new = known.assign(id="new", recent_items=[[4, 5]])
    frame = shop.model.recommend(pa.Table.from_pandas(new, preserve_index=False), k=20, now=NOW)
    assert frame["customer"].unique().tolist() == ["new"] and frame["fallback"].isna().all()
    assert set(frame["sku"]) == set(range(tables.ITEMS)) - {4, 5}, "the given history counts as seen"
    unseen = shop.model.recommend(["c003"], k=2, now=NOW)["sku"].tolist()
    changed = shop.model.recommend(known.assign(recent_items=[unseen]), k=1, now=NOW)
    assert not {*changed["sku"]} & {*unseen}, "the history of the table replaces the known one"
    numbered = shop.model.recommend(new.drop(columns="id"), k=20, now=NOW)
    assert numbered["customer"].unique().tolist() == [0] and numbered["sku"].tolist() == frame["sku"].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="city"), "user table has no column 'city'"),
        (lambda frame: frame.assign(towns=1), "unknown column of the user table 'towns'"),
        (lambda frame: frame.assign(id=7), "is 7. The ids of column 'customer' are text"),
        (lambda frame: frame.assign(age="old"), "user table: column 'age' cannot be read as in fit"),
        (lambda frame: frame.assign(recent_items=["x"]), "user table: column 'recent_items' has the type string"),
        (lambda frame: frame.iloc[:0], "user table has no rows"),
    ],
)
def test_a_table_of_users_that_does_not_fit_is_refused(shop: Shop, change, message: str) -> None:
    frame = shop.customers[["id", "age", "city", "joined", "newsletter"]].head(1)
    with pytest.raises(InputError, match=message):
        shop.model.recommend(change(frame))


@pytest.mark.parametrize("k", [0, -1, tables.ITEMS + 1, 2.5, True, "3"])
def test_k_out_of_range_is_refused(shop: Shop, k: object) -> None:
    for ask in (shop.model.recommend, shop.model.similar_items):
        with pytest.raises(InputError, match=r"k=.* 1 to 20"):
            ask(["c001"] if ask == shop.model.recommend else [3], k=k)


def test_similar_items_are_the_nearest_by_embedding(shop: Shop) -> None:
    frame = shop.model.similar_items([3, 5], k=4)
    assert list(frame.columns) == ["sku", "similar_item", "score", "rank"]
    embeddings = shop.model.item_embeddings()
    nearest = (embeddings @ embeddings.loc[3]).drop(3).sort_values(ascending=False).head(4)
    assert frame.loc[frame["sku"] == 3, "similar_item"].tolist() == nearest.index.tolist()
    np.testing.assert_allclose(frame["score"][:4], nearest, atol=1e-5)
    with pytest.raises(InputError, match="items: unknown item 99"):
        shop.model.similar_items([99])


def test_score_gives_pairs_what_recommend_ranks_by(shop: Shop) -> None:
    frame = shop.model.recommend(["c001", "c002"], k=5, now=NOW)
    pairs = frame.sample(frac=1, random_state=0)
    scored = shop.model.score(pairs, now=NOW)
    np.testing.assert_allclose(scored["score"], pairs["score"], atol=1e-5)
    users, items = shop.model.user_embeddings(["c001"], now=NOW), shop.model.item_embeddings([7])
    one = shop.model.score(pa.table({"customer": ["c001"], "sku": [7]}), now=NOW)
    assert one["score"][0] == pytest.approx(float(users.loc["c001"] @ items.loc[7]), abs=1e-6)
    unknown = shop.model.score(pd.DataFrame({"customer": ["nobody", "c001"], "sku": [7, 99]}))
    assert unknown["score"].isna().all()
    with pytest.raises(InputError, match="pairs has no column 'sku'"):
        shop.model.score(pd.DataFrame({"customer": ["c001"], "skus": [7]}))


def test_embeddings_come_with_ids(shop: Shop) -> None:
    users, items = shop.model.user_embeddings(now=NOW), shop.model.item_embeddings()
    assert (users.shape, items.shape) == ((tables.USERS, 8), (tables.ITEMS, 8))
    assert users.index.name == "customer" and sorted(items.index) == list(range(tables.ITEMS))
    assert (users.dtypes == np.float32).all()
    np.testing.assert_allclose(np.linalg.norm(users, axis=1), 1, atol=1e-5)
    with pytest.raises(InputError, match="users: unknown user 'nobody'"):
        shop.model.user_embeddings(["nobody"])


def test_evaluate_on_the_test_window_gives_the_metrics_of_fit_with_or_without_the_rows_before(shop: Shop) -> None:
    assert shop.model.evaluate(shop.orders) == shop.model.metrics_
    window = shop.orders[pd.to_datetime(shop.orders["ordered_at"]) >= shop.model.validation_end_]
    assert 0 < len(window) < len(shop.orders)
    assert shop.model.evaluate(window) == shop.model.metrics_


def test_without_times_it_fits_and_evaluates_a_holdout_or_new_pairs(shop: Shop) -> None:
    pairs = shop.orders[["customer", "sku"]].drop_duplicates()
    rest, held_out = pairs.iloc[:-30], pairs.iloc[-30:]
    model = TwoTowerRecommender(timestamp_column="none", **SMALL).fit(rest, shop.customers, shop.articles)
    assert "recent_items" not in {f.name for f in model.contract_.user}
    assert model.evaluate(rest) == model.metrics_
    metrics = model.evaluate(held_out)
    assert metrics == model.evaluate(pairs) != model.metrics_
    user = held_out["customer"].iloc[0]
    unseen = tables.ITEMS - (rest["customer"] == user).sum()
    assert len(model.recommend(user, k=tables.ITEMS, now=NOW)) == unseen


def test_evaluate_ranks_interactions_after_those_of_fit(shop: Shop) -> None:
    later = pd.DataFrame(
        {
            "customer": ["c001", "c002", "newcomer"],
            "sku": [3, 4, 5],
            "ordered_at": [tables.when(tables.EVENTS + n).isoformat() for n in range(3)],
        }
    )
    loaded = TwoTowerRecommender.load(shop.saved)
    metrics = loaded.evaluate(later)
    assert set(metrics["two_tower"]) == set(loaded.metrics_["two_tower"])
    assert metrics == shop.model.evaluate(later)
    early = shop.orders.head(50)
    with pytest.raises(InputError, match=r"none of 50 is after the training and validation windows of fit\(\)"):
        loaded.evaluate(early)
    with pytest.raises(InputError, match="interactions has no column 'ordered_at'"):
        loaded.evaluate(later.drop(columns="ordered_at"))
    with pytest.raises(InputError, match=r"evaluate\(\) takes what fit\(\) took: a table of interactions; got str"):
        loaded.evaluate("repo")


def test_a_saved_estimator_answers_alike_wherever_its_folder_is(shop: Shop, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    TwoTowerRecommender.load(shop.saved).save(moved)
    model = TwoTowerRecommender.load(moved)
    assert model.get_params() == shop.model.get_params() and model.metrics_ == shop.model.metrics_
    users = [*shop.customers["id"], "nobody"]
    expected = shop.model.recommend(users, k=5, now=NOW)
    pd.testing.assert_frame_equal(model.recommend(users, k=5, now=NOW), expected)


def test_a_saved_release_knows_the_users(shop: Shop) -> None:
    release = load_release(shop.saved)
    for user in ["c000", "c017", "nobody"]:
        expected = shop.model.recommend([user], k=5, now=NOW)
        answer = release.recommend(user_id=user, k=5, now=NOW.timestamp())
        assert [item.item_id for item in answer.items] == expected["sku"].tolist()
        assert [item.score for item in answer.items] == pytest.approx(expected["score"].tolist(), abs=1e-6)
        assert answer.fallback == expected["fallback"][0]


def test_save_and_load_refuse_folders_that_are_not_theirs(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is not empty\. Pass a folder that does not exist yet"):
        shop.model.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match=r"is not a saved TwoTowerRecommender: estimator.json is missing"):
        TwoTowerRecommender.load(tmp_path)
    torn = shop.model.save(tmp_path / "torn")
    (torn / shop.model.release_ / "index.onnx").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"index.onnx differs from the file that was published"):
        TwoTowerRecommender.load(torn)


def test_a_fitted_estimator_is_not_pickled(shop: Shop) -> None:
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match=r"Use save\(folder\) and TwoTowerRecommender.load\(folder\)"):
            attempt(shop.model)


@pytest.mark.parametrize(
    ("tables_given", "params", "message"),
    [
        (lambda s: [s.orders.iloc[:0]], {}, "interactions has no rows"),
        (lambda s: [s.orders, s.customers.iloc[:0]], {}, "users has no rows"),
        (lambda s: [s.orders.values.tolist()], {}, "interactions is of type list"),
        (lambda s: [pd.concat([s.orders, s.orders["sku"]], axis=1)], {}, "interactions has the column 'sku' 2 times"),
        (lambda s: [s.orders], {"user_column": "custmer"}, r"user_column 'custmer'.* Did you mean 'customer'"),
        (lambda s: [s.orders], {"timestamp_column": "stars"}, "^interactions: .*'stars'.*timestamp_format"),
        (lambda s: [s.orders], {"weight_column": "star"}, "weight_column 'star'.* Did you mean 'stars'"),
        (lambda s: [s.orders.assign(ordered_at="Monday")], {}, "^interactions: .*ordered_at.*timestamp_column"),
        (lambda s: [s.orders.rename(columns={"customer": "a"})], {}, "user_column"),
        (lambda s: [s.orders, pd.DataFrame({"id": ["x", "y"], "age": [3, 4]})], {}, "^users: "),
        (
            lambda s: [s.orders.assign(customer=s.orders["customer"].where(s.orders.index > 2))],
            {},
            "interactions: 3 of 400 rows have no user",
        ),
        (
            lambda s: [s.orders, s.customers.assign(id=s.customers["id"].where(s.customers.index != 4))],
            {},
            "users: 1 of 30 rows have no key",
        ),
        (lambda s: [s.orders.head(30)], {}, "validation .* has 3 of 30 interactions"),
        (lambda _: ["/no/such/repo"], {}, "/no/such/repo"),
        (lambda s: ["/no/such/repo", s.customers], {}, "users and items are for tables"),
        (lambda _: ["/no/such/repo"], {"item_column": "sku"}, "item_column is for tables"),
    ],
)
def test_tables_that_cannot_be_used_are_named_and_nothing_is_left(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables_given, params: dict, message: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = TwoTowerRecommender(**SMALL, **params)
    with pytest.raises(InputError, match=message) as error:
        model.fit(*tables_given(shop))
    assert "--" not in str(error.value) and ".parquet" not in str(error.value), "words of the command line"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="is not fitted"):
        model.recommend([1])


def test_a_fit_that_fails_leaves_the_earlier_one(shop: Shop) -> None:
    before = shop.model.recommend(["c001"], now=NOW)
    with pytest.raises(InputError, match="interactions has no rows"):
        shop.model.fit(shop.orders.iloc[:0])
    pd.testing.assert_frame_equal(shop.model.recommend(["c001"], now=NOW), before)


def test_users_that_are_the_interactions_themselves_count_as_not_given(shop: Shop) -> None:
    given = fitting.given_tables(shop.orders, shop.orders, shop.articles)
    assert list(given) == ["interactions", "items"]


@pytest.mark.slow
def test_the_lines_of_the_readme_tell_two_groups_apart_and_a_second_fit_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"## From Python\n\n((?:    .*\n|\n)+)", README.read_text())
    monkeypatch.chdir(tmp_path)
    scope: dict = {"interactions": checkerboard.load().interactions}
    exec(re.sub(r"^    ", "", block, flags=re.MULTILINE), scope)
    printed = capfd.readouterr()
    assert float(printed.out.split("\n")[0]) > 0.95
    lines = printed.err.splitlines()
    assert (lines[0], lines[-1]) == ("fit: reading the tables", "fit: writing the release")
    assert all(line.startswith("fit: ") for line in lines), "no bar where standard error is not a terminal"
    model = scope["model"]
    answers, figures = model.recommend(range(60), k=5, now=NOW), model.metrics_
    assert (answers["user_id"] % 2 == answers["item_id"] % 2).all()
    again = TwoTowerRecommender.load("my_model")
    pd.testing.assert_frame_equal(again.recommend(range(60), k=5, now=NOW), answers)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    again.fit(scope["interactions"].to_pandas())
    assert len(list(tmp_path.glob("two-tower-*"))) == 1
    pd.testing.assert_frame_equal(again.recommend(range(60), k=5, now=NOW), answers)
    assert again.metrics_ == figures


def test_a_time_without_a_zone_is_utc(shop: Shop) -> None:
    naive = datetime(2024, 5, 1)  # noqa: DTZ001 - what this test is about
    aware = naive.replace(tzinfo=UTC)
    pd.testing.assert_frame_equal(shop.model.recommend(["c001"], now=naive), shop.model.recommend(["c001"], now=aware))


@pytest.mark.slow
def test_the_service_on_a_saved_folder_answers_as_the_estimator(shop: Shop) -> None:
    now = datetime.now(UTC)
    with service(shop.saved) as (_, port, _):
        for user in ["c000", "c017", "nobody"]:
            reply = call("POST", f"http://127.0.0.1:{port}/v1/recommend", {"user_id": user, "k": 5})
            expected = shop.model.recommend([user], k=5, now=now)
            assert [item["item_id"] for item in reply.body["items"]] == expected["sku"].tolist()
            scores = [item["score"] for item in reply.body["items"]]
            assert scores == pytest.approx(expected["score"].tolist(), abs=1e-5)
            assert reply.body["fallback"] == expected["fallback"][0]


@pytest.mark.slow
def test_a_feast_repository_gives_what_the_steps_of_the_pipeline_give(tmp_path: Path) -> None:
    repo = two_tower.prepare_dataset("checkerboard", tmp_path / "repo")
    settings = {"dim": 16, "epochs": 3, "seed": 4}
    pulled = two_tower.pull_features(repo)
    towers = two_tower.export_towers(two_tower.train_towers(pulled, **settings), tmp_path / "towers")
    expected = two_tower.evaluate_towers(pulled, towers, bootstrap_samples=10).metrics

    model = TwoTowerRecommender(**settings, bootstrap_samples=10).fit(repo)
    assert model.metrics_ == expected and model.columns_ is None
    assert model.evaluate(repo) == expected
    saved = model.save(tmp_path / "saved")
    answers = TwoTowerRecommender.load(saved).recommend([7], k=5, now=NOW)
    pd.testing.assert_frame_equal(answers, model.recommend([7], k=5, now=NOW))
    served = load_release(saved).recommend(user_id=7, k=5, now=NOW.timestamp())
    assert [item.item_id for item in served.items] == answers["item_id"].tolist()
    assert served.fallback is None, "the repository's own online store knows the user"
    features = model.contract_.user
    frame = pd.DataFrame({f.name: [None] for f in features} | {"recent_items": [[1, 3]]})
    assert set(model.recommend(frame, k=3, now=NOW)["item_id"]).isdisjoint({1, 3})
    with pytest.raises(InputError, match=f"user table has no column {features[0].name!r}"):
        model.recommend(frame.drop(columns=features[0].name))
    with pytest.raises(InputError, match=r"takes what fit\(\) took: the path of a Feast repository; got DataFrame"):
        model.evaluate(frame)
