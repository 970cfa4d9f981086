"""The data gate on damaged data: `python -m benchmarks.gate [--data-dir D] [--json F]`.

Every kind of damage in `benchmarks.damage` is applied to the sources of a real data set. The features are then pulled
and checked against a reference of the same data set some days earlier. The damage is caught if the gate, or the pull
before it, fails; it is named if a reason names the damaged column. The clean data sets are checked in the same way
and must pass. So must the next day's data of 50 days in turn, each against the reference of the day before. Features
that contain the future are planted beside honest ones (`benchmarks.planted`), and the leak gate must name them and no
others. The benchmark also measures the time of the data gate per million interactions (movielens-1m).
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.damage import KINDS, MOVIELENS, RETAIL, Damage
from benchmarks.harness import arguments, finish, machine, progress, quiet
from benchmarks.planted import LEAKS, plant
from two_tower.checks import leaks
from two_tower.checks.expectations import validate
from two_tower.config import PullConfig
from two_tower.data.features import pull
from two_tower.data.pulled import Pulled
from two_tower.datasets import DATASETS
from two_tower.datasets.activity import item_activity, user_activity
from two_tower.datasets.prepare import prepare
from two_tower.errors import InputError
from two_tower.gates import Verdict
from two_tower.statistics import reference

DAYS_BEFORE = {MOVIELENS: 14, RETAIL: 14, "movielens-1m": 30, "sample": 7}  # age of the reference in days
QUICK = 9  # --quick tests every ninth kind
APPENDS, QUICK_APPENDS = 50, 2
GLOBO = "globo"
GLOBO_USERS = 4  # sample one user in four
GLOBO_WEEKS = (datetime(2017, 10, 2, tzinfo=UTC), datetime(2017, 10, 9, tzinfo=UTC), datetime(2017, 10, 16, tzinfo=UTC))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="Folder that holds ml-100k, ml-1m, online-retail and globo. Default: $TWO_TOWER_DATA.",
    )
    args = parser.parse_args()
    machine_info = machine()
    with tempfile.TemporaryDirectory(prefix="benchmark-gate-") as folder:
        rows, claims = measure(Path(folder), _data(args.data_dir), quick=args.quick)
    finish(rows, claims, machine_info | {"load_after": round(os.getloadavg()[0], 2)}, args.json)


def _data(data_dir: Path | None) -> Path:
    """Return the folder of the raw data: `data_dir`, else $TWO_TOWER_DATA, else a folder next to the checkout."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = data_dir or Path(os.environ.get("TWO_TOWER_DATA") or default)
    if not folder.is_dir():
        sys.exit(f"{folder} is not a folder. Pass --data-dir with ml-100k, ml-1m, online-retail and globo in it.")
    return folder


