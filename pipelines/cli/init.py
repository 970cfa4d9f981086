"""`two-tower init`: a feature repository from plain tables, and what was made of each column, shown."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from pipelines.cli.waiting import waiting
from two_tower.datasets.tables import Tables
from two_tower.errors import InputError
from two_tower.starter.create import create, refresh
from two_tower.starter.decide import Asked
from two_tower.starter.plan import PLAN, Column, Plan, Table

LEFT_OUT = {
    "no_user": "interactions without a user",
    "no_item": "interactions without an item",
    "no_time": "interactions without a time",
    "not_wanted": "interactions that --where leaves out",
    "duplicate": "interactions of the same user, item and time as another",
    "user_without_key": "users without a key",
    "item_without_key": "items without a key",
    "user_again": "users named again (the last row counts)",
    "item_again": "items named again (the last row counts)",
}
_KNOWN = (
    "[yellow]note[/] what these tables say of users and items is taken as known all along; a column that sums up later "
    "events would tell the future: `two-tower leaks` looks for it"
)


def init(folder: Path, files: dict[str, Path], said: dict[str, object], out: Console, err: Console) -> None:
    """Make the repository; in a folder that holds one, compute its data again.

    files: by `users`, `items`, `interactions`. said: the other fields of `Asked`, those that the user gave.
    """
    again = (folder / PLAN).is_file()
    if again:
        if said:
            options = ", ".join("--" + name.replace("_", "-") for name in said)
            raise InputError(
                f"{folder} holds a repository already, and {options} would change what its columns are. Edit its "
                "definitions.py, or name a new folder."
            )
        with waiting(err, "starting") as line:
            plan, tables = refresh(folder, files, line.part)
    else:
        if "interactions" not in files:
            raise InputError("--interactions FILE is needed: who took which item, and when.")
        with waiting(err, "starting") as line:
            plan, tables = create(folder, Asked(**files, **said), line.part)  # type: ignore[arg-type]
    _show(plan, tables, out)
    written = "computed again" if again else "wrote"
    out.print(f"{written} [bold]{folder}[/]: edit {folder / 'definitions.py'}, or take it as it is")
    out.print(f"train:  two-tower run --feature-repo {folder}", soft_wrap=True)


def _show(plan: Plan, tables: Tables, out: Console) -> None:
    for name, table in (("users", plan.users), ("items", plan.items), ("interactions", plan.interactions)):
        if table is None:
            out.print(f"{name}: no file, so they are taken from the interactions\n")
        else:
            out.print(_grid(f"{name}: {Path(table.path).name}, {getattr(tables, name).num_rows:,} rows kept", table))
    for reason, rows in tables.report.items():
        if rows:
            out.print(f"[yellow]left out[/] {rows:,} {LEFT_OUT[reason]}")
    for note in plan.notes:
        out.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
    if plan.users or plan.items:
        out.print(_KNOWN, soft_wrap=True)


def _grid(title: str, table: Table) -> Grid:
    grid = Grid("column", "became", "why", title=title, title_justify="left")
    for column in table.columns:
        style = "dim" if column.role == "unused" else None
        why = column.why
        if column.source == table.stamp and column.role != "time":
            why += "; a row holds from then on"
        grid.add_row(escape(column.source), escape(_became(column)), escape(why), style=style)
    return grid


def _became(column: Column) -> str:
    tags = ", ".join(f"{name}={value}" for name, value in column.tags.items())
    kind = f"{column.dtype}{f', {tags}' if tags else ''}"
    match column.role:
        case "unused":
            return "nothing"
        case "time":
            return column.field
        case "kept":
            return f"{column.field}, beside the event"
    return f"{column.role} {column.field}: {kind}"
