"""A warning is confirmed by whose figures they are; the reason stands on the page, in the receipt and in what is released."""

from __future__ import annotations

import io
import itertools
import json

import pytest
import sqlalchemy as sa

from quality.judging import work_queue
from quality.supply import publish_supply
from storage.paths import parse_delivery_id
from tests.portal.conftest import Stage
from tests.support.bench import GOOD, WORKS, written

_, ROW = GOOD["waste_balance"]
RULE = "quantity_stated"
YEARS = itertools.count(2010)
REASON = "Die Waage war bis Mai defekt."


def handed_in(stage: Stage, year: str, *rows: dict[str, str]) -> str:
    content = written([{**ROW, "year": year, **row} for row in rows]).encode()
    made = stage.desk.receive(io.BytesIO(content), WORKS, "waste_balance", year, file_name="a.csv", who="test")
    work_queue(stage.desk)
    return made.delivery_id


@pytest.fixture
def delivery(stage: Stage) -> str:
    """A delivery of a year of its own that a rule warns of."""
    return handed_in(stage, str(next(YEARS)), {"quantity_t": ""})


def confirm(stage: Stage, name: str, delivery: str, rule: str = RULE, reason: str = REASON) -> int:
    somebody = stage.signed_in(name)
    sent = {"form": somebody.form, "regel": rule, "grund": reason}
    return int(somebody.client.post(f"/lieferung/{delivery}/bestaetigen", data=sent).status_code)


def test_the_reason_is_on_the_page_and_in_every_form_of_the_receipt(stage: Stage, delivery: str) -> None:
    clerk = stage.signed_in("clerk")
    assert "Hinweis bestätigen" in clerk.client.get(f"/lieferung/{delivery}").text
    assert confirm(stage, "clerk", delivery) == 303
    for name in ("clerk", "coordinator"):
        shown = stage.signed_in(name).client.get(f"/lieferung/{delivery}").text
        assert REASON in shown and "Bestätigte Hinweise: 1 von 1" in shown
    told = json.loads(clerk.client.get(f"/lieferung/{delivery}/quittung.json").text)
    [one] = told["confirmed"]
    assert (one["rule"], one["reason"], one["rows"]) == (RULE, REASON, 1)
    assert REASON in clerk.client.get(f"/lieferung/{delivery}/quittung.html").text
    assert clerk.client.get(f"/lieferung/{delivery}/quittung.xlsx").status_code == 200, "the workbook stays"


def test_the_reason_travels_to_what_is_released_and_no_name_does(stage: Stage, delivery: str) -> None:
    confirm(stage, "clerk", delivery)
    publish_supply(stage.desk)
    published = stage.desk.bench.connection.execute(
        "select * from accepted.supply_confirmations where delivery_id = ?", [delivery]
    ).fetchall()
    [row] = published
    assert REASON in row and RULE in row
    assert not any("clerk" in str(value) for value in row)


def test_judged_again_it_still_counts_for_as_many_rows_and_for_no_others(stage: Stage, delivery: str) -> None:
    confirm(stage, "clerk", delivery)
    stage.desk.rejudge(delivery)
    clerk = stage.signed_in("clerk").client
    assert REASON in clerk.get(f"/lieferung/{delivery}/quittung.html").text
    stage.desk.confirmations.confirm(delivery, RULE, 2, who="test", author="Test", reason="other rows")
    assert stage.desk.receipt(delivery)["confirmed"] == []


@pytest.mark.parametrize("name", ["lead", "coordinator", "engineer", "observer", "foreign lead"])
def test_whose_figures_they_are_says_that_they_are_right(stage: Stage, delivery: str, name: str) -> None:
    assert confirm(stage, name, delivery) == (303 if name == "lead" else 404)


def test_only_a_warning_of_figures_that_count_is_confirmed(stage: Stage, delivery: str) -> None:
    assert confirm(stage, "clerk", delivery, rule="no.such") == 409
    assert confirm(stage, "clerk", delivery, reason=" ") == 422
    assert confirm(stage, "clerk", delivery, reason="x" * 1001) == 422
    assert confirm(stage, "clerk", delivery[:-2] + "77") == 404
    slot = parse_delivery_id(delivery).slot
    handed_in(stage, slot.period, {"quantity_t": "5"})
    assert confirm(stage, "clerk", delivery) == 409, "another version counts by now"
    assert stage.desk.receipt(delivery)["confirmed"] == []


def test_an_error_is_not_confirmed_away(stage: Stage) -> None:
    held = handed_in(stage, "2049", {}, {"waste_code": "999999", "flow_code": "treated"})
    assert confirm(stage, "clerk", held, rule="values.unknown_code") == 409


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", "=HYPERLINK(1)", "\u202egnp.exe"])
def test_a_reason_is_shown_and_never_run(stage: Stage, delivery: str, evil: str) -> None:
    assert confirm(stage, "clerk", delivery, reason=evil) == 303
    clerk = stage.signed_in("clerk").client
    for path in (f"/lieferung/{delivery}", f"/lieferung/{delivery}/quittung.html"):
        shown = clerk.get(path).text
        assert "<script>alert" not in shown and "\u202e" not in shown


def test_what_was_confirmed_cannot_be_changed(stage: Stage, delivery: str) -> None:
    confirm(stage, "clerk", delivery)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), stage.people._engine.begin() as c:
        c.execute(sa.text("update confirmations set reason = 'x'"))
