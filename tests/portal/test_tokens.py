"""Tokens of programs: made on a page, shown once, kept as a hash, scoped, ending, revoked, written down."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from portal.rights import OF_PROGRAMS
from portal.texts import text
from storage import clock
from storage import tokens as keeping
from storage.people import Role
from storage.tokens import TokenRefused, Tokens, TooManyTokens
from tests.portal.conftest import Somebody, Stage
from tests.support.bench import THIRD, WORKS

SENTENCE = "ein langer satz"
DUTIES = f"/api/v1/suppliers/{WORKS}/duties"


def made_by(somebody: Somebody, supplier: str = WORKS, acts: tuple[str, ...] = OF_PROGRAMS) -> str:
    told = {"form": somebody.form, "name": "Rechner", "days": "30", "acts": list(acts)}
    page = somebody.client.post(f"/zugaenge/{supplier}", data=told)
    assert page.status_code == 200, page.text
    [token] = re.findall(r"verbund_[\w-]{43}", page.text)
    return str(token)


def call(stage: Stage, token: str | None, path: str = DUTIES) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    answer = stage.browser().get(path, headers=headers)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("name", ["lead", "coordinator"])
def test_a_token_is_shown_once_kept_as_a_hash_and_lets_a_program_in(stage: Stage, name: str) -> None:
    somebody = stage.signed_in(name)
    token = made_by(somebody)
    assert token not in somebody.client.get(f"/zugaenge/{WORKS}").text
    with sa.create_engine(stage.desk.settings.ledger_url).connect() as c:
        kept = c.execute(sa.text("select * from api_tokens")).all()
        acts = c.execute(sa.text("select act, facts from acts")).all()
    assert kept and token not in str(kept) and token not in str(acts)
    assert "tokens.make" in {row.act for row in acts}
    assert call(stage, token)[0] == 200


def test_a_token_that_is_revoked_lets_nobody_in_from_then_on(stage: Stage) -> None:
    lead, tokens = stage.signed_in("lead"), Tokens(stage.desk.settings.ledger_url)
    token = made_by(lead)
    token_id = tokens.use(token).token_id
    assert stage.signed_in("foreign lead").post(f"/zugaenge/{THIRD}/widerrufen", token=token_id).status_code == 422
    assert call(stage, token)[0] == 200
    assert lead.post(f"/zugaenge/{WORKS}/widerrufen", token=token_id).status_code == 303
    code, problem = call(stage, token)
    assert (code, problem["type"]) == (401, "urn:verbund:problem:token_revoked")
    assert "widerrufen" in lead.client.get(f"/zugaenge/{WORKS}").text
    assert ("tokens.revoke", f"{WORKS} {token_id}") in {(act["act"], act["object"]) for act in stage.people.acts()}
    tokens.close()


def test_a_token_that_has_expired_lets_nobody_in(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    token = made_by(stage.signed_in("lead"))
    later = clock.now() + timedelta(days=30, seconds=1)
    monkeypatch.setattr(clock, "now", lambda: later)
    code, problem = call(stage, token)
    assert (code, problem["type"]) == (401, "urn:verbund:problem:token_expired")


def test_a_token_rests_while_its_maker_may_make_none(stage: Stage) -> None:
    people, lead = stage.people, stage.signed_in("lead")
    names = ("gone", "moved", "stays")
    makers = {
        name: people.accept(people.invite(f"{name}@example.org", name, "lead", WORKS, by="test"), SENTENCE)
        for name in names
    }
    tokens = Tokens(stage.desk.settings.ledger_url)
    made = {name: tokens.make(WORKS, name, OF_PROGRAMS, 30, by=maker.who)[0] for name, maker in makers.items()}
    assert {call(stage, token)[0] for token in made.values()} == {200}
    people.disable("gone@example.org")
    # as a provider of identities tells it: a clerk now, and a lead elsewhere
    told: list[tuple[Role, str]] = [("clerk", WORKS), ("lead", THIRD)]
    people.sign_in_by_provider("moved@example.org", "moved", told, "test")
    for name in ("gone", "moved"):
        code, problem = call(stage, made[name])
        assert (code, problem["type"]) == (401, "urn:verbund:problem:token_unvouched")
        assert problem["title"] and problem["detail"]
    assert call(stage, made["stays"])[0] == 200
    assert lead.client.get(f"/zugaenge/{WORKS}").text.count(text("tokens.unvouched", "de")) == 2
    people.sign_in_by_provider("moved@example.org", "moved", [("lead", WORKS)], "test")
    assert call(stage, made["moved"])[0] == 200
    tokens.close()


@pytest.mark.parametrize("shown", [None, "", "verbund_", "verbund_" + "a" * 43, "x" * 5000])
def test_a_token_that_never_was_lets_nobody_in(stage: Stage, shown: str | None) -> None:
    code, problem = call(stage, shown)
    assert code == 401 and problem["title"] and problem["detail"]


def test_a_session_is_no_token(stage: Stage) -> None:
    """Else a page of another site could call in its visitor's name."""
    assert stage.signed_in("lead").client.get(DUTIES).status_code == 401


