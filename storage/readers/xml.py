"""XML documents: one row a record, an element that the layout names; its columns by XPath, or whatever stands in it.

No entity is expanded, nothing is fetched, and a document that declares any is refused. Documents up to `MAX_TREE` are read as
a whole, so that a column may look anywhere in them; larger ones record by record.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lxml import etree

from storage.readers.base import FieldPath, FormatSpec, Landed, Unreadable
from storage.readers.landing import Landing, unique_names
from storage.readers.sniff import kind_of, wrong_kind

#: Between several values of one name.
JOINED_BY = " | "
#: A tree takes some ten times the size of its document.
MAX_TREE = 64 * 1024**2
MAX_VALUES = 200_000
MAX_COLUMNS = 5_000
MAX_CELL = 1024 * 1024
#: Steps of a path that finds records while a document streams by: names alone.
_PLAIN = re.compile(r"(?://?[\w.-]+(?::[\w.-]+)?)+")
_PARSING: dict[str, Any] = {
    "resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False,
    "remove_comments": True, "remove_pis": True,
}  # fmt: skip


def read(source: Path, spec: FormatSpec, to: Path, *, name: str) -> Landed:
    """Land the records of an XML document; see `storage.readers.base.read`.

    `records` is the XPath of the elements that are records; without it they are the children of the root. With `fields`
    each column has an XPath of its own, from its record; without it every value inside a record is a column, called by
    the way to it (`Address/City`, `@id`). Several values are joined. `delivered_line` is the line on which a record begins.

    Raises:
        Unreadable: Also `file.too_large`.
    """
    kind = kind_of(source)
    if kind.word != "xml":
        raise wrong_kind(kind, "an XML document")
    if spec.fields:
        columns = tuple(spec.fields)
        asked = [_Asked(path, spec.namespaces) for path in spec.fields.values()]
        rows: Iterable[tuple[int, Sequence[str | None]]] = (
            (line, [one.of(record) for one in asked]) for line, record in _records(source, spec)
        )
    else:
        found: dict[str, None] = {}
        for _, record in _records(source, spec):
            found.update(dict.fromkeys(_values(record)))
            if len(found) > MAX_COLUMNS:
                raise _too_large(f"records of at most {MAX_COLUMNS} different names", "more of them")
        columns = tuple(found)
        rows = ((line, _row(record, found)) for line, record in _records(source, spec))
    named = unique_names(columns)
    with Landing(to, named) as landing:
        for line, cells in rows:
            if any(cell and len(cell) > MAX_CELL for cell in cells):
                raise _too_large(f"values of at most {MAX_CELL} characters", "a longer one", line)
            landing.add(line, cells)
    return Landed(to, named, ("",) * len(named), landing.rows)


def check(spec: FormatSpec) -> None:
    """See that the paths of a layout can be asked.

    Raises:
        ValueError: One is no XPath, or uses a prefix that `namespaces` does not explain.
    """
    for path in filter(None, (spec.records, *(_paths(spec.fields or {})))):
        try:
            etree.XPath(path, namespaces=dict(spec.namespaces))(etree.Element("asked"), key="")
        except etree.XPathError as error:
            raise ValueError(f"{path!r} is no XPath that can be asked: {error}") from None


def _paths(fields: Mapping[str, FieldPath]) -> Iterator[str]:
    for one in fields.values():
        if isinstance(one, str):
            yield one
        else:
            yield one.path
            yield one.key


class _Asked:
    """A column's XPath."""

    def __init__(self, path: FieldPath, namespaces: Mapping[str, str]) -> None:
        known = dict(namespaces)
        self._path = etree.XPath(path if isinstance(path, str) else path.path, namespaces=known)
        self._key = None if isinstance(path, str) else etree.XPath(path.key, namespaces=known)

    def of(self, record: etree._Element) -> str | None:
        if self._key is None:
            return _told(self._path(record))
        return _told(self._path(record, key=_told(self._key(record)) or ""))


def _records(source: Path, spec: FormatSpec) -> Iterator[tuple[int, etree._Element]]:
    try:
        yield from _of_tree(source, spec) if source.stat().st_size <= MAX_TREE else _streaming(source, spec)
    except etree.XMLSyntaxError as error:
        line = error.lineno or None
        raise Unreadable("file.unreadable", expected="sound XML", found="a mistake", line=line) from error


