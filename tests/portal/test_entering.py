"""Templates from the page, filled in and handed in; the forms that take the place of a file."""

from __future__ import annotations

import io
from html import unescape
from typing import Any

from openpyxl import load_workbook

from quality.judging import work_queue
from tests.portal.conftest import Somebody, Stage
from tests.portal.test_handing_in import hand_in
from tests.support.bench import GOOD, WORKS, written

PERIOD, ROW = GOOD["waste_balance"]


def test_a_template_starts_with_the_last_lines_and_is_accepted_once_filled_in(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    old = [{**ROW, "year": "2011"}, {**ROW, "year": "2011", "waste_code": "200108", "quantity_t": "7"}]
    hand_in(clerk, written(old).encode(), "b.csv", dataset="waste_balance", period="2011")
    work_queue(stage.desk)
    answer = clerk.client.get(f"/vorlage/{WORKS}/waste_balance?period=2012")
    assert answer.status_code == 200 and "attachment" in answer.headers["content-disposition"]
    book = load_workbook(io.BytesIO(answer.content))
    sheet = book["Daten"]
    heads = {cell.value: cell.column for cell in sheet[3]}
    kept = [
        [sheet.cell(line, heads[name]).value for name in ("year", "waste_code", "quantity_t")] for line in (5, 6, 7)
    ]
    assert kept == [[2012, "200301", None], [2012, "200108", None], [None, None, None]]
    assert [row[heads["quantity_t"] - 1].value for row in book["Zuletzt 2011"].iter_rows(min_row=2)] == ["1.234,5", "7"]
    sheet.cell(5, heads["quantity_t"], 12.5)
    sheet.cell(6, heads["quantity_t"], 0)
    saved = io.BytesIO()
    book.save(saved)
    page = hand_in(clerk, saved.getvalue(), "Tabelle.xlsx", dataset="waste_balance", period="2012")
    work_queue(stage.desk)
    told = stage.desk.receipt(page.rpartition("/")[2])
    assert told["state"] in ("accepted", "accepted_with_warnings"), told["findings"]
    assert (told["rows"]["delivered"], told["rows"]["ignored_by_rule"]) == (3, 1)


def test_a_template_of_nothing_that_is_owed_is_not_there(stage: Stage) -> None:
    clerk = stage.signed_in("clerk").client
    assert clerk.get(f"/vorlage/{WORKS}/no_such").status_code == 404
    assert clerk.get(f"/vorlage/{WORKS}/waste_balance?period=gestern").status_code == 404
    assert clerk.get(f"/vorlage/{WORKS}/waste_balance?period=2024-07").status_code == 404


def check(clerk: Somebody, content: bytes, name: str = "b.csv", **told: str) -> Any:
    sent = {"form": clerk.form, **told}
    return clerk.client.post(f"/pruefen/{WORKS}", data=sent, files={"file": (name, content, "text/csv")})


def test_checking_first_says_what_handing_in_would_and_keeps_nothing(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    bad = written([{**ROW, "year": "2013", "waste_code": "999999"}, {**ROW, "year": "2013"}]).encode()
    before = {path for path in stage.desk.home.vault.rglob("*") if path.is_file()}
    shown = check(clerk, bad, dataset="waste_balance", period="2013")
    assert shown.status_code == 200 and "999999" in shown.text and "nicht abgegeben" in shown.text
    assert not stage.desk.ledger.deliveries(WORKS, "waste_balance", "2013")
    assert {path for path in stage.desk.home.vault.rglob("*") if path.is_file()} == before
    page = hand_in(clerk, bad, "b.csv", dataset="waste_balance", period="2013")
    work_queue(stage.desk)
    told = stage.desk.receipt(page.rpartition("/")[2])
    assert str(told["summary"]["de"]) in unescape(shown.text)
    assert all(finding["message"]["de"] in unescape(shown.text) for finding in told["findings"])


def test_what_cannot_be_checked_is_said_with_what_to_do(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    assert check(clerk, b"", dataset="waste_balance", period="gestern").status_code == 422
    assert "welcher Datensatz" in check(clerk, b"a;b", "liste.csv").text
    assert clerk.client.post(f"/pruefen/{WORKS}", data={"form": clerk.form}).status_code == 422
    wrong = check(clerk, b"%PDF-1.4 nothing", dataset="waste_balance", period="2013")
    assert wrong.status_code == 200 and "kern-alert--danger" in wrong.text
