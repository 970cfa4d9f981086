"""Log lines are bounded and hold no personal data."""

import io
import json
import logging
from contextlib import contextmanager, redirect_stderr
from types import SimpleNamespace

from serving.observability import logs
from tests.serving.making import made
from tests.serving.running import opened


@contextmanager
def configured():
    """Log as the service does, and yield a function that returns the lines so far."""
    root, kserve = logging.getLogger(), logging.getLogger("kserve")
    before = root.handlers[:], root.level, kserve.level
    root.handlers[:] = []
    with redirect_stderr(io.StringIO()) as stream:
        logs.configure()
    try:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        kserve.setLevel(before[2])


def test_a_flood_of_refused_requests_writes_a_few_lines_and_their_number(monkeypatch):
    clock = iter([*[0.1] * 500, 1.2])
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    flooded, other = logging.getLogger("flooded"), logging.getLogger("other")
    with configured() as lines:
        for _ in range(498):
            flooded.info("refused", extra={"fields": {"status": 400}})
        flooded.error("failed")
        other.info("heard")
        flooded.info("refused", extra={"fields": {"status": 401}})
        written = lines()
    assert [line["message"] for line in written] == ["refused"] * logs.LINES + ["failed", "heard", "refused"]
    assert (written[-1]["dropped"], written[-1]["status"]) == (498 - logs.LINES, 401)
    assert not any("dropped" in line for line in written[:-1])


def test_a_users_data_are_not_logged(releases, tmp_path, feast_repo):
    made(releases, tmp_path / "parts", feast_repo)
    with opened(releases) as client, configured() as lines:
        for user in ("inf", "odd", "nobody-at-all"):
            assert client.post("/v1/recommend", json={"user_id": user}).json()["fallback"]
        text = [json.dumps(line) for line in lines() if line["logger"].startswith("two_tower")]
    assert len(text) == 2
    assert not any(word in line for line in text for word in ("'inf'", "'odd'", "nobody", "3e+38"))
