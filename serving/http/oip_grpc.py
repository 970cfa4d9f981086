"""The Open Inference Protocol v2 over gRPC."""

from collections.abc import Coroutine
from typing import Any

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.servicer import InferenceServicer

from serving.http.middleware import MAX_IN_FLIGHT, MAX_TENSORS
from serving.http.models import UNREADABLE, unreadable
from serving.http.oip import Plane
from two_tower.recommender.errors import RequestError

HANDSHAKE_MS = 15_000


async def grpc_server(plane: Plane, address: str) -> grpc.aio.Server:
    """Start a gRPC server. Other workers may listen on the same address. Raises RuntimeError if it is not available."""
    options = [
        ("grpc.max_receive_message_length", MAX_TENSORS),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),  # of a connection that sends nothing
    ]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MAX_IN_FLIGHT)
    grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(plane, None), server)
    server.add_insecure_port(address)
    await server.start()
    return server


_STATUS = {404: grpc.StatusCode.NOT_FOUND, 503: grpc.StatusCode.UNAVAILABLE}


class _Servicer(InferenceServicer):
    """KServe's servicer with this service's errors as statuses, and without loading and unloading."""

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
        response = super().ModelInfer(request, context)
        return await self._answer(context, response, request.model_name, request.model_version)

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Models are part of a release.")

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Models are part of a release.")

    async def _answer(self, context: Any, response: Coroutine[Any, Any, Any], *model: str) -> Any:
        try:
            if model:
                self._data_plane.named(*model)
            return await response
        except RequestError as error:
            await context.abort(_STATUS.get(error.status, grpc.StatusCode.INVALID_ARGUMENT), str(error))
        except UNREADABLE as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(unreadable(error)))
        finally:
            response.close()
