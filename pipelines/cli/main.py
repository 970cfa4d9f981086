"""The command line `two-tower`. Exit status: 0 promoted; 3 a gate held; 2 bad usage or bad input; 1 a fault."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.options import AsJson, Assignments, Names, Releases, err, out
from pipelines.cli.releases import releases_app
from pipelines.cli.settings import settings
from pipelines.cli.waiting import waiting
from two_tower import __version__
from two_tower.errors import InputError, unknown
from two_tower.storage import StorageError

app = typer.Typer(
    name="two-tower",
    help="Candidate retrieval with two-tower models, from a Feast feature store to a served top-k.\n\n"
    "From your own tables: init, run, serve. To try it: run --dataset sample. On a cluster: compile, submit.",
    epilog="Exit status: 0 done or promoted; 3 a gate held the release back; 2 bad usage or bad input; 1 a fault.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(releases_app, name="releases")
app.command()(settings)

EXIT_FAULT, EXIT_INPUT, EXIT_HELD = 1, 2, 3


def _version(asked: bool) -> None:
    if asked:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The feature repository to make, or to bring up to date.")
    ],
    interactions: Annotated[Path | None, typer.Option(help="Who took which item, and when.")] = None,
    users: Annotated[Path | None, typer.Option(help="A row a user; without it, from the interactions.")] = None,
    items: Annotated[Path | None, typer.Option(help="A row an item; without it, from the interactions.")] = None,
    user_key: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column that names the user.")] = None,
    item_key: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column that names the item.")] = None,
    timestamp: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The interactions' column of the time.")
    ] = None,
    timestamp_format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="Its form: strptime's, or s, ms, us, ns since 1970.")
    ] = None,
    weight: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What an interaction weighs in training.")
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Which interactions count.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Leave out; may be repeated.")] = None,
    user_columns: Names = "",
    item_columns: Names = "",
    interaction_columns: Names = "",
) -> None:
    """Make a feature repository from plain tables: CSV, parquet, other delimited text, or a workbook.

    What each column becomes is told and shown; options overrule it. In a folder made before, without options, the data
    are computed again from the files as they are now, and edited definitions stay.
    """
    with waiting(err, "starting"):
        from pipelines.cli.init import init as make

    files = {"interactions": interactions, "users": users, "items": items}
    named = {"user_columns": user_columns, "item_columns": item_columns, "interaction_columns": interaction_columns}
    said = {
        "user_key": user_key,
        "item_key": item_key,
        "timestamp": timestamp,
        "timestamp_format": timestamp_format,
        "weight": weight,
        "where": where,
        "ignore": tuple(ignore or ()),
        **{option: [name.strip() for name in names.split(",")] for option, names in named.items() if names},
    }
    make(folder, {n: p for n, p in files.items() if p}, {n: v for n, v in said.items() if v}, out, err)


@app.command()
def run(
    dataset: Annotated[str | None, typer.Option(help="A built-in data set, for example sample.")] = None,
    feature_repo: Annotated[Path | None, typer.Option(help="Your own Feast feature repository.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the data set's raw files.")] = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Where everything goes; default runs/NAME.")] = None,
    as_of: Annotated[str, typer.Option(help="Read interactions up to this instant (ISO 8601).")] = "",
    runner: Annotated[str, typer.Option(help="subprocess, or docker for each step in its container.")] = "subprocess",
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole line on this machine: features, gates, training, index, evaluation, release."""
    with waiting(err, "starting"):
        from pipelines.local.run import Request, Runner, run_training

    if runner not in list(Runner):
        raise unknown("runner", runner, list(Runner))
    request = Request.of(dataset, feature_repo, data_dir, out_dir, as_of, assignments or [], Runner(runner))
    status = run_training(request, err if as_json else out, err)
    if as_json:
        out.print_json((request.out / "run.json").read_text())
    raise typer.Exit(status)


