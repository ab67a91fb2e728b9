"""Lines of fixed width, cut by characters."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from storage.readers.base import FormatSpec, Unreadable, read

SPEC = FormatSpec(
    type="fixed_width", encoding="utf-8", widths={"type": (1, 2), "name": (3, 8), "people": (9, 12)}, only_lines="^60"
)


def test_positions_count_characters_and_other_records_are_marked(tmp_path: Path) -> None:
    source = tmp_path / "sent"
    source.write_bytes("10Land  \r\n60Bärg   041\r\n\r\n60Budyš\r\n".encode())
    landed = read(source, SPEC, tmp_path / "landed.parquet", name="sent.asc")
    table = pl.read_parquet(landed.path)
    assert table.drop("delivered_row", "delivered_sheet").rows() == [
        (1, "rows.other_record", "10", "Land", None),
        (2, None, "60", "Bärg", "041"),
        (4, None, "60", "Budyš", None),
    ]
    assert landed.notes == ()


def test_lines_that_never_reach_the_last_column_are_said(tmp_path: Path) -> None:
    source = tmp_path / "sent"
    source.write_bytes(b"60abc\n60de\n")
    landed = read(source, SPEC, tmp_path / "landed.parquet", name="sent.asc")
    assert [note.rule for note in landed.notes] == ["columns.ragged"]


def test_a_pdf_is_no_text_of_fixed_width(tmp_path: Path) -> None:
    source = tmp_path / "sent"
    source.write_bytes(b"%PDF-1.4 ...")
    with pytest.raises(Unreadable) as refused:
        read(source, SPEC, tmp_path / "landed.parquet", name="sent.asc")
    assert refused.value.facts["found_kind"] == "pdf"
