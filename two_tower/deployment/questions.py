"""Users whose requests the smoke test sends, with the values that the run knows to be right."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from two_tower.data.catalogue import VIEWS
from two_tower.inputs import ARROW_TYPES
from two_tower.releases.manifest import File
from two_tower.schema import Contract

_KEY, _FEATURE = "user", "feature:"  # columns of the file; a feature may have the name of the user key
_FILES = b"files"
EVALUATED = (File.USER_TOWER, File.ITEM_TOWER, File.ITEMS)  # files whose content the run knows before it publishes

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Users of the smoke test.

    Attributes:
        users: User keys.
        rows: Features of each user in the offline store as of the run, by name; None if the run does not know them.
        views: Feature view of each feature.
        files: sha256 of the towers and of the items that the run evaluated, by name. Empty: not known.
    """

    users: Sequence[str | int] = ()
    rows: Sequence[Row] | None = None
    views: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_run(cls, sample: Path, contract: Contract, towers: Path, index: Path) -> Self:
        """Make the questions of a training run.

        Args:
            sample: Parquet file with the table of `sample_users.pull_sample`.
            contract: Feature contract of the run.
            towers: Folder with the ONNX files of both towers.
            index: Folder written by the index step.
        """
        table = pq.read_table(sample)
        return cls(
            users=table[contract.user_key].to_pylist(),
            rows=table.to_pylist(),
            views=json.loads(table.schema.metadata[VIEWS]),
            files=digests(towers, index),
        )

    def first(self, count: int) -> "Questions":
        """Return the questions of the first users."""
        rows = None if self.rows is None else self.rows[:count]
        return Questions(users=self.users[:count], rows=rows, views=self.views, files=self.files)

    def write(self, path: Path, contract: Contract) -> None:
        """Write a parquet file, which keeps the types of the features."""
        kinds = {f.name: f.dtype for f in (*contract.user, *([contract.seen] if contract.seen else []))}
        columns = {_KEY: pa.array(self.users, ARROW_TYPES[contract.user_key_dtype])}
        for name, dtype in kinds.items() if self.rows is not None else ():
            columns[f"{_FEATURE}{name}"] = pa.array([row[name] for row in self.rows or ()], ARROW_TYPES[dtype])
        metadata = {VIEWS: json.dumps(dict(self.views)), _FILES: json.dumps(dict(self.files))}
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that `write` wrote."""
        table = pq.read_table(path)
        names = [name for name in table.column_names if name != _KEY]
        rows = table.select(names).rename_columns([name.removeprefix(_FEATURE) for name in names])
        return cls(
            users=table[_KEY].to_pylist(),
            rows=rows.to_pylist() if names else None,
            views=json.loads(table.schema.metadata[VIEWS]),
            files=json.loads(table.schema.metadata[_FILES]),
        )


def digests(*folders: Path) -> dict[str, str]:
    """Return the sha256 of the towers and of the items in some folders, by the name of the file."""
    paths = [folder / name for folder in folders for name in EVALUATED if (folder / name).exists()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
