"""What the images are, whatever runs in them."""

import json
import subprocess
from typing import Any

import pytest

from two_tower import __version__

pytestmark = pytest.mark.containers

NAMES = ("data", "train", "serving")
PURPOSE = {
    "data": "import kfp.dsl.executor_main, two_tower.data.features, two_tower.checks.expectations",
    "train": "import kfp.dsl.executor_main, two_tower.training.train, two_tower.exporting.export, "
    "two_tower.evaluation.evaluate, two_tower.releases.publish",
    "serving": "import kfp.dsl.executor_main, feast, serving.http.app, serving.http.background, pipelines.cli.main",
}
FOREIGN = {
    "data": ("torch", "onnxscript"),
    "train": ("feast", "great_expectations"),
    "serving": ("torch", "mypy"),
}


def image(name: str) -> str:
    return f"two-tower-{name}:{__version__}"


def inspected(name: str) -> dict[str, Any]:
    told = subprocess.run(["docker", "image", "inspect", image(name)], check=True, capture_output=True, text=True)
    return json.loads(told.stdout)[0]["Config"]


def python(name: str, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Python in a container as a cluster would start it: no network, a read-only root, nothing to gain."""
    closed = ["--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--env", "_KFP_RUNTIME=true"]
    command = ["docker", "run", "--rm", *closed, *options, "--entrypoint", "python", image(name), "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("name", NAMES)
def test_its_labels_say_what_it_is(name: str) -> None:
    config = inspected(name)
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert labels["title"] == f"two-tower-{name}"
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert len(labels["revision"]) == 40
    assert config["User"] == "10001:10001"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("user", ["10001:10001", "54321:0"])
def test_it_does_its_work_as_anyone_on_a_read_only_root(name: str, user: str) -> None:
    done = python(name, PURPOSE[name], "--user", user)
    assert done.returncode == 0, done.stderr
    assert python(name, "open('/opt/venv/x', 'w')", "--user", user).returncode == 1


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_nothing_of_another_image(name: str) -> None:
    code = "from importlib.util import find_spec; import sys; print([n for n in sys.argv[1:] if find_spec(n)])"
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python", image(name), "-c", code]
    done = subprocess.run([*command, *FOREIGN[name], "pip"], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_its_bill_of_materials_names_what_is_installed(name: str) -> None:
    code = """
import json
from importlib.metadata import distributions
bill = json.load(open("/sbom.json"))
assert bill["bomFormat"] == "CycloneDX", bill["bomFormat"]
print(json.dumps([sorted({d.name for d in distributions()}), sorted({c["name"] for c in bill["components"]})]))
"""
    done = python(name, code)
    assert done.returncode == 0, done.stderr
    installed, named = (set(names) for names in json.loads(done.stdout))
    assert installed == named
    assert {"two-tower", "onnxruntime-gpu"} <= named
