import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.raw import movielens_100k
from two_tower.datasets import DATASETS, fingerprint, load
from two_tower.datasets.preferences import Oracle
from two_tower.datasets.prepare import prepare
from two_tower.datasets.tables import Tables
from two_tower.errors import InputError


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_a_repository_with_its_sources(tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    prepare("checkerboard", None, folder)
    sources = ("users", "items", "interactions", "user_activity", "user_seen", "item_activity")
    assert names(folder) >= {"definitions.py", "feature_store.yaml", "prepared.json", "tables/tables.json"}
    assert {f"data/{name}.parquet" for name in sources} <= names(folder)
    assert Tables.read(folder / "tables") == load("checkerboard")
    assert json.loads((folder / "prepared.json").read_text()) == {
        "dataset": "checkerboard",
        "rows": {"users": 60, "items": 80, "interactions": 1800},
        "dropped": {},
    }
    for name in sources:
        schema = pq.read_schema(folder / "data" / f"{name}.parquet")
        assert str(schema.field("event_timestamp").type) == "timestamp[us, tz=UTC]"


def test_the_simulated_world_comes_with_its_oracle(tmp_path: Path) -> None:
    prepare("sample", None, tmp_path / "repo")
    assert Oracle.read(tmp_path / "repo" / "oracle").listed.shape == (2_000,)


def test_bad_input_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    raw, folder = tmp_path / "raw", tmp_path / "out" / "repo"
    raw.mkdir()
    prepare("movielens-100k", movielens_100k(raw), folder)
    before = names(folder)
    (raw / "u.data").write_text("1\t1\t5")
    with pytest.raises(InputError, match=r"u\.data, line 1"):
        prepare("movielens-100k", raw, folder)
    with pytest.raises(InputError, match="Did you mean 'movielens-1m'"):
        prepare("movielens-1M", None, tmp_path / "out" / "other")
    assert names(folder) == before
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["repo"]


def test_fingerprint_changes_with_the_files_or_the_seed(tmp_path: Path) -> None:
    before = fingerprint("movielens-100k", movielens_100k(tmp_path))
    assert fingerprint("movielens-100k", tmp_path) == before
    (tmp_path / "u.data").write_text("1\t1\t5\t880000100\n")
    assert fingerprint("movielens-100k", tmp_path) != before
    assert fingerprint("sample", None, seed=0) != fingerprint("sample", None, seed=1)


def test_every_data_set_has_its_definitions() -> None:
    from two_tower.datasets.prepare import REPOSITORIES

    folders = {p.name for p in REPOSITORIES.iterdir() if (p / "definitions.py").is_file()}
    assert folders == {name.replace("-", "_") for name in DATASETS}
