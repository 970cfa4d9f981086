"""`two-tower recommend`: the items for one user, from a release on this machine."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.cli.waiting import waiting
from two_tower.errors import InputError

FALLBACKS = {
    "popular": "fallback: the online store does not know user {user}; these items are the most popular",
    "store": "fallback: the online store gave no answer; these items are the most popular",
}


def recommend(
    releases: str, user: str | None, arguments: Mapping[str, Any], out: Console, err: Console, *, as_json: bool
) -> None:
    """Print the items for a user of the current release.

    Args:
        releases: folder or URL of the releases.
        user: user key; None if `arguments` has features.
        arguments: other keyword arguments of `Recommender.recommend`.
        out: console for the result.
        err: console for progress.
        as_json: print JSON instead of a table.
    """
    with waiting(err, "opening the release"), tempfile.TemporaryDirectory(prefix="two-tower-") as cache:
        from two_tower.recommender.recommender import load_release
        from two_tower.recommender.titles import titles

        recommender = load_release(releases, cache=Path(cache))
        response = recommender.recommend(user, **arguments)
        catalogue = recommender.ranker.catalogue
        names = titles(catalogue, recommender.contract, [item.item_id for item in response.items])
    rows = [(item.item_id, name, item.score) for item, name in zip(response.items, names, strict=True)]
    if as_json:
        items = [{"item_id": item, "title": name, "score": score} for item, name, score in rows]
        out.print_json(data={"items": items, "release": response.release, "fallback": response.fallback})
        return
    table = Table("rank", "item", title=f"user {user or '(given features)'}, release {response.release}")
    if any(names):
        table.add_column("title")
    table.add_column("score", no_wrap=True)
    for rank, (item, name, score) in enumerate(rows, 1):
        table.add_row(str(rank), escape(str(item)), *([escape(name or "")] if any(names) else []), f"{score:.4f}")
    out.print(table)
    if response.fallback:
        out.print(FALLBACKS[response.fallback].format(user=escape(user or "")), soft_wrap=True)


def parsed(option: str, text: str | None) -> Any:
    """The JSON value of an option, None if it is not given. Raises InputError if it is not JSON."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(
            f'{option} {text[:60]!r} is not JSON: {error}. Pass an object such as {{"name": 1}}.'
        ) from error
