"""The storages: a folder, and a bucket of moto's server."""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from services.reporting.exports.storage.folder import FolderStorage
from services.reporting.exports.storage.opening import open_storage
from services.reporting.exports.storage.s3 import UPLOAD_BYTES
from services.reporting.exports.storage.storage import MissingFileError, Storage, StorageError, StorageFullError
from tests.support.servers.s3 import BUCKET, s3_server

SIZES = (0, 1, 300_000, UPLOAD_BYTES, 2 * UPLOAD_BYTES + 5)


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """Start a server of S3 with a bucket."""
    with s3_server() as url:
        yield url


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Each storage in turn."""
    if request.param == "folder":
        return open_storage(str(tmp_path / "exports"), endpoint_url=None)
    prefix = "".join(one if one.isalnum() else "-" for one in request.node.name)
    return open_storage(f"s3://{BUCKET}/{prefix}", endpoint_url=request.getfixturevalue("s3_url"))


def write(storage: Storage, key: str, content: bytes) -> None:
    """Write a file in pieces."""
    with storage.create(key) as file:
        for start in range(0, len(content), 100_000):
            file.write(content[start : start + 100_000])


def write_half(storage: Storage, key: str, size: int) -> None:
    """Fail in the middle of a file."""
    with storage.create(key) as file:
        file.write(b"y" * size)
        raise ZeroDivisionError


def read(storage: Storage, key: str) -> bytes:
    """Read a whole file."""
    with storage.open(key) as file:
        return file.read()


def exists(storage: Storage, key: str) -> bool:
    """Whether there is a file."""
    try:
        read(storage, key)
    except MissingFileError:
        return False
    return True


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_read(storage: Storage, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    write(storage, "a/parts/1", content[:size])
    assert read(storage, "a/parts/1") == content[:size]
    if size:
        middle = b"".join(storage.read("a/parts/1", size // 2, size - size // 2))
        assert middle == content[size // 2 : size]


def test_a_range_is_read_and_a_missing_file_is_found_out_at_once(storage: Storage) -> None:
    write(storage, "a/file", b"0123456789")
    assert b"".join(storage.read("a/file", 3, 4)) == b"3456"
    with pytest.raises(MissingFileError):
        storage.read("a/other", 0, 1)
    assert not exists(storage, "a/other")


@pytest.mark.parametrize("size", [10, UPLOAD_BYTES + 10])
def test_a_file_is_not_there_before_it_is_whole(storage: Storage, size: int) -> None:
    with storage.create("a/file") as file:
        file.write(b"x" * size)
        assert not exists(storage, "a/file")
    assert exists(storage, "a/file")
    with pytest.raises(ZeroDivisionError):
        write_half(storage, "a/file", size)
    assert read(storage, "a/file") == b"x" * size, "the one before is still whole"
    with pytest.raises(ZeroDivisionError):
        write_half(storage, "a/half", size)
    assert not exists(storage, "a/half")


def test_all_files_of_an_export_are_deleted_but_one(storage: Storage) -> None:
    for key in ("a/parts/1", "a/parts/2", "a/file-1", "a/file-2", "b/file"):
        write(storage, key, b"x")
    storage.delete_all("a/", "a/file-2")
    there = [key for key in ("a/parts/1", "a/parts/2", "a/file-1", "a/file-2", "b/file") if exists(storage, key)]
    assert there == ["a/file-2", "b/file"]
    storage.delete_all("a/")
    storage.delete_all("a/")
    assert not exists(storage, "a/file-2")
    assert exists(storage, "b/file")


def test_more_files_than_one_page_are_deleted(s3_url: str) -> None:
    storage = open_storage(f"s3://{BUCKET}/many", endpoint_url=s3_url)
    for number in range(1005):
        write(storage, f"a/parts/{number}", b"")
    storage.delete_all("a/")
    client = boto3.client("s3", endpoint_url=s3_url)
    assert client.list_objects_v2(Bucket=BUCKET, Prefix="many/")["KeyCount"] == 0


def test_an_upload_that_a_killed_worker_left_is_aborted(s3_url: str) -> None:
    storage = open_storage(f"s3://{BUCKET}/left", endpoint_url=s3_url)
    left = storage.create("a/file")
    left.__enter__().write(b"x" * (UPLOAD_BYTES + 1))
    client = boto3.client("s3", endpoint_url=s3_url)

    def uploads() -> int:
        return len(client.list_multipart_uploads(Bucket=BUCKET, Prefix="left/").get("Uploads", []))

    assert uploads() == 1
    storage.delete_all("a/")
    assert uploads() == 0


def test_temporary_files_are_deleted_with_their_export(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    folder = storage.work_folder("a/")
    assert folder is not None
    (folder / "temporary").write_text("x")
    storage.delete_all("a/")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Let files of this process grow to a size only, as on a disk that is full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_in_the_middle_of_a_file(tmp_path: Path, full_disk: Callable[[int], None]) -> None:
    storage = FolderStorage(tmp_path)
    write(storage, "a/file", b"before")
    full_disk(250_000)
    with pytest.raises(StorageFullError):
        write(storage, "a/file", b"x" * 1_000_000)
    assert read(storage, "a/file") == b"before"
    assert [one.name for one in (tmp_path / "a").iterdir()] == ["file"], "no half file is left"


def test_a_folder_that_is_none_and_a_server_that_is_away(tmp_path: Path, s3_url: str) -> None:
    (tmp_path / "file").write_text("x")
    away = open_storage(f"s3://{BUCKET}/x", endpoint_url="http://127.0.0.1:9")
    for storage in (FolderStorage(tmp_path / "file"), away, open_storage("s3://nothing/x", endpoint_url=s3_url)):
        with pytest.raises(StorageError):
            storage.check()
        with pytest.raises(StorageError):
            write(storage, "a/file", b"x")
    FolderStorage(tmp_path / "new").check()
    open_storage(f"s3://{BUCKET}/x", endpoint_url=s3_url).check()
