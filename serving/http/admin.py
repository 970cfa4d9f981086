"""Who may change what everybody is served: bearer tokens from the environment."""

import hmac
import os

from two_tower.recommender.errors import RequestError, not_found

ADMIN_TOKEN = "TWO_TOWER_ADMIN_TOKEN"  # noqa: S105 - the variable's name. Without it /admin/* is off
ITEMS_TOKEN = "TWO_TOWER_ITEMS_TOKEN"  # noqa: S105 - likewise. Without it POST /v1/items is open


def check_admin(authorization: str | None) -> None:
    """Raise RequestError 404 where no token is configured, 401 for a wrong one."""
    token = os.environ.get(ADMIN_TOKEN)
    if not token:
        raise not_found("Admin calls are off.", f"Start the service with a token in {ADMIN_TOKEN}.")
    _check(authorization, token)


def check_items(authorization: str | None) -> None:
    """Raise RequestError 401 where a token is configured and another one, or none, is given."""
    token = os.environ.get(ITEMS_TOKEN)
    if token:
        _check(authorization, token)


def _check(authorization: str | None, token: str) -> None:
    given = authorization or ""
    scheme, _, said = given.partition(" ")
    same = hmac.compare_digest(said.strip().encode(), token.encode())  # in constant time
    if scheme.lower() != "bearer" or not same:
        raise RequestError(401, "unauthorized", "The bearer token is wrong or absent.", "Send Authorization: Bearer ….")
