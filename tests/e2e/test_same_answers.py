"""The service, the command line, Python and the evaluation give the same items for the same user."""

import json
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from serving.page.facets import facets
from tests.raw import real
from tests.serving.running import service
from tests.two_tower import parts
from two_tower.config import PullConfig, TrainConfig
from two_tower.data.features import materialize, pull
from two_tower.data.online_config import online_config
from two_tower.data.pulled import Pulled
from two_tower.datasets.prepare import prepare
from two_tower.deployment.service_questions import as_json
from two_tower.evaluation.scorers import compare
from two_tower.exporting.export import export
from two_tower.inputs import table_from_rows
from two_tower.recommender.recommender import Recommender, load_release
from two_tower.recommender.requests import feature_values
from two_tower.releases import release
from two_tower.releases.item_index import build_index, embed_items, embed_users
from two_tower.schema import POPULARITY
from two_tower.training.network.model import load as load_model
from two_tower.training.train import train

DATA = {"movielens-100k": "ml-100k", "movielens-1m": "ml-1m", "online-retail": "online-retail"}
INTERACTIONS = 30_000  # of a data set
TOLERANCE = 1e-5  # of scores: embeddings are computed one by one or in batches
TRIES = 20  # of a question to a service whose store is late on a busy machine

Items = list[tuple[str | int, float]]


@dataclass(frozen=True)
class World:
    """A data set, and a current release of towers that were trained for one epoch."""

    releases: Path
    pulled: Pulled


