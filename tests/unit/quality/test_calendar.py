"""What is owed when: deadlines on working days of a Land, slots of mandates, also where they begin or end in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from quality.calendar import due_at, due_on, is_working_day, owed_slots
from quality.configuration import code_lists_dir, contracts_dir
from quality.contract import Contract, Due
from quality.region import Mandate, RegionPack, load_pack
from storage.periods import period
from tests.support.bench import HEIRS, PLAIN, THIRD, WORKS


@pytest.fixture(scope="module")
def pack() -> RegionPack:
    return load_pack(PLAIN, contracts_dir(), code_lists_dir())


def due(pack: RegionPack, **when: int) -> Contract:
    return replace(pack.contracts["waste_balance"], due=Due(**when))


@pytest.mark.parametrize(
    ("day", "land", "works"),
    [
        ("2025-06-19", "NW", False),  # Corpus Christi
        ("2025-06-19", "BE", True),
        ("2025-11-01", "NW", False),  # All Saints, a Saturday
        ("2024-11-01", "NW", False),
        ("2024-11-01", "HH", True),
        ("2024-10-31", "HH", False),
        ("2025-05-03", "NW", False),
        ("2025-05-05", "NW", True),
    ],
)
def test_working_days_are_those_of_the_land(day: str, land: str, works: bool) -> None:
    assert is_working_day(date.fromisoformat(day), land) is works


@pytest.mark.parametrize(
    ("slot", "land", "days", "expected"),
    [
        ("2025-04", "NW", 1, "2025-05-02"),  # the first of May is none
        ("2025-05", "NW", 10, "2025-06-16"),  # Whit Monday is none
        ("2025-05", "NW", 13, "2025-06-20"),
        ("2025-05", "BE", 13, "2025-06-19"),
        ("2024-12", "NW", 1, "2025-01-02"),
    ],
)
def test_a_deadline_in_working_days_counts_from_the_end_of_the_period(
    pack: RegionPack, slot: str, land: str, days: int, expected: str
) -> None:
    assert due_on(due(pack, working_days=days), period(slot), land) == date.fromisoformat(expected)


@pytest.mark.parametrize(
    ("slot", "month", "day", "expected"),
    [
        ("2024", 4, 1, "2025-04-01"),
        ("2023", 4, 1, "2024-04-02"),  # Easter Monday
        ("2022", 4, 1, "2023-04-03"),  # a Saturday
        ("2024", 1, 1, "2025-01-02"),
        ("2024-Q1", 4, 1, "2024-04-02"),
        ("2024-Q4", 12, 31, "2025-12-31"),
        ("2024-06", 7, 15, "2024-07-15"),
    ],
)
def test_a_fixed_day_is_the_next_of_its_kind_after_the_period_and_moves_off_holidays(
    pack: RegionPack, slot: str, month: int, day: int, expected: str
) -> None:
    assert due_on(due(pack, month=month, day=day), period(slot), "NW") == date.fromisoformat(expected)


def test_a_deadline_passes_at_the_end_of_its_day_in_the_regions_time() -> None:
    assert due_at(date(2025, 3, 31), "Europe/Berlin") == datetime(2025, 3, 31, 22, tzinfo=UTC)
    assert due_at(date(2025, 1, 31), "Europe/Berlin") == datetime(2025, 1, 31, 23, tzinfo=UTC)
    # the day the clock is put forward ends an hour earlier in UTC than it began
    assert due_at(date(2025, 3, 30), "Europe/Berlin") == datetime(2025, 3, 30, 22, tzinfo=UTC)


def slots(pack: RegionPack, mandates: Sequence[Mandate], today: str) -> list[tuple[str, str]]:
    narrowed = replace(pack, mandates=mandates)
    return [(o.slot.supplier, o.slot.period) for o in owed_slots(narrowed, date.fromisoformat(today))]


def mandate(supplier: str, since: str, until: str | None = None, **more: Any) -> Mandate:
    ends = {"valid_until": date.fromisoformat(until)} if until else {}
    return Mandate(
        supplier=supplier, dataset="green_waste_intake", dialects=["plain-green-waste-intake"], areas=[],
        valid_from=date.fromisoformat(since), **ends, **more,
    )  # fmt: skip


def test_a_period_is_owed_once_it_has_ended(pack: RegionPack) -> None:
    monthly = [mandate(WORKS, "2025-01-01")]
    assert slots(pack, monthly, "2025-03-31") == [(WORKS, "2025-01"), (WORKS, "2025-02")]
    assert slots(pack, monthly, "2025-04-01") == [(WORKS, "2025-01"), (WORKS, "2025-02"), (WORKS, "2025-03")]


def test_nothing_is_owed_for_the_time_before_the_region_began(pack: RegionPack) -> None:
    assert slots(pack, [mandate(WORKS, "2010-01-01")], "2024-03-01") == [(WORKS, "2024-01"), (WORKS, "2024-02")]


def test_whoever_has_a_part_of_a_period_owes_it(pack: RegionPack) -> None:
    handed_over = [mandate(WORKS, "2025-05-01", "2025-06-16"), mandate(HEIRS, "2025-06-16", "2025-08-01")]
    assert slots(pack, handed_over, "2026-01-01") == [
        (WORKS, "2025-05"), (HEIRS, "2025-06"), (WORKS, "2025-06"), (HEIRS, "2025-07"),
    ]  # fmt: skip


def test_a_mandate_that_ends_with_a_month_owes_nothing_of_the_next(pack: RegionPack) -> None:
    assert slots(pack, [mandate(WORKS, "2025-05-01", "2025-06-01")], "2026-01-01") == [(WORKS, "2025-05")]


def test_who_may_deliver_owes_nothing(pack: RegionPack) -> None:
    assert slots(pack, [mandate(THIRD, "2025-01-01", optional=True)], "2026-01-01") == []
