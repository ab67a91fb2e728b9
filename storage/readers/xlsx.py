"""XLSX workbooks: cell values as text, and what their XML says beside them (hidden rows, errors, formulas without value).

Values come from calamine. Everything in the archive is hostile: it is measured before it is opened, every part is
unpacked once to see that its size is no lie, and no part may declare a DTD.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from posixpath import join, normpath
from xml.etree import ElementTree

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from storage.readers.base import FormatSpec, Landed, Note, Unreadable
from storage.readers.landing import (
    Landing,
    hits,
    is_blank,
    joined,
    joined_header,
    joined_units,
    land_records,
    lines_near,
    unique_names,
)
from storage.readers.sniff import kind_of, wrong_kind

MAX_UNPACKED = 2 * 1024**3
#: Ratio of unpacked to packed bytes, looked at above `RATIO_FROM`: sheets of zeros pack 1 : 60, bombs 1 : 1,000.
MAX_RATIO = 200
RATIO_FROM = 50 * 1024**2
MAX_PARTS = 10_000
#: calamine holds a sheet as a full rectangle of 32 bytes a cell, so two cells in far corners would take all memory.
MAX_CELLS = 12_000_000
#: Parts that calamine or we hold in memory as a whole.
MAX_STRINGS = 256 * 1024**2
MAX_INDEX = 16 * 1024**2
MAX_CELL = 1024 * 1024
MAX_ROW_BYTES = 64 * 1024**2
#: Error values beyond this are read as empty cells.
MAX_ERRORS = 100_000
CHUNK = 1024 * 1024

_SAMPLE_ROWS = 250
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_STRICT = "{http://purl.oclc.org/ooxml/spreadsheetml/main}"
_PREFIX = rb"<(?:\w+:)?"
_CELL_REF = re.compile(rb"\sr=[\"']([A-Za-z]{1,3})(\d{1,7})[\"']")
_CELL = re.compile(_PREFIX + rb"c[\s/>]")
_ROW = re.compile(_PREFIX + rb"row\b([^<>]*)>")
_ROW_NUMBER = re.compile(rb"\sr=[\"'](\d{1,7})[\"']")
_HIDDEN = re.compile(rb"\shidden=[\"'](?:1|true)[\"']")
_ERROR = re.compile(rb"\st=[\"']e[\"']")
_VALUE = re.compile(_PREFIX + rb"v>([^<]*)<")
_FORMULA_WITHOUT_VALUE = re.compile(
    _PREFIX
    + rb"c\b([^<>]*)>\s*"
    + _PREFIX
    + rb"f\b(?:[^<>]*/>|[^<>]*>[^<]*</(?:\w+:)?f>)\s*(?:"
    + _PREFIX
    + rb"v\s*/>|"
    + _PREFIX
    + rb"v>\s*</|</(?:\w+:)?c>)"
)
_TEXT_RESULT = re.compile(rb"\st=[\"']str[\"']")


@dataclass
class _Beside:
    """What a sheet's XML says beside the values that calamine gives."""

    rows: int = 0
    columns: int = 0
    hidden: set[int] = field(default_factory=set)
    errors: dict[tuple[int, int], str] = field(default_factory=dict)
    without_value: list[tuple[int, str]] = field(default_factory=list)


