"""A cookie is taken back with the attributes that it was given with: a browser keeps ``__Host-`` cookies otherwise."""

from fastapi import Response

from services.reporting.pages.responder import PageResponder


def cookie(answer: Response) -> tuple[str, set[str]]:
    name, _, attributes = answer.headers["set-cookie"].partition("=")
    parts = [part.strip().lower() for part in attributes.split(";")[1:]]
    return name, {part for part in parts if not part.startswith(("max-age", "expires"))}


def test_a_session_is_taken_back_as_it_was_given() -> None:
    for is_secure, name in ((True, "__Host-unitpool_session"), (False, "unitpool_session")):
        responder = PageResponder.__new__(PageResponder)
        responder.is_secure, responder.session_cookie = is_secure, name
        given, taken = Response(), Response()
        responder.start_session(given, "session")
        responder.end_session(taken)
        assert cookie(given) == cookie(taken)
        assert ("secure" in cookie(taken)[1]) == is_secure
        assert "max-age=0" in taken.headers["set-cookie"].lower()
