"""JSON as platforms export it: records wherever they lie, names by their way, and nothing that fills the memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from storage.readers import FormatSpec, Landed, Unreadable, read

Cells = list[dict[str, str | None]]


def land(folder: Path, content: str | bytes, **layout: Any) -> tuple[Landed, Cells]:
    source = folder / "sent"
    source.write_bytes(content.encode() if isinstance(content, str) else content)
    landed = read(source, FormatSpec(type="json", **layout), folder / "landed.parquet", name="sent.json")
    return landed, pl.read_parquet(landed.path).select(landed.columns).to_dicts()


ORDERS = [
    {"id": 7, "vendor": {"postcode": "42103", "tags": ["bio", "regional"]}, "price": 1.50, "cancelled": None},
    {"id": 8, "vendor": {"postcode": "66740"}, "price": -3, "paid": True},
]
CELLS = [
    {"id": "7", "vendor.postcode": "42103", "vendor.tags": "bio | regional", "price": "1.5", "cancelled": None, "paid": None},
    {"id": "8", "vendor.postcode": "66740", "vendor.tags": None, "price": "-3", "cancelled": None, "paid": "true"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "records"),
    [
        (json.dumps(ORDERS), None),
        ("\n".join(map(json.dumps, ORDERS)) + "\n", None),
        (json.dumps({"result": {"orders": ORDERS}}), "result.orders"),
        ("\ufeff" + json.dumps(ORDERS), None),
        (json.dumps(ORDERS).encode("utf-16"), None),
    ],
    ids=["a list", "a record a line", "a list inside", "with a mark", "UTF-16"],
)
def test_records_are_found_wherever_they_lie(tmp_path: Path, content: str | bytes, records: str | None) -> None:
    landed, cells = land(tmp_path, content, records=records)
    assert cells == CELLS
    assert pl.read_parquet(landed.path)["delivered_line"].to_list() == [1, 2]


def test_what_stands_around_the_records_stands_in_every_row(tmp_path: Path) -> None:
    document = {"operator": "Markt", "vendors": [{"id": 1}], "orders": [{"id": 1}, {"id": 2}], "made": {"at": "2026"}}
    _, cells = land(tmp_path, json.dumps(document), records="orders")
    assert cells == [{"/operator": "Markt", "/made/at": "2026", "id": each} for each in ("1", "2")]


def test_numbers_are_written_as_they_stand_with_the_layouts_mark(tmp_path: Path) -> None:
    content = '[{"a": 0.10, "b": 12345678901234567890.5, "c": 1e3, "d": 1e999999999, "e": "1.5"}]'
    _, [cells] = land(tmp_path, content, decimal=",")
    assert cells == {"a": "0,10", "b": "12345678901234567890,5", "c": "1000", "d": cells["d"], "e": "1.5"}
    assert len(str(cells["d"])) < 20


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ('[{"id": 1}, {"id": ', "file.unreadable"),
        ('[{"id": 1}, {"id": nonsense}]', "file.unreadable"),
        ('[{"id": 1' + "9" * 10_000 + "}]", "file.unreadable"),
        ("[" * 100_000, "file.too_large"),
        ('[{"a":' + "[" * 100 + "1" + "]" * 100 + "}]", "file.too_large"),
        ('[{"a": [' + "1," * 200_001 + "1]}]", "file.too_large"),
        ("[{" + ",".join(f'"n{n}": 1' for n in range(6_000)) + "}]", "file.too_large"),
        ('[{"a": "' + "x" * (1024 * 1024 + 1) + '"}]', "file.too_large"),
        ("<a/>", "file.wrong_kind"),
        ("", "file.empty"),
    ],
)  # fmt: skip
def test_hostile_documents_get_a_verdict(tmp_path: Path, content: str, rule: str) -> None:
    with pytest.raises(Unreadable) as refused:
        land(tmp_path, content)
    assert refused.value.rule == rule
    assert not list(tmp_path.glob("*.parquet")), "nothing half written is left"


def test_what_a_broken_document_holds_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(Unreadable) as refused:
        land(tmp_path, '[{"name": "Erika Mustermann"}, {"name": Mustermann}]')
    assert "Mustermann" not in str(refused.value) and refused.value.facts["found"] == "a mistake after record 1"


def test_a_document_without_records_has_no_rows(tmp_path: Path) -> None:
    landed, cells = land(tmp_path, '{"orders": []}', records="orders")
    assert landed.rows == 0 and not cells
