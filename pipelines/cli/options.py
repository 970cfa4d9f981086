"""What several commands share: options of one name and meaning, and where they print."""

from typing import Annotated

import typer
from rich.console import Console

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Releases = Annotated[str, typer.Option("--releases", help="Folder, s3:// or gs:// address of the releases.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts, instead of a table.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
]
Names = Annotated[str, typer.Option(metavar="NAMES", help="Names, with commas, for that file's first columns.")]
