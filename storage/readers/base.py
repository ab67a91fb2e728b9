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

FormatName = Literal["csv", "xlsx", "mscons", "fixed_width", "json", "xml", "geo"]


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


class Lookup(BaseModel):
    """An XPath that looks a value up elsewhere in the document; it may ask for `$key`, which `key` gives from the record."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    key: str


FieldPath = str | Lookup


class Archive(BaseModel):
    """A ZIP archive whose parts are one delivery: each is read by the same layout, one after the other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parts: str
    """Regular expression that the whole name of a part must match, folders included; others are no data."""
    manifest: str | None = None
    """Name of a part that lists all others as `sha256sum` does; what it lists must be there and be the same."""


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
    sheets: str | None = None
    """XLSX: regular expression; every sheet whose whole name matches is read, one after the other."""
    form: Mapping[str, Literal["right", "below"]] | None = None
    """XLSX: each sheet is a form, one row: label → where its value stands."""
    archive: Archive | None = None
    """The file is a ZIP archive, and this layout that of its parts."""
    layer: str | None = None
    """Geo: name of the layer; None means the first."""
    records: str | None = None
    """JSON: names on the way to the list of records, joined by dots. XML: XPath of the elements that are records."""
    fields: Mapping[str, FieldPath] | None = None
    """XML: column name → XPath from the record."""
    namespaces: Mapping[str, str] = Field(default_factory=dict)
    """XML: prefix → namespace, for the paths."""
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

    @property
    def has_headings(self) -> bool:
        """Whether files say themselves, in a line of headings, what their columns are called."""
        return self.type in ("csv", "xlsx") and self.form is None and self.header.rows > 0

    @property
    def names_columns(self) -> bool:
        """Whether this layout names the columns: they land whatever the file is, and only what is in them tells."""
        return self.type == "fixed_width" or self.form is not None or self.fields is not None

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
    def _words_go_with_their_type(self) -> FormatSpec:
        if self.type == "fixed_width" and self.widths is None:
            raise ValueError("format type fixed_width needs `widths`")
        for word, types in _WORDS_OF.items():
            if getattr(self, word) and self.type not in types:
                raise ValueError(f"`{word}` belongs to format type {' and '.join(types)}")
        if self.sheet and self.sheets:
            raise ValueError("give either `sheet` or `sheets`")
        return self


#: Words of a layout that only some types know.
_WORDS_OF = {
    "widths": ("fixed_width",), "sheets": ("xlsx",), "form": ("xlsx",), "layer": ("geo",), "records": ("json", "xml"),
    "fields": ("xml",), "namespaces": ("xml",),
}  # fmt: skip


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
            (physical line, sheet row, or number of the segment or record, counted from 1), `delivered_sheet` VARCHAR (null outside
            workbooks and archives), `ignored_by` VARCHAR (null, or the rule that takes the row out: `rows.footnote`,
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
    kind = "archive" if spec.archive else spec.type
    reader: Reader = importlib.import_module(f"storage.readers.{kind}")
    return reader.read(source, spec, to, name=name)
