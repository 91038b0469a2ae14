"""Erasures of people, and the data that is held of a person."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import StreamingResponse

from services.reporting.api.answers import erasures as answers
from services.reporting.api.requests.erasures import NewErasure
from services.reporting.api.routing import (
    ApiContext,
    CommandId,
    CurrentCaller,
    answer_write,
    new_router,
    write_answers,
)
from services.reporting.domain.people import is_person_id
from services.reporting.queries.access import not_found
from services.reporting.queries.erasures import ErasureQueries
from shared.events.commands.accounts import ErasePerson
from shared.events.ids import PersonId

ERASES = (
    "the e-mail address and the name, in the table of people and on its topic",
    "what the person wrote: reasons, wherever they are recorded",
    "grants, roles, sessions, and alert channels that the person added",
)
KEEPS = (
    answers.Kept(
        what="that somebody did something, and when, under an id",
        why="The history of purchases, allocations and permissions must remain complete and verifiable.",
    ),
    answers.Kept(
        what="commands that added or renamed the person, for 7 days",
        why="They are kept for the repetition of what was not applied, then deleted.",
    ),
    answers.Kept(
        what="backups made before",
        why="They are deleted by their retention. After a restore, the erasures since must be requested again.",
    ),
)


async def _person_in_path(person: str) -> PersonId:
    if not is_person_id(person):
        raise not_found("person")
    return PersonId(person)


Person = Annotated[PersonId, Depends(_person_in_path)]


def erasures_router(context: ApiContext, erasures: ErasureQueries) -> APIRouter:
    """``/v1/people/{id}/erasure``, ``/v1/people/{id}/data``."""
    router = new_router("people and roles", "/people/{person}")

    @router.post("/erasure", **write_answers(answers.Erasure, answers.ErasurePreview))
    async def erase(caller: CurrentCaller, person: Person, body: NewErasure, command: CommandId) -> Response:
        """Erase a person, or preview what would be erased and what kept.

        By the vendor or a user administrator of the account. It cannot be undone.
        """
        account = await erasures.account_of(person)
        payload = ErasePerson(account=account, person=person, reason=body.reason, preview=body.preview)
        answer = await context.application.commands.submit(payload, caller, command)
        result: dict[str, Any] = answer.result or {}

        async def previewed() -> answers.ErasurePreview:
            return answers.ErasurePreview(
                preview=True,
                person=person,
                due_at=result["due_at"],
                erases=list(ERASES),
                ends={**result["ends"], **await erasures.held(person)},
                keeps=list(KEEPS),
            )

        async def report() -> answers.Erasure:
            return await answers.Erasure.of(erasures.report(caller, person))

        return await answer_write(answer, previewed if body.preview else report, is_versioned=False)

    @router.get("/erasure", response_model=answers.Erasure)
    async def report(caller: CurrentCaller, person: Person) -> Any:
        """Return the erasure of a person, with what each service has confirmed."""
        return await erasures.report(caller, person)

    @router.get("/data", response_class=StreamingResponse)
    async def data(caller: CurrentCaller, person: Person) -> StreamingResponse:
        """Return everything that is held of a person, as one JSON object.

        For the person, and for those who may erase them. Other people are named by id.
        """
        pieces = await erasures.data(caller, person)
        return StreamingResponse(pieces, media_type="application/json", headers={"Cache-Control": "no-store"})

    return router
