"""Files no supplier should send, made anew from a number: broken, huge inside, lying about what they are, or just very wrong."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable, Iterator

HEADER = "Annahmestelle;AGS;Datum;Fraktion;Menge;Einheit;geschätzt\r\n"


def poison(number: int) -> tuple[str, bytes]:
    """Ending of the name and bytes of one such file; the same number makes the same file."""
    drawn = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    ending, content = kind(drawn)
    return ending, content


def poisons(start: int = 0) -> Iterator[tuple[str, bytes]]:
    """One after another, every kind in turn."""
    number = start
    while True:
        yield poison(number)
        number += 1


def _noise(drawn: random.Random) -> tuple[str, bytes]:
    return ".csv", drawn.randbytes(drawn.randrange(1, 200_000))


def _page(drawn: random.Random) -> tuple[str, bytes]:
    return ".csv", f"<!DOCTYPE html><html><body>Sitzung {drawn.random()} abgelaufen</body></html>".encode()


def _empty(drawn: random.Random) -> tuple[str, bytes]:
    return ".csv", b"\r\n" * drawn.randrange(0, 5)


def _workbook(sheet: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        types = "http://schemas.openxmlformats.org/package/2006/content-types"
        main = "application/vnd.openxmlformats-officedocument.spreadsheetml"
        file.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{types}"><Override PartName="/xl/workbook.xml" ContentType="{main}.sheet.main+xml"/>'
            f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{main}.worksheet+xml"/></Types>',
        )
        office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
        package = "http://schemas.openxmlformats.org/package/2006/relationships"
        file.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}"><Relationship Id="r1" Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        file.writestr(
            "xl/workbook.xml",
            '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
            f'xmlns:r="{office}"><sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>',
        )
        file.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}"><Relationship Id="r1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        )
        file.writestr("xl/worksheets/sheet1.xml", sheet)
    return out.getvalue()


def _bomb(drawn: random.Random) -> tuple[str, bytes]:
    return ".xlsx", _workbook(b"<worksheet>" + b" " * drawn.randrange(200_000_000, 300_000_000))


def _entities(drawn: random.Random) -> tuple[str, bytes]:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9))
    sheet = f'<!DOCTYPE d [<!ENTITY e0 "{drawn.random()}">{levels}]><worksheet><sheetData><row><c><v>&e8;</v></c></row></sheetData></worksheet>'
    return ".xlsx", _workbook(sheet.encode())


def _cut_workbook(drawn: random.Random) -> tuple[str, bytes]:
    whole = _workbook(b"<worksheet><sheetData/></worksheet>" + drawn.randbytes(30_000))
    return ".xlsx", whole[: drawn.randrange(100, len(whole) - 100)]


def _one_line(drawn: random.Random) -> tuple[str, bytes]:
    return ".csv", b"x" * drawn.randrange(1_000_000, 5_000_000)


def _many_columns(drawn: random.Random) -> tuple[str, bytes]:
    names = ";".join(f"s{n}" for n in range(drawn.randrange(5_000, 20_000)))
    return ".csv", f"{names}\r\n{names}\r\n".encode()


def _nul(drawn: random.Random) -> tuple[str, bytes]:
    line = f"gate\0;05990005;0{drawn.randrange(1, 9)}.01.1960;woody;1\0;kg;nein\r\n"
    return ".csv", (HEADER + line * 500).encode("cp1252")


def _quote(drawn: random.Random) -> tuple[str, bytes]:
    line = f'"{drawn.random()};05990005;01.01.1960;woody;1;kg;nein\r\n'
    return ".csv", (HEADER + line + line.replace('"', "") * drawn.randrange(1_000, 20_000)).encode("cp1252")


def _all_wrong(drawn: random.Random) -> tuple[str, bytes]:
    lines = (
        f"=cmd|x!{n};{n};99.99.9999;{drawn.random()};viel;Pfund;vielleicht"
        for n in range(drawn.randrange(5_000, 20_000))
    )
    return ".csv", (HEADER + "\r\n".join(lines)).encode("cp1252")


def _long_cells(drawn: random.Random) -> tuple[str, bytes]:
    cell = "ü" * drawn.randrange(100_000, 400_000)
    return ".csv", (HEADER + f"{cell};{cell};01.01.1960;woody;1;kg;nein\r\n" * 3).encode("cp1252")


def _wide(drawn: random.Random) -> tuple[str, bytes]:
    return ".csv", (HEADER + f"gate;05990005;01.01.1960;woody;{drawn.random()};kg;nein\r\n" * 100).encode("utf-16-be")


def _pdf(drawn: random.Random) -> tuple[str, bytes]:
    return ".csv", b"%PDF-1.7\n" + drawn.randbytes(50_000)


KINDS: tuple[Callable[[random.Random], tuple[str, bytes]], ...] = (
    _noise, _page, _empty, _bomb, _entities, _cut_workbook, _one_line, _many_columns, _nul, _quote, _all_wrong, _long_cells,
    _wide, _pdf,
)  # fmt: skip
