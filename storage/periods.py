"""Periods of time a slot stands for: years, quarters, months and days, as text and as dates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Literal

Interval = Literal["yearly", "quarterly", "monthly", "daily"]

_SHAPES: dict[Interval, str] = {
    "yearly": r"(\d{4})",
    "quarterly": r"(\d{4})-Q([1-4])",
    "monthly": r"(\d{4})-(0[1-9]|1[0-2])",
    "daily": r"(\d{4})-(\d{2})-(\d{2})",
}
EXAMPLES: dict[Interval, str] = {
    "yearly": "2024",
    "quarterly": "2024-Q3",
    "monthly": "2024-07",
    "daily": "2024-07-31",
}


@dataclass(frozen=True, order=True)
class Period:
    """A period includes its start and excludes its end. Written `2024`, `2024-Q3`, `2024-07` or `2024-07-31`."""

    start: date
    end: date
    text: str
    interval: Interval

    def __str__(self) -> str:
        return self.text


# read for every slot of a region each time somebody looks at all of them
@lru_cache(maxsize=50_000)
def period(text: str) -> Period:
    """Read a period from its text.

    Raises:
        ValueError: The text has none of the four shapes, or names a day that does not exist.
    """
    for interval, shape in _SHAPES.items():
        if match := re.fullmatch(shape, text):
            start = _start(interval, [int(group) for group in match.groups()])
            try:
                return Period(start, _after(start, interval), text, interval)
            except OverflowError as error:
                raise ValueError(f"{text!r} has no end that a calendar knows") from error
    known = ", ".join(f"{example} ({interval})" for interval, example in EXAMPLES.items())
    raise ValueError(f"{text!r} is not a period; periods look like {known}")


def is_period(text: str) -> bool:
    """Whether a text is a period."""
    try:
        period(text)
    except ValueError:
        return False
    return True


def period_of(day: date, interval: Interval) -> Period:
    """The period of this interval that the day lies in."""
    if interval == "yearly":
        return period(f"{day:%Y}")
    if interval == "quarterly":
        return period(f"{day:%Y}-Q{(day.month + 2) // 3}")
    return period(f"{day:%Y-%m}" if interval == "monthly" else day.isoformat())


def periods_between(start: date, end: date, interval: Interval) -> Iterator[Period]:
    """Every period that overlaps the days from `start` up to, not including, `end`."""
    current = period_of(start, interval)
    while current.start < end:
        yield current
        current = period_of(current.end, interval)


def previous(of: Period) -> Period:
    """The period before this one."""
    return period_of(of.start - timedelta(days=1), of.interval)


def _start(interval: Interval, parts: list[int]) -> date:
    match interval:
        case "yearly":
            return date(parts[0], 1, 1)
        case "quarterly":
            return date(parts[0], parts[1] * 3 - 2, 1)
        case "monthly":
            return date(parts[0], parts[1], 1)
        case "daily":
            return date(*parts)


def _after(start: date, interval: Interval) -> date:
    if interval == "daily":
        return start + timedelta(days=1)
    months = {"yearly": 12, "quarterly": 3, "monthly": 1}[interval]
    index = start.year * 12 + start.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)
