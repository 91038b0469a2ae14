"""A webhook receiver that verifies signatures and records deliveries."""

import json
from typing import Any

from fastapi import FastAPI, Request, Response
from standardwebhooks import Webhook, WebhookVerificationError

from deploy.local.ports import free_port
from tests.support.servers.asgi import Served


class Receiver(Served):
    """A recorder; ``received`` has deliveries with valid signatures, by webhook id."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: dict[str, dict[str, Any]] = {}
        self.secret: str | None = None
        self.forged = 0
        app = FastAPI()
        app.post("/hook")(self._take)
        super().__init__(app, self.port)

    @property
    def url(self) -> str:
        """The address for webhooks."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        if self.secret is None:
            return Response(status_code=503)
        try:
            Webhook(self.secret).verify(body.decode(), dict(request.headers))
        except WebhookVerificationError:
            self.forged += 1
            return Response(status_code=401)
        self.received[request.headers["webhook-id"]] = json.loads(body)
        return Response(status_code=204)

    async def __aenter__(self) -> "Receiver":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
