"""An S3 store on this machine, for real but for its maker: moto's server, over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "shop"


@contextmanager
def running_s3(monkeypatch: pytest.MonkeyPatch, port: int = 0) -> Iterator[str]:
    """Run a store with one bucket, set the environment to it as that of a pod is set, and yield its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    endpoint = f"http://localhost:{server.get_host_and_port()[1]}"
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "eu-west-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    urlopen(Request(f"{endpoint}/moto-api/reset", method="POST")).read()  # its buckets outlive the server
    forget_connections()
    client().create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    try:
        yield endpoint
    finally:
        forget_connections()
        server.stop()


def client():  # type: ignore[no-untyped-def] # boto3 makes its classes at run time
    return boto3.client("s3", region_name="eu-west-1")


def forget_connections() -> None:
    """Another process would not have this one's connections."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()
