"""A client of the service over gRPC, by the Open Inference Protocol."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from two_tower.schema import Dtype

BATCH = 32  # users of one request
TIMEOUT = 10.0  # seconds per request
MODEL = "two_tower"


def recommend(address: str, users: Sequence[str | int], k: int, key: Dtype) -> list[dict[str, Any]]:
    """Ask the model `two_tower` for the items of users.

    Args:
        address: Address of the server, such as localhost:8081.
        users: User keys.
        k: Number of items per user.
        key: Dtype of the user key, STRING or INT64.

    Returns:
        A body per user, as that of /v1/recommend.

    Raises:
        OSError: If the server does not respond, or refuses the request.
    """
    import grpc
    from kserve import InferResponse  # takes seconds to import
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    bodies: list[dict[str, Any]] = []
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = GRPCInferenceServiceStub(channel)
        for start in range(0, len(users), BATCH):
            batch = users[start : start + BATCH]
            request = pb.ModelInferRequest(model_name=MODEL, inputs=[_tensor(pb, batch, key)])
            request.parameters["k"].int64_param = k
            try:
                response = stub.ModelInfer(request, timeout=TIMEOUT)
            except grpc.RpcError as error:
                raise OSError(f"gRPC {error.code().name}: {error.details()}") from error
            bodies += _bodies(InferResponse.from_grpc(response), response.model_version)
    return bodies


def _tensor(pb: Any, users: Sequence[str | int], key: Dtype) -> Any:
    if key == Dtype.INT64:
        contents, datatype = pb.InferTensorContents(int64_contents=users), "INT64"
    else:
        contents, datatype = pb.InferTensorContents(bytes_contents=[str(user).encode() for user in users]), "BYTES"
    return pb.ModelInferRequest.InferInputTensor(
        name="user_id", datatype=datatype, shape=[len(users)], contents=contents
    )


def _bodies(response: Any, release: str) -> list[dict[str, Any]]:
    """The rows of the tensors; the padding of a list has the least float32 as score."""
    outputs = {one.name: one.as_numpy() for one in response.outputs}
    least = float(np.finfo(np.float32).min)
    bodies = []
    for ids, scores, fallback in zip(outputs["item_id"], outputs["score"], outputs["fallback"], strict=True):
        pairs = zip(map(_text, ids.tolist()), scores.tolist(), strict=True)
        items = [{"item_id": item, "score": score} for item, score in pairs if score > least]
        bodies.append({"items": items, "release": release, "fallback": _text(fallback) or None})
    return bodies


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
