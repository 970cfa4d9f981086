"""Steps in Docker containers: checks before the start, options of the containers, and their exit status.

kfp's DockerRunner starts the containers. One of its functions is replaced during a run: the original lets the engine
remove a container as soon as it ends, and reports success if the exit status is lost (kubeflow/pipelines#13332).
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
    """Runner that executes each step in its image, as the current user, with a read-only root file system.

    The steps use the network of this machine, so they reach stores on localhost.

    Args:
        pipeline: Pipeline whose images must be present.
        writable: Folders that are mounted at the same path, for reading and writing.
        readable: Folders that are mounted at the same path, read-only.
        feature_repo: Feature repository; the steps get the environment variables that its feature_store.yaml names.
        gpu: Give the steps the GPUs of this machine.

    Raises:
        InputError: The Docker engine does not respond, or an image is missing.
    """
    with contextlib.closing(_engine()) as client:
        _check_images(client, images(pipeline))
        mounts = [Mount(str(path), str(path), type="bind") for path in writable]
        mounts += [Mount(str(path), str(path), type="bind", read_only=True) for path in readable]
        runner = local.DockerRunner(
            user=_user(client),
            mounts=mounts,
            read_only=True,
            tmpfs={"/tmp": ""},  # noqa: S108 - inside the container
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
            "the Docker engine stopped during the run. Start it and run again: finished steps are reused."
        ) from error
    finally:
        docker_task_handler.run_docker_container = replaced


def images(pipeline: BaseComponent) -> list[str]:
    """Images of the steps of a pipeline."""
    executors = pipeline.pipeline_spec.deployment_spec["executors"]
    return sorted({executors[name]["container"]["image"] for name in executors if "container" in executors[name]})


def run_container(
    client: docker.DockerClient, image: str, command: list[str], volumes: dict[str, Any], **options: Any
) -> int:
    """Run a step, print its log, and return its exit status: 0 only if the step wrote its outputs."""
    container = None
    try:
        try:
            # The command of a step replaces the entry point of its image, as on a cluster.
            entry, *arguments = command
            container = client.containers.create(image, arguments, entrypoint=[entry], volumes=volumes, **options)
            container.start()
        except APIError as error:
            raise InputError(_not_started(image, error, bool(options.get("device_requests")))) from error
        for chunk in container.logs(stream=True):
            print(chunk.decode(errors="replace"), end="")
        status: int = container.wait()["StatusCode"]
        container.reload()
        if container.attrs["State"]["OOMKilled"]:
            print("The container ran out of memory: give the Docker engine more memory, or use less data.")
    finally:
        if container is not None:
            container.remove(force=True)  # also stops it if the run is interrupted
    return status or int(not _wrote_outputs(command))


def _not_started(image: str, error: APIError, gpu: bool) -> str:
    hint = " Install NVIDIA's container toolkit, or train on the CPU: --set device=cpu." if gpu else ""
    return f"the Docker engine could not start a container of {image}: {error.explanation}.{hint}"


def _wrote_outputs(command: list[str]) -> bool:
    """Whether kfp's executor wrote the outputs of the step, which is the last thing it does."""
    executor_input = json.loads(command[command.index("--executor_input") + 1])
    return Path(executor_input["outputs"]["outputFile"]).exists()


def _engine() -> docker.DockerClient:
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        place = os.environ.get("DOCKER_HOST", "the default socket")
        raise InputError(
            f"no Docker engine responds at {place} ({error}). Start one, check that you may use it (`docker info`), "
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
            f"the Docker engine has no image {', '.join(missing)}. Build the images with `make images`, or pull them."
        )


def _user(client: docker.DockerClient) -> str:
    """User and group of the caller, who then owns the outputs; in a rootless engine root is the caller."""
    rootless = "name=rootless" in client.info().get("SecurityOptions", [])
    return "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"


def _environment(feature_repo: Path | None) -> dict[str, str]:
    if feature_repo is None:
        return {}
    names = _VARIABLE.findall((feature_repo / "feature_store.yaml").read_text())
    return {name: os.environ[name] for name in names if name in os.environ}
