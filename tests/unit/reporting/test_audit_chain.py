"""The audit log's chains: the documented hash, and the first fault of a chain."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporting.domain.audit_chain import START, Chain, Fault, Head, Link, link_hash

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def chain_of(count: int) -> list[Link]:
    links: list[Link] = []
    previous = START
    for number in range(1, count + 1):
        record = {"at": "2026-01-02T03:04:05.678901Z", "account": "acme", "actor": "p@acme.example", "share": 0.1}
        read_out = {name: record.get(name) for name in ("account", "subscription", "actor", "action", "outcome")}
        recorded = json.dumps({**record, "units": number})
        columns = {**read_out, "at": AT, "record": recorded}
        own = link_hash(previous, number, f"e-{number}", "/s", recorded)
        links.append(Link(number, number * 10, f"e-{number}", "/s", recorded, previous, own, columns))
        previous = own
    return links


def first_fault(links: list[Link], head: Head | None) -> Fault | None:
    chain = Chain(head)
    for link in links:
        if fault := chain.add(link):
            return fault
    return chain.end()


def test_hash_is_of_the_documented_bytes() -> None:
    hashed = bytes(32) + b"\0\0\0\0\0\0\0\1" + b"\0\0\0\1e" + b"\0\0\0\2/s" + b"\0\0\0\3\xc3\xabx"
    assert link_hash(START, 1, "e", "/s", "\u00ebx") == hashlib.sha256(hashed).digest()
    assert link_hash(START, 1, "e", "/s", "\u00ebx").hex() == (
        "47494b8b800f7d047a677b99aa496eceae38ec1055b923cae12052a65225f235"
    )
    assert link_hash(START, 1, "e/", "s", "x") != link_hash(START, 1, "e", "/s", "x")


@given(st.integers(0, 8))
def test_chain_is_whole_when_unchanged(count: int) -> None:
    links = chain_of(count)
    assert first_fault(links, Head(count, links[-1].hash if links else START)) is None


@given(st.integers(1, 8), st.data())
def test_fault_is_found_when_a_record_is_changed_removed_or_repeated(count: int, data: st.DataObject) -> None:
    links = chain_of(count)
    head = Head(count, links[-1].hash)
    at = data.draw(st.integers(0, count - 1))
    one = links[at]
    changed = data.draw(
        st.sampled_from(
            [
                replace(one, event_id="other"),
                replace(one, source="other"),
                replace(one, recorded=one.recorded.replace("acme", "acne")),
                replace(one, hash=START),
                replace(one, previous_hash=one.hash),
                replace(one, columns={**one.columns, "actor": "other"}),
                replace(one, columns={**one.columns, "record": "{}"}),
                replace(one, sequence=0),
            ]
        )
    )
    for tampered in ([*links[:at], changed, *links[at + 1 :]], [*links[: at + 1], *links[at:]]):
        fault = first_fault(tampered, head)
        assert fault is not None
        assert fault.number == at + 1
    missing = first_fault([*links[:at], *links[at + 1 :]], head)
    assert missing is not None
    assert missing.number == at + 1


@pytest.mark.parametrize(
    ("head", "number", "word"), [(None, 1, "missing"), (Head(4, START), 4, "truncated"), (Head(2, START), 3, "added")]
)
def test_fault_is_found_when_the_head_differs(head: Head | None, number: int, word: str) -> None:
    fault = first_fault(chain_of(3), head)
    assert fault is not None
    assert (fault.number, fault.what.split(":")[0]) == (number, word)
