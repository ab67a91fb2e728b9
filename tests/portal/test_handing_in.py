"""A file handed in by page: taken in, judged, answered, and the same verdict as by every other way."""

from __future__ import annotations

import asyncio
import io
import json
import re
import threading
import time
from collections.abc import Iterable

import pytest

from portal import following
from quality.inboxes import Inboxes
from quality.judging import work_queue
from storage import stores
from storage.ledger.ledger import Step
from tests.portal.conftest import Somebody, Stage
from tests.support.bench import GOOD, WORKS, written

PERIOD, ROW = GOOD["waste_balance"]


def hand_in(somebody: Somebody, content: bytes, name: str, **told: str) -> str:
    answer = somebody.client.post(
        f"/abgeben/{WORKS}", data={"form": somebody.form, **told}, files={"file": (name, content, "text/html")}
    )
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def test_a_file_is_taken_in_shown_as_waiting_and_then_with_its_verdict(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    page = hand_in(clerk, written([ROW]).encode(), "balance.csv", dataset="waste_balance", period=PERIOD)
    assert "Wartet, bis die Prüfung frei ist</strong>" in clerk.client.get(page).text
    work_queue(stage.desk)
    shown = clerk.client.get(page).text
    assert "kern-alert--success" in shown and "hx-get" not in shown
    duties = clerk.client.get(f"/pflichten/{WORKS}")
    assert duties.status_code == 200


def test_a_page_hears_of_each_step_as_soon_as_it_is_taken(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    clerk, desk = stage.signed_in("clerk"), stage.desk
    content = written([{**ROW, "year": "2013"}]).encode()
    page = hand_in(clerk, content, "balance.csv", dataset="waste_balance", period="2013")
    delivery = page.rpartition("/")[2]
    asks = next_of(clerk.client.get(page).text)
    assert asks == f"{page}/weiter?gesehen=queued"

    asked, ledger = threading.Event(), stage.app.state.services.desk.ledger
    progress = ledger.progress

    def noticed(ids: Iterable[str]) -> dict[str, Step]:
        told: dict[str, Step] = progress(ids)
        asked.set()
        return told

    def begin() -> None:
        # not before the page has been told that it waits
        assert asked.wait(60)
        desk.ledger.begin([delivery], desk.who)

    monkeypatch.setattr(ledger, "progress", noticed)
    beginning = threading.Thread(target=begin)
    beginning.start()
    began = time.monotonic()
    shown = clerk.client.get(asks).text
    beginning.join()
    assert next_of(shown) == f"{page}/weiter?gesehen=judging"
    assert re.search(r'<li aria-current="step"><strong>Wird geprüft', shown)
    assert time.monotonic() - began < following.LONGEST_SECONDS
    # where nothing happens, the page is there after a while as it was
    monkeypatch.setattr(following.Following.beyond, "__defaults__", (0.3,))
    assert next_of(clerk.client.get(next_of(shown)).text) == next_of(shown)
    work_queue(desk)
    done = clerk.client.get(next_of(shown)).text
    assert "kern-alert--success" in done and "hx-get" not in done


def test_many_who_wait_ask_the_ledger_one_question_at_a_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def progress(ids: Iterable[str]) -> dict[str, Step]:
        asked.append(list(ids))
        return dict.fromkeys(asked[-1], "queued")

    monkeypatch.setattr(stage.desk.ledger, "progress", progress)
    follows = following.Following(stage.desk.ledger)

    async def all_of_them() -> None:
        await asyncio.gather(*(follows.beyond(f"delivery-{nth}", "queued", 0.5) for nth in range(50)))

    asyncio.run(all_of_them())
    # once for the first, and then for all
    assert max(map(len, asked)) == 50 and len(asked) <= 2 + 0.5 / following.FRESH_SECONDS
    assert follows._followed == {}


def next_of(page: str) -> str:
    """What a page that goes on by itself asks for."""
    found = re.search(r'hx-get="([^"]+)"', page)
    assert found, page
    return found[1]


def test_page_folder_and_command_line_come_to_the_same_verdict(stage: Stage) -> None:
    bad = written(
        [{**ROW, "year": "2019", "waste_code": "999999"}, {**ROW, "year": "2019", "quantity_t": "viel"}]
    ).encode()
    clerk = stage.signed_in("clerk")
    page = hand_in(clerk, bad, "balance.csv", dataset="waste_balance", period="2019")
    work_queue(stage.desk)
    mine = stage.desk.ledger.verdict(page.rpartition("/")[2]) or {}
    stores.inboxes(stage.desk.settings).put(
        f"{WORKS}/waste_balance/2018/balance.csv", io.BytesIO(bad.replace(b"2019", b"2018"))
    )
    while not Inboxes(stage.desk).sweep():
        pass
    work_queue(stage.desk)
    [other] = stage.desk.ledger.deliveries(WORKS, "waste_balance", "2018")
    by_folder = stage.desk.ledger.verdict(other.delivery_id) or {}
    assert mine["state"] == by_folder["state"]
    assert mine["rows"] == by_folder["rows"]
    assert [f["rule"] for f in mine["findings"]] == [f["rule"] for f in by_folder["findings"]]


def test_what_a_cell_says_is_shown_and_never_run(stage: Stage) -> None:
    evil = "<script>alert(1)</script>"
    clerk = stage.signed_in("clerk")
    content = written([{**ROW, "year": "2017", "waste_code": evil}]).encode()
    page = hand_in(clerk, content, f"{evil}.csv", dataset="waste_balance", period="2017")
    work_queue(stage.desk)
    shown = clerk.client.get(page).text
    assert evil not in shown and "&lt;script&gt;" in shown


def test_receipts_are_handed_out_whole(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    page = hand_in(clerk, written([{**ROW, "year": "2016"}]).encode(), "b.csv", dataset="waste_balance", period="2016")
    work_queue(stage.desk)
    answer = clerk.client.get(f"{page}/quittung.json")
    assert json.loads(answer.text)["delivery"] == page.rpartition("/")[2]
    assert answer.headers["content-disposition"].startswith("attachment")
    assert clerk.client.get(f"{page}/quittung.exe").status_code == 404


@pytest.mark.parametrize(
    ("name", "told", "words"),
    [
        ("liste.csv", {}, "welcher Datensatz"),
        ("liste.csv", {"dataset": "waste_balance"}, "welchen Zeitraum"),
        ("liste.csv", {"dataset": "waste_balance", "period": "irgendwann"}, "gibt es nicht"),
        ("liste.csv", {"dataset": "no_such", "period": "2024"}, "gibt es nicht"),
    ],
)
def test_what_cannot_be_assigned_is_asked_for(stage: Stage, name: str, told: dict[str, str], words: str) -> None:
    clerk = stage.signed_in("clerk")
    sent = {"form": clerk.form, **told}
    answer = clerk.client.post(f"/abgeben/{WORKS}", data=sent, files={"file": (name, b"a;b\n1;2\n", "text/csv")})
    assert answer.status_code == 422 and words in answer.text
    assert clerk.client.post(f"/abgeben/{WORKS}", data=sent).status_code == 422


def test_what_changed_against_the_last_version_is_shown(stage: Stage) -> None:
    clerk, own = stage.signed_in("clerk"), {"dataset": "waste_balance", "period": "2015"}
    rows = [{**ROW, "year": "2015"}, {**ROW, "year": "2015", "flow_code": "passed_on", "quantity_t": "5"}]
    first = hand_in(clerk, written(rows).encode(), "b.csv", **own)
    work_queue(stage.desk)
    assert "letzte Fassung" not in clerk.client.get(first).text
    second = hand_in(clerk, written([{**rows[0], "quantity_t": "1.334,5"}]).encode(), "b.csv", **own)
    work_queue(stage.desk)
    shown = " ".join(clerk.client.get(second).text.split())
    assert "letzte Fassung" in shown
    for figure in ("1.239,5", "1.334,5", "+95"):
        assert figure in shown
