"""`two-tower releases`: list, show, activate and roll back."""

from typing import Annotated

import typer
from rich.table import Column, Table

from pipelines.cli.options import AsJson, Releases, err, out
from pipelines.cli.waiting import waiting
from two_tower.errors import InputError

releases_app = typer.Typer(help="List, show, activate and roll back releases.", no_args_is_help=True)


@releases_app.command("list")
def list_(releases: Releases, as_json: AsJson = False) -> None:
    """List the releases, the newest first; the current one is marked."""
    with waiting(err, "reading the releases"):
        from two_tower.releases import release

        listed = release.list_releases(releases)
    if as_json:
        told = ("dataset", "created", "metrics")
        out.print_json(
            data=[
                {"id": one.id, "current": one.current, "problem": one.problem}
                | {name: one.manifest[name] for name in told if name in one.manifest}
                for one in listed
            ]
        )
        return
    table = Table("", Column("release", no_wrap=True), "data set", "recall@20", "created")
    for one in listed:
        mark = "→" if one.current else ""
        if one.problem:
            table.add_row(mark, one.id, f"[red]{one.problem}[/]", "", "")
        else:
            recall = one.manifest["metrics"]["two_tower"]["recall@20"]
            table.add_row(mark, one.id, one.manifest["dataset"], f"{recall:.4f}", one.manifest["created"][:16])
    out.print(table)


@releases_app.command()
def show(releases: Releases, release_id: Annotated[str | None, typer.Argument()] = None) -> None:
    """Verify a release and print its manifest; the current one's without an id."""
    with waiting(err, "verifying the release"):
        from two_tower.releases import release

        wanted = release_id or release.current(releases)
        if wanted is None:
            raise InputError(f"no release of {releases} is active. Name one of `two-tower releases list`.")
        manifest = release.verify(releases, wanted)
    out.print_json(data=manifest)


@releases_app.command()
def activate(releases: Releases, release_id: Annotated[str, typer.Argument()]) -> None:
    """Verify a release and make it the current one."""
    with waiting(err, "verifying the release"):
        from two_tower.releases import release

        release.activate(releases, release_id)
    out.print(f"current: {release_id}")


@releases_app.command()
def rollback(releases: Releases) -> None:
    """Make the release before the current one current again."""
    with waiting(err, "verifying the release before"):
        from two_tower.releases import release

        before = release.rollback(releases)
    out.print(f"current: {before}")
