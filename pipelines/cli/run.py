"""`two-tower run`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.command import command
from pipelines.cli.options import AsOf, Assignments, DataDir, DatasetName
from pipelines.cli.output import Output


@command("two-tower run --dataset sample --out runs/sample --set epochs=5", extras="data,train,pipeline,serving")
def run(
    output: Output,
    dataset: DatasetName = None,
    feature_repo: Annotated[Path | None, typer.Option(help="Your Feast feature repository.")] = None,
    data_dir: DataDir = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Output folder. Default: runs/NAME.")] = None,
    as_of: AsOf = "",
    runner: Annotated[
        Literal["subprocess", "docker"],
        typer.Option(help="Run each step in a subprocess, or in its Docker container."),
    ] = "subprocess",
    assignments: Assignments = None,
) -> int:
    """Run the training pipeline on this machine.

    Its steps: features, gates, training, index, evaluation, release. Steps whose inputs have not changed are reused.
    Exit status 3: a gate held the release. With --json the result is run.json.
    """
    with output.progress("starting"):
        from pipelines.local.run import RECORD, Request, Runner, run_training

    request = Request.of(dataset, feature_repo, data_dir, out_dir, as_of, assignments or [], Runner(runner))
    status = run_training(request, output.text, output.err, debug=output.debug)
    output.json_file(request.out / RECORD)
    return status
