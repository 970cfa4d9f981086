"""The models of the Open Inference Protocol: each tower, and both with the index, on whatever release serves."""

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
LEAST_SCORE = float(np.finfo(np.float32).min)  # beside the places of an answer that has fewer than k items

# What the SDK raises of a body that it cannot read.
UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError, struct.error,
    InferenceError,
)  # fmt: skip

Current = Callable[[], LoadedRelease]


class Model(InferenceModel):
    """What a model says of itself and answers, all on one release."""

    def __init__(self, name: str, served: Current) -> None:
        super().__init__(name)
        self._served = served
        self.ready = True

    def inputs(self, served: LoadedRelease) -> Sequence[Tensor]:
        raise NotImplementedError

    def outputs(self, served: LoadedRelease) -> Sequence[Tensor]:
        raise NotImplementedError

    async def predict(self, served: LoadedRelease, request: InferRequest) -> dict[str, Array]:
        raise NotImplementedError

    async def __call__(self, body: InferRequest, headers: Any = None, verb: Any = None) -> Any:  # noqa: ARG002
        served = self._served()
        try:
            return await self._answer(served, body), {}
        except UNREADABLE as error:
            raise error if isinstance(error, RequestError) else unreadable(error) from error

    async def _answer(self, served: LoadedRelease, body: InferRequest) -> InferResponse:
        names = [one.name for one in self.outputs(served)]
        wanted = [one.name for one in body.request_outputs or ()]
        for name in wanted:
            if name not in names or wanted.count(name) > 1:
                raise invalid(str(unknown("output", str(name)[:100], names)), "Name each output once.")
        found = await self.predict(served, body)
        return InferResponse(
            response_id=str(body.id or request_id(None)),
            model_name=self.name,
            model_version=served.ranker.release,
            infer_outputs=[output(name, found[name], raw=bool(body.from_grpc)) for name in names],
            use_binary_outputs=bool(body.use_binary_outputs),
            requested_outputs=body.request_outputs,
        )


class TowerModel(Model):
    """One tower: raw feature values in, embeddings out."""

    def __init__(self, tower: TowerName, served: Current) -> None:
        super().__init__(f"{tower}_tower", served)
        self._tower = tower

    def inputs(self, served: LoadedRelease) -> Sequence[Tensor]:
        return of_onnx(self._session(served).get_inputs())

    def outputs(self, served: LoadedRelease) -> Sequence[Tensor]:
        return of_onnx(self._session(served).get_outputs())

    async def predict(self, served: LoadedRelease, request: InferRequest) -> dict[str, Array]:
        return {EMBEDDING: await asyncio.to_thread(self._embed, served, request)}

    def _embed(self, served: LoadedRelease, request: InferRequest) -> Array:
        session = self._session(served)
        inputs = arrays(request.inputs, self.inputs(served))
        try:
            (embedding,) = session.run([EMBEDDING], inputs)
        except (Fail, InvalidArgument, RuntimeException) as error:
            raise invalid(
                f"The tower cannot take these inputs: {error!s:.200}.", "See the model's metadata."
            ) from error
        if not np.isfinite(embedding).all():
            raise invalid("An embedding is not finite.", "Check for numbers far out of their usual range.")
        return np.asarray(embedding)

    def _session(self, served: LoadedRelease) -> Any:
        return (served.ranker.user_tower if self._tower == "user" else served.ranker.item_tower).session


class TwoTowerModel(Model):
    """Users in, items out, as /v1/recommend has them. Parameters: k (10), exclude_seen (true).

    Where fewer than k items are left, the last places hold "" or the least int64, and the least float32 as score.
    """

    def __init__(self, served: Current) -> None:
        super().__init__(TWO_TOWER, served)

    def inputs(self, served: LoadedRelease) -> Sequence[Tensor]:
        return [Tensor("user_id", _key_datatype(served.ranker.contract.user_key_dtype), (-1,))]

    def outputs(self, served: LoadedRelease) -> Sequence[Tensor]:
        item_id = Tensor("item_id", _key_datatype(served.ranker.contract.item_key_dtype), (-1, -1))
        return [item_id, Tensor("score", "FP32", (-1, -1)), Tensor("fallback", "BYTES", (-1,))]

    async def predict(self, served: LoadedRelease, request: InferRequest) -> dict[str, Array]:
        users = arrays(request.inputs, self.inputs(served))["user_id"].tolist()
        if len(users) > MAX_USERS:
            raise invalid(f"{len(users)} users are asked for.", f"Ask for at most {MAX_USERS} at a time.")
        given = {name: parameter(request.parameters, name) for name in ("k", "exclude_seen")}
        said = {name: value for name, value in given.items() if value is not None}
        ranker = served.ranker
        bodies = [requests.read({"user_id": user, **said}, ranker.contract, ranker.size) for user in users]
        answers = await asyncio.gather(*(served.recommend(body.request) for body in bodies))
        return _columns(answers, bodies[0].request.k, text=ranker.contract.item_key_dtype == Dtype.STRING)


def _columns(answers: Sequence[Response], k: int, *, text: bool) -> dict[str, Array]:
    ids = np.full((len(answers), k), "" if text else MISSING_INT, dtype=object if text else np.int64)
    scores = np.full((len(answers), k), LEAST_SCORE, dtype=np.float32)
    for row, answer in enumerate(answers):
        ids[row, : len(answer.items)] = [item.item_id for item in answer.items]
        scores[row, : len(answer.items)] = [item.score for item in answer.items]
    fallbacks = np.array([answer.fallback or "" for answer in answers], dtype=object)
    return {"item_id": ids, "score": scores, "fallback": fallbacks}


def _key_datatype(dtype: Dtype) -> str:
    return "INT64" if dtype == Dtype.INT64 else "BYTES"


def unreadable(error: Exception) -> RequestError:
    reason = f"{type(error).__name__}: {error}"[:200]
    return malformed(f"The tensors cannot be read: {reason}.", "Send them as the Open Inference Protocol v2 says.")
