"""Run the issuer: ``python -m deploy.local.oidc``.

Its settings are the ``UNITPOOL_OIDC_*`` variables.
"""

import os
from pathlib import Path

import uvicorn

from deploy.local.oidc.app import Client, build_app
from deploy.local.oidc.tokens import Issuer
from deploy.local.ports import HOST


def main() -> None:
    """Serve until a signal comes."""
    read = os.environ.__getitem__
    client = Client(
        client_id=read("UNITPOOL_OIDC_CLIENT_ID"),
        client_secret=read("UNITPOOL_OIDC_CLIENT_SECRET"),
        redirect_uris=tuple(read("UNITPOOL_OIDC_REDIRECT_URIS").split()),
        signed_out_uris=tuple(read("UNITPOOL_OIDC_SIGNED_OUT_URIS").split()),
    )
    issuer = Issuer.load_or_create(read("UNITPOOL_OIDC_ISSUER"), Path(read("UNITPOOL_OIDC_KEY_FILE")))
    uvicorn.run(build_app(issuer, client), host=HOST, port=int(read("UNITPOOL_OIDC_PORT")), log_level="warning")


if __name__ == "__main__":
    main()
