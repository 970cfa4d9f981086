"""The Open Inference Protocol v2 by KServe's SDK: user_tower, item_tower and two_tower, over REST and gRPC.

A model's version is the release that serves. Models cannot be loaded or unloaded from outside.
"""

import asyncio
import re
import struct
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import grpc
import numpy as np
from kserve import InferRequest, InferResponse, ModelRepository
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER as JSON_LENGTH
from kserve.constants.constants import PredictorProtocol
from kserve.errors import InferenceError
from kserve.model import InferenceModel
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.servicer import InferenceServicer
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving import ask
from serving.answers import Json
from serving.edge import MAX_IN_FLIGHT, MAX_TENSORS
from serving.errors import RequestError, invalid, malformed, not_found
from serving.logs import request_id
from serving.recommender import Answer
from serving.served import Served
from serving.tensors import Tensor, arrays, of_onnx, output, parameter
from two_tower.errors import unknown
from two_tower.inputs import Array
from two_tower.schema import EMBEDDING, MISSING_INT, Dtype, TowerName

TWO_TOWER = "two_tower"
MODEL = "/v2/models/{model}"
_PATH = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?(?P<what>/ready|/infer)?")
MAX_USERS = 256  # of one request to two_tower
LEAST_SCORE = float(np.finfo(np.float32).min)  # beside the places of an answer that has fewer than k items

# What the SDK raises of a body that it cannot read.
_UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError, struct.error,
    InferenceError,
)  # fmt: skip

Current = Callable[[], Served]


def data_plane(served: Current) -> "Plane":
    """The three models over whatever release `served` gives; it raises RequestError 503 without one."""
    repository = ModelRepository()
    for model in (_TowerModel("user", served), _TowerModel("item", served), _TwoTowerModel(served)):
        repository.update(model)
    return Plane(repository, served)


class Plane(DataPlane):
    """KServe's data plane, with our errors, and a release as the version of each model."""

    def __init__(self, repository: ModelRepository, served: Current) -> None:
        super().__init__(repository)
        self._served = served

    def metadata(self) -> dict[str, Any]:
        return {"name": "two-tower", "version": self._server_version, "extensions": ["binary_tensor_data"]}

    def get_model_from_registry(self, name: str) -> "_Model":
        model = self._model_registry.get_model(name)
        if model is None:
            names = ", ".join(self._model_registry.get_models())
            raise not_found(f"There is no model {name[:100]!r}.", f"Models: {names}.")
        assert isinstance(model, _Model)
        return model

    async def get_model(self, name: str) -> "_Model":
        return self.get_model_from_registry(name)

    async def ready(self) -> bool:
        self._served()
        return True

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:  # noqa: ARG002
        self.get_model_from_registry(model_name)
        self._served()
        return True

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        model = self.get_model_from_registry(model_name)
        served = self._served()
        return {
            "name": model_name,
            "versions": [served.recommender.release],
            "platform": "onnxruntime_onnx",
            "inputs": [tensor.to_dict() for tensor in model.inputs(served)],
            "outputs": [tensor.to_dict() for tensor in model.outputs(served)],
        }

    def named(self, model: str, version: str = "") -> str:
        """The model's name. Raises RequestError 404 for an unknown one, or a version other than what serves."""
        self.get_model_from_registry(model)
        release = self._served().recommender.release
        if version and version != release:
            raise not_found(f"Model {model!r} has no version {version[:60]!r}.", f"It serves {release}.")
        return model

    def decode(self, body: Any, headers: Any, protocol_version: str = "v2", model_name: str = "") -> Any:
        try:
            return super().decode(body, headers, protocol_version, model_name)
        except _UNREADABLE as error:
            raise _unreadable(error) from error

    def encode(self, model_name: str, response: Any, headers: Any, req_attributes: Any) -> Any:  # noqa: ARG002
        assert isinstance(response, InferResponse)
        try:
            body, json_length = response.to_rest()
        except _UNREADABLE as error:
            raise _unreadable(error) from error
        return body, {} if json_length is None else {JSON_LENGTH: str(json_length)}


