"""What people say of a figure is seen where the figure is: that it is contested, and why a warning is no mistake."""

from __future__ import annotations

import io

import pytest

from quality.judging import work_queue
from tests.portal.conftest import Stage
from tests.support.bench import GOOD, WORKS, WUPPERTAL, written
from tests.support.released import small_release

PERIOD, ROW = GOOD["waste_balance"]
OWN = f"{WORKS}--waste_balance--2024--01"
FIGURE, OWNERS = f"K-02/{WUPPERTAL}/2024", f"K-22-peak/{WUPPERTAL}/2025-05"
MARK, REASON = "offener Einspruch", "Die Waage war bis Mai defekt."


@pytest.fixture(scope="module", autouse=True)
def released(stage: Stage) -> None:
    content = written([ROW, {**ROW, "waste_code": "200108", "quantity_t": ""}]).encode()
    stage.desk.receive(io.BytesIO(content), WORKS, "waste_balance", PERIOD, file_name="a.csv", who="test")
    load = GOOD["load_profile"][1]
    stage.desk.receive(
        io.BytesIO(written([load]).encode()), WORKS, "load_profile", "2025-05", file_name="b.csv", who="test"
    )
    work_queue(stage.desk)
    small_release(stage.desk.settings, own=OWN)


def page(stage: Stage, name: str, path: str = f"/zahl/{FIGURE}") -> str:
    answer = (stage.browser() if name == "nobody" else stage.signed_in(name).client).get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_an_objection_is_seen_at_the_figure_by_all_and_read_by_its_two_sides(stage: Stage) -> None:
    assert MARK not in page(stage, "clerk")
    lead, coordinator = stage.signed_in("lead"), stage.signed_in("coordinator")
    assert f"/fragen/{WORKS}/neu?zahl={FIGURE}" in page(stage, "lead")
    assert lead.client.get(f"/fragen/{WORKS}/neu?zahl={FIGURE}").status_code == 200
    sent = {"form": lead.form, "text": "Die Einwohner fehlen.", "zahl": FIGURE}
    thread = str(lead.client.post(f"/fragen/{WORKS}/neu/einspruch", data=sent).headers["location"])
    for name in ("clerk", "foreign lead", "observer", "coordinator"):
        assert MARK in page(stage, name), name
    assert thread in page(stage, "clerk") and thread in page(stage, "coordinator")
    assert thread not in page(stage, "foreign lead") and thread not in page(stage, "observer")
    assert MARK in page(stage, "clerk", f"/zahlen/{WORKS}?jahr=2024") and MARK in page(
        stage, "clerk", f"/lieferung/{OWN}/zahlen"
    )
    assert f"/zahl/{FIGURE}" in page(stage, "lead", thread)
    decided = {"form": coordinator.form, "text": "Doch.", "decision": "upheld"}
    assert coordinator.client.post(f"{thread}/entscheidung", data=decided).status_code == 303
    assert MARK not in page(stage, "observer")


def test_an_objection_to_a_delivery_is_counted_at_the_figures_made_of_it(stage: Stage) -> None:
    lead = stage.signed_in("lead")
    sent = {"form": lead.form, "text": "Falsche Datei.", "lieferung": OWN}
    lead.client.post(f"/fragen/{WORKS}/neu/einspruch", data=sent)
    assert "ist Einspruch erhoben: 1" in page(stage, "foreign lead")


def test_why_a_warning_is_no_mistake_is_read_at_the_figure(stage: Stage) -> None:
    assert REASON not in page(stage, "observer")
    stage.desk.confirm(OWN, "quantity_stated", who="portal:x", author="Xaver", reason=REASON)
    for name in ("clerk", "foreign lead", "observer"):
        shown = page(stage, name)
        assert REASON in shown and "Xaver" not in shown


@pytest.mark.parametrize("figure", ["K-02/05124000/1999", "K-99/05124000/2024", "K-02", "<script>", "../../etc/passwd"])
def test_nobody_asks_about_a_figure_that_is_not_there(stage: Stage, figure: str) -> None:
    lead = stage.signed_in("lead")
    assert lead.client.get(f"/fragen/{WORKS}/neu", params={"zahl": figure}).status_code == 404
    sent = {"form": lead.form, "text": "?", "zahl": figure}
    assert lead.client.post(f"/fragen/{WORKS}/neu/frage", data=sent).status_code == 404


def test_nobody_asks_about_a_figure_they_may_not_see(stage: Stage) -> None:
    assert stage.signed_in("lead").client.get(f"/fragen/{WORKS}/neu", params={"zahl": OWNERS}).status_code == 200
    stranger = stage.signed_in("foreign lead").client
    assert stranger.get("/fragen/plain-third/neu", params={"zahl": OWNERS}).status_code == 404
