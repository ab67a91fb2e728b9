"""The words suppliers read: one message catalogue per language, looked up by rule id, filled with a finding's facts.

The texts are in `<language>/LC_MESSAGES/verbund.po` and are read from there, so editing a text is all it takes. What
a receipt looks like is next door in `quality.receipt`; which facts a rule hands on is decided where it is judged.

How a text is found: `<rule>.message`, else `<kind>.message` (for the rules of a contract, whose kind is
`facts["kind"]`), else a general text that names the rule. The same holds for `.remedy` and `.cell`.

How a text is filled: `{columns}` is replaced by the fact of that name, and a part in square brackets is left out when
one of its blanks is not known, so a finding with few facts still reads well. Facts may be text, numbers, dates, lists
of these, or one text per language (`{"de": …, "en": …}`). Names of columns come in quotation marks; `limit` is a
share (0.3 is shown as 30 %); `min_value`, `max_value` and `value_set` of an expectation are `min`, `max` and `values`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, Literal, get_args
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime
from babel.lists import format_list
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent

from quality.verdict import Finding

Language = Literal["de", "en"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)

#: Suppliers' clocks; everything behind the receipt is UTC.
_CLOCK: Final = ZoneInfo("Europe/Berlin")
_LOCALES: Final[Mapping[Language, Locale]] = {"de": Locale("de", "DE"), "en": Locale("en", "GB")}
_FOLDER: Final = Path(__file__).parent
#: Facts that count something a person looks up and must not get thousands marks.
_PLACES: Final = frozenset({"line", "lines", "row", "agreed", "count_of_header"})
#: Facts that name columns or values as delivered and are read more easily in quotation marks.
_QUOTED: Final = frozenset({"columns", "sheets", "values", "missing"})
#: Facts that are shares of one.
_SHARES: Final = frozenset({"limit", "share"})
_ALIASES: Final[Mapping[str, str]] = {"min_value": "min", "max_value": "max", "value_set": "values"}
_MINUTES: Final[Mapping[Language, str]] = {"de": "dd.MM.yyyy, HH:mm 'Uhr'", "en": "d MMM yyyy, HH:mm"}
_SHOWN: Final = 12
#: Keys of what readers say, see `storage.readers.base.Unreadable`: the English text with blanks.
_SAID: Final = "said: "
#: Rules whose `expected` and `found` are our own words; elsewhere they may be the sender's, which nobody translates.
_OURS: Final = ("file.", "columns.missing_header", "slot.not_owed")
_BLANK: Final = re.compile(r"\{(\w+)\}")
_OPTIONAL: Final = re.compile(r"\[([^\[\]]*)\]")


def message(rule: str, facts: Mapping[str, Any], rows: int, language: Language) -> str:
    """What happened, in one or two sentences."""
    endings = (".message",) if rows else (".whole.message", ".message")
    return _told(rule, facts, rows, language, endings)


def remedy(rule: str, facts: Mapping[str, Any], rows: int, language: Language) -> str:
    """What to do now. A contract's own remedy (`facts["remedy"]`) goes before the catalogue's."""
    own = fact_text("remedy", facts.get("remedy"), language)
    return _sentence(own) if own else _told(rule, facts, rows, language, (".remedy",))


def cell_note(rule: str, facts: Mapping[str, Any], value: str | None, language: Language) -> str:
    """What is wrong at one place, in a few words without a full stop, for a comment or a status column."""
    told = _told(rule, {**facts, "value": value}, 1, language, (".cell",))
    return told[:1] + told[1:].rstrip(".")


def ignored_note(rule: str, language: Language) -> str:
    """Why a delivered line was left out before judging, in a few words."""
    key = f"{rule}.cell" if f"{rule}.cell" in _catalogue(language) else "rows.ignored.cell"
    return text(key, language, {"ignored_by": rule.removeprefix("rows.")})


def explain(finding: Finding) -> dict[str, dict[str, str]]:
    """Message and remedy of a finding in every language: `{"message": {"de", "en"}, "remedy": {"de", "en"}}`."""
    rule, facts, rows = finding.rule, finding.facts, finding.rows
    # a contract's rule says how to mend; whether there is anything to mend, only the sender knows
    undecided = finding.severity == "warning" and rows > 0 and facts.get("kind")
    told: dict[str, dict[str, str]] = {"message": {}, "remedy": {}}
    for spoken in LANGUAGES:
        advice = remedy(rule, facts, rows, spoken)
        told["message"][spoken] = message(rule, facts, rows, spoken)
        told["remedy"][spoken] = text("remedy.of_warning", spoken, {"remedy": advice}) if undecided else advice
    return told


def text(key: str, language: Language, facts: Mapping[str, Any] | None = None, count: int = 1) -> str:
    """A text of the catalogue by its own key, in singular or plural for `count`, its blanks filled with `facts`.

    Raises:
        KeyError: The catalogue of that language has no such text.
    """
    return _filled(_template(key, count, language), facts or {}, language)


def both(key: str, facts: Mapping[str, Any] | None = None, count: int = 1) -> dict[str, str]:
    """The same text in every language."""
    return {spoken: text(key, spoken, facts, count) for spoken in LANGUAGES}


def keys(language: Language) -> frozenset[str]:
    """All keys of one catalogue."""
    return frozenset(_catalogue(language))


def fact_text(name: str, value: Any, language: Language) -> str | None:
    """One fact as people write it in that language, or None where nothing is known.

    Numbers get the marks of the locale, points in time the clock of the suppliers, lists an "and" before the last of
    at most twelve entries.
    """
    match value:
        case None | "":
            return None
        case Mapping():
            chosen = value.get(language) or next((told for told in value.values() if told), None)
            return fact_text(name, chosen, language)
        case bool():
            return str(value).lower()
        case int() | float() | Decimal() if name in _SHARES:
            return format_percent(
                Decimal(str(value)).quantize(Decimal("0.001")).normalize(),
                locale=_LOCALES[language],
                decimal_quantization=False,
            )
        case int() | float() | Decimal():
            return str(value) if name in _PLACES else number(value, language)
        case datetime():
            return moment(value, language)
        case date():
            return format_date(value, format="medium", locale=_LOCALES[language])
        case str():
            return text("phrase.quoted", language, {"text": value}) if name in _QUOTED else value
        case Iterable():
            return _listed(name, list(value), language)
        case _:
            return str(value)


def number(value: float | Decimal, language: Language) -> str:
    """A number with the marks of the locale and all its digits."""
    if isinstance(value, float):
        # a sum of floats carries noise in its last digits that nobody delivered
        value = Decimal(f"{value:.12g}")
    return format_decimal(value, locale=_LOCALES[language], decimal_quantization=False)


def moment(at: datetime, language: Language) -> str:
    """A point in time on the suppliers' clock, to the minute; one without a zone is taken to be on it already."""
    shown = at if at.tzinfo is None else at.astimezone(_CLOCK)
    return format_datetime(shown, _MINUTES[language], locale=_LOCALES[language])