@pytest.fixture(
    scope="module",
    params=["checkerboard", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sample", *DATA))],
)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, name = tmp_path_factory.mktemp(request.param), request.param
    repo = folder / "repo"
    prepare(name, real(DATA[name]) if name in DATA else None, repo)
    keep_newest(repo / "data" / "interactions.parquet")
    pulled = pull(repo, PullConfig(), None, folder / "pulled")
    train(pulled, TrainConfig(dim=16, epochs=1, device="cpu"), folder / "model")
    model = load_model(folder / "model")
    export(model, folder / "towers")
    build_index(folder / "towers", pulled, folder / "index")
    (folder / "index" / "feature_store.yaml").write_text(online_config(repo))
    materialize(repo, pulled.bounds.as_of)
    bounds = {"as_of": pulled.bounds.as_of.isoformat()}
    manifest = parts.manifest(model.embedding_space, contract=pulled.contract, bounds=bounds, dataset=name)
    made = release.publish(folder / "releases", [folder / "towers", folder / "index"], manifest)
    release.activate(folder / "releases", made)
    yield World(folder / "releases", pulled)
    shutil.rmtree(folder)


def keep_newest(interactions: Path) -> None:
    """Keep few interactions: the features of the users and items stay those of the whole data set."""
    table = pq.read_table(interactions)
    newest = pc.sort_indices(table, sort_keys=[("event_timestamp", "descending")])[:INTERACTIONS]
    pq.write_table(table.take(newest), interactions)


def questions(world: World, recommender: Recommender, count: int) -> list[dict[str, Any]]:
    """Bodies of POST /v1/recommend: known and unknown users, filters, seen items, explicit features."""
    pulled = world.pulled
    users = pc.unique(pulled.interactions[pulled.contract.user_key]).to_pylist()[::-1]
    row_of = {user: row for row, user in enumerate(pulled.interactions[pulled.contract.user_key].to_pylist())}
    filters = [{column["name"]: column["values"][0][0]} for column in _columns(recommender) if "values" in column]
    filters += [{c["name"]: {"min": c["least"]}} for c in _columns(recommender) if "least" in c]
    unknown = "unknown-user" if isinstance(users[0], str) else -7
    asked: list[dict[str, Any]] = []
    for i in range(count):
        question: dict[str, Any] = {"user_id": users[i % len(users)], "k": (5, 10, 50)[i % 3]}
        match i % 8:
            case 1:
                question["filter"] = filters[i // 8 % len(filters)]
            case 3:
                question["exclude_seen"] = False
            case 5:
                row = pulled.user.slice(row_of[question.pop("user_id")], 1).to_pylist()[0]
                question["features"] = as_json(row)
            case 7 if i % 16 == 7:
                question["user_id"] = unknown
        asked.append(question)
    return asked


def _columns(recommender: Recommender) -> list[dict[str, Any]]:
    return facets(recommender.ranker.catalogue.table, recommender.contract)


def test_all_give_the_same_items(world: World) -> None:
    recommender = load_release(world.releases)
    count = 40 if world.releases.parent.name.startswith("checkerboard") else 200
    asked = questions(world, recommender, count)
    new_item = "side-item" if isinstance(recommender.items[0], str) else max(recommender.items) + 1
    with service(world.releases) as (_, port, _):
        # The features of the most popular item, with its id if that is a feature: the side item keeps its own id.
        features = recommender.ranker.catalogue.features([int(recommender.ranker.catalogue.by_popularity[0])])[0]
        post(port, "/v1/items", {"items": [{"item_id": new_item, "features": as_json(features)}]})
        served = [post(port, "/v1/recommend", question) for question in asked]
    recommender = load_release(world.releases)  # with the side item
    assert recommender.size == len(recommender.items) + 1
    shown = {item["item_id"] for response in served for item in response["items"]}
    fallbacks = [response["fallback"] for response in served]
    assert new_item in shown
    assert fallbacks.count("popular") == sum(q.get("user_id") in ("unknown-user", -7) for q in asked)
    assert_same(asked, served, lambda question: from_python(recommender, question))
    few = slice(40)  # each question to the command line opens the release
    assert_same(asked[few], served[few], lambda question: from_command_line(world.releases, question))
    known = [(q, r) for q, r in zip(asked, served, strict=True) if not r["fallback"]]
    scorer = Evaluation(world, recommender, new_item, features)
    assert_same([q for q, _ in known], [r for _, r in known], scorer.answer)


def post(port: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    for _ in range(TRIES):
        with urllib.request.urlopen(request, timeout=30) as reply:
            answer = json.load(reply)
        if answer.get("fallback") != "store":
            return answer
        time.sleep(0.5)
    raise AssertionError(f"the store was late {TRIES} times")


def from_python(recommender: Recommender, question: dict[str, Any]) -> Items:
    return [tuple(item) for item in recommender.recommend(**question).items]


def from_command_line(releases: Path, question: dict[str, Any]) -> Items:
    command = ["recommend", "--json", "--releases", str(releases), "-k", str(question["k"])]
    command += [f"--user={question['user_id']}"] if "user_id" in question else []
    command += ["--features", json.dumps(question["features"])] if "features" in question else []
    command += ["--filter", json.dumps(question["filter"])] if "filter" in question else []
    command += [] if question.get("exclude_seen", True) else ["--include-seen"]
    run = CliRunner().invoke(app, command)
    assert run.exit_code == 0, run.output
    return [(item["item_id"], item["score"]) for item in json.loads(run.stdout)["items"]]


class Evaluation:
    """What the evaluation's embeddings and scores say, over tables and without an index."""

    def __init__(self, world: World, recommender: Recommender, new_item: Any, features: dict[str, Any]) -> None:
        self.folder = world.releases / recommender.release
        self.recommender, self.contract = recommender, recommender.contract
        table = recommender.ranker.catalogue.table
        new = pa.Table.from_pylist([{**features, self.contract.item_key: new_item, POPULARITY: 0}], table.schema)
        self.items = pa.concat_tables([table, new])
        seconds = np.full(self.items.num_rows, recommender.ranker.as_of)
        seconds[-1] = int(time.time())  # a side item is embedded when it is upserted, the catalogue as of the release
        self.embeddings = embed_items(self.folder, self.items, self.contract, seconds)
        self.ids = self.items[self.contract.item_key].to_pylist()

    def answer(self, question: dict[str, Any]) -> Items:
        if "features" in question:
            row = feature_values(question["features"], self.contract.user)
        else:
            (row,) = self.recommender.store.rows([question["user_id"]])
        table = table_from_rows([row], self.contract.user)
        user = embed_users(self.folder, table, self.contract, np.array([int(time.time())]))
        (scores,) = compare(user, self.embeddings, "cosine")
        names = [f.name for f in self.contract.user if f.encoding == "history"]
        names += [self.contract.seen.name] if self.contract.seen else []
        seen = {item for name in names for item in row.get(name) or ()} if question.get("exclude_seen", True) else set()
        allowed = [item not in seen and self._passes(i, question) for i, item in enumerate(self.ids)]
        scores = np.where(allowed, scores, -np.inf)
        best = [i for i in np.argsort(-scores, kind="stable")[: question["k"]].tolist() if allowed[i]]
        return [(self.ids[i], float(scores[i])) for i in best]

    def _passes(self, row: int, question: dict[str, Any]) -> bool:
        for name, condition in question.get("filter", {}).items():
            value = self.items[name][row].as_py()
            if isinstance(condition, dict):
                if value is None or not self._reaches(value, condition["min"]):
                    return False
            elif condition not in (value if isinstance(value, list) else [value]):
                return False
        return True

    @staticmethod
    def _reaches(value: Any, least: Any) -> bool:
        return value.date().isoformat() >= least if isinstance(least, str) else value >= least


def assert_same(
    asked: list[dict[str, Any]], served: list[dict[str, Any]], answer: Callable[[dict[str, Any]], Items]
) -> None:
    """The same items in the same order with the same scores; items with equal scores may change places."""
    for question, response in zip(asked, served, strict=True):
        expected = [(item["item_id"], item["score"]) for item in response["items"]]
        got = answer(question)
        assert len(got) == len(expected), question
        np.testing.assert_allclose([s for _, s in got], [s for _, s in expected], atol=TOLERANCE, err_msg=str(question))
        scores = dict(got)
        for (item, score), (other, _) in zip(expected, got, strict=True):
            assert item == other or abs(scores.get(item, expected[-1][1]) - score) < TOLERANCE, (question, item, other)
