"""`run --runner docker`: each step in its container, and every way for one to end."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from kfp import dsl

from components import DATA_IMAGE
from pipelines.local.containers import containers
from pipelines.local.runner import LocalRun, run
from tests.containers.conftest import Done, two_tower
from two_tower.datasets.prepare import prepare
from two_tower.errors import InputError


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def end(how: str) -> str:
    import os
    import time

    from two_tower.errors import InputError
    from two_tower.gates import Verdict, hold

    print(f"about to end: {how}", flush=True)
    time.sleep(1)  # Docker reads two streams side by side: what comes on stderr must not overtake it
    if how == "input":
        raise InputError("file 'a.csv' is missing.")
    if how == "gate":
        hold(Verdict(gate="data", passed=False, reasons=("column 'x' is empty",)))
    if how == "silent":
        os._exit(0)
    if how == "killed":
        os.kill(os.getpid(), 9)
    return how


@dsl.component(base_image="two-tower-data:0.0.0", install_kfp_package=False)
def nowhere() -> None: ...


@dsl.pipeline(name="ending")
def ending(how: str) -> str:
    first = end(how=how).set_caching_options(False)
    return end(how="well").after(first).set_caching_options(False).outputs["Output"]


@dsl.pipeline(name="without-image")
def without_image() -> None:
    nowhere()


def start(how: str, out: Path, gpu: bool = False) -> LocalRun:
    out.mkdir()
    with containers(ending, writable=[out], readable=[], feature_repo=None, gpu=gpu) as runner:
        return run(ending, {"how": how}, out, lambda *_: None, runner)


@pytest.mark.containers
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("input", ("InputError", "file 'a.csv' is missing.")),
        ("gate", ("GateHeldError", '{"gate": "data", "reasons": ["column \'x\' is empty"]}')),
        ("silent", None),
        ("killed", None),
    ],
)
def test_a_failing_container_fails_the_run(tmp_path: Path, how: str, error: tuple[str, str] | None) -> None:
    done = start(how, tmp_path / "out")
    assert [step.name for step in done.steps] == ["end"]
    assert done.failed is not None
    assert done.failed.lines[0] == f"about to end: {how}"
    assert done.failed.error() == error


@pytest.mark.containers
def test_what_containers_write_is_the_callers(tmp_path: Path) -> None:
    done = start("well", tmp_path / "out")
    assert done.failed is None
    assert done.output == "well"
    assert {path.stat().st_uid for path in done.folder.rglob("*")} == {os.getuid()}


@pytest.mark.containers
def test_the_line_promotes_a_release(line: Done) -> None:
    assert line.record["release"]
    assert all(gate["passed"] for gate in line.record["gates"].values())
    assert line.record["metrics"]["two_tower"]["recall@20"] > line.record["metrics"]["popularity"]["recall@20"]
    assert not any(step["cached"] for step in line.record["steps"])


@pytest.mark.containers
def test_a_repository_of_the_users_own_is_read_where_it_is(tmp_path: Path) -> None:
    repo, out = tmp_path / "shop", tmp_path / "out"
    prepare("checkerboard", None, repo)
    shutil.rmtree(repo / "oracle", ignore_errors=True)
    done = two_tower("run", "--feature-repo", str(repo), "--runner", "docker", "--out", str(out), "--set", "epochs=2")
    assert done.returncode in (0, 3), done.stdout + done.stderr  # two epochs may not be enough to be promoted
    assert "materialise" in done.stdout or "promotion gate" in done.stderr


@pytest.mark.containers
def test_an_image_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"no image two-tower-data:0\.0\.0\. Build the images with `make images`"):
        containers(without_image, [], [], feature_repo=None, gpu=False).__enter__()


@pytest.mark.containers
@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_an_engine_without_gpus_is_told_with_the_next_step(tmp_path: Path) -> None:
    before = subprocess.run(["docker", "ps", "--all", "--quiet"], check=True, capture_output=True, text=True).stdout
    with pytest.raises(InputError, match=r"could not start a container of two-tower-data.*--set device=cpu"):
        start("well", tmp_path / "out", gpu=True)
    after = subprocess.run(["docker", "ps", "--all", "--quiet"], check=True, capture_output=True, text=True).stdout
    assert set(after.split()) <= set(before.split()), "a container that did not start was left"


def test_without_an_engine_the_run_says_what_to_do(tmp_path: Path) -> None:
    nobody = f"unix://{tmp_path}/nobody.sock"
    arguments = ["run", "--dataset", "sample", "--runner", "docker", "--out", str(tmp_path / "out")]
    done = two_tower(*arguments, DOCKER_HOST=nobody)
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert nobody in said
    assert "--runner subprocess" in said
    assert "Traceback" not in said


def test_an_unknown_runner_is_refused_with_the_known_ones() -> None:
    done = two_tower("run", "--dataset", "sample", "--runner", "dockr")
    assert done.returncode == 2
    assert "'dockr' is not one of 'subprocess', 'docker'" in done.stderr