def _told(rule: str, facts: Mapping[str, Any], rows: int, language: Language, endings: tuple[str, ...]) -> str:
    catalogue = _catalogue(language)
    known = {_ALIASES.get(name, name): value for name, value in facts.items()}
    # a reader counts what it saw before there are rows
    count = rows or next((facts[name] for name in ("rows", "count", "cells") if isinstance(facts.get(name), int)), 0)
    known |= {"rule": rule, "rows": count}
    columns = facts.get("columns")
    if isinstance(columns, list | tuple):
        known.update(zip(("first", "second"), columns[:2], strict=False))
    known["in_columns"] = _in_columns(columns, language)
    for name in ("expected", "found"):
        if isinstance(said := known.get(name), str) and rule.startswith(_OURS):
            known[name] = _translated(said, language)
    if isinstance(facts.get("found"), float) and "limit" in facts:
        known["share"] = facts["found"]
    if rule.startswith("columns.") and isinstance(columns, list | tuple):
        count = len(columns)
    for start in (rule, str(facts.get("kind", "")), "unknown"):
        for ending in endings:
            if (key := start + ending) in catalogue and (told := text(key, language, known, count)):
                return told
    return ""


def _translated(said: str, language: Language) -> str:
    """What a reader said in English, in that language; unchanged where the catalogue does not know it."""
    if f"word.{said}" in _catalogue(language):
        return text(f"word.{said}", language)
    for shape, key in _shapes():
        if match := shape.fullmatch(said):
            return text(key, language, match.groupdict())
    return said


