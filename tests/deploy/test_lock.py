"""The two files of pinned packages: requirements.lock, and requirements.hashes for `pip install --require-hashes`."""

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def pins(name: str) -> dict[str, str]:
    """Version of each package of a file."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    lines = (line.partition(" --hash")[0].strip() for line in text.splitlines() if line and line[0] not in " #")
    parsed = map(Requirement, lines)
    return {canonicalize_name(one.name): str(one.specifier) for one in parsed}


def test_each_locked_package_but_torch_has_hashes() -> None:
    locked = pins("requirements.lock")
    assert locked.pop("torch")
    assert pins("requirements.hashes") == locked, "run `make hashes`"
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements.hashes").read_text().strip())
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", block) for block in blocks)


def test_the_lock_has_the_dependencies_of_the_project() -> None:
    locked = pins("requirements.lock")
    text = (ROOT / "pyproject.toml").read_text()
    direct = re.search(r"(?s)\ndependencies = \[(.*?)\n\]", text)
    assert direct is not None
    for requirement in map(Requirement, re.findall(r'"([^"]+)"', direct.group(1))):
        assert locked[canonicalize_name(requirement.name)].removeprefix("==") in requirement.specifier
