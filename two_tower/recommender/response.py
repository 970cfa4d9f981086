"""The response of a recommender."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Fallback = Literal["popular", "store"]


class Item(NamedTuple):
    """A recommended item. score: the similarity; in a fallback response the popularity."""

    item_id: str | int
    score: float


@dataclass(frozen=True, kw_only=True)
class Response:
    """The items for one request.

    items: best first. release: id of the release that answered. fallback: None if the towers answered; `popular` if
    the user is unknown; `store` if the online store failed. Both fallbacks return the most popular items. seconds:
    time of each stage. reasons: for each item the nearest items of the user's history, if they were requested.
    """

    items: list[Item]
    release: str
    fallback: Fallback | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    reasons: list[list[Item]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The response as JSON."""
        items: list[dict[str, Any]] = [{"item_id": item, "score": score} for item, score in self.items]
        if self.reasons is not None:
            for item, nearest in zip(items, self.reasons, strict=True):
                item["nearest_history"] = [one._asdict() for one in nearest]
        return {"items": items, "release": self.release, "fallback": self.fallback}
