"""A stand-in for a Kubernetes API server with KServe: it stores and serves InferenceServices over HTTP.

Conditions and `observedGeneration` are those that the manager of KServe 0.20.0 was seen to report in Knative mode, on
kube-apiserver 1.36.2: `Stopped` is always False, as information, and `observedGeneration` counts changes of Knative's
service, so it says nothing about the InferenceService. Merge patches follow RFC 7386. The rest (a new revision when the
containers change, readiness after some requests, traffic by the canary percentage, a URL of the newest revision) was
not compared with a real cluster.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from two_tower.recommender.errors import RequestError
from two_tower.recommender.recommender import load_release

TOKEN = "a-valid-token"
LOOKS = 2  # requests for a new revision until it is ready


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


@dataclass
class Cluster:
    """never: releases whose pods do not start. answers: faulty behaviour by release. log: received calls.

    releases: folder or URL of the releases that the pods read.
    """

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    never: set[str] = field(default_factory=set)
    answers: dict[str, str] = field(default_factory=dict)
    log: list[tuple[str, str, Any]] = field(default_factory=list)
    failing: Counter[str] = field(default_factory=Counter)  # method → number of calls that first get a 503
    requests: Counter[str] = field(default_factory=Counter)  # number of requests by the release that responded
    address: str = ""
    releases: str = ""
    mode: str = "Serverless"

    def changes(self) -> list[str]:
        return [method for method, _, _ in self.log if method != "GET"]

    def put(self, path: str, new: dict[str, Any]) -> dict[str, Any]:
        old = self.objects.get(path)
        new["metadata"]["generation"] = old["metadata"]["generation"] + (old["spec"] != new["spec"]) if old else 1
        before = old["spec"]["predictor"]["containers"] if old else None
        status = old["status"] if old else {"revisions": [], "rolled_out": 0}
        if new["spec"]["predictor"]["containers"] != before:
            status["revisions"].append({"containers": new["spec"]["predictor"]["containers"], "looks": 0})
        new["status"] = status
        self.objects[path] = new
        return self.seen(path)

    def seen(self, path: str) -> dict[str, Any]:
        """Return the object with its current status."""
        stored = self.objects[path]
        revisions, name = stored["status"]["revisions"], stored["metadata"]["name"]
        newest = revisions[-1]
        newest["looks"] += 1
        ready = newest["looks"] > LOOKS and pinned(newest) not in self.never
        canary = stored["spec"]["predictor"].get("canaryTrafficPercent")
        if ready and canary is None:
            stored["status"]["rolled_out"] = len(revisions)
        rolled_out = stored["status"]["rolled_out"]
        share = (100 if canary is None or not rolled_out else canary) if ready else 0
        predictor = {
            "latestCreatedRevision": f"{name}-{len(revisions):05d}",
            "traffic": [{"tag": "latest", "percent": share, "url": f"{self.address}/{len(revisions)}{path}"}],
        }
        if ready or len(revisions) > 1:
            predictor["latestReadyRevision"] = f"{name}-{len(revisions) - (not ready):05d}"
        conditions = [{"type": "Ready", "status": "True" if ready else "Unknown"}]
        if pinned(newest) in self.never:
            conditions = [
                {"type": "Ready", "status": "False", "reason": "RevisionFailed", "message": "ImagePullBackOff"}
            ]
        status = {
            "observedGeneration": 1,
            "url": f"{self.address}/{rolled_out or len(revisions)}{path}",
            "conditions": [*conditions, {"type": "Stopped", "status": "False", "severity": "Info"}],
            "deploymentMode": self.mode,
            "components": {"predictor": predictor},
        }
        return {**stored, "status": status}

    def serving(self) -> tuple[str, int]:
        """Return the release of the newest revision of the only service, and its traffic percentage."""
        (path,) = self.objects
        stored = self.objects[path]
        return pinned(stored["status"]["revisions"][-1]), self.seen(path)["status"]["components"]["predictor"][
            "traffic"
        ][0]["percent"]

    def recommend(self, path: str, request: dict[str, Any]) -> tuple[int, Any]:
        """Respond as the revision whose number is the first part of the path."""
        number, _, rest = path.strip("/").partition("/")
        stored = self.objects["/" + rest.removesuffix("/v1/recommend")]
        release = pinned(stored["status"]["revisions"][int(number) - 1])
        self.requests[release] += 1
        manner = self.answers.get(release, "")
        if manner == "fails":
            return 500, {"error": {"code": "fault", "message": "broken", "hint": ""}}
        options = {name: value for name, value in request.items() if name not in ("user_id", "features")}
        try:
            body = load_release(self.releases, release).recommend(
                request.get("user_id"), features=request.get("features"), **options
            )
        except RequestError as error:
            return error.status, error.body()
        response = body.to_dict()
        if manner == "old":
            response["release"] = "another"
        if manner == "no store":
            response["fallback"] = "store"
        if manner == "wrong items":
            response["items"] = response["items"][::-1]
        return 200, response


def pinned(revision: dict[str, Any]) -> str:
    return next((e["value"] for e in revision["containers"][0].get("env", []) if e["name"] == "TWO_TOWER_RELEASE"), "")


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
            return self.act(path, body)

        def act(self, path: str, body: Any) -> None:
            if self.command == "POST":
                path = f"{path}/{body['metadata']['name']}"
                return self.answer(201, state.put(path, {**body, "metadata": dict(body["metadata"])}))
            if path not in state.objects:
                return self.answer(404, {"message": f"{path} not found"})
            if self.command == "PATCH":
                assert self.headers["Content-Type"] == "application/merge-patch+json"
                stored = state.objects[path]
                changed = merged({k: v for k, v in stored.items() if k != "status"}, body)
                return self.answer(200, state.put(path, changed))
            if self.command == "DELETE":
                return self.answer(200, state.objects.pop(path))
            return self.answer(200, state.seen(path))

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - http.server's names

    with listening(Api) as address:
        state.address = address
        yield state
