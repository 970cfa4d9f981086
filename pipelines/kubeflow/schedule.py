"""Cron expressions as Kubeflow reads them."""

import re

from two_tower.errors import InputError

_FIELD = re.compile(r"[\d*/,A-Za-z?LW#-]+")


def cron(text: str) -> str:
    """A cron expression in the six fields that Kubeflow reads, the first of them seconds; five are taken as usual.

    Raises InputError for anything else.
    """
    fields = text.split()
    if text.strip() in ("@hourly", "@daily", "@weekly", "@monthly"):
        return text.strip()
    if len(fields) not in (5, 6) or not all(_FIELD.fullmatch(one) for one in fields):
        raise InputError(
            f"--schedule {text!r} is no cron expression. It has five fields (minute, hour, day, month, weekday), such "
            "as '30 3 * * *' for half past three each night, in the cluster's time zone."
        )
    return " ".join(["0", *fields] if len(fields) == 5 else fields)
