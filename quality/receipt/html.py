"""The receipt as a page: one file without scripts or links, German first, made to be read and printed by a clerk.

Works from the same plain data as the JSON, so the two cannot tell different stories. Texts are escaped by Jinja;
characters that would steer a screen or a reader's eye are shown as signs instead.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from quality import messages
from quality.messages import LANGUAGES, Language

#: Places shown per finding; a page holds a typical verdict, the workbook holds every place.
EXAMPLES: Final = 5
#: Characters of one value shown; a value is shown to be recognised, not to be read.
VALUE_LENGTH: Final = 80
#: Words tell the state and the severity; the sign is for the quick eye and prints without colours.
SIGNS: Final[Mapping[str, str]] = {
    "accepted": "✓",
    "accepted_with_warnings": "✓",
    "partly_accepted": "◐",
    "rejected": "✗",
    "nothing_to_report": "✓",
    "fatal": "✗",
    "error": "✗",
    "warning": "!",
    "info": "i",
}


def receipt(document: Mapping[str, Any], *, line_word: str = "label.row") -> str:
    """The page for a receipt document.

    Args:
        document: As `quality.receipt.receipt_document` gives it.
        line_word: Message key of what `line` counts (`label.row`, `label.segment`).
    """
    return _template("receipt.html.j2").render(
        document=document, line_word=line_word, signs=SIGNS, examples=EXAMPLES, views=_views()
    )


def arrival(document: Mapping[str, Any]) -> str:
    """The page for an arrival document, as `quality.receipt.json.arrival` gives it."""
    return _template("arrival.html.j2").render(document=document, views=_views())


def visible(shown: Any) -> Any:
    """Text with control characters and marks of writing direction replaced by signs one can see."""
    if type(shown) is not str or (shown.isprintable() and shown.isascii()):
        # markup is a subclass of str and was made visible when it was made
        return shown
    return "".join(_visible(character) for character in shown)


def shortened(value: str, length: int = VALUE_LENGTH) -> str:
    """The beginning of a long value."""
    return value if len(value) <= length else value[: length - 1] + "…"


def hints(example: Mapping[str, Any], language: Language) -> list[str]:
    """Suggestions that what was expected does not name already."""
    expected = (example["expected"] or {}).get(language) or ""
    return [suggestion for suggestion in example["suggestions"] if suggestion not in expected]


def _visible(character: str) -> str:
    if character in "\n\t":
        return " "
    category = unicodedata.category(character)
    if category == "Cc":
        return chr(0x2400 + ord(character)) if ord(character) < 0x20 else "�"
    # Cf holds the characters that turn the direction of reading, Cs and Cn have no place in a document
    return "�" if category in {"Cf", "Cs", "Cn"} else character


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.filters["shortened"] = shortened
    environment.filters["hints"] = hints
    environment.tests["hints"] = hints
    return environment.get_template(name)


@cache
def _views() -> tuple[dict[str, Any], ...]:
    """Per language, what a template needs to speak it."""
    return tuple(
        {
            "language": language,
            "t": partial(_text, language),
            "number": partial(_number, language),
            "moment": partial(_moment, language),
            "day": partial(_day, language),
            "difference": partial(difference, language),
        }
        for language in LANGUAGES
    )


def _text(language: Language, key: str, count: int = 1, **facts: Any) -> str:
    return messages.text(key, language, {"count": count, **facts}, count)


def _number(language: Language, value: float | None) -> str:
    return "–" if value is None else messages.number(value, language)


def _moment(language: Language, at: str | None) -> str:
    return messages.moment(datetime.fromisoformat(at), language) if at else "–"


def _day(language: Language, on: str | None) -> str | None:
    return messages.fact_text("day", date.fromisoformat(on), language) if on else None


def difference(language: Language, before: float | None, now: float | None) -> str:
    """How much more a figure is now, with its sign."""
    if before is None or now is None:
        return "–"
    # as decimals, so that 0.3 less 0.1 is 0.2
    difference = Decimal(str(now)) - Decimal(str(before))
    return ("+" if difference > 0 else "") + messages.number(difference, language)
