"""The commands of README and docs, run as they stand on a laptop, beside a service on the sample.

What is written in capitals or as `…` there is somebody's own; `OWN` says what stands for it here. Of the commands that
need more than a laptop, `ELSEWHERE` says why, and each is held against the program that it is for.
The tutorial's are run by tests/e2e/test_tutorial.py.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import typer

from pipelines.cli.main import app
from tests.docs.shown import PAGES, ROOT, commands
from tests.serving.running import free_ports
from two_tower.datasets.prepare import prepare
from two_tower.releases import release

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
SHOWN = {page.relative_to(ROOT).as_posix(): commands(page) for page in PAGES if page.name != "tutorial.md"}
OWN = {
    "s3://BUCKET/releases": "runs/my_repo/releases",
    "runs/sample/releases": "runs/my_repo/releases",
    "--releases …": "--releases runs/my_repo/releases",
    "--feature-repo DIR": "--feature-repo my_repo",
    "/var/log/features": "features",
    "--log-share 0.01": "--log-share 1",  # so that few requests are enough
    # a folder of its own: two epochs of another loss need not reach the recall of the release that is current
    "--set loss=my_plugins:HingeLoss": "--set loss=my_plugins:HingeLoss --out runs/my_plugins",
}
ELSEWHERE = {
    r"make (demo|test)\b": "they install the project, and run everything",
    r"make images\b": "a Docker engine, and an hour",
    r"kubectl\b": "a cluster",
    r"two-tower (submit|doctor)\b": "a cluster",
    r"two-tower tune (?!--katib)": "many trainings: tests/pipelines/local/test_tune.py searches on the checkerboard",
    r"two-tower forget\b": "a user less: tests/pipelines/cli/test_forget.py",
    r"two-tower releases .*deployer=": "a cluster: tests/pipelines/cli/test_releases.py",
    r"curl .*/v1/items": "an item and a token: tests/serving/http",
    r"torchrun\b": "two processes that train: tests/two_tower/training/test_distributed.py",
    r"git archive\b": "a commit that a shallow clone does not have: tests/benchmarks archives the newest one",
    r"python -m benchmarks\.": "minutes to hours: tests/benchmarks runs their short forms",
}
HERE = re.compile(
    r"two-tower (run|serve|releases(?!.*deployer=)|skew|drift|compile|leaks|recommend|tune --katib)\b|"
    r"curl (?!.*/v1/items)"
)


def elsewhere(line: str) -> bool:
    return any(re.match(pattern, line) for pattern in ELSEWHERE)


@pytest.mark.parametrize(("page", "line"), [(page, line) for page, lines in SHOWN.items() for line in lines])
def test_a_command_runs_here_or_is_known_to_run_elsewhere(page: str, line: str) -> None:
    assert bool(HERE.match(line)) != elsewhere(line), f"{page}: say in this file how {line!r} is tested"


@pytest.mark.parametrize("line", sorted({line for lines in SHOWN.values() for line in lines if elsewhere(line)}))
def test_a_command_for_elsewhere_is_one_of_its_program(line: str) -> None:
    words = shlex.split(line, comments=True)
    match words[:3]:
        case ["make", *_]:
            done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        case ["kubectl", *_]:
            for option, value in pairwise(words):
                assert option != "-k" or (ROOT / value / "kustomization.yaml").is_file(), value
                assert option != "-f" or "/" not in value or (ROOT / value).is_file(), value
                assert option != "-p" or json.loads(value)
        case ["two-tower", name, *_]:
            typer.main.get_command(app).commands[name].make_context(name, [word for word in words[2:] if word != "…"])
        case ["python", "-m", module]:
            told = [option for option in words[3:] if option.startswith("--")]
            source = Path(find_spec(module).origin).read_text() + (ROOT / "benchmarks" / "harness.py").read_text()
            assert all(f'"{option}"' in source for option in told)
        case ["git", "archive", "--output"]:
            assert words[4:] == ["4980aa7"]
        case ["curl", *_]:
            assert any(word.startswith("localhost:8080/v1/items") for word in words)
        case _:
            assert words[0] == "torchrun" and shutil.which("torchrun", path=PATH)


def small_sample(repo: Path) -> None:
    """The simulated world with a sixth of its users, which any model may serve."""
    prepare("sample", None, repo)
    for path in (repo / "data").glob("*.parquet"):
        table = pq.read_table(path)
        if "user_id" in table.column_names:
            pq.write_table(table.filter(pc.less(table["user_id"], "u00500")), path)
    shutil.rmtree(repo / "oracle")  # it knows all of them
    (repo / "two_tower.toml").write_text("epochs = 2\nbootstrap_samples = 20\nmin_lift = 0\n")


class World:
    """A folder with the sample as somebody's own repository, two releases of it, and a service while there is one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports()
        self.ran: dict[str, str] = {}
        small_sample(folder / "my_repo")
        (folder / "features").mkdir()
        plugins = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.DOTALL)
        (folder / "my_plugins.py").write_text(plugins[0])
        self.run("two-tower run --feature-repo my_repo --out runs/my_repo")
        self._publish_another()

    def _publish_another(self) -> None:
        """A second release, so that there is one to go back to."""
        releases = self.folder / "runs" / "my_repo" / "releases"
        first = release.current(releases)
        again = release.verify(releases, first).model_copy(update={"dataset": "my_repo, again"})
        release.activate(releases, release.publish(releases, [releases / first], again))

    def run(self, line: str) -> str:
        """What a command prints; the same one is run once."""
        for ours, here in OWN.items():
            line = line.replace(ours, here)
        line = re.sub(r"(https?://)?(localhost:8080|SERVICE\b)", rf"http://127.0.0.1:{self.port}", line)
        typed = shlex.join(shlex.split(line, comments=True))
        if typed not in self.ran:
            words = ["bash", "-c", line.replace("curl ", "curl --fail-with-body ")]
            done = subprocess.run(
                words, cwd=self.folder, env=os.environ | {"PATH": PATH}, capture_output=True, text=True, timeout=600
            )
            held = line.startswith("two-tower drift")  # some few users ask here, who are unlike those of training
            assert done.returncode in ((0, 3) if held else (0,)), f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            self.ran[typed] = done.stdout
        return self.ran[typed]

    @contextmanager
    def serving(self, line: str) -> Iterator[None]:
        """While a `two-tower serve` of the documentation runs, ready, on a port that is free."""
        for ours, here in OWN.items():
            line = line.replace(ours, here)
        self.port = free_ports()
        words = shlex.split(re.sub(r"--port \d+", "", line), comments=True)[1:]
        command = [sys.executable, "-m", "pipelines", *words, "--port", str(self.port)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with (self.folder / "service.log").open("w") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        try:
            self._wait(process)
            yield
        finally:
            process.terminate()
            process.wait(30)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(1200):
            assert process.poll() is None, (self.folder / "service.log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2/health/ready", timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the service did not become ready")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("laptop"))


def blocks(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Each `two-tower serve` with the commands of the page that ask a service; others with an empty one."""
    alone = [line for line in lines if HERE.match(line) and not re.match(r"curl|two-tower (serve|skew|drift)", line)]
    asks = [line for line in lines if HERE.match(line) and re.match(r"curl|two-tower (skew|drift)", line)]
    serves = [line for line in lines if line.startswith("two-tower serve")]
    assert serves or not asks, "a page that asks a service starts one"
    return [("", alone), *((serve, asks) for serve in serves)]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page, lines in SHOWN.items() if any(map(HERE.match, lines))])
def test_the_commands_of_a_page_run(world: World, page: str) -> None:
    for serve, lines in blocks(SHOWN[page]):
        if not serve:
            for line in lines:
                world.run(line)
            continue
        with world.serving(serve):
            if "--feature-log" in serve:
                fill(world)
            for line in lines:
                told = world.run(line)
                if line.startswith("curl"):
                    answer = json.loads(told)
                    assert len(answer["items"]) == 10 and answer["fallback"] is None, told


def fill(world: World) -> None:
    """Ask until the feature log has its first file, of which `drift` tells."""
    body = json.dumps({"user_id": "u00042", "k": 3}).encode()
    for _ in range(60):
        asked = urllib.request.Request(f"http://127.0.0.1:{world.port}/v1/recommend", body)
        for _ in range(10):
            urllib.request.urlopen(asked, timeout=10).close()
        if list((world.folder / "features").rglob("*.parquet")):
            return
        time.sleep(0.5)
    raise AssertionError("the service wrote no feature log")
