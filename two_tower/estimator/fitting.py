"""The steps of `fit`: from tables or a Feast repository to a folder with a release.

tables/*.parquet     the tables that were passed to `fit`
feature_repo/        the repository that `two-tower init` creates from these tables
users.parquet        the features of each user as of the newest interaction
<release id>/        the release; `current` names it
estimator.json       parameters, epochs, and the path of the repository if it is not in this folder
"""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from two_tower.config import EvaluationConfig, PullConfig, Section, TrainConfig
from two_tower.errors import InputError
from two_tower.estimator.frames import Frame, to_arrow
from two_tower.estimator.progress import Bar
from two_tower.training.callbacks import Callback

STATE, USERS, TABLES, REPOSITORY = "estimator.json", "users.parquet", "tables", "feature_repo"
FORMAT = 1
_OPTIONS = {  # option of `two-tower init`: argument of the estimator
    "--timestamp-format": "timestamp_format",
    "--timestamp": "timestamp_column",
    "--user-key": "user_column",
    "--item-key": "item_column",
    "--weight": "weight_column",
}
_DROPPED = {  # rows that `two-tower init` leaves out, by its reasons
    "no_user": ("interactions", "user"),
    "no_item": ("interactions", "item"),
    "no_time": ("interactions", "time"),
    "user_without_key": ("users", "key"),
    "item_without_key": ("items", "key"),
}


def given_tables(interactions: Frame, users: Frame | None, items: Frame | None) -> dict[str, pa.Table]:
    """Convert the tables of `fit` to Arrow. Users or items that are the same object as the interactions are dropped."""
    frames = {"users": users, "items": items}
    own = {name: to_arrow(name, frame) for name, frame in frames.items() if frame is not None}
    own = {name: table for name, table in own.items() if frames[name] is not interactions}
    return {"interactions": to_arrow("interactions", interactions), **own}


def given_repository(path: Path, users: Frame | None, items: Frame | None, columns: Mapping[str, str | None]) -> Path:
    """Return the folder of a repository. Raises InputError for arguments that only apply to tables."""
    if users is not None or items is not None:
        raise InputError("users and items are for tables; a Feast repository has its own. Pass the repository alone.")
    if named := [name for name, column in columns.items() if column is not None]:
        raise InputError(f"{named[0]} is for tables; a Feast repository names its keys and times. Leave it out.")
    return path.resolve()


def make_repository(folder: Path, tables: Mapping[str, pa.Table], columns: Mapping[str, str | None]) -> Path:
    """Write the tables and the feature repository that `two-tower init` creates from them; return its folder.

    Args:
        folder: Folder to write to.
        tables: `interactions`, and `users` and `items` if there are any.
        columns: Arguments of the estimator that name columns.

    Raises:
        InputError: The tables cannot be used, or a key or a time is missing in a row.
    """
    from two_tower.starter.create import create
    from two_tower.starter.options import Options

    paths = {name: folder / TABLES / f"{name}.parquet" for name in tables}
    (folder / TABLES).mkdir()
    for name, table in tables.items():
        pq.write_table(table, paths[name])
    try:
        _, made = create(
            folder / REPOSITORY,
            Options(
                interactions=paths["interactions"],
                users=paths.get("users"),
                items=paths.get("items"),
                user_key=columns["user_column"],
                item_key=columns["item_column"],
                timestamp=columns["timestamp_column"],
                timestamp_format=columns["timestamp_format"],
                weight=columns["weight_column"],
            ),
        )
    except InputError as error:
        raise InputError(_for_python(str(error), paths)) from error
    for reason, (name, value) in _DROPPED.items():
        if rows := made.report.get(reason):
            raise InputError(
                f"{name}: {rows} of {tables[name].num_rows} rows have no {value}, or one that cannot be read. Drop "
                "these rows or fill them in."
            )
    return folder / REPOSITORY


def _for_python(message: str, paths: Mapping[str, Path]) -> str:
    """Replace paths and options in a message of `two-tower init` by the arguments of the Python API."""
    for name, path in paths.items():
        message = message.replace(str(path), name).replace(path.name, name)
    message = re.sub(f"({'|'.join(_OPTIONS)}) COLUMN", lambda option: f"{_OPTIONS[option[1]]}='COLUMN'", message)
    return re.sub("|".join(_OPTIONS), lambda option: _OPTIONS[option.group()], message)


def fit(
    folder: Path,
    repo: Path,
    title: str,
    configs: Mapping[type[Section], Any],
    params: Mapping[str, Any],
    bar: Bar,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Pull, train, export, index, evaluate, and write the release and the state of the estimator to `folder`.

    Args:
        folder: Folder to write to.
        repo: Feast feature repository.
        title: Name of the data in the release's manifest.
        configs: Settings by section.
        params: Parameters of the estimator, for `load`.
        bar: Progress bar.
        callbacks: Callbacks of training, instead of those of the setting `callbacks`.

    Raises:
        InputError: The repository or its data cannot be used, or training diverges.
    """
    from two_tower.data import features
    from two_tower.data.users import pull_users
    from two_tower.evaluation.evaluate import evaluate
    from two_tower.evaluation.ranking import Task
    from two_tower.exporting.export import export
    from two_tower.releases import publish, release
    from two_tower.releases.item_index import build_index
    from two_tower.training.network.model import load
    from two_tower.training.train import train

    with tempfile.TemporaryDirectory(prefix="two-tower-fit-") as scratch:
        pulled, model, towers, index = (Path(scratch) / name for name in ("pulled", "model", "towers", "index"))
        bar.step("joining features at the time of each interaction")
        tables = features.pull(repo, configs[PullConfig], None, pulled)
        Task.of(tables)  # raises before training if there is no event to evaluate
        bar.step("training")
        history = train(tables, replace(configs[TrainConfig], callbacks=""), model, [bar, *callbacks])["history"]
        bar.step("exporting the towers to ONNX")
        export(load(model), towers)
        build_index(towers, tables, index)
        bar.step("evaluating the test window")
        report = evaluate(tables, towers, None, configs[EvaluationConfig])
        bar.step("reading the features of each user")
        pq.write_table(pull_users(repo, tables.bounds.as_of), folder / USERS)
        settings = {name: value for config in configs.values() for name, value in json.loads(config.to_json()).items()}
        summary = Path(scratch) / "summary.json"
        summary.write_text(json.dumps({"metrics": report.metrics, "gates": {}, "settings": settings}))
        bar.step("writing the release")
        published = publish.publish(repo, pulled, towers, index, summary, dataset=title, releases=str(folder))
        release.activate(folder, published)
    own = repo.is_relative_to(folder)
    state = {
        "format": FORMAT,
        "params": {**params, **settings},
        "history": history,
        "feature_repo": None if own else str(repo),
    }
    (folder / STATE).write_text(json.dumps(state, indent=1))
