"""`two-tower recommend`."""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.command import command
from pipelines.cli.options import Releases
from pipelines.cli.output import Output
from two_tower.errors import InputError

POPULAR = "fallback: the online store does not know user {user}; these items are the most popular"


@command("two-tower recommend --releases runs/sample/releases --user u00042 -k 5", extras="serving")
def recommend(
    output: Output,
    releases: Releases,
    user: Annotated[str | None, typer.Option(help="User id; the features come from the online store.")] = None,
    features: Annotated[
        str | None, typer.Option(metavar="JSON", help='Raw user features to use instead, e.g. {"country": "italy"}.')
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of items.")] = 10,
    filter_: Annotated[
        str | None, typer.Option("--filter", metavar="JSON", help='Conditions by item column: {"price": {"max": 20}}.')
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also recommend items that the user has seen.")
    ] = False,
) -> None:
    """Recommend items for one user, without a server.

    The items come from the current release.
    """
    arguments = {
        "features": _parse("--features", features),
        "k": k,
        "exclude_seen": not include_seen,
        "filter": _parse("--filter", filter_),
    }
    with output.progress("opening the release"), tempfile.TemporaryDirectory(prefix="two-tower-") as cache:
        from two_tower.recommender.recommender import load_release
        from two_tower.recommender.titles import titles

        recommender = load_release(releases, cache=Path(cache))
        response = recommender.recommend(user, **arguments)
        if response.fallback == "store":
            raise InputError(
                f"the online store of release {response.release} did not respond, so the features of user {user!r} are "
                "unknown. The warning above has the reason. Start the store and try again, or pass --features."
            )
        catalogue = recommender.ranker.catalogue
        names = titles(catalogue, recommender.contract, [item.item_id for item in response.items])
    rows = [(item.item_id, name, item.score) for item, name in zip(response.items, names, strict=True)]
    items = [{"item_id": item, "title": name, "score": score} for item, name, score in rows]
    output.json({"items": items, "release": response.release, "fallback": response.fallback})
    _print(output, user or "(given features)", response.release, rows)
    if response.fallback:
        output.text.print(POPULAR.format(user=user or ""), soft_wrap=True)


def _print(output: Output, user: str, release: str, rows: list[tuple[object, str | None, float]]) -> None:
    from rich.table import Table

    table = Table("rank", "item", title=f"user {user}, release {release}")
    has_titles = any(title for _, title, _ in rows)
    if has_titles:
        table.add_column("title")
    table.add_column("score", no_wrap=True)
    for rank, (item, title, score) in enumerate(rows, 1):
        names = [title or ""] if has_titles else []
        table.add_row(str(rank), str(item), *names, f"{score:.4f}")
    output.text.print(table)


def _parse(option: str, text: str | None) -> Any:
    """The JSON value of an option, None if it is not given.

    Raises:
        InputError: `text` is not JSON.
    """
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(
            f'{option} {text[:60]!r} is not JSON: {error}. Pass an object such as {{"name": 1}}.'
        ) from error
