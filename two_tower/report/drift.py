"""How far each feature has moved since the release that serves, as the data gate measured it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from two_tower.gates import Verdict

LEAST, MOST = 5, 15  # features that are shown, the ones that moved farthest
HARDLY = 0.005  # of the index; beyond the first few, what moved less is only counted
OF = {
    "user": "of users who act",
    "item": "of items taken",
    "catalogue": "of the catalogue",
    "interactions": "of interactions",
}


@dataclass(frozen=True)
class Moved:
    """since: up to when the release's data went. rows: of `compared.drift`, with `of`, `at` and `limit_at`, in per cent
    of the bar. others: how many are not shown, and none of them moved farther than `least`.
    """

    since: str
    rows: Sequence[dict[str, Any]]
    others: int
    least: float


def moved(verdicts: Sequence[Verdict]) -> Moved | None:
    """None where nothing was compared."""
    found = next((v.details for v in verdicts if v.gate == "data" and v.details.get("drift")), None)
    if found is None:
        return None
    drift = found["drift"]
    shown = max(LEAST, sum(row["psi"] >= HARDLY for row in drift[:MOST]))
    rows, hidden = drift[:shown], drift[shown:]
    most = 1.15 * max(*(row["psi"] for row in rows), *(row["limit"] for row in rows))
    drawn = [
        row | {"of": OF[row["table"]], "at": 100 * row["psi"] / most, "limit_at": 100 * row["limit"] / most}
        for row in rows
    ]
    since = found["compared_with"][:16].replace("T", " ")
    return Moved(since, drawn, len(hidden), hidden[0]["psi"] if hidden else 0.0)
