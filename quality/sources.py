"""Reading what people write by hand (contracts, region packs): YAML and CSV with the line of every mistake.

A problem names file, line, what was expected and what was found, so that it can be mended without reading code.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Problem:
    """One mistake in a file written by hand."""

    file: Path
    line: int
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: expected {self.expected}, found {self.found}"


class Misconfigured(Exception):
    """A contract or a region pack cannot be used. `problems` lists every mistake found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class _Map(dict[Any, Any]):
    """A mapping that knows its line and the lines of its keys, counted from 1."""

    line = 1

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[Any, int] = {}


class _List(list[Any]):
    """A sequence that knows its line and the lines of its items, counted from 1."""

    line = 1

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[int] = []


class _Loader(yaml.CSafeLoader):
    """YAML with the scalars of version 1.2, so that `no` is a word and `05124` no octal number. By libyaml: a region's
    packs and contracts are read in a tenth of the time of a parser in Python."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  # the base class reads it so


def _mapping(loader: _Loader, node: yaml.MappingNode) -> _Map:
    found = _Map()
    found.line = node.start_mark.line + 1
    for written, value in node.value:
        key = loader.construct_object(written, deep=True)
        try:
            again = key in found
        except TypeError:
            raise yaml.constructor.ConstructorError(
                None, None, "a mapping or a list as a key", written.start_mark
            ) from None
        if again:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} a second time", written.start_mark)
        found[key] = loader.construct_object(value, deep=True)
        found.lines[key] = written.start_mark.line + 1
    return found


def _sequence(loader: _Loader, node: yaml.SequenceNode) -> _List:
    found = _List()
    found.line = node.start_mark.line + 1
    for item in node.value:
        found.append(loader.construct_object(item, deep=True))
        found.lines.append(item.start_mark.line + 1)
    return found


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:seq", _sequence)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
for _tag, _shape, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
    ("timestamp", r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9:.]+( ?(Z|[-+][0-9:]+))?)?", "0123456789"),
):  # fmt: skip
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_shape})$"), list(_first))


def load_yaml(path: Path) -> Any:
    """Read one YAML document, keeping the line of every key.

    Raises:
        Misconfigured: The file is missing or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Misconfigured([Problem(path, 1, "a file", "nothing of this name")]) from None
    except UnicodeDecodeError as error:
        raise Misconfigured([_not_utf8(path, error)]) from None
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Misconfigured([Problem(path, line, "YAML", str(error.problem))]) from None
    except yaml.YAMLError as error:
        raise Misconfigured([Problem(path, 1, "YAML", str(error))]) from None
    except ValueError as error:
        # YAML makes dates of what looks like one, and then cannot say where it stood
        raise Misconfigured([Problem(path, _line_of_bad_date(text), "a day that exists", str(error))]) from None


def validated(model: type[Model], data: Any, path: Path) -> Model:
    """Check YAML data against a model.

    Raises:
        Misconfigured: With one problem for each field that does not fit, at its line.
    """
    try:
        return model.model_validate(plain(data))
    except ValidationError as error:
        problems = [
            Problem(path, line_of(data, e["loc"]), f"`{_dotted(e['loc'])}`: {e['msg']}", _short(e.get("input")))
            for e in error.errors(include_url=False)
        ]
        raise Misconfigured(problems) from None


def line_of(data: Any, location: Iterable[int | str]) -> int:
    """The 1-based line of the deepest key on the way to `location` that exists in YAML data."""
    line = _own_line(data)
    for part in location:
        if isinstance(data, _Map):
            keys = [key for key in data if _key(key) == part]
            if not keys:
                continue
            line = data.lines[keys[0]]
            data = data[keys[0]]
        elif isinstance(data, _List) and isinstance(part, int) and part < len(data):
            line = data.lines[part]
            data = data[part]
    return line


