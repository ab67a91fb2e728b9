"""The workbook: rows to mend or the supplier's own one, and nothing in it that could act."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook
from openpyxl.comments import Comment
from openpyxl.formatting.rule import FormulaRule
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.datavalidation import DataValidation
from receipt_samples import mark, sent_of, verdict_of

from quality.receipt import Sent, write_receipt, xlsx
from quality.receipt.xlsx import harmless
from quality.verdict import Finding, RowCounts

STATUS = "Prüfergebnis (Verbund)"
ATTACKS = [
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|'x'!A0",
    "\t=1+1",
    " =1",
    "＝1",
    '=HYPERLINK("x")',
]
NASTY = st.one_of(
    st.sampled_from([*ATTACKS, "\x00\x01<b>&\"'", "\ufffe", "\ud800", "x" * 40_000]), st.text(max_size=60)
)


def cells_of(path: Path) -> list[Any]:
    return [cell for sheet in load_workbook(path).worksheets for row in sheet.iter_rows() for cell in row]


def own_workbook(path: Path) -> Path:
    """A supplier's workbook: title, header in row 4 from column B on, data from row 5 on."""
    workbook = Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.title = "Stände"
    sheet["B2"] = "Zählerstände März"
    sheet.merge_cells("B2:C2")
    for column, head in enumerate(["Zähler", "Stand"], start=2):
        sheet.cell(4, column, head)
    for row, (meter, reading) in enumerate(
        [("0049", 1.5), ("0050", "k. A."), ("0051", 99999), ("0052", -5.2), ("Summe", 9)]
    ):
        sheet.cell(5 + row, 2, meter)
        sheet.cell(5 + row, 3, reading)
    workbook.create_sheet("Notizen")["A1"] = "bleibt"
    workbook.save(path)
    return path


def own_sent(folder: Path, source: Path, **fields: Any) -> Sent:
    marks = [mark(6, "Stand", value="k. A."), mark(7, None, "reading_plausible", held=False)]
    return sent_of(
        folder, marks=fields.pop("marks", marks), sheet="Stände", first_line=5, ignored={9: "rows.total"},
        source=source, format="xlsx", **fields,
    )  # fmt: skip


def test_the_rows_to_mend_come_with_line_cells_as_delivered_and_reason(tmp_path: Path) -> None:
    path = write_receipt(verdict_of(), sent_of(tmp_path), tmp_path).xlsx
    assert path is not None
    workbook = load_workbook(path)
    assert workbook.sheetnames == ["Zu korrigieren", "Quittung"]
    rows = list(workbook["Zu korrigieren"].iter_rows(values_only=True))
    assert rows[0] == ("Zeile in Ihrer Datei", "Zähler", "Stand", STATUS)
    assert [row[:3] for row in rows[1:]] == [(11, "0050", "k. A."), (12, "0051", "99999")]
    assert rows[1][3] == (
        "zurückgehalten: „k. A.“ ist keine Zahl; Erwartet: eine Zahl wie 1,5; Meinten Sie: 0,5? (Spalte „Stand“)"
    )
    assert str(rows[2][3]).startswith("übernommen mit Hinweis: „99999“ liegt außerhalb des Erlaubten")


def test_several_faults_of_one_line_are_told_together_and_the_worst_decides(tmp_path: Path) -> None:
    marks = [mark(12, "Stand", "reading_plausible", "99999", held=False), mark(12, "Zähler", "values.missing")]
    path = write_receipt(verdict_of(), sent_of(tmp_path, marks=marks), tmp_path).xlsx
    assert path is not None
    (_, row) = load_workbook(path)["Zu korrigieren"].iter_rows(values_only=True)
    assert str(row[3]).startswith("zurückgehalten: ")
    assert "Wert fehlt" in str(row[3]) and "außerhalb des Erlaubten" in str(row[3])


def test_the_workbook_ends_at_a_number_of_lines_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "LINES", 3)
    rows = {"Stand": [str(number) for number in range(20)]}
    marks = [mark(line, "Stand", held=line > 25) for line in range(10, 30)]
    verdict = verdict_of(rows=RowCounts(20, 0, 16, 4, 0))
    path = write_receipt(verdict, sent_of(tmp_path, rows=rows, marks=marks), tmp_path).xlsx
    assert path is not None
    workbook = load_workbook(path)
    # those held back come first, although they stand further down in the file
    assert [row[0] for row in workbook["Zu korrigieren"].iter_rows(min_row=2, values_only=True)] == [26, 27, 28]
    told = " ".join(str(cell.value) for row in workbook["Quittung"].iter_rows() for cell in row)
    assert "Gezeigt sind hier 3 Zeilen, zurückgehaltene zuerst. Insgesamt sind 20 Zeilen" in told


