"""Units a dialect may name and the factor to the unit a contract asks for.

Only conversions that hold always belong here. Volumes to weights depend on material and date: those are made in the
foundation, where factor, source and date stay visible.
"""

from __future__ import annotations

import re
from decimal import Decimal

#: (delivered, promised) → factor. Units of mass, energy, area and counts of the SI and of the trade.
FACTORS: dict[tuple[str, str], Decimal] = {
    ("t", "t"): Decimal(1),
    ("Mg", "t"): Decimal(1),
    ("kg", "t"): Decimal("0.001"),
    ("g", "t"): Decimal("0.000001"),
    ("1000 t", "t"): Decimal(1000),
    ("kWh", "kWh"): Decimal(1),
    ("Wh", "kWh"): Decimal("0.001"),
    ("MWh", "kWh"): Decimal(1000),
    ("GWh", "kWh"): Decimal(1000000),
    ("ha", "ha"): Decimal(1),
    ("km2", "ha"): Decimal(100),
    ("km²", "ha"): Decimal(100),
    ("m2", "ha"): Decimal("0.0001"),
    ("m²", "ha"): Decimal("0.0001"),
    ("m²", "m2"): Decimal(1),
    ("ha", "m2"): Decimal(10000),
    ("km2", "m2"): Decimal(1000000),
    ("m³", "m3"): Decimal(1),
    ("l", "m3"): Decimal("0.001"),
    ("t", "kg"): Decimal(1000),
    ("g", "kg"): Decimal("0.001"),
    ("W", "kW"): Decimal("0.001"),
    ("MW", "kW"): Decimal(1000),
    ("€", "EUR"): Decimal(1),
    ("ct", "EUR"): Decimal("0.01"),
    ("1000 EUR", "EUR"): Decimal(1000),
    ("T€", "EUR"): Decimal(1000),
    ("h", "h"): Decimal(1),
    ("min", "h"): Decimal(1) / 60,
    ("d", "h"): Decimal(24),
    ("persons", "persons"): Decimal(1),
    ("1000 persons", "persons"): Decimal(1000),
}
#: Power over an interval becomes energy: (delivered, promised) → factor for one hour.
POWER: dict[tuple[str, str], Decimal] = {
    ("kW", "kWh"): Decimal(1),
    ("W", "kWh"): Decimal("0.001"),
    ("MW", "kWh"): Decimal(1000),
}


class UnknownUnit(ValueError):
    """No factor leads from the delivered to the promised unit."""


def interval_minutes(duration: str) -> int:
    """Minutes of an ISO 8601 duration of minutes, hours or one day: PT15M, PT1H, P1D.

    Raises:
        ValueError: It is none of these.
    """
    if match := re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?", duration):
        hours, minutes = (int(part or 0) for part in match.groups())
        if hours or minutes:
            return hours * 60 + minutes
    if duration == "P1D":
        return 24 * 60
    raise ValueError(f"{duration!r} is not a duration like PT15M, PT1H or P1D")


def factor(delivered: str | None, promised: str | None, interval: str | None = None) -> Decimal:
    """What a delivered number is multiplied with.

    Raises:
        UnknownUnit: There is no such conversion, or power came without an interval.
    """
    if delivered is None or promised is None or delivered == promised:
        return Decimal(1)
    if found := FACTORS.get((delivered, promised)):
        return found
    if found := POWER.get((delivered, promised)):
        if interval is None:
            raise UnknownUnit(f"{delivered} becomes {promised} only over an interval; name it, for example PT15M")
        return found * interval_minutes(interval) / 60
    known = ", ".join(sorted({pair[0] for pair in (*FACTORS, *POWER) if pair[1] == promised}))
    raise UnknownUnit(f"no conversion from {delivered!r} to {promised!r}; known are {known}")
