"""Several workers on one port, as real processes."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.serving.making import made
from tests.serving.running import ROOT, service
from two_tower.retrieval import index

TOKEN = "secret"
WORKERS = 2
ITEMS = 40_000

pytestmark = pytest.mark.slow


def call(port, path, body=None, **headers):
    """Status and body of a request on a connection of its own."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def admin(port, path, **body):
    return call(port, path, body, Authorization=f"Bearer {TOKEN}")


def answers(port, many=60, **body):
    """Answers to the same question, on as many connections, eight at a time."""
    asked = {"features": {"group": "a"}, "k": 3} | body
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: call(port, "/v1/recommend", asked), range(many)))
    assert {status for status, _ in got} == {200}
    return [json.loads(text) for _, text in got]


def lines(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def who_answers(port, log):
    """The numbers of the workers that refused one of so many questions, each of which they log."""
    before = len(lines(log))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: call(port, "/v1/recommend", {}), range(60)))
    return {line["worker"] for line in lines(log)[before:] if line["message"] == "refused"}


def pids(log):
    """The newest process of each worker."""
    found = [(re.search(r"Started server process \[(\d+)\]", line["message"]), line) for line in lines(log)]
    return {line["worker"]: int(match[1]) for match, line in found if match}


def metric(port, name):
    return float(re.search(rf"^{re.escape(name)} (\S+)$", call(port, "/metrics")[1], re.MULTILINE)[1])