def read(source: Path, spec: FormatSpec, to: Path, *, name: str) -> Landed:
    """Land one sheet of a workbook; see `storage.readers.base.read`.

    Numbers are written without thousands marks and with the layout's decimal mark, dates as the layout says or ISO 8601,
    error values (`#DIV/0!`) as their text. Hidden rows are read. Text cells stay as typed.

    Raises:
        Unreadable: Also `file.encrypted`, `file.has_macros`, `file.too_large`, and `file.sheet_missing` with `sheets`.
    """
    kind = kind_of(source)
    if kind.word == "encrypted":
        raise Unreadable("file.encrypted", expected="a workbook without password", found=kind.called)
    if kind.word == "xlsm":
        raise Unreadable("file.has_macros", expected="a workbook without macros (XLSX)", found=kind.called)
    if kind.word != "xlsx":
        raise wrong_kind(kind, "an Excel workbook (XLSX)")
    try:
        return _read(source, spec, to)
    except (zipfile.BadZipFile, zlib.error, EOFError, ElementTree.ParseError) as error:
        raise _broken(error) from error
    except (CalamineError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk, not the file
        raise _broken(error) from error
    except BaseException as error:
        # a panic inside calamine arrives as pyo3's PanicException, which derives from BaseException and has no import
        if type(error).__name__ == "PanicException":
            raise _broken(error) from error
        raise


def _read(source: Path, spec: FormatSpec, to: Path) -> Landed:
    with zipfile.ZipFile(source) as archive:
        _measure(archive)
        with source.open("rb") as file:
            workbook = CalamineWorkbook.from_filelike(file)
        names, notes = _choose(workbook, spec)
        besides = _inspect(archive, {_part_of(archive, name): name for name in names})
    for beside in besides.values():
        if beside.rows * beside.columns > MAX_CELLS:
            raise _too_large(f"a sheet of at most {MAX_CELLS} cells", f"{beside.rows} rows by {beside.columns} columns")
    sheets = [(sheet, besides[name]) for name in names if (sheet := workbook.get_sheet_by_name(name)).start]
    if not sheets:
        raise Unreadable("file.empty", expected="a sheet with data", found=f"the empty sheet '{names[0]}'")
    if spec.form:
        return _land_forms(sheets, spec, to, notes)
    if not spec.sheets:
        return _land_table(*sheets[0], spec, to, notes)
    landed = [
        ("", _land_table(sheet, beside, spec, to.with_suffix(f".{number}.part"), []))
        for number, (sheet, beside) in enumerate(sheets)
    ]
    return joined(landed, to)


def _land_table(sheet: CalamineSheet, beside: _Beside, spec: FormatSpec, to: Path, notes: list[Note]) -> Landed:
    """Land a sheet that holds a table: header, perhaps units, rows."""
    sheet_name = sheet.name
    rows = _rows_of(sheet, beside, spec)
    sample = list(islice(rows(), (spec.header.row or 1) + _SAMPLE_ROWS))
    agreed = spec.header.row or next((at for at, row in enumerate(sample, start=1) if not is_blank(row)), 1)
    header_row = _find_header(sample, sheet, spec, agreed)
    if header_row != agreed:
        notes.append(
            Note("columns.header_moved", "warning", {"agreed": agreed, "found": header_row}, header_row, sheet_name)
        )
    head = _filled_lines(sample, header_row, spec.header.rows + spec.units_rows)
    if len(head) < spec.header.rows:
        raise Unreadable(
            "columns.missing_header",
            expected=f"a header in row {header_row}",
            found="no text from there on",
            line=header_row,
        )
    body_row = head[-1] + 1 if head else header_row
    header = head[: spec.header.rows]
    columns = unique_names(_header_at(sample, sheet, header) if header else [""] * sheet.width)
    units = joined_units([sample[line - 1] for line in head[spec.header.rows :]], len(columns))
    hidden: set[int] = set()

    def records() -> Iterator[tuple[int, list[str]]]:
        for line, cells in enumerate(rows(), start=1):
            if line >= body_row:
                if line in beside.hidden and not is_blank(cells):
                    hidden.add(line)
                yield line, cells

    landed = land_records(records, to, columns, units, stop_at=spec.stop_at, short_is_ragged=False, sheet=sheet_name)
    if hidden:
        facts = {"rows": len(hidden), "lines": sorted(hidden)[:20]}
        notes.append(Note("rows.hidden", "info", facts, min(hidden), sheet_name))
    if empty := [place for place in beside.without_value if place[0] >= body_row]:
        facts = {"cells": len(empty), "examples": [ref for _, ref in empty[:5]]}
        notes.append(Note("values.formula_without_value", "warning", facts, empty[0][0], sheet_name))
    return replace(landed, notes=(*notes, *landed.notes))


def _land_forms(
    sheets: Sequence[tuple[CalamineSheet, _Beside]], spec: FormatSpec, to: Path, notes: list[Note]
) -> Landed:
    """Land sheets that are forms: each is one row, its values stand right of their labels or below them."""
    assert spec.form is not None
    columns = unique_names(list(spec.form))
    with Landing(to, columns) as landing:
        for sheet, beside in sheets:
            cells = list(_rows_of(sheet, beside, spec)())
            found = [_beside_label(cells, label, where) for label, where in spec.form.items()]
            lines = [line for line, _ in filter(None, found)]
            if not lines:
                listed = ", ".join(list(spec.form)[:5])
                raise Unreadable(
                    "columns.missing_header", expected=f"a form with {listed}", found=f"none of them in '{sheet.name}'"
                )
            landing.add(min(lines), [told[1] if told else None for told in found], sheet=sheet.name)
    return Landed(to, columns, ("",) * len(columns), landing.rows, tuple(notes))


def _beside_label(cells: Sequence[Sequence[str]], label: str, where: str) -> tuple[int, str | None] | None:
    """Row of a label, and the first filled cell right of it or right below it; None where the label is not there."""
    wanted = _label(label)
    for row, line in enumerate(cells):
        for column, cell in enumerate(line):
            if _label(cell) != wanted:
                continue
            if where == "right":
                told = next((value for value in line[column + 1 :] if value.strip()), None)
            else:
                below = cells[row + 1] if row + 1 < len(cells) else ()
                told = below[column] if column < len(below) else None
            return row + 1, told or None
    return None


def _label(text: str) -> str:
    return " ".join(text.split()).rstrip(" :*").casefold()


def _measure(archive: zipfile.ZipFile) -> None:
    """Refuse what would not fit, judged by what the archive says of itself."""
    parts = archive.infolist()
    if len(parts) > MAX_PARTS:
        raise _too_large(f"at most {MAX_PARTS} parts in a workbook", f"{len(parts)} parts")
    names = [part.filename.lower() for part in parts]
    if len(set(names)) < len(names):
        # two programs may read two different tables from it
        raise Unreadable("file.unreadable", expected="a sound workbook", found="two parts of the same name")
    unpacked = sum(part.file_size for part in parts)
    packed = max(1, sum(part.compress_size for part in parts))
    if unpacked > MAX_UNPACKED:
        raise _too_large(f"at most {MAX_UNPACKED // 1024**2} MiB unpacked", f"{unpacked // 1024**2} MiB")
    if unpacked > RATIO_FROM and unpacked / packed > MAX_RATIO:
        raise _too_large(f"at most {MAX_RATIO} times the packed size", f"{unpacked // packed} times")
    for part in parts:
        if part.flag_bits & 1:
            raise Unreadable("file.encrypted", expected="a workbook without password", found="encrypted parts")
        name = part.filename.lower()
        if name.endswith(("sharedstrings.xml", "styles.xml")) and part.file_size > MAX_STRINGS:
            raise _too_large(f"at most {MAX_STRINGS // 1024**2} MiB of texts", f"{part.file_size // 1024**2} MiB")
        if (name.endswith(".rels") or name == "xl/workbook.xml") and part.file_size > MAX_INDEX:
            raise _too_large(f"at most {MAX_INDEX // 1024**2} MiB of index", f"{part.file_size // 1024**2} MiB")
        for _ in () if _is_sheet(name) else _unpacked(archive, part):
            pass


def _inspect(archive: zipfile.ZipFile, sheets: Mapping[str, str]) -> dict[str, _Beside]:
    """Unpack every sheet once, and read beside the values of those that are wanted.

    Args:
        sheets: Name of each wanted sheet, by the part it is in.
    """
    besides = {name: _Beside() for name in sheets.values()}
    for part in archive.infolist():
        if not _is_sheet(part.filename.lower()):
            continue
        wanted = part.filename in sheets
        beside = besides[sheets[part.filename]] if wanted else _Beside()
        # a regular expression over each block of rows: a DOM of a sheet (openpyxl) takes fifty times its size, and what
        # is looked for here stands in the tags of rows and cells alone
        held = b""
        for chunk in _unpacked(archive, part):
            if not wanted:
                continue
            held += chunk
            cut = held.rfind(b"row>") + 4
            if cut > 3:
                _look(held[:cut], beside)
                held = held[cut:]
            elif len(held) > MAX_ROW_BYTES:
                raise _too_large(f"rows of at most {MAX_ROW_BYTES // 1024**2} MiB", "a longer row")
        _look(held, beside)
    return besides


def _look(block: bytes, beside: _Beside) -> None:
    references = _CELL_REF.findall(block)
    tags = _ROW.findall(block)
    cells = len(_CELL.findall(block))
    # rows and cells need not give their place; then their number is the bound
    beside.rows = max(beside.rows + len(tags), max((int(row) for row in {row for _, row in references}), default=0))
    widest = max((_column(letters) for letters in {letters for letters, _ in references}), default=0)
    beside.columns = max(beside.columns, widest, cells if len(references) < cells else 0)
    for tag in tags:
        if number := _ROW_NUMBER.search(tag):
            beside.rows = max(beside.rows, int(number[1]))
            if _HIDDEN.search(tag):
                beside.hidden.add(int(number[1]))
    for mark in _ERROR.finditer(block):
        if len(beside.errors) == MAX_ERRORS:
            break
        start, end = block.rfind(b"<", 0, mark.start()), block.find(b">", mark.end())
        place = _CELL_REF.search(block, start, end)
        text = _VALUE.search(block, end, end + 1000)
        if place and text:
            beside.errors[int(place[2]), _column(place[1])] = text[1].decode("utf-8", "replace").strip()
    if b"f>" in block or b"f/>" in block:
        for attributes in _FORMULA_WITHOUT_VALUE.findall(block):
            place = _CELL_REF.search(attributes)
            if place and not _TEXT_RESULT.search(attributes):
                beside.without_value.append((int(place[2]), (place[1] + place[2]).decode()))


def _unpacked(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of a part, not more than it says it has and right by their checksum; no DTD in XML."""
    is_xml = part.filename.lower().endswith((".xml", ".rels", ".vml"))
    with archive.open(part) as file:
        tail = b""
        while chunk := file.read(CHUNK):
            if is_xml:
                # zeros out, because XML may be UTF-16
                seen = (tail + chunk).replace(b"\x00", b"")
                if b"<!DOCTYPE" in seen or b"<!ENTITY" in seen:
                    raise Unreadable(
                        "file.unreadable", expected="a workbook as Excel writes it", found="XML that declares entities"
                    )
                tail = chunk[-32:]
            yield chunk


def _choose(workbook: CalamineWorkbook, spec: FormatSpec) -> tuple[list[str], list[Note]]:
    """The sheets to read, in the workbook's order."""
    tables = [sheet for sheet in workbook.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
    names = [sheet.name for sheet in tables]
    if not names:
        raise Unreadable("file.empty", expected="a workbook with a sheet of cells", found="none")
    listed = ", ".join(f"'{name}'" for name in names)
    if spec.sheets is not None:
        if several := [name for name in names if re.fullmatch(spec.sheets, name)]:
            return several, []
        raise Unreadable("file.sheet_missing", expected=f"sheets called like {spec.sheets}", found=listed, sheets=names)
    if spec.sheet is None:
        visible = [sheet.name for sheet in tables if sheet.visible == SheetVisibleEnum.Visible]
        return (visible or names)[:1], []
    if spec.sheet in names:
        return [spec.sheet], []
    alike = [name for name in names if name.strip().casefold() == spec.sheet.strip().casefold()]
    if len(alike) == 1 or len(names) == 1:
        found = (alike or names)[0]
        return [found], [Note("file.sheet_renamed", "warning", {"agreed": spec.sheet, "found": found}, sheet=found)]
    raise Unreadable("file.sheet_missing", expected=f"a sheet named '{spec.sheet}'", found=f"{listed}", sheets=names)


def _part_of(archive: zipfile.ZipFile, sheet: str) -> str:
    """Path in the archive of the sheet with this name."""
    workbook = ElementTree.fromstring(archive.read(_actual(archive, "xl/workbook.xml")))
    relations = ElementTree.fromstring(archive.read(_actual(archive, "xl/_rels/workbook.xml.rels")))
    targets = {relation.get("Id"): relation.get("Target", "") for relation in relations}
    for entry in (*workbook.iter(f"{_MAIN}sheet"), *workbook.iter(f"{_STRICT}sheet")):
        if entry.get("name") == sheet:
            key = next((value for name, value in entry.attrib.items() if name.endswith("}id")), None)
            target = targets.get(key, "")
            return _actual(archive, target[1:] if target.startswith("/") else normpath(join("xl", target)))
    raise Unreadable("file.unreadable", expected="a sound workbook", found=f"no part for the sheet '{sheet}'")


def _actual(archive: zipfile.ZipFile, wanted: str) -> str:
    """The part's name as the archive spells it: some writers are careless about case."""
    for name in archive.namelist():
        if name.lower() == wanted.lower():
            return name
    raise Unreadable("file.unreadable", expected="a sound workbook", found=f"no part '{wanted}'")


def _is_sheet(part: str) -> bool:
    return part.startswith("xl/worksheets/") and part.endswith(".xml")


def _rows_of(sheet: CalamineSheet, beside: _Beside, spec: FormatSpec) -> Callable[[], Iterator[list[str]]]:
    """Rows from the sheet's first row on, leading empty columns left out."""
    first_column = sheet.start[1] + 1 if sheet.start else 1
    by_row: dict[int, list[tuple[int, str]]] = {}
    for (row, column), text in beside.errors.items():
        by_row.setdefault(row, []).append((column - first_column, text))

    def rows() -> Iterator[list[str]]:
        for line, values in enumerate(sheet.iter_rows(), start=1):
            cells = [value if isinstance(value, str) else _text(value, spec) for value in values]
            for column, text in by_row.get(line, ()):
                if 0 <= column < len(cells) and not cells[column]:
                    cells[column] = text
            if any(len(cell) > MAX_CELL for cell in cells):
                raise _too_large(f"cells of at most {MAX_CELL} characters", "a longer cell", line)
            yield cells

    return rows


def _find_header(sample: Sequence[Sequence[str]], sheet: CalamineSheet, spec: FormatSpec, agreed: int) -> int:
    expected = spec.expected_columns
    if not expected or not spec.header.rows:
        return agreed

    def found(line: int) -> int:
        return hits(unique_names(_header_at(sample, sheet, _filled_lines(sample, line, spec.header.rows))), expected)

    agreed_hits = found(agreed)
    if 2 * agreed_hits >= len(expected):
        return agreed
    candidates = (line for line in lines_near(agreed, len(sample)) if not is_blank(sample[line - 1]))
    best = max(candidates, key=found, default=agreed)
    return best if found(best) > 2 * agreed_hits and 2 * found(best) >= len(expected) else agreed


def _filled_lines(sample: Sequence[Sequence[str]], first: int, count: int) -> list[int]:
    filled_lines = (line for line, cells in enumerate(sample[first - 1 :], start=first) if not is_blank(cells))
    return list(islice(filled_lines, count))


def _header_at(sample: Sequence[Sequence[str]], sheet: CalamineSheet, lines: Sequence[int]) -> list[str]:
    """Names from these header lines; a cell merged over several columns names all of them."""
    first_column = sheet.start[1] if sheet.start else 0
    cells = {line: list(sample[line - 1]) for line in lines}
    for (top, left), (_, right) in sheet.merged_cell_ranges or ():
        line = cells.get(top + 1)
        if line is not None and 0 <= left - first_column < len(line):
            for column in range(left - first_column + 1, min(right - first_column + 1, len(line))):
                line[column] = line[column] or line[left - first_column]
    return joined_header([cells[line] for line in lines])


def _text(value: float | bool | time | date | datetime | timedelta, spec: FormatSpec) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number(value).replace(".", spec.decimal)
    if isinstance(value, datetime):
        value = _to_second(value)
    if isinstance(value, datetime) and value.time() != time() and "%H" not in (spec.dates or ""):
        # a moment keeps its time of day, whatever dates look like
        return value.isoformat()
    if isinstance(value, date):
        return value.strftime(spec.dates) if spec.dates else value.isoformat()
    if isinstance(value, timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return value.isoformat()


def _number(value: float) -> str:
    """The shortest decimal text that reads back as this number, without exponent and without `.0`."""
    if value == int(value):
        return str(int(Decimal(repr(value))))
    return format(Decimal(repr(value)), "f")


def _to_second(moment: datetime) -> datetime:
    """Undo what a binary fraction of a day does to a time that was typed in whole seconds."""
    rounded = (moment + timedelta(milliseconds=500)).replace(microsecond=0)
    return rounded if abs(rounded - moment) <= timedelta(milliseconds=1) else moment


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - 64
    return number


def _too_large(expected: str, found: str, line: int | None = None) -> Unreadable:
    return Unreadable("file.too_large", expected=expected, found=found, line=line)


def _broken(error: BaseException) -> Unreadable:
    return Unreadable("file.unreadable", expected="a sound workbook (XLSX)", found=f"a broken one ({error})")
