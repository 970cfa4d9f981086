"""The service's OpenAPI document."""

from functools import lru_cache
from typing import Any

from serving.http.requests import MAX_ITEMS
from serving.page.routes import LONGEST, MOST_IDS
from two_tower.recommender.requests import MAX_K

Schema = dict[str, Any]

_ID = {"oneOf": [{"type": "string"}, {"type": "integer", "format": "int64"}]}
_K = {"type": "integer", "minimum": 1, "maximum": MAX_K, "default": 10}
_FEATURES = {"type": "object", "description": "Raw feature values by name, as the feature store returns them."}
_FILTER = {
    "type": "object",
    "description": 'Conditions by item column: a value, a list of values, or a range. E.g. {"price": {"max": 20}}.',
}
_STRING, _NUMBER, _FLAG = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
_ERROR = {"type": "object", "properties": {"code": _STRING, "message": _STRING, "hint": _STRING}}
_ERROR["required"] = ["code", "message", "hint"]
_SCORED: Schema = {"type": "object", "properties": {"item_id": _ID, "score": _NUMBER}, "required": ["item_id", "score"]}
_TENSOR = {
    "type": "object",
    "properties": {
        "name": _STRING,
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "datatype": {"enum": ["BYTES", "INT64", "FP32"]},
        "data": {"type": "array"},
    },
    "required": ["name", "shape", "datatype", "data"],
}
_SECONDS = {"type": "object", "additionalProperties": _NUMBER, "description": "Time of each stage, if timings is true."}
_ERRORS = {
    400: "malformed",
    401: "wrong or missing bearer token",
    403: "a web page of another site called a service of this machine",
    404: "unknown item, model or release, or a call that is switched off",
    409: "another release was activated in the meantime",
    413: "too large",
    415: "Content-Encoding other than gzip and deflate, or a body that is not declared as application/json",
    422: "wrong type or out of range",
    503: "not ready or overloaded",
}


@lru_cache
def document() -> Schema:
    """The OpenAPI 3.1 document of all routes, including those of the Open Inference Protocol."""
    recommended = _object(
        {"items": _list(_explained_item()), "release": _STRING, "fallback": {"enum": [None, "popular", "store"]}}
    )
    timed = {**recommended, "properties": {**recommended["properties"], "seconds": _SECONDS}}
    recommend = {
        "user_id": _ID, "k": _K, "exclude_seen": _FLAG, "filter": _FILTER, "features": _FEATURES, "explain": _FLAG,
        "timings": _FLAG,
    }  # fmt: skip
    similar = _object({"item_id": _ID, "k": _K, "filter": _FILTER}, ["item_id"])
    item = _object({"item_id": _ID, "features": _FEATURES})
    items = _object({"items": {**_list(item), "minItems": 1, "maxItems": MAX_ITEMS}})
    upserted = _object({"upserted": {"type": "integer"}, "side_items": {"type": "integer"}, "release": _STRING})
    removed = _object({"removed": {"type": "integer"}, "side_items": {"type": "integer"}, "release": _STRING})
    release = _object({"release": _STRING})
    tensors = _object({"id": _STRING, "inputs": _list(_TENSOR), "parameters": {"type": "object"}}, ["inputs"])
    inferred = _object({"model_name": _STRING, "model_version": _STRING, "id": _STRING, "outputs": _list(_TENSOR)})
    ready = _object({"name": _STRING, "ready": _FLAG})
    paths: Schema = {
        "/v1/recommend": _post("Recommend items for a user", _object(recommend, []), timed),
        "/v1/similar": _post("Find the items nearest to an item", similar, recommended),
        "/v1/items": _post("Add or change items at once", items, upserted, secured=True),
        "/v1/items/{item_id}": _delete("Remove an item at once", removed),
        "/admin/activate": _post("Activate a release", release, release, secured=True),
        "/admin/rollback": _post("Activate the previous release", _object({}), release, secured=True),
        "/v2/health/live": _get("Liveness of the process", _object({"live": _FLAG})),
        "/v2/health/ready": _get(
            "Readiness: the loaded release and its execution provider",
            _object({"ready": _FLAG, "release": _STRING, "provider": _STRING}),
        ),
        "/v2": _get(
            "Metadata of the server", _object({"name": _STRING, "version": _STRING, "extensions": _list(_STRING)})
        ),
        "/v2/models": _get("List the models", _object({"models": _list(_STRING)})),
        "/v2/models/{model}": _get("Metadata of a model: inputs and outputs", {"type": "object"}),
        "/v2/models/{model}/ready": _get("Readiness of a model", ready),
        "/v2/models/{model}/infer": _post("Run a model on tensors", tensors, inferred),
    }
    paths |= _page()
    for path, operations in paths.items():
        for name, example in (("model", "two_tower"), ("item_id", "i1")):
            if f"{{{name}}}" in path:
                parameter = {"name": name, "in": "path", "required": True, "schema": _STRING, "example": example}
                operations["parameters"] = [parameter]
    return {
        "openapi": "3.1.0",
        "info": {"title": "two-tower", "version": "1"},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _page() -> Schema:
    """The calls of the page, which exist if the page does."""
    item = _object({"item_id": _ID, "title": {"type": ["string", "null"]}, "features": {"type": "object"}})
    user = {"user_id": _ID, "known": _FLAG, "features": {"type": "object"}, "history": _list(_ID)}
    recall = {"type": ["number", "null"]}
    release = {"release": _STRING, "serves": _FLAG, "dataset": _STRING, "created": _STRING, "recall": recall}
    about = {
        "release": _STRING, "dataset": _STRING, "as_of": _STRING, "recall": recall, "items": {"type": "integer"},
        "counted": {"type": "integer"}, "store": _FLAG, "admin": _FLAG, "users": _list(_ID),
        "title": {"type": ["string", "null"]},
        "columns": _list({"type": "object"}), "features": _list({"type": "object"}),
        "seen": {"type": ["string", "null"]},
    }  # fmt: skip
    many = {"type": "array", "items": _STRING, "maxItems": MOST_IDS}
    search = {"type": "string", "maxLength": LONGEST}
    return {
        "/page/about": _get("The loaded release, for the page's forms", _object(about)),
        "/page/user": _get("A user's features and history", _object(user), id=_STRING),
        "/page/items": _get("Find items by id or by text", _object({"items": _list(item)}), id=many, search=search),
        "/page/releases": _get("List the newest releases", _object({"releases": _list(_object(release))})),
    }


def _explained_item() -> Schema:
    return {**_SCORED, "properties": {**_SCORED["properties"], "nearest_history": _list(_SCORED)}}


def _object(properties: Schema, required: list[str] | None = None) -> Schema:
    needed = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _get(summary: str, response: Schema, **query: Schema) -> Schema:
    parameters = [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
    operation = {"summary": summary, "responses": _responses(response)}
    return {"get": operation | ({"parameters": parameters} if parameters else {})}


def _post(summary: str, body: Schema, response: Schema, *, secured: bool = False) -> Schema:
    operation = {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": _responses(response),
    }
    return {"post": operation | ({"security": [{}, {"token": []}]} if secured else {})}


def _delete(summary: str, response: Schema) -> Schema:
    return {"delete": {"summary": summary, "responses": _responses(response), "security": [{}, {"token": []}]}}


def _responses(response: Schema) -> Schema:
    responses = {"200": {"description": "success", "content": {"application/json": {"schema": response}}}}
    for status, why in _ERRORS.items():
        responses[str(status)] = {
            "description": why,
            "content": {"application/json": {"schema": _object({"error": _ERROR})}},
        }
    return responses
