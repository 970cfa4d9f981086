"""Authorization of the calls that change the service: bearer tokens from the environment."""

import hmac
import os

from two_tower.recommender.errors import RequestError, not_found

ADMIN_TOKEN = "TWO_TOWER_ADMIN_TOKEN"  # noqa: S105 - a variable's name. Without a token /admin/* is off
ITEMS_TOKEN = "TWO_TOWER_ITEMS_TOKEN"  # noqa: S105 - a variable's name. Without a token POST /v1/items is open


def check_admin(authorization: str | None) -> None:
    """Raise RequestError 404 if no token is configured, 401 if the request has a wrong one or none."""
    token = os.environ.get(ADMIN_TOKEN)
    if not token:
        raise not_found("Admin calls are off.", f"Start the service with a token in {ADMIN_TOKEN}.")
    _check(authorization, token)


def check_items(authorization: str | None) -> None:
    """Raise RequestError 401 if a token is configured and the request has a wrong one or none."""
    token = os.environ.get(ITEMS_TOKEN)
    if token:
        _check(authorization, token)


def _check(authorization: str | None, token: str) -> None:
    scheme, _, sent = (authorization or "").partition(" ")
    same = hmac.compare_digest(sent.strip().encode(), token.encode())  # in constant time
    if scheme.lower() != "bearer" or not same:
        raise RequestError(401, "unauthorized", "The bearer token is wrong or absent.", "Send Authorization: Bearer ….")
