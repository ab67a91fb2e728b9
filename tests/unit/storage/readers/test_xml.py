"""XML documents: records by XPath, columns by XPath or by what stands there, large ones record by record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from storage.readers import FormatSpec, Landed, Unreadable, read, xml

Cells = list[dict[str, str | None]]
UNITS = """<?xml version="1.0" encoding="{encoding}"?>
<EinheitenSolar>
  <EinheitSolar><MastrNummer>SEE1</MastrNummer><Bruttoleistung>9.9</Bruttoleistung><Ort>Köln</Ort></EinheitSolar>
  <EinheitSolar id="2"><MastrNummer>SEE2</MastrNummer><Anlage><Art>853</Art><Art>854</Art></Anlage></EinheitSolar>
</EinheitenSolar>
"""
NOTICE = """<Notice xmlns="urn:n" xmlns:c="urn:c"><c:ID>N-1</c:ID>
  <c:Lot><c:ID>LOT-1</c:ID><c:Value currency="EUR">1000.50</c:Value></c:Lot>
  <c:Lot><c:ID>LOT-2</c:ID></c:Lot>
  <c:Result><c:For>LOT-2</c:For><c:Bids>4</c:Bids></c:Result>
</Notice>"""
LOTS: dict[str, Any] = {
    "records": "//c:Lot",
    "namespaces": {"c": "urn:c", "n": "urn:n"},
    "fields": {
        "lot": "c:ID", "notice": "/n:Notice/c:ID", "value": "c:Value", "currency": "c:Value/@currency",
        "bids": {"path": "//c:Result[c:For = $key]/c:Bids", "key": "c:ID"}, "parts": "count(*)", "cents": "c:Value + 1234567.01",
    },
}  # fmt: skip


def land(folder: Path, content: str | bytes, **layout: Any) -> tuple[Landed, Cells]:
    source = folder / "sent"
    source.write_bytes(content.encode() if isinstance(content, str) else content)
    landed = read(source, FormatSpec(type="xml", **layout), folder / "landed.parquet", name="sent.xml")
    return landed, pl.read_parquet(landed.path).select(landed.columns).to_dicts()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
@pytest.mark.parametrize("most_of_a_tree", [xml.MAX_TREE, 0], ids=["as a whole", "record by record"])
@pytest.mark.parametrize("records", [None, "/EinheitenSolar/EinheitSolar", "//EinheitSolar"])
def test_what_stands_in_a_record_becomes_its_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, most_of_a_tree: int, records: str | None
) -> None:
    monkeypatch.setattr(xml, "MAX_TREE", most_of_a_tree)
    landed, cells = land(tmp_path, UNITS.format(encoding=encoding).encode(encoding), records=records)
    assert cells == [
        {"MastrNummer": "SEE1", "Bruttoleistung": "9.9", "Ort": "Köln", "@id": None, "Anlage/Art": None},
        {"MastrNummer": "SEE2", "Bruttoleistung": None, "Ort": None, "@id": "2", "Anlage/Art": "853 | 854"},
    ]
    assert pl.read_parquet(landed.path)["delivered_line"].to_list() == [3, 4]


def test_a_column_may_look_anywhere_in_the_document(tmp_path: Path) -> None:
    _, cells = land(tmp_path, NOTICE, **LOTS)
    assert cells == [
        {
            "lot": "LOT-1",
            "notice": "N-1",
            "value": "1000.50",
            "currency": "EUR",
            "bids": None,
            "parts": "2",
            "cents": "1235567.51",
        },
        {"lot": "LOT-2", "notice": "N-1", "value": None, "currency": None, "bids": "4", "parts": "1", "cents": None},
    ]


def test_a_document_too_large_for_a_tree_is_refused_where_columns_look_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xml, "MAX_TREE", 0)
    with pytest.raises(Unreadable, match="looked at as a whole"):
        land(tmp_path, NOTICE, **LOTS)


def test_records_may_stand_in_records_of_their_kind_or_deeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml, "MAX_TREE", 0)
    content = "<a><g><x><v>1</v></x></g><g><x><v>2</v></x><y><x><v>3</v></x></y></g></a>"
    assert [row["v"] for row in land(tmp_path, content, records="/a/g/x")[1]] == ["1", "2"]
    assert [row["v"] for row in land(tmp_path, content, records="//x")[1]] == ["1", "2", "3"]
    assert [row["v"] for row in land(tmp_path, content, records="/a//y/x")[1]] == ["3"]


@pytest.mark.parametrize(
    "content",
    [
        '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx">]><a><b>&x;</b></a>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><a><b>1</b></a>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><b>&x;</b></a>',
        "<a><b>1</b>",
        "<a><b>1</c></a>",
        "<a>" * 10_000,
        "<a><b>\x00</b></a>",
    ],
)
@pytest.mark.parametrize("most_of_a_tree", [xml.MAX_TREE, 0], ids=["as a whole", "record by record"])
def test_hostile_documents_get_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, most_of_a_tree: int
) -> None:
    monkeypatch.setattr(xml, "MAX_TREE", most_of_a_tree)
    with pytest.raises(Unreadable) as refused:
        land(tmp_path, content)
    assert refused.value.rule in ("file.unreadable", "file.wrong_kind")
    assert not list(tmp_path.glob("*.parquet")), "nothing half written is left"


@pytest.mark.parametrize("path", ["//", "c:Lot", "count("])
def test_a_path_that_cannot_be_asked_is_a_mistake_in_the_layout(path: str) -> None:
    with pytest.raises(ValueError, match="no XPath that can be asked"):
        xml.check(FormatSpec(type="xml", fields={"a": path}))
