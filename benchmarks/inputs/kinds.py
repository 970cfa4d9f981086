"""What a kind of input is, and small helpers for its members."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

RUN = "run --feature-repo repo --out out --set epochs=1 --set min_lift=0 --set bootstrap_samples=10"

Step = str | Callable[[Path], None]
Check = Callable[[Path], list[str]]


def _no_faults(folder: Path) -> list[str]:
    del folder
    return []


@dataclass(frozen=True)
class Member:
    """One input of a kind.

    Attributes:
        name: A few words.
        write: Writes the input into an empty folder.
        steps: Arguments of `two-tower`, or functions that change the input; they run in that folder, in this order.
        served: Whether a promoted release that serves what was evaluated is right.
        refusal: A regular expression that a right refusal (exit status 2) matches. None: a refusal is not right.
        held: The same for a release that a gate holds back (exit status 3).
        check: Returns the faults of a finished run, one sentence each.
        environment: Environment variables of the commands.
    """

    name: str
    write: Callable[[Path], None]
    steps: tuple[Step, ...] = (RUN,)
    served: bool = True
    refusal: str | None = None
    held: str | None = None
    check: Check = _no_faults
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A kind of input that people bring. `sentence` says what is right for it."""

    name: str
    sentence: str
    members: tuple[Member, ...]


def init(arguments: str) -> tuple[str, str]:
    """Return the steps of a repository that `two-tower init` writes: init with these arguments, then a run."""
    return (f"init repo {arguments}", RUN)


def refused(name: str, write: Callable[[Path], None], words: str, steps: tuple[Step, ...] = (RUN,)) -> Member:
    """Return a member that is right only if it is refused with a message that matches `words`."""
    return Member(name, write, steps, served=False, refusal=words)


def manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of the current release."""
    releases = folder / "out" / "releases"
    content: dict[str, Any] = json.loads((_current(releases) / "manifest.json").read_text())
    return content


def lacks(pattern: str) -> Check:
    """Return a check that no feature of the release has a name that matches a regular expression."""

    def check(folder: Path) -> list[str]:
        contract = manifest(folder)["contract"]
        names = [f["name"] for tower in ("user", "item") for f in contract[tower]]
        return [f"{name!r} is a feature" for name in names if re.search(pattern, name)]

    return check


def items_are(expected: Sequence[str | int]) -> Check:
    """Return a check that the catalogue of the release holds these items and no others."""

    def check(folder: Path) -> list[str]:
        release = _current(folder / "out" / "releases")
        key = manifest(folder)["contract"]["item_key"]
        ids = set(pq.read_table(release / "items.parquet")[key].to_pylist())
        different = sorted(map(str, ids ^ set(expected)))
        return [f"the catalogue differs in {', '.join(different[:5])}"] if different else []

    return check


def _current(releases: Path) -> Path:
    return releases / (releases / "current").read_text().strip()
