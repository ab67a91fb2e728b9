"""Workbooks: values as text, what is hidden or missing said, what is dangerous refused."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from storage.readers.base import FormatSpec, Landed, Unreadable, read


@pytest.fixture
def land(tmp_path: Path) -> Any:
    def landing(fill: Callable[[Worksheet], None], **layout: Any) -> tuple[Landed, pl.DataFrame]:
        workbook = Workbook()
        sheet = workbook.active
        assert isinstance(sheet, Worksheet)
        sheet.title = "Daten"
        fill(sheet)
        workbook.save(tmp_path / "sent")
        spec = FormatSpec.model_validate({"type": "xlsx"} | layout)
        landed = read(tmp_path / "sent", spec, tmp_path / "landed.parquet", name="sent.xlsx")
        return landed, pl.read_parquet(landed.path)

    return landing


def rows(*lines: list[Any]) -> Callable[[Worksheet], None]:
    def fill(sheet: Worksheet) -> None:
        for line in lines:
            sheet.append(line)

    return fill


def cells(table: pl.DataFrame) -> list[tuple[Any, ...]]:
    return table.drop("delivered_row", "delivered_line", "delivered_sheet", "ignored_by").rows()


@pytest.mark.parametrize(
    ("value", "layout", "text"),
    [
        ("05124", {}, "05124"),
        (5124, {}, "5124"),
        (1234.5, {}, "1234.5"),
        (1234567.25, {"decimal": ","}, "1234567,25"),
        (0.1 + 0.2, {}, "0.30000000000000004"),
        (1e-7, {}, "0.0000001"),
        (12345678901234567890, {}, "12345678901234567168"),
        (-3, {"decimal": ","}, "-3"),
        ("1.234,5", {"decimal": ","}, "1.234,5"),
        (date(2024, 1, 31), {}, "2024-01-31"),
        (date(2024, 1, 31), {"dates": "%d.%m.%Y"}, "31.01.2024"),
        (datetime(2024, 1, 31, 0, 15), {}, "2024-01-31T00:15:00"),
        (datetime(2024, 1, 31, 23, 45), {"dates": "%d.%m.%Y %H:%M"}, "31.01.2024 23:45"),
        (time(12, 30), {}, "12:30:00"),
        (timedelta(hours=30), {}, "30:00:00"),
        (True, {}, "true"),
        ("  lead\nbreak", {}, "  lead\nbreak"),
        ("#DIV/0!", {}, "#DIV/0!"),
    ],
    ids=str,
)
def test_a_cell_is_told_as_a_person_would_type_it(land: Any, value: Any, layout: dict[str, str], text: str) -> None:
    _, table = land(rows(["a", "b"], ["x", value]), **layout)
    # a workbook holds 17 significant digits at most, and openpyxl writes 16
    got = cells(table)[0][1]
    assert got == text or (isinstance(value, int | float) and float(got) == pytest.approx(float(value), rel=1e-15))


def test_rows_carry_their_number_in_the_sheet_and_its_name(land: Any) -> None:
    def fill(sheet: Worksheet) -> None:
        sheet["B3"], sheet["C3"] = "a", "b"
        sheet["B4"], sheet["C6"] = 1, 2

    landed, table = land(fill)
    assert landed.columns == ("a", "b")
    assert table["delivered_line"].to_list() == [4, 6]
    assert table["delivered_sheet"].unique().to_list() == ["Daten"]


def test_merged_header_cells_name_all_columns_under_them(land: Any) -> None:
    def fill(sheet: Worksheet) -> None:
        rows(["Ort", "Menge", None, None], [None, "Bio", "Rest", None], [None, "t", "t", None], ["W", 1, 2, 3])(sheet)
        sheet.merge_cells("A1:A2")
        sheet.merge_cells("B1:D1")

    landed, _ = land(fill, header={"rows": 2}, units_rows=1)
    assert landed.columns == ("Ort", "Menge / Bio", "Menge / Rest", "Menge")
    assert landed.units == ("", "t", "t", "")


def test_hidden_rows_are_read_and_said(land: Any) -> None:
    def fill(sheet: Worksheet) -> None:
        rows(["a"], [1], [2], [3])(sheet)
        sheet.row_dimensions[3].hidden = True
        sheet.row_dimensions[9].hidden = True

    landed, table = land(fill)
    assert cells(table) == [("1",), ("2",), ("3",)]
    (note,) = landed.notes
    assert (note.rule, note.severity, dict(note.facts)) == ("rows.hidden", "info", {"rows": 1, "lines": [3]})


def test_a_formula_that_was_never_calculated_is_said(land: Any) -> None:
    landed, table = land(rows(["a", "b"], [1, "=A2*2"]))
    assert cells(table) == [("1", None)]
    (note,) = landed.notes
    assert (note.rule, note.line, note.facts["examples"]) == ("values.formula_without_value", 2, ["B2"])


def test_footnotes_and_extra_cells_are_kept(land: Any) -> None:
    landed, table = land(rows(["a", "b"], [1, 2, 3], ["Quelle: x"]), stop_at="^Quelle")
    assert landed.columns == ("a", "b", "column_3")
    assert table["ignored_by"].to_list() == [None, "rows.footnote"]
    assert [note.rule for note in landed.notes] == ["columns.ragged"]


def test_a_header_that_moved_is_found(land: Any) -> None:
    landed, _ = land(
        rows(["Titel"], [], ["Ort", "Menge"], ["W", 1]), header={"row": 1}, expected_columns=("ORT", "Menge")
    )
    assert landed.columns == ("Ort", "Menge")
    assert [(note.rule, note.line) for note in landed.notes] == [("columns.header_moved", 3)]


def test_the_only_sheet_is_read_under_another_name_and_that_is_said(land: Any) -> None:
    landed, _ = land(rows(["a"], [1]), sheet="Mengen 2024")
    assert [(note.rule, dict(note.facts)) for note in landed.notes] == [
        ("file.sheet_renamed", {"agreed": "Mengen 2024", "found": "Daten"})
    ]


def test_a_missing_sheet_among_several_is_refused_with_the_names_there_are(land: Any) -> None:
    def fill(sheet: Worksheet) -> None:
        rows(["a"], [1])(sheet)
        assert sheet.parent is not None
        sheet.parent.create_sheet("Hinweise")

    with pytest.raises(Unreadable) as refused:
        land(fill, sheet="Mengen")
    assert refused.value.rule == "file.sheet_missing"
    assert refused.value.facts["sheets"] == ["Daten", "Hinweise"]


def test_the_first_sheet_that_is_not_hidden_is_the_first(land: Any) -> None:
    def fill(sheet: Worksheet) -> None:
        assert sheet.parent is not None
        rows(["b"], [1])(sheet.parent.create_sheet("Daten 2"))
        sheet.sheet_state = "hidden"

    landed, _ = land(fill)
    assert landed.columns == ("b",)


def _rewritten(path: Path, changes: dict[str, bytes]) -> None:
    """Replace or add parts of a workbook."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()} | changes
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%s</sheetData></worksheet>'
FAR_CORNERS = SHEET % b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"xl/vbaProject.bin": b"x"}, "file.has_macros"),
        ({"xl/big.bin": b"\x00" * (60 * 1024 * 1024)}, "file.too_large"),
        ({"xl/worksheets/sheet1.xml": FAR_CORNERS}, "file.too_large"),
        ({f"x{nth}": b"" for nth in range(10_001)}, "file.too_large"),
        (
            {"xl/worksheets/sheet1.xml": b'<!DOCTYPE x [<!ENTITY e "e">]>' + SHEET % b"<row><c><v>&e;</v></c></row>"},
            "file.unreadable",
        ),
        ({"xl/worksheets/sheet1.xml": b"<worksheet><sheetData><row"}, "file.unreadable"),
        ({"xl/workbook.xml": b"<"}, "file.unreadable"),
        ({"xl/_rels/workbook.xml.rels": b"<Relationships/>"}, "file.unreadable"),
        ({"xl/worksheets/sheet1.xml": SHEET % b""}, "file.empty"),
    ],
    ids=["macros", "bomb", "far_corners", "parts", "entities", "cut_sheet", "cut_index", "no_relations", "empty"],
)
def test_a_dangerous_or_broken_workbook_is_refused(tmp_path: Path, changes: dict[str, bytes], rule: str) -> None:
    workbook = Workbook()
    workbook.save(tmp_path / "sent")
    _rewritten(tmp_path / "sent", changes)
    with pytest.raises(Unreadable) as refused:
        read(tmp_path / "sent", FormatSpec(type="xlsx"), tmp_path / "landed.parquet", name="sent.xlsx")
    assert refused.value.rule == rule


