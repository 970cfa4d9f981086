"""What a client may do before its request is admitted."""

import json
import socket
import threading
import time
from contextlib import ExitStack, closing, contextmanager

import pytest
import uvicorn

from serving.http import middleware, protocol
from serving.http.web import create_app

BODY = b'{"features": {"group": "a"}, "k": 1}'
HEAD = b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(BODY)
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def served(releases, connections=20):
    """Yield the port of the service, in a thread of this process, when it is ready."""
    server = uvicorn.Server(protocol.config(create_app(str(releases), local=True), 1, connections))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        port = listening.getsockname()[1]
        try:
            until = time.monotonic() + 120
            while (
                reply(port, b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[0] != 200
            ):
                assert time.monotonic() < until
                time.sleep(0.05)
            yield port
        finally:
            server.should_exit = True
            thread.join()


def reply(port, *parts, pause=0.0):
    """Status, headers and body of the response to bytes that are sent in parts; (0, …) if there is none."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        except OSError:  # it is closed; the response may lie there
            pass
        return response(connection)


def response(connection):
    received = b""
    while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < length(received):
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            part = b""
        if not part:
            break
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, head.decode().lower(), body


def length(received):
    return int(received.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    from tests.serving.making import made

    folder = tmp_path_factory.mktemp("protocol")
    made(folder / "releases", folder / "parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "WHOLE_WITHIN", 1.0)
        patch.setattr(protocol, "IDLE_WITHIN", 1)
        patch.setattr(middleware, "BODY_WITHIN", 0.5)
        with served(folder / "releases") as port:
            yield port


@pytest.mark.parametrize("cut", range(0, len(HEAD) + len(BODY), 7))
def test_a_request_in_parts_is_answered(port, cut):
    whole = HEAD + b"\r\n" + BODY
    status, _, body = reply(port, whole[:cut], whole[cut:], pause=0.01)
    assert status == 200 and json.loads(body)["items"]


@pytest.mark.parametrize("size", [60, 4000])
def test_many_headers_are_refused_beyond_32_kib(port, size):
    line = b"x-%05d: " + b"v" * size + b"\r\n"
    few, many = (b"".join(line % n for n in range(total // (size + 11))) for total in (30_000, 40_000))
    assert reply(port, HEAD + few + b"\r\n" + BODY)[0] == 200
    status, head, body = reply(port, HEAD + many + b"\r\n" + BODY)
    assert status == 431 and json.loads(body)["error"]["code"] == "too_large" and "connection: close" in head


@pytest.mark.parametrize(
    "start",
    [HEAD + b"x: ", b"GET /", b"GET / HTTP/1.1\r\n" + b"x", HEAD.replace(b"Content", b"X") + b"x: "],
    ids=["header", "path", "name", "value"],
)
def test_a_head_without_an_end_is_cut_off(port, start):
    assert reply(port, start, *[b"v" * 10_000] * 400)[0] in (431, 400)


def test_chunk_extensions_and_trailers_without_an_end_are_cut_off(port):
    chunked = HEAD.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked") + b"\r\n"
    whole = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
    assert reply(port, chunked + whole + b"\r\n")[0] == 200
    for start in (b"1;x=", whole + b"trailer: "):
        assert is_closed(port, [chunked + start, *[b"v" * 10_000] * 1000])


def is_closed(port, parts, pause=0.0):
    """Whether the service closes the connection before all parts are sent."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        except OSError:
            return True
    return False


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", HEAD, HEAD + b"\r\n{", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"],
)
def test_a_request_that_is_never_whole_ends(port, sent):
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as connection:
        connection.sendall(sent)
        began = time.monotonic()
        while connection.recv(65536):
            pass
        assert time.monotonic() - began < 10


def test_a_client_that_sends_a_byte_now_and_then_ends(port):
    assert is_closed(port, [bytes([byte]) for byte in HEAD * 5], pause=0.05)


def test_a_connection_is_kept_for_the_next_request(port):
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as connection:
        for _ in range(3):
            connection.sendall(HEAD + b"\r\n" + BODY)
            assert response(connection)[0] == 200
            time.sleep(0.4)  # together longer than a request may take
        connection.sendall((HEAD + b"\r\n" + BODY) * 3)  # pipelined
        assert response(connection)[0] == 200


def test_silent_connections_keep_nobody_out(port):
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=30)))
            assert reply(port, LIVE)[0] == 200


def test_connections_with_requests_in_hand_are_not_closed_for_others(port):
    with ExitStack() as stack:
        busy = [
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=30))) for _ in range(20)
        ]
        for one in busy:
            one.sendall(HEAD + b"\r\n" + BODY[:-1])
        time.sleep(0.2)
        status, head, body = reply(port, LIVE)
        assert (status, json.loads(body)["error"]["code"]) == (503, "overloaded") and "retry-after: 1" in head
        for one in busy:
            one.sendall(BODY[-1:])
        assert {response(one)[0] for one in busy} <= {200, 400}


def test_a_web_socket_is_not_opened(port):
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"
    assert reply(port, LIVE[:-2] + upgrade)[0] in (200, 400, 403)


def test_what_is_not_http_is_refused_as_json(port):
    status, _, body = reply(port, b"\x16\x03\x01\r\n\r\n")
    assert status == 400 and set(json.loads(body)["error"]) == {"code", "message", "hint"}


def test_the_bodies_in_hand_are_bounded(port, monkeypatch):
    monkeypatch.setattr(middleware, "MAX_BODIES", 1 << 20)
    monkeypatch.setattr(middleware, "BODY_WITHIN", 10.0)
    head = b"POST /v2/models/two_tower/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n"
    with ExitStack() as stack:
        slow = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=30)))
        slow.sendall(head + b"x" * 700_000)
        time.sleep(0.3)
        status, _, body = reply(port, head, b"x" * 700_000)
        assert (status, json.loads(body)["error"]["code"]) == (503, "overloaded")
        assert reply(port, HEAD + b"\r\n" + BODY)[0] == 200, "small requests are answered meanwhile"
    time.sleep(0.2)
    assert reply(port, head, b"x" * 700_000, b"x" * 3_300_000)[0] == 503, "larger than all bodies may be"
    monkeypatch.undo()
    assert reply(port, head, b"x" * 4_000_000)[0] == 400, "what was held is given back"
