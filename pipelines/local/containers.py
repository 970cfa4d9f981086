"""Steps in their containers: what has to be there first, what they are given, and how they end.

kfp's DockerRunner starts the containers. One function of it is replaced while a run lasts: it lets the engine remove a
container as soon as that ends, and calls the step a success when the exit status went with it
(kubeflow/pipelines#13332).
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound
from docker.types import DeviceRequest, Mount
from kfp import local
from kfp.dsl.base_component import BaseComponent
from kfp.local import docker_task_handler

from two_tower.errors import InputError

_VARIABLE = re.compile(r"\$\{(\w+)\}")


@contextlib.contextmanager
def containers(
    pipeline: BaseComponent, writable: Sequence[Path], readable: Sequence[Path], feature_repo: Path | None, gpu: bool
) -> Iterator[local.DockerRunner]:
    """A runner that executes each step in its image, as the caller, with a read-only root file system.

    writable, readable: folders that the steps see at the same paths as here, and write to or not.
    feature_repo: its feature_store.yaml may name environment variables, which the steps are given.
    gpu: give the steps this machine's GPUs.
    The steps' network is this machine's: stores on localhost are reached as from here.

    Raises InputError where no Docker engine answers, or no longer does, and where it lacks an image.
    """
    with contextlib.closing(_engine()) as client:
        _check_images(client, images(pipeline))
        mounts = [Mount(str(path), str(path), type="bind") for path in writable]
        mounts += [Mount(str(path), str(path), type="bind", read_only=True) for path in readable]
        runner = local.DockerRunner(
            user=_user(client),
            mounts=mounts,
            read_only=True,
            tmpfs={"/tmp": ""},  # noqa: S108 - the container's own
            network_mode="host",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            environment=_environment(feature_repo),
            device_requests=[DeviceRequest(count=-1, capabilities=[["gpu"]])] if gpu else None,
        )
    replaced = docker_task_handler.run_docker_container
    docker_task_handler.run_docker_container = run_container
    try:
        yield runner
    except requests.ConnectionError as error:
        raise InputError(
            "the Docker engine went away during the run. Start it and run again: steps that were finished are reused."
        ) from error
    finally:
        docker_task_handler.run_docker_container = replaced


def images(pipeline: BaseComponent) -> list[str]:
    """The images that a pipeline's steps run in."""
    executors = pipeline.pipeline_spec.deployment_spec["executors"]
    return sorted({executors[name]["container"]["image"] for name in executors if "container" in executors[name]})


def run_container(
    client: docker.DockerClient, image: str, command: list[str], volumes: dict[str, Any], **options: Any
) -> int:
    """Run a step, print its log, and return its exit status: 0 only if the step came to its end."""
    container = None
    try:
        try:
            container = client.containers.create(image, command, volumes=volumes, **options)
            container.start()
        except APIError as error:
            raise InputError(_not_started(image, error, bool(options.get("device_requests")))) from error
        for chunk in container.logs(stream=True):
            print(chunk.decode(errors="replace"), end="")
        status: int = container.wait()["StatusCode"]
        container.reload()
        if container.attrs["State"]["OOMKilled"]:
            print("The container ran out of memory: give the Docker engine more, or the run less data.")
    finally:
        if container is not None:
            container.remove(force=True)  # stops it as well, when the run is interrupted
    return status or int(not _came_to_its_end(command))


def _not_started(image: str, error: APIError, gpu: bool) -> str:
    step = " Give the engine NVIDIA's container toolkit, or train on the CPU: --set device=cpu." if gpu else ""
    return f"the Docker engine started no container of {image}: {error.explanation}.{step}"


def _came_to_its_end(command: list[str]) -> bool:
    """Whether kfp's executor wrote the step's outputs, which it does last of all."""
    given = json.loads(command[command.index("--executor_input") + 1])
    return Path(given["outputs"]["outputFile"]).exists()


def _engine() -> docker.DockerClient:
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        place = os.environ.get("DOCKER_HOST", "the default socket")
        raise InputError(
            f"no Docker engine answers at {place} ({error}). Start one, see that you may use it (`docker info`), "
            "or run without containers: --runner subprocess."
        ) from error
    return client


def _check_images(client: docker.DockerClient, needed: Sequence[str]) -> None:
    missing = []
    for image in needed:
        try:
            client.images.get(image)
        except ImageNotFound:
            missing.append(image)
    if missing:
        raise InputError(
            f"the Docker engine has no image {', '.join(missing)}. Make the images with `make images`, or pull them."
        )


def _user(client: docker.DockerClient) -> str:
    """The caller, so that what the steps write is the caller's; a rootless engine's root is just that."""
    rootless = "name=rootless" in client.info().get("SecurityOptions", [])
    return "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"


def _environment(feature_repo: Path | None) -> dict[str, str]:
    if feature_repo is None:
        return {}
    named = _VARIABLE.findall((feature_repo / "feature_store.yaml").read_text())
    return {name: os.environ[name] for name in named if name in os.environ}
