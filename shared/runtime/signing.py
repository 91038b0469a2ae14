"""Signatures of commands, and seals of secrets in them.

Only the services have the keys for both.

The Kafka header ``unitpool-signature`` holds a JWS (RFC 7515, compact, HS256, key by id) over the SHA-256 of the
topic's name (without the installation's prefix) and the value: a signature for one topic is not valid on another.
A sealed secret is a JWE (RFC 7516, ``dir`` with ``A256GCM``) under a key derived from the same one.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from joserfc import jwe, jws
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

SIGNATURE_HEADER = "unitpool-signature"
MIN_KEY_BYTES = 32

Keys = Mapping[str, bytes]
"""Keys by their id, in the order of the setting: the first signs, all verify."""


class SignatureError(Exception):
    """The signature or seal is not valid. ``reason`` is a stable code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def parse_keys(setting: str) -> Keys:
    """Read ``id:base64,id:base64``.

    Raises:
        ValueError: an entry without id or key, an unreadable or short key, an id twice. Never shows a key.
    """
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(filter(None, (part.strip() for part in setting.split(","))), start=1):
        key_id, separator, encoded = entry.partition(":")
        if not separator or not key_id:
            raise ValueError(f"key {number} is not written as id:base64")
        try:
            key = base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
        except binascii.Error:
            raise ValueError(f"key {key_id!r} is not base64") from None
        if len(key) < MIN_KEY_BYTES:
            raise ValueError(f"key {key_id!r} has {len(key)} bytes, fewer than {MIN_KEY_BYTES}")
        if key_id in keys:
            raise ValueError(f"key id {key_id!r} is there twice")
        keys[key_id] = key
    return keys


def sign(value: bytes, keys: Keys, topic: str) -> bytes:
    """Sign ``value`` for ``topic`` with the first key; returns the header's value."""
    key_id, key = _first(keys)
    digest = _digest(value, topic)
    return jws.serialize_compact({"alg": "HS256", "kid": key_id}, digest, _signing_key(key)).encode()


def verify(value: bytes, header: bytes | None, keys: Keys, topic: str) -> None:
    """Check that one of ``keys`` signed exactly these bytes for this topic.

    Raises:
        SignatureError: ``unsigned``, ``unknown_key`` or ``forged``.
    """
    if header is None:
        raise SignatureError("unsigned", "the command has no signature")

    def find(candidate: Any) -> OctKey:
        key = keys.get(str(candidate.headers().get("kid")))
        if key is None:
            raise SignatureError("unknown_key", "the command is signed with a key that is not known here")
        return _signing_key(key)

    try:
        signed = jws.deserialize_compact(header, find, algorithms=["HS256"])
    except (JoseError, ValueError) as error:
        raise SignatureError("forged", "the command's signature is not valid") from error
    if not hmac.compare_digest(signed.payload, _digest(value, topic).encode()):
        raise SignatureError("forged", "the command is not what was signed, or was signed for another topic")


def seal(text: str, keys: Keys) -> str:
    """Encrypt a secret with the first key."""
    key_id, key = _first(keys)
    header = {"alg": "dir", "enc": "A256GCM", "kid": key_id}
    return jwe.encrypt_compact(header, text.encode(), _sealing_key(key))


def unseal(sealed: str, keys: Keys) -> str:
    """Decrypt a sealed secret.

    Raises:
        SignatureError: ``unknown_key`` or ``forged``.
    """

    def find(candidate: Any) -> OctKey:
        key = keys.get(str(candidate.headers().get("kid")))
        if key is None:
            raise SignatureError("unknown_key", "the secret is sealed with a key that is not known here")
        return _sealing_key(key)

    try:
        opened = jwe.decrypt_compact(sealed, find, algorithms=["dir", "A256GCM"])
    except (JoseError, ValueError) as error:
        raise SignatureError("forged", "the sealed secret cannot be opened") from error
    return (opened.plaintext or b"").decode()


def _digest(value: bytes, topic: str) -> str:
    return hashlib.sha256(topic.encode() + b"\0" + value).hexdigest()


def _first(keys: Keys) -> tuple[str, bytes]:
    for key_id, key in keys.items():
        return key_id, key
    raise ValueError("UNITPOOL_COMMAND_KEYS holds no key")


@lru_cache(maxsize=32)
def _signing_key(key: bytes) -> OctKey:
    return OctKey.import_key(key)


def _sealing_key(key: bytes) -> OctKey:
    return OctKey.import_key(hmac.digest(key, b"unitpool sealed secrets", "sha256"))
