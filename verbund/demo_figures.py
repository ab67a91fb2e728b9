"""Figures of the demo region: official ones where there are any, invented ones of plausible size everywhere else.

Quantities are whole kilograms, energies whole watt hours, so that sums hold to the last digit. The invented ones come
from a seed; whoever writes them into a file marks the file as synthetic.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from storage.periods import period
from verbund.demo_files import Reading

ZONE = ZoneInfo("Europe/Berlin")
QUARTER = timedelta(minutes=15)


@dataclass(frozen=True)
class City:
    """A municipality with official figures: area in hectares and inhabitants of 31.12.2020, seat's postcode.

    Source: Gemeindeverzeichnis GV100AD, Gebietsstand 30.11.2021, © Statistisches Bundesamt (Destatis), 2021;
    reproduction and distribution, also in parts, permitted with the source named.
    """

    name: str
    official_name: str
    area_code: str
    area_ha: int
    population: int
    population_male: int
    postcode: str
    residual: float
    """How much residual waste it has against the others (invented)."""


OFFICIAL_SOURCE = (
    "Quelle: Gemeindeverzeichnis GV100AD, Gebietsstand 30.11.2021, Fläche und Bevölkerung 31.12.2020 (Auszug). "
    "© Statistisches Bundesamt (Destatis), 2021. Vervielfältigung und Verbreitung, auch auszugsweise, mit "
    "Quellenangabe gestattet."
)
WUPPERTAL = City("Wuppertal", "Wuppertal, Stadt", "05124000", 16839, 355004, 174191, "42275", 1.08)
SOLINGEN = City("Solingen", "Solingen, Klingenstadt", "05122000", 8954, 159193, 77284, "42651", 0.94)
REMSCHEID = City("Remscheid", "Remscheid, Stadt", "05120000", 7452, 111516, 55161, "42853", 1.0)
CITIES = (WUPPERTAL, SOLINGEN, REMSCHEID)


@dataclass(frozen=True)
class Fraction:
    """A waste type: kilograms a head and year, how it is collected, and where it goes in shares of one."""

    code: str
    name: str
    kg_per_head: float
    collection: str
    destinations: Mapping[str, float]


FRACTIONS = (
    Fraction("200301", "Restmüll", 174, "kerbside", {"R1": 0.93, "D10": 0.07}),
    Fraction("200307", "Sperrmüll", 31, "on_call", {"R1": 0.55, "R3": 0.45}),
    Fraction("200108", "Biotonne", 72, "kerbside", {"R3": 1}),
    Fraction("200201", "Grünabfall", 52, "depot", {"R3": 0.8, "R1": 0.2}),
    Fraction("200101", "Altpapier", 58, "kerbside", {"R3": 1}),
    Fraction("150106", "Leichtverpackungen", 31, "kerbside", {"R3": 0.55, "R1": 0.45}),
    Fraction("150107", "Altglas", 21, "bring", {"R5": 1}),
    Fraction("200140", "Altmetall", 7, "depot", {"R4": 1}),
    Fraction("200138", "Altholz", 17, "depot", {"R3": 0.2, "R1": 0.8}),
    Fraction("200135", "Elektroaltgeräte mit gefährlichen Bauteilen", 3, "depot", {"R4": 0.9, "D10": 0.1}),
)


@dataclass(frozen=True)
class Balance:
    """One waste type of one city and year, in kilograms; the destinations add up to what was generated."""

    fraction: Fraction
    generated_kg: int
    treated_kg: Mapping[str, int]


def dice(seed: int, *what: object) -> random.Random:
    """Randomness for one thing, so that one more file does not change the others."""
    return random.Random("/".join(str(part) for part in (seed, *what)))


def population(city: City, year: int) -> tuple[int, int]:
    """Inhabitants and males at the end of a year: official for 2020, else carried on by an invented 0.2 % a year."""
    growth = 1 + 0.002 * (year - 2020)
    return round(city.population * growth), round(city.population_male * growth)


def balances(seed: int, city: City, year: int) -> list[Balance]:
    """What was generated and where it went, one entry a waste type."""
    people, _ = population(city, year)
    result = []
    for fraction in FRACTIONS:
        about = dice(seed, "balance", city.name, fraction.code).uniform(0.94, 1.06)
        drift = dice(seed, "balance", city.name, fraction.code, year).uniform(0.97, 1.03)
        special = city.residual if fraction.code == "200301" else 2 - city.residual
        generated = round(people * fraction.kg_per_head * about * drift * special)
        treated: dict[str, int] = {}
        left = generated
        *first, last = fraction.destinations.items()
        for operation, share in first:
            treated[operation] = round(generated * share)
            left -= treated[operation]
        treated[last[0]] = left
        result.append(Balance(fraction, generated, treated))
    return result


#: Green waste of a month against the mean of the year: little in winter, most in late spring.
SEASON = {1: 0.3, 2: 0.4, 3: 0.9, 4: 1.2, 5: 1.4, 6: 1.3, 7: 1.1, 8: 1.0, 9: 1.1, 10: 1.3, 11: 1.1, 12: 0.4}
GREEN_KG_PER_HEAD = 32
GREEN_SHARES = {"woody": 0.35, "soft": 0.25, "mixed": 0.4}


def green_intake(seed: int, city: City, year: int, month: int) -> dict[str, int]:
    """Kilograms of green waste a city takes in during a month, by fraction."""
    people, _ = population(city, year)
    total = people * GREEN_KG_PER_HEAD / 12 * SEASON[month]
    return {
        fraction: round(total * share * dice(seed, "green", city.name, year, month, fraction).uniform(0.92, 1.08))
        for fraction, share in GREEN_SHARES.items()
    }


def split(total: int, parts: int, chance: random.Random) -> list[int]:
    """Cut a whole number into uneven positive parts that add up to it."""
    weights = [chance.uniform(0.6, 1.4) for _ in range(parts)]
    cut = [int(total * weight / sum(weights)) for weight in weights]
    cut[-1] += total - sum(cut)
    return cut


def quarter_hours(month: str) -> Iterator[tuple[datetime, datetime]]:
    """Start and end (UTC) of every quarter hour of a month in local time: 92 on one day in March, 100 in October."""
    of = period(month)
    start, stop = (datetime.combine(day, time(), ZONE).astimezone(UTC) for day in (of.start, of.end))
    while start < stop:
        yield start, start + QUARTER
        start += QUARTER


def load(seed: int, metering_point: str, month: str, *, base_kw: float, peak_kw: float) -> list[Reading]:
    """A load profile with nights, working days and weekends; energies are multiples of 0.25 Wh made whole."""
    chance = dice(seed, "load", metering_point, month)
    readings = []
    for start, end in quarter_hours(month):
        local = start.astimezone(ZONE)
        hour = local.hour + local.minute / 60
        day = max(0.0, math.sin((hour - 6) / 12 * math.pi)) if 6 <= hour <= 18 else 0.0
        work = 0.35 if local.weekday() >= 5 else 1.0
        power = (base_kw + (peak_kw - base_kw) * day * work) * chance.uniform(0.93, 1.07)
        # a quarter of a power in whole watts would have fractions of a watt hour
        readings.append(Reading(start, end, round(power * 1000 / 4)))
    return readings


def mondays(year: int, month: int) -> list[date]:
    """The Mondays of a month, the days on which collection points book their week."""
    first = date(year, month, 1)
    days = (first + timedelta(days=n) for n in range(31))
    return [day for day in days if day.month == month and day.weekday() == 0]