@app.command()
def tune(
    dataset: Annotated[str | None, typer.Option(help="A built-in data set, for example sample.")] = None,
    feature_repo: Annotated[Path | None, typer.Option(help="Your own Feast feature repository.")] = None,
    pulled: Annotated[
        str | None, typer.Option(metavar="DIR", help="What a run's pull step wrote; for --katib where pods find it.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the data set's raw files.")] = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Where the study lies; default runs/NAME/tune.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="How many in all, those of earlier calls included.")] = 30,
    timeout: Annotated[float | None, typer.Option(metavar="MINUTES", min=0, help="No trial begins later.")] = None,
    space: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The search space, TOML; default: our own.")
    ] = None,
    katib: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the search as a Katib experiment instead.")
    ] = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Search for settings by the validation window; a search that was broken off goes on where it was.

    Leaves best.toml, for the repository's two_tower.toml, tune.html, trials.csv and tune.json.
    """
    if katib is not None:
        from pipelines.kubeflow.katib import Experiment

        here = {"--dataset": dataset, "--feature-repo": feature_repo, "--out": out_dir, "--timeout": timeout}
        for option, value in here.items():
            if value is not None:
                raise InputError(f"{option} is of a search on this machine; --katib takes --pulled, --space, --set.")
        Experiment.of(pulled, trials, space, assignments or []).write(katib)
        out.print(f"wrote {katib}")
        return
    from pipelines.local.tune import Request
    from pipelines.local.tune import tune as search

    given = Path(pulled) if pulled else None
    request = Request.of(dataset, feature_repo, given, data_dir, out_dir, trials, timeout, space, assignments or [])
    status = search(request, err if as_json else out, err)
    if as_json:
        out.print_json((request.out / "tune.json").read_text())
    raise typer.Exit(status)


@app.command()
def leaks(
    feature_repo: Annotated[Path, typer.Option(help="The Feast feature repository to look at.")],
    as_of: Annotated[str, typer.Option(help="Read interactions up to this instant (ISO 8601).")] = "",
) -> None:
    """Look for features that know the future; exit status 3 where there is one."""
    with waiting(err, "starting"):
        from pipelines.cli.leaks import look

    raise typer.Exit(look(feature_repo, as_of, out, err))


@app.command("compile")
def compile_(
    out_file: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("pipeline.yaml"),
    pipeline: Annotated[str, typer.Option(help="training, refresh_items or dataset.")] = "training",
    assignments: Assignments = None,
) -> None:
    """Compile a pipeline for Kubeflow, from the same definition that `run` executes."""
    with waiting(err, "compiling"):
        from pipelines.kubeflow.compiled import Plan

        Plan.of(pipeline, assignments or []).write(out_file)
    out.print(f"wrote {out_file}")


@app.command()
def submit(
    host: Annotated[str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="Pipelines API; default: in-cluster.")] = "",
    token: Annotated[str, typer.Option(envvar="TWO_TOWER_TOKEN", help="Bearer token, if it asks for one.")] = "",
    namespace: Annotated[str, typer.Option(help="The user's namespace, where there are several users.")] = "",
    pipeline: Annotated[str, typer.Option(help="training or refresh_items.")] = "training",
    dataset: Annotated[str | None, typer.Option(help="Train on a built-in data set instead of a repository.")] = None,
    data_dir: Annotated[str, typer.Option(help="Where the pods find the data set's raw files.")] = "",
    feature_repo: Annotated[str | None, typer.Option(help="Feast feature repository: s3:// or gs:// address.")] = None,
    releases: Annotated[str, typer.Option(help="Where releases go: s3:// or gs:// address.")] = "",
    as_of: Annotated[str, typer.Option(help="Read interactions up to this instant (ISO 8601).")] = "",
    fingerprint: Annotated[str, typer.Option(help="Version of the data; the same one reuses the pull.")] = "",
    experiment: Annotated[str, typer.Option(help="Experiment that the run is shown under.")] = "two-tower",
    schedule: Annotated[str | None, typer.Option(metavar="CRON", help="Make a recurring run instead.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run; the exit status is then the run's.")] = False,
    assignments: Assignments = None,
) -> None:
    """Start a run, or a recurring one, on Kubeflow Pipelines."""
    with waiting(err, "starting"):
        from pipelines.kubeflow.submitted_run import Request, submit_request

    request = Request(
        host=host,
        token=token,
        namespace=namespace,
        pipeline=pipeline,
        dataset=dataset,
        data_dir=data_dir,
        feature_repo=feature_repo,
        releases=releases,
        as_of=as_of,
        fingerprint=fingerprint,
        experiment=experiment,
        schedule=schedule,
        wait=wait,
        assignments=tuple(assignments or ()),
    )
    raise typer.Exit(submit_request(request, out, err))


@app.command()
def serve(
    releases: Releases,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="PORT", min=0, max=65535, help="Port to listen on.")] = 8080,
    feature_repo: Annotated[
        Path | None, typer.Option(help="Feature repository for online look-ups; default: the release's own.")
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of the Open Inference Protocol's gRPC; default: port + 1."),
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the towers and the index run.")] = "cpu",
    release: Annotated[
        str | None, typer.Option(envvar="TWO_TOWER_RELEASE", help="Serve this release, whatever is current.")
    ] = None,
    page: Annotated[
        bool | None,
        typer.Option(
            "--page/--no-page",
            envvar="TWO_TOWER_PAGE",
            help="The demo page at /, which shows users to whoever reaches it; default: on a loopback address.",
        ),
    ] = None,
    feature_log: Annotated[
        Path | None,
        typer.Option(envvar="TWO_TOWER_FEATURE_LOG", help="Write a sample of the features served to this folder."),
    ] = None,
    log_share: Annotated[
        float, typer.Option(envvar="TWO_TOWER_LOG_SHARE", min=0.0001, max=1, help="Share of the requests to log.")
    ] = 0.01,
    workers: Annotated[
        int, typer.Option(envvar="TWO_TOWER_WORKERS", min=1, max=64, help="Processes that answer, on the same ports.")
    ] = 1,
) -> None:
    """Serve the current release over HTTP and gRPC, and each newly activated one without a restart."""
    if err.is_terminal:  # elsewhere the log is all there is, and every line of it JSON
        err.print(f"opening {releases} for http://{host}:{port}, which is ready when a line says so; Ctrl+C ends it")
    from serving.http.app import serve as serve_forever

    serve_forever(
        releases,
        host,
        port,
        feature_repo=feature_repo,
        grpc_port=grpc_port,
        device=device,
        release=release or None,
        page=page,
        feature_log=(feature_log, log_share) if feature_log else None,
        processes=workers,
    )


@app.command()
def skew(
    releases: Releases,
    feature_repo: Annotated[Path, typer.Option(help="The feature repository that the release was trained on.")],
    url: Annotated[str, typer.Option(help="Where the service answers.")] = "http://localhost:8080",
    release: Annotated[str, typer.Option(help="The release that should serve; default: the current one.")] = "",
    users: Annotated[int, typer.Option(min=1, max=5000, help="How many of the newest users to ask for.")] = 100,
) -> None:
    """Compare what training reads and a live service answers, layer by layer; exit status 3 where they part."""
    from pipelines.cli.skew import compare

    raise typer.Exit(compare(feature_repo, releases, release, url, users, out, err))


@app.command()
def drift(
    releases: Releases,
    feature_log: Annotated[Path, typer.Option(help="What `serve --feature-log` wrote.")],
    release: Annotated[str, typer.Option(help="The release whose requests to look at; default: the current one.")] = "",
    since: Annotated[str, typer.Option(help="Requests from this instant on (ISO 8601).")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file, too.")] = None,
) -> None:
    """Compare served features with those of training; exit status 3 where one has moved much."""
    with waiting(err, "starting"):
        from pipelines.cli.drift import look

    raise typer.Exit(look(releases, release, feature_log, since, json_file, out, err))


@app.command()
def recommend(
    releases: Releases,
    user: Annotated[str | None, typer.Option(help="Id of the user, whose features the online store has.")] = None,
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
    as_json: AsJson = False,
) -> None:
    """Recommend items for one user from the current release, without a server."""
    from pipelines.cli.recommend import parsed
    from pipelines.cli.recommend import recommend as print_items

    arguments = {
        "features": parsed("--features", features),
        "k": k,
        "exclude_seen": not include_seen,
        "filter": parsed("--filter", filter_),
    }
    print_items(releases, user, arguments, out, err, as_json=as_json)


def main() -> None:
    """Entry point: a user's error is a sentence on stderr, not a traceback."""
    try:
        app()
    except (InputError, StorageError) as error:
        err.print(f"[bold red]error:[/] {error}", markup=True, soft_wrap=True)
        sys.exit(EXIT_INPUT)
