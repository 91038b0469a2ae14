"""The parameters of exports as they are stored: an address is sealed."""

from collections.abc import Mapping
from typing import Final

from shared.runtime import signing
from shared.runtime.signing import Keys

_PERSONAL: Final = "actor"
_SEALED: Final = "sealed_actor"


def sealed(parameters: Mapping[str, str], keys: Keys) -> dict[str, str]:
    """Return parameters for the table."""
    stored = {name: value for name, value in parameters.items() if name != _PERSONAL}
    return stored | ({_SEALED: signing.seal(parameters[_PERSONAL], keys)} if _PERSONAL in parameters else {})


def opened(stored: Mapping[str, str], keys: Keys) -> dict[str, str]:
    """Return the parameters that were requested.

    Raises:
        SignatureError: they were sealed with a key that is not known here.
    """
    parameters = {name: value for name, value in stored.items() if name != _SEALED}
    return parameters | ({_PERSONAL: signing.unseal(stored[_SEALED], keys)} if _SEALED in stored else {})


def impersonal(stored: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters for the audit log, which is kept for ever."""
    return {name: value for name, value in stored.items() if name != _SEALED}
