"""`two-tower init`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.command import command
from pipelines.cli.output import Output
from two_tower.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from two_tower.datasets.tables import Tables
    from two_tower.starter.plan import Column, Plan, Table

STATIC_COLUMNS = (
    "columns of the users and items tables are treated as known at all times. A column that sums up later events leaks "
    "the future: `two-tower leaks` checks for it"
)
Names = Annotated[str, typer.Option(metavar="NAMES", help="Names of the first columns of that file, comma-separated.")]


@command("two-tower init shop --interactions clicks.csv --items products.csv --timestamp clicked_at", extras="data")
def init(
    output: Output,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Feature repository to create or to refresh.")],
    interactions: Annotated[
        Path | None, typer.Option(help="CSV or parquet file of interactions: user id, item id, timestamp.")
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(help="Table of users, one row per user. Default: the users that appear in the interactions."),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="Table of items, one row per item. Default: the items that appear in the interactions."),
    ] = None,
    user_key: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with the user id.")] = None,
    item_key: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with the item id.")] = None,
    timestamp: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column with the time of the interaction, or none.")
    ] = None,
    timestamp_format: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help="Format of the time: a strptime format, or s, ms, us or ns since 1970."),
    ] = None,
    weight: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column with the training weight of the interaction.")
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Use only interactions that match this.")] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Ignore this column. Can be given several times.")
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(help="Delimiter of the fields of text files, such as ';', 'tab' or 'space'. Default: detected."),
    ] = None,
    user_columns: Names = "",
    item_columns: Names = "",
    interaction_columns: Names = "",
) -> None:
    """Create a feature repository from plain tables.

    Files can be CSV or other delimited text, JSON lines, parquet, Arrow, ORC or an Excel workbook (.xlsx), compressed
    or not. A folder, a pattern such as 'part-*' or a zip archive is read as one table. A table shows what each column
    becomes; options override it. If DIR is a repository that this command created, and no option changes its columns,
    the data are computed again from the current files and edited definitions stay.
    """
    files = {"interactions": interactions, "users": users, "items": items}
    names = {"user_columns": user_columns, "item_columns": item_columns, "interaction_columns": interaction_columns}
    choices = {
        "user_key": user_key,
        "item_key": item_key,
        "timestamp": timestamp,
        "timestamp_format": timestamp_format,
        "weight": weight,
        "where": where,
        "ignore": tuple(ignore or ()),
        "delimiter": _delimiter(delimiter),
        **{option: [name.strip() for name in text.split(",")] for option, text in names.items() if text},
    }
    _make(
        output,
        folder,
        {name: path for name, path in files.items() if path},
        {name: value for name, value in choices.items() if value},
    )


def _delimiter(text: str | None) -> str | None:
    r"""The delimiter that an option gives: `tab`, `space`, `\t` or the characters.

    Raises:
        InputError: `text` is empty, or contains a quote or the end of a line.
    """
    if text is None:
        return None
    delimiter = {"tab": "\t", "space": " "}.get(text, text.replace("\\t", "\t"))
    if not delimiter or any(character in delimiter for character in '"\r\n'):
        raise InputError(f"--delimiter {text!r} is not allowed. Pass one or more characters, such as ';' or '\\t'.")
    return delimiter


def _make(output: Output, folder: Path, files: dict[str, Path], choices: dict[str, Any]) -> None:
    """Create the repository, or refresh its data if the folder has one.

    Args:
        output: Output of the command.
        folder: Repository.
        files: Paths by `users`, `items`, `interactions`.
        choices: The other fields of `Options` that the user gave.
    """
    with output.progress("starting") as progress:
        from two_tower.starter.create import create, refresh
        from two_tower.starter.options import Options
        from two_tower.starter.plan import PLAN

        is_refresh = (folder / PLAN).is_file()
        if is_refresh:
            if choices:
                options = ", ".join("--" + name.replace("_", "-") for name in choices)
                raise InputError(
                    f"{folder} is already a repository, and {options} would change its columns. Edit its "
                    "definitions.py, or name a new folder."
                )
            plan, tables = refresh(folder, files, progress.part)
        else:
            if "interactions" not in files:
                raise InputError("--interactions FILE is missing: CSV or parquet with user id, item id and timestamp.")
            plan, tables = create(folder, Options(**files, **choices), progress.part)
    _print(output, plan, tables)
    output.text.print(
        f"{'refreshed the data of' if is_refresh else 'created'} {folder}. Next: edit {folder / 'definitions.py'} if "
        f"needed, and train:\n  two-tower run --feature-repo {folder}",
        soft_wrap=True,
    )
    output.json(_document(folder, is_refresh, plan, tables))


def _document(folder: Path, is_refresh: bool, plan: "Plan", tables: "Tables") -> dict[str, Any]:
    from dataclasses import asdict

    rows = {name: getattr(tables, name).num_rows for name in ("users", "items", "interactions")}
    report = {reason: count for reason, count in tables.report.items() if count}
    added = {f"{kind}s": report.pop(f"{kind}_added") for kind in ("user", "item") if f"{kind}_added" in report}
    return {
        "folder": str(folder),
        "refreshed": is_refresh,
        "rows": rows,
        "dropped": report,
        "added": added,
        "plan": asdict(plan),
    }


def _print(output: Output, plan: "Plan", tables: "Tables") -> None:
    from pipelines.cli.console import labelled
    from two_tower.starter.build import DROPPED

    text, report = output.text, tables.report
    for name, table in (("users", plan.users), ("items", plan.items), ("interactions", plan.interactions)):
        if table is None:
            text.print(f"{name}: no file; derived from the interactions\n")
        else:
            kind = name.removesuffix("s")
            kept = getattr(tables, name).num_rows - report.get(f"{kind}_added", 0)
            dropped = sum(report[reason] for reason in DROPPED if reason in report and _table_of(reason) == name)
            text.print(_grid(f"{name}: {Path(table.path).name}, {kept:,} of {kept + dropped:,} rows", table))
    for reason, rows in report.items():
        if rows and reason in DROPPED:
            text.print(labelled("dropped", "yellow", f" {rows:,} {DROPPED[reason]}"))
    for kind in ("user", "item"):
        if rows := report.get(f"{kind}_added"):
            text.print(
                f"added {rows:,} {kind}s of the interactions that are not in their table: no other columns",
                soft_wrap=True,
            )
    for column in (c for t in (plan.users, plan.items, plan.interactions) if t for c in t.columns if c.warning):
        text.print(labelled("warning", "yellow", f" {column.field}: {column.warning}"), soft_wrap=True)
    static = [STATIC_COLUMNS] if plan.read_at is None and (plan.users or plan.items) else []
    for note in (*plan.notes, *plan.data_notes, *static):
        text.print("note", note, soft_wrap=True)


def _table_of(reason: str) -> str:
    """Return the table whose rows a reason of `Tables.report` counts."""
    return {"user_": "users", "item_": "items"}.get(reason[:5], "interactions")


def _grid(title: str, table: "Table") -> "Grid":
    from rich.table import Table as Grid

    grid = Grid("column", "becomes", "why", title=title, title_justify="left")
    for column in table.columns:
        style = "dim" if column.role == "unused" else None
        why = column.why
        if column.source == table.stamp and column.role != "time":
            why += "; a row is valid from this time on"
        grid.add_row(column.source, _becomes(column), why, style=style)
    return grid


def _becomes(column: "Column") -> str:
    tags = ", ".join(f"{name}={value}" for name, value in column.tags.items())
    kind = f"{column.dtype}{f', {tags}' if tags else ''}"
    match column.role:
        case "unused":
            return "not used"
        case "time":
            return column.field
        case "kept":
            return f"{column.field}, kept with event"
    return f"{column.role} {column.field}: {kind}"
