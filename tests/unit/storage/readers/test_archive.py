"""ZIP archives whose parts are one delivery, and workbooks whose sheets are: one table, and hostile ones get a verdict."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from openpyxl import Workbook

from storage.readers import FormatSpec, Landed, Unreadable, archive, read

Cells = list[dict[str, str | None]]
CSV: dict[str, Any] = {"type": "csv", "delimiter": ";"}


def zipped(parts: Mapping[str, str | bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as to:
        for name, content in parts.items():
            to.writestr(name, content)
    return packed.getvalue()


def land(folder: Path, content: bytes, **layout: Any) -> tuple[Landed, Cells]:
    source = folder / "sent"
    source.write_bytes(content)
    landed = read(source, FormatSpec(**layout), folder / "landed.parquet", name="sent")
    return landed, pl.read_parquet(landed.path).drop("delivered_row", "ignored_by").to_dicts()


def workbook(sheets: Mapping[str, list[list[object]]]) -> bytes:
    book, to = Workbook(), io.BytesIO()
    book.remove(book.worksheets[0])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(to)
    return to.getvalue()


def test_parts_become_one_table_in_the_order_of_their_names(tmp_path: Path) -> None:
    content = zipped({"b.csv": "Id;Menge\n2;5\n", "a.csv": "menge;Id;Neu\n1;1;x\n", "read me.txt": "no data"})
    landed, cells = land(tmp_path, content, **CSV, archive={"parts": r".*\.csv"})
    assert cells == [
        {"delivered_line": 2, "delivered_sheet": "a.csv", "menge": "1", "Id": "1", "Neu": "x"},
        {"delivered_line": 2, "delivered_sheet": "b.csv", "menge": "5", "Id": "2", "Neu": None},
    ]
    assert landed.rows == 2 and not list(tmp_path.glob("parts-*"))


def test_a_manifest_that_holds_is_no_data_and_lets_the_parts_in(tmp_path: Path) -> None:
    text = "Id\n1\n"
    listed = f"{hashlib.sha256(text.encode()).hexdigest()}  a.csv\n"
    layout = {**CSV, "archive": {"parts": ".*", "manifest": "SHA256SUMS"}}
    assert len(land(tmp_path, zipped({"SHA256SUMS": listed, "a.csv": text}), **layout)[1]) == 1
    for wrong in (
        {"a.csv": text},
        {"SHA256SUMS": listed},
        {"SHA256SUMS": listed, "a.csv": "Id\n2\n"},
        {"SHA256SUMS": listed, "a.csv": text, "b.csv": text},
    ):
        with pytest.raises(Unreadable) as refused:
            land(tmp_path, zipped(wrong), **layout)
        assert refused.value.rule == "file.part_missing"


def test_a_part_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreadable) as refused:
        land(tmp_path, zipped({"a.csv": "Id\n1\n", "b.csv": "%PDF-1.7"}), **CSV, archive={"parts": ".*"})
    assert refused.value.rule == "file.wrong_kind" and refused.value.facts["part"] == "b.csv"


def lying(content: bytes) -> bytes:
    """The same archive, which says of its only part that it is a byte long."""
    size = len("Id\n" + "1\n" * 1000).to_bytes(4, "little")
    assert content.count(size) >= 2
    return content.replace(size, (1).to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (zipped({"other.txt": "x"}), "file.part_missing"),
        (zipped({"A.csv": "Id\n1\n", "a.csv": "Id\n1\n"}), "file.unreadable"),
        (zipped({"a.csv": "x" * 100_000_000}), "file.too_large"),
        (zipped({f"{n}.csv": "" for n in range(10_001)}), "file.too_large"),
        (lying(zipped({"a.csv": "Id\n" + "1\n" * 1000})), "file.unreadable"),
        (zipped({"a.csv": "Id\n1\n"})[:-30], "file.unreadable"),
        (b"PK\x03\x04 something that was zipped once", "file.unreadable"),
        (b"Id\n1\n", "file.wrong_kind"),
    ],
    ids=["no_part", "same_name", "bomb", "too_many", "lying", "cut", "broken", "no_archive"],
)
def test_hostile_archives_get_a_verdict(tmp_path: Path, content: bytes, rule: str) -> None:
    with pytest.raises(Unreadable) as refused:
        land(tmp_path, content, **CSV, archive={"parts": r".*\.csv"})
    assert refused.value.rule == rule
    assert not list(tmp_path.glob("parts-*")) and not list(tmp_path.glob("*.parquet"))


def test_names_that_lead_elsewhere_lead_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    land(
        folder, zipped({"../../escaped.csv": "Id\n1\n", "/tmp/escaped.csv": "Id\n1\n"}), **CSV, archive={"parts": ".*"}
    )
    assert not list(tmp_path.glob("escaped*")) and not Path("/tmp/escaped.csv").exists()


def test_an_archive_of_the_size_it_may_have_is_read_whatever_its_folder(tmp_path: Path) -> None:
    assert archive.MAX_PARTS == 10_000
    content = zipped({f"month/{n:03}.csv": "Id\n1\n" for n in range(300)})
    assert len(land(tmp_path, content, **CSV, archive={"parts": r"month/\d+\.csv"})[1]) == 300


def test_every_month_has_its_sheet_and_all_are_one_table(tmp_path: Path) -> None:
    content = workbook({
        "Deckblatt": [["nichts"]], "Januar": [["Art", "Stück"], ["Sofa", 3]], "Februar": [["Stück", "Art"], [4, "Bett"]],
        "März": [],
    })  # fmt: skip
    _, cells = land(tmp_path, content, type="xlsx", sheets="Januar|Februar|März")
    assert cells == [
        {"delivered_line": 2, "delivered_sheet": "Januar", "Art": "Sofa", "Stück": "3"},
        {"delivered_line": 2, "delivered_sheet": "Februar", "Art": "Bett", "Stück": "4"},
    ]
    with pytest.raises(Unreadable) as refused:
        land(tmp_path, content, type="xlsx", sheets="April")
    assert refused.value.rule == "file.sheet_missing"


FORM = {"Maßnahme": "right", "Beginn": "right", "Bemerkung": "below"}


def test_a_form_is_a_row_whose_values_stand_beside_their_labels(tmp_path: Path) -> None:
    first = [
        ["Meldebogen"],
        ["Maßnahme:", None, "Reparaturcafé"],
        [None, " beginn * ", "2026-03-01"],
        ["Bemerkung"],
        ["läuft"],
    ]
    second = [["Maßnahme", "Leihladen"], ["Bemerkung"]]
    _, cells = land(tmp_path, workbook({"A": first, "B": second}), type="xlsx", sheets=".*", form=FORM)
    assert cells == [
        {"delivered_line": 2, "delivered_sheet": "A", "Maßnahme": "Reparaturcafé", "Beginn": "2026-03-01", "Bemerkung": "läuft"},
        {"delivered_line": 1, "delivered_sheet": "B", "Maßnahme": "Leihladen", "Beginn": None, "Bemerkung": None},
    ]  # fmt: skip
    with pytest.raises(Unreadable) as refused:
        land(tmp_path, workbook({"A": [["etwas", "anderes"]]}), type="xlsx", form=FORM)
    assert refused.value.rule == "columns.missing_header"


@pytest.mark.parametrize(
    "layout",
    [
        {"type": "csv", "sheets": "a"}, {"type": "csv", "fields": {"a": "b"}}, {"type": "xlsx", "records": "a"},
        {"type": "xlsx", "sheet": "a", "sheets": "a"}, {"type": "json", "form": FORM}, {"type": "fixed_width"},
    ],
)  # fmt: skip
def test_words_that_belong_to_another_kind_are_a_mistake_in_the_layout(layout: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"belongs to|needs|either"):
        FormatSpec(**layout)
