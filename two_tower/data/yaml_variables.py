"""Environment variables in the values of a YAML file, expanded after the file is parsed.

Feast expands them in the text of the file. There, a password that contains `: ` or ` #` changes the structure of the
file.
"""

import os
import re
from typing import Any

import yaml  # type: ignore[import-untyped]

_NUMBER = re.compile(r"-?(0|[1-9]\d*)|true|false")
_TEXT = "tag:yaml.org,2002:str"


def load_expanded(text: str) -> Any:
    """Parse YAML and expand the environment variables in its values.

    Args:
        text: The YAML text. `${NAME}` and `$NAME` are replaced as by `os.path.expandvars`. A value without quotes that
            then is a whole number, true or false has that type, so that `port: ${PORT}` is a number. Any other is a
            string.

    Returns:
        The parsed values.

    Raises:
        yaml.YAMLError: If the text is not YAML.
    """
    return yaml.load(text, _ExpandingLoader)  # noqa: S506 - a subclass of SafeLoader


def load_raw(text: str) -> Any:
    """Parse YAML without expanding variables; `dump_raw` writes the values so that they expand to the same types."""
    return yaml.load(text, _RawLoader)  # noqa: S506 - a subclass of SafeLoader


def dump_raw(values: Any) -> str:
    """Write values of `load_raw` as YAML."""
    return str(yaml.dump(values, Dumper=_RawDumper, sort_keys=False))


class _ExpandingLoader(yaml.SafeLoader):
    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        text = os.path.expandvars(node.value)
        if text != node.value:
            is_number = node.style is None and _NUMBER.fullmatch(text)
            node.tag = self.resolve(yaml.ScalarNode, text, (True, False)) if is_number else _TEXT
            node.value = text
        return node


class _Quoted(str):
    """A string that is in quotes in the file."""


class _RawLoader(yaml.SafeLoader):
    def construct_str(self, node: yaml.ScalarNode) -> str:
        text = self.construct_scalar(node)
        return _Quoted(text) if node.style in ("'", '"') and "$" in text else text


class _RawDumper(yaml.SafeDumper):
    pass


_RawLoader.add_constructor(_TEXT, _RawLoader.construct_str)
_RawDumper.add_representer(_Quoted, lambda dumper, text: dumper.represent_scalar(_TEXT, str(text), style='"'))
