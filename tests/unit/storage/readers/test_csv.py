"""What a CSV delivery looks like once landed, and what is said about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from storage.readers.base import FormatSpec, Landed, Unreadable, read


@pytest.fixture
def land(tmp_path: Path) -> Any:
    def landing(content: bytes | str, **layout: Any) -> tuple[Landed, pl.DataFrame]:
        source = tmp_path / "sent"
        source.write_bytes(content.encode() if isinstance(content, str) else content)
        spec = FormatSpec.model_validate({"type": "csv"} | layout)
        landed = read(source, spec, tmp_path / "landed.parquet", name="sent.csv")
        return landed, pl.read_parquet(landed.path)

    return landing


def cells(table: pl.DataFrame) -> list[tuple[Any, ...]]:
    return table.drop("delivered_row", "delivered_line", "delivered_sheet", "ignored_by").rows()


def noted(landed: Landed) -> dict[str, dict[str, Any]]:
    return {note.rule: dict(note.facts) for note in landed.notes}


def test_a_row_knows_its_physical_line_even_after_a_cell_over_several_lines(land: Any) -> None:
    _, table = land('a;b\n1;"two\nlines"\n\n3;4\n', delimiter=";")
    assert table["delivered_line"].to_list() == [2, 5]
    assert cells(table) == [("1", "two\nlines"), ("3", "4")]


def test_an_empty_cell_is_null_and_blanks_around_text_are_kept(land: Any) -> None:
    _, table = land("a;b\n;  x \n", delimiter=";")
    assert cells(table) == [(None, "  x ")]


def test_preamble_units_and_footnotes_are_told_from_data(land: Any) -> None:
    content = 'Table "7\nby Kreis\nplace;waste\n;t\nWuppertal;5\n____\nsource;a;b\n'
    landed, table = land(content, delimiter=";", header={"row": 3}, units_rows=1, stop_at="^_+$")
    assert landed.columns == ("place", "waste", "column_3")
    assert landed.units == ("", "t", "")
    assert table["ignored_by"].to_list() == [None, "rows.footnote", "rows.footnote"]
    assert cells(table)[2] == ("source", "a", "b")
    assert landed.notes == ()


def test_two_header_lines_become_one_name_per_column(land: Any) -> None:
    landed, _ = land(",Jan,,Feb,\n[kWh],SA,WT,SA,\n1,2,3,4,\n", delimiter=",", header={"rows": 2})
    assert landed.columns == ("[kWh]", "Jan / SA", "Jan / WT", "Feb / SA")


def test_names_are_unique_to_a_database_that_ignores_case(land: Any) -> None:
    landed, _ = land("Menge;menge;;delivered_line\n1;2;3;4\n", delimiter=";")
    assert landed.columns == ("Menge", "menge_2", "column_3", "delivered_line_2")


def test_a_file_without_header_gets_numbered_columns(land: Any) -> None:
    landed, table = land("1;2\n3;4\n", delimiter=";", header={"rows": 0})
    assert landed.columns == ("column_1", "column_2")
    assert cells(table) == [("1", "2"), ("3", "4")]


def test_no_text_is_lost_from_ragged_lines(land: Any) -> None:
    landed, table = land("a;b\n1;2\n3;4;5;6\n7\n8;9;;\n", delimiter=";")
    assert landed.columns == ("a", "b", "column_3", "column_4")
    assert cells(table)[1:3] == [("3", "4", "5", "6"), ("7", None, None, None)]
    (note,) = landed.notes
    assert (note.rule, note.line, dict(note.facts)) == ("columns.ragged", 3, {"rows": 2, "expected": 2, "found": 4})


@pytest.mark.parametrize(
    ("content", "agreed", "found"),
    [
        ("Straße;ü\nä;ö\n".encode(), "cp1252", "utf-8"),
        ("Straße;ü\nä;ö\n".encode("utf-8-sig"), "cp1252", "utf-8"),
        ("Straße;ü\nä;ö\n".encode("utf-16"), "cp1252", "utf-16"),
        ("Straße;ü\nä;ö\n".encode("utf-16-le"), "utf-8", "utf-16"),
        ("Straße;ü\nä;ö\n".encode("cp1252"), "utf-8", "windows-1252"),
        ("Straße;ü\nä;€\n".encode("cp1252"), "iso-8859-1", "windows-1252"),
    ],
    ids=["utf8", "utf8_with_mark", "utf16", "utf16_without_mark", "cp1252", "cp1252_for_latin1"],
)
def test_another_encoding_than_agreed_is_read_and_said_so(land: Any, content: bytes, agreed: str, found: str) -> None:
    landed, table = land(content, encoding=agreed, delimiter=";")
    assert landed.columns == ("Straße", "ü")
    assert table["Straße"].to_list() == ["ä"]
    facts = noted(landed)["file.encoding_differs"]
    assert facts["found"] == found


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "cp850", "utf-16", None])
def test_the_agreed_encoding_gives_no_note(land: Any, encoding: str | None) -> None:
    landed, table = land("Straße;ü\nä;ö\n".encode(encoding or "cp1252"), encoding=encoding, delimiter=";")
    assert landed.notes == ()
    assert table["ü"].to_list() == ["ö"]


@pytest.mark.parametrize(
    ("content", "encoding", "line"),
    [
        (b"a;b\n1;2\n3;\x81\n", "cp1252", 3),
        ("a;b\nä;ö\nü;ß\n".encode() + b"x;\xfc\n", "utf-8", 4),
    ],
    ids=["no_such_character", "one_broken_byte_in_utf8"],
)
def test_a_byte_that_cannot_be_read_harmlessly_is_named_with_its_line(
    land: Any, content: bytes, encoding: str, line: int
) -> None:
    with pytest.raises(Unreadable) as refused:
        land(content, encoding=encoding, delimiter=";")
    assert (refused.value.rule, refused.value.line) == ("file.unreadable", line)
    assert f"at line {line}" in refused.value.facts["found"]


def test_another_delimiter_than_agreed_is_read_and_said_so(land: Any) -> None:
    landed, table = land("a,b\n1,2\n3,4\n", delimiter=";")
    assert cells(table) == [("1", "2"), ("3", "4")]
    assert noted(landed) == {"file.delimiter_differs": {"agreed": ";", "found": ","}}


def test_decimal_commas_are_not_taken_for_delimiters(land: Any) -> None:
    landed, _ = land("a;b\n1,5;2,5\n", delimiter=",")
    assert noted(landed) == {"file.delimiter_differs": {"agreed": ",", "found": ";"}}
    landed, _ = land("value\n1,5\n2,5\n", delimiter=";")
    assert (landed.columns, landed.notes) == (("value",), ())


def test_a_header_that_moved_is_found_by_the_names_the_dialect_asks_for(land: Any) -> None:
    content = "a new first line\n\nOrt;Menge [t]\nWuppertal;5\n"
    landed, table = land(content, delimiter=";", header={"row": 1}, expected_columns=("ort", "Menge[t]"))
    assert cells(table) == [("Wuppertal", "5")]
    assert noted(landed) == {"columns.header_moved": {"agreed": 1, "found": 3}}


def test_a_renamed_column_does_not_move_the_header(land: Any) -> None:
    landed, _ = land("Ort;Masse\nMenge;Jahr\n", delimiter=";", header={"row": 1}, expected_columns=("Ort", "Menge"))
    assert landed.columns == ("Ort", "Masse")


@pytest.mark.parametrize(
    ("content", "rule", "kind"),
    [
        (b"", "file.empty", None),
        (b"\xef\xbb\xbf \r\n\t\n", "file.empty", None),
        (" \n".encode("utf-16"), "file.empty", None),
        (b"<!DOCTYPE html><html><body>Login</body></html>", "file.wrong_kind", "html"),
        (b"<!-- a --><!-- b -->\n<html>", "file.wrong_kind", "html"),
        (b'<?xml version="1.0"?><a><b/></a>', "file.wrong_kind", "xml"),
        (b'{"a": [1, 2]}', "file.wrong_kind", "json"),
        (b"%PDF-1.7\n...", "file.wrong_kind", "pdf"),
        (b"PK\x03\x04" + b"\x00" * 40, "file.wrong_kind", "zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, "file.wrong_kind", "xls"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 40, "file.wrong_kind", "binary"),
        (b"a;b\n1;\x002\n", "file.wrong_kind", "binary"),
        (b"UNA:+.? 'UNB+UNOC:3+1+2'", "file.wrong_kind", "edifact"),
        (b'a;b\n1;"2\n3;4\n', "file.unreadable", None),
        (b"a;b\n" + b"x" * (2 * 1024 * 1024) + b"\n", "file.too_large", None),
        (b"a" + b";" * 20_000 + b"\n1\n", "file.too_large", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_csv_is_refused_with_a_reason(land: Any, content: bytes, rule: str, kind: str | None) -> None:
    with pytest.raises(Unreadable) as refused:
        land(content, encoding="utf-8", delimiter=";")
    assert refused.value.rule == rule
    assert refused.value.facts["expected"]
    assert refused.value.facts["found"]
    assert refused.value.facts.get("found_kind") == kind


def test_a_header_beyond_the_end_of_the_file_is_missing(land: Any) -> None:
    with pytest.raises(Unreadable) as refused:
        land("a;b\n1;2\n", delimiter=";", header={"row": 9})
    assert refused.value.rule == "columns.missing_header"


def test_a_refused_file_leaves_no_table_behind(land: Any, tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        land(b'a;b\n1;2\n3;"4\n', delimiter=";")
    assert not (tmp_path / "landed.parquet").exists()


def test_an_unknown_encoding_is_a_mistake_in_the_layout() -> None:
    with pytest.raises(ValueError, match="'klingon' is not a text encoding"):
        FormatSpec(type="csv", encoding="klingon")
