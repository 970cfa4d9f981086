"""The service that runs, its features in a Redis of its own, and somebody who pushes to it meanwhile."""

import json
import time
import urllib.request
from datetime import UTC, datetime

import pytest

from tests import servers
from tests.serving.making import made
from tests.serving.running import service
from tests.serving.shelves import PUSHED, row, stocked

pytestmark = pytest.mark.slow
WITHIN = 1.0  # seconds


def asked(port: int, user: str) -> tuple[list[str], str | None]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/recommend", json.dumps({"user_id": user, "k": 2}).encode()
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        told = json.load(answer)
    return [item["item_id"] for item in told["items"]], told["fallback"]


def settled(port: int, user: str) -> tuple[list[str], str | None]:
    """What is answered once the store does: its first look-ups may take longer than a request waits."""
    for _ in range(50):
        answer = asked(port, user)
        if answer[1] != "store":
            return answer
        time.sleep(0.2)
    pytest.fail("the store gives no answer")


def test_a_push_changes_the_next_answer_within_a_second(tmp_path):
    import feast
    import pandas as pd

    (tmp_path / "repo").mkdir()
    with servers.running_redis(tmp_path / "redis") as redis:
        address = f'{{type: redis, connection_string: "{servers.HOST}:{redis.port}"}}'
        repo = stocked(tmp_path / "repo", address, push=True)
        made(tmp_path / "releases", tmp_path / "parts", repo)
        with service(tmp_path / "releases") as (_, port, _):
            assert settled(port, "ann") == (["i2", "i3"], None), "she has seen i0 and i1"
            assert settled(port, "nobody") == (["i9", "i8"], "popular"), "the answer says that she is not known"
            store = feast.FeatureStore(repo_path=str(repo))
            changed = row("ann", datetime.now(UTC)) | {"group": "b", "seen_items": ["i9", "i0", "i1"]}
            new = row("bob", datetime.now(UTC)) | {"user_id": "nobody", "group": "a", "seen_items": ["i0"]}
            store.push(PUSHED, pd.DataFrame([changed, new]))
            pushed = time.monotonic()
            while asked(port, "ann") != (["i8", "i7"], None) and time.monotonic() < pushed + 10:
                time.sleep(0.02)
            took = time.monotonic() - pushed
            assert asked(port, "nobody") == (["i1", "i2"], None), "who was pushed is known from then on"
    assert took < WITHIN
