"""What a supplier owes, and what may be said instead of a file: nothing to report, later please."""

from __future__ import annotations

import pytest

from quality.judging import work_queue
from tests.portal.conftest import Stage
from tests.support.bench import WORKS


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
