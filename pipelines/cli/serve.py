"""`two-tower serve`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.command import command
from pipelines.cli.options import Releases
from pipelines.cli.output import Output


@command("two-tower serve --releases runs/sample/releases --port 8080", extras="serving", prints_result=False)
def serve(
    output: Output,
    releases: Releases,
    host: Annotated[str, typer.Option(help="Host name or IP address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="PORT", min=0, max=65535, help="HTTP port.")] = 8080,
    feature_repo: Annotated[
        Path | None,
        typer.Option(help="Feature repository for the online store. Default: the one recorded in the release."),
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="gRPC port of the Open Inference Protocol. Default: port + 1."),
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Device that runs the towers and the index.")] = "cpu",
    release: Annotated[
        str | None,
        typer.Option(envvar="TWO_TOWER_RELEASE", help="Serve this release and ignore the current one."),
    ] = None,
    page: Annotated[
        bool | None,
        typer.Option(
            "--page/--no-page",
            envvar="TWO_TOWER_PAGE",
            help="Serve the demo page at /, which shows users to everyone who can reach it. Default: only on a "
            "loopback address.",
        ),
    ] = None,
    feature_log: Annotated[
        Path | None,
        typer.Option(envvar="TWO_TOWER_FEATURE_LOG", help="Write a sample of the served features to this folder."),
    ] = None,
    log_share: Annotated[
        float, typer.Option(envvar="TWO_TOWER_LOG_SHARE", min=0.0001, max=1, help="Share of requests to log, 0 to 1.")
    ] = 0.01,
    items_keep: Annotated[
        float,
        typer.Option(
            envvar="TWO_TOWER_ITEMS_KEEP", min=0.01, max=36500, help="Days after its last upsert until an item expires."
        ),
    ] = 30,
    log_keep: Annotated[
        float, typer.Option(envvar="TWO_TOWER_LOG_KEEP", min=0.01, help="Days after which logged features are removed.")
    ] = 30,
    log_keep_megabytes: Annotated[
        float,
        typer.Option(
            envvar="TWO_TOWER_LOG_KEEP_MEGABYTES", min=1, help="Remove the oldest logged features beyond this size."
        ),
    ] = 1000,
    workers: Annotated[
        int, typer.Option(envvar="TWO_TOWER_WORKERS", min=1, max=64, help="Number of processes that share the ports.")
    ] = 1,
) -> None:
    """Serve the current release over HTTP and gRPC. A newly activated release is loaded without a restart.

    Tokens come from the environment. TWO_TOWER_ADMIN_TOKEN: for /admin/*, which is off without it.
    TWO_TOWER_ITEMS_TOKEN: for /v1/items; without it the call is off, and open on a loopback address.
    With TWO_TOWER_VERIFY_KEY, the path of a public key, only releases that the key has signed are served.

    There is no --json: every line of the log is JSON already.
    """
    if output.err.is_terminal:  # elsewhere the log is the only output, and every line of it is JSON
        output.err.print(
            f"opening {releases} for http://{host}:{port}; a log line says when it is ready. Stop: Ctrl+C."
        )
    from serving.http.app import serve as serve_forever
    from serving.observability.feature_log import LogOptions

    serve_forever(
        releases,
        host,
        port,
        feature_repo=feature_repo,
        grpc_port=grpc_port,
        device=device,
        release=release or None,
        page=page,
        feature_log=LogOptions(feature_log, log_share, log_keep, log_keep_megabytes) if feature_log else None,
        processes=workers,
        items_keep=items_keep * 24 * 3600,
    )
