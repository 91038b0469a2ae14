"""Exports in each storage, and storages that fail while one is made."""

import resource
from pathlib import Path

import boto3
import httpx
import pytest

from services.reporting.exports.storage.opening import open_storage
from tests.conftest import MakeDatabase
from tests.support.builders.numbered_rows import numbered
from tests.support.builders.published import PRIMARY
from tests.support.drivers.exports import exporting
from tests.support.servers.s3 import BUCKET, s3_server
from tests.support.servers.token_issuer import Issuer

ACME = {"subscription": "sub-1"}


def in_folder_file(folder: Path, export: str) -> Path:
    """The file of an export in a folder."""
    (file,) = (folder / export).glob("file-*")
    return file


@pytest.mark.parametrize("format", ["csv", "xlsx", "parquet"])
async def test_an_export_in_a_bucket(
    database: MakeDatabase, shared_issuer: Issuer, tmp_path: Path, format: str
) -> None:
    with s3_server() as url:
        location = {"export_storage": f"s3://{BUCKET}/reports", "export_endpoint_url": url}
        async with exporting(await database("reporting"), shared_issuer, tmp_path, **location) as exports:
            in_folder = await exports.queue(PRIMARY, params=ACME, format=format)
            await exports.worker(numbered(250)).work_on_one()
            exports.clock.move(minutes=20)
            exports.storage = open_storage(location["export_storage"], endpoint_url=url)
            export = await exports.queue(PRIMARY, params=ACME, format=format)
            await exports.worker(numbered(250)).work_on_one()
            shown = await exports.shown(export, PRIMARY)
            assert (shown["state"], shown["rows_done"]) == ("succeeded", 250)
            whole = await exports.file(export, PRIMARY)
            assert (whole.status_code, len(whole.content)) == (200, shown["file"]["bytes"])
            if format != "xlsx":  # it says when it was made
                assert whole.content == in_folder_file(tmp_path, in_folder).read_bytes()
            part = await exports.file(export, PRIMARY, Range="bytes=10-19")
            assert (part.status_code, part.content) == (206, whole.content[10:20])
            assert (await exports.reporting.http.get(shown["link"]["url"])).content == whole.content

            client = boto3.client("s3", endpoint_url=url)
            exports.clock.move(days=8)
            await exports.clean()
            assert client.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    assert not list(Path("/tmp").glob("unitpool-export-*"))  # noqa: ASYNC240, S108


async def test_a_bucket_that_is_away_while_a_file_is_downloaded(
    database: MakeDatabase, shared_issuer: Issuer, tmp_path: Path
) -> None:
    async def ask() -> httpx.Response:
        return await exports.file(export, PRIMARY)

    with s3_server() as url:
        location = {"export_storage": f"s3://{BUCKET}", "export_endpoint_url": url}
        async with exporting(await database("reporting"), shared_issuer, tmp_path, **location) as exports:
            exports.storage = open_storage(location["export_storage"], endpoint_url=url)
            export = await exports.queue(PRIMARY, params=ACME)
            await exports.worker(numbered(5)).work_on_one()
            client = boto3.client("s3", endpoint_url=url)
            for one in client.list_objects_v2(Bucket=BUCKET)["Contents"]:
                client.delete_object(Bucket=BUCKET, Key=one["Key"])
            assert (await ask()).json()["detail"] == "The file of this export is gone. Export it again."
            client.delete_bucket(Bucket=BUCKET)
            answer = await ask()
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert "Retry-After" in answer.headers


@pytest.mark.parametrize("format", ["csv", "xlsx", "parquet"])
async def test_a_disk_that_is_full_in_the_middle_of_a_file(
    database: MakeDatabase, shared_issuer: Issuer, tmp_path: Path, format: str
) -> None:
    async with exporting(await database("reporting"), shared_issuer, tmp_path) as exports:
        export = await exports.queue(PRIMARY, params=ACME, format=format)
        worker = exports.worker(numbered(3000))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
        try:
            await worker.work_on_one()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        shown = await exports.shown(export, PRIMARY)
        assert (shown["state"], shown["rows_done"]) == ("queued", 3000), "all parts are there, the file did not fit"
        assert not [one for one in exports.stored() if "/file-" in one or "work" in one], "nothing of it is left"
        assert (await exports.file(export, PRIMARY)).status_code == 404
        exports.clock.move(minutes=1)
        await worker.work_on_one()
        assert (await exports.shown(export, PRIMARY))["state"] == "succeeded"
