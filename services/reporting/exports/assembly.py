"""The assembly of a file from its parts, in a thread."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from typing import IO

from services.reporting.domain.exports import ExportFile, Part
from services.reporting.exports.formats.file_format import About, FileFormat
from services.reporting.exports.storage.storage import Storage, write_only


class StoppedError(Exception):
    """The assembly was stopped: its result is not wanted any more."""


class Assembly:
    """Assembles one file. It can be stopped, since a thread cannot be cancelled."""

    def __init__(self, storage: Storage, format: FileFormat, about: About) -> None:
        self._storage = storage
        self._format = format
        self._about = about
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Make ``run`` end at its next write or part, without a file."""
        self._stopped.set()

    def run(self, parts: Sequence[Part], key: str, prefix: str) -> ExportFile:
        """Assemble the parts to a file named ``key``.

        ``prefix``: what all files of the export begin with.

        Raises:
            ExportError: the format cannot hold the rows.
            StorageError, MissingFileError: of the storage.
            StoppedError: it was stopped.
        """
        with self._storage.create(key) as file:
            digest = hashlib.sha256()

            def write(data: bytes) -> None:
                if self._stopped.is_set():
                    raise StoppedError
                file.write(data)
                digest.update(data)

            sink = write_only(write)
            folder = self._storage.work_folder(prefix)
            self._format.assemble(self._about, self._opened(parts), sink, folder)
        return ExportFile(key, sink.tell(), digest.hexdigest())

    def _opened(self, parts: Sequence[Part]) -> Iterator[IO[bytes]]:
        for part in parts:
            if self._stopped.is_set():
                raise StoppedError
            with self._storage.open(part.key) as opened:
                yield opened
