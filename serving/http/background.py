"""The service in a thread of this process, over one release, for the smoke test before its promotion."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from serving.http import protocol
from serving.http.app import listen
from serving.http.web import create_app

HOST = "127.0.0.1"


@contextmanager
def serve_in_background(releases: str, release: str) -> Iterator[tuple[str, str]]:
    """Serve a release on free ports that only this machine can reach, until the block ends.

    Args:
        releases: folder or URL of the releases.
        release: id of the release to serve, whichever is active.

    Yields:
        The address for HTTP and the address for gRPC. The release is loaded when /v2/health/ready says so.

    Raises:
        InputError: if no port is free.
    """
    logging.getLogger("faiss").setLevel(logging.WARNING)  # Feast imports it where it is, and it tells how it loads
    with listen(HOST, 0, "--port") as listening:
        with listen(HOST, 0, "--grpc-port") as free:
            grpc_address = f"{HOST}:{free.getsockname()[1]}"
        app = create_app(releases, grpc_address=grpc_address, release=release, page=False, local=True)
        server = uvicorn.Server(protocol.config(app, grace=1))
        thread = threading.Thread(target=server.run, args=([listening],), name="service", daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}", grpc_address
        finally:
            server.should_exit = True
            thread.join()
