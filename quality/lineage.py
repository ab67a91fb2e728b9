"""Where figures come from: from the value of an indicator to the rows, deliveries and lines behind it, and back.

Which rows belong to an indicator is said in `transformations/lineage.yml`, beside the models that make it. Always of the
newest release, so that everybody sees the same.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal, cast

import polars as pl
import yaml

from quality import foundation
from quality.contract import ACCESS_LEVELS
from quality.release_reading import ALIAS, NoRelease, Release, current_number, numbered, open_release, text
from storage.paths import parse_delivery_id
from storage.settings import Settings

AccessLevel = Literal["open", "cooperation", "owner"]
#: Rows of a page; a longer list is read in parts.
MOST_ROWS = 500
#: Columns of landed rows that are ours.
_LANDED = frozenset({"delivered_row", "delivered_line", "delivered_sheet", "ignored_by"})


class NoSuchFigure(LookupError):
    """The newest release has no such figure, or its catalogue does not say what it is made of."""


@dataclass(frozen=True)
class Indicator:
    """What an indicator means. `made_of` are curated tables; `access_level` says who may see its values."""

    id: str
    version: str
    name: Mapping[str, str]
    formula: Mapping[str, str]
    unit: str
    source: str
    made_of: Sequence[str]
    access_level: AccessLevel


@dataclass(frozen=True)
class Figure:
    """One value, or the reason why there is none. `area` is a municipality's key or the region's id."""

    indicator: Indicator
    area: str
    period: str
    value: float | None
    missing_reason: str | None
    numerator: float | None
    denominator: float | None
    estimated_share: float | None
    substituted_share: float | None
    is_stale: bool
    is_synthetic: bool


@dataclass(frozen=True)
class Use:
    """A delivery of which a figure uses rows."""

    dataset: str
    supplier: str
    delivery: str
    rows: int


@dataclass(frozen=True)
class Rows:
    """Some of the rows a figure takes from a delivery, in the order of the file; there are `of` in all."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    of: int