class _Model(InferenceModel):
    """What a model says of itself and answers, all on one release."""

    def __init__(self, name: str, served: Current) -> None:
        super().__init__(name)
        self._served = served
        self.ready = True

    def inputs(self, served: Served) -> Sequence[Tensor]:
        raise NotImplementedError

    def outputs(self, served: Served) -> Sequence[Tensor]:
        raise NotImplementedError

    async def predict(self, served: Served, request: InferRequest) -> dict[str, Array]:
        raise NotImplementedError

    async def __call__(self, body: InferRequest, headers: Any = None, verb: Any = None) -> Any:  # noqa: ARG002
        served = self._served()
        try:
            return await self._answer(served, body), {}
        except _UNREADABLE as error:
            raise error if isinstance(error, RequestError) else _unreadable(error) from error

    async def _answer(self, served: Served, body: InferRequest) -> InferResponse:
        names = [one.name for one in self.outputs(served)]
        wanted = [one.name for one in body.request_outputs or ()]
        for name in wanted:
            if name not in names or wanted.count(name) > 1:
                raise invalid(str(unknown("output", str(name)[:100], names)), "Name each output once.")
        found = await self.predict(served, body)
        return InferResponse(
            response_id=str(body.id or request_id(None)),
            model_name=self.name,
            model_version=served.recommender.release,
            infer_outputs=[output(name, found[name], raw=bool(body.from_grpc)) for name in names],
            use_binary_outputs=bool(body.use_binary_outputs),
            requested_outputs=body.request_outputs,
        )


class _TowerModel(_Model):
    """One tower: raw feature values in, embeddings out."""

    def __init__(self, tower: TowerName, served: Current) -> None:
        super().__init__(f"{tower}_tower", served)
        self._tower = tower

    def inputs(self, served: Served) -> Sequence[Tensor]:
        return of_onnx(self._session(served).get_inputs())

    def outputs(self, served: Served) -> Sequence[Tensor]:
        return of_onnx(self._session(served).get_outputs())

    async def predict(self, served: Served, request: InferRequest) -> dict[str, Array]:
        return {EMBEDDING: await asyncio.to_thread(self._embed, served, request)}

    def _embed(self, served: Served, request: InferRequest) -> Array:
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

    def _session(self, served: Served) -> Any:
        return (served.recommender.user if self._tower == "user" else served.recommender.item).session


class _TwoTowerModel(_Model):
    """Users in, items out, as /v1/recommend has them. Parameters: k (10), exclude_seen (true).

    Where fewer than k items are left, the last places hold "" or the least int64, and the least float32 as score.
    """

    def __init__(self, served: Current) -> None:
        super().__init__(TWO_TOWER, served)

    def inputs(self, served: Served) -> Sequence[Tensor]:
        return [Tensor("user_id", _key_datatype(served.recommender.contract.user_key_dtype), (-1,))]

    def outputs(self, served: Served) -> Sequence[Tensor]:
        item_id = Tensor("item_id", _key_datatype(served.recommender.contract.item_key_dtype), (-1, -1))
        return [item_id, Tensor("score", "FP32", (-1, -1)), Tensor("fallback", "BYTES", (-1,))]

    async def predict(self, served: Served, request: InferRequest) -> dict[str, Array]:
        users = arrays(request.inputs, self.inputs(served))["user_id"].tolist()
        if len(users) > MAX_USERS:
            raise invalid(f"{len(users)} users are asked for.", f"Ask for at most {MAX_USERS} at a time.")
        given = {name: parameter(request.parameters, name) for name in ("k", "exclude_seen")}
        said = {name: value for name, value in given.items() if value is not None}
        recommender = served.recommender
        asks = [ask.read({"user_id": user, **said}, recommender.contract, recommender.size) for user in users]
        answers = await asyncio.gather(*(served.answer(one) for one in asks))
        return _columns(answers, asks[0].k, text=recommender.contract.item_key_dtype == Dtype.STRING)


