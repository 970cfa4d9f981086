"""Addresses that the steps of a pipeline can open: object stores, and folders of volumes that the steps mount."""

from pathlib import PurePosixPath

from pipelines.kubeflow.cluster import MOUNT, VARIABLE, ClusterConfig, read
from two_tower.config.fields import split
from two_tower.errors import InputError
from two_tower.object_stores import ENDPOINTS, MINIO, is_remote

STORES = ("s3://", "s3a://", MINIO, "gs://", "gcs://")


def check_address(option: str, address: str, cluster: ClusterConfig) -> None:
    """Check that the steps can open an address.

    Args:
        option: Option of the command, for the message.
        address: Path, or address of an object store.
        cluster: Settings of the cluster, which name the volumes and the endpoint.

    Raises:
        InputError: No store has the protocol, no volume that the steps mount has the path, or the endpoint of a
            minio:// address is unknown.
    """
    if not is_remote(address):
        check_mounted(option, address, cluster)
    elif not address.startswith(STORES):
        raise InputError(f"{option} {address!r} is not in an object store of the steps. Allowed: {', '.join(STORES)}.")
    elif not address.partition("://")[2].strip("/"):
        raise InputError(f"{option} {address!r} has no bucket. Pass {address.partition('://')[0]}://BUCKET/FOLDER.")
    elif address.startswith(MINIO) and not _has_endpoint(cluster):
        raise InputError(
            f"{option} {address!r} needs the address of the store and its keys, such as --set "
            "s3_endpoint=http://minio-service.kubeflow:9000 --set secrets=mlpipeline-minio-artifact/accesskey="
            "AWS_ACCESS_KEY_ID,mlpipeline-minio-artifact/secretkey=AWS_SECRET_ACCESS_KEY."
        )


def check_mounted(option: str, address: str, cluster: ClusterConfig) -> None:
    """Check that a path is in a volume that the steps mount.

    Raises:
        InputError: It is not.
    """
    path = PurePosixPath(address.removeprefix("file://"))
    mounts = [read(MOUNT, one)["path"] for one in split(cluster.volumes)]
    if ".." not in path.parts and any(path.is_relative_to(mount) for mount in mounts):
        return
    volumes = f"mount {', '.join(mounts)}" if mounts else "mount no volume"
    raise InputError(
        f"{option} {address!r} cannot be opened by the steps, which {volumes}. Mount one with --set volumes=CLAIM:/PATH"
        f"{'' if option == '--data-dir' else ', or pass s3://BUCKET/FOLDER or gs://BUCKET/FOLDER'}."
    )


def _has_endpoint(cluster: ClusterConfig) -> bool:
    variables = {read(VARIABLE, one)["key"] for one in split(cluster.environment)}
    return bool(cluster.s3_endpoint or variables & set(ENDPOINTS))
