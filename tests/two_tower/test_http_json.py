from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from two_tower.http_json import call


class Echo(BaseHTTPRequestHandler):
    """Return the body and two headers of a request; /missing is 404, /text is not JSON."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        content = f'{{"sent": {body}, "type": "{self.headers["Content-Type"]}", "token": "{self.headers["X-Token"]}"}}'
        if self.path == "/text":
            content = "not JSON"
        self.send_response(404 if self.path == "/missing" else 200)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


def test_a_call_sends_json_with_the_headers_and_reads_json() -> None:
    with server() as address:
        response = call("POST", f"{address}/", {"k": [1, 2]}, headers={"X-Token": "t"})
    assert response.status == 200
    assert response.body == {"sent": {"k": [1, 2]}, "type": "application/json", "token": "t"}
    assert response.seconds > 0


def test_an_error_status_is_a_response_too() -> None:
    with server() as address:
        response = call("POST", f"{address}/missing", 3)
    assert (response.status, response.body["sent"]) == (404, 3)


def test_a_body_that_is_not_json_stays_text() -> None:
    with server() as address:
        assert call("POST", f"{address}/text", {}).body == "not JSON"


def test_without_a_server_the_call_fails() -> None:
    with server() as address:
        pass
    with pytest.raises(OSError, match="refused"):
        call("POST", address, {}, timeout=2)
