"""Behaviour of all commands: --json, --quiet, --debug, an example in the help, errors, and exit statuses."""

import functools
import inspect
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from pipelines.cli.output import Output
from pipelines.exit_status import ExitStatus
from two_tower.errors import InputError, StorageError

PROGRAM = DISTRIBUTION = "two-tower"
_FLAGS = {
    "as_json": ("--json", "Print the result as JSON on stdout, and nothing else there."),
    "quiet": ("--quiet", "Print errors only (and the JSON with --json)."),
    "debug": ("--debug", "Print the traceback of an unexpected error."),
}

Command = Callable[..., int | None]


def command(
    example: str, *, extras: str = "", prints_result: bool = True, cls: type[TyperCommand] = TyperCommand
) -> Callable[[Command], Callable[..., None]]:
    """Make a typer callback of a function that takes `output` and returns an exit status, None for 0.

    Args:
        example: A call of the command; its help ends with it.
        extras: Extras of the package that have the libraries of the command, such as `data,train`.
        prints_result: Whether the command has --json and --quiet.
        cls: Class of the command.
    """
    flags = _FLAGS if prints_result else {"debug": _FLAGS["debug"]}

    def decorate(function: Command) -> Callable[..., None]:
        @functools.wraps(function)
        def callback(**options: Any) -> None:
            output = Output(**{name: options.pop(name) for name in flags})
            raise typer.Exit(_exit_status(lambda: function(output=output, **options), output, extras))

        signature = inspect.signature(function)
        parameters = [p.replace(kind=p.KEYWORD_ONLY) for name, p in signature.parameters.items() if name != "output"]
        parameters += [_flag(name, *flags[name]) for name in flags]
        callback.__signature__ = signature.replace(parameters=parameters, return_annotation=None)
        callback.__annotations__ = {p.name: p.annotation for p in parameters}
        callback.example, callback.cls = example, cls
        return callback

    return decorate


def add(app: typer.Typer, name: str, callback: Callable[..., None]) -> None:
    """Register a callback that `command` made."""
    app.command(name, cls=callback.cls, epilog=f"Example:\n\n\b\n  {callback.example}")(callback)


class Program(TyperGroup):
    """A group of commands that prints wrong usage as one line, and its help if it is called without arguments."""

    def main(self, args: list[str] | None = None, **extra: Any) -> Any:
        arguments = list(sys.argv[1:] if args is None else args)
        settings = extra | {"prog_name": PROGRAM, "standalone_mode": False}
        try:
            status = super().main(arguments, **settings) or ExitStatus.DONE
        except typer.TyperException as error:
            status = ExitStatus.BAD_INPUT
            context = getattr(error, "ctx", None)
            hint = f" See `{context.command_path} --help`." if context else ""
            message = error.format_message().rstrip(".")
            end = "" if message.endswith("?") else "."
            Output(as_json="--json" in arguments).error(f"{message}{end}{hint}", status)
        sys.exit(status)

    def get_params(self, ctx: typer.Context) -> list[Any]:
        parameters = super().get_params(ctx)
        for flag in parameters:
            if flag.default is None:
                flag.default = False  # to convert None, typer imports pydantic, which doubles the time of the start
        return parameters

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            ctx.exit(ExitStatus.BAD_INPUT)
        return super().parse_args(ctx, args)


def _flag(name: str, option: str, text: str) -> inspect.Parameter:
    annotation = Annotated[bool, typer.Option(option, help=text)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)


def _exit_status(call: Callable[[], int | None], output: Output, extras: str) -> int:
    """Run a command, print the error that ends it, if any, and return its exit status."""
    try:
        return call() or ExitStatus.DONE
    except (InputError, StorageError) as error:
        status, message = ExitStatus.BAD_INPUT, str(error)
    except KeyboardInterrupt:
        status, message = ExitStatus.INTERRUPTED, "interrupted"
    except (BrokenPipeError, typer.TyperException):
        raise
    except ModuleNotFoundError as error:
        status = ExitStatus.BAD_INPUT
        package = f"{DISTRIBUTION}[{extras}]" if extras else DISTRIBUTION
        message = f"the Python package {error.name} is not installed. Install: pip install '{package}'"
    except Exception as error:  # noqa: BLE001 - the rim of the program: every fault becomes one line and a status
        status, message = ExitStatus.FAULT, _describe_fault(error, output)
    output.error(message, status)
    return status


def _describe_fault(error: Exception, output: Output) -> str:
    name = f"unexpected {type(error).__name__}: {error}"
    text = traceback.format_exc()
    if output.debug:
        sys.stderr.write(text)
        return name
    with tempfile.NamedTemporaryFile("w", prefix="two-tower-", suffix=".log", delete=False) as file:
        file.write(text)
    return f"{name} (traceback in {Path(file.name)}; --debug prints it)"
