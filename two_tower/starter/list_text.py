"""Recognise and parse lists and vectors that are stored as text."""

import ast
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.starter.numbers import MOST_LOST, lost

VECTOR, BRACKETS, SPACES = "vector", "list []", "list  "
_SAMPLE = 1000  # texts that are tried first
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?"
_VECTOR = rf"^[\[(]?\s*{_NUMBER}(?:\s*[,;|\s]\s*{_NUMBER})+\s*[\])]?$"
_REAL = r"\.|\de"
_BRACKETS = r"(?s)^\s*(\[.*\]|\{[^:]*\}|\(.*\))\s*$"
_IDS = r"^[A-Za-z]*\d+( +[A-Za-z]*\d+)*$"
_ELEMENT = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s,\[\](){}'"]+(?: +[^\s,\[\](){}'"]+)*)""")
_NOTHING = {"", "None", "nan", "null", "NULL", "NaN"}


def list_kind(distinct: pa.Array) -> str | None:
    """Infer the kind of texts that may be vectors or lists.

    Args:
        distinct: The distinct texts, without nulls.

    Returns:
        `vector`: numbers of one count per text, with or without brackets, such as "[0.1, 0.2]" or "0.1 0.2".
        `list []`: elements in brackets, such as "['a', 'b']" or "{a,b}". `list  `: ids such as "N12 N345". None: other
        texts.
    """
    sample = distinct.slice(0, _SAMPLE)
    if _most(sample, _VECTOR) and lost(distinct, vectors(distinct)) <= MOST_LOST * len(distinct):
        bits = pc.all(pc.is_in(pc.list_flatten(vectors(sample)), value_set=pa.array([0, 1], pa.float32()))).as_py()
        if bits or pc.any(pc.match_substring_regex(sample, _REAL)).as_py():
            return VECTOR
    if _most(sample, _BRACKETS) and _most(distinct, _BRACKETS):
        return BRACKETS
    several = pc.any(pc.match_substring(sample, " ")).as_py()
    return SPACES if several and _most(sample, _IDS) and _most(distinct, _IDS) else None


def _most(texts: pa.Array, pattern: str) -> bool:
    """Whether at least 99 % of the texts match."""
    return bool(pc.mean(pc.match_substring_regex(texts, pattern).cast(pa.int8())).as_py() >= 1 - MOST_LOST)


def vectors(texts: pa.Array) -> pa.Array:
    """Parse texts as vectors.

    Args:
        texts: The texts.

    Returns:
        Lists of float32 of the most common length; null for other texts.
    """
    valid = pc.fill_null(pc.match_substring_regex(texts, _VECTOR), False)
    inner = pc.utf8_trim(pc.if_else(valid, texts, pa.scalar(None, pa.string())), "[]() \t\r\n")
    split = pc.split_pattern_regex(inner, r"\s*[,;|\s]\s*")
    lengths = pc.list_value_length(split)
    if not split.null_count < len(split):
        return pa.nulls(len(texts), pa.list_(pa.float32()))
    usual = pc.mode(lengths)[0]["mode"]
    kept = pc.if_else(pc.equal(lengths, usual), split, pa.scalar(None, split.type))
    elements = pc.utf8_ltrim(pc.list_flatten(kept), "+").cast(pa.float32())
    counts = np.asarray(pc.fill_null(pc.list_value_length(kept), 0))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, elements, mask=kept.is_null())


def elements(text: str) -> list[str] | None:
    """Return the elements of a list in brackets, as Python, JSON, NumPy or PostgreSQL write it.

    A list of records gives the `name` of each, else its first value. None: the text is not a list of records.
    """
    if re.match(r"\s*[\[(]\s*\{", text):
        try:
            records = ast.literal_eval(re.sub(r"\b(null|true|false)\b", "None", text))
        except (ValueError, SyntaxError):
            return None
        parts = [str(record.get("name", next(iter(record.values()), ""))) for record in records]
    else:
        parts = [next(filter(None, match), "") for match in _ELEMENT.findall(text)]
    return [part.strip() for part in parts if part.strip() not in _NOTHING]
