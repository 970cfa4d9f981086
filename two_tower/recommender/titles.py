"""What an item is called, for people: the feature of the item tower that says so."""

from collections.abc import Mapping, Sequence
from typing import Any

from two_tower.recommender.catalogue import Catalogue
from two_tower.schema import Contract, Dtype

TITLES = ("title", "name", "headline", "label", "description")  # columns that say what an item is, the best first
_ARTICLES = ("The", "A", "An")


def title_column(contract: Contract) -> str | None:
    """The feature that says what an item is: of TITLES a string, or a list of its words such as `title_words`.

    Capital letters make no difference.
    """
    features = {f.name.lower(): f for f in contract.item}
    for name in TITLES:
        for called, dtype in ((name, Dtype.STRING), (f"{name}_words", Dtype.STRINGS)):
            found = features.get(called)
            if found and found.dtype == dtype:
                return found.name
    return None


def title(row: Mapping[str, Any], column: str | None) -> str | None:
    """What an item is called; None where nothing says so."""
    said = row.get(column) if column else None
    if isinstance(said, list):
        words = [word.capitalize() for word in said if word]
        if words and words[-1] in _ARTICLES:  # catalogues put them behind: "Saint, The"
            words.insert(0, words.pop())
        said = " ".join(words)
    return said or None


def titles(catalogue: Catalogue, contract: Contract, items: Sequence[str | int]) -> list[str | None]:
    """Titles of items; None for an item that the catalogue does not have or that has no title."""
    column = title_column(contract)
    known = [item for item in items if item in catalogue.row_of]
    rows = dict(zip(known, catalogue.features([catalogue.row_of[item] for item in known]), strict=True))
    return [title(rows.get(item, {}), column) for item in items]
