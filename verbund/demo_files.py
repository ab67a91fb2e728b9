"""Bytes as municipal utilities send them: CSV in several hands, workbooks, MSCONS, records of fixed width, broken files.

Only the shape of files belongs here; which figures they hold is in `verbund.demo_figures`, which story they tell in
`verbund.demo`. Every function gives the same bytes for the same arguments.
"""

from __future__ import annotations

import csv
import io
import re
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

SYNTHETIC = "SYNTHETISCH: erfundene Zahlen zur Vorführung / invented figures for demonstration"
#: Workbooks carry dates of their own making; this one keeps their bytes the same on every run.
WRITTEN_AT = (2026, 1, 1, 0, 0, 0)


def german(thousandths: int, digits: int = 3) -> str:
    """A number given in thousandths, as Germans write it: 1234500 becomes `1.234,500`."""
    return english(thousandths, digits).translate(str.maketrans(",.", ".,"))


def english(thousandths: int, digits: int = 3) -> str:
    """A number given in thousandths with English marks: 1234500 becomes `1,234.500`."""
    return f"{thousandths / 1000:,.{digits}f}"


def delimited(
    rows: Iterable[Sequence[str]], *, delimiter: str = ";", encoding: str = "cp1252", before: Sequence[str] = (),
    after: Sequence[str] = (), quote_all: bool = False,
) -> bytes:  # fmt: skip
    """A delimited text with lines before the header and after the data.

    `utf-8-sig` writes a byte order mark, `utf-16` one and little-endian words, as spreadsheets do.
    """
    out = io.StringIO()
    out.writelines(f"{line}\r\n" for line in before)
    csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL).writerows(rows)
    out.writelines(f"{line}\r\n" for line in after)
    text = out.getvalue()
    return b"\xff\xfe" + text.encode("utf-16-le") if encoding == "utf-16" else text.encode(encoding)


