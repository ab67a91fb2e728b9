"""Templates from the page, filled in and handed in; the forms that take the place of a file."""

from __future__ import annotations

import io

from openpyxl import load_workbook

from quality.judging import work_queue
from tests.portal.conftest import Stage
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
