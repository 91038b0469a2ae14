"""Deletion of cookies.

Browsers require the attributes with which ``__Host-`` cookies were set.
"""

from fastapi import Response

from services.reporting.pages.responder import PageResponder


def cookie(answer: Response) -> tuple[str, set[str]]:
    name, _, attributes = answer.headers["set-cookie"].partition("=")
    parts = [part.strip().lower() for part in attributes.split(";")[1:]]
    return name, {part for part in parts if not part.startswith(("max-age", "expires"))}


def test_session_cookie_is_deleted_with_its_attributes() -> None:
    for is_secure, name in ((True, "__Host-unitpool_session"), (False, "unitpool_session")):
        responder = PageResponder.__new__(PageResponder)
        responder.is_secure, responder.session_cookie = is_secure, name
        given, taken = Response(), Response()
        responder.start_session(given, "session")
        responder.end_session(taken)
        assert cookie(given) == cookie(taken)
        assert ("secure" in cookie(taken)[1]) == is_secure
        assert "max-age=0" in taken.headers["set-cookie"].lower()
