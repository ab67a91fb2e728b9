"""Questions and objections: who may say what and when, what both sides see, and that nothing said is ever run."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
import sqlalchemy as sa

from quality.judging import work_queue
from storage import clock
from storage.threads import Speaker, Threads, Topic
from tests.portal.conftest import Somebody, Stage
from tests.support.bench import GOOD, THIRD, WORKS, written

PERIOD, ROW = GOOD["waste_balance"]
RULE = "values.unknown_code"


@pytest.fixture(scope="module")
def delivery(stage: Stage) -> str:
    content = written([ROW, {**ROW, "waste_code": "999999", "flow_code": "collected"}]).encode()
    made = stage.desk.receive(io.BytesIO(content), WORKS, "waste_balance", PERIOD, file_name="a.csv", who="test")
    work_queue(stage.desk)
    return made.delivery_id


def begun(somebody: Somebody, step: str, text: str = "Warum?", **told: str) -> str:
    """Where a thread begun by this person is."""
    answer = somebody.client.post(f"/fragen/{WORKS}/neu/{step}", data={"form": somebody.form, "text": text, **told})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def said(somebody: Somebody, page: str, step: str, text: str = "Darum.", **told: str) -> int:
    answer = somebody.client.post(f"{page}/{step}", data={"form": somebody.form, "text": text, **told})
    return int(answer.status_code)


def test_a_question_is_answered_and_both_sides_read_the_same(stage: Stage, delivery: str) -> None:
    clerk, coordinator = stage.signed_in("clerk"), stage.signed_in("coordinator")
    page = begun(clerk, "frage", "Was heißt das?", lieferung=delivery, regel=RULE)
    for somebody in (clerk, coordinator):
        assert "Was heißt das?" in somebody.client.get(page).text
        assert page in somebody.client.get(f"/lieferung/{delivery}").text
    assert page in coordinator.client.get("/fragen").text and page in clerk.client.get(f"/fragen/{WORKS}").text
    assert said(clerk, page, "antwort") == 409, "nobody answers themselves"
    assert said(coordinator, page, "antwort", "Der Code fehlt.") == 303
    assert "Der Code fehlt." in clerk.client.get(page).text
    assert "beantwortet" in clerk.client.get(page).text


def test_an_objection_is_marked_until_it_is_decided(stage: Stage, delivery: str) -> None:
    lead, coordinator = stage.signed_in("lead"), stage.signed_in("coordinator")
    page = begun(lead, "einspruch", "Der Code stimmt.", lieferung=delivery, regel=RULE)
    mark = "offener Einspruch"
    assert mark in lead.client.get(f"/lieferung/{delivery}").text
    assert said(coordinator, page, "antwort", "Wir sehen nach.") == 303
    assert mark in lead.client.get(f"/lieferung/{delivery}").text
    assert said(coordinator, page, "entscheidung") == 422
    assert said(coordinator, page, "entscheidung", "So ist es.", decision="dismissed") == 303
    shown = lead.client.get(f"/lieferung/{delivery}").text
    assert mark not in shown and "entschieden" in shown
    for step, somebody in (("frage", lead), ("einspruch", lead), ("antwort", coordinator)):
        assert said(somebody, page, step) == 409, "what is decided stays decided"


def test_only_the_lead_contests_and_only_the_coordination_decides(stage: Stage, delivery: str) -> None:
    clerk, lead = stage.signed_in("clerk"), stage.signed_in("lead")
    engineer, coordinator = stage.signed_in("engineer"), stage.signed_in("coordinator")
    page = begun(lead, "einspruch", lieferung=delivery)
    told = {"decision": "upheld"}
    assert said(clerk, page, "einspruch") == 404 and said(coordinator, page, "einspruch") == 404
    assert [said(one, page, "entscheidung", **told) for one in (clerk, lead, engineer)] == [404] * 3
    assert said(coordinator, page, "entscheidung", **told) == 303


def test_who_works_for_the_supplier_does_not_decide_its_objection(stage: Stage, delivery: str) -> None:
    lead = stage.signed_in("lead")
    page = begun(lead, "einspruch", lieferung=delivery)
    token = stage.people.invite("both@example.org", "Both", "lead", WORKS, by="test")
    stage.people.accept(token, "ein langer satz")
    person = stage.people.accept(
        stage.people.invite("both@example.org", "Both", "coordinator", by="test"), "ein langer satz"
    )
    cookie, session = stage.people.begin(person)
    browser = stage.browser()
    browser.cookies.set("verbund_session", cookie)
    assert said(Somebody(browser, session.form), page, "entscheidung", decision="upheld") == 409


def test_a_thread_is_found_under_its_own_supplier_only(stage: Stage, delivery: str) -> None:
    page = begun(stage.signed_in("clerk"), "frage", lieferung=delivery)
    stranger = stage.signed_in("foreign lead")
    moved = page.replace(WORKS, THIRD)
    assert stranger.client.get(page).status_code == 404
    assert stranger.client.get(moved).status_code == 404
    assert said(stranger, moved, "antwort") == 404
    assert page not in stranger.client.get(f"/fragen/{THIRD}").text
    asked = {"form": stranger.form, "text": "?", "lieferung": delivery}
    assert stranger.client.post(f"/fragen/{THIRD}/neu/frage", data=asked).status_code == 404


@pytest.mark.parametrize(
    "told",
    [{"lieferung": "nonsense"}, {"lieferung": f"{WORKS}--waste_balance--2024--77"}, {"regel": RULE},
     {"lieferung": "own", "regel": "no.such"}, {"lieferung": "own", "zahl": "no_such"}, {"zahl": "K-02/05124000/2024"}],
    ids=str,
)  # fmt: skip
def test_nothing_is_asked_about_what_is_not_there(stage: Stage, delivery: str, told: dict[str, str]) -> None:
    clerk = stage.signed_in("clerk")
    told = {name: delivery if value == "own" else value for name, value in told.items()}
    assert clerk.client.get(f"/fragen/{WORKS}/neu", params=told).status_code == 404
    sent = {"form": clerk.form, "text": "?", **told}
    assert clerk.client.post(f"/fragen/{WORKS}/neu/frage", data=sent).status_code == 404


@pytest.mark.parametrize(
    ("told", "words"),
    [({"text": "  "}, "kein Text"), ({"text": "x" * 4001}, "kein Text"), ({"due": "2020-01-01"}, "Frist"),
     ({"due": "9999-12-31"}, "Frist"), ({"due": "morgen"}, "Frist")],
    ids=lambda part: str(part)[:30],
)  # fmt: skip
def test_what_cannot_be_said_is_said_again_with_a_remedy(stage: Stage, told: dict[str, str], words: str) -> None:
    clerk = stage.signed_in("clerk")
    answer = clerk.client.post(f"/fragen/{WORKS}/neu/frage", data={"form": clerk.form, "text": "Warum?", **told})
    assert answer.status_code == 422 and words in answer.text


def test_a_day_somebody_names_is_kept_and_what_is_late_says_so(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    clerk, coordinator = stage.signed_in("clerk"), stage.signed_in("coordinator")
    due = (clock.now() + timedelta(days=3)).date()
    page = begun(clerk, "frage", due=due.isoformat())
    assert f"{due.day}." in coordinator.client.get(page).text and "verstrichen" not in coordinator.client.get(page).text
    later = clock.now() + timedelta(days=5)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert "verstrichen" in stage.signed_in("coordinator").client.get("/fragen").text


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "=1+1|cmd", "\u202egnp.exe"]
)
def test_what_is_said_is_shown_and_never_run(stage: Stage, delivery: str, evil: str) -> None:
    lead = stage.signed_in("lead")
    page = begun(lead, "frage", f"{evil}\n{evil}")
    assert lead.client.get(f"/fragen/{WORKS}/neu", params={"zahl": evil}).status_code == 404
    for path in (page, f"/fragen/{WORKS}"):
        shown = lead.client.get(path).text
        assert "<script>alert" not in shown and "<img" not in shown and "\u202e" not in shown
    assert said(lead, page, "einspruch", evil) == 303


def test_what_was_said_cannot_be_changed(stage: Stage) -> None:
    begun(stage.signed_in("clerk"), "frage")
    for table in ("threads", "thread_entries"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), stage.people._engine.begin() as c:
            c.execute(sa.text(f"delete from {table}"))


def test_a_figure_of_a_release_has_its_threads(stage: Stage) -> None:
    threads = Threads(stage.desk.settings.ledger_url)
    made = threads.open(
        Topic(WORKS, figure="K-01/05124000/2024"), "contest", Speaker("portal:x", "X", "supplier"), "Nein"
    )
    assert [one.thread_id for one in threads.on_figure("K-01/05124000/2024")] == [made.thread_id]
    assert made.is_open and made.waits_for == "coordination"
    threads.close()
