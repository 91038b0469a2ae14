"""What a storage of files does. Its methods block: call them in a thread."""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol, cast


class StorageError(Exception):
    """The storage does not answer, or refuses; a retry may succeed.

    The message says why.
    """


class StorageFullError(StorageError):
    """There is no space left."""


class MissingFileError(Exception):
    """There is no file under the key."""


class Storage(Protocol):
    """Files by key.

    A key is names separated by ``/``, of ASCII letters, digits, ``-``, ``_`` and points.

    All methods raise ``StorageError`` when the storage does not answer.
    """

    def create(self, key: str) -> AbstractContextManager[IO[bytes]]:
        """Write a file, which cannot seek.

        It is there once the block has ended without an error, whole and durable; it replaces another one then.
        """
        ...

    def open(self, key: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file for reading from its beginning.

        Raises:
            MissingFileError: there is none.
        """
        ...

    def read(self, key: str, start: int, length: int) -> Iterator[bytes]:
        """Read a part of a file in pieces.

        The file is opened, and may be missing, when this is called.

        Raises:
            MissingFileError: there is none.
        """
        ...

    def delete_all(self, prefix: str, except_for: str | None = None) -> None:
        """Delete all files below ``prefix``, which ends with ``/``, but one."""
        ...

    def work_folder(self, prefix: str) -> Path | None:
        """Return a folder for temporary files; ``None``: the system's.

        It is deleted with ``prefix``.
        """
        ...

    def check(self) -> None:
        """Check that files can be stored."""
        ...


class _WriteOnly(io.RawIOBase):
    def __init__(self, write: Callable[[bytes], object]) -> None:
        super().__init__()
        self._write = write
        self._count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        whole = bytes(data)  # type: ignore[call-overload]  # what libraries write: bytes, or views of their buffers
        self._write(whole)
        self._count += len(whole)
        return len(whole)

    def tell(self) -> int:
        return self._count


def write_only(write: Callable[[bytes], object]) -> IO[bytes]:
    """Return a file that is written by ``write``, from its beginning to its end.

    ``tell`` counts; it cannot seek, since a bucket cannot.
    """
    return cast("IO[bytes]", _WriteOnly(write))