class Lineage:
    """The figures of the newest release, kept at hand until there is another one. Many threads may ask at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._at_hand: Figures | None = None

    def figures(self) -> Figures:
        """Those of the newest release.

        Raises:
            NoRelease: There is none, or it is of before there was a catalogue of indicators.
        """
        number = current_number(self._settings)
        if number is None:
            raise NoRelease("there is no release yet; `verbund release` makes the first")
        with self._lock:
            if self._at_hand is None or self._at_hand.release.number != number:
                found = Figures(self._settings, numbered(self._settings, number))
                found.look_through()
                self._at_hand = found
            return self._at_hand


class Figures:
    """All figures of one release."""

    def __init__(self, settings: Settings, release: Release) -> None:
        if not {"indicators", "indicator_catalogue", "open_indicators"} <= set(release.tables):
            raise NoRelease(
                f"release {release.number} has no catalogue of indicators; `verbund release` makes one that has"
            )
        self.release = release
        self.manifest = release.manifest
        self._connection = open_release(settings, release.number)

    def look_through(self) -> None:
        """Find out now what uses what, so that nobody waits for it later."""
        _ = self._used_by, self._chosen, self.invented, self.areas

    @cached_property
    def indicators(self) -> dict[str, Indicator]:
        """What there is, by id."""
        rows = self._table("select * from indicator_catalogue order by indicator").iter_rows(named=True)
        return {
            row["indicator"]: Indicator(
                row["indicator"], row["definition_version"], {"de": row["name_de"], "en": row["name_en"]},
                {"de": row["formula_de"], "en": row["formula_en"]}, row["unit"], row["definition_source"],
                tuple(row["made_of"].split(",")),
                # what says nothing known is seen by the fewest
                cast(AccessLevel, row["access_level"] if row["access_level"] in ACCESS_LEVELS else "owner"),
            )
            for row in rows
        }  # fmt: skip

    @cached_property
    def areas(self) -> dict[str, str | None]:
        """Areas that have figures: municipality key or region's id → name, None for the region."""
        names = dict(self._table("select area_code, area_name from municipalities").iter_rows())
        of_figures = self._table("select distinct area from indicators order by area")["area"]
        return {area: names.get(area) for area in of_figures}

    @cached_property
    def _members(self) -> dict[str, list[str]]:
        """The municipalities of each region."""
        found: dict[str, list[str]] = {}
        for region, area in self._table(
            "select region_id, area_code from municipalities where is_in_region order by area_code"
        ).iter_rows():
            found.setdefault(region, []).append(area)
        return found

    @cached_property
    def _synthetic(self) -> frozenset[str]:
        """Deliveries that were invented for demonstration."""
        return frozenset(told["delivery"] for told in self.manifest["deliveries"] if told["synthetic"])

    @cached_property
    def _figures(self) -> dict[tuple[str, str, str], Figure]:
        rows = self._table(
            "select indicator, area, period, cast(value as double), cast(missing_reason as varchar), cast(numerator as double), "
            "cast(denominator as double), cast(estimated_share as double), cast(substituted_share as double), "
            "stale_since is not null from indicators order by indicator, area, period"
        ).iter_rows()
        invented = {
            key for key, uses in self._uses.items() if any(use.delivery in self._synthetic for use in uses)
        }  # fmt: skip
        return {
            (row[0], row[1], row[2]): Figure(*(self.indicators[row[0]], *row[1:], row[:3] in invented))
            for row in rows
            if row[0] in self.indicators
        }

    @cached_property
    def _chosen(self) -> dict[tuple[str | None, str | None, str | None], list[Figure]]:
        """Figures by whatever may be asked for."""
        found: dict[tuple[str | None, str | None, str | None], list[Figure]] = {}
        for (indicator, area, period), figure in self._figures.items():
            for i in (indicator, None):
                for a in (area, None):
                    for p in (period, None):
                        found.setdefault((i, a, p), []).append(figure)
        return found

    @cached_property
    def invented(self) -> frozenset[str]:
        """Indicators that have figures which were invented for demonstration."""
        return frozenset(figure.indicator.id for figure in self._figures.values() if figure.is_synthetic)

    @cached_property
    def _uses(self) -> dict[tuple[str, str, str], list[Use]]:
        """The deliveries of every figure. Each table of rows is looked through once, whatever is made of it."""
        alike: dict[tuple[str, str], list[str]] = {}
        for indicator, parts in _rows_of().items():
            for dataset, query in parts.items():
                if dataset in self.release.tables:
                    alike.setdefault((dataset, query), []).append(indicator)
        region_of = {area: region for region, areas in self._members.items() for area in areas}
        counted: dict[tuple[str, str, str], dict[tuple[str, str], int]] = {}
        for (dataset, query), indicators in alike.items():
            found = self._table(
                f"select of_area, of_period, delivery_id, count(*) from ({query}) where of_area is not null group by all"
            )
            for area, period, delivery, rows in found.iter_rows():
                for place in (area, region_of.get(area)):
                    for indicator in indicators if place else ():
                        own = counted.setdefault((indicator, cast(str, place), period), {})
                        own[dataset, delivery] = own.get((dataset, delivery), 0) + rows
        return {
            key: [
                Use(dataset, parse_delivery_id(delivery).supplier, delivery, rows)
                for (dataset, delivery), rows in sorted(own.items())
            ]
            for key, own in counted.items()
        }

    @cached_property
    def _used_by(self) -> dict[str, list[tuple[str, str, str]]]:
        """Delivery → the figures that use it."""
        found: dict[str, list[tuple[str, str, str]]] = {}
        for key in self._figures:
            for use in self._uses.get(key, ()):
                found.setdefault(use.delivery, []).append(key)
        return found

    # --- asking ---

    def figure(self, indicator: str, area: str, period: str) -> Figure:
        """One figure.

        Raises:
            NoSuchFigure: The release has none of this name.
        """
        try:
            return self._figures[indicator, area, period]
        except KeyError:
            raise NoSuchFigure(f"release {self.release.number} has no {indicator} of {area} for {period}") from None

    def chosen(
        self, *, indicator: str | None = None, area: str | None = None, period: str | None = None
    ) -> list[Figure]:
        """Figures of an indicator, an area, a period; by indicator, area and period."""
        return self._chosen.get((indicator, area, period), [])

    def uses(self, figure: Figure) -> list[Use]:
        """The deliveries a figure uses rows of."""
        return self._uses.get((figure.indicator.id, figure.area, figure.period), [])

    def of_delivery(self, delivery: str) -> list[Figure]:
        """The figures that use rows of a delivery."""
        return [self._figures[key] for key in self._used_by.get(delivery, ())]

    def of_supplier(self, supplier: str) -> list[tuple[Figure, list[Use]]]:
        """The figures that use rows of a supplier, newest period first, with the deliveries that gave them."""
        own = {
            key
            for delivery, keys in self._used_by.items()
            if parse_delivery_id(delivery).supplier == supplier
            for key in keys
        }
        figures = sorted((self._figures[key] for key in own), key=lambda f: (f.indicator.id, f.area))
        figures.sort(key=lambda f: f.period, reverse=True)
        return [(figure, [use for use in self.uses(figure) if use.supplier == supplier]) for figure in figures]

    def rows(self, figure: Figure, delivery: str, *, after: int = 0, most: int = MOST_ROWS) -> Rows:
        """Rows that a figure uses of a delivery, the first column the sheet and the second the line in the file.

        Raises:
            NoSuchFigure: The figure uses nothing of it.
        """
        use = next((use for use in self.uses(figure) if use.delivery == delivery), None)
        if use is None:
            raise NoSuchFigure(f"{figure.indicator.id} of {figure.area} for {figure.period} uses nothing of {delivery}")
        areas = ", ".join(map(text, self._members.get(figure.area, [figure.area])))
        # written out, because the first bound parameter of a process makes DuckDB import pandas, which takes seconds
        found = self._table(
            f"select delivered_sheet, delivered_line, * exclude (delivered_sheet, delivered_line, of_area, of_period, "
            f"supplier_id, period, delivery_id, attempt) from ({_rows_of()[figure.indicator.id][use.dataset]}) "
            f"where delivery_id = {text(delivery)} and of_area in ({areas}) and of_period = {text(figure.period)} "
            f"order by delivered_sheet, delivered_line limit {int(most)} offset {max(0, int(after))}"
        )
        return Rows(found.columns, found.rows(), use.rows)

    @property
    def open_tables(self) -> list[str]:
        """Tables of the release that anybody may have."""
        return [table for table, told in self.manifest["tables"].items() if told["access_level"] == "open"]

    def open_rows(self, table: str) -> pl.DataFrame:
        """A table that anybody may have.

        Raises:
            NoSuchFigure: There is none of this name, or it is not for anybody.
        """
        if table not in self.open_tables:
            raise NoSuchFigure(f"release {self.release.number} has no open table {table!r}")
        return self._table(f'select * from "{table}" order by all')

    def _table(self, query: str) -> pl.DataFrame:
        # threads must not share a cursor
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(f"use {ALIAS}")
            return cursor.execute(query).pl()


@cache
def _rows_of() -> dict[str, dict[str, str]]:
    """Indicator → curated table → the query of the rows it is made of."""
    told = yaml.load((foundation.project_dir() / "lineage.yml").read_text(encoding="utf-8"), yaml.CSafeLoader)
    found: dict[str, dict[str, str]] = {}
    for part in told:
        for indicator in part["indicators"]:
            found.setdefault(indicator, {})[part["table"]] = part["rows"]
    return found


def as_sent(settings: Settings, delivery: str, line: int, sheet: str | None = None) -> list[list[tuple[str, str]]]:
    """The filled cells of one line of a file under the sender's own column names, a list for each row read from it.

    Empty where there is no such line, or the machine that read the file is another one.
    """
    file = settings.paths.landed(delivery)
    if not file.exists():
        return []
    wanted = (pl.col("delivered_line") == line) & pl.col("delivered_sheet").eq_missing(pl.lit(sheet, dtype=pl.String))
    found = pl.scan_parquet(file).filter(wanted).head(MOST_ROWS).collect()
    return [
        [(name, str(cell)) for name, cell in row.items() if name not in _LANDED and cell is not None]
        for row in found.iter_rows(named=True)
    ]
