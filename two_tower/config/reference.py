"""The documentation of the settings, read from their declarations."""

import ast
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from textwrap import dedent, fill

from two_tower.config.fields import Value, field_types
from two_tower.config.section import Section

_INTRODUCTION = """\
<!-- Written by `two-tower settings --markdown` from the docstrings of the fields; do not edit. -->
# Settings

Change a setting with `--set KEY=VALUE` on the command line, with a line in the `two_tower.toml` of a feature
repository, or with a keyword from Python. In the terminal, `two-tower settings` lists the settings and
`two-tower settings NAME` describes one.

A value has to be of the setting's type, wherever it comes from:

- A whole number is written in digits: `3` or `100_000`. `3.0`, `1e3` and the text `"3"` in a TOML file are errors.
- A number is finite; a whole number is accepted in its place.
- `true` and `false` are the only values of a switch.
- `package.module:Name` names an object of your own, in a module that the process can import.
"""


@dataclass(frozen=True, kw_only=True)
class SettingDoc:
    """The documentation of one setting: its name, section, type, allowed values, default and description."""

    name: str
    section: str
    type: str
    allowed: str
    default: Value
    description: str

    @property
    def default_text(self) -> str:
        """The default as `--set` takes it; the word "empty" for an empty text."""
        return (
            "empty" if self.default == "" else str(self.default).lower() if self.type == "bool" else str(self.default)
        )

    @property
    def summary(self) -> str:
        """The first sentence of the description."""
        head, stop, _ = self.description.partition(". ")
        return head + stop.strip()


def documented(sections: Mapping[str, Section]) -> list[SettingDoc]:
    """Describe each setting of the sections, in the order of their declaration.

    Args:
        sections: Sections by name; their values are shown as the defaults.
    """
    return [
        SettingDoc(
            name=name,
            section=section,
            type=kind.type.__name__,
            allowed=kind.allowed,
            default=getattr(values, name),
            description=descriptions[name],
        )
        for section, values in sections.items()
        for descriptions in [_docstrings(type(values))]
        for name, kind in field_types(type(values)).items()
    ]


def title(section: Section) -> tuple[str, str]:
    """The heading of a section and the line under it, from its docstring "Heading: line."."""
    heading, _, line = (inspect.getdoc(type(section)) or "").partition(": ")
    return heading, line[:1].upper() + line[1:]


def markdown(sections: Mapping[str, Section]) -> str:
    """The page of the documentation that describes each setting."""
    docs = documented(sections)
    parts = [_INTRODUCTION]
    for name, section in sections.items():
        heading, line = title(section)
        parts.append(f"\n## {heading}\n\n{line}\n")
        parts.extend(_entry(doc) for doc in docs if doc.section == name)
    return "".join(parts)


def _entry(doc: SettingDoc) -> str:
    default = doc.default_text if doc.default == "" else f"`{doc.default_text}`"
    description = fill(doc.description, 120, break_long_words=False, break_on_hyphens=False)
    return f"\n### `{doc.name}`\n\nAllowed: {doc.allowed}. Default: {default}.\n\n{description}\n"


def _docstrings(section: type) -> dict[str, str]:
    """The docstring under each field of a class, on one line."""
    (tree,) = ast.parse(dedent(inspect.getsource(section))).body
    assert isinstance(tree, ast.ClassDef)
    return dict(_pairs(tree.body))


def _pairs(statements: list[ast.stmt]) -> Iterable[tuple[str, str]]:
    for field, after in pairwise(statements):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())
