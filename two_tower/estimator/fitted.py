"""An opened folder of a fitted estimator: its users with their features, and its Recommender."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from two_tower.errors import InputError, unknown
from two_tower.estimator.fitting import FORMAT, REPOSITORY, STATE, USERS
from two_tower.estimator.frames import require, to_ids
from two_tower.inputs import ARROW_TYPES, Array
from two_tower.recommender.filters import parse
from two_tower.recommender.recommender import Recommender
from two_tower.recommender.requests import RecommendRequest
from two_tower.recommender.response import Item, Response
from two_tower.releases.item_index import embed_items, embed_users
from two_tower.releases.release import CURRENT, Release, current, open_release
from two_tower.schema import Contract, Feature

if TYPE_CHECKING:
    from two_tower.starter.plan import Column, Plan

Reader = Callable[[pa.ChunkedArray], pa.Array]
BATCH = 256  # users of one call of the recommender


@dataclass(frozen=True)
class Fitted:
    """A folder that `fit` wrote.

    Attributes:
        folder: The folder.
        release: The release in it.
        recommender: The opened release.
        users: Table of the user key and features, one row per user.
        state: Content of estimator.json.
    """

    folder: Path
    release: Release
    recommender: Recommender
    users: pa.Table
    state: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "Fitted":
        """Verify and open a folder. Raises InputError if it is not a saved estimator, or is damaged."""
        if not (folder / STATE).is_file():
            raise InputError(
                f"{folder} is not a saved TwoTowerRecommender: {STATE} is missing. Pass a folder that save() wrote; "
                "open the release of a pipeline with two_tower.load_release."
            )
        state = json.loads((folder / STATE).read_text())
        if state["format"] > FORMAT:
            raise InputError(f"{folder} was saved by a newer two-tower (format {state['format']}). Upgrade two-tower.")
        active = current(folder)
        if active is None:
            raise InputError(f"{folder} has no active release: {CURRENT} is missing. Save the estimator again.")
        release = open_release(folder, active, folder)
        return cls(folder, release, Recommender.open(folder, release), pq.read_table(folder / USERS), state)

    @property
    def contract(self) -> Contract:
        return self.recommender.contract

    @property
    def as_of(self) -> datetime:
        """Time of the newest interaction."""
        return self.release.manifest.as_of

    @property
    def external_repo(self) -> Path | None:
        """The Feast repository that was passed to `fit`; None if tables were passed."""
        repo = self.state["feature_repo"]
        return Path(repo) if repo else None

    @cached_property
    def plan(self) -> "Plan | None":
        """The role and encoding of each column; None if a Feast repository was passed to `fit`."""
        from two_tower.starter.plan import Plan

        return None if self.external_repo else Plan.read(self.folder / REPOSITORY)

    @cached_property
    def user_column(self) -> str:
        """The column of users in the interactions that were passed to `fit`."""
        return self.plan.interactions.role("user key").source if self.plan else self.contract.user_key

    @cached_property
    def item_column(self) -> str:
        return self.plan.interactions.role("item key").source if self.plan else self.contract.item_key

    def columns(self) -> pd.DataFrame | None:
        """The role and encoding of each column, one row per column; None if a Feast repository was passed to `fit`."""
        if self.plan is None:
            return None
        tables = {"users": self.plan.users, "items": self.plan.items, "interactions": self.plan.interactions}
        rows = [
            (name, c.source, c.role, c.field, str(c.dtype or ""), c.tags.get("encoding", ""), c.why)
            for name, table in tables.items()
            if table
            for c in table.columns
        ]
        return pd.DataFrame(rows, columns=["table", "column", "role", "field", "dtype", "encoding", "why"])

    @cached_property
    def _row_of(self) -> dict[Any, int]:
        return {user: row for row, user in enumerate(self.users[self.contract.user_key].to_pylist())}

    def user_ids(self, name: str, values: Any) -> list[Any]:
        return to_ids(name, values, self.contract.user_key_dtype, self.user_column)

    def known_users(self, name: str, values: Any) -> list[Any]:
        """Ids of users; all users if `values` is None. Raises InputError for an unknown one."""
        ids = list(self._row_of) if values is None else self.user_ids(name, values)
        for user in ids:
            if user not in self._row_of:
                raise InputError(f"{name}: unknown user {user!r:.60}. Pass users that were in the data of fit().")
        return ids

    def item_ids_of_type(self, name: str, values: Any) -> list[Any]:
        return to_ids(name, values, self.contract.item_key_dtype, self.item_column)

    def item_ids(self, name: str, values: Any) -> list[Any]:
        """Ids of items, as the catalogue has them. Raises InputError for an unknown one."""
        ids = self.item_ids_of_type(name, values)
        for item in ids:
            if item not in self.recommender.ranker.catalogue.row_of:
                raise InputError(f"{name}: unknown item {item!r:.60}. Pass items that were in the data of fit().")
        return ids

    def rows(self, users: Sequence[Any]) -> list[dict[str, Any] | None]:
        """The features of each user; None for an unknown one."""
        places = [self._row_of.get(user) for user in users]
        known = [place for place in places if place is not None]
        rows = iter(self.users.take(pa.array(known, pa.int64())).to_pylist())
        return [None if place is None else next(rows) for place in places]

    def frame_rows(self, table: pa.Table) -> tuple[list[Any], list[dict[str, Any] | None]]:
        """Ids and features of users that a table describes.

        Features that the table does not have keep their values from `fit` if the user is known. Without a column of
        ids, the users are numbered from 0.
        """
        key, sources = self._frame_columns()
        features = {f.name: f for f in self.contract.user}
        for column in table.column_names:
            if column not in (key, *sources, *features):
                raise unknown("column of the user table", column, {key, *sources, *features})
        require("user table", table, sources)
        columns = {field: read(table[source]) for source, (field, read) in sources.items()}
        by_name = [name for name in table.column_names if name in features and name not in columns and name != key]
        columns |= {name: _cast(table[name], features[name]) for name in by_name}
        described = pa.table(columns).to_pylist() if columns else [{} for _ in range(table.num_rows)]
        if key not in table.column_names:
            return list(range(table.num_rows)), list(described)
        ids = self.user_ids(f"user table, column {key!r}: row", table[key])
        known = self.rows(ids)
        rows = [{**(stored or {}), **row} for stored, row in zip(known, described, strict=True)]
        return ids, [row if columns or stored else None for row, stored in zip(rows, known, strict=True)]

    def _frame_columns(self) -> tuple[str, dict[str, tuple[str, Reader]]]:
        """The key column of a table of users, and for each other column its feature and the function that reads it."""
        if self.plan is None:
            return self.contract.user_key, {f.name: (f.name, _reader(f)) for f in self.contract.user}
        own = self.plan.users
        key = own.role("user key").source if own else self.user_column
        return key, {c.source: (c.field, _planned_reader(c)) for c in self.plan.features("user")}

    def recommend(
        self, rows: Sequence[dict[str, Any] | None], k: int, filters: Any, exclude_seen: bool, now: datetime | None
    ) -> list[Response]:
        """Return the k best items for each row of features, or the most popular items if a row is None."""
        self.check_k(k)
        clauses = parse(filters, self.contract) if filters is not None else ()
        ranker = self.recommender.ranker
        responses: list[Response] = []
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            requests = [RecommendRequest(features=row, k=k, exclude_seen=exclude_seen, filters=clauses) for row in part]
            ranked = iter(ranker.rank([one for one in requests if one.features is not None], seconds(now)))
            for request in requests:
                response = ranker.popular(request, "popular") if request.features is None else next(ranked)
                if isinstance(response, Exception):
                    raise response
                responses.append(response)
        return responses

    def check_k(self, k: int) -> None:
        size = self.recommender.size
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= size:
            raise InputError(f"k={k!r} is out of range. Allowed: a whole number from 1 to {size}, the number of items.")

    def embed_users(self, users: Sequence[Any], now: datetime | None) -> Array:
        """Embeddings of known users, [users, dim] float32."""
        places = pa.array([self._row_of[user] for user in users], pa.int64())
        at = np.full(len(users), int(seconds(now)))
        return embed_users(self.release.folder, self.users.take(places), self.contract, at)

    def embed_items(self, items: Sequence[Any]) -> Array:
        """Embeddings of known items as in the index, [items, dim] float32."""
        catalogue = self.recommender.ranker.catalogue
        places = pa.array([catalogue.row_of[item] for item in items], pa.int64())
        at = np.full(len(items), self.recommender.ranker.as_of)
        return embed_items(self.release.folder, catalogue.table.take(places), self.contract, at)

    def score(self, users: Sequence[Any], items: Sequence[Any], now: datetime | None) -> Array:
        """The similarity of each pair, [pairs] float32; NaN if the user or the item is unknown."""
        scores = np.full(len(users), np.nan, dtype=np.float32)
        known = [i for i in range(len(users)) if users[i] in self._row_of]
        known = [i for i in known if items[i] in self.recommender.ranker.catalogue.row_of]
        if not known:
            return scores
        pairs = pd.DataFrame({"user": [users[i] for i in known], "item": [items[i] for i in known]}, index=known)
        distinct = pairs["item"].unique().tolist()
        places = dict(zip(distinct, range(len(distinct)), strict=True))
        item_embeddings, user_embeddings = self.embed_items(distinct), self.embed_users(pairs["user"].unique(), now)
        for place, (_, group) in enumerate(pairs.groupby("user", sort=False)):
            columns = [places[item] for item in group["item"]]
            similarity = self.recommender.ranker.similarity(user_embeddings[[place]], item_embeddings[columns])
            scores[group.index] = similarity[0]
        return scores


def seconds(now: datetime | None) -> float:
    """Convert a time to seconds since 1970. A time without a time zone is in UTC; None is the present."""
    if now is None:
        return time.time()
    return (now if now.tzinfo else now.replace(tzinfo=UTC)).timestamp()


def item_frame(column: str, keys: Sequence[Any], item_column: str, lists: Sequence[Sequence[Item]]) -> pd.DataFrame:
    """Build a data frame from lists of items: key of the list, item, score, and rank from 1."""
    flat = [
        (key, item.item_id, item.score, rank)
        for key, items in zip(keys, lists, strict=True)
        for rank, item in enumerate(items, start=1)
    ]
    return pd.DataFrame(flat, columns=[column, item_column, "score", "rank"])


def _reader(f: Feature) -> Reader:
    return lambda column: _cast(column, f)


def _cast(column: pa.ChunkedArray, f: Feature) -> pa.ChunkedArray:
    try:
        return column.cast(ARROW_TYPES[f.dtype])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"user table: column {f.name!r} has the type {column.type}; {f.dtype} is required ({error})."
        ) from error


def _planned_reader(planned: "Column") -> Reader:
    from two_tower.starter import values

    assert planned.dtype is not None, "a feature has a dtype"
    type_ = ARROW_TYPES[planned.dtype]

    def read(column: pa.ChunkedArray) -> pa.Array:
        try:
            return values.read_as(column, planned.source, planned.kind).array.cast(type_, safe=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, InputError) as error:
            raise InputError(f"user table: column {planned.source!r} cannot be read as in fit(): {error}") from error

    return read
