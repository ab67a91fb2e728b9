"""Writing text cells to the Parquet file that `Landed` speaks of: names made unique, rows in batches.

Shared by all readers; what a cell, a line or a header is in one format stays with that format's reader.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from storage.readers.base import PROVENANCE, Landed, Note

#: Cells held before they are written: about 60 MB of Python text for short cells, whatever the number of columns.
CELLS_PER_BATCH = 400_000
#: Blank to a person: white space, no-break space, and the end-of-file mark of DOS programs.
BLANK = " \t\x0b\x0c\u00a0\x1a\r\n"
#: How far a header is looked for around the agreed line.
HEADER_REACH = 10
#: Rows of one Parquet row group at most; the size DuckDB's scans are tuned to.
ROWS_PER_GROUP = 122_880


def unique_names(wanted: Sequence[str]) -> tuple[str, ...]:
    """Column names as delivered, made unique without regard to case, as DuckDB compares them.

    White space inside a name becomes one blank; a name that is empty becomes `column_N`, counted from 1; one that was
    there before, or that is a provenance column, gets the suffix `_2`, `_3`, ….
    """
    taken = {name.casefold() for name in PROVENANCE}
    names: list[str] = []
    last: dict[str, int] = {}
    for position, text in enumerate(wanted, start=1):
        base = " ".join(text.split()) or f"column_{position}"
        # thousands of columns of one name must not look through each other's suffixes
        nth = last.get(base.casefold(), 1)
        name = base if nth == 1 else f"{base}_{nth}"
        while name.casefold() in taken:
            nth += 1
            name = f"{base}_{nth}"
        last[base.casefold()] = nth
        taken.add(name.casefold())
        names.append(name)
    return tuple(names)


def joined_header(lines: Sequence[Sequence[str]]) -> list[str]:
    """One name per column from several header lines, see `HeaderSpec`; trailing columns without a name are left out."""
    width = max((len(line) for line in lines), default=0)
    cells = [[text.strip() for text in line] + [""] * (width - len(line)) for line in lines]
    for depth, line in enumerate(cells[:-1]):
        for column in range(1, width):
            if not line[column] and any(below[column] for below in cells[depth + 1 :]):
                line[column] = line[column - 1]
    names = [" / ".join(part for part in parts if part) for parts in zip(*cells, strict=True)]
    while names and not names[-1]:
        names.pop()
    return names


def joined_units(lines: Sequence[Sequence[str]], width: int) -> tuple[str, ...]:
    """The units of `width` columns from the lines under the header."""
    padded = [[text.strip() for text in line[:width]] + [""] * (width - len(line)) for line in lines]
    return tuple(" / ".join(line[column] for line in padded if line[column]) for column in range(width))


def is_blank(cells: Sequence[str]) -> bool:
    """Whether a record shows nothing to a person."""
    return not any(cell and cell.strip(BLANK) for cell in cells)


def filled(cells: Sequence[str]) -> int:
    """Number of cells up to the last that is not empty: trailing delimiters add no columns."""
    count = len(cells)
    while count and not cells[count - 1]:
        count -= 1
    return count


def hits(names: Sequence[str], expected: Sequence[str]) -> int:
    """How many of the expected column names stand in a line, without regard to case and white space."""
    there = {"".join(name.split()).casefold() for name in names}
    return sum("".join(name.split()).casefold() in there for name in expected)


def lines_near(agreed: int, last: int) -> list[int]:
    """The lines a moved header may begin on, the agreed one first and then the nearest."""
    return sorted(
        range(max(1, agreed - HEADER_REACH), min(last, agreed + HEADER_REACH) + 1), key=lambda line: abs(line - agreed)
    )


def land_records(
    records: Callable[[], Iterable[tuple[int, Sequence[str]]]],
    to: Path,
    columns: Sequence[str],
    units: Sequence[str],
    *,
    stop_at: str | None,
    short_is_ragged: bool,
    sheet: str | None = None,
) -> Landed:
    """Land the records under a header: blank ones left out, footnotes marked, extra cells kept.

    Args:
        records: Gives line and cells of every record after header and units; called again when one turns out wider
            than all before, because Parquet fixes its columns at the start.
        columns: What the header gives, as `unique_names` made them.
        stop_at: See `FormatSpec`.
        short_is_ragged: Whether a record with fewer cells than the header is worth a note.
    """
    stop = re.compile(stop_at) if stop_at else None
    agreed = width = len(columns)
    while True:
        names = unique_names([*columns, *([""] * (width - agreed))])
        uneven, first_uneven, found = 0, None, 0
        in_footnotes = wider = False
        with Landing(to, names) as landing:
            for line, cells in records():
                if not cells or (not cells[0].strip(BLANK) and is_blank(cells)):
                    continue
                if stop is not None and not in_footnotes:
                    in_footnotes = stop.search(next(cell for cell in cells if cell.strip(BLANK))) is not None
                if len(cells) > width:
                    if filled(cells) > width:
                        wider = True
                        break
                    cells = cells[:width]
                if in_footnotes:
                    landing.add(line, cells, sheet=sheet, ignored_by="rows.footnote")
                    continue
                landing.add(line, cells, sheet=sheet)
                short = len(cells) < agreed and short_is_ragged
                if short or (len(cells) > agreed and filled(cells) > agreed):
                    if not uneven:
                        first_uneven, found = line, len(cells) if short else filled(cells)
                    uneven += 1
        if wider:
            width = max(filled(cells) for _, cells in records())
            continue
        notes: tuple[Note, ...] = ()
        if uneven:
            facts = {"rows": uneven, "expected": agreed, "found": found}
            notes = (Note("columns.ragged", "warning", facts, line=first_uneven, sheet=sheet),)
        return Landed(to, names, (*units, *([""] * (width - agreed))), landing.rows, notes)


class Landing:
    """A Parquet file being written; leaving the `with` block by an exception removes it.

    Attributes:
        rows: Rows added so far.
    """

    def __init__(self, to: Path, columns: Sequence[str]) -> None:
        self.rows = 0
        self._to = to
        self._width = len(columns)
        self._batch_rows = max(1, min(ROWS_PER_GROUP, CELLS_PER_BATCH // max(1, self._width)))
        self._schema = pa.schema(
            [
                ("delivered_row", pa.int64()),
                ("delivered_line", pa.int64()),
                ("delivered_sheet", pa.string()),
                ("ignored_by", pa.string()),
                *((name, pa.string()) for name in columns),
            ]
        )
        self._lines: list[int] = []
        self._sheets: list[str | None] = []
        self._ignored: list[str | None] = []
        self._cells: list[Sequence[str | None]] = []
        self._writer = pq.ParquetWriter(to, self._schema, compression="zstd")

    def __enter__(self) -> Landing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._flush()
        except BaseException:
            error = error or RuntimeError("flush failed")
            raise
        finally:
            self._writer.close()
            if error is not None:
                self._to.unlink(missing_ok=True)

    def add(
        self, line: int, cells: Sequence[str | None], *, sheet: str | None = None, ignored_by: str | None = None
    ) -> None:
        """Add one row; cells beyond the given ones are null, and so are empty ones."""
        self.rows += 1
        self._lines.append(line)
        self._sheets.append(sheet)
        self._ignored.append(ignored_by)
        self._cells.append(cells)
        if len(self._lines) >= self._batch_rows:
            self._flush()

    def _flush(self) -> None:
        if not self._lines:
            return
        count = len(self._lines)
        width = self._width
        padded = [cells if len(cells) == width else [*cells, *([None] * (width - len(cells)))] for cells in self._cells]
        columns = zip(*padded, strict=True) if width else ()
        # by polars: making arrays in pyarrow would import pandas, which costs a short command a second
        frame = pl.DataFrame(
            [
                pl.Series(range(self.rows - count + 1, self.rows + 1), dtype=pl.Int64),
                pl.Series(self._lines, dtype=pl.Int64),
                pl.Series(self._sheets, dtype=pl.String),
                pl.Series(self._ignored, dtype=pl.String),
                *(pl.Series([cell or None for cell in column], dtype=pl.String) for column in columns),
            ],
            schema=self._schema.names,
        )
        self._writer.write_table(frame.to_arrow().cast(self._schema))
        for held in (self._lines, self._sheets, self._ignored, self._cells):
            held.clear()


def joined(parts: Sequence[tuple[str, Landed]], to: Path) -> Landed:
    """Several landed tables as one, in this order; a column that a part lacks is empty there.

    Args:
        parts: What each part is called ("" where its rows say it), and how it landed; its file is gone afterwards.
        to: Parquet file to write.
    """
    # as DuckDB compares names; the first spelling stays
    spelt: dict[str, str] = {}
    units: dict[str, str] = {}
    for _, landed in parts:
        for column, unit in zip(landed.columns, landed.units, strict=True):
            spelt.setdefault(column.casefold(), column)
            units[column.casefold()] = units.get(column.casefold()) or unit
    columns = tuple(spelt.values())
    where = {name: place for place, name in enumerate(spelt)}
    notes: list[Note] = []
    with Landing(to, columns) as landing:
        for called, landed in parts:
            places = [where[column.casefold()] for column in landed.columns]
            for batch in pq.ParquetFile(landed.path).iter_batches():
                lines, sheets, ignored, *cells = (column.to_pylist() for column in batch.columns[1:])
                rows = zip(*cells, strict=True) if cells else ((),) * len(lines)
                for line, sheet, rule, row in zip(lines, sheets, ignored, rows, strict=True):
                    whole: list[str | None] = [None] * len(columns)
                    for place, cell in zip(places, row, strict=True):
                        whole[place] = cell
                    landing.add(line, whole, sheet=_within(called, sheet), ignored_by=rule)
            landed.path.unlink()
            notes += [replace(note, sheet=_within(called, note.sheet)) for note in landed.notes]
    return Landed(to, columns, tuple(units[name] for name in spelt), landing.rows, tuple(notes))


def _within(part: str, sheet: str | None) -> str | None:
    return "/".join(name for name in (part, sheet) if name) or None
