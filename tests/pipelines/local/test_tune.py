"""`two-tower tune` on the checkerboard, whose better learning rate is known."""

import csv
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.console import plain_console
from pipelines.cli.main import app
from pipelines.local.tune import Request, set_options, settings_file, tune
from tests.two_tower.worlds import checkerboard
from two_tower.config import Settings
from two_tower.errors import InputError

SMALL = ["dim=8", "hidden=8", "batch_size=64", "epochs=6", "device=cpu"]
SPACE = "learning_rate = [0.00001, 0.01]\nhidden = {low = 8, high = 32}\n"


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pulled")
    checkerboard(users=20, items=60, per_user=24).write(folder)
    return folder


def search(pulled: Path, out: Path, trials: int, space: str = SPACE, settings: list[str] = SMALL) -> tuple[int, str]:
    out.mkdir(parents=True, exist_ok=True)
    (out / "space.toml").write_text(space)
    said = plain_console(file=io.StringIO())
    request = Request.of(None, None, pulled, None, out, trials, None, out / "space.toml", settings)
    return tune(request, said, said), said.file.getvalue()  # type: ignore[attr-defined]


def test_the_better_learning_rate_wins_and_a_second_call_goes_on(pulled: Path, tmp_path: Path) -> None:
    status, said = search(pulled, tmp_path, 4)
    assert status == 0 and "trial   4/4" in said and "0 s left" in said
    best = tomllib.loads((tmp_path / "best.toml").read_text())
    assert best["learning_rate"] == 0.01 and "device" not in best
    settings = Settings().with_values(best)
    assert (settings.train.dim, settings.train.epochs) == (8, 6), "what all trials had is there too"
    record = json.loads((tmp_path / "tune.json").read_text())
    first = record["trials"][0]
    assert first["hidden"] == 8, "the settings as they are come first"
    worse = [t["recall@20"] for t in record["trials"] if t["learning_rate"] < 0.01 and t["recall@20"]]
    assert worse and max(worse) < record["best"]["recall@20"]
    assert 0 < record["popularity"] < record["best"]["recall@20"], "a user likes half of the items"
    assert f"popularity on the same events: recall@20 {record['popularity']:.4f}" in said
    page = (tmp_path / "tune.html").read_text()
    assert "recall@20 by learning_rate" in page and "http" not in page

    status, said = search(pulled, tmp_path, 5)
    assert status == 0 and "resuming after 4 trials" in said and "trial   5/5" in said and "trial   4/5" not in said
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [row["trial"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert float(rows[0]["recall@20"]) == first["recall@20"]
    assert not (tmp_path / "checkpoints").exists() or not list((tmp_path / "checkpoints").glob("*/*"))
    assert list((tmp_path / "tensorboard").glob("learning_rate=*/events*"))

    with pytest.raises(InputError, match="a search with other settings"):
        search(pulled, tmp_path, 5, settings=[*SMALL, "margin=0.3"])
    with pytest.raises(InputError, match="a search with other search space"):
        search(pulled, tmp_path, 5, space=SPACE.replace("32", "16"))


def test_a_loss_that_diverges_is_a_trial_and_no_end(pulled: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "similarity=dot", "epochs=2"]
    status, said = search(pulled, tmp_path, 3, "learning_rate = [0.01, 1e30]\n", settings)
    assert status == 0 and "training failed" in said
    unfit = [t for t in json.loads((tmp_path / "tune.json").read_text())["trials"] if t["state"] == "unfit"]
    assert unfit and all(t["learning_rate"] == 1e30 and "The loss is" in t["why"] for t in unfit)


def test_where_nothing_can_be_trained_the_status_says_so(pulled: Path, tmp_path: Path) -> None:
    status, said = search(pulled, tmp_path, 1, "learning_rate = [1e29, 1e30]\n", [*SMALL, "similarity=dot"])
    assert status == 1 and "no trial has finished" in said and "The loss is" in said
    assert not (tmp_path / "best.toml").exists()


def test_rows_may_stay_on_disk(pulled: Path, tmp_path: Path) -> None:
    status, said = search(pulled, tmp_path, 2, settings=[*SMALL, "stream=on"])
    assert status == 0 and "trial   2/2" in said
    assert "training rows are streamed from disk" in (tmp_path / "tune.log").read_text()


def test_a_settings_file_holds_what_is_not_usual() -> None:
    settings = Settings().with_values({"min_lift": 1.5, "dim": 32, "checkpoints": "s3://x/y", "device": "cpu"})
    text = settings_file(settings, {"loss": "bpr", "learning_rate": 0.01, "dim": 64})
    assert tomllib.loads(text) == {"loss": "bpr", "learning_rate": 0.01, "min_lift": 1.5}


def test_the_printed_options_give_the_settings_of_the_file() -> None:
    """Also where the repository's two_tower.toml has another value than the default."""
    base = Settings().with_values({"epochs": 5, "dim": 32, "compile": True, "mlflow": "file:/a b", "temperature": 0.2})
    values = {"learning_rate": 0.0012345678901, "dim": 64, "loss": "bpr", "temperature": 0.1}
    best = Settings().with_values(tomllib.loads(settings_file(base, values)))
    options = shlex.split(set_options(base, values))
    assert options[::2] == ["--set"] * (len(options) // 2)
    assert base.with_assignments(options[1::2]) == Settings().with_assignments(options[1::2]) == best


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "--dataset NAME, --feature-repo DIR and --pulled DIR"),
        ({"dataset": "sample", "pulled": Path("/no/such")}, "pass one of"),
        ({"pulled": Path("/no/such")}, "pulled.json is missing"),
        ({"dataset": "sampel"}, "Did you mean 'sample'"),
        ({"dataset": "sample", "assignments": ["dims=8"]}, "Did you mean 'dim'"),
        ({"dataset": "sample", "space": Path("/no/such.toml")}, "/no/such.toml"),
    ],
)
def test_bad_input_is_told(given: dict, said: str) -> None:
    names = ("dataset", "feature_repo", "pulled", "data_dir", "out", "trials", "time_limit", "space")
    usual = dict.fromkeys(names) | {"trials": 1, "assignments": []}
    with pytest.raises(InputError, match=said):
        Request.of(**(usual | given))


