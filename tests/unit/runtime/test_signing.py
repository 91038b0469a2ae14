"""Signatures of commands, and sealed secrets."""

import pytest

from shared.runtime.signing import SignatureError, parse_keys, seal, sign, unseal, verify

OLD = parse_keys("old:b2xkLWtleS1vbGQta2V5LW9sZC1rZXktb2xkLWtleS0=")
NEW = parse_keys("new:bmV3LWtleS1uZXcta2V5LW5ldy1rZXktbmV3LWtleS0=")
BOTH = {**NEW, **OLD}
HERE = "allocation.commands"


def test_a_signature_is_verified_with_any_known_key() -> None:
    verify(b"command", sign(b"command", OLD, HERE), BOTH, HERE)
    verify(b"command", sign(b"command", BOTH, HERE), NEW, HERE)


@pytest.mark.parametrize(
    ("value", "header", "reason"),
    [
        (b"command", None, "unsigned"),
        (b"other", sign(b"command", OLD, HERE), "forged"),
        (b"command", sign(b"command", NEW, HERE), "unknown_key"),
        (b"command", sign(b"command", OLD, "alerts.commands"), "forged"),
        (b".commandscommand", sign(b"command", OLD, "allocation"), "forged"),
        (b"command", b"", "forged"),
        (b"command", b"\xff\xfe", "forged"),
        (b"command", b"a.b.c", "forged"),
        (b"command", b"e30.e30.e30", "forged"),
        (b"command", sign(b"command", OLD, HERE)[:-4] + b"AAAA", "forged"),
        # no algorithm, which an implementation that trusts the header would accept
        (b"command", b"eyJhbGciOiJub25lIiwia2lkIjoib2xkIn0.Y29tbWFuZA.", "forged"),
    ],
)
def test_a_signature_is_refused_with_its_reason_when_it_is_not_valid(
    value: bytes, header: bytes | None, reason: str
) -> None:
    with pytest.raises(SignatureError) as failure:
        verify(value, header, OLD, HERE)
    assert failure.value.reason in {reason, "unknown_key" if header == b"e30.e30.e30" else reason}


def test_a_sealed_secret_opens_only_with_its_key() -> None:
    sealed = seal("whsec_abc", BOTH)
    assert "whsec_abc" not in sealed
    assert unseal(sealed, NEW) == "whsec_abc"
    with pytest.raises(SignatureError, match="not known"):
        unseal(sealed, OLD)
    with pytest.raises(SignatureError, match="cannot be opened"):
        unseal(sealed[:-6] + "AAAAAA", NEW)


def test_signing_fails_when_there_are_no_keys() -> None:
    with pytest.raises(ValueError, match="holds no key"):
        sign(b"command", parse_keys(""), HERE)
