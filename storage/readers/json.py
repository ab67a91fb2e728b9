"""JSON as platforms export it: a document that holds a list of records, or a record a line; one row a record.

Whatever is a single value becomes a column, called by the way to it inside its record (`vendor.postcode`); several values
of one name are joined. Single values outside the records stand in every row, under their way from the top (`/operator`).
Nothing but the record at hand is held in memory.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import ijson

from storage.readers.base import FormatSpec, Landed, Unreadable
from storage.readers.landing import Landing, unique_names
from storage.readers.sniff import kind_of, text_of, wrong_kind

#: Between several values of one name.
JOINED_BY = " | "
MAX_DEPTH = 64
#: Values of one record.
MAX_VALUES = 200_000
MAX_COLUMNS = 5_000
MAX_CELL = 1024 * 1024
#: A number with a larger power of ten is written as it stands: its zeros would fill the memory.
MAX_POWER = 40

_Cells = dict[str, list[str]]


def read(source: Path, spec: FormatSpec, to: Path, *, name: str) -> Landed:
    """Land the records of a JSON document or of JSON lines; see `storage.readers.base.read`.

    `records` names the list that holds them (`orders`, `result.orders`); without it they are the elements of the list that
    the document is, or the objects that follow each other. `delivered_line` counts records. Numbers are written with the
    layout's decimal mark, truth as `true` and `false`; a value that is null, or not there, is an empty cell.

    Raises:
        Unreadable: Also `file.too_large` for a record nobody can look at.
    """
    kind = kind_of(source)
    if kind.word not in ("json", "text"):
        raise wrong_kind(kind, "a JSON document")
    text = text_of(source, spec.encoding)
    at = tuple(spec.records.split(".")) if spec.records else ()
    outside: _Cells = {}
    found: dict[str, None] = {}
    with _opened(source, text.encoding) as file:
        for record in _Records(file, at, spec.decimal, outside):
            found.update(dict.fromkeys(record))
            if len(found) > MAX_COLUMNS:
                raise _too_large(f"records of at most {MAX_COLUMNS} different names", "more of them")
    wanted = [*outside, *found]
    columns = unique_names(wanted)
    same = [_cell(values) for values in outside.values()]
    with _opened(source, text.encoding) as file, Landing(to, columns) as landing:
        for number, record in enumerate(_Records(file, at, spec.decimal, {}), start=1):
            landing.add(number, [*same, *(_cell(record.get(each, ())) for each in found)])
    return Landed(to, columns, ("",) * len(columns), landing.rows, text.notes)


@contextmanager
def _opened(source: Path, encoding: str) -> Iterator[IO[bytes] | _Recoded]:
    """The document as UTF-8 without a mark, whatever it was sent as."""
    with source.open("rb") as file:
        if encoding in ("utf-8", "utf-8-sig"):
            if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
                file.seek(0)
            yield file
        else:
            yield _Recoded(io.TextIOWrapper(file, encoding))


class _Recoded:
    """A text as bytes of UTF-8; `codecs.EncodedFile` lets readers reach past it for the bytes as they were sent."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text

    def read(self, size: int = -1) -> bytes:
        return self._text.read(size).encode()


@dataclass
class _Records:
    """The records of one document, each as its values by name; what stands outside goes into `outside`."""

    file: IO[bytes] | _Recoded
    at: tuple[str, ...]
    decimal: str
    outside: _Cells
    _read: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[_Cells]:
        try:
            yield from self._all()
        except (ijson.JSONError, ValueError) as error:
            # what the parser says of the place quotes the file, which may hold what is nobody's business. A ValueError is
            # bytes that are no text, or a number of thousands of digits
            where = f"a mistake after record {self._read}" if self._read else "a mistake before the first record"
            cut = isinstance(error, ijson.IncompleteJSONError) and "premature" in str(error).lower()
            raise Unreadable(
                "file.unreadable", expected="JSON", found="an end in the middle" if cut else where, line=self._read + 1
            ) from error

    def _all(self) -> Iterator[_Cells]:
        # for each container that is open whether it is an object, and for each of these the name that is read now
        open_: list[bool] = []
        names: list[str] = []
        record: _Cells | None = None
        outer = base = values = 0
        for event, value in ijson.basic_parse(self.file, multiple_values=True):
            if event == "map_key":
                names[-1] = value
            elif event in ("start_map", "start_array"):
                if event == "start_map" and record is None and tuple(names) == self.at:
                    record, outer, base, values = {}, len(open_), len(names), 0
                open_.append(event == "start_map")
                if event == "start_map":
                    names.append("")
                if len(open_) > MAX_DEPTH:
                    raise _too_large(f"at most {MAX_DEPTH} levels", "more of them", self._read + 1)
            elif event in ("end_map", "end_array"):
                if open_.pop():
                    names.pop()
                if record is not None and len(open_) == outer:
                    self._read += 1
                    yield record
                    record, values = None, 0
            elif record is not None:
                values += 1
                if values > MAX_VALUES:
                    raise _too_large(f"records of at most {MAX_VALUES} values", "a larger one", self._read + 1)
                _tell(record, ".".join(names[base:]), value, self.decimal)
            elif all(open_):
                # other lists are no business of ours
                _tell(self.outside, "/" + "/".join(names), value, self.decimal)
                if sum(map(len, self.outside.values())) > MAX_COLUMNS:
                    raise _too_large(f"at most {MAX_COLUMNS} values outside of records", "more of them")


def _tell(cells: _Cells, way: str, value: Any, decimal: str) -> None:
    told = cells.setdefault(way, [])
    if (cell := _text(value, decimal)) is not None:
        told.append(cell)


def _text(value: Any, decimal: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        _, _, power = value.as_tuple()
        if not isinstance(power, int) or abs(power) > MAX_POWER:
            return str(value)
        value = format(value, "f")
    return str(value).replace(".", decimal)


def _cell(values: list[str] | tuple[()]) -> str | None:
    if len(values) == 1:
        cell = values[0]
    elif values:
        cell = JOINED_BY.join(values)
    else:
        return None
    if len(cell) > MAX_CELL:
        raise _too_large(f"values of at most {MAX_CELL} characters", "a longer one")
    return cell


def _too_large(expected: str, found: str, line: int | None = None) -> Unreadable:
    return Unreadable("file.too_large", expected=expected, found=found, line=line)
