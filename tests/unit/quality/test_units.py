"""Units: what becomes what, and what is refused because it would need more than a factor."""

from __future__ import annotations

from decimal import Decimal

import pytest

from quality.units import FACTORS, POWER, UnknownUnit, factor, interval_minutes


@pytest.mark.parametrize(
    ("delivered", "promised", "interval", "expected"),
    [
        ("t", "t", None, "1"),
        ("kg", "t", None, "0.001"),
        ("Mg", "t", None, "1"),
        ("kWh", "kWh", None, "1"),
        ("kW", "kWh", "PT15M", "0.25"),
        ("W", "kWh", "PT1H", "0.001"),
        ("MW", "kWh", "PT30M", "500"),
        ("ha", "ha", "PT15M", "1"),
        (None, "t", None, "1"),
        ("whatever", None, None, "1"),
        ("kg/head", "kg/head", None, "1"),
    ],
)
def test_a_delivered_number_has_its_factor(
    delivered: str | None, promised: str | None, interval: str | None, expected: str
) -> None:
    assert factor(delivered, promised, interval) == Decimal(expected)


@pytest.mark.parametrize(
    ("delivered", "promised", "said"),
    [("m3", "t", "kg"), ("kW", "kWh", "PT15M"), ("t", "bushel", "known are"), ("KG", "t", "kg")],
)
def test_what_is_no_fixed_factor_is_refused_with_the_known_units(delivered: str, promised: str, said: str) -> None:
    with pytest.raises(UnknownUnit, match=said):
        factor(delivered, promised)


@pytest.mark.parametrize(("text", "minutes"), [("PT15M", 15), ("PT1H", 60), ("PT1H30M", 90), ("P1D", 1440)])
def test_an_interval_is_a_number_of_minutes(text: str, minutes: int) -> None:
    assert interval_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "PT", "15M", "P1M", "PT0M", "PT15S", "pt15m", "PT15M "])
def test_what_is_no_interval_of_minutes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PT15M"):
        interval_minutes(text)


def test_no_factor_is_more_than_the_conversion_keeps() -> None:
    # nine digits before and behind the mark, see quality.conversion
    for value in (*FACTORS.values(), *POWER.values()):
        assert Decimal(10) ** -9 <= value < Decimal(10) ** 9
