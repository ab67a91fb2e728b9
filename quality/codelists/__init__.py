"""Code lists: versioned tables of codes with validity, and the variants in which people write them.

The lists lie beside this module as CSV (`list.csv`: code,name_de,name_en,valid_from,valid_to) with their source and
licence in `lists.yml`. A region pack may add lists of its own in `codelists/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from rapidfuzz import fuzz, process

from quality.sources import Misconfigured, Problem, dates_of, load_csv, load_yaml, validated

COLUMNS = ("code", "name_de", "name_en", "valid_from", "valid_to")
Written = Literal["as_is", "waste_code", "operation"]


@dataclass(frozen=True)
class Code:
    """One code with its name and the days it is valid on, both included."""

    code: str
    name_de: str
    name_en: str
    valid_from: date
    valid_to: date

    def valid_between(self, start: date, end: date) -> bool:
        return self.valid_from < end and start <= self.valid_to


class ListSpec(BaseModel):
    """Where a list comes from. `written` names the ways people write its codes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    version: str
    title: Mapping[str, str]
    source: str
    licence: str
    written: Written = "as_is"


class _Lists(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    lists: Sequence[ListSpec]


@dataclass(frozen=True)
class CodeList:
    """A list and how its codes are looked up."""

    spec: ListSpec
    entries: Sequence[Code]
    paths: Sequence[Path] = ()

    @cached_property
    def codes(self) -> Mapping[str, Code]:
        return {entry.code: entry for entry in self.entries}

    def variants(self, code: str) -> Iterable[str]:
        """The spellings under which a code is recognised, as `lookup_key` makes them."""
        yield from dict.fromkeys(lookup_key(text) for text in _WRITTEN[self.spec.written](code))

    def nearest(self, text: str, words: Mapping[str, str], limit: int = 3) -> tuple[str, ...]:
        """Codes whose spelling, name or mapped word comes nearest to a text nobody knows, best first."""
        choices: dict[str, str] = {}
        for entry in self.entries:
            for label in (entry.code, entry.name_de, entry.name_en):
                choices.setdefault(lookup_key(label), entry.code)
        for word, code in words.items():
            choices.setdefault(word, code)
        found = process.extract(lookup_key(text), list(choices), scorer=fuzz.WRatio, limit=limit * 3, score_cutoff=55)
        return tuple(dict.fromkeys(choices[label] for label, _, _ in found))[:limit]

    @classmethod
    def of_sites(cls, sites: Iterable[Any], path: Path) -> CodeList:
        """The pack's sites as a list, so that rows can point to them."""
        spec = ListSpec(
            id="site", version="pack", title={"de": "Standorte", "en": "Sites"}, source="region pack", licence="-"
        )
        entries = [Code(s.site_id, s.name, s.name, s.valid_from, s.valid_to) for s in sites]
        return cls(spec, entries, (path,) if path.exists() else ())

    @classmethod
    def of_areas(cls, areas: Iterable[Any], path: Path) -> CodeList:
        """The region's municipalities as a list."""
        spec = ListSpec(
            id="area",
            version="pack",
            title={"de": "Gemeinden", "en": "Municipalities"},
            source="region pack",
            licence="-",
        )
        entries = [Code(a.area_code, a.name, a.name, date(1900, 1, 1), date(9999, 12, 31)) for a in areas]
        return cls(spec, entries, (path,))


def lookup_key(text: str) -> str:
    """A text as it is compared: lower case, blanks folded, no-break spaces as blanks. SQL does the same."""
    return re.sub(r"\s+", " ", text.replace("\u00a0", " ")).strip().lower()


def load_code_lists(*folders: Path) -> dict[str, CodeList]:
    """Read the lists of every folder that has a `lists.yml`.

    Raises:
        Misconfigured: Naming file, line and what was expected.
    """
    lists: dict[str, CodeList] = {}
    problems: list[Problem] = []
    for folder in folders:
        file = folder / "lists.yml"
        if not file.exists():
            continue
        for spec in validated(_Lists, load_yaml(file), file).lists:
            path = folder / f"{spec.id}.csv"
            if not path.exists():
                problems.append(Problem(path, 1, f"the codes of the list {spec.id}", "no file"))
                continue
            try:
                lists[spec.id] = CodeList(spec, _entries(path), (path,))
            except Misconfigured as error:
                problems += error.problems
    if problems:
        raise Misconfigured(problems)
    return lists


def _entries(path: Path) -> list[Code]:
    entries: dict[str, Code] = {}
    problems: list[Problem] = []
    for line, row in load_csv(path, COLUMNS):
        if row["code"] in entries:
            problems.append(Problem(path, line, "a code used once", row["code"]))
        try:
            entries[row["code"]] = Code(row["code"], row["name_de"], row["name_en"], *dates_of(path, line, row))
        except Misconfigured as error:
            problems += error.problems
    if problems:
        raise Misconfigured(problems)
    return list(entries.values())


def _as_is(code: str) -> list[str]:
    return [code]


def _waste_code(code: str) -> list[str]:
    """200301 is written 20 03 01, 20 03 01* and 200301*; the star marks hazardous waste and is not part of the key."""
    spaced = " ".join(code[i : i + 2] for i in range(0, len(code), 2))
    return [code, f"{code}*", f"{code} *", spaced, f"{spaced}*", f"{spaced} *", spaced.replace(" ", ".")]


def _operation(code: str) -> list[str]:
    """R3 is written R 3, R03 and R-3."""
    match = re.fullmatch(r"([RD])(\d+)(.*)", code)
    if not match:
        return [code]
    letter, number, rest = match.groups()
    return [code, f"{letter} {number}{rest}", f"{letter}-{number}{rest}", f"{letter}{number:0>2}{rest}"]


_WRITTEN: Mapping[str, Callable[[str], list[str]]] = {
    "as_is": _as_is,
    "waste_code": _waste_code,
    "operation": _operation,
}
