"""The API's description for people: a page made from the OpenAPI document."""

from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse

from shared.runtime.http.middleware import PROBLEM
from shared.runtime.http.routes import ApiRoute

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title></head>
<body><main><h1>{title}</h1><p>{about}</p>
<p>The whole description, with every field and example: <a href="/v1/openapi.json">/v1/openapi.json</a>.</p>
{sections}</main></body></html>"""


def documents_router(api: FastAPI) -> APIRouter:
    """``/v1/docs``."""
    router = APIRouter(include_in_schema=False, route_class=ApiRoute)
    described = api.openapi

    def openapi() -> dict[str, Any]:
        return with_problems(described())

    api.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the description

    @router.get("/v1/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(
            describe(api.openapi()), headers={"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
        )

    return router


def with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Give refusals in the document the media type with which they are answered.

    The document itself is changed, and returned.
    """
    for operations in document["paths"].values():
        for operation in operations.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                if PROBLEM in content and "application/json" in content:
                    content[PROBLEM] = content.pop("application/json")
    return document


def describe(document: dict[str, Any]) -> str:
    """Render the page."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append(_operation(method, path, operation))
    sections = "\n".join(f"<h2>{escape(tag.capitalize())}</h2>\n{''.join(parts)}" for tag, parts in by_tag.items())
    about = escape(document["info"].get("description", ""))
    return _PAGE.format(title=escape(document["info"]["title"]), about=about, sections=sections)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = ", ".join(escape(one["name"]) for one in operation.get("parameters", ()) if one["in"] != "path")
    shown = f"<p>Parameters: {parameters}</p>" if parameters else ""
    meaning = escape(operation.get("description") or operation.get("summary") or "")
    return f"<h3><code>{method.upper()} {escape(path)}</code></h3><p>{meaning}</p>{shown}"
