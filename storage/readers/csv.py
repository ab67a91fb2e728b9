"""CSV as text: the head of the file, and the exact path over Python's csv module.

Physical lines are counted by what precedes a record, so a quoted cell over several lines keeps the lines after it
right. What the file is and how it is encoded is told by `storage.readers.sniff`; large plain files take the fast path
in `storage.readers.csv_fast`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from storage.readers.base import FormatSpec, Landed, Note, Unreadable
from storage.readers.csv_fast import SMALLEST, land_fast
from storage.readers.landing import (
    BLANK,
    hits,
    is_blank,
    joined_header,
    joined_units,
    land_records,
    lines_near,
    unique_names,
)
from storage.readers.sniff import CHUNK, DELIMITERS, delimiter_of, kind_of, text_of, wrong_kind

MAX_COLUMNS = 16_384
MAX_CELL = 1024 * 1024
MAX_LINE = 16 * 1024 * 1024
#: Characters of the head that are looked at for delimiter and header.
SAMPLE = 256 * 1024
#: A line no text file holds (NUL was refused before); it shows whether the last quote was closed.
_END = "\x00"


@dataclass(frozen=True)
class Layout:
    """All that is known once the head of a file was read.

    Attributes:
        columns: Unique names of the columns the header gives.
        units: Text of the units lines per column.
        body_line: Physical line after header and units; data begins there or later.
    """

    encoding: str
    ascii_only: bool
    delimiter: str
    quote: str | None
    columns: tuple[str, ...]
    units: tuple[str, ...]
    body_line: int
    notes: tuple[Note, ...]


def read(source: Path, spec: FormatSpec, to: Path, *, name: str) -> Landed:
    """Land a CSV file; see `storage.readers.base.read`.

    A line with more cells than the header keeps them in `column_N`; one with fewer ends in nulls; both are noted once
    as `columns.ragged`. Lines without any text are not rows.
    """
    kind = kind_of(source)
    if kind.word != "text":
        raise wrong_kind(kind, "a CSV file")
    refuse_endless_lines(source)
    layout = layout_of(source, spec)
    if source.stat().st_size >= SMALLEST:
        landed = land_fast(source, spec, to, layout, blank=BLANK, longest=MAX_CELL)
        if landed is not None:
            return landed
    return land_exactly(source, spec, to, layout)


def layout_of(source: Path, spec: FormatSpec) -> Layout:
    """Read the head of the file: encoding, delimiter, header, units.

    Raises:
        Unreadable: No encoding fits, or there is no line where the header should begin (`columns.missing_header`).
    """
    text = text_of(source, spec.encoding)
    with source.open(encoding=text.encoding, newline="") as file:
        sample = file.readlines(SAMPLE)
    delimiter, header_line, notes = _head_of(sample, spec)
    quote = spec.quote or None
    records = Records(source, text.encoding, delimiter, quote, header_line)
    head = list(islice((cells for _, cells in records if not is_blank(cells)), spec.header.rows + spec.units_rows))
    if len(head) < spec.header.rows:
        raise Unreadable(
            "columns.missing_header",
            expected=f"a header at line {header_line}",
            found="no text from there on",
            line=header_line,
        )
    if spec.header.rows:
        columns = unique_names(joined_header(head[: spec.header.rows]))
    else:
        first = next((cells for _, cells in Records(source, text.encoding, delimiter, quote, header_line)), [])
        columns = unique_names([""] * len(first))
    return Layout(
        encoding=text.encoding,
        ascii_only=text.ascii_only,
        delimiter=delimiter,
        quote=quote,
        columns=columns,
        units=joined_units(head[spec.header.rows :], len(columns)),
        body_line=records.next_line if head else header_line,
        notes=(*text.notes, *notes),
    )


def land_exactly(source: Path, spec: FormatSpec, to: Path, layout: Layout) -> Landed:
    """The exact path: any quoting, ragged lines, footnotes; about 200,000 lines of five cells a second."""
    landed = land_records(
        lambda: Records(source, layout.encoding, layout.delimiter, layout.quote, layout.body_line),
        to,
        layout.columns,
        layout.units,
        stop_at=spec.stop_at,
        short_is_ragged=True,
    )
    return replace(landed, notes=(*layout.notes, *landed.notes))


class Records:
    """The CSV records from a physical line on, as (line, cells); blank ones included.

    Attributes:
        next_line: Physical line after the last record given.

    Raises:
        Unreadable: `file.unreadable` for a quote that is never closed, `file.too_large` for a cell or line beyond the
            limits; while iterating.
    """

    def __init__(self, source: Path, encoding: str, delimiter: str, quote: str | None, first_line: int) -> None:
        self.next_line = first_line
        self._iterator = self._read(source, encoding, delimiter, quote, first_line)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        return self._iterator

    def _read(
        self, source: Path, encoding: str, delimiter: str, quote: str | None, first_line: int
    ) -> Iterator[tuple[int, list[str]]]:
        # the limit belongs to the whole process; every caller here wants the same
        csv.field_size_limit(MAX_CELL)
        before = first_line - 1
        with source.open(encoding=encoding, newline="") as file:
            for _ in islice(file, before):
                pass
            reader = csv.reader(
                chain(file, (_END,)),
                delimiter=delimiter,
                quotechar=quote,
                quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
            )
            line = first_line
            try:
                for cells in reader:
                    self.next_line = before + reader.line_num + 1
                    if len(cells) > MAX_COLUMNS:
                        raise _too_large(f"at most {MAX_COLUMNS} columns", f"{len(cells)} columns", line)
                    if cells and cells[-1].endswith(_END):
                        if cells != [_END]:
                            raise Unreadable(
                                "file.unreadable",
                                expected="a closing quote",
                                found=f"a quote opened at line {line} and never closed",
                                line=line,
                            )
                        return
                    yield line, cells
                    line = self.next_line
            except csv.Error as error:
                if "field limit" in str(error):
                    raise _too_large(f"cells of at most {MAX_CELL} characters", "a longer cell", line) from error
                raise Unreadable("file.unreadable", expected="CSV", found=str(error), line=line) from error
            except UnicodeError as error:
                raise Unreadable("file.unreadable", expected=f"text in {encoding}", found=str(error)) from error


def _head_of(sample: Sequence[str], spec: FormatSpec) -> tuple[str, int, list[Note]]:
    """Delimiter, line of the header, and how they differ from the agreement."""
    first_text = next((at for at, line in enumerate(sample, start=1) if line.strip(BLANK)), 1)
    agreed = spec.header.row or first_text
    delimiter = delimiter_of(sample[agreed - 1 : agreed + 200], spec.delimiter, spec.quote)
    line = agreed
    expected = spec.expected_columns
    if expected and spec.header.rows:
        agreed_hits = hits(_names_at(sample, agreed, delimiter, spec), expected)
        if 2 * agreed_hits < len(expected):
            candidates = [
                (hits(_names_at(sample, at, mark, spec), expected), at, mark)
                for mark in (delimiter, *DELIMITERS.replace(delimiter, ""))
                for at in lines_near(agreed, len(sample))
                if sample[at - 1].strip(BLANK)
            ]
            best, at, mark = max(candidates, key=lambda candidate: candidate[0], default=(0, agreed, delimiter))
            if best > 2 * agreed_hits and 2 * best >= len(expected):
                line, delimiter = at, mark
    notes = []
    if spec.delimiter is not None and delimiter != spec.delimiter:
        notes.append(Note("file.delimiter_differs", "warning", {"agreed": spec.delimiter, "found": delimiter}))
    if line != agreed:
        notes.append(Note("columns.header_moved", "warning", {"agreed": agreed, "found": line}, line=line))
    return delimiter, line, notes


def _names_at(sample: Sequence[str], line: int, delimiter: str, spec: FormatSpec) -> tuple[str, ...]:
    """The column names if the header began at this line."""
    rows = csv.reader(
        sample[line - 1 : line + 50],
        delimiter=delimiter,
        quotechar=spec.quote or None,
        quoting=csv.QUOTE_MINIMAL if spec.quote else csv.QUOTE_NONE,
    )
    try:
        head = list(islice((cells for cells in rows if not is_blank(cells)), spec.header.rows))
    except csv.Error:
        return ()
    return unique_names(joined_header(head))


def refuse_endless_lines(source: Path) -> None:
    """Keep a file without line ends from being read into memory as one line."""
    stretch = 0
    with source.open("rb") as file:
        while chunk := file.read(CHUNK):
            stretch = 0 if b"\n" in chunk or b"\r" in chunk else stretch + len(chunk)
            if stretch > MAX_LINE:
                raise _too_large(f"lines of at most {MAX_LINE // 1024**2} MiB", "a longer line")


def _too_large(expected: str, found: str, line: int | None = None) -> Unreadable:
    return Unreadable("file.too_large", expected=expected, found=found, line=line)
