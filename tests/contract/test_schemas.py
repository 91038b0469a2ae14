"""The committed contracts are current and compatible within a major version."""

import json
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import Field, create_model

from shared.events.alerts import DeliverySettled
from shared.events.envelope import Payload, by_type, decode
from shared.events.ids import SubscriptionRef
from shared.events.schemas import EXAMPLES, SCHEMAS, every_payload, example_file, schema_file, schema_of
from shared.events.schemas.__main__ import breaking_changes, contents, outdated
from shared.events.schemas.asyncapi import DOCUMENTS
from shared.events.schemas.compatibility import breaks

ROOT = SCHEMAS.parents[2]
PAYLOADS = every_payload()
each = pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.event_type)


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def test_every_file_is_current() -> None:
    assert not list(breaking_changes(PAYLOADS))
    assert not outdated(contents(PAYLOADS)), "run: python -m shared.events.schemas"


def test_there_is_no_file_without_an_event() -> None:
    names = {payload.event_type for payload in PAYLOADS}
    assert {file.stem for file in SCHEMAS.glob("*.json")} == names
    assert {file.stem for file in EXAMPLES.glob("*.json")} == names


def test_committed_schemas_are_compatible_with_those_of_the_last_commit() -> None:
    """The baseline is the last commit's files, not those of the working tree."""
    tree = ["git", "ls-tree", "--name-only", "HEAD", "shared/events/schemas/"]
    found = subprocess.run(tree, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("there is no git history here")
    for name in (line for line in found.stdout.split() if line.endswith(".json")):
        show = subprocess.run(["git", "show", f"HEAD:{name}"], cwd=ROOT, capture_output=True, text=True, check=True)
        assert (ROOT / name).exists(), f"{name} was removed"
        assert breaks(json.loads(show.stdout), _read(ROOT / name)) == [], name


@each
def test_a_golden_example_is_equal_when_read_and_written(payload: type[Payload]) -> None:
    golden = _read(example_file(payload))
    event = decode(json.dumps(golden).encode(), by_type(PAYLOADS))
    assert event is not None
    assert type(event.data) is payload
    again = json.loads(event.encode())
    assert decode(event.encode(), by_type(PAYLOADS)) == event
    assert list(_differences(golden, again)) == []


@each
def test_an_example_fits_its_schema_and_another_types_does_not(payload: type[Payload]) -> None:
    schema = _read(schema_file(payload))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    validator.validate(_read(example_file(payload)))
    other = PAYLOADS[(PAYLOADS.index(payload) + 1) % len(PAYLOADS)]
    assert not validator.is_valid(_read(example_file(other)))


@each
def test_removing_any_field_is_refused(payload: type[Payload]) -> None:
    old = schema_of(payload)
    assert breaks(old, deepcopy(old)) == []
    for path, owner in _objects(old):
        for name in owner["properties"]:
            new = deepcopy(old)
            del _at(new, path)["properties"][name]
            assert any(f"{name}: the field was removed" in fault for fault in breaks(old, new)), (path, name)


@each
def test_a_new_required_field_is_refused_and_an_optional_one_is_not(payload: type[Payload]) -> None:
    old = schema_of(payload)
    for path, _ in _objects(old):
        new = deepcopy(old)
        _at(new, path)["properties"]["planted"] = {"type": "string"}
        assert breaks(old, new) == []
        _at(new, path).setdefault("required", []).append("planted")
        assert any("planted: a new field is required" in fault for fault in breaks(old, new)), path


@each
def test_another_type_is_refused_in_both_directions(payload: type[Payload]) -> None:
    old = schema_of(payload)
    for path, owner in _objects(old):
        for name in owner["properties"]:
            new = deepcopy(old)
            _at(new, path)["properties"][name] = {"type": "planted"}
            assert breaks(old, new), (path, name)
            assert breaks(new, old), (path, name)


class _Planted(Payload):
    """A copy of ``DeliverySettled``, to which tests make changes."""

    event_type = DeliverySettled.event_type


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"attempts": None}, "data.attempts: the field was removed"),
        ({"attempts": Annotated[int, Field(ge=1, le=5)]}, "data.attempts: maximum was None, is 5"),
        ({"attempts": Annotated[int, Field(ge=0)]}, "data.attempts: minimum was 1, is 0"),
        ({"attempts": Annotated[Decimal, Field(ge=1)]}, "data.attempts: no longer takes integer"),
        ({"attempts": int | None}, "data.attempts: also takes null, which an older reader does not"),
        ({"outcome": Literal["delivered"]}, "data.outcome: "),
        ({"outcome": Literal["delivered", "dead", "lost"]}, "data.outcome: enum was"),
        ({"receiver": str}, "data.receiver: a new field is required"),
        ({"subscription": str}, "data.subscription: "),
        ({"last_error": str}, "data.last_error: was optional, is required"),
    ],
)
def test_a_change_of_a_model_is_refused_when_it_breaks_the_committed_schema(fields: dict[str, Any], says: str) -> None:
    assert any(says in fault for fault in breaking_changes((_planted(fields),)))


def test_an_optional_field_is_accepted_when_added_to_a_model() -> None:
    planted = _planted({"receiver": (str | None, None)})
    assert not [fault for fault in breaking_changes((planted,)) if planted.event_type in fault]


def test_a_type_is_refused_when_no_topic_carries_it_any_more() -> None:
    assert f"{DeliverySettled.event_type}: no topic carries it any more" in list(
        breaking_changes(tuple(payload for payload in PAYLOADS if payload is not DeliverySettled))
    )


def test_every_reference_of_an_asyncapi_document_leads_to_a_schema() -> None:
    documents = sorted(DOCUMENTS.glob("*.json"))
    assert [file.stem for file in documents] == ["alerts", "allocation", "metering", "reporting"]
    for file in documents:
        document = _read(file)
        for channel in document["channels"].values():
            for message in channel["messages"].values():
                target = (DOCUMENTS / message["payload"]["$ref"]).resolve()
                assert _read(target)["title"] == message["name"]
        for operation in document["operations"].values():
            assert operation["channel"]["$ref"].removeprefix("#/channels/") in document["channels"]


def _planted(fields: dict[str, Any]) -> type[Payload]:
    """Build a model with ``DeliverySettled``'s fields, changed; ``None`` removes one."""
    kept: dict[str, Any] = {name: (info.annotation, info) for name, info in DeliverySettled.model_fields.items()}
    kept["subscription"] = (SubscriptionRef, ...)
    for name, change in fields.items():
        if change is None:
            del kept[name]
        else:
            kept[name] = change if isinstance(change, tuple) else (change, ...)
    return create_model("Planted", __base__=_Planted, **kept)


def _objects(schema: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield every object of a schema, with its path."""
    yield (), schema
    for name, definition in schema.get("$defs", {}).items():
        if "properties" in definition:
            yield ("$defs", name), definition


def _at(schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for name in path:
        schema = schema[name]
    return schema


def _differences(golden: Any, again: Any, place: str = "") -> Iterator[str]:
    """Yield lost and changed values of an example; added defaults are no loss."""
    if isinstance(golden, dict) and isinstance(again, dict):
        for name, value in golden.items():
            if name not in again:
                yield f"{place}.{name} is lost"
            else:
                yield from _differences(value, again[name], f"{place}.{name}")
    elif isinstance(golden, list) and isinstance(again, list) and len(golden) == len(again):
        for number, (one, other) in enumerate(zip(golden, again, strict=True)):
            yield from _differences(one, other, f"{place}[{number}]")
    elif golden != again:
        yield f"{place}: {golden!r} became {again!r}"
