"""The options of `two-tower init`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """The files and options of `two-tower init`. An option of None is inferred.

    Attributes:
        interactions: The file of the interactions.
        users: The file of the users. None: the users of the interactions.
        items: The file of the items. None: the items of the interactions.
        user_key: The column of the user id.
        item_key: The column of the item id.
        timestamp: The column of the time of the interaction; `none` if there is none.
        timestamp_format: The format of the time: a strptime format, or s, ms, us or ns since 1970.
        weight: The column of the training weight. None: no weight.
        where: An SQL condition; other interactions are dropped. None: no condition.
        ignore: Columns to ignore.
        user_columns: Names of the first columns of the users file.
        item_columns: Names of the first columns of the items file.
        interaction_columns: Names of the first columns of the interactions file.
        delimiter: The delimiter of text files.
    """

    interactions: Path
    users: Path | None = None
    items: Path | None = None
    user_key: str | None = None
    item_key: str | None = None
    timestamp: str | None = None
    timestamp_format: str | None = None
    weight: str | None = None
    where: str | None = None
    ignore: tuple[str, ...] = ()
    user_columns: list[str] | None = None
    item_columns: list[str] | None = None
    interaction_columns: list[str] | None = None
    delimiter: str | None = None
