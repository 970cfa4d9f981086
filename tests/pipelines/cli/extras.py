"""Run code as if only some extras of the project were installed: `python extras.py EXTRAS CODE`.

A finder refuses each import of a package whose distribution is not among the dependencies of the extras. The standard
library, this project and its tests stay importable.
"""

import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from importlib.abc import MetaPathFinder
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "two-tower"


def closure(extras: Iterable[str]) -> set[str]:
    """Names of the distributions that `pip install two-tower[EXTRAS]` installs, without the project itself."""
    needed: set[tuple[str, str]] = set()
    todo = [(PROJECT, extra) for extra in ("", *extras)]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in needed:
            continue
        needed.add((name, extra))
        for text in _requires(name):
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                todo += [(canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras)]
    return {name for name, _ in needed} - {PROJECT}


def _requires(name: str) -> list[str]:
    """Requirements of a distribution; those of the project are read from its source."""
    if name != PROJECT:
        return metadata.requires(name) or []
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].items()
    return project["dependencies"] + [f'{text}; extra == "{extra}"' for extra, texts in extras for text in texts]


class Installed(MetaPathFinder):
    """Refuses packages of distributions that are not installed."""

    def __init__(self, installed: set[str]) -> None:
        packages = metadata.packages_distributions().items()
        own = {name for name, owners in packages if PROJECT in map(canonicalize_name, owners)}
        self.missing = (
            {name for name, owners in packages if not installed.intersection(map(canonicalize_name, owners))}
            - own
            - {"tests"}
        )

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] in self.missing:
            raise ModuleNotFoundError(f"No module named {fullname!r}: not in these extras", name=fullname)


if __name__ == "__main__":
    extras, code = sys.argv[1:]
    finder = Installed(closure(extras.split(",") if extras else []))
    for name in [name for name in sys.modules if name.partition(".")[0] in finder.missing]:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    exec(code)
