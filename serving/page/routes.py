"""The page's own calls: what can be asked for, users as the feature store knows them, items with their titles.

They are there only where the page is, for they show users to whoever can reach the service. All of them only read.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.engine.loaded_release import LoadedRelease
from serving.http.admin import ADMIN_TOKEN
from serving.http.responses import Json
from serving.page.document import document
from serving.page.facets import MOST_ROWS
from serving.page.shelf import Shelf
from two_tower.recommender.errors import invalid, unavailable
from two_tower.recommender.online_store import StoreError
from two_tower.recommender.values import key_value
from two_tower.releases.release import Listed
from two_tower.schema import Contract, Encoding

MOST_IDS = 200  # items of one call
LONGEST = 100  # characters of a search
RELEASES = 50  # that are listed, the newest
_PRIVATE = {"Cache-Control": "no-store"}


class Page:
    """serves: what serves now. listed: all releases, which may take a while to read."""

    def __init__(self, serves: Callable[[], LoadedRelease], listed: Callable[[], Sequence[Listed]]) -> None:
        self._serves = serves
        self._listed = listed
        self._shelf: tuple[LoadedRelease, Shelf] | None = None
        self._one = asyncio.Lock()  # what reads a lot is done one at a time

    def routes(self) -> list[Route]:
        return [
            Route("/", self.page),
            Route("/page/about", self.about),
            Route("/page/user", self.user),
            Route("/page/items", self.items),
            Route("/page/releases", self.releases),
        ]

    async def page(self, _: Request) -> Response:
        body, headers = document()
        return Response(body, headers=dict(headers), media_type="text/html")

    async def about(self, _: Request) -> Response:
        """The release, its contract as a form and a filter need it, and users to begin with."""
        served = self._serves()
        shelf = await self._shelf_of(served)
        ranker, about, contract = served.ranker, served.about, served.ranker.contract
        said = {
            "release": ranker.release,
            "dataset": about.dataset,
            "as_of": about.as_of,
            "recall": about.recall,
            "items": ranker.size,
            "counted": min(ranker.catalogue.table.num_rows, MOST_ROWS),
            "store": served.lookup is not None,
            "admin": bool(os.environ.get(ADMIN_TOKEN)),
            "users": about.users,
            "title": shelf.title,
            "columns": shelf.facets,
            "features": [
                {"name": f.name, "dtype": f.dtype, "encoding": f.encoding, **about.profile.get(f.name, {})}
                for f in (*contract.user, *([contract.seen] if contract.seen else []))
            ],
            "seen": contract.seen.name if contract.seen else None,
        }
        return Json(said, headers=_PRIVATE)

    async def user(self, request: Request) -> Response:
        """A user's features and history as the store knows them. Raises RequestError 503 where the store fails."""
        served = self._serves()
        contract = served.ranker.contract
        user = key_value("id", request.query_params.get("id"), contract.user_key_dtype)
        try:
            row = await served.lookup.row(user) if served.lookup else None
        except StoreError as error:
            raise unavailable("store", "The feature store gave no answer.") from error
        features = {name: value for name, value in (row or {}).items() if value is not None}
        said = {
            "user_id": user,
            "known": row is not None,
            "features": features,
            "history": _history(features, contract),
        }
        return Json(said, headers=_PRIVATE)

    async def items(self, request: Request) -> Response:
        """Items by id, or those that a search finds."""
        served = self._serves()
        ids, text = request.query_params.getlist("id"), request.query_params.get("search")
        if bool(ids) == (text is not None) or len(ids) > MOST_IDS:
            raise invalid(f"{len(ids)} ids are given.", f"Give 1 to {MOST_IDS} of them as id=, or a text as search=.")
        if text is not None and len(text) > LONGEST:
            raise invalid("The text is too long.", f"Search for at most {LONGEST} characters.")
        dtype = served.ranker.contract.item_key_dtype
        keys = [key_value("id", one, dtype) for one in ids]
        shelf = await self._shelf_of(served)
        async with self._one:
            found = await asyncio.to_thread(shelf.items, keys) if text is None else await _search(shelf, text)
        return Json({"items": found}, headers=_PRIVATE)

    async def releases(self, _: Request) -> Response:
        """The newest releases; `serves` marks the one that answers."""
        serving = self._serves().ranker.release
        async with self._one:
            try:
                listed = await asyncio.to_thread(self._listed)
            except OSError as error:
                raise unavailable("storage", "The releases cannot be reached.") from error
        said = [
            {
                "release": one.id,
                "serves": one.id == serving,
                "dataset": one.manifest.dataset,
                "created": one.manifest.created,
                "recall": one.manifest.recall,
            }
            for one in listed[:RELEASES]
            if one.manifest
        ]
        return Json({"releases": said}, headers=_PRIVATE)

    async def _shelf_of(self, served: LoadedRelease) -> Shelf:
        async with self._one:
            if self._shelf is None or self._shelf[0] is not served:
                self._shelf = (served, await asyncio.to_thread(Shelf, served.ranker))
            return self._shelf[1]


async def _search(shelf: Shelf, text: str) -> list[dict[str, Any]]:
    return await asyncio.to_thread(shelf.search, text)


def _history(features: dict[str, Any], contract: Contract) -> list[str | int]:
    """The items of the user's history, the newest first."""
    histories = [f for f in contract.user if f.encoding == Encoding.HISTORY]
    newest = [item for f in histories for item in reversed((features.get(f.name) or [])[-f.max_length :])]
    return [item for item in dict.fromkeys(newest) if item is not None]
