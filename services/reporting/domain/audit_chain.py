"""The chains of the audit log.

This module computes the hash of a record, and finds the first fault of a chain.

The records of an account are numbered 1, 2, 3, ... and each holds the hash of the previous one. A hash is the SHA-256
of

- the previous hash (32 bytes; the first record's: 32 zero bytes),
- the record's number in its chain (8 bytes, big-endian),
- the event's id, its source and the record, each as its length in bytes (4 bytes, big-endian) and its UTF-8.

The record is its JSON text as it was received, byte for byte. The database computes the hash when it appends
(``audit_hash`` in migration 0004); here it is recomputed from the stored row.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

START = bytes(32)
"""The previous hash of the first record."""

_EXTRACTED = ("account", "subscription", "actor", "action", "outcome")


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a chain: its number of records, and the hash of the last."""

    records: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """A stored record.

    ``columns`` are those extracted from it, ``record`` among them (as JSON text).
    """

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
    """The first wrong record of a chain, and what is wrong with it."""

    number: int
    what: str


def link_hash(previous_hash: bytes, number: int, event_id: str, source: str, recorded: str) -> bytes:
    """Compute the hash of a record at its place in the chain."""
    parts = [part.encode() for part in (event_id, source, recorded)]
    encoded = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hashlib.sha256(previous_hash + number.to_bytes(8, "big") + encoded).digest()


class Chain:
    """The verification of a chain, record by record.

    Only the last record's hash is held.
    """

    def __init__(self, head: Head | None) -> None:
        self.records = 0
        self.hash = START
        self._head = head
        self._sequence = 0

    def add(self, link: Link) -> Fault | None:
        """Verify the next record; return its fault, if any."""
        if fault := self._fault(link):
            return fault
        self.records, self.hash, self._sequence = link.number, link.hash, link.sequence
        return None

    def end(self) -> Fault | None:
        """Compare the head with the last record; return the fault, if any."""
        if self._head is None:
            return Fault(1, "missing: the head of the chain")
        if self.records < self._head.records:
            there = f"the head counts {self._head.records} records, the log ends after {self.records}"
            return Fault(self.records + 1, f"truncated: {there}")
        if self.records > self._head.records:
            return Fault(self._head.records + 1, f"added: the head counts {self._head.records} records only")
        if self.hash != self._head.hash:
            return Fault(self.records, "hash wrong: the head of the chain has another hash")
        return None

    def _fault(self, link: Link) -> Fault | None:
        wanted = self.records + 1
        if link.number > wanted:
            return Fault(wanted, f"missing: the next record is {link.number}")
        if link.number < wanted:
            return Fault(link.number, "added: there are several records with this number")
        what = self._wrong(link)
        return Fault(wanted, what) if what else None

    def _wrong(self, link: Link) -> str | None:
        if link.previous_hash != self.hash:
            return "hash wrong: it does not follow the previous record, or that one was replaced"
        if link.hash != link_hash(self.hash, link.number, link.event_id, link.source, link.recorded):
            return "changed: its hash is not that of its content"
        if name := _changed_column(link):
            return f"changed: its column {name} is not what was recorded"
        if link.sequence <= self._sequence:
            return "moved: it is in the log before the record that it follows"
        return None


def _changed_column(link: Link) -> str | None:
    """Return the first column that differs from the hashed text."""
    try:
        recorded, record = _read(link.recorded), _read(link.columns["record"])
        at = datetime.fromisoformat(recorded["at"])
    except (ValueError, TypeError, KeyError):
        return "recorded"
    if record != recorded:
        return "record"
    if at != link.columns["at"]:
        return "at"
    return next((name for name in _EXTRACTED if link.columns[name] != recorded.get(name)), None)


def _read(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)
