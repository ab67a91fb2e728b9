"""What every reader is given and gives back, and the one door `read` to all of them."""

from __future__ import annotations

import importlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

#: Columns every landed table starts with; a delivered column of the same name gets the suffix `_2`.
PROVENANCE = ("delivered_row", "delivered_line", "delivered_sheet", "ignored_by")

FormatName = Literal["csv", "xlsx", "mscons", "fixed_width"]


class HeaderSpec(BaseModel):
    """Where the column names stand.

    `row` is the 1-based line (CSV: physical line; XLSX: sheet row) on which the header begins; None means the first
    line that is not blank. `rows` header lines are joined by " / "; in them an empty cell takes the value to its left
    (merged cells) as long as a lower header line tells the columns apart. `rows: 0` means the file has no header and
    columns are called `column_1`, `column_2`, ….
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: int | None = Field(default=None, ge=1)
    rows: int = Field(default=1, ge=0, le=5)


class FormatSpec(BaseModel):
    """How the bytes of one supplier's file are laid out (the `format` part of a dialect)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: FormatName
    encoding: str | None = None
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    quote: str | None = Field(default='"', max_length=1)
    header: HeaderSpec = HeaderSpec()
    units_rows: int = Field(default=0, ge=0, le=3)
    """Lines right under the header that hold units, not data."""
    sheet: str | None = None
    """XLSX: name of the sheet; None means the first."""
    stop_at: str | None = None
    """Regular expression on the first filled cell of a line: from there on the lines are footnotes, not data."""
    widths: Mapping[str, tuple[int, int]] | None = None
    """Fixed width: column name → first and last character position, counted from 1, both included."""
    only_lines: str | None = None
    """Fixed width: regular expression; other lines are other record types (`ignored_by: rows.other_record`)."""
    decimal: str = Field(default=".", min_length=1, max_length=1)
    """XLSX: the mark numeric cells are written with, without thousands marks, so that they read like text cells."""
    dates: str | None = None
    """XLSX: strftime pattern that date cells are written with; None, and any time of day, means ISO 8601."""
    expected_columns: tuple[str, ...] = ()
    """Column names the dialect asks for; with them a header that moved by a few lines is found again."""

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, encoding: str | None) -> str | None:
        if encoding is not None:
            try:
                "x".encode(encoding)
            except LookupError as unknown:
                raise ValueError(f"{encoding!r} is not a text encoding that Python decodes") from unknown
        return encoding

    @model_validator(mode="after")
    def _widths_go_with_fixed_width(self) -> FormatSpec:
        if (self.type == "fixed_width") != (self.widths is not None):
            raise ValueError("`widths` belongs to format type fixed_width, and fixed_width needs it")
        return self


@dataclass(frozen=True)
class Note:
    """Something a reader saw that the supplier should hear of; not a verdict yet.

    `rule` is the id under which the message catalogue knows it (`file.encoding_differs`); `facts` fill its blanks.
    """

    rule: str
    severity: Literal["fatal", "error", "warning", "info"]
    facts: Mapping[str, Any] = field(default_factory=dict)
    line: int | None = None
    sheet: str | None = None


@dataclass(frozen=True)
class Landed:
    """A delivery as a table of text cells.

    Attributes:
        path: Parquet file, zstd: `delivered_row` BIGINT (1, 2, 3 … over the whole file), `delivered_line` BIGINT
            (physical line, sheet row or segment number, counted from 1), `delivered_sheet` VARCHAR (null outside
            workbooks), `ignored_by` VARCHAR (null, or the rule that takes the row out: `rows.footnote`,
            `rows.cancelled`, `rows.other_record`), then one VARCHAR per delivered column. An empty cell is null.
        columns: Names of the delivered columns, in their order, made unique (`Menge`, `Menge_2`).
        units: Text of the units lines per column, empty where there are none.
        rows: Number of rows in the Parquet file; blank lines are not rows.
        notes: What was seen on the way.
    """

    path: Path
    columns: tuple[str, ...]
    units: tuple[str, ...]
    rows: int
    notes: tuple[Note, ...] = ()


#: What a damaged, encrypted or strangely packed ZIP archive raises when one of its parts is read; `zipfile` has no common word
#: for it. (A compression it does not know is a RuntimeError.)
BROKEN_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError, RuntimeError, ValueError)


class Unreadable(Exception):
    """The bytes cannot be read as what they were said to be. Becomes a rejected verdict, never a crash.

    `rule` is one of `file.unreadable`, `file.empty`, `file.encrypted`, `file.has_macros`, `file.too_large`,
    `file.wrong_kind`, `file.sheet_missing`, `columns.missing_header`; `facts` holds at least `expected` and `found`,
    for a person.
    """

    def __init__(self, rule: str, *, expected: str, found: str, line: int | None = None, **facts: Any) -> None:
        self.rule, self.line = rule, line
        self.facts: dict[str, Any] = {"expected": expected, "found": found, **facts}
        super().__init__(
            f"{rule}: expected {expected}, found {found}"
            + ("" if line is None or f"line {line}" in found else f" at line {line}")
        )


class Reader(Protocol):
    """A module of this package: `read(source, spec, to, name=...) -> Landed`."""

    def read(self, source: Path, spec: FormatSpec, to: Path, *, name: str) -> Landed: ...


def read(source: Path, spec: FormatSpec, to: Path, *, name: str) -> Landed:
    """Read the bytes in `source` as `spec` says and land them as Parquet in `to`.

    Args:
        source: The bytes as sent, a local file.
        spec: The layout agreed with the supplier.
        to: Parquet file to write; its folder exists.
        name: The file's name as sent, for messages and for telling kinds apart; never used as a path.

    Raises:
        Unreadable: The bytes are not what the layout says, and going on would be guessing.
    """
    reader: Reader = importlib.import_module(f"storage.readers.{spec.type}")
    return reader.read(source, spec, to, name=name)