def _of_tree(source: Path, spec: FormatSpec) -> Iterator[tuple[int, etree._Element]]:
    tree = etree.parse(source, etree.XMLParser(**_PARSING))
    _refuse_doctype(tree.docinfo.doctype)
    for record in tree.xpath(spec.records or "/*/*", namespaces=dict(spec.namespaces)):
        if isinstance(record, etree._Element):
            yield record.sourceline or 0, record


def _streaming(source: Path, spec: FormatSpec) -> Iterator[tuple[int, etree._Element]]:
    """Records of a plain path, forgotten one by one."""
    looks_outside = any(path.startswith("/") or ".." in path or "::" in path for path in _paths(spec.fields or {}))
    if looks_outside or (spec.records and not _PLAIN.fullmatch(spec.records)):
        raise _too_large(
            f"at most {MAX_TREE // 1024**2} MiB of a document that is looked at as a whole",
            f"{source.stat().st_size // 1024**2} MiB",
        )
    path: list[str] = []
    is_record = _matches(spec)
    root: etree._Element | None = None
    depth_of_record = 0
    for event, element in etree.iterparse(source, events=("start", "end"), **_PARSING):
        if event == "start":
            if root is None:
                root = element
                _refuse_doctype(element.getroottree().docinfo.doctype)
            path.append(element.tag)
            if not depth_of_record and is_record(path):
                depth_of_record = len(path)
            continue
        if depth_of_record == len(path):
            yield element.sourceline or 0, element
            depth_of_record = 0
        path.pop()
        if not depth_of_record:
            # what was read is forgotten: elements before this one have been looked at
            element.clear(keep_tail=False)
            parent = element.getparent()
            while parent is not None and element.getprevious() is not None:
                del parent[0]


def _matches(spec: FormatSpec) -> Any:
    """Whether a way of tags from the root leads to a record."""
    if not spec.records:
        return lambda path: len(path) == 2
    steps = [
        (ahead == "//", _qualified(name, spec.namespaces))
        for ahead, name in re.findall(r"(//?)([\w.:-]+)", spec.records)
    ]

    def leads(path: Sequence[str], steps: Sequence[tuple[bool, str]]) -> bool:
        if not steps:
            return not path
        anywhere, tag = steps[0]
        places = range(len(path)) if anywhere else range(min(1, len(path)))
        return any(path[place] == tag and leads(path[place + 1 :], steps[1:]) for place in places)

    return lambda path: path[-1] == steps[-1][1] and leads(path, steps)


def _qualified(name: str, namespaces: Mapping[str, str]) -> str:
    prefix, colon, local = name.rpartition(":")
    return f"{{{namespaces[prefix]}}}{local}" if colon else name


def _values(record: etree._Element) -> dict[str, list[str]]:
    """What stands in a record, by the way to it."""
    told: dict[str, list[str]] = {}
    number = 0
    open_: list[tuple[etree._Element, str]] = [(record, "")]
    while open_:
        element, way = open_.pop()
        for name, value in element.attrib.items():
            told.setdefault(f"{way}@{_local(name)}", []).append(str(value))
        children = [child for child in element if isinstance(child.tag, str)]
        if not children and way:
            told.setdefault(way.rstrip("/"), []).extend([text] if (text := (element.text or "").strip()) else [])
        open_ += [(child, f"{way}{_local(child.tag)}/") for child in reversed(children)]
        number += 1 + len(element.attrib)
        if number > MAX_VALUES:
            raise _too_large(f"records of at most {MAX_VALUES} values", "a larger one", record.sourceline)
    return told


def _row(record: etree._Element, columns: Iterable[str]) -> list[str | None]:
    values = _values(record)
    return [JOINED_BY.join(values.get(column, ())) or None for column in columns]


def _local(tag: str | bytes) -> str:
    return str(etree.QName(tag).localname)


def _told(found: Any) -> str | None:
    """What an XPath gave, as text."""
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, float):
        return None if not math.isfinite(found) else repr(found) if found % 1 else str(int(found))
    if isinstance(found, str):
        return found.strip() or None
    texts = ("".join(one.itertext()) if isinstance(one, etree._Element) else str(one) for one in found)
    return JOINED_BY.join(text.strip() for text in texts if text.strip()) or None


def _refuse_doctype(doctype: str | None) -> None:
    if doctype:
        raise Unreadable("file.unreadable", expected="XML without declarations of its own", found="a DOCTYPE")


def _too_large(expected: str, found: str, line: int | None = None) -> Unreadable:
    return Unreadable("file.too_large", expected=expected, found=found, line=line)
