"""The storage that the settings name."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from services.reporting.exports.storage.folder import FolderStorage
from services.reporting.exports.storage.storage import Storage

S3: Final = "s3://"


def open_storage(location: str, *, endpoint_url: str | None) -> Storage:
    """Return the storage at ``s3://bucket/prefix``, or at the path of a folder."""
    if not location.startswith(S3):
        return FolderStorage(Path(location))
    # boto3 takes half a second to import, which processes with a folder need not wait for.
    from services.reporting.exports.storage.s3 import S3Storage  # noqa: PLC0415

    parts = urlsplit(location)
    return S3Storage(parts.netloc, parts.path, endpoint_url=endpoint_url)
