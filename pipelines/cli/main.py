"""The command line `two-tower`: its commands, each in the module of its name.

Importing this module loads none of the libraries that do the work, so that --help and shell completion start fast:
each command imports what it needs when it runs.
"""

import atexit
import contextlib
import os
import sys
import threading
from typing import Annotated

import typer

from pipelines.cli.command import PROGRAM, Program, add
from pipelines.cli.compile import compile_
from pipelines.cli.doctor import doctor
from pipelines.cli.drift import drift
from pipelines.cli.forget import forget
from pipelines.cli.init import init
from pipelines.cli.leaks import leaks
from pipelines.cli.recommend import recommend
from pipelines.cli.releases import releases_app
from pipelines.cli.run import run
from pipelines.cli.serve import serve
from pipelines.cli.settings import settings
from pipelines.cli.skew import skew
from pipelines.cli.submit import submit
from pipelines.cli.tune import tune
from two_tower import __version__

app = typer.Typer(
    name=PROGRAM,
    cls=Program,
    help="Candidate retrieval with two-tower models, from a Feast feature store to a served top-k.\n\n"
    "With your own tables: init, run, serve. To try it: run --dataset sample. On a cluster: compile, submit.",
    epilog="Exit status: 0 done or promoted; 1 fault; 2 wrong usage or bad input; 3 a gate held the release or a check "
    "found a problem; 130 interrupted.\n\nExample:\n\n\b\n  two-tower run --dataset sample",
    rich_markup_mode=None,  # plain text starts three times faster than rich's panels
    pretty_exceptions_enable=False,
)
for name, callback in {
    "init": init,
    "run": run,
    "tune": tune,
    "leaks": leaks,
    "compile": compile_,
    "submit": submit,
    "doctor": doctor,
    "serve": serve,
    "recommend": recommend,
    "skew": skew,
    "drift": drift,
    "forget": forget,
    "settings": settings,
}.items():
    add(app, name, callback)
app.add_typer(releases_app, name="releases")


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Entry point of `two-tower`."""
    try:
        app()
    except SystemExit as end:
        if any(thread.daemon for thread in threading.enumerate()):
            _end(end.code)
        raise


def _end(status: int | str | None) -> None:
    """End the process while daemon threads run.

    At the usual end of the interpreter a daemon thread that returns from C++, such as one that opens a release with
    onnxruntime, calls `std::terminate`, and the process ends with status 134.
    """
    threading._shutdown()  # joins the other threads, as the interpreter does
    atexit._run_exitfuncs()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 1)
