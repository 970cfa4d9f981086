"""Requests as clients of the Open Inference Protocol and proxies send them."""

import gzip
import http.client
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import world
from benchmarks.inputs.kinds import RUN, Kind, Member
from benchmarks.processes import HOST, free_port, service

USER = "r001"
INFER = "/v2/models/two_tower/infer"
RECOMMEND = {"user_id": USER, "k": 3}
TENSORS: dict[str, Any] = {
    "inputs": [{"name": "user_id", "datatype": "BYTES", "shape": [1], "data": [USER]}],
    "parameters": {"k": 3},
}

Response = tuple[int, dict[str, Any]]
Ask = Callable[[int], list[str]]


def served(*asks: Ask) -> Callable[[Path], list[str]]:
    """Return a check that starts the service and asks it; each function of the port returns faults."""

    def check(folder: Path) -> list[str]:
        port = free_port()
        with service(folder / "out" / "releases", port, folder / "service.log"):
            return [fault for ask in asks for fault in ask(port)]

    return check


def post(port: int, path: str, body: bytes, encoding: str = "") -> Response:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    headers = {"Content-Type": "application/json"} | ({"Content-Encoding": encoding} if encoding else {})
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def outputs_over_rest(*names: str) -> Ask:
    def ask(port: int) -> list[str]:
        body = {**TENSORS, "outputs": [{"name": name} for name in names]}
        _, response = post(port, INFER, json.dumps(body).encode())
        return _unequal("outputs over REST", [one["name"] for one in response.get("outputs", [])], names)

    return ask


def outputs_over_grpc(*names: str) -> Ask:
    def ask(port: int) -> list[str]:
        import tritonclient.grpc as triton  # its messages have the names of KServe's, which a process can load once

        user = triton.InferInput("user_id", [1], "BYTES")
        user.set_data_from_numpy(np.array([USER.encode()], dtype=object))
        requested = [triton.InferRequestedOutput(name) for name in names]
        with triton.InferenceServerClient(f"{HOST}:{port + 1}") as client:
            result = client.infer("two_tower", [user], outputs=requested, parameters={"k": 3})
        return _unequal("outputs over gRPC", [one.name for one in result.get_response().outputs], names)

    return ask


def compressed(encoding: str, compress: Callable[[bytes], bytes]) -> Ask:
    """Return a request whose compressed body must give the response of the plain body."""

    def ask(port: int) -> list[str]:
        faults = []
        for path, body in (("/v1/recommend", RECOMMEND), (INFER, TENSORS)):
            plain = json.dumps(body).encode()
            expected, got = post(port, path, plain), post(port, path, compress(plain), encoding)
            faults += _unequal(f"{encoding} to {path}", _stable(got), _stable(expected))
        return faults

    return ask


def other_encoding(port: int) -> list[str]:
    status, response = post(port, "/v1/recommend", b"compressed", "br")
    return [] if status == 415 and "br" in json.dumps(response) else [f"br gives {status} {response}"]


def _stable(response: Response) -> Response:
    return response[0], {name: value for name, value in response[1].items() if name != "id"}


def _unequal(name: str, got: Any, expected: Any) -> list[str]:
    same = list(got) == list(expected) if isinstance(expected, Sequence) else got == expected
    return [] if same else [f"{name}: {got!r:.120} and not {expected!r:.120}"]


def member(name: str, *asks: Ask) -> Member:
    return Member(name, world.repository, (RUN,), check=served(*asks))


OUTPUTS = Kind(
    "listed outputs",
    "The response has the outputs that the request lists, in that order, over REST and gRPC.",
    (
        member("one output", outputs_over_rest("score"), outputs_over_grpc("score")),
        member(
            "two outputs in another order",
            outputs_over_rest("score", "item_id"),
            outputs_over_grpc("score", "item_id"),
        ),
    ),
)

BODIES = Kind(
    "compressed request bodies",
    "Decompressed within the limit of the body, or status 415 with the name of the encoding.",
    (
        member("gzip", compressed("gzip", gzip.compress)),
        member("deflate", compressed("deflate", zlib.compress)),
        member("an encoding that is not known", other_encoding),
    ),
)

KINDS = (OUTPUTS, BODIES)
