"""By which dialect a file is read, why by that one, and how both are said to people.

Whoever hands in may choose among the dialects agreed for supplier, dataset and period; what is not chosen is told by the
file itself where it is a form of ours, else by its name. What a file seems to be before it is handed in is next door, in
`quality.recognition`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from quality import forms, messages
from quality.codelists import lookup_key
from quality.contract import Contract
from quality.dialect import Dialect
from quality.region import Mandate, RegionPack
from quality.verdict import ReadAs
from storage.periods import Period

Why = Literal["chosen", "template", "entry", "name", "only", "first"]

#: Headings that are told as the reason; more than these nobody reads.
SHOWN: Final = 6
#: Names people know an encoding by, where it is not the codec's own.
_ENCODINGS: Final = {
    "cp1252": "Windows-1252",
    "utf-8-sig": "UTF-8",
    "iso8859-1": "ISO 8859-1",
    "iso8859-15": "ISO 8859-15",
}
_DELIMITERS: Final = {";": "semicolon", ",": "comma", "\t": "tab", "|": "bar", " ": "blank"}


@dataclass(frozen=True)
class Reading:
    """The dialect a file is read by.

    Attributes:
        dialect: One of the mandate's, or a form of ours.
        fingerprint: Its version.
        why: What told it.
        mark: Of the template of ours that the file is.
    """

    dialect: Dialect
    fingerprint: str
    why: Why
    mark: forms.Mark | None = None


def reading_of(
    pack: RegionPack,
    contract: Contract,
    mandate: Mandate,
    source: Path | None,
    file_name: str,
    chosen: str | None = None,
) -> Reading:
    """The dialect a file is read by.

    A form of ours is told by its content, whatever was chosen: it reads in no other way. A choice that is not agreed any
    more counts as none.
    """
    if source is not None:
        mark = forms.mark_of(source)
        own = forms.form_of(contract, [pack.dialects[name] for name in mandate.dialects], source, mark)
        if own is not None:
            form, made_from = own
            version = pack.dialect_fingerprint(pack.dialects[made_from]) if made_from else contract.fingerprint
            return Reading(form, version, "template" if mark else "entry", mark)
    dialect, why = _agreed(pack, mandate, file_name, chosen)
    return Reading(dialect, pack.dialect_fingerprint(dialect), why)


def choose_dialect(pack: RegionPack, mandate: Mandate, file_name: str, chosen: str | None = None) -> Dialect:
    """What was chosen, else the first dialect of the mandate that recognises the file's name, else the first."""
    return _agreed(pack, mandate, file_name, chosen)[0]


def _agreed(pack: RegionPack, mandate: Mandate, file_name: str, chosen: str | None) -> tuple[Dialect, Why]:
    dialects = [pack.dialects[name] for name in mandate.dialects]
    if chosen and chosen in mandate.dialects:
        return pack.dialects[chosen], "chosen"
    if len(dialects) == 1:
        return dialects[0], "only"
    fitting = [d for d in dialects if d.recognise and re.search(d.recognise.file_name, file_name)]
    return (fitting[0], "name") if fitting else (dialects[0], "first")


def agreed_at(pack: RegionPack, supplier: str, dataset: str, period: Period) -> tuple[str, ...]:
    """Ids of the dialects a file for one period may be written in."""
    mandate = pack.mandate(supplier, dataset, period.start, period.end)
    return tuple(mandate.dialects) if mandate else ()


def agreed_ever(pack: RegionPack, supplier: str, dataset: str) -> dict[str, Mapping[str, str]]:
    """The dialects agreed for a supplier's dataset at any time, each with how it looks."""
    names = dict.fromkeys(name for mandate in pack.mandates_of(supplier, dataset) for name in mandate.dialects)
    return {name: looks(pack.dialects[name]) for name in names}


def to_choose_from(pack: RegionPack, supplier: str) -> dict[str, dict[str, Mapping[str, str]]]:
    """By dataset, the dialects there are to choose from; datasets with one alone are left out."""
    agreed = {dataset: agreed_ever(pack, supplier, dataset) for dataset in pack.datasets_of(supplier)}
    return {dataset: dialects for dataset, dialects in agreed.items() if len(dialects) > 1}


# --- how it is said ---


def read_as(reading: Reading, file_name: str, columns: Sequence[str], others: int) -> ReadAs:
    """How a file was read, for its receipt.

    Args:
        reading: By which dialect, and why.
        file_name: As sent.
        columns: What was found in the file.
        others: How many other dialects are agreed.
    """
    said = [messages.both(f"reading.because.{reading.why}", {"name": file_name}), headings(reading.dialect, columns)]
    because: dict[str, str] = {spoken: " ".join(one[spoken] for one in said if one) for spoken in messages.LANGUAGES}
    return ReadAs(reading.dialect.id, reading.why, looks(reading.dialect), because, others)


def looks(dialect: Dialect) -> dict[str, str]:
    """How files of a dialect look, in a few words: kind, delimiter, encoding, where the headings stand."""
    spec = dialect.format
    if spec.type not in ("csv", "xlsx") or spec.form is not None:
        heading = None
    elif spec.header.rows == 0:
        heading = messages.both("reading.no_heading")
    elif spec.header.row is None:
        heading = messages.both("reading.heading_first")
    else:
        heading = messages.both("reading.heading", {"row": spec.header.row})
    mark = _DELIMITERS.get(spec.delimiter or "")
    delimiter = messages.both(f"reading.delimiter.{mark}") if mark else spec.delimiter
    facts = {"delimiter": delimiter, "encoding": _encoding(spec.encoding), "sheet": spec.sheet, "heading": heading}
    if spec.archive is not None:
        return messages.both("reading.looks.archive", {"parts": messages.both(f"reading.looks.{spec.type}", facts)})
    return messages.both("reading.looks.form" if spec.form else f"reading.looks.{spec.type}", facts)


def headings(dialect: Dialect, columns: Sequence[str]) -> dict[str, str] | None:
    """Which of the agreed headings stand in a file; None where a file of the kind has none."""
    if not dialect.format.has_headings:
        return None
    there = {lookup_key(column) for column in columns}
    wanted = dialect.delivered_columns()
    found = [column for column in wanted if lookup_key(column) in there]
    if not wanted:
        return None
    if not found:
        return messages.both("reading.no_headings")
    return messages.both("reading.headings", {"count": len(found), "agreed": len(wanted), "columns": found[:SHOWN]})


def _encoding(name: str | None) -> str | None:
    if name is None:
        return None
    known = codecs.lookup(name).name
    return _ENCODINGS.get(known, known.upper())