def plain(data: Any) -> Any:
    """YAML data as plain dicts and lists."""
    if isinstance(data, dict):
        return {_key(key): plain(value) for key, value in data.items()}
    if isinstance(data, list):
        return [plain(value) for value in data]
    return data


def load_csv(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV seed (UTF-8, comma, header, `#` comment lines) as (line, row) pairs.

    Raises:
        Misconfigured: The header is not `columns`, a row has another number of cells, or a cell is empty.
    """
    rows: list[tuple[int, dict[str, str]]] = []
    problems: list[Problem] = []
    header: list[str] | None = None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise Misconfigured([Problem(path, 1, "a file", "nothing of this name")]) from None
    except UnicodeDecodeError as error:
        raise Misconfigured([_not_utf8(path, error)]) from None
    reader = csv.reader(io.StringIO(text, newline=""))
    for cells in reader:
        cells = [cell.strip() for cell in cells]
        if not any(cells) or cells[0].startswith("#"):
            continue
        if header is None:
            header = cells
            if header != list(columns):
                expected = f"the columns {', '.join(columns)}"
                raise Misconfigured([Problem(path, reader.line_num, expected, ", ".join(header))])
        elif len(cells) != len(header):
            problems.append(Problem(path, reader.line_num, f"{len(header)} cells", str(len(cells))))
        elif not all(cells):
            empty = ", ".join(name for name, cell in zip(header, cells, strict=True) if not cell)
            problems.append(Problem(path, reader.line_num, "text in every cell", f"nothing in {empty}"))
        else:
            rows.append((reader.line_num, dict(zip(header, cells, strict=True))))
    if header is None:
        problems.append(Problem(path, 1, f"the columns {', '.join(columns)}", "nothing"))
    if problems:
        raise Misconfigured(problems)
    return rows


def dates_of(path: Path, line: int, row: Mapping[str, str]) -> tuple[date, date]:
    """The first and the last day of a row with `valid_from` and `valid_to`, both included.

    Raises:
        Misconfigured: They are no dates, or in the wrong order.
    """
    try:
        first, last = date.fromisoformat(row["valid_from"]), date.fromisoformat(row["valid_to"])
    except ValueError as error:
        expected = "dates like 2024-12-31 in valid_from and valid_to"
        raise Misconfigured([Problem(path, line, expected, str(error))]) from None
    if last < first:
        raise Misconfigured([Problem(path, line, "valid_to on or after valid_from", f"{first}…{last}")])
    return first, last


def content_hash(*paths: Path) -> str:
    """Twelve hex digits that change when any of the files changes."""
    digest = hashlib.sha256()
    # by name and content, so that the same files give the same digits wherever they lie
    for name, content in sorted((path.name, path.read_bytes()) for path in paths):
        digest.update(name.encode())
        digest.update(content)
    return digest.hexdigest()[:12]


def _line_of_bad_date(text: str) -> int:
    for number, line in enumerate(text.splitlines(), start=1):
        for written in re.findall(r"\b\d{4}-\d{2}-\d{2}\b", line):
            try:
                date.fromisoformat(written)
            except ValueError:
                return number
    return 1


def _key(key: Any) -> str:
    """A key as it was written: YAML reads a bare `null:` and `true:` as something else than words."""
    if key is None:
        return "null"
    return str(key).lower() if isinstance(key, bool) else str(key)


def _not_utf8(path: Path, error: UnicodeDecodeError) -> Problem:
    line = error.object[: error.start].count(b"\n") + 1
    return Problem(path, line, "text in UTF-8", f"byte 0x{error.object[error.start]:02x}")


def _own_line(data: Any) -> int:
    return data.line if isinstance(data, _Map | _List) else 1


def _dotted(location: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in location)


def _short(value: Any) -> str:
    # an address may hold a password that belongs elsewhere
    text = re.sub(r"(://[^/\s:@]*):[^/\s@]*@", r"\1:…@", repr(value))
    return text if len(text) <= 80 else text[:77] + "…"
