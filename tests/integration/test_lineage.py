"""From a figure to the rows behind it and back: the rows add up to the figure, and nobody's are missing."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from quality.foundation import build
from quality.lineage import Figures, Lineage, NoSuchFigure
from quality.release import release
from quality.release_reading import NoRelease
from tests.integration.test_foundation import EAST, NORTH, SOUTH, region
from tests.support import accepted_lake
from tests.support.profiles import settings_for


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """Those of a release of three cities."""
    made = settings_for(tmp_path_factory.mktemp("home"))
    accepted_lake.write(made, region())
    build(made)
    release(made, now=datetime(2026, 3, 2, 9, 30, tzinfo=UTC))
    return Lineage(made).figures()


def added_up(figures: Figures, indicator: str, area: str, period: str, table: str, column: str, **only: str) -> Decimal:
    """The sum of a column over the rows of one table that a figure uses."""
    figure, total = figures.figure(indicator, area, period), Decimal(0)
    for use in figures.uses(figure):
        if use.dataset == table:
            found = figures.rows(figure, use.delivery)
            assert len(found.rows) == found.of == use.rows
            for row in (dict(zip(found.columns, values, strict=True)) for values in found.rows):
                if all(row[name] == value for name, value in only.items()):
                    total += Decimal(str(row[column]))
    return total


@pytest.mark.parametrize(
    ("indicator", "area", "period", "numerator", "denominator"),
    [
        ("K-01", NORTH, "2024", ("waste_balance", "quantity_t", 1000, {}), ("population", "population", 1, {})),
        ("K-02", NORTH, "2024", ("waste_balance", "quantity_t", 1000, {}), ("population", "population", 1, {})),
        ("K-03", NORTH, "2024", ("waste_balance", "quantity_t", 1000, {}), ("population", "population", 1, {})),
        ("K-04", NORTH, "2024", None, ("waste_balance", "quantity_t", 1, {"flow_code": "generated"})),
        ("K-05", NORTH, "2024", ("waste_balance", "quantity_t", 1, {"flow_code": "treated"}),
         ("waste_balance", "quantity_t", 1, {"flow_code": "generated"})),
        ("K-11", NORTH, "2025-06", ("green_waste_treatment", "quantity_t", 1, {}), ("green_waste_intake", "quantity_t", 1, {})),
        ("K-11", "trio", "2025-06", ("green_waste_treatment", "quantity_t", 1, {}), ("green_waste_intake", "quantity_t", 1, {})),
        ("K-12", SOUTH, "2025-06", None, ("green_waste_treatment", "quantity_t", 1, {"flow_code": "input"})),
    ],
)  # fmt: skip
def test_the_rows_of_a_figure_add_up_to_it(
    figures: Figures, indicator: str, area: str, period: str,
    numerator: tuple[str, str, int, dict[str, str]] | None, denominator: tuple[str, str, int, dict[str, str]],
) -> None:  # fmt: skip
    figure = figures.figure(indicator, area, period)
    for told, part in ((figure.numerator, numerator), (figure.denominator, denominator)):
        if part is not None:
            table, column, factor, only = part
            assert added_up(figures, indicator, area, period, table, column, **only) * factor == Decimal(str(told))


def test_every_value_made_of_deliveries_has_its_rows(figures: Figures) -> None:
    """Also the figures of loads, whose rows are counted: as many as there are values."""
    for figure in figures.chosen():
        if figure.value is not None and "data_supply" not in figure.indicator.made_of:
            assert {use.dataset for use in figures.uses(figure)} == set(figure.indicator.made_of), figure
    load = figures.figure("K-23", NORTH, "2025-03")
    assert [use.rows for use in figures.uses(load)] == [load.numerator]


def test_a_delivery_knows_its_figures_and_a_figure_its_lines(figures: Figures) -> None:
    figure = figures.figure("K-02", NORTH, "2024")
    [use] = [use for use in figures.uses(figure) if use.dataset == "waste_balance"]
    assert figure in figures.of_delivery(use.delivery)
    assert [line for _, line, *_ in figures.rows(figure, use.delivery).rows] == [2]


def test_a_supplier_is_shown_figures_that_use_its_rows_and_no_others(figures: Figures) -> None:
    own = figures.of_supplier("south-waste")
    assert {figure.area for figure, _ in own} == {SOUTH, "trio"}
    assert {use.supplier for _, uses in own for use in uses} == {"south-waste"}
    assert not figures.of_supplier("nobody-here")


def test_a_figure_says_when_it_was_invented(figures: Figures) -> None:
    assert figures.figure("K-01", NORTH, "2024").is_synthetic
    assert not figures.figure("K-23", NORTH, "2025-03").is_synthetic


def test_a_figure_that_does_not_use_a_delivery_has_no_rows_of_it(figures: Figures) -> None:
    figure = figures.figure("K-02", NORTH, "2024")
    with pytest.raises(NoSuchFigure):
        figures.rows(figure, "south-waste--waste_balance--2024--01")
    with pytest.raises(NoSuchFigure):
        figures.figure("K-02", "nowhere", "2024")


def test_open_figures_are_those_of_the_catalogue_and_say_no_more_of_a_gap_than_that_there_is_one(
    figures: Figures,
) -> None:
    shown = figures.open_rows("open_indicators")
    open_ones = {one.id for one in figures.indicators.values() if one.access_level == "open"}
    assert set(shown["indicator"]) == open_ones == {"K-01", "K-02", "K-03", "K-04", "K-05"}
    gaps = {
        (row["area"], row["period"]): row["gap"] for row in shown.iter_rows(named=True) if row["indicator"] == "K-01"
    }
    assert gaps[EAST, "2024"] == "not_available" and gaps[EAST, "2023"] == "nothing_to_report"
    assert gaps["trio", "2024"] == "incomplete" and gaps[NORTH, "2024"] is None
    invented = shown.filter(indicator="K-01", area=NORTH, period="2024")
    assert invented["is_synthetic"].to_list() == [True]


@pytest.mark.parametrize("table", ["indicators", "waste_balance", "load_profile", "data_supply", "release"])
def test_what_is_not_open_is_handed_to_nobody(figures: Figures, table: str) -> None:
    assert table not in figures.open_tables
    with pytest.raises(NoSuchFigure):
        figures.open_rows(table)


def test_without_a_release_there_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(NoRelease):
        Lineage(settings_for(tmp_path / "home")).figures()