def test_what_is_only_for_information_makes_no_workbook(tmp_path: Path) -> None:
    note = mark(10, "Zähler", "values.leading_zero_restored", "49", held=False) | {
        "severity": "info",
        "row_state": "accepted",
    }
    assert write_receipt(verdict_of([]), sent_of(tmp_path, marks=[note]), tmp_path).xlsx is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.lists(NASTY, min_size=1, max_size=3), NASTY)
def test_no_cell_of_the_rows_to_mend_is_a_formula_or_breaks_the_file(
    tmp_path: Path, values: list[str], name: str
) -> None:
    rows = {"A": values, name.replace("\ud800", "") or "B": list(reversed(values))}
    rows = {key: [value.replace("\ud800", "") for value in column] for key, column in rows.items()}
    marks = [mark(10 + index, "A", "values.not_a_number", value) for index, value in enumerate(rows["A"])]
    sent = sent_of(tmp_path, rows=rows, marks=marks, supplier_name=name, file_name=name, dataset_title={"de": name})
    path = write_receipt(verdict_of(), sent, tmp_path).xlsx
    assert path is not None
    for cell in cells_of(path):
        assert cell.data_type != "f"
        if isinstance(cell.value, str):
            assert harmless(cell.value) == cell.value


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_spreadsheet_could_take_for_a_formula_gets_an_apostrophe(attack: str) -> None:
    assert harmless(attack) == "'" + attack


@pytest.mark.parametrize("plain", ["-5,2", "+1.234,50", "-", "--", "0049", "a=b", "k. A.", "", "-12%"])
def test_what_means_only_itself_stays_as_delivered(plain: str) -> None:
    assert harmless(plain) == plain


@given(NASTY)
def test_making_a_text_harmless_twice_changes_nothing(text: str) -> None:
    assert harmless(harmless(text)) == harmless(text)


def test_a_suppliers_own_workbook_comes_back_with_status_column_and_comments(tmp_path: Path) -> None:
    source = own_workbook(tmp_path / "0a1b2c")
    path = write_receipt(verdict_of(), own_sent(tmp_path, source), tmp_path / "receipts").xlsx
    assert path is not None
    workbook = load_workbook(path)
    sheet = workbook["Stände"]
    assert workbook.sheetnames == ["Stände", "Notizen", "Quittung"]
    assert workbook["Notizen"]["A1"].value == "bleibt"
    assert [str(range_) for range_ in sheet.merged_cells.ranges] == ["B2:C2"]
    assert (sheet["B5"].value, sheet["C5"].value, sheet["C8"].value) == ("0049", 1.5, -5.2)
    status = [sheet.cell(row, 4).value for row in range(3, 10)]
    assert status[:3] == [None, STATUS, "in Ordnung"]
    assert str(status[3]).startswith("zurückgehalten: „k. A.“ ist keine Zahl")
    assert str(status[4]).startswith("übernommen mit Hinweis: ")
    assert status[5:] == ["in Ordnung", "ausgelassen: Summenzeile"]
    assert sheet["C6"].comment is not None and "keine Zahl" in sheet["C6"].comment.text
    assert "is not a number" in sheet["C6"].comment.text
    assert sheet["C6"].fill.fgColor.rgb != sheet["C5"].fill.fgColor.rgb
    assert source.read_bytes()[:2] == b"PK", "the bytes as sent are never changed"


def test_every_row_of_a_rejected_workbook_says_that_the_file_was_rejected(tmp_path: Path) -> None:
    verdict = verdict_of(state="rejected", rows=RowCounts(5, 0, 0, 4, 1))
    path = write_receipt(verdict, own_sent(tmp_path, own_workbook(tmp_path / "s")), tmp_path).xlsx
    assert path is not None
    assert load_workbook(path)["Stände"]["D5"].value == "zurückgehalten: die ganze Datei ist abgelehnt"


def test_a_line_is_called_fine_only_where_every_broken_place_is_marked(tmp_path: Path) -> None:
    more = Finding("values.not_a_number", "error", 2, {"columns": ["Stand"]})
    path = write_receipt(verdict_of([more]), own_sent(tmp_path, own_workbook(tmp_path / "s")), tmp_path).xlsx
    assert path is not None
    status = [load_workbook(path)["Stände"].cell(row, 4).value for row in range(5, 10)]
    assert str(status[1]).startswith("zurückgehalten: ")
    assert "in Ordnung" not in status


def test_a_marked_workbook_sent_again_is_not_marked_beside_its_marks(tmp_path: Path) -> None:
    first = write_receipt(verdict_of(), own_sent(tmp_path, own_workbook(tmp_path / "s")), tmp_path / "one").xlsx
    assert first is not None
    again = write_receipt(verdict_of(), own_sent(tmp_path, first), tmp_path / "two").xlsx
    assert again is not None
    workbook = load_workbook(again)
    assert workbook.sheetnames == ["Stände", "Notizen", "Quittung"]
    assert [cell.value for cell in workbook["Stände"][4]] == [None, "Zähler", "Stand", STATUS]


