"""The Open Inference Protocol v2 with KServe's SDK: user_tower, item_tower and two_tower over REST.

The version of a model is the id of the loaded release. Clients cannot load or unload models.
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

from serving.http.models import UNREADABLE, GetLoaded, Model, TowerModel, TwoTowerModel, unreadable
from serving.http.responses import Json
from two_tower.recommender.errors import not_found

MODEL = "/v2/models/{model}"
_PATH = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?(?P<call>/ready|/infer)?")


def data_plane(get_loaded: GetLoaded) -> "Plane":
    """The data plane of the three models. get_loaded raises RequestError 503 if no release is loaded."""
    repository = ModelRepository()
    for model in (TowerModel("user", get_loaded), TowerModel("item", get_loaded), TwoTowerModel(get_loaded)):
        repository.update(model)
    return Plane(repository, get_loaded)


class Plane(DataPlane):
    """KServe's data plane with this service's errors, and the release as the version of each model."""

    def __init__(self, repository: ModelRepository, get_loaded: GetLoaded) -> None:
        super().__init__(repository)
        self._get_loaded = get_loaded

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
        self._get_loaded()
        return True

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:  # noqa: ARG002
        self.get_model_from_registry(model_name)
        self._get_loaded()
        return True

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        model = self.get_model_from_registry(model_name)
        loaded = self._get_loaded()
        return {
            "name": model_name,
            "versions": [loaded.ranker.release],
            "platform": "onnxruntime_onnx",
            "inputs": [tensor.to_dict() for tensor in model.inputs(loaded)],
            "outputs": [tensor.to_dict() for tensor in model.outputs(loaded)],
        }

    def named(self, model: str, version: str = "") -> str:
        """Check a model's name and version. Raises RequestError 404 unless the model exists and has this version."""
        self.get_model_from_registry(model)
        release = self._get_loaded().ranker.release
        if version and version != release:
            raise not_found(f"Model {model!r} has no version {version[:60]!r}.", f"Its version is {release}.")
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
    """The routes over REST. Each route of a model exists with and without a version."""

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
        headers = {JSON_LENGTH: str(len(body)), **request.headers}  # the whole body, unless binary data follows
        request_body, _ = plane.decode(body, headers, PredictorProtocol.REST_V2.value, name)
        response, _ = await plane.infer(name, request_body, headers)
        content, more = plane.encode(name, response, headers, {})
        if isinstance(content, bytes):
            return Response(content, media_type="application/octet-stream", headers=more)
        return Json(content)

    all_routes = [Route("/v2", metadata), Route("/v2/models", models)]
    for model in (MODEL, f"{MODEL}/versions/{{version}}"):
        all_routes += [Route(model, model_metadata), Route(f"{model}/ready", model_ready)]
        all_routes += [Route(f"{model}/infer", infer, methods=["POST"])]
    return all_routes


def route_of(path: str) -> str:
    """The route of a path, without the parts that clients choose; `other` if no route matches."""
    if path in ("/v2", "/v2/models"):
        return path
    match = _PATH.fullmatch(path)
    return f"{MODEL}{match['call'] or ''}" if match else "other"
