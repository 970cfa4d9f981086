"""The Open Inference Protocol v2, by KServe's SDK: user_tower, item_tower and two_tower over REST.

A model's version is the release that serves. Models cannot be loaded or unloaded from outside.
"""

import re
from typing import Any

from kserve import InferResponse, ModelRepository
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER as JSON_LENGTH
from kserve.constants.constants import PredictorProtocol
from kserve.protocol.dataplane import DataPlane
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.http.models import UNREADABLE, Current, Model, TowerModel, TwoTowerModel, unreadable
from serving.http.responses import Json
from two_tower.recommender.errors import not_found

MODEL = "/v2/models/{model}"
_PATH = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?(?P<what>/ready|/infer)?")


def data_plane(served: Current) -> "Plane":
    """The three models over whatever release `served` gives; it raises RequestError 503 without one."""
    repository = ModelRepository()
    for model in (TowerModel("user", served), TowerModel("item", served), TwoTowerModel(served)):
        repository.update(model)
    return Plane(repository, served)


class Plane(DataPlane):
    """KServe's data plane, with our errors, and a release as the version of each model."""

    def __init__(self, repository: ModelRepository, served: Current) -> None:
        super().__init__(repository)
        self._served = served

    def metadata(self) -> dict[str, Any]:
        return {"name": "two-tower", "version": self._server_version, "extensions": ["binary_tensor_data"]}

    def get_model_from_registry(self, name: str) -> Model:
        model = self._model_registry.get_model(name)
        if model is None:
            names = ", ".join(self._model_registry.get_models())
            raise not_found(f"There is no model {name[:100]!r}.", f"Models: {names}.")
        assert isinstance(model, Model)
        return model

    async def get_model(self, name: str) -> Model:
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
            "versions": [served.ranker.release],
            "platform": "onnxruntime_onnx",
            "inputs": [tensor.to_dict() for tensor in model.inputs(served)],
            "outputs": [tensor.to_dict() for tensor in model.outputs(served)],
        }

    def named(self, model: str, version: str = "") -> str:
        """The model's name. Raises RequestError 404 for an unknown one, or a version other than what serves."""
        self.get_model_from_registry(model)
        release = self._served().ranker.release
        if version and version != release:
            raise not_found(f"Model {model!r} has no version {version[:60]!r}.", f"It serves {release}.")
        return model

    def decode(self, body: Any, headers: Any, protocol_version: str = "v2", model_name: str = "") -> Any:
        try:
            return super().decode(body, headers, protocol_version, model_name)
        except UNREADABLE as error:
            raise unreadable(error) from error

    def encode(self, model_name: str, response: Any, headers: Any, req_attributes: Any) -> Any:  # noqa: ARG002
        assert isinstance(response, InferResponse)
        try:
            body, json_length = response.to_rest()
        except UNREADABLE as error:
            raise unreadable(error) from error
        return body, {} if json_length is None else {JSON_LENGTH: str(json_length)}


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
