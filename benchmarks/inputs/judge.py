"""Compare what a promoted release serves with what was evaluated, for every user.

The features that the release reads from the online store must equal those that the point-in-time join gives as of
now, and the items that it recommends must equal those that the evaluation's code ranks highest for these features.
"""

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd
import pyarrow.parquet as pq

from two_tower.data import sources
from two_tower.data.repository import open_store, service, view
from two_tower.evaluation.scorers import compare
from two_tower.inputs import table_from_rows
from two_tower.recommender.recommender import Recommender, load_release
from two_tower.releases.item_index import embed_items, embed_users
from two_tower.schema import INTERACTIONS_VIEW, SEEN_SERVICE, USER_SERVICE, Encoding

K = 10
TOLERANCE = 1e-4  # of scores
_TIME, _ROW = "benchmark_time", "benchmark_row"

Row = Mapping[str, Any]


def main() -> None:
    """Print each difference of the release in out/releases; exit with status 1 if there is one."""
    found = list(differences(Path("repo").resolve(), Path("out/releases").resolve()))
    print("\n".join(found))
    raise SystemExit(bool(found))


def differences(repo: Path, releases: Path) -> Iterator[str]:
    """Yield one sentence for each feature that is served differently, and one for each kind of different items."""
    recommender = load_release(releases)
    assert recommender.store
    at = datetime.now(UTC)  # as in the service, which applies the ttl of a view to the time of the request
    users, offline = evaluated_features(repo, recommender, at)
    online = list(recommender.store.rows(users))
    yield from _features(recommender, users, offline, online)
    known = [i for i, row in enumerate(offline) if any(not _missing(value) for value in row.values())]
    yield from _items(recommender, releases, [users[i] for i in known], [offline[i] for i in known], at)


def evaluated_features(repo: Path, recommender: Recommender, at: datetime) -> tuple[list[Any], list[Row]]:
    """Read the features of all users who have interactions, with the join that training uses, as of a time."""
    contract = recommender.contract
    with contextlib.chdir(repo), sources.ibis_session():
        store = open_store(Path.cwd(), asof=True)
        interactions = view(store, INTERACTIONS_VIEW, "the benchmark reads its users")
        table = sources.read(store, interactions, [contract.user_key], until=at)
        users = [user for user in table[contract.user_key].unique().to_pylist() if user not in (None, "")]
        entities = pd.DataFrame({contract.user_key: users, _TIME: at})
        entities[_ROW] = np.arange(len(users))
        rows: list[dict[str, Any]] = [{} for _ in users]
        for name in (USER_SERVICE, *((SEEN_SERVICE,) if contract.seen else ())):
            with contextlib.redirect_stdout(io.StringIO()):  # Feast prints the name of the timestamp column
                joined = store.get_historical_features(entity_df=entities, features=service(store, name)).to_arrow()
            for row in joined.to_pylist():
                rows[row[_ROW]].update(row)
    names = [f.name for f in (*contract.user, *((contract.seen,) if contract.seen else ()))]
    return users, [{name: row[name] for name in names} for row in rows]


def _features(
    recommender: Recommender, users: Sequence[Any], offline: Sequence[Row], online: Sequence[Row | None]
) -> Iterator[str]:
    contract = recommender.contract
    for f in (*contract.user, *((contract.seen,) if contract.seen else ())):
        served = [row[f.name] if row else None for row in online]
        wrong = [i for i, row in enumerate(offline) if not same(row[f.name], served[i])]
        if wrong:
            i = wrong[0]
            yield (
                f"{f.name} of user {users[i]!r} is {served[i]!r:.60} online and {offline[i][f.name]!r:.60} offline; "
                f"it differs for {len(wrong)} of {len(users)} users"
            )


def _items(
    recommender: Recommender, releases: Path, users: Sequence[Any], rows: Sequence[Row], at: datetime
) -> Iterator[str]:
    contract, folder, now = recommender.contract, releases / recommender.release, at.timestamp()
    catalogue = pq.read_table(folder / "items.parquet")
    ids = catalogue[contract.item_key].to_pylist()
    item = embed_items(folder, catalogue, contract, np.full(len(ids), recommender.ranker.as_of))
    user = embed_users(folder, table_from_rows(rows, contract.user), contract, np.full(len(rows), int(now)))
    scores = compare(user, item, _similarity(folder))
    responses = recommender.recommend_many(users, k=min(K, recommender.size), now=now)
    lists = [f.name for f in contract.user if f.encoding == Encoding.HISTORY]
    lists += [contract.seen.name] if contract.seen else []
    wrong: dict[str, int] = {}
    for row, of_user, response in zip(rows, scores, responses, strict=True):
        seen = {one for name in lists for one in row[name] or ()}
        allowed = np.array([one not in seen for one in ids])
        best = np.sort(of_user[allowed])[::-1][: min(K, recommender.size)]
        of_item = dict(zip(ids, of_user.tolist(), strict=True))
        got = np.array([of_item[one.item_id] for one in response.items])
        if response.fallback:
            reason = f"the answer is the fallback {response.fallback!r}"
        elif any(one.item_id in seen for one in response.items):
            reason = "the items hold one that the user has seen"
        elif len(got) != len(best) or not np.allclose(got, best, atol=TOLERANCE):
            reason = "the items are not the best of the evaluation"
        else:
            continue
        wrong[reason] = wrong.get(reason, 0) + 1
    for reason, count in wrong.items():
        yield f"{reason}, for {count} of {len(users)} users"


def _similarity(folder: Path) -> str:
    session = ort.InferenceSession(folder / "user_tower.onnx", providers=["CPUExecutionProvider"])
    return str(session.get_modelmeta().custom_metadata_map["similarity"])


def same(a: Any, b: Any) -> bool:
    """Return whether two raw feature values are equal; NaN, an empty text and an empty list count as missing."""
    if _missing(a) or _missing(b):
        return _missing(a) and _missing(b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, datetime) and isinstance(b, datetime):
        return abs(_utc(a) - _utc(b)) < timedelta(seconds=1)  # online stores keep whole seconds
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-6)
    return type(a) is type(b) and a == b


def _missing(value: Any) -> bool:
    return value is None or value in ("", []) or value != value  # NaN differs from itself


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
