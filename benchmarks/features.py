"""The point-in-time pull compared with Feast's default store: `python -m benchmarks.features --rows N [--json F]`.

The store is synthetic: on average 20 interactions per user and 100 per item, a user view with 4 rows per user (one of
its features is a list) and an item view with 10 rows per item. `ours` is the whole pull, from the interactions to the
data set on disk, including the catalogue; `feast` is `get_historical_features` of Feast's default store (dask) for the
same interactions. Each runs in its own process; the time excludes imports, and the memory is the peak. The values must
be equal. For this, every key has a row from the start, because the dask store drops interactions without one. Then ours
runs alone at 1e5, 1e6 and 1e7 rows.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.harness import arguments, finish, machine, progress

GROWTH = (100_000, 1_000_000, 10_000_000)
USER = {"age": "Int64", "country": "String", "spend": "Float32", "recent": "Array(Int64)"}
ITEM = {"category": "String", "price": "Float32", "purchases": "Int64"}

_QUERIES = {
    "interactions": """
        select (hash(i) % ({n} // 20))::bigint as user_id, (hash(i, 1) % ({n} // 100))::bigint as item_id,
               make_timestamp(1700000000000000 + (hash(i, 2) % 8640000000000)::bigint) as event_timestamp,
               1::float as weight
        from range({n}) r(i)
    """,
    "users": """
        select (i % ({n} // 20))::bigint as user_id,
               make_timestamp(1699000000000000 + if(i < {n} // 20, i, (hash(i, 3) % 9640000000000)::bigint))
                   as event_timestamp,
               (hash(i, 4) % 80)::bigint as age, 'country ' || (hash(i, 5) % 200) as country,
               ((hash(i, 6) % 10000) / 100)::float as spend,
               [(hash(i, k) % ({n} // 100))::bigint for k in range(10, 20)] as recent
        from range({n} // 5) r(i)
    """,
    "items": """
        select (i % ({n} // 100))::bigint as item_id,
               make_timestamp(1699000000000000 + if(i < {n} // 100, i, (hash(i, 7) % 9640000000000)::bigint))
                   as event_timestamp,
               'category ' || (hash(i, 8) % 50) as category, ((hash(i, 9) % 10000) / 100)::float as price,
               (hash(i, 20) % 1000)::bigint as purchases
        from range({n} // 10) r(i)
    """,
}
_DEFINITIONS = f"""
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Float32, Int64, String

def view(name, entities, schema, **more):
    source = FileSource(name=name, path=f"data/{{name}}.parquet", timestamp_field="event_timestamp")
    return FeatureView(name=name, entities=entities, source=source, schema=schema, **more)

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)
users = view("users", [user], [{", ".join(f"Field(name={n!r}, dtype={t})" for n, t in USER.items())}])
items = view("items", [item], [{", ".join(f"Field(name={n!r}, dtype={t})" for n, t in ITEM.items())}])
interactions = view("interactions", [user, item], [Field(name="weight", dtype=Float32)], online=False)
user_tower = FeatureService(name="user_tower", features=[users])
item_tower = FeatureService(name="item_tower", features=[items])
"""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="Number of interactions in the comparison with Feast."
    )
    parser.add_argument("--only", choices=RUNS, help=argparse.SUPPRESS)  # one of the measured processes
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(_measure(args.only, args.folder)))
        return
    machine_info = machine()
    with tempfile.TemporaryDirectory(prefix="benchmark-features-") as folder:
        rows, claims = measure(Path(folder), 20_000 if args.quick else args.rows, quick=args.quick)
    finish(rows, claims, machine_info | {"load_after": round(os.getloadavg()[0], 2)}, args.json)


def measure(folder: Path, count: int, *, quick: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    sizes = [count] if quick else sorted({*GROWTH, count})
    rows, by_size = [], {}
    for size in sizes:
        repo = _make(folder / str(size), size)
        by_size[size] = _run("ours", repo)
        rows.append({"what": "ours", "rows": size, **by_size[size]})
        if size != count:
            continue
        if size > max(1_000_000, count if quick else 0):
            progress(f"Feast's default store is skipped above 1,000,000 rows: it joins {14 * size:,} rows")
            continue
        feast = _run("feast", repo)
        rows.append({"what": "feast (dask)", "rows": size, **feast})
    claims: dict[str, Any] = {}
    if any(row["what"].startswith("feast") for row in rows):
        ours = by_size[count]
        label = "1m" if count == 1_000_000 else str(count)
        claims[f"time_ratio_vs_feast_default_{label}"] = ours["seconds"] / feast["seconds"]
        claims[f"memory_ratio_vs_feast_default_{label}"] = ours["peak_gib"] / feast["peak_gib"]
        claims["values_equal"] = _equal(folder / str(count))
    if GROWTH[-1] in by_size:
        claims["peak_gib_10m"] = by_size[GROWTH[-1]]["peak_gib"]
        for small, large in pairwise(GROWTH):
            claims[f"time_growth_{small:.0e}_to_{large:.0e}"] = by_size[large]["seconds"] / by_size[small]["seconds"]
    return rows, claims


def _make(repo: Path, count: int) -> Path:
    progress(f"creating a store of {count:,} interactions")
    (repo / "data").mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'; set memory_limit = '2GB'")
        for name, query in _QUERIES.items():
            select = (
                f"select * replace (event_timestamp::timestamptz as event_timestamp) from ({query.format(n=count)})"
            )
            connection.execute(f"copy ({select}) to '{repo / 'data' / name}.parquet' (format parquet)")
    (repo / "definitions.py").write_text(_DEFINITIONS)
    for name, offline in (("feature_store.yaml", "duckdb"), ("feast.yaml", "dask")):
        settings = {
            "project": "synthetic",
            "provider": "local",
            "registry": "data/registry.db",
            "offline_store": {"type": offline},
            "online_store": {"type": "sqlite", "path": "data/online.db"},
            "entity_key_serialization_version": 3,
        }
        (repo / name).write_text(json.dumps(settings))
    return repo


def _run(name: str, repo: Path) -> dict[str, float]:
    progress(f"{name}: {repo.name} rows")
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.features", "--only", name, "--folder", str(repo)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _measure(name: str, repo: Path) -> dict[str, float]:
    run = RUNS[name](repo)
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": round(seconds, 2), "peak_gib": round(peak, 3)}


def _ours(repo: Path) -> Any:
    from two_tower.config import PullConfig
    from two_tower.data.features import pull_into

    return lambda: pull_into(repo, PullConfig(), None, repo / "pulled")


def _feast(repo: Path) -> Any:
    """Pull the same features for the same interactions with Feast's defaults."""
    import pandas as pd
    from feast import FeatureStore
    from feast.repo_config import load_repo_config

    def run() -> None:
        os.chdir(repo)
        store = FeatureStore(config=load_repo_config(repo, repo / "feast.yaml"))
        entities = pd.read_parquet("data/interactions.parquet").drop(columns="weight")
        features = [f"users:{n}" for n in USER] + [f"items:{n}" for n in ITEM]
        pq.write_table(store.get_historical_features(entities, features).to_arrow(), repo / "feast.parquet")

    return run


RUNS = {"ours": _ours, "feast": _feast}


def _equal(repo: Path) -> bool:
    """Check that both pulls have the same values for the same interactions."""
    from two_tower.data.pulled import Pulled

    pulled = Pulled.read(repo / "pulled", ("interactions", "user", "item"))
    keys = ["event_timestamp", "user_id", "item_id"]
    columns = {k: pulled.interactions[k] for k in keys}
    columns |= {n: pulled.user[n] for n in USER} | {n: pulled.item[n] for n in ITEM}
    ours = pa.table(columns)
    feast = pq.read_table(repo / "feast.parquet", columns=list(columns)).select(list(columns))
    feast = feast.cast(ours.schema)
    order = [(k, "ascending") for k in keys]
    ours, feast = ours.sort_by(order), feast.sort_by(order)
    assert not pc.all(pc.is_null(ours["age"])).as_py(), "the synthetic store has values"
    return ours.combine_chunks().equals(feast.combine_chunks())


if __name__ == "__main__":
    main()
