from services.reporting.pages.csrf import CsrfProtection, StartedSignIn

CSRF = CsrfProtection("s" * 40)


def test_form_token_is_masked_and_refused_when_the_session_differs() -> None:
    token = CSRF.form_token("one")
    assert CSRF.is_form_token(token, "one")
    assert not CSRF.is_form_token(token, "two")
    assert token != CSRF.form_token("one")


def test_text_is_refused_when_it_is_not_a_form_token() -> None:
    for given in ("", "x", "é", "A" * 88, "null"):
        assert not CSRF.is_form_token(given, "one")


def test_sealed_content_is_unreadable_when_the_secret_differs() -> None:
    started = StartedSignIn("s", "n", "v", to="/", until=1.5)
    sealed = CSRF.seal(started)
    assert CSRF.unseal(sealed) == started
    assert CsrfProtection("t" * 40).unseal(sealed) is None
    assert CSRF.unseal(sealed[:-4] + "AAAA") is None
    assert CSRF.unseal("") is None
