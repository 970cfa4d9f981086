"""Features of a sample of the users at one time, for the smoke test of a release."""

import contextlib
import json
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower.data.catalogue import USERS, VIEWS
from two_tower.data.repository import contract, open_store, service
from two_tower.data.users import pull_users
from two_tower.retries import retried
from two_tower.schema import SEEN_SERVICE, USER_SERVICE


@retried
def pull_sample(repo: Path, pulled: Path, as_of: datetime, size: int = USERS) -> pa.Table:
    """Read the features of a sample of the users: the newest ones, and as many evenly spaced ones.

    Args:
        repo: The folder of a Feast feature repository after `apply`.
        pulled: The folder that the pull step wrote.
        as_of: The time of the newest interaction.
        size: The number of users; fewer if there are fewer.

    Returns:
        The table of `users.pull_users` for these users. Newest and spaced users alternate. The metadata of the schema
        has the feature view of each feature (see `catalogue.VIEWS`).

    Raises:
        InputError: If a store cannot be reached, or a column does not fit its dtype.
    """
    with contextlib.chdir(repo):
        store = open_store(Path.cwd())
        schema = contract(store)
        names = (USER_SERVICE, *((SEEN_SERVICE,) if schema.seen else ()))
        projections = [p for name in names for p in service(store, name).feature_view_projections]
    views = {f.name: p.name_to_use() for p in projections for f in p.features}
    table = pull_users(repo, as_of, sample(pulled, schema.user_key, size))
    return table.replace_schema_metadata({VIEWS: json.dumps(views)})


def sample(pulled: Path, key: str, size: int) -> pa.Array:
    """Return the newest users of the interactions and evenly spaced ones, alternating, each once; (users,) keys."""
    parts = sorted((pulled / "interactions").iterdir())
    everyone = pa.chunked_array([pc.unique(pq.read_table(part, columns=[key])[key]) for part in parts]).unique()
    newest: dict[str | int, None] = {}
    for part in reversed(parts):
        newest |= dict.fromkeys(reversed(pq.read_table(part, columns=[key])[key].to_pylist()))
        if len(newest) >= size:
            break
    step = max(1, 2 * len(everyone) // size)
    spaced = everyone.take(pa.array(range(0, len(everyone), step))).to_pylist()
    alternating = [user for pair in zip(newest, spaced, strict=False) for user in pair]
    chosen = list(dict.fromkeys([*alternating, *newest, *spaced]))[:size]
    return pa.array(chosen, everyone.type)
