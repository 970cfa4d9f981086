"""`two-tower settings`: the documentation of the settings, from their declarations."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from pipelines.cli.options import AsJson, out

if TYPE_CHECKING:
    from two_tower.config import Section
    from two_tower.config.reference import SettingDoc


def sections() -> "dict[str, Section]":
    """All sections by name, with their defaults."""
    from pipelines.kubeflow.cluster import ClusterConfig
    from two_tower.config import Settings

    return {**Settings().sections(), "cluster": ClusterConfig()}


def settings(
    name: Annotated[str | None, typer.Argument(help="Show the full description of this setting.")] = None,
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the documentation page.")] = False,
) -> None:
    """List the settings that `--set` and two_tower.toml accept, or describe one.

    Example: two-tower settings epochs
    """
    from two_tower.config.fields import unknown_setting
    from two_tower.config.reference import documented, markdown

    docs = {doc.name: doc for doc in documented(sections())}
    if name is not None and name not in docs:
        raise unknown_setting(name, docs)
    if as_markdown:
        typer.echo(markdown(sections()), nl=False)
    elif as_json:
        out.print_json(data=asdict(docs[name]) if name else [asdict(doc) for doc in docs.values()])
    elif name:
        _describe(docs[name])
    else:
        _list(docs)


def _describe(doc: "SettingDoc") -> None:
    out.print(f"[bold]{doc.name}[/] ({doc.section})")
    out.print(f"Allowed: {doc.allowed}. Default: {doc.default_text}.", markup=False, soft_wrap=True)
    out.print(doc.description, markup=False)


def _list(docs: "dict[str, SettingDoc]") -> None:
    from two_tower.config.reference import title

    for section_name, section in sections().items():
        heading, line = title(section)
        columns = Column("setting", no_wrap=True), "default", Column("description", ratio=1)
        table = Table(*columns, title=f"{heading}: {line}", title_justify="left", expand=True)
        for doc in docs.values():
            if doc.section == section_name:
                table.add_row(doc.name, doc.default_text, doc.summary)
        out.print(table)
    out.print("One setting in full: two-tower settings NAME")
