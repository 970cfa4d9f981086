"""The Open Inference Protocol, as KServe's own client and Triton's speak it, and as nobody should."""

import asyncio
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.http.triton_peer import arrays
from tests.serving.making import made
from tests.serving.running import service

INPUTS = {
    "group": ("BYTES", ["a", "b"]),
    "age": ("FP32", [0.0, None]),
    "visits": ("INT64", [1, None]),
    "member": ("INT64", [1, 0]),
    "joined": ("INT64", [0, 0]),
    "event_time": ("INT64", [9, 9]),
}
LISTS = {"recent": ("BYTES", [["i1", ""], ["", ""]]), "taste": ("FP32", [[1.0, 0.0], [None, None]])}


def tensors(**changed):
    flat = {n: {"name": n, "datatype": t, "shape": [2], "data": data} for n, (t, data) in INPUTS.items()}
    nested = {n: {"name": n, "datatype": t, "shape": [2, 2], "data": data} for n, (t, data) in LISTS.items()}
    every = flat | nested
    return {"inputs": [every[n] | changed.get(n, {}) for n in every if changed.get(n, {}) is not None]}


def infer(client, body, model="user_tower", **headers):
    return client.post(f"/v2/models/{model}/infer", json=body, headers=headers)


def test_a_tower_embeds_raw_feature_values(client, release):
    answer = infer(client, tensors() | {"id": "mine"}).json()
    (embedding,) = answer.pop("outputs")
    assert answer == {"id": "mine", "model_name": "user_tower", "model_version": release}
    assert embedding == {"name": "embedding", "datatype": "FP32", "shape": [2, 2], "data": [1.0, 0.0, 0.0, 1.0]}
    item = [
        {"name": "colour", "datatype": "BYTES", "shape": [1], "data": ["red"]},
        {"name": "price", "datatype": "FP32", "shape": [1], "data": [1]},
        {"name": "tags", "datatype": "BYTES", "shape": [1, 1], "data": [[""]]},
    ]
    assert infer(client, {"inputs": item}, "item_tower").json()["outputs"][0]["data"] == [1.0, 0.0]


def test_two_tower_answers_users_as_the_lean_route_does(with_store):
    users = {"name": "user_id", "datatype": "BYTES", "shape": [3], "data": ["ann", "nobody", "bob"]}
    answer = infer(with_store, {"inputs": [users], "parameters": {"k": 2}}, "two_tower").json()
    outputs = {one["name"]: one for one in answer["outputs"]}
    assert outputs["item_id"]["shape"] == [3, 2]
    assert outputs["item_id"]["data"] == ["i2", "i3", "i9", "i8", "i9", "i8"]
    assert outputs["fallback"]["data"] == ["", "popular", ""]
    chosen = {"inputs": [users], "outputs": [{"name": "fallback"}, {"name": "item_id"}]}
    named = [one["name"] for one in infer(with_store, chosen, "two_tower").json()["outputs"]]
    assert named == ["fallback", "item_id"], "only the requested outputs, in the requested order"
    everything = {"inputs": [users | {"shape": [1], "data": ["ann"]}], "parameters": {"k": 10}}
    assert infer(with_store, everything, "two_tower").json()["outputs"][0]["data"][-2:] == ["", ""]  # two are seen


