"""MSCONS, the EDIFACT message of metered values in the German and Swiss energy market: one row per quantity.

The contents of CTA and COM (names, telephone numbers, addresses) never leave this module. Which status or check
identifier is allowed is a rule of a contract, not of this reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from storage.readers.base import FormatSpec, Landed, Note, Unreadable
from storage.readers.landing import Landing
from storage.readers.sniff import Kind, kind_of, text_of, wrong_kind

COLUMNS = (
    "message_number",
    "message_ref",
    "check_identifier",
    "message_function",
    "document_id",
    "sender",
    "receiver",
    "location_qualifier",
    "location_id",
    "obis",
    "register",
    "status",
    "status_reason",
    "value",
    "unit",
    "period_start",
    "period_end",
    "created_at",
)
CHUNK = 1024 * 1024
MAX_SEGMENT = 1024 * 1024
_WHITE = " \t\r\n\x1a"
#: Messages of an interchange that take back an earlier one: DE1225 is 1 (cancellation) or 5 (replacement).
_TAKES_BACK = ("1", "5")
#: DTM format code → how Python reads the digits, and whether hours and minutes belong to it.
_DATE_FORMATS = {
    "102": "%Y%m%d",
    "203": "%Y%m%d%H%M",
    "204": "%Y%m%d%H%M%S",
    "303": "%Y%m%d%H%M",
    "304": "%Y%m%d%H%M%S",
}


@dataclass(frozen=True)
class Marks:
    """The service characters of an interchange."""

    component: str = ":"
    element: str = "+"
    decimal: str = "."
    release: str = "?"
    terminator: str = "'"


@dataclass
class _Message:
    """What the segments so far say about the message at hand."""

    number: int
    ref: str = ""
    first_segment: int = 0
    check_identifier: str = ""
    function: str = ""
    document_id: str = ""
    takes_back: str = ""
    sender: str = ""
    receiver: str = ""
    created_at: str = ""
    location_qualifier: str = ""
    location_id: str = ""
    obis: str = ""
    register: str = ""


@dataclass
class _Quantity:
    segment: int
    status: str
    value: str
    unit: str
    reasons: list[str] = field(default_factory=list)
    start: str = ""
    end: str = ""


def read(source: Path, spec: FormatSpec, to: Path, *, name: str) -> Landed:
    """Land an MSCONS interchange; see `storage.readers.base.read`.

    `delivered_line` is the number of the segment, UNA included, so in files with a segment a line it is the line. Rows
    of a message that a later one in the same file cancels or replaces carry `rows.cancelled`, and so do quantities that
    a cancellation itself repeats.
    """
    kind = kind_of(source)
    if kind.word != "edifact":
        raise wrong_kind(kind, "an EDIFACT interchange with MSCONS messages")
    # UNOC, which nearly all interchanges declare, is ISO 8859-1
    text = text_of(source, spec.encoding)
    cancelled, unknown = _cancelled(source, text.encoding)
    reading = _Reading(cancelled)
    with Landing(to, COLUMNS) as landing:
        for row in reading.rows(source, text.encoding):
            line, ignored_by, cells = row
            landing.add(line, cells, ignored_by=ignored_by)
    notes = [*text.notes, *reading.notes]
    if unknown:
        notes.append(Note("rows.cancels_unknown_message", "warning", {"messages": sorted(unknown)}))
    return Landed(to, COLUMNS, ("",) * len(COLUMNS), landing.rows, tuple(notes))


def segments(source: Path, encoding: str) -> Iterator[tuple[int, str, Marks]]:
    """Number, text and service characters of every segment; UNA counts as the first.

    Raises:
        Unreadable: The file ends within a segment, or one is longer than any real one (`file.too_large`).
    """
    # pydifact reads the same files, but character by character and the whole text at once: 25,000 segments a second
    # against more than a million here, and an interchange of a year of quarter hours has 105,000 per metering point
    with source.open(encoding=encoding, newline="") as file:
        rest = file.read(CHUNK).lstrip(_WHITE + "\ufeff")
        marks, number = Marks(), 0
        if rest.startswith("UNA") and len(rest) >= 9:
            marks, number = _marks(rest), 1
            yield 1, rest[:9], marks
            rest = rest[9:]
        ends = marks.terminator
        held = ""
        while True:
            pieces = rest.split(ends)
            rest = pieces.pop()
            for piece in pieces:
                held += piece
                if _is_released(held, marks.release):
                    held += ends
                    continue
                text, held = held.strip(_WHITE), ""
                if not text:
                    continue
                number += 1
                if text.startswith("UNA") and number > 1 and _marks(text + ends) != marks:
                    raise Unreadable(
                        "file.unreadable",
                        expected="one set of service characters",
                        found="another UNA segment that changes them",
                        line=number,
                    )
                yield number, text, marks
            if len(held) + len(rest) > MAX_SEGMENT:
                raise Unreadable(
                    "file.too_large",
                    expected=f"segments of at most {MAX_SEGMENT} characters",
                    found="a longer one",
                    line=number + 1,
                )
            chunk = file.read(CHUNK)
            if not chunk:
                break
            rest += chunk
        if (held + rest).strip(_WHITE):
            raise Unreadable(
                "file.unreadable",
                expected="a complete EDIFACT interchange",
                found=f"the end of the file within segment {number + 1}",
                line=number + 1,
            )


def split(text: str, marks: Marks) -> list[list[str]]:
    """The elements of a segment, each as its components, release characters resolved."""
    if not marks.release or marks.release not in text:
        return [element.split(marks.component) for element in text.split(marks.element)]
    elements: list[list[str]] = [[""]]
    characters = iter(text)
    for character in characters:
        if character == marks.release:
            elements[-1][-1] += next(characters, "")
        elif character == marks.element:
            elements.append([""])
        elif character == marks.component:
            elements[-1].append("")
        else:
            elements[-1][-1] += character
    return elements


def iso(value: str, form: str) -> str:
    """A DTM value as ISO 8601, with its zone where the format has one; as delivered where it is no such time."""
    digits = re.fullmatch(r"(\d+)(?:([+-])(\d{2})(\d{2})?|UTC|GMT)?", value) if form in _DATE_FORMATS else None
    if digits is None:
        return value
    try:
        moment = datetime.strptime(digits[1], _DATE_FORMATS[form])
    except ValueError:
        return value
    if form == "102":
        return moment.date().isoformat()
    if form in ("303", "304"):
        zone = f"{digits[2] or '+'}{digits[3] or '00'}:{digits[4] or '00'}"
        # a time without the zone that its format promises stays without one
        return moment.isoformat() + (zone if len(digits[0]) > len(digits[1]) else "")
    return moment.isoformat()


class _Reading:
    """One pass over the segments that makes rows and counts what was announced."""

    def __init__(self, cancelled: frozenset[int]) -> None:
        self.notes: tuple[Note, ...] = ()
        self._cancelled = cancelled
        self._differing: list[tuple[int, dict[str, object]]] = []
        self._partners = ("", "")

    def rows(self, source: Path, encoding: str) -> Iterator[tuple[int, str | None, list[str | None]]]:
        message: _Message | None = None
        quantity: _Quantity | None = None
        marks = Marks()
        number = total = messages = 0
        closed = False
        for number, text, marks in segments(source, encoding):
            tag = text[:3]
            if quantity is not None and message is not None and tag not in ("DTM", "STS"):
                yield self._row(message, quantity)
                quantity = None
            if tag in ("CTA", "COM"):
                continue
            parts = split(text, marks)
            if tag == "UNB":
                closed, messages = False, 0
                self._partners = (_at(parts, 2), _at(parts, 3))
            elif tag == "UNH":
                if message is not None:
                    self._differs(number, "UNT", "nothing", message.ref)
                if _at(parts, 2) != "MSCONS":
                    raise wrong_kind(
                        Kind("edifact", f"an EDIFACT message of type {_at(parts, 2) or 'unknown'}"), "MSCONS messages"
                    )
                total, messages = total + 1, messages + 1
                message = _Message(total, _at(parts, 1), number, sender=self._partners[0], receiver=self._partners[1])
            elif tag == "UNT":
                if message is not None:
                    self._compare(number, _at(parts, 1), number - message.first_segment + 1, message.ref)
                message = None
            elif tag == "UNZ":
                if message is not None:
                    self._differs(number, "UNT", "nothing", message.ref)
                message, closed = None, True
                self._compare(number, _at(parts, 1), messages, "")
            elif message is None:
                continue
            elif tag == "QTY":
                value = _at(parts, 1, 1).replace(marks.decimal, ".")
                quantity = _Quantity(number, _at(parts, 1), value, _at(parts, 1, 2))
            elif tag == "DTM" and quantity is not None:
                what = _at(parts, 1)
                if what == "163":
                    quantity.start = iso(_at(parts, 1, 1), _at(parts, 1, 2))
                elif what == "164":
                    quantity.end = iso(_at(parts, 1, 1), _at(parts, 1, 2))
            elif tag == "STS" and quantity is not None:
                quantity.reasons.append("+".join(":".join(components) for components in parts[1:]))
            else:
                _learn(message, tag, parts)
        if quantity is not None and message is not None:
            yield self._row(message, quantity)
        if not closed:
            raise Unreadable(
                "file.unreadable",
                expected="a complete EDIFACT interchange that ends in UNZ",
                found=f"its end after segment {number}",
                line=number,
            )
        if self._differing:
            line, facts = self._differing[0]
            self.notes = (
                Note("file.message_count_differs", "warning", {**facts, "times": len(self._differing)}, line),
            )

    def _row(self, message: _Message, quantity: _Quantity) -> tuple[int, str | None, list[str | None]]:
        cells: list[str | None] = [
            str(message.number),
            message.ref,
            message.check_identifier,
            message.function,
            message.document_id,
            message.sender,
            message.receiver,
            message.location_qualifier,
            message.location_id,
            message.obis,
            message.register,
            quantity.status,
            " ".join(quantity.reasons),
            quantity.value,
            quantity.unit,
            quantity.start,
            quantity.end,
            message.created_at,
        ]
        gone = message.number in self._cancelled or message.function == "1"
        return quantity.segment, "rows.cancelled" if gone else None, cells

    def _compare(self, segment: int, agreed: str, found: int, message: str) -> None:
        if agreed != str(found) and not (agreed.isdigit() and int(agreed) == found):
            self._differs(segment, agreed, str(found), message)

    def _differs(self, segment: int, agreed: str, found: str, message: str) -> None:
        self._differing.append((segment, {"agreed": agreed, "found": found, "message": message}))


def _learn(message: _Message, tag: str, parts: list[list[str]]) -> None:
    """Take from a segment what the rows after it carry."""
    match tag, _at(parts, 1):
        case "BGM", _:
            message.document_id, message.function = _at(parts, 2), _at(parts, 3)
        case "DTM", "137":
            message.created_at = iso(_at(parts, 1, 1), _at(parts, 1, 2))
        case "RFF", "Z13":
            message.check_identifier = _at(parts, 1, 1)
        case "RFF", "ACW":
            message.takes_back = _at(parts, 1, 1)
        case "NAD", "MS":
            message.sender = _at(parts, 2) or message.sender
        case "NAD", "MR":
            message.receiver = _at(parts, 2) or message.receiver
        case "NAD", _:
            message.location_qualifier = message.location_id = message.obis = message.register = ""
        case "LOC", qualifier:
            message.location_qualifier, message.location_id = qualifier, _at(parts, 2)
            message.obis = message.register = ""
        case "LIN", line:
            message.register, message.obis = line, ""
        case "PIA", "5":
            message.obis = _at(parts, 2)


def _cancelled(source: Path, encoding: str) -> tuple[frozenset[int], frozenset[str]]:
    """Numbers of the messages that a later one takes back, and references that lead to no message of this file.

    A cancellation names the document it takes back in RFF+ACW; without that it repeats the document's own id.
    """
    earlier: list[_Message] = []
    for number, text, marks in segments(source, encoding):
        if text[:3] == "UNH":
            parts = split(text, marks)
            earlier.append(_Message(len(earlier) + 1, _at(parts, 1), number))
        elif earlier and text[:3] in ("BGM", "RFF"):
            _learn(earlier[-1], text[:3], split(text, marks))
    gone: set[int] = set()
    unknown: set[str] = set()
    for message in earlier:
        if message.function not in _TAKES_BACK:
            continue
        wanted = message.takes_back or message.document_id
        names = {
            other.number
            for other in earlier[: message.number - 1]
            if wanted and (wanted == other.document_id or (message.takes_back and wanted == other.ref))
        }
        gone |= names
        if not names and wanted and (message.function == "1" or message.takes_back):
            unknown.add(wanted)
    return frozenset(gone), frozenset(unknown)


def _marks(una: str) -> Marks:
    # a blank in the place of the release character says that there is none
    return Marks(una[3], una[4], una[5], una[6].strip(), una[8])


def _is_released(text: str, release: str) -> bool:
    """Whether the terminator after this text is a character of it."""
    count = 0
    while release and text.endswith(release, 0, len(text) - count) and count < len(text):
        count += 1
    return count % 2 == 1


def _at(parts: list[list[str]], element: int, component: int = 0) -> str:
    if element < len(parts) and component < len(parts[element]):
        return parts[element][component].strip()
    return ""
