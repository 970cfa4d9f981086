"""A stand-in for the Kubeflow Pipelines API: it stores what is submitted, and plays a run's states in turn."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "a-valid-token"
API = "/apis/v2beta1"


@dataclass
class Pipelines:
    """states: of the run, a mapping of step to state for each look; the last one stays. logs: by step."""

    states: list[dict[str, str]] = field(default_factory=list)
    end: str = "SUCCEEDED"
    logs: dict[str, str] = field(default_factory=dict)
    token: str = ""  # asked for, where not empty
    expires_after: int = 10**9  # requests
    page: str = ""  # answered to everything, where not empty
    created: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    requests: int = 0
    looks: int = 0
    address: str = ""

    def run(self) -> dict[str, Any]:
        look = min(self.looks, len(self.states) - 1)
        self.looks += 1
        steps = self.states[look] if self.states else {}
        details = [
            {
                "display_name": name,
                "state": state,
                "task_id": name,
                "pod_name": f"pod-{name}",
                "create_time": f"2026-01-01T00:00:{n:02d}Z",
            }
            for n, (name, state) in enumerate(steps.items())
        ]
        state = self.end if look == len(self.states) - 1 and self.end else "RUNNING"
        return {"run_id": "run-1", "state": state, "run_details": {"task_details": details}}


@contextmanager
def pipelines(**given: Any) -> Iterator[Pipelines]:
    state = Pipelines(**given)

    class Api(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if self.refused():
                return
            if path == f"{API}/healthz":
                self.answer({"multi_user": False})
            elif path == f"{API}/experiments":
                self.answer({"experiments": [b for kind, b in state.created if kind == "experiments"]})
            elif path == f"{API}/runs/run-1":
                self.answer(state.run())
            elif path.startswith("/apis/v1alpha1/runs/run-1/nodes/pod-") and path.endswith("/log"):
                self.answer(state.logs.get(path.removesuffix("/log").rpartition("pod-")[2], ""), kind="text/plain")
            else:
                self.answer({"error": "not found"}, 404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.refused():
                return
            kind = self.path.partition("?")[0].rpartition("/")[2]
            key = {"experiments": "experiment_id", "runs": "run_id", "recurringruns": "recurring_run_id"}[kind]
            state.created.append((kind, {**body, key: f"{kind.removesuffix('s').removeprefix('recurring')}-1"}))
            self.answer(state.created[-1][1])

        def refused(self) -> bool:
            state.requests += 1
            if state.page:
                self.answer(state.page, kind="text/html")
            elif state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
                self.answer({"error": "Request header error: there is no user identity header."}, 401)
            elif state.requests > state.expires_after:
                self.answer({"error": "token is expired"}, 401)
            else:
                return False
            return True

        def answer(self, body: Any, status: int = 200, kind: str = "application/json") -> None:
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    state.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
