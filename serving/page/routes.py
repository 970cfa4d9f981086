"""The calls of the demo page: the loaded release, users of the online store, items with their titles.

They exist only if the page does, because they show users to everyone who can reach the service. All of them only read.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.engine.loaded_release import LoadedRelease
from serving.engine.storage_calls import StorageCalls
from serving.http.access import ADMIN_TOKEN, token
from serving.http.responses import Json
from serving.page.document import document
from serving.page.facets import MOST_ROWS
from serving.page.item_browser import ItemBrowser
from two_tower.recommender.errors import invalid, unavailable
from two_tower.recommender.online_store import StoreError
from two_tower.recommender.values import key_value
from two_tower.releases.release import Listed
from two_tower.schema import Contract, Encoding

MOST_IDS = 200  # items per call
LONGEST = 100  # characters of a search text
LISTED_WITHIN = 10.0  # seconds that the list of releases may take
RELEASES = 50  # newest releases that are listed
_PRIVATE = {"Cache-Control": "no-store"}


class Page:
    """The handlers of the page.

    Args:
        get_loaded: returns the loaded release.
        listed: lists all releases; may take a while.
    """

    def __init__(self, get_loaded: Callable[[], LoadedRelease], listed: Callable[[], Sequence[Listed]]) -> None:
        self._get_loaded = get_loaded
        self._listed = listed
        self._browser: tuple[LoadedRelease, ItemBrowser] | None = None
        self._reading = asyncio.Lock()  # large reads run one at a time
        self._storage = StorageCalls(threads=1, waiting=4, within=LISTED_WITHIN)

    def routes(self) -> list[Route]:
        """The routes of the page and its calls."""
        return [
            Route("/", self.page),
            Route("/page/about", self.about),
            Route("/page/user", self.user),
            Route("/page/items", self.items),
            Route("/page/releases", self.releases),
        ]

    async def page(self, _: Request) -> Response:
        """Return the page."""
        body, headers = document()
        return Response(body, headers=dict(headers), media_type="text/html")

    async def about(self, _: Request) -> Response:
        """Return the loaded release, its features and item columns for the forms, and some users."""
        loaded = self._get_loaded()
        browser = await self._browser_of(loaded)
        ranker, about, contract = loaded.ranker, loaded.about, loaded.ranker.contract
        content = {
            "release": ranker.release,
            "dataset": about.dataset,
            "as_of": about.as_of,
            "recall": about.recall,
            "items": ranker.size,
            "counted": min(ranker.catalogue.table.num_rows, MOST_ROWS),
            "store": loaded.lookup is not None,
            "admin": bool(token(ADMIN_TOKEN)),
            "users": about.users,
            "title": browser.title,
            "columns": browser.facets,
            "features": [
                {"name": f.name, "dtype": f.dtype, "encoding": f.encoding, **about.profile.get(f.name, {})}
                for f in (*contract.user, *([contract.seen] if contract.seen else []))
            ],
            "seen": contract.seen.name if contract.seen else None,
        }
        return Json(content, headers=_PRIVATE)

    async def user(self, request: Request) -> Response:
        """Return a user's features and history. Raises RequestError 503 if the online store fails."""
        loaded = self._get_loaded()
        contract = loaded.ranker.contract
        user = key_value("id", request.query_params.get("id"), contract.user_key_dtype)
        try:
            row = await loaded.lookup.row(user) if loaded.lookup else None
        except StoreError as error:
            raise unavailable("store", "The online store did not respond.") from error
        features = {name: value for name, value in (row or {}).items() if value is not None}
        content = {
            "user_id": user,
            "known": row is not None,
            "features": features,
            "history": _history(features, contract),
        }
        return Json(content, headers=_PRIVATE)

    async def items(self, request: Request) -> Response:
        """Return items by id or by a search text."""
        loaded = self._get_loaded()
        ids, text = request.query_params.getlist("id"), request.query_params.get("search")
        if bool(ids) == (text is not None) or len(ids) > MOST_IDS:
            raise invalid(
                f"The call has {len(ids)} ids.", f"Send 1 to {MOST_IDS} of them as id=, or a text as search=."
            )
        if text is not None and len(text) > LONGEST:
            raise invalid("The text is too long.", f"Search for at most {LONGEST} characters.")
        dtype = loaded.ranker.contract.item_key_dtype
        keys = [key_value("id", one, dtype) for one in ids]
        browser = await self._browser_of(loaded)
        async with self._reading:
            items = await asyncio.to_thread(browser.items, keys) if text is None else await _search(browser, text)
        return Json({"items": items}, headers=_PRIVATE)

    async def releases(self, _: Request) -> Response:
        """Return the newest releases; `serves` marks the loaded one."""
        serving = self._get_loaded().ranker.release
        listed = await self._storage.run(self._listed)
        newest = [
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
        return Json({"releases": newest}, headers=_PRIVATE)

    async def _browser_of(self, loaded: LoadedRelease) -> ItemBrowser:
        async with self._reading:
            if self._browser is None or self._browser[0] is not loaded:
                self._browser = (loaded, await asyncio.to_thread(ItemBrowser, loaded.ranker))
            return self._browser[1]


async def _search(browser: ItemBrowser, text: str) -> list[dict[str, Any]]:
    return await asyncio.to_thread(browser.search, text)


def _history(features: dict[str, Any], contract: Contract) -> list[str | int]:
    """Items of the user's history, newest first."""
    histories = [f for f in contract.user if f.encoding == Encoding.HISTORY]
    newest = [item for f in histories for item in reversed((features.get(f.name) or [])[-f.max_length :])]
    return [item for item in dict.fromkeys(newest) if item is not None]
