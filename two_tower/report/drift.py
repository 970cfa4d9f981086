"""Drift of each feature since the current release, as the data gate measured it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from two_tower.gates import Verdict

LEAST, MOST = 5, 15  # number of features in the table, the largest drift first
HARDLY = 0.005  # PSI; after the first LEAST features, smaller drift is only counted
LABELS = {
    "user": "users with interactions",
    "item": "items with interactions",
    "catalogue": "catalogue",
    "interactions": "interactions",
}


@dataclass(frozen=True)
class DriftTable:
    """Table of the features with the largest drift.

    Attributes:
        since: End of the data of the current release.
        rows: Rows of `compared.drift`, with the label of the table, `of`, and the lengths `at` and `limit_at` in per
            cent of the bar.
        others: Number of features that are not in the table.
        least: Largest PSI of these features.
    """

    since: str
    rows: Sequence[dict[str, Any]]
    others: int
    least: float


def drift_table(verdicts: Sequence[Verdict]) -> DriftTable | None:
    """Make the table from the verdict of the data gate.

    Args:
        verdicts: Verdicts of the gates.

    Returns:
        The table, or None if the data gate compared nothing.
    """
    details = next((v.details for v in verdicts if v.gate == "data" and v.details.get("drift")), None)
    if details is None:
        return None
    drift = details["drift"]
    count = max(LEAST, sum(row["psi"] >= HARDLY for row in drift[:MOST]))
    rows, hidden = drift[:count], drift[count:]
    most = 1.15 * max(*(row["psi"] for row in rows), *(row["limit"] for row in rows))
    drawn = [
        row | {"of": LABELS[row["table"]], "at": 100 * row["psi"] / most, "limit_at": 100 * row["limit"] / most}
        for row in rows
    ]
    since = details["compared_with"][:16].replace("T", " ")
    return DriftTable(since, drawn, len(hidden), hidden[0]["psi"] if hidden else 0.0)
