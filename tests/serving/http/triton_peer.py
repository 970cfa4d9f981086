"""Speaks to a running service with Triton's client: `python triton_peer.py http|grpc PORT RELEASE`."""

import importlib
import sys

import numpy as np
import pytest


def arrays():
    """Two users for the user tower: datatype and values of each input."""
    return {
        "group": ("BYTES", np.array(["a", "b"], object)),
        "age": ("FP32", np.array([0, np.nan], np.float32)),
        "visits": ("INT64", np.array([1, 2])),
        "member": ("INT64", np.array([1, 0])),
        "joined": ("INT64", np.array([0, 0])),
        "event_time": ("INT64", np.array([9, 9])),
        "recent": ("BYTES", np.array([["i1", ""], ["", ""]], object)),
        "taste": ("FP32", np.array([[1, 0], [np.nan, np.nan]], np.float32)),
    }


def talk(triton, client, release):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("two_tower")
    metadata = client.get_model_metadata("user_tower")
    versions = metadata["versions"] if isinstance(metadata, dict) else metadata.versions
    assert list(versions) == [release], versions
    inputs = []
    for name, (datatype, array) in arrays().items():
        one = triton.InferInput(name, list(array.shape), datatype)
        one.set_data_from_numpy(array)
        inputs.append(one)
    assert client.infer("user_tower", inputs).as_numpy("embedding").tolist() == [[1, 0], [0, 1]]
    user = triton.InferInput("user_id", [1], "BYTES")
    user.set_data_from_numpy(np.array(["ann"], dtype=object))
    found = client.infer("two_tower", [user], outputs=[triton.InferRequestedOutput("item_id")]).as_numpy("item_id")
    assert found[0][:2].tolist() == [b"i2", b"i3"], found


def refusals(triton, client, protocol):
    http = protocol == "http"
    for call, status in (
        (lambda: client.infer("nothing", []), "404" if http else "NOT_FOUND"),
        (lambda: client.infer("user_tower", []), "422" if http else "INVALID_ARGUMENT"),
        (lambda: client.get_model_metadata("user_tower", "other"), "404" if http else "NOT_FOUND"),
        (lambda: client.unload_model("user_tower"), "404" if http else "UNIMPLEMENTED"),
    ):
        with pytest.raises(triton.InferenceServerException) as refused:
            call()
        assert status in refused.value.status()


if __name__ == "__main__":
    protocol, port, release = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    triton = importlib.import_module(f"tritonclient.{protocol}")
    client = triton.InferenceServerClient(f"127.0.0.1:{port + (protocol == 'grpc')}")
    talk(triton, client, release)
    refusals(triton, client, protocol)
    client.close()
