"""`two-tower releases`: list, show, activate and roll back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.command import Program, add, command
from pipelines.cli.options import DeployAssignments, Releases
from pipelines.cli.output import Output
from pipelines.exit_status import ExitStatus

if TYPE_CHECKING:
    from rich.table import Table

    from two_tower.config import DeployConfig
    from two_tower.releases.release import Listed

releases_app = typer.Typer(
    cls=Program,
    help="List, show, activate and roll back releases.",
    epilog="Example:\n\n\b\n  two-tower releases list --releases runs/sample/releases",
)


@command("two-tower releases list --releases runs/sample/releases --json")
def list_(output: Output, releases: Releases) -> None:
    """List the releases, newest first. An arrow marks the current one."""
    with output.progress("reading the releases"):
        from two_tower.errors import InputError
        from two_tower.releases import release

        if "://" not in releases and not Path(releases).is_dir():
            raise InputError(f"{releases} does not exist. Check the path or URL.")
        listed = release.list_releases(releases)
    output.json(
        [
            {"id": one.id, "current": one.current, "problem": one.problem}
            | (one.manifest.model_dump(include={"dataset", "created", "metrics"}) if one.manifest else {})
            for one in listed
        ]
    )
    output.text.print(_table(listed))


def _table(listed: "list[Listed]") -> "Table":
    from rich.table import Column, Table

    from pipelines.cli.console import labelled

    table = Table("", Column("release", no_wrap=True), "data set", "recall@20", "created")
    for one in listed:
        mark = "→" if one.current else ""
        if one.manifest is None:
            table.add_row(mark, one.id, labelled(one.problem, "red"), "", "")
        else:
            recall = "–" if one.manifest.recall is None else f"{one.manifest.recall:.4f}"
            table.add_row(mark, one.id, one.manifest.dataset, recall, one.manifest.created[:16])
    return table


@command("two-tower releases show --releases runs/sample/releases")
def show(
    output: Output,
    releases: Releases,
    release_id: Annotated[str | None, typer.Argument(help="Release. Default: the current one.")] = None,
) -> None:
    """Verify a release and print its manifest as JSON, with or without --json."""
    with output.progress("verifying the release"):
        from two_tower.releases import release

        manifest = release.verify(releases, release.resolve(releases, release_id)).model_dump()
    output.json(manifest)
    if not output.as_json:
        output.text.print_json(data=manifest)


@command("two-tower releases activate 20260131T120000-1a2b3c4d --releases runs/sample/releases")
def activate(
    output: Output,
    releases: Releases,
    release_id: Annotated[str, typer.Argument(help="Release to activate.")],
    assignments: DeployAssignments = None,
) -> ExitStatus:
    """Verify a release and make it the current one. With --set deployer=kserve, deploy it to the cluster."""
    config = _deploy_config(assignments)
    with output.progress("verifying the release"):
        from two_tower.releases import release

        reasons: tuple[str, ...] = ()
        if config.deployer == "local":
            release.activate(releases, release_id)
        else:
            from two_tower.deployment import deploy

            reasons = tuple(deploy.activate(release_id, releases, config).reasons)
    if reasons:
        output.json({"current": release.current(releases), "reasons": reasons})
        output.text.print("\n".join(reasons), markup=False)
        return ExitStatus.HELD
    _print_current(output, release_id)
    return ExitStatus.DONE


@command("two-tower releases rollback --releases runs/sample/releases")
def rollback(output: Output, releases: Releases, assignments: DeployAssignments = None) -> None:
    """Make the previous release the current one again. With --set deployer=kserve, move the cluster's traffic too."""
    config = _deploy_config(assignments)
    with output.progress("verifying the previous release"):
        if config.deployer == "local":
            from two_tower.releases import release

            previous = release.rollback(releases)
        else:
            from two_tower.deployment import kserve

            previous = kserve.connect(releases, config).restore_previous()
    _print_current(output, previous)


def _deploy_config(assignments: list[str] | None) -> "DeployConfig":
    from two_tower.config import DeployConfig, with_assignments

    config: DeployConfig = with_assignments({"deploy": DeployConfig()}, assignments or [])["deploy"]
    return config


def _print_current(output: Output, release_id: str) -> None:
    output.text.print(f"current: {release_id}")
    output.json({"current": release_id})


for name, callback in {"list": list_, "show": show, "activate": activate, "rollback": rollback}.items():
    add(releases_app, name, callback)