def call(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipelines", "tune", *arguments]


def test_the_command_exits_with_2_for_bad_input(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("learning_rat = [1, 2]\n")
    done = subprocess.run(
        call("--dataset", "sample", "--space", str(tmp_path / "s.toml")), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and "Did you mean 'learning_rate'" in " ".join(done.stderr.split())


def test_the_command_writes_an_experiment_and_takes_no_option_of_a_search_here(tmp_path: Path) -> None:
    katib = ["tune", "--katib", str(tmp_path / "e.yaml"), "--pulled", "s3://b/p"]
    refused = CliRunner().invoke(app, [*katib, "--timeout", "5m"])
    assert refused.exit_code == 2 and "--timeout is for a search on this machine" in refused.stderr
    assert CliRunner().invoke(app, katib).exit_code == 0
    assert "kind: Experiment" in (tmp_path / "e.yaml").read_text()


@pytest.mark.slow
def test_a_search_that_is_killed_or_interrupted_goes_on(pulled: Path, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("learning_rate = {low = 0.0001, high = 0.02, log = true}\n")
    sets = [f"--set={one}" for one in (*SMALL[:-2], "epochs=25", "patience=25", "device=cpu")]
    usual = call("--pulled", str(pulled), "--space", str(tmp_path / "s.toml"), "--trials", "4", "--json", *sets)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run(out: str, end: signal.Signals | None = None, epochs: int = 0) -> tuple[int, str]:
        """Its exit status and what it says; `end` is sent after so many epochs."""
        log = tmp_path / out / "tune.log"
        before = log.read_text().count("epoch ") if log.exists() else 0
        with subprocess.Popen(
            [*usual, "--out", str(tmp_path / out)], stdout=-1, stderr=-1, text=True, env=environment
        ) as process:
            while end and process.poll() is None:
                if log.exists() and log.read_text().count("epoch ") >= before + epochs:
                    process.send_signal(end)
                    break
                time.sleep(0.02)
            said = process.communicate(timeout=120)
        return process.returncode, said[0]

    assert run("broken", signal.SIGKILL, epochs=28)[0] == -signal.SIGKILL, "in the second trial"
    status, said = run("broken", signal.SIGINT, epochs=4)
    assert status == 130 and json.loads(said)["best"]
    status, said = run("broken")
    assert status == 0
    whole = json.loads(run("whole")[1])
    trials = json.loads(said)["trials"]
    figures = [(t["learning_rate"], t["recall@20"], t["epochs"]) for t in trials]
    assert figures == [(t["learning_rate"], t["recall@20"], t["epochs"]) for t in whole["trials"]]
