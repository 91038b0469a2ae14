"""An issuer that serves its keys, and makes valid and invalid tokens."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey


class Issuer:
    """An issuer that signs with ``key``, publishes ``published``, counts requests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = new_rsa("one")
        self.published: list[RSAKey | ECKey] = [self.key]
        self.fetches = 0
        self.down = False

    def claims(self, person: str, **more: Any) -> dict[str, Any]:
        """The claims of a valid token."""
        now = int(time.time())
        who = {"sub": person, "email": person, "email_verified": True, "name": person}
        base = {"iss": self.url, "aud": "unitpool", "exp": now + 600, **who}
        return {name: value for name, value in {**base, **more}.items() if value is not ...}

    def token(
        self, person: str, *, vendor: bool = False, key: RSAKey | ECKey | None = None, alg: str = "RS256", **more: Any
    ) -> str:
        """Make a token; ``more`` replaces claims, ``...`` omits one."""
        signer = key or self.key
        roles = ["vendor"] if vendor else []
        return jwt.encode(
            {"alg": alg, "kid": signer.kid},
            self.claims(person, **{"unitpool_roles": roles, **more}),
            signer,
            algorithms=[alg],
        )


def new_rsa(key_id: str) -> RSAKey:
    """Generate a key."""
    return RSAKey.generate_key(2048, parameters={"kid": key_id}, private=True)


@contextmanager
def issuing() -> Iterator[Issuer]:
    """A running issuer."""
    holder: list[Issuer] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer = holder[0]
            if issuer.down:
                self.send_error(503)
                return
            if self.path.endswith("/openid-configuration"):
                body: Any = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/jwks"}
            else:
                issuer.fetches += 1
                body = {"keys": [key.as_dict(private=False) for key in issuer.published]}
            encoded = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    holder.append(Issuer(f"http://127.0.0.1:{server.server_port}"))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield holder[0]
    finally:
        server.shutdown()
        server.server_close()
