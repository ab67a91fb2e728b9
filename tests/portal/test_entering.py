"""Templates from the page, filled in and handed in; the forms that take the place of a file."""

from __future__ import annotations

import io
import re
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


def test_a_faulty_template_comes_back_as_the_receipts_workbook_and_is_still_a_template(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    book = load_workbook(io.BytesIO(clerk.client.get(f"/vorlage/{WORKS}/waste_balance?period=2024").content))
    sheet = book["Daten"]
    heads = {str(cell.value): cell.column for cell in sheet[3]}
    for line, code in enumerate(("200301", "999999"), start=5):
        for name, text in {**ROW, "waste_code": code}.items():
            sheet.cell(line, heads[name], text)
    saved = io.BytesIO()
    book.save(saved)
    page = hand_in(clerk, saved.getvalue(), "Mappe1.xlsx", dataset="waste_balance", period="2024")
    work_queue(stage.desk)
    assert stage.desk.ledger.delivery(page.rpartition("/")[2]).rows["quarantined"] == 1
    marked = load_workbook(io.BytesIO(clerk.client.get(f"{page}/quittung.xlsx").content))
    places = {str(cell.value): cell.column for cell in marked["Daten"][3]}
    marked["Daten"].cell(6, places["waste_code"], "150106")
    again = io.BytesIO()
    marked.save(again)
    page = hand_in(clerk, again.getvalue(), "Mappe2.xlsx", dataset="waste_balance", period="2024")
    work_queue(stage.desk)
    told = stage.desk.receipt(page.rpartition("/")[2])
    assert told["state"] in ("accepted", "accepted_with_warnings"), told["findings"]
    # what the last delivery began and nobody filled in is left out, too
    assert told["rows"]["delivered"] - told["rows"]["ignored_by_rule"] == 2, "the example is left out again"


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


GRID = f"/eingeben/{WORKS}/waste_balance"
LINE = {**ROW, "year": "2015", "quantity_t": "12,5"}


def cells(*rows: dict[str, str]) -> dict[str, str]:
    return {f"r{place}.{name}": text for place, row in enumerate(rows) for name, text in row.items()}


def test_a_table_is_entered_kept_looked_at_and_handed_in_like_any_file(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    assert clerk.client.get(f"{GRID}?period=2015").status_code == 200
    wrong = {**LINE, "waste_code": "999999"}
    told = {"period": "2015", "act": "save", **cells(LINE, wrong)}
    shown = clerk.client.post(GRID, data={"form": clerk.form, **told})
    assert shown.status_code == 200 and "Abgegeben ist noch nichts" in shown.text
    assert "Ergebnis, wenn Sie so abgeben" in shown.text
    [line] = re.findall(r'id="notes-1" aria-live="polite">(.*?)</td>', shown.text, re.DOTALL)
    assert "999999" in line and 'value="999999"' in shown.text
    [good] = re.findall(r'id="notes-0" aria-live="polite">(.*?)</td>', shown.text, re.DOTALL)
    assert not good.strip()
    assert not stage.desk.ledger.deliveries(WORKS, "waste_balance", "2015")
    # another day: the draft is there, and nobody else's
    assert 'value="999999"' in clerk.client.get(f"{GRID}?period=2015").text
    assert "999999" not in stage.signed_in("lead").client.get(f"{GRID}?period=2015").text
    assert "waste_balance?period=2015" in clerk.client.get(f"/eingeben/{WORKS}").text
    told = {"period": "2015", "act": "hand_in", **cells(LINE, wrong), "r1.drop": "1"}
    answer = clerk.client.post(GRID, data={"form": clerk.form, **told})
    assert answer.status_code == 303
    delivery = answer.headers["location"].rpartition("/")[2]
    work_queue(stage.desk)
    receipt = stage.desk.receipt(delivery)
    assert (receipt["state"], receipt["rows"]["delivered"]) == ("accepted", 1), receipt["findings"]
    view = stage.desk.ledger.delivery(delivery)
    assert view.file_name.endswith("_2015.csv")
    assert "ist abgegeben" in clerk.client.get(f"{GRID}?period=2015").text
    assert f"{GRID}?period=2015" not in clerk.client.get(f"/eingeben/{WORKS}").text


def test_a_line_is_looked_at_when_its_cell_is_left(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    sent = {"form": clerk.form, "period": "2016", "place": "7"}
    bad = {f"r7.{name}": text for name, text in {**LINE, "year": "2016", "quantity_t": "viel"}.items()}
    assert "viel" in clerk.client.post(f"{GRID}/zeile", data={**sent, **bad}).text
    good = {**bad, "r7.quantity_t": "12,6"}
    assert not clerk.client.post(f"{GRID}/zeile", data={**sent, **good}).text.strip()
    assert not clerk.client.post(f"{GRID}/zeile", data=sent).text.strip(), "an empty line is no fault"


def test_a_form_begins_with_the_lines_of_the_last_time_and_their_figures_beside(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    page = hand_in(clerk, written([{**ROW, "year": "2017"}]).encode(), "b.csv", dataset="waste_balance", period="2017")
    work_queue(stage.desk)
    assert stage.desk.ledger.delivery(page.rpartition("/")[2]).state == "accepted"
    shown = clerk.client.get(f"{GRID}?period=2018").text
    assert "2017: 1.234,5" in shown and 'value="1.234,5"' not in shown
    assert 'name="r0.year" value="2018"' in shown
    assert '<option value="200301"' in shown or 'value="200301"' in shown


def test_more_lines_are_given_up_to_what_fits_and_an_empty_table_is_not_taken(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    data = {"form": clerk.form, "period": "2019"}
    few = clerk.client.get(f"{GRID}?period=2019").text.count('scope="row"')
    more = clerk.client.post(GRID, data={**data, "act": "more", **cells(LINE)}).text.count('scope="row"')
    assert more > few
    assert clerk.client.post(GRID, data={**data, "act": "hand_in"}).status_code == 422
    many = {f"r{place}.quantity_t": "1" for place in range(400)}
    assert clerk.client.post(GRID, data={**data, "act": "more", **many}).text.count('scope="row"') <= 115
    assert clerk.client.post(GRID, data={**data, "act": "discard"}).status_code == 303
    assert stage.desk.ledger.deliveries(WORKS, "waste_balance", "2019") == []


def test_what_nobody_enters_by_hand_is_not_offered(stage: Stage) -> None:
    clerk = stage.signed_in("clerk").client
    assert clerk.get(f"/eingeben/{WORKS}/load_profile?period=2025-05").status_code == 404
    assert "load_profile" not in clerk.get(f"/eingeben/{WORKS}").text
    assert clerk.get(f"{GRID}?period=2015-05").status_code == 404
    assert clerk.get(f"{GRID}?period=").headers["location"] == f"/eingeben/{WORKS}"


def test_a_cell_that_looks_like_a_formula_or_a_tag_stays_text(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    evil = '=HYPERLINK("x");"><script>'
    told = {"period": "2020", "act": "more", **cells({**LINE, "year": "2020", "waste_code": evil + "\r\n;1;2"})}
    shown = clerk.client.post(GRID, data={"form": clerk.form, **told}).text
    assert "<script>alert" not in shown and '"><script>' not in shown.replace("defer></script>", "")
    sent = {**told, "act": "hand_in", "form": clerk.form}
    delivery = clerk.client.post(GRID, data=sent).headers["location"].rpartition("/")[2]
    work_queue(stage.desk)
    assert stage.desk.receipt(delivery)["rows"]["delivered"] == 1


def test_what_no_name_tells_is_proposed_with_the_reason_and_handed_in_once_confirmed(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    content = written([{**ROW, "year": "2021"}]).encode()
    answer = clerk.client.post(
        f"/abgeben/{WORKS}", data={"form": clerk.form}, files={"file": ("export.csv", content, "text/csv")}
    )
    assert answer.status_code == 200 and "Die meisten Zeilen sind aus 2021" in unescape(answer.text)
    assert not stage.desk.ledger.deliveries(WORKS, "waste_balance", "2021")
    [token] = re.findall(r'name="datei.([^"]+)"', answer.text)
    sent = {f"datei.{token}": "1", f"dataset.{token}": "waste_balance", f"period.{token}": "2021"}
    # nobody else confirms it
    lead = stage.signed_in("lead")
    assert lead.client.post(f"/abgeben/{WORKS}/erkannt", data={"form": lead.form, **sent}).status_code == 422
    done = clerk.client.post(f"/abgeben/{WORKS}/erkannt", data={"form": clerk.form, **sent})
    assert done.headers["location"].startswith(f"/lieferung/{WORKS}--waste_balance--2021--")
    assert clerk.client.post(f"/abgeben/{WORKS}/erkannt", data={"form": clerk.form, **sent}).status_code == 422


def test_several_files_are_handed_in_at_once_and_corrected_one_by_one(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    files = [
        ("file", (f"{year}.csv", written([{**ROW, "year": year}]).encode(), "text/csv")) for year in ("2022", "2023")
    ] + [("file", ("x.bin", b"??", "image/png"))]
    answer = clerk.client.post(f"/abgeben/{WORKS}", data={"form": clerk.form}, files=files)
    tokens = re.findall(r'name="datei.([^"]+)"', answer.text)
    assert answer.status_code == 422 and len(tokens) == 3
    sent = {f"datei.{token}": "1" for token in tokens}
    for token, year in zip(tokens, ("2022", "2023", ""), strict=True):
        sent |= {f"dataset.{token}": "waste_balance", f"period.{token}": year}
    half = clerk.client.post(f"/abgeben/{WORKS}/erkannt", data={"form": clerk.form, **sent})
    assert half.status_code == 422 and half.text.count('href="/lieferung/') == 2 and "x.bin" in half.text
    rest = {f"datei.{tokens[2]}": "1", f"weglassen.{tokens[2]}": "1"}
    clerk.client.post(f"/abgeben/{WORKS}/erkannt", data={"form": clerk.form, **rest})
    assert [len(stage.desk.ledger.deliveries(WORKS, "waste_balance", year)) for year in ("2022", "2023")] == [1, 1]
    assert not list((stage.desk.home.work / "waiting").iterdir())


def test_what_more_lines_share_than_are_named_is_said_once_with_the_forms_own_numbers(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    rows = [{**LINE, "year": "2014", "waste_code": f"99999{place}"} for place in range(9)]
    told = {"period": "2014", "act": "save", **cells({}, *rows)}
    shown = clerk.client.post(GRID, data={"form": clerk.form, **told}).text
    notes = re.findall(r'id="notes-\d+" aria-live="polite">(.*?)</td>', shown, re.DOTALL)
    assert not any("9 Zeilen" in note for note in notes)
    assert "In 9 Zeilen" in shown
    # the first line is empty and left out, so the first code stands in line 1 again
    assert "<tr><td>1</td><td>Abfallschlüssel (AVV)</td><td>999990</td>" in shown


def test_checking_first_tells_what_the_file_seems_to_be(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    shown = check(clerk, written([{**ROW, "year": "2021"}]).encode(), "export.csv")
    assert shown.status_code == 200 and "Die meisten Zeilen sind aus 2021" in unescape(shown.text)
