"""Soak test: the service under load while releases change and the online store fails.

The load is 70 % of the capacity of the service, over real HTTP on loopback, with a real redis-server as the online
store. Meanwhile releases are activated and rolled back through the admin API, corrupt releases are activated, and Redis
is killed and restarted. Every response is checked: all items must belong to the release in the response (each release
has its own ids), and they must be the best items for the user according to a numpy reference, or the most popular items
if the response reports a failure of the store. With `--items 40000` the releases have a quantized index, whose tables
are mapped from their own file. No request may fail, and no response may be wrong or mix releases.
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
APART = 1_000_000  # distance between the first ids of two releases
CONNECTIONS = 8
SHARE = 0.7  # of the capacity
TOLERANCE = 1e-3  # of a score: ages in days change during the soak
TOKEN = "soak"


class Plan(NamedTuple):
    """Number of events of each kind. pause: seconds between two events. users: number of users in the requests."""

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
    """Expected results: item embeddings and popular items of each release, and the embedding of each user."""

    users: dict[int, np.ndarray]
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    popular: dict[str, list[int]] = field(default_factory=dict)

    def judge(self, user: int, response: dict[str, Any]) -> str:
        """Check a response: `right`, `wrong`, or `mixed` if items do not belong to the release in the response."""
        name, ids = response["release"], [item["item_id"] for item in response["items"]]
        if name not in self.vectors:
            return "wrong"
        rows = np.array(ids) - self.first[name]
        if ((rows < 0) | (rows >= len(self.vectors[name]))).any():
            return "mixed"
        if response["fallback"] is not None:
            return "right" if ids == self.popular[name][:K] and response["fallback"] == "store" else "wrong"
        scores = self.vectors[name] @ self.users[user]
        least = np.partition(scores, -K)[-K]
        complete = len(set(ids)) == K and bool((scores[rows] >= least - TOLERANCE).all())
        returned = np.array([item["score"] for item in response["items"]])
        return "right" if complete and np.abs(returned - scores[rows]).max() < TOLERANCE else "wrong"


@dataclass
class Counts:
    """requests = failed + mixed + wrong + right. store_fallbacks: responses that report a failure of the store."""

    requests: int = 0
    failed: int = 0
    mixed: int = 0
    wrong: int = 0
    store_fallbacks: int = 0
    seconds: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--items", type=int, default=2_000, help=f"Items of each release: {K} to {APART:,}.")
    args = parser.parse_args()
    if not K <= args.items <= APART:
        parser.error(f"--items {args.items} is out of range: {K} to {APART:,}.")
    if not shutil.which("redis-server"):
        sys.exit("redis-server is not installed. On Debian and Ubuntu: apt-get install redis-server.")
    machine_info = machine()
    with tempfile.TemporaryDirectory(prefix="benchmark-soak-") as folder:
        rows, claims = soak(Path(folder), QUICK if args.quick else FULL, args.items)
    finish(rows, claims, machine_info | {"load_after": round(os.getloadavg()[0], 2)}, args.json)
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
    """A real redis-server on a free loopback port. Its data survive a kill."""

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
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            ping = subprocess.run(["redis-cli", "-p", str(self.port), "ping"], capture_output=True, text=True)
            if ping.stdout.strip() == "PONG":
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
    events = await _events(plan, redis, port, good, bad)
    stop.set()
    await load
    duration = time.perf_counter() - began
    claims = {
        "requests": counts.requests,
        "failed": counts.failed,
        "mixed": counts.mixed,
        "wrong": counts.wrong,
        **events,
        "store_fallbacks": counts.store_fallbacks,
    }
    for example in counts.examples:
        progress(example)
    row = {
        "seconds": round(duration, 1),
        "requests_per_s": round(counts.requests / duration, 1),
        "capacity_per_s": round(capacity.requests / 3, 1),
        "p50_ms": round(1e3 * float(np.quantile(counts.seconds, 0.5)), 2),
        "p99_ms": round(1e3 * float(np.quantile(counts.seconds, 0.99)), 2),
    }
    return [row], claims


async def _events(plan: Plan, redis: Redis, port: int, good: list[str], bad: list[str]) -> dict[str, int]:
    """Trigger all events, spread over the soak; returns how often each kind had the expected effect."""
    counts = {"activated": 0, "rolled_back": 0, "corrupt_refused": 0, "redis_kills": 0}
    spread = {
        "corrupt": _spread(plan.activations, plan.corrupt),
        "rollback": _spread(plan.activations, plan.rollbacks),
        "kill": _spread(plan.activations, plan.kills),
    }
    for number in range(plan.activations):
        # The first release is active already: it is activated again after all others.
        counts["activated"] += await _admin(port, "activate", good[(number + 1) % len(good)]) == 200
        await asyncio.sleep(plan.pause)
        if number in spread["rollback"]:
            counts["rolled_back"] += await _admin(port, "rollback") == 200
            await asyncio.sleep(plan.pause)
        if number in spread["corrupt"]:
            one = bad[counts["corrupt_refused"]]
            counts["corrupt_refused"] += await _admin(port, "activate", one) == 422
            await asyncio.sleep(plan.pause)
        if number in spread["kill"]:
            redis.kill()
            await asyncio.sleep(2 * plan.pause)
            await asyncio.to_thread(redis.start)
            counts["redis_kills"] += 1
            await asyncio.sleep(plan.pause)
        progress(", ".join(f"{name} {count}" for name, count in counts.items()))
    return counts


def _spread(places: int, count: int) -> set[int]:
    """Choose `count` of the places 1 … places - 1, evenly spaced."""
    return {1 + i * (places - 1) // count for i in range(count)}


async def _admin(port: int, action: str, one: str | None = None) -> int:
    body = {"release": one} if one else {}
    status, content = await asyncio.to_thread(processes.call, port, "POST", f"/admin/{action}", body, TOKEN, 120)
    if status not in (200, 422):
        progress(f"/admin/{action}: {status} {content[:300]!r}")
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
    """Send requests one after the other on each of a few connections, at most `rate` per second in total."""
    deadline = time.perf_counter() + seconds if seconds else float("inf")
    users = list(reference.users)
    turn = 0
    began = time.perf_counter()

    async def client() -> None:
        nonlocal turn
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while time.perf_counter() < deadline and not (stop and stop.is_set()):
            turn += 1
            number, user = turn, users[turn % len(users)]
            if rate:
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            sent = time.perf_counter()
            try:
                connection = connection or await asyncio.open_connection(processes.HOST, port)
                status, body = await asyncio.wait_for(_post(*connection, user), 10)
            except (OSError, EOFError, ValueError) as error:
                status, body, connection = 0, repr(error).encode(), None
            counts.seconds.append(time.perf_counter() - sent)
            _count(counts, reference, user, status, body)
        if connection:
            connection[1].close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: int) -> tuple[int, bytes]:
    body = json.dumps({"user_id": user, "k": K}).encode()
    head = f"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    headers = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(headers.split("content-length:")[1].split("\r\n")[0])
    return int(headers.split(" ")[1]), await reader.readexactly(length)


def _count(counts: Counts, reference: Reference, user: int, status: int, body: bytes) -> None:
    counts.requests += 1
    if status != 200:
        result = "failed"
    else:
        response = json.loads(body)
        counts.store_fallbacks += response["fallback"] == "store"
        result = reference.judge(user, response)
    if result != "right":
        setattr(counts, result, getattr(counts, result) + 1)
        if len(counts.examples) < 5:
            counts.examples.append(f"{result}: user {user}, status {status}, {body[:300]!r}")


def _publish(made: world.World, releases: Path, number: int, items: int, reference: Reference) -> str:
    first = 10_000_000 + number * APART
    one = world.publish(made, items, releases, first=first, seed=number)
    reference.vectors[one] = world.item_vectors(items, number)
    reference.first[one] = first
    popularity = np.random.default_rng(number).permutation(items)
    reference.popular[one] = (first + np.argsort(-popularity)).tolist()
    return one


def _corrupt(path: Path) -> None:
    """Flip all bits of the byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _embeddings(made: world.World, users: list[int]) -> dict[int, np.ndarray]:
    contract = made.pulled.contract
    rows = online_rows(open_store(made.repo), contract, users)
    session = open_session(made.towers / "user_tower.onnx")
    table = table_from_rows([row or {} for row in rows], contract.user)
    now = np.full(len(users), int(time.time()))
    (embeddings,) = session.run(["embedding"], tower_inputs(session, table, contract.user, now))
    return dict(zip(users, embeddings, strict=True))


if __name__ == "__main__":
    main()
