"""MSCONS interchanges: one row per quantity, with what the segments before it say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from storage.readers.base import FormatSpec, Landed, Unreadable, read
from storage.readers.mscons import iso

HEAD = "UNB+UNOC:3+9900000000001:500+9900000000002:500+250101:0900+X1++TL'"


def message(ref: str, document: str, *, function: str = "9", rff: str = "", body: str = "", count: int = 0) -> str:
    head = (
        f"UNH+{ref}+MSCONS:D:04B:UN:2.4c'BGM+7+{document}+{function}'DTM+137:202501010900?+00:303'{rff}RFF+Z13:13018'"
    )
    head += "NAD+MS+9900000000001::293'CTA+IC+:P GETTY'COM+a@b.example:EM'NAD+MR+9900000000002::293'UNS+D'NAD+DP'"
    text = head + body
    return text + f"UNT+{count or text.count(chr(39)) - text.count('?' + chr(39)) + 1}+{ref}'"


def quantity(value: str, hour: int, status: str = "220", more: str = "") -> str:
    return f"QTY+{status}:{value}:KWH'DTM+163:2025010{hour}0000?+01:303'DTM+164:2025010{hour + 1}0000?+01:303'{more}"


BODY = "LOC+172+DE0001'LIN+1'PIA+5+1-1?:1.29.0:SRW'" + quantity("1.5", 1) + quantity("2", 2, "67", "STS+Z34++Z81'")


@pytest.fixture
def land(tmp_path: Path) -> Any:
    def landing(text: str) -> tuple[Landed, pl.DataFrame]:
        source = tmp_path / "sent"
        source.write_bytes(text.encode("latin-1"))
        landed = read(source, FormatSpec(type="mscons"), tmp_path / "landed.parquet", name="sent.txt")
        return landed, pl.read_parquet(landed.path)

    return landing


def test_each_quantity_becomes_a_row_with_place_obis_status_and_period(land: Any) -> None:
    landed, table = land(HEAD + message("1", "D1", body=BODY) + "UNZ+1+X1'")
    assert landed.notes == ()
    assert table.rows(named=True)[1] == {
        "delivered_row": 2,
        "delivered_line": 18,
        "delivered_sheet": None,
        "ignored_by": None,
        "message_number": "1",
        "message_ref": "1",
        "check_identifier": "13018",
        "message_function": "9",
        "document_id": "D1",
        "sender": "9900000000001",
        "receiver": "9900000000002",
        "location_qualifier": "172",
        "location_id": "DE0001",
        "obis": "1-1:1.29.0",
        "register": "1",
        "status": "67",
        "status_reason": "Z34++Z81",
        "value": "2",
        "unit": "KWH",
        "period_start": "2025-01-02T00:00:00+01:00",
        "period_end": "2025-01-03T00:00:00+01:00",
        "created_at": "2025-01-01T09:00:00+00:00",
    }


def test_names_and_addresses_of_people_are_not_landed(land: Any) -> None:
    _, table = land(HEAD + message("1", "D1", body=BODY) + "UNZ+1+X1'")
    assert "GETTY" not in str(table.rows())
    assert "example" not in str(table.rows())


def test_the_service_characters_of_una_hold(land: Any) -> None:
    text = (HEAD + message("1", "D1", body="LOC+172+DE?'1'LIN+1'" + quantity("1.5", 1)) + "UNZ+1+X1'").replace(
        "1.5", "1,5"
    )
    for ordinary, chosen in (("?'", "\x01"), ("'", "~"), ("\x01", "!'"), ("?", "!"), ("+", "|"), (":", "^")):
        text = text.replace(ordinary, chosen)
    _, table = land("UNA^|,! ~" + text)
    assert table.select("location_id", "value").row(0) == ("DE'1", "1.5")


def test_line_breaks_between_segments_change_nothing(land: Any) -> None:
    text = HEAD + message("1", "D1", body=BODY) + "UNZ+1+X1'"
    _, together = land(text)
    _, apart = land(text.replace("'", "'\r\n"))
    assert apart.equals(together)


@pytest.mark.parametrize(
    ("function", "rff", "document"),
    [("1", "RFF+ACW:D1'", "C1"), ("1", "", "D1"), ("5", "RFF+ACW:D1'", "C1")],
    ids=["cancelled_by_reference", "cancelled_by_its_own_number", "replaced"],
)
def test_a_message_taken_back_later_in_the_file_is_ignored_and_still_counted(
    land: Any, function: str, rff: str, document: str
) -> None:
    later = message("2", document, function=function, rff=rff, body="LOC+172'")
    corrected = message("3", "D2", body=BODY)
    landed, table = land(HEAD + message("1", "D1", body=BODY) + later + corrected + "UNZ+3+X1'")
    assert table["ignored_by"].to_list() == ["rows.cancelled"] * 2 + [None] * 2
    assert landed.notes == ()


def test_a_cancellation_of_something_that_is_not_in_the_file_is_said(land: Any) -> None:
    cancellation = message("1", "C1", function="1", rff="RFF+ACW:OLD'", body="LOC+172'")
    landed, table = land(HEAD + cancellation + "UNZ+1+X1'")
    assert table.is_empty()
    assert [(note.rule, dict(note.facts)) for note in landed.notes] == [
        ("rows.cancels_unknown_message", {"messages": ["OLD"]})
    ]


def test_counts_that_disagree_are_said(land: Any) -> None:
    landed, _ = land(HEAD + message("1", "D1", body=BODY, count=7) + "UNZ+2+X1'")
    (note,) = landed.notes
    assert (note.rule, note.facts["agreed"], note.facts["times"]) == ("file.message_count_differs", "7", 2)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (HEAD + message("1", "D1", body=BODY), "file.unreadable"),
        (HEAD + message("1", "D1", body=BODY)[:-20], "file.unreadable"),
        (HEAD + "UNH+1+UTILMD:D:11A:UN:5.2'UNT+2+1'UNZ+1+X1'", "file.wrong_kind"),
        ("a;b\n1;2\n", "file.wrong_kind"),
    ],
    ids=["no_end", "cut_within_a_segment", "another_message", "csv"],
)
def test_what_is_no_whole_mscons_interchange_is_refused(land: Any, text: str, rule: str) -> None:
    with pytest.raises(Unreadable) as refused:
        land(text)
    assert refused.value.rule == rule


@pytest.mark.parametrize(
    ("value", "form", "said"),
    [
        ("202103280200+01", "303", "2021-03-28T02:00:00+01:00"),
        ("202103280200-0330", "303", "2021-03-28T02:00:00-03:30"),
        ("202103280200", "203", "2021-03-28T02:00:00"),
        ("20210328", "102", "2021-03-28"),
        ("202113450200+01", "303", "202113450200+01"),
        ("2021", "602", "2021"),
    ],
)
def test_times_are_told_in_iso_8601_or_left_as_they_came(value: str, form: str, said: str) -> None:
    assert iso(value, form) == said
