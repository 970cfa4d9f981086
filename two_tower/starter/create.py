"""A feature repository made from plain tables, and its data computed again when the tables have grown."""

import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from two_tower.data.repository import CONFIG_FILE
from two_tower.datasets.prepare import write_sources
from two_tower.datasets.tables import Tables
from two_tower.errors import InputError
from two_tower.starter import files
from two_tower.starter.build import build
from two_tower.starter.decide import Asked, decide
from two_tower.starter.definitions import STORE, definitions
from two_tower.starter.plan import PLAN, Plan, Table

Tell = Callable[[str, int, int], None]  # what is done, as which part of how many
PARTS = ("reading the files and deciding on each column", "making the tables", "computing activity features")


def create(folder: Path, asked: Asked, tell: Tell = lambda *_: None) -> tuple[Plan, Tables]:
    """Write a feature repository that trains as it is; returns what was decided, and the tables.

        definitions.py feature_store.yaml   ordinary Feast code, to read and to edit
        data/*.parquet                      its sources, with the activity features
        init.json                           what was decided, for `refresh`

    The folder appears only when it is complete. Raises InputError where there is something already, and for tables
    that cannot be used.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty. Name a folder that is not there yet.")
    tell(PARTS[0], 1, len(PARTS))
    plan, read = decide(asked)
    tell(PARTS[1], 2, len(PARTS))
    tables = build(plan, read)
    tell(PARTS[2], 3, len(PARTS))
    folder.resolve().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.resolve().parent, prefix=f".{folder.name}-") as temporary:
        whole = Path(temporary) / "repository"
        write_sources(tables, whole / "data")
        (whole / "definitions.py").write_text(definitions(plan))
        (whole / CONFIG_FILE).write_text(STORE.format(project=_project(folder)))
        plan.write(whole)
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)
    return plan, tables


def refresh(folder: Path, paths: dict[str, Path], tell: Tell = lambda *_: None) -> tuple[Plan, Tables]:
    """Compute data/ again from the files as they are now, as it was decided at first; nothing else is changed.

    paths: files to read from now on in the place of the first ones, by `users`, `items`, `interactions`.
    Raises InputError where the folder was not made by `create`, and where the files no longer fit.
    """
    if not (folder / PLAN).is_file():
        raise InputError(f"{folder} was not made by `two-tower init`: it has no {PLAN}.")
    plan = Plan.read(folder)
    for name, path in paths.items():
        table = getattr(plan, name)
        if table is None:
            raise InputError(f"{folder} derives its {name} from the interactions. Make a new folder with --{name}.")
        plan = replace(plan, **{name: replace(table, path=str(path.resolve()))})
    tell("reading the files", 1, len(PARTS))
    read = _read(plan)
    tell(PARTS[1], 2, len(PARTS))
    tables = build(plan, read)
    tell(PARTS[2], 3, len(PARTS))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".data-") as temporary:
        write_sources(tables, Path(temporary))
        for path in Path(temporary).iterdir():
            shutil.move(path, folder / "data" / path.name)
    plan.write(folder)
    return plan, tables


def _read(plan: Plan) -> dict[str, object]:
    named: dict[str, Table | None] = {"event": plan.interactions, "user": plan.users, "item": plan.items}
    words = {"event": "interaction", "user": "user", "item": "item"}
    return {n: files.read(Path(t.path), words[n], t.names, plan.delimiter) for n, t in named.items() if t}


def _project(folder: Path) -> str:
    """A name that Feast takes for a project."""
    return re.sub(r"\W+", "_", folder.resolve().name, flags=re.ASCII).strip("_").lower() or "repository"
