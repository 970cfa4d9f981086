"""A data set as a feature repository that runs: definitions, their parquet sources, and what a report needs."""

import json
import shutil
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from two_tower.datasets import load, oracle
from two_tower.datasets.activity import item_activity, user_activity, user_seen
from two_tower.datasets.tables import Tables

PREPARED = "prepared.json"
REPOSITORIES = Path(__file__).parents[2] / "feature_repo"  # beside two_tower in a checkout and when installed


def prepare(name: str, data_dir: Path | None, folder: Path) -> None:
    """Write the feature repository of data set `name` to `folder`, which appears only when it is complete.

        definitions.py feature_store.yaml two_tower.toml   the repository, to read and to edit
        data/*.parquet                                     its sources
        tables/                                            the data set itself (`Tables.read`)
        oracle/                                            of a simulated world: its true preferences (`Oracle.read`)
        prepared.json                                      rows of each table, rows that each cleaning rule dropped

    An existing folder is replaced. Raises InputError for an unknown name and for raw files that cannot be read.
    """
    tables = load(name, data_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        whole = Path(temporary) / "repository"
        _copy(REPOSITORIES / name.replace("-", "_"), whole)
        write_sources(tables, whole / "data")
        tables.write(whole / "tables")
        truth = oracle(name)
        if truth is not None:
            truth.write(whole / "oracle")
        rows = {n: getattr(tables, n).num_rows for n in ("users", "items", "interactions")}
        (whole / PREPARED).write_text(json.dumps({"dataset": name, "rows": rows, "dropped": tables.report}, indent=2))
        if folder.exists():
            shutil.rmtree(folder)
        whole.rename(folder)


def write_sources(tables: Tables, folder: Path) -> None:
    """The parquet sources of a feature repository: the tables as they are, and the activity features over them."""
    folder.mkdir(parents=True, exist_ok=True)
    events, user_key, item_key = tables.interactions, tables.user_key, tables.item_key
    sources = {
        "users": tables.users,
        "items": tables.items,
        "interactions": events,
        "user_activity": user_activity(events, user_key, item_key),
        "user_seen": user_seen(events, user_key, item_key),
        "item_activity": item_activity(events, item_key),
    }
    for name, table in sources.items():
        pq.write_table(table, folder / f"{name}.parquet")


def _copy(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.suffix in {".py", ".yaml", ".toml"}:
            shutil.copyfile(entry, folder / entry.name)
