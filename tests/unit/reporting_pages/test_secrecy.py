from services.reporting.pages.secrecy import Secrecy

SECRECY = Secrecy("s" * 40)


def test_form_token_is_good_for_its_session_only_and_never_the_same_text() -> None:
    token = SECRECY.form_token("one")
    assert SECRECY.is_form_token(token, "one")
    assert not SECRECY.is_form_token(token, "two")
    assert token != SECRECY.form_token("one")


def test_form_token_that_is_none_is_refused() -> None:
    for given in ("", "x", "é", "A" * 88, "null"):
        assert not SECRECY.is_form_token(given, "one")


def test_sealed_content_is_read_by_the_same_secret_only() -> None:
    sealed = SECRECY.seal({"state": "s"})
    assert SECRECY.unseal(sealed) == {"state": "s"}
    assert Secrecy("t" * 40).unseal(sealed) is None
    assert SECRECY.unseal(sealed[:-4] + "AAAA") is None
    assert SECRECY.unseal("") is None
