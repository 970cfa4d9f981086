"""What a column of a file becomes in the repository."""

import re

from two_tower.schema import Dtype
from two_tower.starter.cautions import FREE_TEXT, SUMMARY, is_summary_name
from two_tower.starter.encode import Use
from two_tower.starter.keys import Key
from two_tower.starter.plan import Column


def clean(name: str) -> str:
    """Return a name that is valid in Feast, Python and ONNX."""
    cleaned = re.sub(r"_+", "_", re.sub(r"\W", "_", name, flags=re.ASCII)).strip("_") or "column"
    return f"c_{cleaned}" if cleaned[0].isdigit() else cleaned


def free(name: str, used_names: set[str]) -> str:
    """Return the name, with a number if it is already in use, and add it to the names in use.

    Names that differ only in upper and lower case count as equal, as in DuckDB.
    """
    unique, number = name, 2
    while unique.lower() in used_names:
        unique, number = f"{name}_{number}", number + 1
    used_names.add(unique.lower())
    return unique


def key_dtype(key: Key) -> Dtype:
    """Return the dtype of a key."""
    return Dtype.INT64 if key.integer else Dtype.STRING


def key_column(who: str, source: str, name: str, key: Key, why: str) -> Column:
    """Return the column of a key."""
    kind = "integer" if key.integer else "text"
    return Column(source=source, role=f"{who} key", field=name, kind=kind, dtype=key_dtype(key), why=why)  # type: ignore[arg-type]


def unused(name: str, why: str, kind: str = "text") -> Column:
    """Return a column that the repository does not have."""
    return Column(source=name, role="unused", field="", kind=kind, why=why)


def feature(who: str, name: str, use: Use, used_names: set[str], *, at_once: bool = False) -> Column:
    """Return the feature of a column, or an unused column.

    Args:
        who: `user` or `item`.
        name: The name of the column.
        use: The inferred feature.
        used_names: Names that are in use already, in lower case. The name of the feature is added.
        at_once: Whether the values have no time, so that a total over events would contain later events.
    """
    if use.dtype is None:
        return unused(name, use.why, use.kind)
    field = free(clean(name) + use.suffix, used_names)
    return Column(
        source=name,
        role=f"{who} feature",  # type: ignore[arg-type]
        field=field,
        kind=use.kind,
        dtype=use.dtype,
        tags=dict(use.tags),
        why=use.why,
        warning=_warning(who, name, use, at_once),
    )


def _warning(who: str, name: str, use: Use, at_once: bool) -> str:
    if who == "user" and use.kind == "words":
        return FREE_TEXT
    numeric = use.dtype in (Dtype.INT64, Dtype.FLOAT32, Dtype.BOOL, Dtype.TIMESTAMP)
    return SUMMARY if at_once and numeric and is_summary_name(name) else ""
