"""The demo's sign-in service, inside the test's process."""

from deploy.local.environment import CLIENT_ID
from deploy.local.oidc.app import Client, build_app
from deploy.local.oidc.tokens import Issuer, new_key
from tests.support.servers.asgi import Served


class SignIn(Served):
    """Serve ``issuer`` on ``port``; after sign-in it redirects to ``redirect_to``."""

    def __init__(self, port: int, *, redirect_to: str, client_secret: str) -> None:
        self.issuer = Issuer(f"http://localhost:{port}", new_key())
        client = Client(CLIENT_ID, client_secret, (f"{redirect_to}/auth/callback",), (f"{redirect_to}/",))
        super().__init__(build_app(self.issuer, client), port)
