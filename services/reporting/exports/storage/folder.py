"""Files in a folder, which all processes share."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final
from uuid import uuid4

from services.reporting.exports.storage.storage import MissingFileError, StorageError, StorageFullError, write_only

PIECE_BYTES: Final = 256 * 1024
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_WORK: Final = "work"


class FolderStorage:
    """Files below a folder. A file is written under another name, synced, and renamed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def create(self, key: str) -> Iterator[IO[bytes]]:
        """Write a file; see ``Storage``."""
        path = self._folder / key
        with _storage_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{uuid4().hex}")
            try:
                with temporary.open("xb") as file:
                    yield write_only(file.write)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
                _sync_folder(path.parent)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise

    @contextmanager
    def open(self, key: str) -> Iterator[IO[bytes]]:
        """Open a file; see ``Storage``."""
        with _storage_errors(), (self._folder / key).open("rb") as file:
            yield file

    def read(self, key: str, start: int, length: int) -> Iterator[bytes]:
        """Read a part of a file; see ``Storage``."""
        with _storage_errors():
            file = (self._folder / key).open("rb")
        return _pieces(file, start, length)

    def delete_all(self, prefix: str, except_for: str | None = None) -> None:
        """Delete files; see ``Storage``."""
        kept = None if except_for is None else self._folder / except_for
        with _storage_errors():
            _delete_below(self._folder / prefix, kept)

    def work_folder(self, prefix: str) -> Path | None:
        """Return a folder on the same disk; see ``Storage``."""
        folder = self._folder / prefix / _WORK
        with _storage_errors():
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def check(self) -> None:
        """Write and delete a file."""
        with _storage_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            probe = self._folder / f".{uuid4().hex}"
            probe.write_bytes(b"")
            probe.unlink()


def _pieces(file: IO[bytes], start: int, length: int) -> Iterator[bytes]:
    with _storage_errors(), file:
        file.seek(start)
        while length > 0 and (piece := file.read(min(PIECE_BYTES, length))):
            length -= len(piece)
            yield piece


def _delete_below(folder: Path, kept: Path | None) -> None:
    if kept is None or folder not in kept.parents:
        if folder.exists():
            shutil.rmtree(folder)
        return
    for one in folder.iterdir():
        if one.is_dir():
            _delete_below(one, kept)
        elif one != kept:
            one.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingFileError(str(error)) from error
    except OSError as error:
        kind = StorageFullError if error.errno in _FULL else StorageError
        raise kind(f"{type(error).__name__}: {error}") from error
