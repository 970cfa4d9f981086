"""A stand-in for a Kubernetes API server with KServe, over HTTP; `cluster_state` holds its objects.

Calls are those that were seen on kube-apiserver 1.36.2: a merge patch follows RFC 7386, `?dryRun=All` answers with the
object as the webhooks changed it. The proxy of a Service answers for its pods. RBAC is not played.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.two_tower.cluster_state import Cluster, pinned
from tests.two_tower.kserve_controller import RefusedError

__all__ = ["TOKEN", "Cluster", "Handler", "cluster", "listening", "pinned"]

TOKEN = "a-valid-token"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")

    def answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def listening(handler: type[Handler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@contextmanager
def cluster() -> Iterator[Cluster]:
    state = Cluster()

    class Api(Handler):
        def handle_any(self) -> None:
            body, path = self.body(), self.path
            if path.endswith("/v1/recommend"):
                return self.answer(*state.recommend(path, body))
            state.log.append((self.command, path, body))
            if state.failing[self.command] > 0:
                state.failing[self.command] -= 1
                return self.answer(503, {"message": "the server is restarting"})
            if self.headers.get("Authorization") not in (None, f"Bearer {TOKEN}"):
                return self.answer(401, {"message": "Unauthorized"})
            if "/namespaces/forbidden/" in path:
                return self.answer(403, {"message": "inferenceservices is forbidden"})
            if "/namespaces/absent/" in path:
                return self.answer(404, {"message": "namespaces absent not found"})
            try:
                return self.act(path, body)
            except RefusedError as error:
                return self.answer(403, {"message": str(error)})

        def act(self, path: str, body: Any) -> None:
            if self.command == "POST":
                collection, _, query = path.partition("?")
                path, new = f"{collection}/{body['metadata']['name']}", json.loads(json.dumps(body))
                if path in state.objects:
                    return self.answer(409, {"message": f"{path} already exists"})
                if query == "dryRun=All":
                    state.kserve.admit(new, None)
                    return self.answer(201, new)
                created = state.put(path, new)
                if state.lost:
                    state.lost -= 1
                    return self.answer(504, {"message": "the request timed out"})
                return self.answer(201, created)
            stored = state.read(path)
            if stored is None:
                return self.answer(404, {"message": f"{path} not found"})
            if self.command == "PATCH":
                assert self.headers["Content-Type"] == "application/merge-patch+json"
                changed = merged({k: v for k, v in stored.items() if k != "status"}, body)
                return self.answer(200, state.put(path, changed))
            if self.command == "DELETE":
                return self.answer(200, state.delete(path))
            return self.answer(200, stored)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - http.server's names

    with listening(Api) as address:
        state.address = address
        yield state