def _columns(answers: Sequence[Answer], k: int, *, text: bool) -> dict[str, Array]:
    ids = np.full((len(answers), k), "" if text else MISSING_INT, dtype=object if text else np.int64)
    scores = np.full((len(answers), k), LEAST_SCORE, dtype=np.float32)
    for row, answer in enumerate(answers):
        ids[row, : len(answer.items)] = [item.item_id for item in answer.items]
        scores[row, : len(answer.items)] = [item.score for item in answer.items]
    fallbacks = np.array([answer.fallback or "" for answer in answers], dtype=object)
    return {"item_id": ids, "score": scores, "fallback": fallbacks}


def _key_datatype(dtype: Dtype) -> str:
    return "INT64" if dtype == Dtype.INT64 else "BYTES"


def _unreadable(error: Exception) -> RequestError:
    reason = f"{type(error).__name__}: {error}"[:200]
    return malformed(f"The tensors cannot be read: {reason}.", "Send them as the Open Inference Protocol v2 says.")


def routes(plane: Plane) -> list[Route]:
    """The REST side. A model's routes are there with and without its version."""

    async def metadata(_: Request) -> Response:
        return Json(plane.metadata())

    async def models(_: Request) -> Response:
        return Json({"models": list(plane.model_registry.get_models())})

    async def model_metadata(request: Request) -> Response:
        return Json(await plane.model_metadata(plane.named(**request.path_params)))

    async def model_ready(request: Request) -> Response:
        return Json({"name": plane.named(**request.path_params), "ready": True})

    async def infer(request: Request) -> Response:
        name = plane.named(**request.path_params)
        body = await request.body()
        headers = {JSON_LENGTH: str(len(body)), **request.headers}  # all of it, unless binary data follows
        asked, _ = plane.decode(body, headers, PredictorProtocol.REST_V2.value, name)
        answer, _ = await plane.infer(name, asked, headers)
        content, more = plane.encode(name, answer, headers, {})
        if isinstance(content, bytes):
            return Response(content, media_type="application/octet-stream", headers=more)
        return Json(content)

    found = [Route("/v2", metadata), Route("/v2/models", models)]
    for model in (MODEL, f"{MODEL}/versions/{{version}}"):
        found += [Route(model, model_metadata), Route(f"{model}/ready", model_ready)]
        found += [Route(f"{model}/infer", infer, methods=["POST"])]
    return found


def route_of(path: str) -> str:
    """A path as its route's, without what a client may make up; `other` where it is none."""
    if path in ("/v2", "/v2/models"):
        return path
    match = _PATH.fullmatch(path)
    return f"{MODEL}{match['what'] or ''}" if match else "other"


async def grpc_server(plane: Plane, address: str) -> grpc.aio.Server:
    """A started gRPC server. Raises RuntimeError where the address cannot be had."""
    options = [("grpc.max_receive_message_length", MAX_TENSORS)]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MAX_IN_FLIGHT)
    grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(plane, None), server)
    server.add_insecure_port(address)
    await server.start()
    return server


_STATUS = {404: grpc.StatusCode.NOT_FOUND, 503: grpc.StatusCode.UNAVAILABLE}


class _Servicer(InferenceServicer):
    """KServe's servicer, with our errors as statuses, and without loading and unloading."""

    _data_plane: Plane

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        return await self._answer(context, super().ServerReady(request, context))

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer(context, super().ModelReady(request, context), request.name, request.version)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        async def metadata() -> Any:
            return pb.ModelMetadataResponse(**await self._data_plane.model_metadata(request.name))

        return await self._answer(context, metadata(), request.name, request.version)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        asked = super().ModelInfer(request, context)
        return await self._answer(context, asked, request.model_name, request.model_version)

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Models come with releases.")

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Models come with releases.")

    async def _answer(self, context: Any, answer: Coroutine[Any, Any, Any], *model: str) -> Any:
        try:
            if model:
                self._data_plane.named(*model)
            return await answer
        except RequestError as error:
            await context.abort(_STATUS.get(error.status, grpc.StatusCode.INVALID_ARGUMENT), str(error))
        except _UNREADABLE as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(_unreadable(error)))
        finally:
            answer.close()
