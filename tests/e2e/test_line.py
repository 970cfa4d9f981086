"""The line on a world whose right answer is known, and what it does when something is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow


def edit(path: Path, change) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def even_items_left(repo: Path, user: int) -> int:
    """How many of its own items a user of the checkerboard has not taken yet."""
    log = pq.read_table(repo / "data" / "interactions.parquet")
    items = set(pq.read_table(repo / "data" / "items.parquet")["item_id"].to_pylist())
    taken = set(log.filter(pc.equal(log["user_id"], user))["item_id"].to_pylist())
    return sum(item % 2 == 0 for item in items - taken)


def test_recall_is_one_and_an_unchanged_run_is_reused_until_data_change(run, repo: Path, tmp_path: Path) -> None:
    first = run(tmp_path / "out", "--feature-repo", str(repo))
    assert first.status == 0, first.stderr
    record = first.record
    assert record["metrics"]["two_tower"]["recall@20"] == 1
    assert record["metrics"]["popularity"]["recall@20"] < 0.5
    assert {gate: told["passed"] for gate, told in record["gates"].items()} == {
        "data": True,
        "leaks": True,
        "parity": True,
        "promotion": True,
        "deploy": True,
    }
    table = {row["kind"]: (row["asked"], row["differ"]) for row in record["gates"]["deploy"]["details"]["questions"]}
    assert table["features online"][0] == table["items by user id"][0] > 10
    assert not any(differ for _, differ in table.values())
    assert "Smoke test of the staged release" in (first.out / "report.html").read_text()
    assert (first.out / "report.html").is_file()
    assert (first.out / "releases" / "current").read_text().strip() == record["release"]
    assert {step["name"]: step["seconds"] for step in record["steps"]}["train"] > 0

    asked = [sys.executable, "-m", "pipelines", "recommend", "--releases", str(first.out / "releases")]
    told = subprocess.run([*asked, "--user", "4", "-k", "5"], capture_output=True, text=True, check=True).stdout
    offered = [int(line.split("│")[2]) for line in told.splitlines() if line.count("│") > 3]
    assert len(offered) == 5
    left = even_items_left(repo, user=4)
    assert all(item % 2 == 0 for item in offered[:left]), (
        "an even user is offered even items first, while there are any"
    )

    again = run(tmp_path / "out", "--feature-repo", str(repo))
    assert again.status == 0, again.stderr
    assert again.record["release"] == record["release"], "the same files are the same release"
    cached = again.cached()
    assert all(cached[name] for name in ("pull", "train", "export", "index", "evaluate"))

    edit(repo / "data" / "interactions.parquet", lambda t: t.slice(0, t.num_rows - 5))
    changed = run(tmp_path / "out", "--feature-repo", str(repo), "--set", "epochs=1")
    assert not any(changed.cached()[name] for name in ("pull", "validate", "train"))


def test_the_data_gate_stops_before_training(run, repo: Path, tmp_path: Path) -> None:
    edit(
        repo / "data" / "users.parquet",
        lambda t: t.set_column(t.column_names.index("user_group"), "user_group", pa.nulls(t.num_rows, pa.string())),
    )
    held = run(tmp_path / "out", "--feature-repo", str(repo))
    assert held.status == 3
    assert "user_group" in held.stderr
    record = held.record
    assert record["release"] is None
    assert not record["gates"]["data"]["passed"]
    assert any("user_group" in reason for reason in record["gates"]["data"]["reasons"])
    assert "train" not in {step["name"] for step in record["steps"]}
    assert "user_group" in (held.out / "report.html").read_text()
    assert not (held.out / "releases").exists()


def test_the_promotion_gate_leaves_the_current_release_alone(run, repo: Path, tmp_path: Path) -> None:
    held = run(tmp_path / "out", "--feature-repo", str(repo), "--set", "min_lift=50", "--set", "epochs=2")
    assert held.status == 3
    assert "popularity" in held.stderr
    assert not held.record["gates"]["promotion"]["passed"]
    assert held.record["metrics"]["two_tower"]["recall@20"] > 0
    assert not (held.out / "releases").exists()
    assert (held.out / "report.html").is_file()


def empty(repo: Path) -> None:
    edit(repo / "data" / "interactions.parquet", lambda t: t.slice(0, 0))


def wrong_type(repo: Path) -> None:
    edit(
        repo / "data" / "users.parquet",
        lambda t: t.set_column(t.column_names.index("user_group"), "user_group", pa.array(range(t.num_rows))),
    )


def one_user(repo: Path) -> None:
    edit(repo / "data" / "interactions.parquet", lambda t: t.filter(pc.equal(t["user_id"], 0)))


def truncated(repo: Path) -> None:
    path = repo / "data" / "interactions.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (empty, "has no rows"),
        (wrong_type, "user_group"),
        (one_user, "only one user"),
        (truncated, "interactions.parquet"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_input_is_told_and_nothing_is_half_written(run, repo: Path, tmp_path: Path, damage, said: str) -> None:
    damage(repo)
    failed = run(tmp_path / "out", "--feature-repo", str(repo))
    assert failed.status == 2, failed.stdout + failed.stderr
    assert said in " ".join(failed.stderr.split())
    assert "Traceback" not in failed.stderr
    assert not (failed.out / "releases").exists()
    assert json.loads((failed.out / "run.json").read_text())["release"] is None