@pytest.mark.parametrize(
    ("content", "rule", "kind"),
    [
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600 + "EncryptedPackage".encode("utf-16-le"),
            "file.encrypted",
            None,
        ),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, "file.wrong_kind", "xls"),
        (b"a;b\n1;2\n", "file.wrong_kind", "text"),
        (b"", "file.empty", None),
    ],
    ids=["password", "old_excel", "csv", "empty"],
)
def test_another_kind_of_file_is_named(tmp_path: Path, content: bytes, rule: str, kind: str | None) -> None:
    (tmp_path / "sent").write_bytes(content)
    with pytest.raises(Unreadable) as refused:
        read(tmp_path / "sent", FormatSpec(type="xlsx"), tmp_path / "landed.parquet", name="sent.xlsx")
    assert (refused.value.rule, refused.value.facts.get("found_kind")) == (rule, kind)


def test_a_workbook_cut_in_half_is_called_broken_and_no_other_kind_of_file(tmp_path: Path) -> None:
    book, file = Workbook(), tmp_path / "whole.xlsx"
    for number in range(2_000):
        book.worksheets[0].append([f"Zelle {number}", number * 7919 % 1013])
    book.save(file)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(Unreadable) as refused:
        read(file, FormatSpec(type="xlsx"), tmp_path / "landed.parquet", name="whole.xlsx")
    assert refused.value.rule == "file.unreadable"
    assert refused.value.facts["found"].startswith("a broken one")


def test_a_workbook_cut_anywhere_is_refused_and_not_a_crash(tmp_path: Path) -> None:
    workbook = Workbook()
    rows(["a", "b"], *([n, n * 2] for n in range(50)))(workbook.active)  # type: ignore[arg-type]
    workbook.save(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    for length in range(4, len(whole), 97):
        (tmp_path / "sent").write_bytes(whole[:length])
        with pytest.raises(Unreadable):
            read(tmp_path / "sent", FormatSpec(type="xlsx"), tmp_path / "landed.parquet", name="sent.xlsx")
