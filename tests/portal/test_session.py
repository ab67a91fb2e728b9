"""Coming in: invitations that work once, passwords, sessions, forms of other sites, and tries that are counted."""

from __future__ import annotations

from datetime import timedelta

import pytest

from portal.visit import COOKIE
from storage import clock
from storage import people as keeping
from storage.people import NotInvited, People, TooManyTries, WeakPassword
from tests.portal.conftest import Stage


def test_an_invitation_lets_somebody_in_once(stage: Stage) -> None:
    token = stage.people.invite("Neu@Example.org", "Neu", "coordinator", by="test")
    browser = stage.browser()
    assert "Koordination" in browser.get(f"/einladung/{token}").text
    sent = {"password": "ein neuer satz", "again": "ein neuer satz"}
    answer = browser.post(f"/einladung/{token}", data=sent)
    assert answer.status_code == 303 and "httponly" in answer.headers["set-cookie"].lower()
    assert browser.get("/").headers["location"] == "/region"
    assert stage.browser().post(f"/einladung/{token}", data=sent).status_code == 404
    assert stage.people.sign_in("neu@example.org", "ein neuer satz", "here") is not None
    assert stage.people.sign_in("neu@example.org", "ein anderer satz", "here") is None


@pytest.mark.parametrize("password", ["kurz", "aaaaaaaaaaaaaaaa", "weak@example.org"])
def test_a_password_everybody_guesses_is_refused(stage: Stage, password: str) -> None:
    token = stage.people.invite("weak@example.org", "Weak", "observer", by="test")
    with pytest.raises(WeakPassword):
        stage.people.accept(token, password)
    assert stage.people.invitation(token).email == "weak@example.org"


def test_an_old_invitation_is_none(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    token = stage.people.invite("late@example.org", "Late", "observer", by="test")
    later = clock.now() + keeping.INVITED_FOR + timedelta(seconds=1)
    monkeypatch.setattr(clock, "now", lambda: later)
    with pytest.raises(NotInvited):
        stage.people.accept(token, "ein langer satz")


def test_signing_in_makes_a_cookie_nobody_knew_before(stage: Stage) -> None:
    stage.signed_in("clerk")
    browser = stage.browser()
    browser.cookies.set(COOKIE, "fixed-by-somebody")
    answer = browser.post("/anmelden", data={"email": "clerk@example.org", "password": "ein langer satz"})
    assert answer.status_code == 303
    assert "fixed-by-somebody" not in answer.headers["set-cookie"]
    assert stage.people.session("fixed-by-somebody") is None


def test_a_session_ends_on_the_server_when_somebody_signs_out(stage: Stage) -> None:
    somebody = stage.signed_in("clerk")
    cookie = somebody.client.cookies[COOKIE]
    assert somebody.client.post("/abmelden", data={"form": somebody.form}).status_code == 303
    assert stage.people.session(cookie) is None


def test_a_session_nobody_uses_ends(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = stage.signed_in("clerk").client.cookies[COOKIE]
    later = clock.now() + keeping.IDLE + timedelta(seconds=1)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert stage.people.session(cookie) is None


def test_who_is_disabled_is_out_at_once(stage: Stage) -> None:
    token = stage.people.invite("gone@example.org", "Gone", "observer", by="test")
    cookie, _ = stage.people.begin(stage.people.accept(token, "ein langer satz"))
    assert stage.people.disable("gone@example.org")
    assert stage.people.session(cookie) is None
    assert stage.people.sign_in("gone@example.org", "ein langer satz", "here") is None


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}],
    ids=lambda headers: next(iter(headers.values())),
)
def test_a_form_of_another_site_changes_nothing(stage: Stage, headers: dict[str, str]) -> None:
    somebody = stage.signed_in("coordinator")
    sent = {"form": somebody.form, "email": "evil@example.org", "name": "Evil", "role": "observer"}
    assert somebody.client.post("/menschen", data=sent, headers=headers).status_code == 403


def test_a_form_without_the_word_of_its_session_changes_nothing(stage: Stage) -> None:
    mine, other = stage.signed_in("coordinator"), stage.signed_in("coordinator")
    for form in ("", "wrong", other.form):
        sent = {"form": form, "email": "evil@example.org", "name": "Evil", "role": "observer"}
        assert mine.client.post("/menschen", data=sent).status_code == 403


def test_tries_are_counted_by_place_and_lock_nobody_else_out(stage: Stage) -> None:
    people: People = stage.people
    stage.signed_in("clerk")
    for _ in range(keeping.PER_ACCOUNT):
        assert people.sign_in("clerk@example.org", "falsch falsch", "attacker") is None
    with pytest.raises(TooManyTries):
        people.sign_in("clerk@example.org", "ein langer satz", "attacker")
    assert people.sign_in("clerk@example.org", "ein langer satz", "town hall") is not None


def test_what_was_done_cannot_be_changed(stage: Stage) -> None:
    import sqlalchemy as sa

    stage.people.note("portal:somebody", "test")
    assert stage.people.acts(1)[0]["act"] == "test"
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), stage.people._engine.begin() as c:
        c.execute(sa.text("delete from acts"))


def test_pages_load_nothing_from_elsewhere_and_run_nothing_that_stands_in_them(stage: Stage) -> None:
    for path in ("/anmelden", "/einladung/none"):
        answer = stage.browser().get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "//" not in answer.text.replace("<!doctype html>", "").replace("https://portal.test", "")
        assert " onclick" not in answer.text and " style=" not in answer.text