def until(true, seconds=180):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Releases whose indices keep their tables beside them: (folder, the older, the newer, which is current)."""
    folder = tmp_path_factory.mktemp("workers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "EXTERNAL_BYTES", 0)
        one, two = (made(folder / "releases", folder / name, items=ITEMS, prefix=name) for name in ("a", "b"))
    return folder / "releases", one, two


@pytest.fixture(scope="module")
def running(shelf):
    with service(shelf[0], WORKERS, TWO_TOWER_ADMIN_TOKEN=TOKEN) as (process, port, log):
        until(lambda: len(pids(log)) == WORKERS and who_answers(port, log) == set(range(WORKERS)))
        yield process, port, log


def memory_of(pid, what=""):
    """(Rss, Pss) in bytes of a process, or of the files mapped by it whose name has `what`."""
    sums, wanted = {"Rss:": 0, "Pss:": 0}, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *words = line.split()
        if not first.endswith(":"):
            wanted = what in line
        elif wanted and first in sums:
            sums[first] += 1024 * int(words[0])
    return sums["Rss:"], sums["Pss:"]


def test_the_index_is_in_memory_once_and_a_second_worker_takes_little(running, shelf):  # the first: one release is open
    process, port, log = running
    answers(port)
    for pid in pids(log).values():
        resident, proportional = memory_of(pid, "index.onnx.data")
        assert resident > 1e6 and proportional < 0.6 * resident
    together = sum(memory_of(pid)[1] for pid in (process.pid, *pids(log).values()))
    assert metric(port, "process_resident_memory_bytes") == pytest.approx(together, rel=0.2)
    with service(shelf[0]) as (alone, port, _):
        answers(port)
        (_, first) = memory_of(alone.pid)
    assert together - first < 0.4 * first, (together, first)


def test_all_workers_answer_and_count_together(running):
    process, port, _ = running
    counted = 'two_tower_requests_total{route="/v1/recommend",status="200"}'
    answers(port, 1)
    before = metric(port, counted)
    answers(port, 59)
    assert metric(port, counted) == before + 59
    assert metric(port, "two_tower_workers_restarted_total") == 0
    assert metric(port, "two_tower_in_flight") == 0
    assert metric(port, "process_open_fds") > len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
    for n in range(4):
        assert grpc_ready(port + 1, n)


def grpc_ready(port, n):
    """A gRPC call on a connection of its own, for channels of the same options share one."""
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}", [("own", n)]) as channel:
        stub = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel)
        return stub.ServerReady(pb.ServerReadyRequest(), timeout=10).ready


def test_what_is_activated_or_rolled_back_serves_in_all_workers_once_it_is_answered(running, shelf):
    _, port, _ = running
    _, one, two = shelf
    for path, body, release in (
        ("/admin/activate", {"release": one}, one),
        ("/admin/activate", {"release": two}, two),
        ("/admin/rollback", {}, one),
        ("/admin/activate", {"release": two}, two),
    ):
        assert admin(port, path, **body) == (200, json.dumps({"release": release}, separators=(",", ":")))
        assert {answer["release"] for answer in answers(port)} == {release}
    assert admin(port, "/admin/activate", release=f"{two[:-8]}00000000")[0] == 404
    assert {answer["release"] for answer in answers(port)} == {two}


def test_side_items_answer_in_all_workers_once_they_are_answered(running):
    _, port, _ = running
    for name in ("new", "newer"):
        assert call(port, "/v1/items", {"items": [{"item_id": name, "features": {"colour": "red"}}]})[0] == 200
        found = answers(port, filter={"colour": "red"}, k=3)
        assert all(name in {item["item_id"] for item in answer["items"]} for answer in found)
    assert metric(port, "two_tower_side_items") == 2
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/items/new", method="DELETE")
    urllib.request.urlopen(request, timeout=30).close()
    found = answers(port, filter={"colour": "red"}, k=3)
    assert all("new" not in {item["item_id"] for item in answer["items"]} for answer in found)
    deadline = time.monotonic() + 20  # the workers count at their next look at the side index
    while (side_items := metric(port, "two_tower_side_items")) != 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert side_items == 1


def test_a_killed_worker_loses_what_had_reached_it_at_most_and_is_replaced(running):
    _, port, log = running
    clients, failed, sent = 4, [], [0]
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            try:
                status, text = call(port, "/v1/recommend", {"features": {"group": "a"}, "k": 3})
                failed.extend([text] if status != 200 else [])
                sent[0] += 1
            except (OSError, http.client.HTTPException) as error:
                failed.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    before, dead = metric(port, 'two_tower_stage_seconds_count{stage="total"}'), pids(log)[0]
    os.kill(dead, signal.SIGKILL)
    until(lambda: pids(log)[0] != dead)
    until(lambda: who_answers(port, log) == set(range(WORKERS)))
    stop.set()
    for thread in threads:
        thread.join()
    # of each client what it had in hand, and what it may have sent to the port while the process was being taken down
    assert len(failed) <= 2 * clients, failed
    assert sent[0] > 50
    assert metric(port, "two_tower_workers_restarted_total") == 1
    assert metric(port, 'two_tower_stage_seconds_count{stage="total"}') > before, "what the dead one counted stays"
    (said,) = [line["message"] for line in lines(log) if "restarting it" in line["message"]]
    assert "worker 0 ended with signal 9 (SIGKILL)" in said


def test_sigterm_finishes_what_is_in_hand_and_ends_all(running):  # the last of this module: it ends the service
    process, port, log = running
    body = b'{"features": {"group": "a"}, "k": 1}'
    head = f"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(6)]
    for one in slow:
        one.sendall(head + body[:5])
    time.sleep(0.5)  # all of them are accepted
    process.send_signal(signal.SIGTERM)
    until(lambda: sum("Shutting down" in line["message"] for line in lines(log)) == WORKERS)
    for one in slow:
        one.sendall(body[5:])
        assert one.recv(15) == b"HTTP/1.1 200 OK"
        one.close()
    assert process.wait(20) == 0
    assert "Traceback" not in log.read_text()
    for pid in pids(log).values():
        assert not Path(f"/proc/{pid}").exists()


def supervised(tmp_path, work):
    """A parent whose workers run `work` (the body of a function of `member`): exit status, stderr, seconds."""
    code = f"""
import os, sys, time
from pathlib import Path
from serving.workers import supervisor
def work(member):
    {work}
began = time.monotonic()
try:
    supervisor.supervise(work, 2, Path(sys.argv[1]))
except supervisor.WorkersError as error:
    sys.exit(f"{{time.monotonic() - began:.1f}} {{error}}")
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_workers_that_cannot_start_are_an_error(tmp_path):
    ran = supervised(tmp_path, "sys.exit(3)")
    assert ran.returncode == 1 and "ended with exit status 3 before it answered a request" in ran.stderr


def test_the_last_worker_that_cannot_be_replaced_is_an_error(tmp_path):
    once = "mark = Path(sys.argv[1], str(member._number)); new = not mark.exists(); mark.touch()"
    ran = supervised(tmp_path, f"{once}; new and member.started(); time.sleep(0.2)")
    assert ran.returncode == 1 and "before it answered a request" in ran.stderr


def test_workers_end_with_their_parent_and_leave_nothing(shelf, tmp_path):
    with service(shelf[0], WORKERS, TMPDIR=str(tmp_path)) as (process, _, log):
        until(lambda: len(pids(log)) == WORKERS)
        workers = list(pids(log).values())
        process.kill()
        process.wait()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 20)
    assert not list(tmp_path.glob("two-tower-*"))