def measure(folder: Path, data: Path, *, quick: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    kinds = [k for k in KINDS[::QUICK] if k.dataset == MOVIELENS] if quick else KINDS
    clean = [MOVIELENS] if quick else [*DAYS_BEFORE, GLOBO]
    worlds, rows, seconds = {}, [], {}
    for name in clean:
        if name == GLOBO and not (data / GLOBO).is_dir():
            progress(f"{data / GLOBO} does not exist: globo is skipped")
            continue
        progress(f"clean: {name}")
        pulled, before = _globo(folder, data) if name == GLOBO else _world(name, folder / name, data)
        began = time.perf_counter()
        verdict = validate(pulled, folder / "report.html", before)
        seconds[name] = time.perf_counter() - began
        rows.append(_row(f"clean: {name}", name, "", verdict))
        worlds[name] = pulled.bounds.as_of, before, pulled.interactions.num_rows
    for place, kind in enumerate(kinds, 1):
        progress(f"{place} of {len(kinds)}: {kind.kind}")
        rows.append(_damaged(kind, folder, *worlds[kind.dataset][:2]))
    damaged = [row for row in rows if not row["what"].startswith("clean")]
    planted, false_names = _planted(folder) if not quick else ([], 0)
    appends = list(_appends(folder, worlds[MOVIELENS][0], QUICK_APPENDS if quick else APPENDS))
    false_alarms = sum(row["held"] for row in rows if row["what"].startswith("clean")) + false_names
    caught = sum(row["held"] for row in [*damaged, *planted])
    largest = max(worlds, key=lambda name: worlds[name][2] if name != GLOBO else 0)
    return [*rows, *planted, *appends], {
        "kinds": len(damaged) + len(planted),
        "kinds_caught": caught,
        "caught": caught,
        "named_column": sum(row["named"] for row in [*damaged, *planted]),
        "clean_sets": len(worlds),
        "clean_appends": len(appends),
        "false_alarms": false_alarms + sum(row["held"] for row in appends),
        "seconds_1m": round(seconds[largest] * 1e6 / worlds[largest][2], 2),
    }


def _world(name: str, folder: Path, data: Path) -> tuple[Pulled, dict[str, Any]]:
    """Pull a data set, and compute its reference some days earlier; the repository stays in `folder`/repo."""
    source = DATASETS[name].source
    with quiet():
        prepare(name, data / source.folder if source else None, folder / "repo")
        pulled = pull(folder / "repo", PullConfig(), None, folder / "pulled")
        earlier = pulled.bounds.as_of - timedelta(days=DAYS_BEFORE[name])
        before = reference.describe(pull(folder / "repo", PullConfig(), earlier, folder / "earlier"))
    return pulled, json.loads(json.dumps(before))


def _damaged(kind: Damage, folder: Path, as_of: datetime, before: dict[str, Any]) -> dict[str, Any]:
    """Apply one kind of damage and run the gate."""
    repo = folder / "damaged"
    shutil.rmtree(repo, ignore_errors=True)
    shutil.copytree(folder / kind.dataset / "repo", repo, ignore=shutil.ignore_patterns("tables", "*.db"))
    tables = {path.stem: pq.read_table(path) for path in (repo / "data").glob("*.parquet")}
    changed = kind.change(tables, np.random.default_rng(0))
    if kind.upstream:
        events = changed["interactions"]
        changed["user_activity"] = user_activity(events, "user_id", "item_id")
        changed["item_activity"] = item_activity(events, "item_id")
    for name, table in changed.items():
        if table is not tables[name]:
            pq.write_table(table, repo / "data" / f"{name}.parquet")
    try:
        with quiet():
            pulled = pull(repo, PullConfig(), as_of, folder / "pulled")
            verdict = validate(pulled, folder / "report.html", before)
    except InputError as error:
        verdict = Verdict(gate="data", passed=False, reasons=(f"pull: {error}",))
    return _row(kind.kind, kind.dataset, ", ".join(kind.columns), verdict, kind.columns)


def _planted(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """Plant leaks and honest features, and run the leak gate; return a row per leak, and the number of false names."""
    progress("planted leaks")
    repo = folder / "planted"
    shutil.copytree(folder / MOVIELENS / "repo", repo, ignore=shutil.ignore_patterns("tables", "*.db"))
    plant(repo)
    with quiet():
        verdict = leaks.check(repo)
    named = {result["feature"] for result in verdict.details["features"] if result["leaks"]}
    rows = [_row(kind, MOVIELENS, name, verdict, (f"feature {name!r}",)) for name, kind in LEAKS.items()]
    return [row | {"held": row["named"]} for row in rows], len(named - LEAKS.keys())


def _appends(folder: Path, end: datetime, count: int) -> Iterator[dict[str, Any]]:
    """Check the data of each of the last days against the reference of the day before."""
    before = None
    for days in range(count, -1, -1):
        as_of = end - timedelta(days=days)
        progress(f"clean append of {as_of:%Y-%m-%d}")
        with quiet():
            pulled = pull(folder / MOVIELENS / "repo", PullConfig(), as_of, folder / "appended")
            if before is not None:
                verdict = validate(pulled, folder / "report.html", before)
        if before is not None:
            yield _row(f"clean append: {as_of:%Y-%m-%d}", MOVIELENS, "", verdict)
        before = json.loads(json.dumps(reference.describe(pulled)))


def _row(what: str, dataset: str, column: str, verdict: Verdict, columns: tuple[str, ...] = ()) -> dict[str, Any]:
    naming = [r for r in verdict.reasons if any(c in r.split(": expect_")[0] for c in columns)]
    reason = (naming or [*verdict.reasons, ""])[0]
    return {
        "what": what,
        "dataset": dataset,
        "column": column,
        "held": not verdict.passed,
        "named": bool(naming),
        "reasons": len(verdict.reasons),
        "first": reason if len(reason) <= 110 else reason[:107] + "…",
    }


# --- one week of news against the next -----------------------------------------------------------------------------

_GLOBO = """
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Int64, UnixTimestamp

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)


def view(name, entities, schema, **more):
    source = FileSource(name=name, path=f"data/{name}.parquet", timestamp_field="event_timestamp")
    return FeatureView(name=name, entities=entities, source=source, schema=schema, **more)


code = {"encoding": "categorical"}
contexts = view("contexts", [user], [Field(name=n, dtype=Int64, tags=code) for n in
    ("environment", "device", "os", "country", "region", "referrer")])
user_activity = view("user_activity", [user], [
    Field(name="recent_items", dtype=Array(Int64), tags={"encoding": "history"}),
    Field(name="user_events", dtype=Int64), Field(name="last_seen", dtype=UnixTimestamp)])
items = view("items", [item], [Field(name="item", dtype=Int64, tags=code)])
item_activity = view("item_activity", [item], [
    Field(name=n, dtype=Int64) for n in ("item_events_7d", "item_events_30d", "item_events")])
interactions = view("interactions", [user, item], [Field(name="session", dtype=Int64)], online=False)
user_tower = FeatureService(name="user_tower", features=[contexts, user_activity])
item_tower = FeatureService(name="item_tower", features=[items, item_activity])
"""
_CLICKS = """
select user_id, click_article_id as item_id,
       make_timestamptz(click_timestamp * 1000) as event_timestamp, session_id as session,
       click_environment as environment, click_deviceGroup as device, click_os as os, click_country as country,
       click_region as region, click_referrer_type as referrer
from read_csv(?) where user_id % ? = 0 order by event_timestamp
"""


def _globo(folder: Path, data: Path) -> tuple[Pulled, dict[str, Any]]:
    """Pull the second week, and compute the reference of the first; each week is a store of its own."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        clicks = connection.execute(_CLICKS, [str(data / GLOBO / "clicks.csv.gz"), GLOBO_USERS]).to_arrow_table()
    stamps = clicks["event_timestamp"].cast(pa.timestamp("us", tz="UTC"))
    clicks = clicks.set_column(2, "event_timestamp", stamps)
    weeks = []
    for place, (start, end) in enumerate(pairwise(GLOBO_WEEKS)):
        inside = (stamps.to_numpy() >= np.datetime64(start.replace(tzinfo=None))) & (
            stamps.to_numpy() < np.datetime64(end.replace(tzinfo=None))
        )
        repo = folder / GLOBO / f"week-{place}"
        _write_week(clicks.filter(pa.array(inside)), repo)
        with quiet():
            weeks.append(pull(repo, PullConfig(), None, folder / GLOBO / "pulled"))
    return weeks[1], json.loads(json.dumps(reference.describe(weeks[0])))


def _write_week(clicks: pa.Table, repo: Path) -> None:
    (repo / "data").mkdir(parents=True)
    (repo / "definitions.py").write_text(_GLOBO)
    settings = {
        "project": "globo",
        "provider": "local",
        "registry": "data/registry.db",
        "offline_store": {"type": "duckdb"},
        "online_store": {"type": "sqlite", "path": "data/online.db"},
        "entity_key_serialization_version": 3,
    }
    (repo / "feature_store.yaml").write_text(json.dumps(settings))
    events = clicks.select(["user_id", "item_id", "event_timestamp", "session"])
    contexts = clicks.drop_columns(["item_id", "session"]).group_by(["user_id", "event_timestamp"])
    names = ["environment", "device", "os", "country", "region", "referrer"]
    contexts = contexts.aggregate([(n, "min") for n in names]).rename_columns(["user_id", "event_timestamp", *names])
    firsts = events.group_by("item_id").aggregate([("event_timestamp", "min")])
    items = pa.table(
        {"item_id": firsts["item_id"], "event_timestamp": firsts["event_timestamp_min"], "item": firsts["item_id"]}
    )
    tables = {
        "interactions": events,
        "contexts": contexts,
        "items": items,
        "user_activity": user_activity(events, "user_id", "item_id"),
        "item_activity": item_activity(events, "item_id"),
    }
    for name, table in tables.items():
        pq.write_table(table, repo / "data" / f"{name}.parquet")


if __name__ == "__main__":
    main()