def test_metadata_names_the_release_as_version(client, release):
    said = client.get("/v2/models/user_tower").json()
    assert said["versions"] == [release]
    assert {"name": "taste", "datatype": "FP32", "shape": [-1, 2]} in said["inputs"]
    assert client.get(f"/v2/models/user_tower/versions/{release}").json() == said
    assert client.get(f"/v2/models/user_tower/versions/{release}/ready").json()["ready"]
    assert client.post(f"/v2/models/user_tower/versions/{release}/infer", json=tensors()).status_code == 200
    assert client.get("/v2/models/user_tower/versions/other/ready").status_code == 404
    assert client.get("/v2").json()["name"] == "two-tower"
    assert client.post("/v2/repository/models/user_tower/unload").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "inputs"),
        ([], 400, "cannot be read"),
        ({"inputs": 5}, 400, "cannot be read"),
        ({"inputs": [5]}, 400, "cannot be read"),
        (tensors(age=None), 422, "Missing: age"),
        ({"inputs": tensors()["inputs"][:1] * 2}, 422, "Missing"),
        (tensors(age={"name": "agee"}), 422, "Did you mean 'age'"),
        (tensors(age={"datatype": "FP64"}), 422, "datatype 'FP64'"),
        (tensors(age={"datatype": "COMPLEX"}), 422, "datatype 'COMPLEX'"),
        (tensors(age={"shape": [2, 1]}), 422, "has the shape"),
        (tensors(age={"shape": [-1]}), 422, "has the shape"),
        (tensors(age={"shape": [2**62]}), 422, "has the shape"),
        (tensors(age={"shape": [1], "data": [1]}), 422, "rows"),
        (tensors(age={"data": [1]}), 422, "1 elements"),
        (tensors(age={"data": ["1", "2"]}), 422, "holds '1'"),
        (tensors(age={"data": [1e300, 0]}), 422, "not finite"),
        (tensors(visits={"data": [1.5, 2]}), 422, "holds 1.5"),
        (tensors(visits={"data": [True, 2]}), 422, "holds True"),
        (tensors(visits={"data": [2**64 - 1, 2]}), 400, "cannot be read"),
        (tensors(group={"data": [["a"], "b"]}), 422, "group"),
        (tensors(taste={"shape": [2, 3], "data": [0] * 6}), 422, "has the shape"),
        (tensors() | {"outputs": [{"name": "embeding"}]}, 422, "Did you mean 'embedding'"),
        (tensors() | {"outputs": "embedding"}, 400, "cannot be read"),
        (tensors() | {"parameters": [1]}, 400, "cannot be read"),
    ],
)
def test_bad_tensors_are_refused_by_name(client, body, status, says):
    answer = infer(client, body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert says in error["message"] + error["hint"], error


def test_binary_data_may_follow_the_json(client):
    texts = b"".join(struct.pack("<I", len(t)) + t for t in (b"a", b"b"))
    numbers = np.array([0, np.nan], np.float32).tobytes()
    binary = {"group": texts, "age": numbers}
    body = tensors(**{n: {"data": None, "parameters": {"binary_data_size": len(b)}} for n, b in binary.items()})
    for one in body["inputs"]:
        one.pop("data") if one["data"] is None else None
    body["parameters"] = {"binary_data_output": True}
    said = json.dumps(body).encode()
    header = {"Inference-Header-Content-Length": str(len(said))}
    url = "/v2/models/user_tower/infer"
    answer = client.post(url, content=said + texts + numbers, headers=header)
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert json.loads(answer.content[:length])["outputs"][0]["shape"] == [2, 2]
    assert np.frombuffer(answer.content[length:], np.float32).tolist() == [1, 0, 0, 1]
    for content, size in (
        (said + texts, len(said)), (said, len(said)), (said + texts, -1), (said, "x"), (said + b"\xff" * 18, len(said))
    ):  # fmt: skip
        torn = client.post(url, content=content, headers={"Inference-Header-Content-Length": str(size)})
        assert torn.status_code in (400, 422), torn.text


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
change = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from([*INPUTS, *LISTS]) | junk,
        "datatype": st.sampled_from(["BYTES", "INT64", "FP32", "FP16", "BOOL"]) | junk,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | junk,
        "data": st.lists(st.integers() | st.floats() | st.text(max_size=3) | st.none(), max_size=4) | junk,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-2, 20)}) | junk,
    },
)
bodies = st.builds(
    lambda changed, more: tensors(**changed) | more,
    st.dictionaries(st.sampled_from([*INPUTS, *LISTS]), st.none() | change, max_size=2),
    st.fixed_dictionaries(
        {},
        optional={
            "id": junk,
            "parameters": st.fixed_dictionaries({}, optional={"k": junk, "binary_data_output": junk}) | junk,
            "outputs": st.lists(st.fixed_dictionaries({"name": st.just("embedding") | junk}, optional={
                "parameters": st.fixed_dictionaries({}, optional={"binary_data": junk}) | junk})) | junk,
        },
    ),
)  # fmt: skip
MODELS = st.sampled_from(["user_tower", "item_tower", "two_tower"])


def never_a_fault(client, model, content, headers):
    answer = client.post(f"/v2/models/{model}/infer", content=content, headers=headers)
    assert answer.status_code in (200, 400, 422), (answer.text, content, headers)
    if "Inference-Header-Content-Length" not in answer.headers:
        body = json.loads(answer.content, parse_constant=pytest.fail)
        assert ("outputs" if answer.status_code == 200 else "error") in body


def examples(count):
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("count", [60, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_tensors_make_the_service_fail(client, count):
    @examples(count)
    @given(
        MODELS, bodies | junk, st.binary(max_size=30), st.none() | st.integers(-3, 3) | st.text("0123x ", max_size=3)
    )
    def check(model, body, tail, length):
        said = json.dumps(body).encode()
        header = {} if length is None else {"Inference-Header-Content-Length": str(length)}
        if isinstance(length, int):
            header["Inference-Header-Content-Length"] = str(len(said) + length)
        never_a_fault(client, model, said + (tail if header else b""), header)

    check()


@pytest.fixture(scope="module")
def running(tmp_path_factory, feast_repo):
    folder = tmp_path_factory.mktemp("served")
    release = made(folder / "releases", folder / "parts", feast_repo)
    with service(folder / "releases") as (_, port, _):
        yield port, release


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tritonclient(running, protocol):
    """In a process of its own: its gRPC messages and KServe's have the same names, which one process takes once."""
    port, release = running
    script = [sys.executable, str(Path(__file__).with_name("triton_peer.py")), protocol, str(port), release]
    ran = subprocess.run(script, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]


def test_kserves_own_client_over_rest_and_grpc(running):
    import kserve
    from kserve.protocol.infer_type import RequestedOutput

    port, release = running

    def request():
        inputs = []
        for name, (datatype, array) in arrays().items():
            one = kserve.InferInput(name, list(array.shape), datatype)
            one.set_data_from_numpy(array, binary_data=False)
            inputs.append(one)
        return kserve.InferRequest("user_tower", inputs)

    async def ask():
        rest = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
        base = f"http://127.0.0.1:{port}"
        assert await rest.is_server_ready(base) and await rest.is_model_ready(base, "user_tower")
        answer = await rest.infer(base, request(), model_name="user_tower")
        await rest.close()
        over_grpc = kserve.InferenceGRPCClient(f"127.0.0.1:{port + 1}")
        assert await over_grpc.is_server_ready() and await over_grpc.is_model_ready("user_tower")
        other = await over_grpc.infer(request())
        users = kserve.InferInput("user_id", [1], "BYTES")
        users.set_data_from_numpy(np.array(["ann"], dtype=object), binary_data=False)
        outputs = [RequestedOutput(name) for name in ("fallback", "item_id")]
        chosen = await over_grpc.infer(kserve.InferRequest("two_tower", [users], request_outputs=outputs))
        assert [one.name for one in chosen.outputs] == ["fallback", "item_id"]
        await over_grpc.close()
        return answer, other

    for answer in asyncio.run(ask()):
        assert answer.model_version in (release, None)  # its REST client drops the version
        assert answer.outputs[0].as_numpy().reshape(2, 2).tolist() == [[1, 0], [0, 1]]
