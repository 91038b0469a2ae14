"""Exports of reports: a person's own jobs, and their files."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from services.reporting.api.answers import exports as answers
from services.reporting.api.exported_files import FILE_ANSWERS, FileRequest, answer_file
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.identifiers import ExportInPath, ReportInQuery
from services.reporting.api.requests.exports import NewRequest
from services.reporting.api.routing import ApiContext, CommandId, CurrentCaller, current_caller, derive_id, new_router
from services.reporting.auth import unauthenticated
from services.reporting.domain.caller import Caller
from services.reporting.domain.exports import MEDIA_TYPES, Export, ExportId
from services.reporting.domain.reports.focus_columns import FOCUS_COMMITMENTS
from services.reporting.domain.reports.focus_metadata import focus_metadata
from services.reporting.exports.audit import Origin
from services.reporting.exports.downloads import Downloads, Link
from services.reporting.exports.jobs import ExportJobs, LimitReachedError
from services.reporting.exports.links import link_query
from services.reporting.exports.parameters import opened
from services.reporting.queries.access import not_found
from shared.runtime.http.caller_limits import RateLimit
from shared.runtime.http.middleware import problem
from shared.runtime.signing import Keys

_METADATA: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}}}}
_TOO_MANY = "You have requested too many exports. Wait a moment, then send the same request again."


@dataclass(frozen=True, slots=True)
class ExportContext:
    """What the routes of exports need.

    ``public_url``: where browsers reach this service.
    """

    jobs: ExportJobs
    downloads: Downloads
    clock: Callable[[], datetime]
    keys: Keys
    public_url: str
    requests: RateLimit

    def shown(self, export: Export) -> answers.ExportShown:
        """Return an export as its answer."""
        file = link = None
        if export.state == "succeeded" and export.file is not None:
            query, expires_at = link_query(export, self.keys, self.clock())
            url = f"{self.public_url.rstrip('/')}/v1/exports/{export.id}/file?{query}"
            link = answers.LinkShown(url=url, expires_at=expires_at)
            file = answers.FileShown(
                name=export.file_name,
                bytes=export.file.bytes,
                sha256=export.file.sha256,
                media_type=MEDIA_TYPES[export.format],
            )
        return answers.ExportShown(
            id=export.id,
            report=export.report,
            format=export.format,
            params=opened(export.parameters, self.keys),
            as_of=export.as_of,
            state=export.state,
            rows_done=export.rows_done,
            rows_expected=export.rows_expected,
            requested_at=export.requested_at,
            started_at=export.started_at,
            finished_at=export.finished_at,
            expires_at=export.expires_at,
            failure=export.failure,
            file=file,
            link=link,
        )


def exports_router(context: ApiContext, exports: ExportContext) -> APIRouter:
    """``/v1/exports``."""
    router = new_router("reports", "/exports")
    _add_request(router, context, exports)
    _add_reads(router, exports)
    _add_file(router, exports)
    return router


def _add_request(router: APIRouter, context: ApiContext, exports: ExportContext) -> None:
    @router.post("", status_code=202, response_model=answers.ExportShown)
    async def request(caller: CurrentCaller, body: NewRequest, command: CommandId) -> Response:
        """Request an export of a report. It is made in the background: poll `Location`.

        A repeat within 10 minutes, by the same person, of the same report, format, parameters and instant is answered
        with the same export. Three exports of a person are made at a time; further ones wait.
        """
        exports.requests.check(caller.email, _TOO_MANY)
        wanted = body.wanted(exports.clock())
        exports.requests.spend(caller.email)
        account, subscription = wanted.parameters.get("account"), wanted.parameters.get("subscription")
        person = await context.application.commands.find_person(caller, account, subscription)
        try:
            export = await exports.jobs.request(caller, person, wanted, ExportId(derive_id(caller, command)))
        except LimitReachedError as reached:
            return problem(409, "limit_reached", str(reached), {"limit": reached.limit})
        headers = {"Location": f"/v1/exports/{export.id}", "Idempotency-Key": str(command)}
        return JSONResponse(exports.shown(export).model_dump(mode="json"), 202, headers)


def _add_reads(router: APIRouter, exports: ExportContext) -> None:
    @router.get("", response_model=answers.Exports)
    async def several(
        caller: CurrentCaller,
        report: ReportInQuery = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Any:
        """List the caller's exports of the last 30 days, newest first."""
        page = await exports.jobs.list_own(caller, limit, cursor, report)
        return answers.Exports(items=[exports.shown(one) for one in page.items], next_cursor=page.next_cursor)

    @router.get("/{export}", response_model=answers.ExportShown)
    async def one(caller: CurrentCaller, export: ExportInPath) -> Any:
        """Return an export of the caller.

        It has its state, the rows done of those expected, and a link to the file.
        """
        return exports.shown(await exports.jobs.find_own(caller, export))

    @router.get("/{export}/metadata", response_class=Response, responses=_METADATA)
    async def metadata(caller: CurrentCaller, export: ExportInPath) -> Response:
        """Return the FOCUS metadata of an export of commitments that has succeeded."""
        found = await exports.jobs.find_own(caller, export)
        if found.report != FOCUS_COMMITMENTS.id or found.state != "succeeded" or found.finished_at is None:
            raise not_found("metadata of this export")
        document = focus_metadata(found.id, found.as_of, found.finished_at)
        return Response(document, media_type="application/json", headers={"Cache-Control": "no-store"})

    @router.delete("/{export}", response_model=answers.ExportShown)
    async def end(caller: CurrentCaller, export: ExportInPath, command: CommandId) -> Response:
        """Cancel an export, or delete the file of one that has succeeded."""
        shown = exports.shown(await exports.jobs.end(caller, export))
        return JSONResponse(shown.model_dump(mode="json"), headers={"Idempotency-Key": str(command)})


def _add_file(router: APIRouter, exports: ExportContext) -> None:
    @router.get("/{export}/file", response_class=Response, responses=FILE_ANSWERS)
    async def file(
        request: Request,
        export: ExportInPath,
        expires: Annotated[int | None, Query(ge=0, lt=2**40, description="Of a link, with `signature`")] = None,
        signature: Annotated[str | None, Query(max_length=100, description="Of a link, with `expires`")] = None,
    ) -> Response:
        """Download the file of an export, whole or one range of it.

        With a token of the person who requested it, or by the `link` that its answer contains. Every download is
        audited.
        """
        link = Link(expires, signature) if expires is not None and signature is not None else None
        caller = await current_caller(request) if "authorization" in request.headers else None
        if caller is None and link is None:
            raise unauthenticated("Send a token, or use the link of the export's answer.", None)
        asked = FileRequest(request, export, caller, link, _origin(request, caller))
        return await answer_file(exports.downloads, asked)


def _origin(request: Request, caller: Caller | None) -> Origin:
    if caller is not None:
        return Origin.of(caller)
    address = request.client.host if request.client else None
    return Origin(address, getattr(request.state, "correlation_id", None))
