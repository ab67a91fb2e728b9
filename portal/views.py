"""From data to pages: templates, words, numbers and days in the visitor's language. Everything is escaped."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from portal import texts
from quality import messages
from quality.receipt.html import difference, shortened, visible

if TYPE_CHECKING:
    from portal.visit import Visit

#: How a state is shown; the word beside it says it, the colour only helps.
COLOURS = {
    "accepted": "success", "nothing_to_report": "success", "accepted_with_warnings": "warning", "partly_accepted": "warning",
    "stale": "warning", "rejected": "danger", "overdue": "danger", "withdrawn": "danger",
}  # fmt: skip


def render(template: str, visit: Visit, **told: Any) -> str:
    """A page as text."""
    language = visit.language
    return (
        _environment()
        .get_template(template)
        .render(
            visit=visit,
            language=language,
            t=lambda key, **facts: texts.text(key, language, **facts),
            said=lambda both: (both or {}).get(language, ""),
            day=lambda on: messages.fact_text("day", _day(on), language) if on else "–",
            moment=lambda at: messages.moment(_moment(at), language) if at else "–",
            number=lambda value: "–" if value is None else messages.number(value, language),
            difference=lambda before, now: difference(language, before, now),
            amount=lambda value, unit: amount(value, unit, language),
            cell=lambda value: cell(value, language),
            colours=COLOURS,
            **told,
        )
    )


def amount(value: float | None, unit: str, language: texts.Language) -> str:
    """A value as people read it: shares in percent, everything else to one digit behind the comma, with its unit."""
    if value is None:
        return "–"
    if unit == "share":
        return messages.fact_text("share", value, language) or "–"
    return f"{messages.number(round(value, 1), language)} {texts.text('unit.' + unit, language)}"


def cell(value: object, language: texts.Language) -> str:
    """What stands in a row, whatever it is."""
    if isinstance(value, bool):
        return texts.text("figures.yes" if value else "figures.no", language)
    if isinstance(value, int) and abs(value) < 10_000:
        # a year is no quantity
        return str(value)
    if isinstance(value, Decimal):
        return messages.number(value.normalize() + 0, language)
    if isinstance(value, str):
        return shortened(value)
    return messages.fact_text("value", value, language) or "–"


def _day(on: str | date) -> date:
    return date.fromisoformat(on) if isinstance(on, str) else on


def _moment(at: str | datetime) -> datetime:
    return datetime.fromisoformat(at) if isinstance(at, str) else at


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=visible,
    )  # fmt: skip
    made.filters["shortened"] = shortened
    return made
