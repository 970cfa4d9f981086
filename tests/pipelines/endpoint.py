"""A stand-in for the API of Kubeflow Pipelines 2.17.0 with Argo 4.0.5: it stores what is submitted, and replays a run.

The answers of a run and the logs are in recorded/: runs.json.gz has the answers of GET /apis/v2beta1/runs/ID by
scenario and state, recorded at a real installation, without the compiled pipeline. The order of the tasks is shuffled,
and their ids are replaced. Logs are given by Argo's node id, for which the server answers 200 whatever it has; the user
interface gives them by the name of the pod (read in frontend/server/handlers/pod-logs.ts of kubeflow/pipelines at
0029bf50, not run).
"""

import gzip
import json
import random
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

TOKEN = "a-valid-token"
API = "/apis/v2beta1"
RECORDED = Path(__file__).with_name("recorded")
NO_LOG = (RECORDED / "log_without_archive.json").read_text()
HELD = (RECORDED / "log_held_gate_by_node_id.txt").read_text()
BAD_INPUT = (RECORDED / "log_step_failed_prepare.txt").read_text()


@cache
def recorded() -> dict[str, dict[str, Any]]:
    """All recorded answers of a run, by SCENARIO_NN_STATE."""
    return json.loads(gzip.decompress((RECORDED / "runs.json.gz").read_bytes()))


def scenario(name: str) -> list[dict[str, Any]]:
    """The answers of one run in order of time."""
    return [run for key, run in sorted(recorded().items()) if re.fullmatch(rf"{name}_\d\d_\w+", key)]


def shuffled(run: dict[str, Any], seed: int) -> dict[str, Any]:
    """The same answer with its tasks in another order, and with other ids."""
    draw = random.Random(seed)
    run = json.loads(json.dumps(run))
    for task in (run.get("run_details") or {}).get("task_details") or []:
        task["task_id"] = f"{seed}-{task['task_id']}"
    draw.shuffle((run.get("run_details") or {}).get("task_details") or [])
    return run


@dataclass
class Pipelines:
    """A stand-in server.

    runs: answers to each look at the run; the last one stays. An int is an HTTP status without a run, None no answer.
    log: what the pod `node` (any, if empty) wrote; empty if there is no log. by_ui: only the user interface has it.
    """

    runs: Sequence[dict[str, Any] | int | None] = ()
    log: str = ""
    node: str = ""
    by_ui: bool = False
    token: str = ""  # expected, unless empty
    expires_after: int = 10**9  # requests
    page: str = ""  # answer to everything, unless empty
    forbidden: str = ""  # message of the answer to everything but the health check, unless empty
    forbidden_status: int = 403
    multi_user: bool = False
    version: str = "2.17.0"
    event: str = ""  # warning of Kubernetes about each pod, unless empty
    moved_to: str = ""  # address to which requests are redirected, unless empty
    moves_after: int = 0  # requests
    created: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    requests: int = 0
    looks: int = 0
    address: str = ""

    def run(self) -> dict[str, Any] | int | None:
        run = self.runs[min(self.looks, len(self.runs) - 1)]
        self.looks += 1
        return run


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
                self.answer({"tag_name": state.version, "multi_user": state.multi_user, "pipeline_store": "database"})
            elif path == f"{API}/experiments":
                self.answer({"experiments": [b for kind, b in state.created if kind == "experiments"]})
            elif path.startswith(f"{API}/runs/"):
                run = state.run()
                if run is None:
                    self.close_connection = True
                elif isinstance(run, int):
                    self.answer({"code": 5, "message": "Failed to get a run"}, run)
                else:
                    self.answer(run)
            elif path.startswith("/apis/v1alpha1/runs/") and path.endswith("/log"):
                known = path.split("/")[-2] == (state.node or path.split("/")[-2])
                self.answer(state.log if state.log and known and not state.by_ui else NO_LOG, kind="text/plain")
            elif path == "/k8s/pod/events" and state.event:
                (pod,) = parse_qs(self.path.partition("?")[2])["podname"]
                assert "-system-container-impl-" in pod
                events = [{"type": "Normal", "message": "x", "lastTimestamp": "9"}]
                events += [
                    {"type": "Warning", "message": m, "lastTimestamp": t} for m, t in (("old", "1"), (state.event, "2"))
                ]
                self.answer({"kind": "EventList", "items": events}, kind="text/html")
            elif path == "/k8s/pod/logs" and state.by_ui:
                (pod,) = parse_qs(self.path.partition("?")[2])["podname"]
                found = "-system-container-impl-" in pod
                self.answer(state.log if found else "pod not found", 200 if found else 404, kind="text/plain")
            else:
                self.answer({"error": "not found"}, 404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
            if self.refused():
                return
            kind = self.path.partition("?")[0].rpartition("/")[2]
            if kind.endswith(":terminate"):
                state.stopped.append(kind.removesuffix(":terminate"))
                self.answer({})
                return
            key = {"experiments": "experiment_id", "runs": "run_id", "recurringruns": "recurring_run_id"}[kind]
            state.created.append((kind, {**body, key: f"{kind.removesuffix('s').removeprefix('recurring')}-1"}))
            self.answer(state.created[-1][1])

        def refused(self) -> bool:
            state.requests += 1
            if state.moved_to and state.requests > state.moves_after:
                self.send_response(302)
                self.send_header("Location", f"{state.moved_to}/login?state=secret")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif state.page:
                self.answer(state.page, kind="text/html")
            elif state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
                self.answer({"error": "Request header error: there is no user identity header."}, 401)
            elif state.forbidden and not self.path.endswith("/healthz"):
                self.answer({"error": state.forbidden, "code": 7, "message": state.forbidden}, state.forbidden_status)
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
