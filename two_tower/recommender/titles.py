"""Titles of items for display: the value of the feature that contains the title."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from two_tower.recommender.catalogue import Catalogue
from two_tower.schema import Contract, Dtype

TITLES = ("title", "name", "headline", "label", "description")  # names of title features, in order of preference
_NAMED = re.compile(  # names of title features with the kind of item, such as product_name and movie_title_words
    r"(item|product|article|movie|film|book|track|song|album|video|game|recipe|course|listing|place|business)_?"
    r"(title|name)(_words)?"
)
_ARTICLES = ("The", "A", "An")


def title_column(contract: Contract) -> str | None:
    """Name of the title feature; None if there is none.

    It is a string named in TITLES or by the kind of item, such as `product_name`, or a list of words such as
    `title_words`. Case is ignored.
    """
    features = {f.name.lower(): f for f in contract.item}
    for title_name in TITLES:
        for name, dtype in ((title_name, Dtype.STRING), (f"{title_name}_words", Dtype.STRINGS)):
            if (feature := features.get(name)) and feature.dtype == dtype:
                return feature.name
    named = (f for name, f in features.items() if _NAMED.fullmatch(name) and f.dtype in (Dtype.STRING, Dtype.STRINGS))
    return next((feature.name for feature in named), None)


def title(row: Mapping[str, Any], column: str | None) -> str | None:
    """Title of an item from its features; None if it has none."""
    value = row.get(column) if column else None
    if isinstance(value, list):
        words = [word.capitalize() for word in value if word]
        if words and words[-1] in _ARTICLES:  # catalogues put the article last: "Saint, The"
            words.insert(0, words.pop())
        value = " ".join(words)
    return value or None


def titles(catalogue: Catalogue, contract: Contract, items: Sequence[str | int]) -> list[str | None]:
    """Titles of items; None for an item that the catalogue does not have or that has no title."""
    column = title_column(contract)
    known = [item for item in items if item in catalogue.row_of]
    rows = dict(zip(known, catalogue.features([catalogue.row_of[item] for item in known]), strict=True))
    return [title(rows.get(item, {}), column) for item in items]
