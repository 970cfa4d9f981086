from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest

from two_tower.http_json import NotAnApiError, call


class Echo(BaseHTTPRequestHandler):
    """Return the body and two headers of a request.

    /missing is 404, /text is not JSON, /page is a web page; /STATUS/PORT redirects to another server.
    """

    tokens: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.tokens.append(self.headers["Authorization"])
        _, status, port = self.path.split("/")
        self.send_response(int(status))
        self.send_header("Location", f"http://localhost:{port}/login?state=secret")
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        content = f'{{"sent": {body}, "type": "{self.headers["Content-Type"]}", "token": "{self.headers["X-Token"]}"}}'
        if self.path in ("/text", "/page"):
            content = "not JSON"
        if self.path[1:4].isdigit():
            self.do_GET()
            return
        self.send_response(404 if self.path == "/missing" else 200)
        if self.path in ("/page", "/json-as-page"):
            self.send_header("Content-Type", "text/html; charset=utf-8")
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


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_so_its_target_gets_no_token(method: str, status: int) -> None:
    Echo.tokens.clear()
    with server() as address, server() as other:
        port = other.rpartition(":")[2]
        url, target = f"{address}/{status}/{port}", f"http://localhost:{port}/login "
        with pytest.raises(NotAnApiError, match=rf"redirects to {target}\(HTTP {status}\), which is not followed"):
            call(method, url, {} if method == "POST" else None, headers={"Authorization": "Bearer secret"})
    assert Echo.tokens == ["Bearer secret"], "one request, at the first server"


def test_a_web_page_in_place_of_data_is_a_sentence() -> None:
    with server() as address, pytest.raises(NotAnApiError, match="answers with a web page, perhaps a login page"):
        call("POST", f"{address}/page", {})


def test_json_that_calls_itself_a_page_is_json() -> None:
    with server() as address:
        assert call("POST", f"{address}/json-as-page", 3).body["sent"] == 3


def test_without_a_server_the_call_fails() -> None:
    with server() as address:
        pass
    with pytest.raises(OSError, match="refused"):
        call("POST", address, {}, timeout=2)
