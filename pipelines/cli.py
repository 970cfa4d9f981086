"""The command line `two-tower`. Exit status: 0 promoted; 3 a gate held; 2 bad usage or bad input; 1 a fault."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from two_tower.errors import InputError

app = typer.Typer(
    name="two-tower",
    help="Candidate retrieval with two-tower models, from a Feast feature store to a served top-k.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
releases_app = typer.Typer(help="List, show, activate and roll back releases.", no_args_is_help=True)
app.add_typer(releases_app, name="releases")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

EXIT_FAULT, EXIT_INPUT, EXIT_HELD = 1, 2, 3


Releases = Annotated[str, typer.Option("--releases", help="Folder, s3:// or gs:// address of the releases.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
]


@app.command()
def run(
    dataset: Annotated[str | None, typer.Option(help="A built-in data set, for example sample.")] = None,
    feature_repo: Annotated[Path | None, typer.Option(help="Your own Feast feature repository.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the data set's raw files.")] = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Where everything goes; default runs/NAME.")] = None,
    as_of: Annotated[str, typer.Option(help="Read interactions up to this instant (ISO 8601).")] = "",
    assignments: Assignments = None,
) -> None:
    """Run the whole line on this machine: features, gates, training, index, evaluation, release."""
    from pipelines.run import Request, run_training

    request = Request.of(dataset, feature_repo, data_dir, out_dir, as_of, assignments or [])
    raise typer.Exit(run_training(request, out, err))


@app.command("compile")
def compile_(
    out_file: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("pipeline.yaml"),
    assignments: Assignments = None,
) -> None:
    """Compile the training pipeline for Kubeflow, from the same definition that `run` executes."""
    from kfp import compiler

    from pipelines.run import config_arguments, settings_from
    from pipelines.training import training

    arguments = config_arguments(settings_from(None, assignments or []))
    compiler.Compiler().compile(training, str(out_file), pipeline_parameters=arguments)
    out.print(f"wrote {out_file}")


@app.command()
def serve(
    releases: Releases,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8080,
    feature_repo: Annotated[
        Path | None, typer.Option(help="Feature repository for online look-ups; default: the release's own.")
    ] = None,
) -> None:
    """Serve the current release over HTTP, and each newly activated one without a restart."""
    from serving.app import serve as serve_forever

    serve_forever(releases, host=host, port=port, feature_repo=feature_repo)


@app.command()
def recommend(
    releases: Releases,
    user: Annotated[str, typer.Option(help="The user's id.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
) -> None:
    """Recommend items for one user from the current release, without a server."""
    from serving.app import recommend_once

    answer = recommend_once(releases, user, k)
    table = Table("rank", "item", "score", title=f"user {user}, release {answer.release}")
    for rank, item in enumerate(answer.items, 1):
        table.add_row(str(rank), str(item.item_id), f"{item.score:.4f}")
    out.print(table)
    if answer.fallback:
        out.print(f"fallback: {answer.fallback}")


@releases_app.command("list")
def list_(releases: Releases) -> None:
    """List the releases, the newest first; the current one is marked."""
    from two_tower import release

    table = Table("", "release", "data set", "recall@20", "created")
    for one in release.list_releases(releases):
        mark = "→" if one.current else ""
        if one.problem:
            table.add_row(mark, one.id, f"[red]{one.problem}[/]", "", "")
        else:
            recall = one.manifest["metrics"]["two_tower"]["recall@20"]
            table.add_row(mark, one.id, one.manifest["dataset"], f"{recall:.4f}", one.manifest["created"])
    out.print(table)


@releases_app.command()
def show(releases: Releases, release_id: Annotated[str | None, typer.Argument()] = None) -> None:
    """Verify a release and print its manifest; the current one's without an id."""
    from two_tower import release

    wanted = release_id or release.current(releases)
    if wanted is None:
        raise InputError(f"no release of {releases} is active. Name one of `two-tower releases list`.")
    out.print_json(data=release.verify(releases, wanted))


@releases_app.command()
def activate(releases: Releases, release_id: Annotated[str, typer.Argument()]) -> None:
    """Verify a release and make it the current one."""
    from two_tower import release

    release.activate(releases, release_id)
    out.print(f"current: {release_id}")


@releases_app.command()
def rollback(releases: Releases) -> None:
    """Make the release before the current one current again."""
    from two_tower import release

    out.print(f"current: {release.rollback(releases)}")


def main() -> None:
    """Entry point: a user's error is a sentence on stderr, not a traceback."""
    try:
        app()
    except InputError as error:
        err.print(f"[bold red]error:[/] {error}", markup=True, soft_wrap=True)
        sys.exit(EXIT_INPUT)
