"""`two-tower submit`."""

from typing import Annotated, Literal

import typer

from pipelines.cli.command import command
from pipelines.cli.options import AsOf, ClusterAssignments, DatasetName
from pipelines.cli.output import Output


@command(
    "two-tower submit --host http://localhost:8080 --feature-repo s3://shop/repo --releases s3://shop/releases",
    extras="pipeline",
)
def submit(
    output: Output,
    host: Annotated[
        str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="URL of the Pipelines API. Default: the in-cluster one.")
    ] = "",
    token: Annotated[str, typer.Option(envvar="TWO_TOWER_TOKEN", help="Bearer token, if the API requires one.")] = "",
    namespace: Annotated[str, typer.Option(help="Namespace of the user, in a multi-user installation.")] = "",
    pipeline: Annotated[Literal["training", "refresh_items"], typer.Option(help="Pipeline.")] = "training",
    dataset: DatasetName = None,
    data_dir: Annotated[str, typer.Option(help="Path in the pods of the folder with the raw files.")] = "",
    feature_repo: Annotated[
        str | None, typer.Option(help="Feast feature repository: URL of an object store, or path on a volume.")
    ] = None,
    releases: Annotated[str, typer.Option(help="Releases: URL of an object store, or path on a volume.")] = "",
    as_of: AsOf = "",
    fingerprint: Annotated[str, typer.Option(help="Version of the data. Default: computed from the repository.")] = "",
    experiment: Annotated[str, typer.Option(help="Kubeflow experiment of the run.")] = "two-tower",
    schedule: Annotated[
        str | None, typer.Option(metavar="CRON", help="Create a recurring run instead of one run.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of the run and exit with its status.")] = False,
    follow: Annotated[
        str, typer.Option(metavar="RUN", help="Wait for the end of a run that was submitted before.")
    ] = "",
    stop: Annotated[bool, typer.Option("--stop", help="With --follow: stop the run.")] = False,
    assignments: ClusterAssignments = None,
) -> int:
    """Start a run, or a recurring run, on Kubeflow Pipelines; --wait and --follow print its steps."""
    with output.progress("starting"):
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
        follow=follow,
        stop=stop,
    )
    status, document = submit_request(request, output.text, output.err)
    output.json(document)
    return status
