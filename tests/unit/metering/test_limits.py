"""Limits of a key: events per second, and the size of a request."""

import pytest

from services.metering.api.limits import KeyLimits
from services.metering.api.request_body import BodyError
from services.metering.store.keys import IngestKey
from shared.runtime.http.middleware import ProblemError


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def limits(clock: Clock, events_per_second: int = 10) -> KeyLimits:
    return KeyLimits(events_per_second=events_per_second, burst_seconds=2, max_body_bytes=100, clock=clock)


def key(name: str = "k", **own: int) -> IngestKey:
    return IngestKey(name, "scan", None, None, **own)


def retry_after(of: KeyLimits, one: IngestKey) -> str | None:
    try:
        of.admit(one)
    except ProblemError as error:
        return error.headers["Retry-After"] if error.status == 429 else f"answered {error.status}"
    return None


def test_a_key_waits_in_proportion_when_it_exceeds_its_limit() -> None:
    clock = Clock()
    bucket = limits(clock)
    assert retry_after(bucket, key()) is None
    bucket.spend(key(), 50)  # 20 were there
    assert retry_after(bucket, key()) == "3"
    clock.now = 2.9
    assert retry_after(bucket, key()) == "1"
    clock.now = 3.1
    assert retry_after(bucket, key()) is None


def test_keys_do_not_share_a_limit_and_may_have_their_own() -> None:
    bucket = limits(Clock())
    bucket.spend(key("a"), 1000)
    assert retry_after(bucket, key("a")) == "98"
    assert retry_after(bucket, key("b")) is None
    bucket.spend(key("c", events_per_second=1000), 1000)
    assert retry_after(bucket, key("c", events_per_second=1000)) is None


def test_an_idle_key_saves_no_more_than_a_burst() -> None:
    clock = Clock()
    bucket = limits(clock)
    clock.now = 3600
    bucket.spend(key(), 21)
    assert retry_after(bucket, key()) == "1"


def test_every_request_is_admitted_when_there_is_no_limit() -> None:
    bucket = limits(Clock(), events_per_second=0)
    bucket.spend(key(), 10**9)
    assert retry_after(bucket, key()) is None


def test_a_body_may_be_as_large_as_the_key_allows() -> None:
    bucket = limits(Clock())
    bucket.check_size(key(), 100)
    bucket.check_size(key(max_body_bytes=200), 200)
    for one, size in ((key(), 101), (key(max_body_bytes=50), 51)):
        with pytest.raises(BodyError) as error:
            bucket.check_size(one, size)
        assert error.value.status == 413