def workbook(fill: Callable[[Worksheet], None], *, results: Mapping[str, float] | None = None) -> bytes:
    """An XLSX workbook of one sheet.

    Args:
        fill: Writes the cells.
        results: What formula cells show (`{"C9": 12.5}`), as a spreadsheet program keeps it beside the formula.
    """
    book = Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)
    fill(sheet)
    raw = io.BytesIO()
    book.save(raw)
    packed = io.BytesIO()
    with zipfile.ZipFile(raw) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "docProps/core.xml":
                content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2026-01-01T00:00:00Z", content)
            if results and name.startswith("xl/worksheets/sheet"):
                content = _with_results(content, results)
            new.writestr(zipfile.ZipInfo(name, WRITTEN_AT), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def text_cell(sheet: Worksheet, at: str, text: str) -> None:
    """Write text that begins with `=` as text, which is how an injected formula comes along."""
    sheet[at].value = text
    sheet[at].data_type = "s"


def fixed_width(
    records: Iterable[Mapping[tuple[int, int], str]], *, width: int = 220, after: Sequence[str] = ()
) -> bytes:
    """Records by character positions, both counted from 1 and included; blanks elsewhere, CRLF, UTF-8."""
    lines = []
    for record in records:
        line = [" "] * width
        for (first, last), text in record.items():
            if len(text) > last - first + 1:
                raise ValueError(f"{text!r} does not fit into the positions {first}–{last}")
            line[first - 1 : first - 1 + len(text)] = text
        lines.append("".join(line))
    return "".join(f"{line}\r\n" for line in [*lines, *after]).encode()


@dataclass(frozen=True)
class Reading:
    """One interval: start and end in UTC, energy in Wh, status as the market codes it."""

    start: datetime
    end: datetime
    energy_wh: int
    status: str = "220"


@dataclass(frozen=True)
class Message:
    """One MSCONS message; `cancels` names the document it takes back, and then it has no readings."""

    document: str
    metering_point: str
    obis: str
    readings: Sequence[Reading] = ()
    cancels: str | None = None
    function: str = "9"


def mscons(messages: Sequence[Message], *, created_at: datetime, reference: str) -> bytes:
    """An MSCONS interchange (2.4c) with UNA, one segment a line. The parties are invented."""
    stamp = created_at.astimezone(UTC)
    segments = [
        "UNA:+.? ",
        f"UNB+UNOC:3+9900000000013:500+9900000000020:500+{stamp:%y%m%d:%H%M}+{reference}++TL++++1",
    ]
    for number, message in enumerate(messages, start=1):
        body = [
            f"UNH+{number}+MSCONS:D:04B:UN:2.4c",
            f"BGM+7+{message.document}+{'1' if message.cancels else message.function}",
            f"DTM+137:{_zoned(stamp)}:303",
            f"RFF+Z13:{'13006' if message.cancels else '13018'}",
            *([f"RFF+ACW:{message.cancels}"] if message.cancels else []),
            "NAD+MS+9900000000013::293",
            "NAD+MR+9900000000020::293",
            "UNS+D",
            "NAD+DP",
            f"LOC+172+{message.metering_point}",
        ]
        if message.readings:
            body += [
                f"DTM+163:{_zoned(message.readings[0].start)}:303",
                f"DTM+164:{_zoned(message.readings[-1].end)}:303",
                "LIN+1",
                f"PIA+5+{message.obis.replace(':', '?:')}:SRW",
            ]
        for reading in message.readings:
            body += [
                f"QTY+{reading.status}:{reading.energy_wh / 1000:.3f}:KWH",
                f"DTM+163:{_zoned(reading.start)}:303",
                f"DTM+164:{_zoned(reading.end)}:303",
            ]
        segments += [*body, f"UNT+{len(body) + 1}+{number}"]
    segments.append(f"UNZ+{len(messages)}+{reference}")
    return "".join(f"{segment}'\n" for segment in segments).encode("latin-1")


def locked_workbook() -> bytes:
    """What a spreadsheet program writes when a workbook gets a password: an OLE2 file around an encrypted package.

    The package holds nothing; the file is just complete enough to be told apart.
    """
    free, end, table = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, end, 0, end, 0)
    header += struct.pack("<109I", 0, *[free] * 108)
    content = bytes(range(256)) * 16
    sectors = [table, end, *range(3, 10), end, *range(11, 18), end]
    allocation = struct.pack("<128I", *sectors, *[free] * (128 - len(sectors)))
    directory = _entry("Root Entry", kind=5, child=1, start=end, size=0)
    directory += _entry("EncryptionInfo", kind=2, right=2, start=2, size=len(content))
    directory += _entry("EncryptedPackage", kind=2, start=10, size=len(content))
    directory += _entry("", kind=0, start=0, size=0)
    return header + allocation + directory + content + content


def error_page() -> bytes:
    """What a web server answers when the session is over, saved under the name of the file that was wanted."""
    return (
        b'<!DOCTYPE html>\n<html lang="de"><head><meta charset="utf-8"><title>Sitzung abgelaufen</title></head>\n'
        b"<body><h1>Fehler 403</h1><p>Ihre Sitzung ist abgelaufen. Bitte melden Sie sich erneut an.</p></body></html>\n"
    )


def _entry(name: str, *, kind: int, start: int, size: int, child: int = 0xFFFFFFFF, right: int = 0xFFFFFFFF) -> bytes:
    """One entry of an OLE2 directory, 128 bytes."""
    text = (name + "\0").encode("utf-16-le") if name else b""
    entry = text.ljust(64, b"\0") + struct.pack("<HBBIII", len(text), kind, 1, 0xFFFFFFFF, right, child)
    return entry + bytes(16 + 4 + 16) + struct.pack("<IQ", start, size)


def _with_results(sheet: bytes, results: Mapping[str, float]) -> bytes:
    text = sheet.decode()
    for cell, value in results.items():
        text, found = re.subn(rf'(<c r="{cell}"[^>]*><f>[^<]*</f>)(?:<v */>|<v></v>)', rf"\g<1><v>{value!r}</v>", text)
        if found != 1:
            raise ValueError(f"{cell} is no formula cell")
    return text.encode()


def _zoned(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%d%H%M}?+00"


def write_table(sheet: Worksheet, first_row: int, rows: Iterable[Sequence[Any]]) -> int:
    """Write rows of cells from a row on, column A first; None leaves a cell empty. Returns the row after the last."""
    row = first_row
    for cells in rows:
        for column, value in enumerate(cells, start=1):
            if value is not None:
                sheet.cell(row=row, column=column, value=value)
        row += 1
    return row
