"""Create a feature repository from plain tables, and refresh its data when the tables have new rows."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from two_tower.config import PullConfig
from two_tower.data.pulled import EVENT_TIMESTAMP
from two_tower.datasets.activity import known_share
from two_tower.datasets.prepare import write_sources
from two_tower.datasets.tables import Tables
from two_tower.errors import InputError
from two_tower.starter import files
from two_tower.starter.build import build
from two_tower.starter.decide import decide
from two_tower.starter.definitions import STORE, definitions
from two_tower.starter.notes import data_notes
from two_tower.starter.options import Options
from two_tower.starter.plan import ITEM_ACTIVITY, PLAN, USER_ACTIVITY, Plan, Table

_LEAST_KNOWN = 0.01  # the minimum share of training interactions with activity features
_LEFT_OUT = {
    USER_ACTIVITY: "the activity features of users (recent_items, user_events, last_seen) are left out: nearly no "
    "interaction has an earlier one of the same user.",
    ITEM_ACTIVITY: "the activity features of items (item_events_7d, item_events_30d, item_events) are left out: they "
    "count the interactions of earlier days, and nearly no interaction has one of the same item on an earlier day.",
}
Progress = Callable[[str, int, int], None]  # called with the name of a step, its number, and the number of steps
PARTS = ("reading files and inferring features", "building tables", "computing activity features")


def create(folder: Path, options: Options, progress: Progress = lambda *_: None) -> tuple[Plan, Tables]:
    """Create a feature repository that is ready for training.

    The folder contains:

        definitions.py feature_store.yaml   Feast code, which users can edit
        data/*.parquet                      its sources, with the activity features
        init.json                           the plan, for `refresh`

    Args:
        folder: The output folder. It must be empty or not exist, and appears only when it is complete.
        options: The files and the options.
        progress: Called before each step.

    Returns:
        The plan, and the tables of the repository.

    Raises:
        InputError: If the folder is not empty, or the tables are not valid.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty. Pass a folder that does not exist.")
    progress(PARTS[0], 1, len(PARTS))
    plan, read = decide(options)
    progress(PARTS[1], 2, len(PARTS))
    tables = build(plan, read)
    plan = replace(plan, data_notes=tuple(data_notes(plan, read, tables)))
    progress(PARTS[2], 3, len(PARTS))
    folder.resolve().parent.mkdir(parents=True, exist_ok=True)
    from two_tower.data.definitions import CONFIG_FILE  # imports Feast, which takes seconds: after the checks of input

    with tempfile.TemporaryDirectory(dir=folder.resolve().parent, prefix=f".{folder.name}-") as temporary:
        whole = Path(temporary) / "repository"
        plan = _with_activity(plan, tables, write_sources(tables, whole / "data"))
        (whole / "definitions.py").write_text(definitions(plan))
        (whole / CONFIG_FILE).write_text(STORE.format(project=json.dumps(_project(folder))))
        plan.write(whole)
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)
    return plan, tables


def refresh(folder: Path, paths: dict[str, Path], progress: Progress = lambda *_: None) -> tuple[Plan, Tables]:
    """Compute data/ again from the current files, with the plan of `create`. Other files do not change.

    Args:
        folder: The folder of the repository.
        paths: New paths of the files, by `users`, `items` and `interactions`. Later calls use them too.
        progress: Called before each step.

    Returns:
        The plan, and the tables of the repository.

    Raises:
        InputError: If `create` did not create the folder, or the files do not fit the plan.
    """
    if not (folder / PLAN).is_file():
        raise InputError(f"{folder} was not created by `two-tower init`: it has no {PLAN}. Pass another folder.")
    plan = Plan.read(folder)
    for name, path in paths.items():
        table = getattr(plan, name)
        if table is None:
            raise InputError(
                f"{folder} derives its {name} from the interactions. Create a new repository with --{name}."
            )
        plan = replace(plan, **{name: replace(table, path=str(path.resolve()))})
    progress("reading files", 1, len(PARTS))
    if plan.read_at is not None:
        plan = replace(plan, read_at=datetime.now(UTC).replace(microsecond=0).isoformat())
    read = _read(plan)
    progress(PARTS[1], 2, len(PARTS))
    tables = build(plan, read)
    plan = replace(plan, data_notes=tuple(data_notes(plan, read, tables)))
    progress(PARTS[2], 3, len(PARTS))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".data-") as temporary:
        write_sources(tables, Path(temporary))
        for path in Path(temporary).iterdir():
            shutil.move(path, folder / "data" / path.name)
    plan.write(folder)
    return plan, tables


def _read(plan: Plan) -> dict[str, pa.Table]:
    by_name: dict[str, Table | None] = {"event": plan.interactions, "user": plan.users, "item": plan.items}
    kinds = {"event": "interaction", "user": "user", "item": "item"}
    return {n: files.read(Path(t.path), kinds[n], t.names, plan.delimiter).table for n, t in by_name.items() if t}


def _with_activity(plan: Plan, tables: Tables, sources: Mapping[str, pa.Table]) -> Plan:
    """Return the plan without the activity features that are missing in nearly all training rows.

    Raises:
        InputError: If no feature of the users is left.
    """
    if not tables.has_times:
        return replace(plan, activity=())
    count = int(tables.interactions.num_rows * PullConfig().train_fraction)
    training = tables.interactions.sort_by(EVENT_TIMESTAMP).slice(0, count)
    keys = {USER_ACTIVITY: plan.user_key, ITEM_ACTIVITY: plan.item_key}
    activity = tuple(v for v, key in keys.items() if known_share(sources[v], training, key) >= _LEAST_KNOWN)
    if USER_ACTIVITY not in activity and not plan.features("user"):
        raise InputError(
            f"{plan.interactions.path}: users have no features. Nearly no interaction has an earlier one of the same "
            "user, so there are no activity features, and no column describes the users. Pass --users FILE, or "
            "--timestamp COLUMN with a more precise time. Pass --timestamp none if the time has no meaning."
        )
    notes = (_LEFT_OUT[view] for view in keys if view not in activity)
    return replace(plan, activity=activity, notes=(*plan.notes, *notes))


def _project(folder: Path) -> str:
    """Return a valid name of a Feast project."""
    return re.sub(r"\W+", "_", folder.resolve().name, flags=re.ASCII).strip("_").lower() or "repository"
