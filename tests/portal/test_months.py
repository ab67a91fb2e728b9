"""Deadlines as a month, and as a calendar that programs read by an address only its owner knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import icalendar
import pytest

from storage.paths import Slot
from tests.portal.conftest import CAST, Somebody, Stage
from tests.support.bench import THIRD, WORKS


def address_of(stage: Stage, somebody: Somebody) -> str:
    shown = somebody.client.post("/einstellungen/kalender", data={"form": somebody.form}).text
    return "/kalender/" + shown.partition("/kalender/")[2].partition(".ics")[0] + ".ics"


def test_a_month_shows_each_duty_on_the_day_it_is_due(stage: Stage) -> None:
    due = stage.desk.due_on(Slot(WORKS, "waste_balance", "2024"))
    assert due is not None
    shown = stage.signed_in("clerk").client.get(f"/pflichten/{WORKS}/monat?monat={due:%Y-%m}").text
    cell = shown.partition(f'<time datetime="{due}"')[2].partition("</td>")[0]
    link = 'dataset=waste_balance&amp;period=2024"'
    assert link in cell and "überfällig" in cell
    assert link not in shown.replace(cell, "")


@pytest.mark.parametrize("month", ["", "2026-13", "abc", "9999-12", "0001-01", "2026-02"])
def test_a_month_that_is_none_is_this_one(stage: Stage, month: str) -> None:
    answer = stage.signed_in("clerk").client.get(f"/pflichten/{WORKS}/monat?monat={month}")
    assert answer.status_code == 200 and "<time" in answer.text


def test_a_calendar_program_needs_nothing_but_the_address_and_sees_only_what_its_owner_may(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    answer = stage.browser().get(address_of(stage, clerk))
    assert answer.headers["content-type"].startswith("text/calendar")
    events = icalendar.Calendar.from_ical(answer.content).walk("VEVENT")
    assert {str(event["uid"]).partition("--")[0] for event in events} == {WORKS}
    late = [event for event in events if "waste_balance" in str(event["uid"]) and "2024" in str(event["uid"])]
    assert late[0].decoded("dtstart") == stage.desk.due_on(Slot(WORKS, "waste_balance", "2024"))
    today = datetime.now(UTC).date()
    assert max(event.decoded("dtstart") for event in events) > today + timedelta(days=30), "what comes is in it"
    assert len({str(event["uid"]) for event in events}) == len(events)


def test_a_granted_extension_moves_the_event(stage: Stage) -> None:
    slot, until = Slot(THIRD, "waste_balance", "2024"), datetime.now(UTC).date() + timedelta(days=9)
    address = address_of(stage, stage.signed_in("foreign clerk"))

    def on() -> object:
        events = icalendar.Calendar.from_ical(stage.browser().get(address).content).walk("VEVENT")
        return [event.decoded("dtstart") for event in events if "2024" in str(event["uid"])]

    before = on()
    assert before == [stage.desk.due_on(slot)]
    asked = stage.desk.ledger.extensions.ask(slot, until, "bitte", "test")
    stage.desk.ledger.extensions.decide(asked.id, granted=True, who="test")
    assert on() == [until] != before


def test_a_renewed_address_ends_the_one_before_and_a_disabled_account_ends_it_too(stage: Stage) -> None:
    somebody = stage.signed_in("observer")
    first, second = address_of(stage, somebody), address_of(stage, somebody)
    assert stage.browser().get(first).status_code == 410
    assert stage.browser().get(second).status_code == 200
    assert stage.browser().get("/kalender/none.ics").status_code == 410
    token = stage.people.invite("leaves@example.org", "Leaves", *CAST["clerk"], by="test")
    leaves = stage.people.accept(token, "ein langer satz")
    own = stage.people.renew_feed(leaves)
    assert stage.browser().get(f"/kalender/{own}.ics").status_code == 200
    stage.people.disable("leaves@example.org")
    assert stage.browser().get(f"/kalender/{own}.ics").status_code == 410
