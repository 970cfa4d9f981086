"""Check the options of `two-tower init` on the first rows of the files, so that an error appears at once."""

from collections.abc import Mapping

import pyarrow as pa

from two_tower.errors import unknown
from two_tower.starter import values
from two_tower.starter.event_time import NO_TIMES
from two_tower.starter.keys import check_key_options
from two_tower.starter.options import Options
from two_tower.starter.source import Source
from two_tower.starter.where import matching


def check_options(options: Options, events: Source, own: Mapping[str, Source | None]) -> None:
    """Check the names of columns and the SQL condition.

    Args:
        options: The options.
        events: The interactions, or their first rows.
        own: The tables of users and items, or their first rows, by `user` and `item`. None: no table.

    Raises:
        InputError: If an option names an unknown column, a key cannot be inferred, or the condition is not valid.
    """
    columns = events.table.column_names
    every = [column for source in (events, *own.values()) if source for column in source.table.column_names]
    for name in options.ignore:
        if name not in every:
            raise unknown("column for --ignore", name, every)
    named = (("--timestamp", options.timestamp), ("--weight", options.weight))
    for option, column in named:
        if column not in (None, NO_TIMES, *columns):
            raise unknown(f"column of {events.name} for {option}", str(column), columns)
    check_key_options(events, own, {"user": options.user_key, "item": options.item_key})
    if options.where is not None:
        known = [name for name in columns if name not in events.left_out]
        typed = {name: values.read_as(events.table[name], name, events.kinds[name]).array for name in known}
        matching(options.where, pa.table(typed))