def test_nothing_in_a_suppliers_own_workbook_can_act_any_more(tmp_path: Path) -> None:
    source = own_workbook(tmp_path / "s.xlsx")
    workbook = load_workbook(source)
    sheet = workbook["Stände"]
    sheet["C5"] = "=cmd|' /C calc'!A0"
    sheet["B6"] = "@SUM(1+1)"
    sheet["B7"].hyperlink = "https://example.invalid/"
    sheet["B8"].comment = Comment("eigene Notiz", "ich")
    workbook["Notizen"]["A2"] = "=1+1"
    workbook["Notizen"]["A3"] = "=x"
    workbook["Notizen"]["A3"].data_type = "s"
    workbook.defined_names["bad"] = DefinedName("bad", attr_text="cmd|'/C calc'!A0")
    workbook.defined_names["good"] = DefinedName("good", attr_text="Stände!$B$5:$C$9")
    sheet.conditional_formatting.add("C5:C9", FormulaRule(formula=["cmd|'/C calc'!A0"]))
    check = DataValidation(type="custom", formula1="cmd|'/C calc'!A0")
    check.add("C5")
    sheet.add_data_validation(check)
    workbook.save(source)
    path = write_receipt(verdict_of(), own_sent(tmp_path, source), tmp_path / "receipts").xlsx
    assert path is not None
    result = load_workbook(path)
    assert not [cell for cell in cells_of(path) if cell.data_type == "f" or cell.hyperlink]
    assert result["Stände"]["B6"].value == "'@SUM(1+1)"
    assert result["Notizen"]["A3"].value == "'=x"
    assert list(result.defined_names) == ["good"]
    note = result["Stände"]["B8"].comment
    assert note is not None and note.text == "eigene Notiz"
    with zipfile.ZipFile(path) as archive:
        assert not [name for name in archive.namelist() if b"cmd|" in archive.read(name)]
        assert not [name for name in archive.namelist() if b"example.invalid" in archive.read(name)]


@pytest.mark.parametrize("limit", ["OWN_BYTES", "OWN_UNPACKED_BYTES", "OWN_ROWS", "OWN_CELLS"])
def test_a_workbook_too_large_to_mark_gives_the_rows_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(xlsx, limit, 1)
    path = write_receipt(verdict_of(), own_sent(tmp_path, own_workbook(tmp_path / "s")), tmp_path).xlsx
    assert path is not None
    assert load_workbook(path).sheetnames == ["Zu korrigieren", "Quittung"]


@pytest.mark.parametrize("source", [b"not a workbook", b"PK\x03\x04broken", None], ids=["text", "broken_zip", "gone"])
def test_a_workbook_that_cannot_be_opened_gives_the_rows_to_mend(tmp_path: Path, source: bytes | None) -> None:
    file = tmp_path / "s"
    if source is not None:
        file.write_bytes(source)
    path = write_receipt(verdict_of(), own_sent(tmp_path, file), tmp_path).xlsx
    assert path is not None
    assert load_workbook(path).sheetnames == ["Zu korrigieren", "Quittung"]


@pytest.mark.slow
@pytest.mark.parametrize("own", [True, False], ids=["own_workbook", "rows_to_mend"])
def test_the_workbook_survives_being_opened_and_saved_by_libreoffice(tmp_path: Path, own: bool) -> None:
    office = shutil.which("soffice") or shutil.which("libreoffice")
    if office is None:
        pytest.skip("LibreOffice is not installed (soffice not found)")
    rows = {"A": [*ATTACKS, "0049"], "B": ["k. A."] * (len(ATTACKS) + 1)}
    sent = own_sent(tmp_path, own_workbook(tmp_path / "s")) if own else sent_of(
        tmp_path, rows=rows, marks=[mark(10 + index, "B", value="k. A.") for index in range(len(rows["A"]))]
    )  # fmt: skip
    path = write_receipt(verdict_of(), sent, tmp_path / "receipts").xlsx
    assert path is not None
    saved = tmp_path / "saved"
    subprocess.run(
        [office, f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to", "xlsx", "--outdir", saved, path],
        check=True, capture_output=True, timeout=180,
    )  # fmt: skip
    before, after = load_workbook(path), load_workbook(saved / path.name)
    assert after.sheetnames == before.sheetnames
    for sheet in before.worksheets:
        for row in sheet.iter_rows():
            for cell in row:
                other = after[sheet.title].cell(cell.row, cell.column)
                assert other.value == cell.value and other.data_type != "f"
                assert (other.comment is None) == (cell.comment is None)
