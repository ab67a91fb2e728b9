"""The region's pages: every duty with its state, what is open, which rules are broken, and the same scores for all."""

from __future__ import annotations

import io

import pytest

from quality.judging import work_queue
from tests.portal.conftest import Stage
from tests.support.bench import GOOD, WORKS, written

PERIOD, ROW = GOOD["waste_balance"]


@pytest.fixture(scope="module", autouse=True)
def delivered(stage: Stage) -> None:
    for year, change in (("2024", {}), ("2025", {"waste_code": "999999"})):
        content = written([{**ROW, "year": year, **change}]).encode()
        stage.desk.receive(io.BytesIO(content), WORKS, "waste_balance", year, file_name="a.csv", who="test")
    work_queue(stage.desk)


def test_the_matrix_shows_every_duty_of_a_year_with_its_state(stage: Stage) -> None:
    coordinator = stage.signed_in("coordinator").client
    shown = coordinator.get("/region?jahr=2024").text
    assert f"/lieferung/{WORKS}--waste_balance--2024--01" in shown
    assert "übernommen" in shown.lower()
    assert f"/lieferung/{WORKS}--waste_balance--2024--01" not in coordinator.get("/region?jahr=2025").text


def test_an_observer_sees_states_and_no_way_to_a_delivery(stage: Stage) -> None:
    shown = stage.signed_in("observer").client.get("/region?jahr=2024").text
    assert "übernommen" in shown.lower() and "/lieferung/" not in shown


def test_what_is_open_comes_worst_first_and_rules_are_counted_by_supplier(stage: Stage) -> None:
    shown = stage.signed_in("coordinator").client.get("/region/offen").text
    assert shown.index("überfällig") < shown.index(f"/lieferung/{WORKS}--waste_balance--2025--01")
    assert "values.unknown_code" in shown


def test_everybody_who_is_signed_in_sees_the_same_scores(stage: Stage) -> None:
    pages = [
        stage.signed_in(name).client.get("/zeugnisse") for name in ("clerk", "foreign lead", "observer", "coordinator")
    ]
    assert {page.status_code for page in pages} == {200}
    assert len({page.text.partition("<main")[2] for page in pages[:2]}) == 1


@pytest.mark.parametrize("year", ["abc", "-1", "99999999999999999999"])
def test_a_year_that_is_none_leads_nowhere_harmful(stage: Stage, year: str) -> None:
    assert stage.signed_in("coordinator").client.get(f"/region?jahr={year}").status_code in (200, 422)
