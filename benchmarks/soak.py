"""The service under load while releases change and its online store dies: nothing fails, mixes or is wrong.

Load at 70 % of what the service can take, over real HTTP on loopback, with a real redis-server as the online store.
Meanwhile releases are activated and rolled back through the admin calls, corrupt ones are offered, and Redis is killed
and started again. Every answer is checked: its items must all be of the release that it names (each release has ids of
its own), and they must be the best for the user by a reference in numpy; where the answer says that the store failed,
the most popular ones. With `--items 40000` releases hold a coded index, whose tables are mapped from their own file.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import processes, world
from benchmarks.harness import arguments, finish, machine, progress
from two_tower.data.online import online_rows
from two_tower.data.repository import open_store
from two_tower.inputs import table_from_rows
from two_tower.releases import release
from two_tower.releases.item_index import tower_inputs
from two_tower.runtime import open_session

K = 20
APART = 1_000_000  # first ids of two releases
CONNECTIONS = 8
SHARE = 0.7  # of the capacity
TOLERANCE = 1e-3  # of a score: ages in days move on while the soak runs
TOKEN = "soak"


class Plan(NamedTuple):
    """How often what happens; pause: seconds between two events."""

    activations: int
    rollbacks: int
    corrupt: int
    kills: int
    pause: float
    users: int


FULL = Plan(activations=20, rollbacks=5, corrupt=3, kills=2, pause=2.0, users=200)
QUICK = Plan(activations=3, rollbacks=1, corrupt=1, kills=1, pause=0.5, users=20)


@dataclass
class Reference:
    """What is right: each release's embeddings and items by popularity, and each user's embedding."""

    users: dict[int, np.ndarray]
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    popular: dict[str, list[int]] = field(default_factory=dict)

    def judge(self, user: int, answer: dict[str, Any]) -> str:
        """`right`, `wrong`, or `mixed` where items are not of the release that the answer names."""
        name, ids = answer["release"], [item["item_id"] for item in answer["items"]]
        if name not in self.vectors:
            return "wrong"
        rows = np.array(ids) - self.first[name]
        if ((rows < 0) | (rows >= len(self.vectors[name]))).any():
            return "mixed"
        if answer["fallback"] is not None:
            return "right" if ids == self.popular[name][:K] and answer["fallback"] == "store" else "wrong"
        scores = self.vectors[name] @ self.users[user]
        least = np.partition(scores, -K)[-K]
        complete = len(set(ids)) == K and bool((scores[rows] >= least - TOLERANCE).all())
        given = np.array([item["score"] for item in answer["items"]])
        return "right" if complete and np.abs(given - scores[rows]).max() < TOLERANCE else "wrong"


@dataclass
class Counts:
    """requests = failed + mixed + wrong + right ones. by_fallback: answers that said that the store failed."""

    requests: int = 0
    failed: int = 0
    mixed: int = 0
    wrong: int = 0
    store_fallbacks: int = 0
    seconds: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--items", type=int, default=2_000, help=f"of each release; {K} to {APART:,}")
    given = parser.parse_args()
    if not K <= given.items <= APART:
        parser.error(f"--items {given.items} is out of range: {K} to {APART:,}.")
    if not shutil.which("redis-server"):
        sys.exit("redis-server is not installed. On Debian and Ubuntu: apt-get install redis-server.")
    described = machine()
    with tempfile.TemporaryDirectory(prefix="benchmark-soak-") as folder:
        rows, claims = soak(Path(folder), QUICK if given.quick else FULL, given.items)
    finish(rows, claims, described | {"load_after": round(os.getloadavg()[0], 2)}, given.json)
    if claims["failed"] or claims["mixed"] or claims["wrong"]:
        sys.exit(1)


def soak(folder: Path, plan: Plan, items: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    redis = Redis(folder / "redis")
    with redis.running():
        made = world.make(folder, redis.port)
        releases = folder / "releases"
        reference = Reference(_embeddings(made, made.users[: plan.users]))
        progress(f"publishing {plan.activations + plan.corrupt} releases")
        every = [_publish(made, releases, n, items, reference) for n in range(plan.activations + plan.corrupt)]
        good, bad = every[: plan.activations], every[plan.activations :]
        for one in bad:
            _corrupt(max((releases / one).glob("index.onnx*"), key=lambda path: path.stat().st_size))
        release.activate(releases, good[0])
        port = processes.free_port()
        with processes.service(releases, port, folder / "service.log", {"TWO_TOWER_ADMIN_TOKEN": TOKEN}):
            return asyncio.run(_soak(plan, reference, redis, port, good, bad))


class Redis:
    """A real redis-server on a free loopback port, whose data outlive a kill."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.port = processes.free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self.kill()

    def start(self) -> None:
        command = ["redis-server", "--bind", processes.HOST, "--port", str(self.port), "--dir", str(self._folder)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--logfile", "redis.log"]
        self.process = subprocess.Popen(command)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            asked = subprocess.run(["redis-cli", "-p", str(self.port), "ping"], capture_output=True, text=True)
            if asked.stdout.strip() == "PONG":
                return
            time.sleep(0.05)
        raise RuntimeError("redis-server did not start")

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


async def _soak(
    plan: Plan, reference: Reference, redis: Redis, port: int, good: list[str], bad: list[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    warm = Counts()
    await _load(port, reference, warm, seconds=2, rate=None)
    capacity = Counts()
    await _load(port, reference, capacity, seconds=3, rate=None)
    rate = SHARE * capacity.requests / 3
    progress(f"capacity {capacity.requests / 3:.0f} requests/s; soaking at {rate:.0f}")
    counts, stop = Counts(), asyncio.Event()
    began = time.perf_counter()
    load = asyncio.create_task(_load(port, reference, counts, stop=stop, rate=rate))
    happened = await _events(plan, redis, port, good, bad)
    stop.set()
    await load
    taken = time.perf_counter() - began
    claims = {
        "requests": counts.requests,
        "failed": counts.failed,
        "mixed": counts.mixed,
        "wrong": counts.wrong,
        **happened,
        "store_fallbacks": counts.store_fallbacks,
    }
    for example in counts.examples:
        progress(example)
    row = {
        "seconds": round(taken, 1),
        "requests_per_s": round(counts.requests / taken, 1),
        "capacity_per_s": round(capacity.requests / 3, 1),
        "p50_ms": round(1e3 * float(np.quantile(counts.seconds, 0.5)), 2),
        "p99_ms": round(1e3 * float(np.quantile(counts.seconds, 0.99)), 2),
    }
    return [row], claims


async def _events(plan: Plan, redis: Redis, port: int, good: list[str], bad: list[str]) -> dict[str, int]:
    """All that happens to the service, spread over the soak; how often each was seen to work."""
    happened = {"activated": 0, "rolled_back": 0, "corrupt_refused": 0, "redis_kills": 0}
    spread = {
        "corrupt": _spread(plan.activations, plan.corrupt),
        "rollback": _spread(plan.activations, plan.rollbacks),
        "kill": _spread(plan.activations, plan.kills),
    }
    for number in range(plan.activations):
        # The first serves already: it is activated last, after all others.
        happened["activated"] += await _admin(port, "activate", good[(number + 1) % len(good)]) == 200
        await asyncio.sleep(plan.pause)
        if number in spread["rollback"]:
            happened["rolled_back"] += await _admin(port, "rollback") == 200
            await asyncio.sleep(plan.pause)
        if number in spread["corrupt"]:
            one = bad[happened["corrupt_refused"]]
            happened["corrupt_refused"] += await _admin(port, "activate", one) == 422
            await asyncio.sleep(plan.pause)
        if number in spread["kill"]:
            redis.kill()
            await asyncio.sleep(2 * plan.pause)
            await asyncio.to_thread(redis.start)
            happened["redis_kills"] += 1
            await asyncio.sleep(plan.pause)
        progress(", ".join(f"{name} {count}" for name, count in happened.items()))
    return happened


def _spread(places: int, count: int) -> set[int]:
    """`count` of the places 1 … places - 1, evenly."""
    return {1 + i * (places - 1) // count for i in range(count)}


async def _admin(port: int, what: str, one: str | None = None) -> int:
    body = {"release": one} if one else {}
    status, said = await asyncio.to_thread(processes.call, port, "POST", f"/admin/{what}", body, TOKEN, 120)
    if status not in (200, 422):
        progress(f"/admin/{what}: {status} {said[:300]!r}")
    return status


async def _load(
    port: int,
    reference: Reference,
    counts: Counts,
    *,
    rate: float | None,
    seconds: float | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Requests on a few connections, each after the other's answer, at most `rate` a second in all."""
    until = time.perf_counter() + seconds if seconds else float("inf")
    users = list(reference.users)
    turn = 0
    began = time.perf_counter()

    async def client() -> None:
        nonlocal turn
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while time.perf_counter() < until and not (stop and stop.is_set()):
            turn += 1
            number, user = turn, users[turn % len(users)]
            if rate:
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            asked = time.perf_counter()
            try:
                connection = connection or await asyncio.open_connection(processes.HOST, port)
                status, body = await asyncio.wait_for(_post(*connection, user), 10)
            except (OSError, EOFError, ValueError) as error:
                status, body, connection = 0, repr(error).encode(), None
            counts.seconds.append(time.perf_counter() - asked)
            _count(counts, reference, user, status, body)
        if connection:
            connection[1].close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: int) -> tuple[int, bytes]:
    body = json.dumps({"user_id": user, "k": K}).encode()
    head = f"POST /v1/recommend HTTP/1.1\r\nHost: soak\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answered = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(answered.split("content-length:")[1].split("\r\n")[0])
    return int(answered.split(" ")[1]), await reader.readexactly(length)


def _count(counts: Counts, reference: Reference, user: int, status: int, body: bytes) -> None:
    counts.requests += 1
    if status != 200:
        judged = "failed"
    else:
        answer = json.loads(body)
        counts.store_fallbacks += answer["fallback"] == "store"
        judged = reference.judge(user, answer)
    if judged != "right":
        setattr(counts, judged, getattr(counts, judged) + 1)
        if len(counts.examples) < 5:
            counts.examples.append(f"{judged}: user {user}, status {status}, {body[:300]!r}")


def _publish(made: world.World, releases: Path, number: int, items: int, reference: Reference) -> str:
    first = 10_000_000 + number * APART
    one = world.publish(made, items, releases, first=first, seed=number)
    reference.vectors[one] = world.item_vectors(items, number)
    reference.first[one] = first
    popularity = np.random.default_rng(number).permutation(items)
    reference.popular[one] = (first + np.argsort(-popularity)).tolist()
    return one


def _corrupt(path: Path) -> None:
    """Flip a byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _embeddings(made: world.World, users: list[int]) -> dict[int, np.ndarray]:
    contract = made.pulled.contract
    rows = online_rows(open_store(made.repo), contract, users)
    session = open_session(made.towers / "user_tower.onnx")
    table = table_from_rows([row or {} for row in rows], contract.user)
    now = np.full(len(users), int(time.time()))
    (found,) = session.run(["embedding"], tower_inputs(session, table, contract.user, now))
    return dict(zip(users, found, strict=True))


if __name__ == "__main__":
    main()
