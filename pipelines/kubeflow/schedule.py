"""Cron expressions as Kubeflow reads them."""

import re

from two_tower.errors import InputError

_FIELD = re.compile(r"[\d*/,A-Za-z?LW#-]+")


def cron(text: str) -> str:
    """Convert a cron expression to the six fields that Kubeflow reads, the first of them seconds.

    Args:
        text: Five or six fields, or @hourly, @daily, @weekly or @monthly.

    Raises:
        InputError: `text` is anything else.
    """
    fields = text.split()
    if text.strip() in ("@hourly", "@daily", "@weekly", "@monthly"):
        return text.strip()
    if len(fields) not in (5, 6) or not all(_FIELD.fullmatch(one) for one in fields):
        raise InputError(
            f"--schedule {text!r} is not a cron expression. Write five fields (minute, hour, day, month, weekday), "
            "such as '30 3 * * *' for 03:30 every day in the time zone of the cluster."
        )
    return " ".join(["0", *fields] if len(fields) == 5 else fields)
