"""`two-tower drift`: the table, the JSON document, the file, and the exit status."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipelines.cli.running import two_tower
from tests.two_tower import parts
from two_tower.checks.drift import REQUEST_TIME, log_schema
from two_tower.releases import release
from two_tower.statistics.profile import profile

USER = parts.CONTRACT.user
NOW = 1_700_000_000


def rows(n: int, seed: int, age: float) -> pa.Table:
    """Features of requests; the ages are around `age`."""
    rng = np.random.default_rng(seed)
    columns = {
        "group": rng.choice(["a", "b"], n).tolist(),
        "age": rng.normal(age, 5, n).tolist(),
        "visits": rng.poisson(3, n).tolist(),
        "member": [True] * n,
        "joined": [NOW * 1_000_000] * n,
        "recent": [["i1"]] * n,
        "taste": [[1.0, 0.0]] * n,
        REQUEST_TIME: [NOW] * n,
    }
    return pa.table(columns, schema=log_schema(USER))


@pytest.fixture
def call(tmp_path: Path) -> list[str]:
    """The command for a release whose users were about 40 years old, and a log of requests of the same."""
    folder, releases = parts.write(tmp_path / "parts"), tmp_path / "releases"
    trained = rows(5000, 0, age=40)
    reference = profile(trained, USER, trained[REQUEST_TIME].to_numpy())
    (folder / "profile.json").write_text(json.dumps({"user": reference}))
    name = release.publish(releases, [folder], parts.manifest())
    release.activate(releases, name)
    (tmp_path / "log" / name).mkdir(parents=True)
    pq.write_table(rows(1000, 1, age=40), tmp_path / "log" / name / "1-1-1.parquet")
    return ["drift", "--releases", str(releases), "--feature-log", str(tmp_path / "log")]


def log_older_users(tmp_path: Path) -> None:
    (folder,) = (tmp_path / "log").iterdir()
    pq.write_table(rows(1000, 2, age=70), folder / "1-1-1.parquet")


def test_no_drift_is_status_0(call: list[str]) -> None:
    result = two_tower(*call)
    assert result.exit_code == 0, result.stderr
    assert "1,000 requests" in result.stdout and "age" in result.stdout


def test_strong_drift_is_status_3_and_the_first_feature(call: list[str], tmp_path: Path) -> None:
    log_older_users(tmp_path)
    result = two_tower(*call, "--json", "--out", str(tmp_path / "drift.json"))
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert document == json.loads((tmp_path / "drift.json").read_text())
    assert document["requests"] == 1000
    assert [one["feature"] for one in document["features"] if one["drift"] == "strong"] == ["age"]
    assert "strong" in result.stderr
    assert two_tower(*call, "--quiet").output == ""


@pytest.mark.parametrize("form", [["--json", "FILE"], ["--json=FILE"]])
def test_the_old_form_of_json_writes_the_file_with_a_warning(call: list[str], tmp_path: Path, form: list[str]) -> None:
    file = str(tmp_path / "drift.json")
    result = two_tower(*call, *(word.replace("FILE", file) for word in form), "--since", "2023-01-01T00:00:00Z")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: --json {file} is now --out {file}.")
    assert json.loads(Path(file).read_text())["requests"] == 1000
    assert "1,000 requests" in result.stdout


def test_a_release_without_a_profile_is_refused_by_name(tmp_path: Path) -> None:
    releases = tmp_path / "releases"
    one = release.publish(releases, [parts.write(tmp_path / "parts")], parts.manifest())
    release.activate(releases, one)
    (tmp_path / "log").mkdir()
    result = two_tower("drift", "--releases", str(releases), "--feature-log", str(tmp_path / "log"))
    assert result.exit_code == 2
    assert f"release {one} has no profile.json" in result.stderr
