"""What is owed when: slots from mandates, deadlines from contracts, working days from the Land's holidays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays

from quality.contract import Contract, Due
from quality.region import Mandate, RegionPack
from storage.paths import Slot
from storage.periods import Period, periods_between


@dataclass(frozen=True)
class OwedSlot:
    """A slot somebody owes, with the last day of its deadline, and whether that is later than the contract says."""

    slot: Slot
    period: Period
    due_on: date
    mandate: Mandate
    is_extended: bool = False


@lru_cache(maxsize=32)
def holidays_of(land: str) -> holidays.HolidayBase:
    """The public holidays of a Land; the first look takes half a second."""
    return holidays.country_holidays("DE", subdiv=land)


def is_working_day(day: date, land: str) -> bool:
    """Monday to Friday, and no public holiday of the Land (two letters, `NW`)."""
    return day.weekday() < 5 and day not in holidays_of(land)


def due_on(contract: Contract, period: Period, land: str) -> date:
    """Last day on which a period's delivery is on time; a fixed day that is no working day moves to the next one."""
    return _due_on(contract.due, period, land)


# worked out once for a period and not for every supplier who owes it
@lru_cache(maxsize=50_000)
def _due_on(due: Due, period: Period, land: str) -> date:
    if due.working_days is not None:
        day, left = period.end - timedelta(days=1), due.working_days
        while left > 0:
            day += timedelta(days=1)
            left -= is_working_day(day, land)
        return day
    month, fixed = due.month or 1, due.day or 1
    day = date(period.end.year, month, fixed)
    if day < period.end:
        day = date(period.end.year + 1, month, fixed)
    while not is_working_day(day, land):
        day += timedelta(days=1)
    return day


@lru_cache(maxsize=50_000)
def due_at(day: date, zone: str) -> datetime:
    """The instant a deadline passes: the end of its day in the region's time."""
    return datetime.combine(day + timedelta(days=1), time(), ZoneInfo(zone)).astimezone(UTC)


def owed_slots(pack: RegionPack, today: date, extended: Mapping[Slot, date] | None = None) -> list[OwedSlot]:
    """Every slot of every mandate whose period has ended by `today`, oldest first.

    Args:
        pack: Whose mandates.
        today: Until when.
        extended: Last days that were agreed instead of the contract's (`Ledger.extensions`).

    A period that a mandate covers only in part is owed by whoever has the mandate on its last covered day: with a
    hand-over inside a month or year both owe their share of it.
    """
    owed: dict[Slot, OwedSlot] = {}
    for mandate in pack.mandates:
        if mandate.optional:
            continue
        contract = pack.contracts[mandate.dataset]
        start = max(mandate.valid_from, pack.region.starts_on)
        for period in periods_between(start, min(mandate.valid_until, today), contract.interval):
            if period.end <= today:
                slot = Slot(mandate.supplier, mandate.dataset, str(period))
                due, agreed = due_on(contract, period, pack.region.land), (extended or {}).get(slot)
                owed[slot] = OwedSlot(slot, period, agreed or due, mandate, agreed is not None)
    return sorted(owed.values(), key=lambda o: (o.period.start, o.slot))
