"""Run the service from the command line."""

import logging
import socket
import sys
import tempfile
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from serving.http.middleware import Edge
from serving.http.web import create_app
from serving.observability import logs
from serving.observability.feature_log import FeatureLog
from serving.observability.metrics import Metrics
from serving.workers import supervisor
from serving.workers.worker_group import Alone, Member
from two_tower.errors import InputError
from two_tower.runtime import Device
from two_tower.storage import open_storage

GRACE = 10  # seconds that requests have to finish after SIGTERM

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
    feature_log: tuple[Path, float] | None = None,
    processes: int = 1,
) -> None:
    """Serve the current release of a folder until SIGTERM or SIGINT, and each one that is activated meanwhile.

    HTTP on `port`, and the Open Inference Protocol's gRPC on `grpc_port`; None is the port after. Without a release it
    starts, is not ready, and serves the first one that is activated. Raises InputError where the releases cannot be
    read, where feature_repo is no Feast repository and where a port cannot be had.

    release: the one to serve whatever the pointer says; None follows the pointer. page: whether there is the demo page,
    which shows users to whoever can reach the service; None is only where that is this machine alone. feature_log:
    folder for a sample of the features that requests were answered with, and which share of them. processes: workers,
    which answer from the same ports; with several of them this process only watches them, and exits with status 1 where
    they cannot be kept running.
    """
    open_storage(releases)
    if feature_repo and not (feature_repo / "feature_store.yaml").is_file():
        raise InputError(f"no feature_store.yaml in {feature_repo}. Point --feature-repo to a Feast repository.")
    with _listen(host, port, "--port") as listening:
        if grpc_port is None:
            grpc_port = listening.getsockname()[1] + 1
        with _listen(host, grpc_port, "--grpc-port") as free:  # gRPC opens it itself, and says little where it cannot
            grpc_port = free.getsockname()[1]
        address = f"[{host}]:{grpc_port}" if ":" in host else f"{host}:{grpc_port}"
        logs.configure()
        shown = loopback(host) if page is None else page
        create = partial(create_app, releases, feature_repo, device, address, release, shown, feature_log)
        if processes == 1:
            _answer(create(Alone()), listening)
            return
        port = listening.getsockname()[1]
    if feature_log:
        FeatureLog(*feature_log, Metrics())  # refused here, where it is said once

    def work(member: Member) -> None:
        _answer(create(member), _bound(host, port))

    with _bound(host, port), tempfile.TemporaryDirectory(prefix="two-tower-") as shared:  # the port stays ours
        try:
            supervisor.supervise(work, processes, Path(shared))
        except supervisor.WorkersError as error:
            log.critical("%s", error)
            sys.exit(1)


def loopback(host: str) -> bool:
    """Whether only this machine can reach a host; a name other than localhost may be anything."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _answer(app: Edge, listening: socket.socket) -> None:
    config = uvicorn.Config(
        app, access_log=False, log_config=None, server_header=False, timeout_graceful_shutdown=GRACE
    )
    uvicorn.Server(config).run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    """A socket at a port that other processes of ours may have too; it gets connections once it listens.

    The kernel then spreads connections over the listening ones. From one that all share, whoever wakes up first would
    take most of those that come together.
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


def _listen(host: str, port: int, option: str) -> socket.socket:
    try:
        return socket.create_server((host, port), family=_family(host))
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on {host}:{port}: {error}. Choose another --host or {option}.") from error
