"""Object stores by address (s3://, minio://, gs://): opening them, their errors, and the versions of their objects.

Every part of the project that reads or writes an object store opens it here, so one set of environment variables
configures all of them:

    AWS_ENDPOINT_URL            address of an S3 store other than AWS, such as MinIO
    AWS_REGION                  region of the buckets; AWS_DEFAULT_REGION has precedence
    TWO_TOWER_S3_ADDRESSING     `path` or `virtual`: whether the path or the host name of a request names the bucket;
                                by default the host name on AWS, the path elsewhere

Credentials are those that the clients of boto3 and gcsfs find: variables, files, or the account of a pod.
"""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec  # type: ignore[import-untyped]

from two_tower.errors import InputError, StorageError

MINIO = "minio://"  # an S3 store that is not AWS, in the addresses of Kubeflow Pipelines
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
ADDRESSING = "TWO_TOWER_S3_ADDRESSING"
S3_READ_WITHIN = 5  # seconds that an S3 store may send nothing. A store that hangs fails a call after about 30 s:
S3_ATTEMPTS, S3_TRIES = 3, 2  # botocore sends a request 3 times, and s3fs has it do so twice
_CLIENT_ERRORS = {  # by package of the file system: errors of its client other than OSError, such as a failed login
    "s3fs": ("botocore.exceptions", "BotoCoreError"),
    "gcsfs": ("google.auth.exceptions", "GoogleAuthError"),
}
_VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created")  # by the client: of an object's content


def is_remote(address: str) -> bool:
    """Return whether an address is that of an object store, and not a path or a file:// URL of this machine."""
    return "://" in address and not address.startswith(("file://", "local://"))


def file_system(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of an address, and the path in it.

    Args:
        address: Path, or address such as s3://bucket/prefix.

    Raises:
        InputError: The address is a minio:// one and the endpoint of the store is not set.
        ImportError: The package of the protocol is not installed.
        ValueError: The protocol is unknown.
    """
    if address.startswith(MINIO):
        if not any(os.environ.get(name) for name in ENDPOINTS):
            raise InputError(
                f"{address} needs the address of the store. Set AWS_ENDPOINT_URL, such as "
                "http://minio-service.kubeflow:9000; for the steps of a pipeline, set s3_endpoint."
            )
        address = f"s3://{address.removeprefix(MINIO)}"
    is_s3 = address.startswith(("s3://", "s3a://"))
    options = _s3_options() if is_s3 else {}
    fs, path = fsspec.core.url_to_fs(address, use_listings_cache=False, **options)  # other processes write, too
    if is_s3:
        fs.retries = S3_TRIES
    return fs, path


def _s3_options() -> dict[str, Any]:
    """Settings of the S3 client that botocore does not read from the environment."""
    config: dict[str, Any] = {"read_timeout": S3_READ_WITHIN, "retries": {"total_max_attempts": S3_ATTEMPTS}}
    options: dict[str, Any] = {"config_kwargs": config}
    if addressing := os.environ.get(ADDRESSING):
        config["s3"] = {"addressing_style": addressing}
    if (region := os.environ.get("AWS_REGION")) and not os.environ.get("AWS_DEFAULT_REGION"):
        options["client_kwargs"] = {"region_name": region}
    return options


@contextmanager
def client_errors(fs: Any, path: str) -> Iterator[None]:
    """Turn errors of a store's client into StorageError, except those of a file that exists or does not.

    Args:
        fs: File system of `file_system`.
        path: Path in it, for the message.

    Raises:
        StorageError: The store cannot be reached, or refuses access.
    """
    errors: tuple[type[Exception], ...] = (OSError, *_errors(type(fs).__module__))
    try:
        yield
    except (FileNotFoundError, FileExistsError, StorageError):
        raise
    except errors as error:
        raise StorageError(
            f"{fs.unstrip_protocol(path)} cannot be reached: {error} Check the address, the credentials "
            "and, for your own store, its endpoint (S3: AWS_ENDPOINT_URL)."
        ) from error


def _errors(module: str) -> tuple[type[Exception], ...]:
    """The error class of a file system's client, by the module of the file system; empty if it raises only OSError."""
    package = module.split(".")[0]
    if package not in _CLIENT_ERRORS:
        return ()
    errors, name = _CLIENT_ERRORS[package]
    return (getattr(importlib.import_module(errors), name),)


def versions(address: str) -> dict[str, str]:
    """Return a text for each file at an address of a store that changes when the file is written with other content.

    Args:
        address: Address of a file, or of a folder with all files below it.

    Returns:
        Size and version by path. It is empty if nothing is there.

    Raises:
        StorageError: The store cannot be reached, or refuses access.
    """
    fs, path = file_system(address)
    with client_errors(fs, path):
        found = fs.find(path, detail=True)
    return {name: f"{entry['size']} {_version(entry)}" for name, entry in sorted(found.items())}


def _version(entry: dict[str, Any]) -> str:
    return next((str(entry[name]) for name in _VERSIONS if entry.get(name)), "")
