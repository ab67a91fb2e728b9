"""What a supplier owes, and what may be said instead of a file: nothing to report, later please."""

from __future__ import annotations

from dataclasses import astuple
from datetime import UTC, date, datetime, timedelta

import pytest

from orchestration.defs.deliveries.calendar import overdue_slots
from quality.calendar import due_at
from quality.judging import work_queue
from quality.supply import publish_supply
from storage.paths import Slot
from tests.portal.conftest import Stage
from tests.support.bench import THIRD, WORKS


def test_nothing_to_report_is_signed_with_a_reason_and_answered_like_a_delivery(stage: Stage) -> None:
    lead = stage.signed_in("lead")
    form = f"/nichts-zu-melden/{WORKS}"
    assert "Nichts zu melden" in lead.client.get(f"{form}?dataset=waste_balance&period=2023").text
    told = {"form": lead.form, "dataset": "waste_balance", "period": "2023"}
    refused = lead.client.post(form, data={**told, "reason": "  "})
    assert refused.status_code == 422 and "Es fehlt der Grund" in refused.text
    answer = lead.client.post(form, data={**told, "reason": "Anlage <geschlossen>"})
    assert answer.status_code == 303
    page = answer.headers["location"]
    work_queue(stage.desk)
    assert "kern-alert--success" in lead.client.get(page).text
    view = stage.desk.ledger.delivery(page.rpartition("/")[2])
    assert (view.state, view.reason, view.origin, view.who) == (
        "nothing_to_report", "Anlage <geschlossen>", "portal", "portal:lead@example.org",
    )  # fmt: skip


def test_a_clerk_is_not_offered_what_only_a_lead_may_sign(stage: Stage) -> None:
    shown = {name: stage.signed_in(name).client.get(f"/pflichten/{WORKS}").text for name in ("clerk", "lead")}
    assert "/nichts-zu-melden/" in shown["lead"] and "/nichts-zu-melden/" not in shown["clerk"]


@pytest.mark.parametrize(
    "told",
    [{}, {"dataset": "no_such", "period": "2024"}, {"dataset": "waste_balance", "period": "../x"}],
    ids=["nothing", "no dataset", "no period"],
)
def test_there_is_nothing_to_say_of_a_slot_that_is_none(stage: Stage, told: dict[str, str]) -> None:
    lead = stage.signed_in("lead")
    sent = {"form": lead.form, "reason": "Urlaub", **told}
    assert lead.client.post(f"/nichts-zu-melden/{WORKS}", data=sent).status_code == 422


def test_a_deadline_is_asked_for_by_the_supplier_and_moves_when_the_coordinator_grants_it(stage: Stage) -> None:
    slot, today = Slot(WORKS, "waste_balance", "2024"), datetime.now(UTC).date()
    clerk, coordinator = stage.signed_in("clerk"), stage.signed_in("coordinator")
    assert states_of(stage, slot) == "overdue"
    assert slot in {late for late, _ in overdue_slots(stage.desk, datetime.now(UTC))}
    until = today + timedelta(days=30)
    told = {"form": clerk.form, "dataset": slot.dataset, "period": slot.period, "until": str(until)}
    assert clerk.client.post(f"/frist-verlaengern/{WORKS}", data={**told, "reason": " "}).status_code == 422
    told["reason"] = "Die Waage <war> kaputt"
    assert clerk.client.post(f"/frist-verlaengern/{WORKS}", data=told).status_code == 303
    assert clerk.client.post(f"/frist-verlaengern/{WORKS}", data=told).status_code == 409
    assert "Verlängerung beantragt" in clerk.client.get(f"/pflichten/{WORKS}").text
    assert states_of(stage, slot) == "overdue", "asking alone changes nothing"
    shown = coordinator.client.get("/fristen").text
    assert "Die Waage &lt;war&gt; kaputt" in shown
    [asked] = stage.desk.ledger.extensions.undecided()
    decision = {"form": coordinator.form, "decision": "grant", "until": str(until)}
    assert coordinator.client.post(f"/fristen/{asked.id}", data=decision).status_code == 303
    assert coordinator.client.post(f"/fristen/{asked.id}", data=decision).status_code == 409
    assert states_of(stage, slot) == "missing"
    assert stage.desk.due_on(slot) == until
    # releases, and with them the scorecards, are made of this
    publish_supply(stage.desk)
    slots = "select due_on, state from accepted.supply_slots where supplier_id = ? and dataset = ? and period = ?"
    assert stage.desk.bench.connection.execute(slots, [*astuple(slot)]).fetchall() == [(until, "missing")]
    assert slot not in {late for late, _ in overdue_slots(stage.desk, datetime.now(UTC))}
    assert "verlängert" in clerk.client.get(f"/pflichten/{WORKS}").text


def test_a_refusal_has_a_reason_and_moves_nothing(stage: Stage) -> None:
    slot = Slot(WORKS, "population", "2024")
    before = stage.desk.due_on(slot)
    asked = stage.desk.ledger.extensions.ask(slot, date(2099, 1, 1), "bitte", "test")
    coordinator = stage.signed_in("coordinator")
    said = {"form": coordinator.form, "decision": "refuse"}
    assert coordinator.client.post(f"/fristen/{asked.id}", data=said).status_code == 422
    said["answer"] = "Das Land wartet nicht"
    assert coordinator.client.post(f"/fristen/{asked.id}", data=said).status_code == 303
    assert stage.desk.due_on(slot) == before
    assert "Das Land wartet nicht" in stage.signed_in("clerk").client.get(f"/pflichten/{WORKS}").text
    assert "Das Land wartet nicht" not in stage.signed_in("foreign lead").client.get(f"/pflichten/{THIRD}").text


@pytest.mark.parametrize("until", ["", "morgen", "2019-01-01", "2099-01-01"])
def test_a_day_that_is_no_extension_is_refused(stage: Stage, until: str) -> None:
    clerk = stage.signed_in("clerk")
    told = {"form": clerk.form, "dataset": "population", "period": "2023", "until": until, "reason": "bitte"}
    answer = clerk.client.post(f"/frist-verlaengern/{WORKS}", data=told)
    assert answer.status_code == 422 and "Dieser Tag geht nicht" in answer.text


def states_of(stage: Stage, slot: Slot) -> str:
    """State of a slot as duties, region and releases work it out."""
    now = datetime.now(UTC)
    owed = [o for o in stage.desk.owed(now.date()) if o.slot == slot]
    state = stage.desk.standing(owed, now)[slot].state
    assert stage.desk.ledger.slot(slot, due=due_at(owed[0].due_on, "Europe/Berlin"), now=now).state == state
    return state
