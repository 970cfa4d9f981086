"""`two-tower tune`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.command import command
from pipelines.cli.options import ClusterAssignments, DataDir, DatasetName, check_output_file, seconds
from pipelines.cli.output import Output
from two_tower.errors import InputError


@command("two-tower tune --dataset sample --trials 20 --timeout 30m", extras="data,train,pipeline,serving")
def tune(
    output: Output,
    dataset: DatasetName = None,
    feature_repo: Annotated[Path | None, typer.Option(help="Your Feast feature repository.")] = None,
    pulled: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Output of the pull step of a run. With --katib: a URL that the pods can read."
        ),
    ] = None,
    data_dir: DataDir = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Output folder. Default: runs/NAME/tune.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Number of trials, including those of earlier calls.")] = 30,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Stop starting trials after this time, such as 90s, 30m or 2h."),
    ] = None,
    space: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Search space as TOML. Default: the built-in space.")
    ] = None,
    katib: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a Katib experiment to this file; run no trial here.")
    ] = None,
    assignments: ClusterAssignments = None,
) -> int:
    """Search for better settings on the validation window. An interrupted search resumes where it stopped.

    Writes best.toml (for the repository's two_tower.toml), tune.html, trials.csv and tune.json. With --json the result
    is tune.json.
    """
    if katib is not None:
        local = {"--dataset": dataset, "--feature-repo": feature_repo, "--out": out_dir, "--timeout": timeout}
        for option, value in local.items():
            if value is not None:
                raise InputError(
                    f"{option} is for a search on this machine; --katib takes --pulled, --space and --set."
                )
        return _write_experiment(output, katib, pulled, trials, space, assignments or [])
    limit = seconds("--timeout", timeout, "m", output) if timeout else None
    with output.progress("starting"):
        from pipelines.local.tune import RECORD, Request
        from pipelines.local.tune import tune as search

    folder = Path(pulled) if pulled else None
    request = Request.of(dataset, feature_repo, folder, data_dir, out_dir, trials, limit, space, assignments or [])
    status = search(request, output.text, output.err)
    output.json_file(request.out / RECORD)
    return status


def _write_experiment(
    output: Output, file: Path, pulled: str | None, trials: int, space: Path | None, assignments: list[str]
) -> int:
    check_output_file("--katib", file)
    from pipelines.kubeflow.katib import Experiment

    Experiment.of(pulled, trials, space, assignments).write(file)
    output.text.print(f"wrote {file}", soft_wrap=True)
    output.json({"experiment": str(file)})
    return 0
