"""Requests about alert channels."""

from typing import Annotated, Literal

from pydantic import AnyUrl, UrlConstraints

from services.reporting.api.fields import Request, example

WebAddress = Annotated[AnyUrl, UrlConstraints(allowed_schemes=["https", "http"], max_length=2000)]


class NewChannel(Request):
    """A webhook. Its signing secret is generated, and shown in the answer once."""

    model_config = example(kind="webhook", url="https://hooks.acme.example/unitpool")
    kind: Literal["webhook"] = "webhook"
    url: WebAddress