@cache
def _shapes() -> tuple[tuple[re.Pattern[str], str], ...]:
    """What readers say, as patterns with named blanks, and its key; the most telling first."""
    keys_of = sorted(
        (key for key in _catalogue("en") if key.startswith(_SAID)), key=lambda key: -len(_BLANK.sub("", key))
    )
    blanks = re.compile(r"\\\{(\w)\\\}")
    return tuple((re.compile(blanks.sub(r"(?P<\1>.+)", re.escape(key.removeprefix(_SAID)))), key) for key in keys_of)


def _in_columns(columns: Any, language: Language) -> str | None:
    if not columns:
        return None
    named = [columns] if isinstance(columns, str) else list(columns)
    return text("phrase.in_columns", language, {"columns": named}, len(named))


def _listed(name: str, entries: list[Any], language: Language) -> str | None:
    shown = [told for entry in entries[:_SHOWN] if (told := fact_text(name, entry, language))]
    if len(entries) > _SHOWN:
        return text("phrase.and_more", language, {"text": ", ".join(shown), "count": len(entries) - _SHOWN})
    return format_list(shown, locale=_LOCALES[language]) if shown else None


def _filled(template: str, facts: Mapping[str, Any], language: Language) -> str:
    def part(match: re.Match[str]) -> str:
        known = [fact_text(name, facts.get(name), language) for name in _BLANK.findall(match[1])]
        return _blanks_filled(match[1], facts, language) if all(known) else ""

    # filled piece by piece, so that brackets and braces inside a fact stay what they are
    pieces: list[str] = []
    end = 0
    for match in _OPTIONAL.finditer(template):
        pieces += [_blanks_filled(template[end : match.start()], facts, language), part(match)]
        end = match.end()
    pieces.append(_blanks_filled(template[end:], facts, language))
    told = ""
    for piece in pieces:
        told += piece[1:] if piece.startswith(".") and told.endswith(".") else piece
    return told.strip()


def _blanks_filled(piece: str, facts: Mapping[str, Any], language: Language) -> str:
    def blank(match: re.Match[str]) -> str:
        told = fact_text(match[1], facts.get(match[1]), language) or "–"
        # the sentence around it brings its own full stop
        return told.rstrip(".") if piece[match.end() : match.end() + 1] == "." else told

    return _BLANK.sub(blank, piece)


def _sentence(told: str) -> str:
    return told if told.endswith((".", "!", "?")) else told + "."


@lru_cache(maxsize=4096)
def _template(key: str, count: int, language: Language) -> str:
    forms = _catalogue(language)[key]
    return forms[0] if _LOCALES[language].plural_form(count) == "one" else forms[-1]


@cache
def _catalogue(language: Language) -> Mapping[str, tuple[str, ...]]:
    """Key → its text, or its singular and plural."""
    with (_FOLDER / language / "LC_MESSAGES" / "verbund.po").open("rb") as file:
        catalogue = read_po(file, locale=language, abort_invalid=True)
    return {
        (entry.id if isinstance(entry.id, str) else entry.id[0]): (
            (entry.string,) if isinstance(entry.string, str) else tuple(entry.string or ("",))
        )
        for entry in catalogue
        if entry.id
    }