def test_a_page_takes_no_token_for_a_session(stage: Stage) -> None:
    token = made_by(stage.signed_in("lead"))
    answer = stage.browser().get(f"/pflichten/{WORKS}", headers={"authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/anmelden")


@pytest.mark.parametrize(
    "told",
    [
        {"name": ""},
        {"name": " "},
        {"name": "x" * 81},
        {"days": "0"},
        {"days": "100000"},
        {"days": "viele"},
        {"acts": []},
        {"acts": ["people.invite"]},
    ],
    ids=str,
)
def test_no_token_is_made_without_name_end_and_scope(stage: Stage, told: dict[str, object]) -> None:
    lead = stage.signed_in("lead")
    sent = {"form": lead.form, "name": "Rechner", "days": "30", "acts": ["duties.see"], **told}
    before = lead.client.get(f"/zugaenge/{WORKS}").text
    assert lead.client.post(f"/zugaenge/{WORKS}", data=sent).status_code == 422
    assert lead.client.get(f"/zugaenge/{WORKS}").text == before


def test_a_scope_that_no_program_has_is_left_out(stage: Stage) -> None:
    tokens = Tokens(stage.desk.settings.ledger_url)
    token = made_by(stage.signed_in("lead"), acts=("duties.see", "people.invite"))
    assert tokens.use(token).acts == {"duties.see"}
    tokens.close()


def test_a_supplier_has_no_more_tokens_than_somebody_looks_after(stage: Stage) -> None:
    tokens = Tokens(stage.desk.settings.ledger_url)
    with pytest.raises(TooManyTokens):
        for _ in range(keeping.MOST_PER_SUPPLIER + 1):
            tokens.make("plain-heirs", "Rechner", ["duties.see"], 1, by="test")
    with pytest.raises(TokenRefused):
        tokens.use("verbund_")
    tokens.close()


def test_what_a_token_is_called_is_shown_and_never_run(stage: Stage) -> None:
    lead, evil = stage.signed_in("lead"), "<script>alert(1)</script>"
    told = {"form": lead.form, "name": evil, "days": "30", "acts": ["duties.see"]}
    shown = lead.client.post(f"/zugaenge/{WORKS}", data=told).text
    assert evil not in shown and "&lt;script&gt;" in shown


def test_a_token_tells_when_it_was_used_last(stage: Stage) -> None:
    tokens = Tokens(stage.desk.settings.ledger_url)
    token, made = tokens.make(WORKS, "Uhr", ["duties.see"], 1, by="test")
    assert made.used_at is None
    tokens.use(token)
    [kept] = [one for one in tokens.of(WORKS) if one.token_id == made.token_id]
    assert kept.used_at is not None
    tokens.close()


def test_every_scope_is_offered(stage: Stage) -> None:
    page = stage.signed_in("lead").client.get(f"/zugaenge/{WORKS}").text
    assert set(re.findall(r'name="acts" id="act-\d+" value="([^"]+)"', page)) == set(OF_PROGRAMS)
