"""`two-tower settings`: the documentation of the settings, from their declarations."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.command import command
from pipelines.cli.options import complete_setting_name
from pipelines.cli.output import Output
from two_tower.errors import InputError

if TYPE_CHECKING:
    from two_tower.config import Section
    from two_tower.config.reference import SettingDoc


def sections() -> "dict[str, Section]":
    """All sections by name, with their defaults."""
    from pipelines.kubeflow.cluster import ClusterConfig
    from two_tower.config import Settings

    return {**Settings().sections(), "cluster": ClusterConfig()}


@command("two-tower settings epochs")
def settings(
    output: Output,
    name: Annotated[
        str | None,
        typer.Argument(help="Show the full description of this setting.", autocompletion=complete_setting_name),
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the documentation page.")] = False,
) -> None:
    """List the settings of `--set` and two_tower.toml, or describe one."""
    from dataclasses import asdict

    from two_tower.config.fields import unknown_setting
    from two_tower.config.reference import documented, markdown

    if name is not None and as_markdown:
        raise InputError("--markdown prints the page of all settings. Leave NAME out, or leave --markdown out.")
    docs = {doc.name: doc for doc in documented(sections())}
    if name is not None and name not in docs:
        raise unknown_setting(name, docs)
    output.json(asdict(docs[name]) if name else [asdict(doc) for doc in docs.values()])
    if as_markdown:
        output.text.out(markdown(sections()), end="")
    elif name:
        _describe(output, docs[name])
    else:
        _list(output, docs)


def _describe(output: Output, doc: "SettingDoc") -> None:
    from pipelines.cli.console import labelled

    output.text.print(labelled(doc.name, "bold", f" ({doc.section})"))
    output.text.print(f"Allowed: {doc.allowed}. Default: {doc.default_text}.", soft_wrap=True)
    output.text.print(doc.description)


def _list(output: Output, docs: "dict[str, SettingDoc]") -> None:
    from rich.table import Column, Table

    from two_tower.config.reference import title

    for section_name, section in sections().items():
        heading, line = title(section)
        columns = Column("setting", no_wrap=True), "default", Column("description", ratio=1)
        table = Table(*columns, title=f"{heading}: {line}", title_justify="left", expand=True)
        for doc in docs.values():
            if doc.section == section_name:
                table.add_row(doc.name, doc.default_text, doc.summary)
        output.text.print(table)
    output.text.print("Full description of one setting: two-tower settings NAME")
