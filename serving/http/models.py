"""The models of the Open Inference Protocol on the loaded release: each tower, and both with the index."""

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from kserve import InferRequest, InferResponse
from kserve.errors import InferenceError
from kserve.model import InferenceModel
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from serving.engine.loaded_release import LoadedRelease
from serving.engine.tensors import Tensor, arrays, of_onnx, output, parameter
from serving.http import requests
from serving.observability.logs import request_id
from two_tower.errors import unknown
from two_tower.inputs import Array
from two_tower.recommender.errors import RequestError, invalid, malformed
from two_tower.recommender.response import Response
from two_tower.schema import EMBEDDING, MISSING_INT, Dtype, TowerName

TWO_TOWER = "two_tower"
MAX_USERS = 256  # of one request to two_tower
LEAST_SCORE = float(np.finfo(np.float32).min)  # the score of the padding where fewer than k items are left

# Exceptions of the SDK for a body that it cannot read.
UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError, struct.error,
    InferenceError,
)  # fmt: skip

GetLoaded = Callable[[], LoadedRelease]


class Model(InferenceModel):
    """A model: its metadata and its predictions, each on one release."""

    def __init__(self, name: str, get_loaded: GetLoaded) -> None:
        super().__init__(name)
        self._get_loaded = get_loaded
        self.ready = True

    def inputs(self, loaded: LoadedRelease) -> Sequence[Tensor]:
        """The inputs that the model takes."""
        raise NotImplementedError

    def outputs(self, loaded: LoadedRelease) -> Sequence[Tensor]:
        """The outputs that the model returns."""
        raise NotImplementedError

    async def predict(self, loaded: LoadedRelease, request: InferRequest) -> dict[str, Array]:
        """Compute the outputs. Raises RequestError."""
        raise NotImplementedError

    async def __call__(self, body: InferRequest, headers: Any = None, verb: Any = None) -> Any:  # noqa: ARG002
        loaded = self._get_loaded()
        try:
            return await self._answer(loaded, body), {}
        except UNREADABLE as error:
            raise error if isinstance(error, RequestError) else unreadable(error) from error

    async def _answer(self, loaded: LoadedRelease, body: InferRequest) -> InferResponse:
        names = [one.name for one in self.outputs(loaded)]
        requested = [one.name for one in body.request_outputs or ()]
        for name in requested:
            if name not in names or requested.count(name) > 1:
                raise invalid(str(unknown("output", str(name)[:100], names)), "Name each output once.")
        arrays_by_name = await self.predict(loaded, body)
        return InferResponse(
            response_id=str(body.id or request_id(None)),
            model_name=self.name,
            model_version=loaded.ranker.release,
            infer_outputs=[output(name, arrays_by_name[name], raw=bool(body.from_grpc)) for name in requested or names],
            use_binary_outputs=bool(body.use_binary_outputs),
            requested_outputs=body.request_outputs,
        )


class TowerModel(Model):
    """One tower: raw feature values in, embeddings out."""

    def __init__(self, tower: TowerName, get_loaded: GetLoaded) -> None:
        super().__init__(f"{tower}_tower", get_loaded)
        self._tower = tower

    def inputs(self, loaded: LoadedRelease) -> Sequence[Tensor]:
        return of_onnx(self._session(loaded).get_inputs())

    def outputs(self, loaded: LoadedRelease) -> Sequence[Tensor]:
        return of_onnx(self._session(loaded).get_outputs())

    async def predict(self, loaded: LoadedRelease, request: InferRequest) -> dict[str, Array]:
        return {EMBEDDING: await asyncio.to_thread(self._embed, loaded, request)}

    def _embed(self, loaded: LoadedRelease, request: InferRequest) -> Array:
        session = self._session(loaded)
        inputs = arrays(request.inputs, self.inputs(loaded))
        try:
            (embedding,) = session.run([EMBEDDING], inputs)
        except (Fail, InvalidArgument, RuntimeException) as error:
            raise invalid(
                f"The tower cannot take these inputs: {error!s:.200}.", "See the model's metadata."
            ) from error
        if not np.isfinite(embedding).all():
            raise invalid("An embedding is not finite.", "Check for numbers far out of their usual range.")
        return np.asarray(embedding)

    def _session(self, loaded: LoadedRelease) -> Any:
        return (loaded.ranker.user_tower if self._tower == "user" else loaded.ranker.item_tower).session


class TwoTowerModel(Model):
    """Users in, items out, as /v1/recommend returns them. Parameters: k (default 10), exclude_seen (default true).

    If fewer than k items are left, the list is padded with "" or the least int64, and with the least float32 as score.
    """

    def __init__(self, get_loaded: GetLoaded) -> None:
        super().__init__(TWO_TOWER, get_loaded)

    def inputs(self, loaded: LoadedRelease) -> Sequence[Tensor]:
        return [Tensor("user_id", _key_datatype(loaded.ranker.contract.user_key_dtype), (-1,))]

    def outputs(self, loaded: LoadedRelease) -> Sequence[Tensor]:
        item_id = Tensor("item_id", _key_datatype(loaded.ranker.contract.item_key_dtype), (-1, -1))
        return [item_id, Tensor("score", "FP32", (-1, -1)), Tensor("fallback", "BYTES", (-1,))]

    async def predict(self, loaded: LoadedRelease, request: InferRequest) -> dict[str, Array]:
        users = arrays(request.inputs, self.inputs(loaded))["user_id"].tolist()
        if len(users) > MAX_USERS:
            raise invalid(f"The request has {len(users)} users.", f"Send at most {MAX_USERS} at a time.")
        sent = {name: parameter(request.parameters, name) for name in ("k", "exclude_seen")}
        options = {name: value for name, value in sent.items() if value is not None}
        ranker = loaded.ranker
        bodies = [requests.read_recommend({"user_id": user, **options}, ranker.contract, ranker.size) for user in users]
        responses = await asyncio.gather(*(loaded.recommend(body.request) for body in bodies))
        return _columns(responses, bodies[0].request.k, text=ranker.contract.item_key_dtype == Dtype.STRING)


def _columns(responses: Sequence[Response], k: int, *, text: bool) -> dict[str, Array]:
    ids = np.full((len(responses), k), "" if text else MISSING_INT, dtype=object if text else np.int64)
    scores = np.full((len(responses), k), LEAST_SCORE, dtype=np.float32)
    for row, response in enumerate(responses):
        ids[row, : len(response.items)] = [item.item_id for item in response.items]
        scores[row, : len(response.items)] = [item.score for item in response.items]
    fallbacks = np.array([response.fallback or "" for response in responses], dtype=object)
    return {"item_id": ids, "score": scores, "fallback": fallbacks}


def _key_datatype(dtype: Dtype) -> str:
    return "INT64" if dtype == Dtype.INT64 else "BYTES"


def unreadable(error: Exception) -> RequestError:
    """400: the SDK cannot read the body."""
    reason = f"{type(error).__name__}: {error}"[:200]
    return malformed(f"The tensors cannot be read: {reason}.", "Send them as the Open Inference Protocol v2 specifies.")
