"""`two-tower compile`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.command import command
from pipelines.cli.options import ClusterAssignments, check_output_file
from pipelines.cli.output import Output


@command("two-tower compile --pipeline refresh_items --out refresh_items.yaml", extras="pipeline")
def compile_(
    output: Output,
    out_file: Annotated[Path, typer.Option("--out", help="Output file.")] = Path("pipeline.yaml"),
    pipeline: Annotated[Literal["training", "refresh_items", "dataset"], typer.Option(help="Pipeline.")] = "training",
    assignments: ClusterAssignments = None,
) -> None:
    """Compile a pipeline to YAML for Kubeflow.

    It is compiled from the same definition that `run` executes.
    """
    check_output_file("--out", out_file)
    with output.progress("compiling"):
        from pipelines.kubeflow.compiled import Plan

        Plan.of(pipeline, assignments or []).write(out_file)
    output.text.print(f"wrote {out_file}", soft_wrap=True)
    output.json({"pipeline": pipeline, "path": str(out_file)})
