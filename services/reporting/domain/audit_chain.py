"""The chains of the audit log: what a record's hash is of, and where a chain is broken.

The records of an account are numbered 1, 2, 3, ... and each holds the hash of the one before it. A hash is the SHA-256
of

- the hash before (32 bytes; the first record's: 32 zero bytes),
- the record's number in its chain (8 bytes, big-endian),
- the event's id, its source and the record, each as its length in bytes (4 bytes, big-endian) and its UTF-8.

The record is its JSON text as it was taken in, byte for byte. The database computes the hash as it appends
(``audit_hash`` in migration 0004); here it is computed again from the stored row.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

START = bytes(32)
"""What stands for the hash before the first record's."""

_READ_OUT = ("account", "subscription", "actor", "action", "outcome")


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of a chain says: how many records there are, and the hash of the last."""

    records: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """A stored record. ``columns`` are those that were read out of it, ``record`` among them (as JSON text)."""

    number: int
    sequence: int
    event_id: str
    source: str
    recorded: str
    previous_hash: bytes
    hash: bytes
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """The first record of a chain that is not as it must be, and what is wrong with it."""

    number: int
    what: str


def link_hash(previous_hash: bytes, number: int, event_id: str, source: str, recorded: str) -> bytes:
    """The hash of a record at its place."""
    parts = [part.encode() for part in (event_id, source, recorded)]
    told = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hashlib.sha256(previous_hash + number.to_bytes(8, "big") + told).digest()


class Chain:
    """A chain that is gone along, record by record. It keeps the last only."""

    def __init__(self, head: Head | None) -> None:
        self.records = 0
        self.hash = START
        self._head = head
        self._sequence = 0

    def add(self, link: Link) -> Fault | None:
        """Go on to the next record; what is wrong with it."""
        if fault := self._fault(link):
            return fault
        self.records, self.hash, self._sequence = link.number, link.hash, link.sequence
        return None

    def end(self) -> Fault | None:
        """There are no more records: what the head says against it."""
        if self._head is None:
            return Fault(1, "missing: the head of the chain")
        if self.records < self._head.records:
            there = f"the head tells of {self._head.records} records, the log ends after {self.records}"
            return Fault(self.records + 1, f"truncated: {there}")
        if self.records > self._head.records:
            return Fault(self._head.records + 1, f"added: the head tells of {self._head.records} records only")
        if self.hash != self._head.hash:
            return Fault(self.records, "hash wrong: the head of the chain tells of another")
        return None

    def _fault(self, link: Link) -> Fault | None:
        wanted = self.records + 1
        if link.number > wanted:
            return Fault(wanted, f"missing: the next one that is there is {link.number}")
        if link.number < wanted:
            return Fault(link.number, "added: there is more than one of this number")
        what = self._wrong(link)
        return Fault(wanted, what) if what else None

    def _wrong(self, link: Link) -> str | None:
        if link.previous_hash != self.hash:
            return "hash wrong: it does not follow the record before it, or that one was replaced"
        if link.hash != link_hash(self.hash, link.number, link.event_id, link.source, link.recorded):
            return "changed: its hash is not that of what it says"
        if name := _changed_column(link):
            return f"changed: its column {name} is not what was recorded"
        if link.sequence <= self._sequence:
            return "moved: it stands in the log before the record that it follows"
        return None


def _changed_column(link: Link) -> str | None:
    """A column that does not say what the hashed text says."""
    try:
        recorded, record = _read(link.recorded), _read(link.columns["record"])
        at = datetime.fromisoformat(recorded["at"])
    except (ValueError, TypeError, KeyError):
        return "recorded"
    if record != recorded:
        return "record"
    if at != link.columns["at"]:
        return "at"
    return next((name for name in _READ_OUT if link.columns[name] != recorded.get(name)), None)


def _read(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)
