"""A sample of what was served lies on disk, and its drift is measured, without a request waiting for either."""

import json
import os
import time

import pyarrow as pa
import pytest

from serving.observability.feature_log import FeatureLog, LoggedRelease, LogOptions, prune
from serving.observability.metrics import Metrics
from tests.serving.making import made
from tests.serving.running import opened
from tests.two_tower import parts
from two_tower.checks.drift import read_log
from two_tower.errors import InputError
from two_tower.inputs import table_from_rows
from two_tower.releases.release import Release
from two_tower.statistics.profile import profile


def trained(group: str, rows: int = 300) -> dict:
    table = table_from_rows([{"group": group, "age": 1.0}] * rows, parts.CONTRACT.user)
    return profile(table, parts.CONTRACT.user, pa.array([0] * rows).to_numpy())


def metric(metrics: Metrics, name: str, feature: str | None = None) -> float | None:
    return metrics.registry.get_sample_value(name, {"feature": feature} if feature else {})


def test_requests_are_logged_as_the_tower_took_them(releases, tmp_path) -> None:
    release = made(releases, tmp_path / "parts")
    with opened(releases, feature_log=LogOptions(tmp_path / "log", 1.0)) as client:
        for age in (1.5, 2.5):
            asked = {"features": {"group": "a", "age": age, "recent": ["i1"]}, "k": 2}
            assert client.post("/v1/recommend", json=asked).status_code == 200
        client.post("/v1/recommend", json={"user_id": "nobody", "k": 2})  # popular items: no features were used
    logged = read_log(tmp_path / "log", release).to_pylist()
    assert [(row["group"], row["age"], row["recent"], row["visits"]) for row in logged] == [
        ("a", 1.5, ["i1"], None),
        ("a", 2.5, ["i1"], None),
    ]


def test_drift_is_a_metric_of_each_feature(tmp_path) -> None:
    metrics = Metrics()
    log = FeatureLog(LogOptions(tmp_path / "log", 1.0), metrics, every=0.01)
    logged = LoggedRelease("r1", parts.CONTRACT, trained("a"))
    for _ in range(300):
        log.offer(logged, {"group": "b", "age": 1.0})
    log.offer(logged, {"group": 5})  # what no tower takes is left out
    log.start()
    log.stop()
    assert metric(metrics, "two_tower_drift_psi", "group") > 0.25
    assert metric(metrics, "two_tower_drift_psi", "age") < 0.1
    assert metric(metrics, "two_tower_logged_rows_total") == 300
    assert metric(metrics, "two_tower_log_dropped_total") == 1
    assert not list((tmp_path / "log" / "r1").glob(".*")), "no half file is left"


def test_a_share_is_kept_and_too_much_is_dropped(tmp_path, monkeypatch) -> None:
    metrics = Metrics()
    monkeypatch.setattr("serving.observability.feature_log.WAITING", 500)
    log = FeatureLog(LogOptions(tmp_path / "log", 0.5), metrics)
    logged = LoggedRelease("r1", parts.CONTRACT, None)
    for _ in range(600):
        log.offer(logged, {"group": "a"})
    log.start()
    log.stop()
    assert 200 < metric(metrics, "two_tower_logged_rows_total") < 400
    assert metric(metrics, "two_tower_log_dropped_total") == 0


def test_a_release_without_a_profile_and_a_bad_folder(tmp_path) -> None:
    (tmp_path / "profile.json").write_text(json.dumps({"user": trained("a")}))
    assert (
        LoggedRelease.of(Release(tmp_path, parts.manifest(id="r1", files={"profile.json": "0"}))).profile["rows"] == 300
    )
    assert LoggedRelease.of(Release(tmp_path, parts.manifest(id="r1"))) == LoggedRelease("r1", parts.CONTRACT, None)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="may write"):
        FeatureLog(LogOptions(tmp_path / "file" / "log", 0.1), Metrics())
    with pytest.raises(InputError, match="share"):
        FeatureLog(LogOptions(tmp_path / "log", 0.0), Metrics())


def test_only_the_service_may_read_what_it_logs(tmp_path) -> None:
    log = FeatureLog(LogOptions(tmp_path / "log", 1.0), Metrics())
    log.offer(LoggedRelease("r1", parts.CONTRACT, None), {"group": "a"})
    log.start()
    log.stop()
    rights = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "log").rglob("*")}
    assert len(rights) == 2 and set(rights.values()) == {0o700, 0o600}
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700


def written(folder, days: dict[str, float], now: float) -> None:
    """Write a file of a megabyte for each name, as many days before `now`."""
    for name, age in days.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 1_000_000)
        os.utime(folder / name, (now - 86400 * age,) * 2)


def test_old_files_are_removed_and_then_the_oldest_beyond_the_size(tmp_path) -> None:
    now = 1.7e9
    written(tmp_path, {"r1/a.parquet": 31, "r1/.half.parquet": 31, "r1/notes.txt": 99, "r1/b.parquet": 29}, now)
    written(tmp_path, {"r2/c.parquet": 2, "r2/d.parquet": 1, "other.parquet": 99}, now)

    def left() -> set[str]:
        return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}

    prune(LogOptions(tmp_path, 1.0), now)
    assert left() == {"r1/notes.txt", "r1/b.parquet", "r2/c.parquet", "r2/d.parquet", "other.parquet"}
    prune(LogOptions(tmp_path, 1.0, keep_megabytes=2.5), now)
    assert left() == {"r1/notes.txt", "r2/c.parquet", "r2/d.parquet", "other.parquet"}


def test_the_log_of_a_service_stays_within_its_size(tmp_path) -> None:
    log = FeatureLog(LogOptions(tmp_path, 1.0, keep_megabytes=0.02), Metrics(), every=0.005)
    logged = LoggedRelease("r1", parts.CONTRACT, None)
    log.start()
    for number in range(40):
        log.offer(logged, {"group": f"{number}"})
        time.sleep(0.01)
    log.stop()
    files = list(tmp_path.glob("r1/*.parquet"))
    assert files and sum(path.stat().st_size for path in files) <= 20_000
    newest = max(files, key=lambda path: path.stat().st_mtime_ns)
    assert read_log(tmp_path, "r1").num_rows < 40 and b"39" in newest.read_bytes()
