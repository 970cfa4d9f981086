"""Write a built-in data set as a feature repository: definitions and parquet sources."""

import json
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from two_tower.datasets import load, oracle
from two_tower.datasets.activity import item_activity, user_activity, user_seen
from two_tower.datasets.tables import Tables

PREPARED = "prepared.json"
REPOSITORIES = Path(__file__).parents[2] / "feature_repo"  # next to two_tower in a checkout and when installed


def prepare(name: str, data_dir: Path | None, folder: Path) -> None:
    """Write the feature repository of a data set.

    The folder contains:

        definitions.py feature_store.yaml two_tower.toml   the repository, which users can edit
        data/*.parquet                                     its sources
        tables/                                            the tables of the data set (`Tables.read`)
        oracle/                                            the true preferences of a simulated data set (`Oracle.read`)
        prepared.json                                      the rows of each table, and the rows each rule dropped

    Args:
        name: The name of the data set.
        data_dir: The folder of the raw files; see `locate`.
        folder: The output folder. An existing folder is replaced. The folder appears only when it is complete.

    Raises:
        InputError: If the name is unknown, or raw files are missing or not valid.
    """
    tables = load(name, data_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        repo = Path(temporary) / "repository"
        _copy(REPOSITORIES / name.replace("-", "_"), repo)
        write_sources(tables, repo / "data")
        tables.write(repo / "tables")
        truth = oracle(name)
        if truth is not None:
            truth.write(repo / "oracle")
        rows = {n: getattr(tables, n).num_rows for n in ("users", "items", "interactions")}
        (repo / PREPARED).write_text(json.dumps({"dataset": name, "rows": rows, "dropped": tables.report}, indent=2))
        if folder.exists():
            shutil.rmtree(folder)
        repo.rename(folder)


def write_sources(tables: Tables, folder: Path) -> dict[str, pa.Table]:
    """Write the parquet sources of a feature repository: the tables, and activity features computed from them.

    Args:
        tables: Users, items and interactions.
        folder: The output folder.

    Returns:
        The sources, by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    events, user_key, item_key = tables.interactions, tables.user_key, tables.item_key
    sources = {
        "users": tables.users,
        "items": tables.items,
        "interactions": events,
        "user_seen": user_seen(events, user_key, item_key),
    }
    if tables.has_times:
        sources |= {
            "user_activity": user_activity(events, user_key, item_key),
            "item_activity": item_activity(events, item_key),
        }
    for name, table in sources.items():
        pq.write_table(table, folder / f"{name}.parquet")
    return sources


def _copy(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.suffix in {".py", ".yaml", ".toml"}:
            shutil.copyfile(entry, folder / entry.name)
