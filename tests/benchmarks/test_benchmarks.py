"""The quick form of each benchmark, and the functions of the benchmarks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import before, harness, service, soak

ROOT = Path(harness.__file__).parents[1]
BESIDE = ROOT.parent / "shared" / "data"


def run(name: str, file: Path, *arguments: str):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(file), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    output = json.loads(file.read_text())
    assert set(output) == {"machine", "rows", "claims"} and output["rows"] and output["machine"]["cores"] >= 1
    assert all(claim in done.stdout for claim in output["claims"])  # the table ends with the claims
    return output["claims"]


@pytest.mark.slow
def test_kubeflow(tmp_path: Path):
    claims = run("kubeflow", tmp_path / "out.json")
    assert claims["right_status"] == claims["replays"] and claims["states"] > 80 and claims["lines_per_step"] <= 3


@pytest.mark.slow
def test_index(tmp_path: Path):
    claims = run("index", tmp_path / "out.json", "--items", "30000")
    assert claims["recall@100"] == 1
    names = {"single_ratio_vs_faiss_flat", "single_ratio_vs_memory_read", "batch32_ratio_vs_faiss_flat"}
    assert all(claims[name] > 0 for name in names) and claims["bytes_per_item"] > 64 * 4


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
def test_service(tmp_path: Path):
    claims = run("service", tmp_path / "out.json")
    assert claims["failed"] == 0 and claims["throughput_ratio_10k"] > 1 and claims["p99_ms_10k"] > 0
    assert "overhead_ms_p50" in claims


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
def test_workers(tmp_path: Path):
    claims = run("workers", tmp_path / "out.json")
    assert claims["failed"] == 0 and claims["throughput_ratio_2_workers"] > 0
    assert 1 < claims["memory_ratio_2_workers"] < 1.8


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")
def test_soak(tmp_path: Path):
    claims = run("soak", tmp_path / "out.json", "--items", "40000")
    assert claims["requests"] > 50 and claims["store_fallbacks"] > 0
    assert [claims[name] for name in ("failed", "mixed", "wrong")] == [0, 0, 0]
    plan = soak.QUICK
    assert [claims[name] for name in ("activated", "rolled_back", "corrupt_refused", "redis_kills")] == list(plan[:4])


@pytest.mark.slow
def test_training(tmp_path: Path):
    claims = run("training", tmp_path / "out.json")
    assert claims["ratio_vs_torch_rechub_in_batch"] > 2 and claims["ratio_vs_torch_rechub_bce"] > 1
    assert claims["bound_share"] > 0


@pytest.mark.slow
def test_resume(tmp_path: Path):
    claims = run("resume", tmp_path / "out.json")
    assert claims["kills"] == claims["resumed"] == 2 and claims["equal_weights"]


@pytest.mark.slow
@pytest.mark.skipif(
    not any((Path(d) / "ml-100k").is_dir() for d in (os.environ.get("TWO_TOWER_DATA", "-"), BESIDE)),
    reason="movielens-100k is in neither $TWO_TOWER_DATA nor ../shared/data",
)
def test_gate(tmp_path: Path):
    claims = run("gate", tmp_path / "out.json")
    assert claims["kinds"] == claims["caught"] == claims["named_column"] >= 5
    assert claims["kinds_caught"] == claims["kinds"] and claims["clean_appends"] == 2
    assert claims["clean_sets"] == 1 and claims["false_alarms"] == 0 and claims["seconds_1m"] > 0


@pytest.mark.slow
def test_features(tmp_path: Path):
    assert run("features", tmp_path / "out.json")["values_equal"] is True


@pytest.mark.slow
def test_before(tmp_path: Path):
    """An archive of this commit beside this checkout: all it takes is the interpreter."""
    archive = tmp_path / "head.tar"
    subprocess.run(["git", "archive", "--output", str(archive), "HEAD"], cwd=ROOT, check=True)
    claims = run("before", tmp_path / "out.json", "head", "index", "--archive", str(archive), "--alternations", "9")
    assert 0 < claims["index_ratio_low"] <= claims["index_ratio"] <= claims["index_ratio_high"]


def test_the_interval_of_a_median_is_that_of_order_statistics():
    """Ranks by the binomial distribution: 2 and 8 of 9 cover 96 %, 3 and 7 only 82 %; 4 and 10 of 13 cover 91 %."""
    assert before.interval([9, 8, 7, 6, 5, 4, 3, 2, 1]) == (2, 5, 8)
    assert before.interval(range(1, 14)) == (4, 7, 10)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["index", "training_"], "training_"),
        (["4980aa7"], "Allowed: index, service"),
        (["index", "--alternations", "8"], "9 or more"),
        (["no-such-commit", "index"], "no-such-commit"),
    ],
)
def test_before_refuses_by_name(arguments, named):
    command = [sys.executable, "-m", "benchmarks.before", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode and named in done.stderr


def test_calls_take_turns():
    order: list[str] = []
    durations = harness.alternate({name: lambda name=name: order.append(name) for name in "ab"}, seconds=0, least=3)
    assert order == ["a", "b"] * 4 and [len(all_) for all_ in durations.values()] == [3, 3]


def test_a_table_has_a_column_a_key():
    assert harness.table([{"a": 1, "bc": 0.123456}, {"a": "xyz", "bc": ""}]).splitlines() == [
        "a    bc    ",
        "1    0.1235",
        "xyz        ",
    ]


def test_the_output_of_wrk_is_parsed():
    output = """
  Latency Distribution
     50%  850.00us
     99%    1.20s\x20
  Non-2xx or 3xx responses: 3
  Socket errors: connect 0, read 1, write 0, timeout 2
Requests/sec:   1234.50
"""
    assert service.parsed(output) == service.Load(1234.5, 0.85, 1200.0, 6)


@pytest.mark.parametrize(
    ("ids", "fallback", "judged"),
    [
        (range(100, 120), None, "right"),
        (range(101, 121), None, "wrong"),  # the best is missing
        (range(200, 220), None, "mixed"),  # of another release
        ([*range(139, 119, -1)], "store", "right"),
        (range(100, 120), "store", "wrong"),
        (range(100, 120), "popular", "wrong"),  # the user is known
    ],
)
def test_the_soak_knows_wrong_answers(ids, fallback, judged):
    vectors = np.linspace(1, 0.6, 40, dtype=np.float32)[:, None]
    reference = soak.Reference(
        {1: np.ones(1, dtype=np.float32)}, {"r": vectors}, {"r": 100}, {"r": [*range(139, 99, -1)]}
    )
    items = [{"item_id": i, "score": float(vectors[i - 100, 0]) if i < 140 else 0.5} for i in ids]
    assert reference.judge(1, {"release": "r", "items": items, "fallback": fallback}) == judged


@pytest.mark.slow
def test_smoke_test(tmp_path: Path):
    claims = run("smoke_test", tmp_path / "out.json")
    assert claims["caught"] == claims["faults"] >= 15 and claims["good_releases"] == 2
    assert claims["false_alarms"] == 0
