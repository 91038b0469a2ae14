"""The environment variables that the services of one local stack are started with."""

import base64
import os
from collections.abc import Mapping

from deploy.local import secret
from deploy.local.layout import Layout
from shared.events.topics import ServiceName

CLIENT_ID = "unitpool-page"


def issuer_url(layout: Layout) -> str:
    """The issuer of this stack's tokens (``iss``)."""
    return f"http://localhost:{layout.ports.oidc}"


def public_url(layout: Layout) -> str:
    """The address of the page, for a browser."""
    return f"http://localhost:{layout.ports.reporting}"


def kafka_address(layout: Layout) -> str:
    """The bootstrap address for Kafka's clients."""
    return f"127.0.0.1:{layout.ports.kafka}"


def command_keys(layout: Layout) -> str:
    """Return the keys with which commands are signed.

    The text is the value of ``UNITPOOL_COMMAND_KEYS``.
    """
    return f"local:{base64.b64encode(secret.load_or_create(layout.secrets / 'commands.key', 48).encode()).decode()}"


def service_environment(layout: Layout, databases: Mapping[ServiceName, str]) -> dict[ServiceName, dict[str, str]]:
    """Each service's variables; only its own database's address is among them."""
    shared = {"UNITPOOL_KAFKA_BOOTSTRAP_SERVERS": kafka_address(layout), "UNITPOOL_LOG_LEVEL": "INFO"}
    result: dict[ServiceName, dict[str, str]] = {}
    for service, address in databases.items():
        own = f"UNITPOOL_{service.upper()}_"
        result[service] = {
            **shared,
            "UNITPOOL_COMMAND_KEYS": command_keys(layout),
            f"{own}DATABASE_URL": address,
            f"{own}HTTP_PORT": str(layout.ports.by_name()[service]),
            f"{own}GROUP_INSTANCE_ID": service,
        }
    result["alerts"]["UNITPOOL_ALERTS_ALLOW_PRIVATE_WEBHOOKS"] = "true"
    result["reporting"] |= _reporting(layout)
    return result


def _reporting(layout: Layout) -> dict[str, str]:
    own = "UNITPOOL_REPORTING_"
    return {
        f"{own}OIDC_ISSUER": issuer_url(layout),
        f"{own}OIDC_AUDIENCE": "unitpool",
        f"{own}OIDC_CLIENT_ID": CLIENT_ID,
        f"{own}OIDC_CLIENT_SECRET": secret.load_or_create(layout.secrets / "oidc-client.secret"),
        f"{own}PUBLIC_URL": public_url(layout),
        f"{own}METERING_URL": f"http://127.0.0.1:{layout.ports.metering}",
        f"{own}EXPORT_STORAGE": str(layout.exports),
        f"{own}WORKER_HTTP_PORT": str(layout.ports.reporting_worker),
        f"{own}SESSION_SECRET": secret.load_or_create(layout.secrets / "session.secret", 48),
    }


def oidc_environment(layout: Layout) -> dict[str, str]:
    """The variables of the OpenID Connect issuer."""
    pages = (public_url(layout), public_url(layout).replace("localhost", "127.0.0.1"))
    return {
        "UNITPOOL_OIDC_ISSUER": issuer_url(layout),
        "UNITPOOL_OIDC_PORT": str(layout.ports.oidc),
        "UNITPOOL_OIDC_KEY_FILE": str(layout.secrets / "oidc.jwk"),
        "UNITPOOL_OIDC_CLIENT_ID": CLIENT_ID,
        "UNITPOOL_OIDC_CLIENT_SECRET": secret.load_or_create(layout.secrets / "oidc-client.secret"),
        "UNITPOOL_OIDC_REDIRECT_URIS": " ".join(f"{page}/auth/callback" for page in pages),
        "UNITPOOL_OIDC_SIGNED_OUT_URIS": " ".join(f"{page}/" for page in pages),
    }


def clean_environment() -> dict[str, str]:
    """This process's environment without UNITPOOL_ variables.

    A shell's settings must not reach the stack.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("UNITPOOL_")}
