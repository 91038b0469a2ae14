"""A server of S3 in this process: moto's."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "exports"
_REGION = "eu-central-1"


@contextmanager
def s3_server() -> Iterator[str]:
    """Start a server with ``BUCKET``; yield its URL.

    The credentials are set in the environment.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", _REGION)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        server.start()
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        httpx.post(f"{url}/moto-api/reset").raise_for_status()  # servers of one process share what is stored
        place = {"LocationConstraint": _REGION}
        boto3.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
        try:
            yield url
        finally:
            server.stop()
