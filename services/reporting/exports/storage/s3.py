"""Files in a bucket of S3, or of a server that speaks its protocol.

The credentials are those that boto3 finds in the process's environment.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import boto3
from boto3 import exceptions
from boto3.session import Config

from services.reporting.exports.storage.storage import MissingFileError, StorageError, write_only

PIECE_BYTES: Final = 256 * 1024
UPLOAD_BYTES: Final = 8 * 1024 * 1024
"""Bytes of a file that are held in memory and sent at once.

S3 wants 5 MiB at least.
"""
_MISSING: Final = "NoSuchKey"
# Of the library below boto3, which is installed with it and is not ours to name among the dependencies.
ClientError: Final = exceptions.botocore.exceptions.ClientError
BotoCoreError: Final = exceptions.botocore.exceptions.BotoCoreError


class S3Storage:
    """Files below a prefix of a bucket. A file is there once its upload is completed."""

    def __init__(self, bucket: str, prefix: str, *, endpoint_url: str | None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            config=Config(
                connect_timeout=5,
                read_timeout=30,
                retries={"max_attempts": 3, "mode": "standard"},
                # Servers other than Amazon's may know neither its host names nor its newest checksums.
                s3={"addressing_style": "path" if endpoint_url else "auto"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    @contextmanager
    def create(self, key: str) -> Iterator[IO[bytes]]:
        """Write a file; see ``Storage``."""
        upload = _Upload(self._client, {"Bucket": self._bucket, "Key": self._prefix + key})
        with _storage_errors():
            try:
                yield write_only(upload.write)
                upload.complete()
            except BaseException:
                upload.abort()
                raise

    @contextmanager
    def open(self, key: str) -> Iterator[IO[bytes]]:
        """Open a file; see ``Storage``."""
        with _storage_errors():
            body = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"]
            try:
                yield body
            finally:
                body.close()

    def read(self, key: str, start: int, length: int) -> Iterator[bytes]:
        """Read a part of a file; see ``Storage``."""
        if length == 0:
            return iter(())
        with _storage_errors():
            of = f"bytes={start}-{start + length - 1}"
            body = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, Range=of)["Body"]
        return _pieces(body)

    def delete_all(self, prefix: str, except_for: str | None = None) -> None:
        """Delete files; see ``Storage``.

        Unfinished uploads of killed workers are deleted too.
        """
        below = self._prefix + prefix
        kept = None if except_for is None else self._prefix + except_for
        with _storage_errors():
            for keys in self._keys(below):
                objects = [{"Key": key} for key in keys if key != kept]
                if objects:
                    failed = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects})
                    if errors := failed.get("Errors"):
                        raise StorageError(f"{len(errors)} files were not deleted: {errors[0].get('Code')}")
            for key, upload in self._uploads(below):
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)

    def work_folder(self, _prefix: str) -> Path | None:
        """Return ``None``: temporary files are in the system's folder."""
        return None

    def check(self) -> None:
        """Ask for the bucket."""
        with _storage_errors():
            self._client.head_bucket(Bucket=self._bucket)

    def _keys(self, prefix: str) -> Iterator[list[str]]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        yield from ([one["Key"] for one in page.get("Contents", ())] for page in pages)

    def _uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix)
        yield from ((one["Key"], one["UploadId"]) for page in pages for one in page.get("Uploads", ()))


class _Upload:
    """An upload of one object: whole if it is small, else in several pieces."""

    def __init__(self, client: Any, place: dict[str, str]) -> None:
        self._client = client
        self._place = place
        self._held = bytearray()
        self._id: str | None = None
        self._sent: list[dict[str, int | str]] = []

    def write(self, data: bytes) -> None:
        """Hold what is written, and send it in pieces."""
        self._held += data
        while len(self._held) >= UPLOAD_BYTES:
            self._send(bytes(self._held[:UPLOAD_BYTES]))
            del self._held[:UPLOAD_BYTES]

    def complete(self) -> None:
        """Finish the upload; only then is the object there."""
        if self._id is None:
            self._client.put_object(**self._place, Body=bytes(self._held))
            return
        if self._held:
            self._send(bytes(self._held))
        parts = {"Parts": self._sent}
        self._client.complete_multipart_upload(**self._place, UploadId=self._id, MultipartUpload=parts)

    def abort(self) -> None:
        """Delete what was sent; a failure leaves it until the export's files are deleted."""
        if self._id is not None:
            with suppress(BotoCoreError, ClientError):
                self._client.abort_multipart_upload(**self._place, UploadId=self._id)

    def _send(self, piece: bytes) -> None:
        if self._id is None:
            self._id = self._client.create_multipart_upload(**self._place)["UploadId"]
        number = len(self._sent) + 1
        sent = self._client.upload_part(**self._place, UploadId=self._id, PartNumber=number, Body=piece)
        self._sent.append({"PartNumber": number, "ETag": sent["ETag"]})


def _pieces(body: Any) -> Iterator[bytes]:
    with _storage_errors():
        try:
            yield from body.iter_chunks(PIECE_BYTES)
        finally:
            body.close()


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == _MISSING:
            raise MissingFileError(str(error)) from error
        raise StorageError(f"{type(error).__name__}: {error}") from error
    except (BotoCoreError, OSError) as error:
        raise StorageError(f"{type(error).__name__}: {error}") from error
