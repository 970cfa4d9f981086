"""Run the service from the command line."""

import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

import uvicorn

from serving.http import protocol
from serving.http.access import ITEMS_TOKEN, token
from serving.http.middleware import Middleware
from serving.http.web import create_app
from serving.observability import logs
from serving.observability.feature_log import FeatureLog, LogOptions
from serving.observability.metrics import Metrics
from serving.workers import supervisor
from serving.workers.worker_group import SingleWorker, Worker
from two_tower.errors import InputError
from two_tower.recommender.side_index import KEEP_SECONDS
from two_tower.releases import signature
from two_tower.runtime import Device
from two_tower.storage import open_storage

GRACE = 6  # seconds that requests have to finish after SIGTERM

log = logging.getLogger(__name__)


def serve(
    releases: str,
    host: str,
    port: int,
    feature_repo: Path | None = None,
    grpc_port: int | None = None,
    device: Device = "cpu",
    release: str | None = None,
    page: bool | None = None,
    feature_log: LogOptions | None = None,
    processes: int = 1,
    items_keep: float = KEEP_SECONDS,
) -> None:
    """Serve the active release of a folder until SIGTERM or SIGINT, and each release that is activated in this time.

    The port answers at once; the service is ready when the release is open. Without an active release it serves the
    first one that is activated. Calls that change items need a token, unless the host is a loopback address.

    Args:
        releases: folder or URL of the releases.
        host: address to listen on.
        port: port for HTTP.
        feature_repo: Feast repository for look-ups of users. Default: the release's own.
        grpc_port: port for the Open Inference Protocol over gRPC. Default: port + 1.
        device: device of the towers and the index.
        release: id of the release to serve. Default: the active one.
        page: serve the demo page, which shows users to everyone who can reach the service. Default: only if that is
            this machine alone.
        feature_log: where to write a sample of the features of requests.
        processes: number of workers that answer on the same ports. With more than one this process supervises them, and
            exits with status 1 if they cannot be kept running.
        items_keep: seconds after its last upsert until an item expires.

    Raises:
        InputError: if the releases cannot be read, the keys of signatures are not valid, feature_repo is not a Feast
            repository, or a port is not available.
    """
    open_storage(releases)
    signature.public_keys()
    if feature_repo and not (feature_repo / "feature_store.yaml").is_file():
        raise InputError(
            f"no feature_store.yaml in {feature_repo}. Pass the folder of a Feast repository as --feature-repo."
        )
    with listen(host, port, "--port") as listening:
        if grpc_port is None:
            grpc_port = listening.getsockname()[1] + 1
        with listen(host, grpc_port, "--grpc-port") as free:  # gRPC opens it itself, and its errors say little
            grpc_port = free.getsockname()[1]
        address = f"[{host}]:{grpc_port}" if ":" in host else f"{host}:{grpc_port}"
        logs.configure()
        local = loopback(host)
        _log_open_calls(local)
        with_page = local if page is None else page
        create = partial(
            create_app,
            releases,
            feature_repo,
            device,
            address,
            release,
            with_page,
            feature_log,
            local=local,
            items_keep=items_keep,
        )
        if processes == 1:
            with _ended_by_signals():
                app = create(worker_group=SingleWorker())
            _answer(app, listening)
            return
        port = listening.getsockname()[1]
    if feature_log:
        FeatureLog(feature_log, Metrics())  # a bad folder is refused once, before the workers start

    def work(worker: Worker) -> None:
        _answer(create(worker_group=worker), _bound(host, port))

    with _bound(host, port), tempfile.TemporaryDirectory(prefix="two-tower-") as shared:  # reserves the port
        try:
            supervisor.supervise(work, processes, Path(shared))
        except supervisor.WorkersError as error:
            log.critical("%s", error)
            sys.exit(1)


def loopback(host: str) -> bool:
    """Whether only this machine can reach a host. Names other than localhost count as reachable by others."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _log_open_calls(local: bool) -> None:
    if token(ITEMS_TOKEN):
        return
    if local:
        log.warning("every program on this machine may change items: %s is not set", ITEMS_TOKEN)
    else:
        log.info("calls that change items are off: %s is not set", ITEMS_TOKEN)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End the process on SIGTERM and SIGINT, also as the first process of a container, which has no default action."""
    before = {one: signal.signal(one, _end) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _end(sig: int, _: FrameType | None) -> None:
    os._exit(128 + sig)


class _Server(uvicorn.Server):
    """A server that a signal ends at once while its port is not open: no request waits for it."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.started:
            _end(sig, frame)
        super().handle_exit(sig, frame)


def _answer(app: Middleware, listening: socket.socket) -> None:
    _Server(protocol.config(app, GRACE)).run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    """A socket at a port that other workers may bind too; it gets connections once it listens.

    The kernel spreads connections over the listening sockets. With one shared socket the worker that wakes up first
    would accept most of the connections that arrive together.
    """
    family = _family(host)
    bound = socket.socket(family)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    bound.bind((host, port))
    return bound


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listen(host: str, port: int, option: str) -> socket.socket:
    """Open a socket that listens; port 0 chooses a free one. Raises InputError that names the option."""
    try:
        return socket.create_server((host, port), family=_family(host))
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on {host}:{port}: {error}. Choose another --host or {option}.") from error
