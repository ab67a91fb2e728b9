"""What anybody may see, without signing in: open figures of the newest release, their definitions, and the data."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import polars as pl
from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, Response

from portal.pages.figures import find, names, others, over_time, picture
from portal.visit import AVisit, Visit, door
from quality.lineage import Figure, Figures, Indicator
from quality.release_reading import NoRelease

router = APIRouter()
#: What spreadsheets take for a formula where a cell begins with it.
_FORMULA = r"^([=+\-@\t\r])"


@door(router, "GET", "/offen", "open.see")
def start(visit: AVisit) -> Response:
    """The open indicators, the areas, and what may be downloaded."""
    figures = _figures(visit)
    if figures is None:
        return visit.page("open/start.html", release=None)
    newest: dict[str, Figure] = {}
    for figure in figures.chosen(area=visit.desk.pack.region.id):
        if figure.value is not None:
            newest[figure.indicator.id] = figure
    return visit.page(
        "open/start.html", release=figures.release, indicators=_open_ones(figures), newest=newest,
        names=names(visit, figures), tables=_tables(figures), credits=_credits(figures), region=visit.desk.pack.region,
        is_synthetic=_is_synthetic(figures),
    )  # fmt: skip


@door(router, "GET", "/offen/kennzahl/{indicator}", "open.see")
def one(visit: AVisit, indicator: str) -> Response:
    """One indicator: what it means, where the definition comes from, and its values everywhere."""
    figures = _figures(visit)
    if figures is None or indicator not in {known.id for known in _open_ones(figures)}:
        raise HTTPException(404)
    found = figures.chosen(indicator=indicator)
    periods = sorted({figure.period for figure in found})
    cells = {(figure.area, figure.period): figure for figure in found}
    region = visit.desk.pack.region.id
    return visit.page(
        "open/indicator.html", indicator=figures.indicators[indicator], release=figures.release, periods=periods,
        cells=cells, areas=sorted({f.area for f in found}, key=lambda area: (area == region, area)), region=region,
        names=names(visit, figures), credits=_credits(figures), is_synthetic=any(f.is_synthetic for f in found),
        over_time=[f for f in found if f.area == region], plots="/offen/bild",
        licence=figures.manifest["tables"]["open_indicators"]["licence"],
    )  # fmt: skip


@door(router, "GET", "/offen/gebiet/{area}", "open.see")
def place(visit: AVisit, area: str) -> Response:
    """One municipality, or the region: its open figures over time, gaps included."""
    figures = _figures(visit)
    if figures is None or area not in figures.areas:
        raise HTTPException(404)
    told = []
    for indicator in _open_ones(figures):
        if found := figures.chosen(indicator=indicator.id, area=area):
            newest = next((figure for figure in reversed(found) if figure.value is not None), None)
            told.append((indicator, found, newest, others(visit, figures, newest) if newest else []))
    return visit.page(
        "open/area.html", area=area, release=figures.release, told=told, names=names(visit, figures), plots="/offen/bild",
        credits=_credits(figures), is_synthetic=any(f.is_synthetic for _, found, _, _ in told for f in found),
        licence=figures.manifest["tables"]["open_indicators"]["licence"],
    )  # fmt: skip


@door(router, "GET", "/offen/daten/{kind}/{table}", "open.see")
def data(visit: AVisit, kind: str, table: str) -> Response:
    """A table that anybody may have, as it was released."""
    figures = _figures(visit)
    if figures is None or table not in figures.open_tables:
        raise HTTPException(404)
    name = f"verbund-{figures.release.number:04d}-{table}.{kind}"
    if kind == "parquet":
        file = figures.release.path / "parquet" / f"{table}.parquet"
        return FileResponse(file, media_type="application/vnd.apache.parquet", filename=name)
    if kind != "csv":
        raise HTTPException(404)
    return Response(
        _csv(figures, table), media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )  # fmt: skip


@door(router, "GET", "/offen/bild/reihe/{indicator}/{area}/{period}", "open.see")
def series(visit: AVisit, indicator: str, area: str, period: str) -> Response:
    """An open indicator over time, as a picture."""
    figures, figure = find(visit, indicator, area, period)
    _is_open(figure)
    return picture(visit, over_time(visit, figures, figure))


@door(router, "GET", "/offen/bild/vergleich/{indicator}/{area}/{period}", "open.see")
def comparison(visit: AVisit, indicator: str, area: str, period: str) -> Response:
    """An open indicator of all areas beside each other, as a picture."""
    figures, figure = find(visit, indicator, area, period)
    _is_open(figure)
    return picture(visit, others(visit, figures, figure), own=figure)


def _is_open(figure: Figure) -> None:
    """Whoever is signed in sees here what everybody sees."""
    if figure.indicator.access_level != "open":
        raise HTTPException(404)


def _figures(visit: Visit) -> Figures | None:
    try:
        return visit.services.lineage.figures()
    except NoRelease:
        return None


def _open_ones(figures: Figures) -> list[Indicator]:
    return [known for known in figures.indicators.values() if known.access_level == "open"]


def _is_synthetic(figures: Figures) -> bool:
    return any(known.id in figures.invented for known in _open_ones(figures))


def _tables(figures: Figures) -> list[dict[str, Any]]:
    """Open tables with what the release says of them, figures first."""
    told = figures.manifest["tables"]
    first = sorted(
        figures.open_tables, key=lambda table: (table != "open_indicators", table != "indicator_catalogue", table)
    )
    return [{"name": table, **told[table]} for table in first]


def _credits(figures: Figures) -> list[str]:
    """Who is to be named beside open figures."""
    shown = {table for known in _open_ones(figures) for table in known.made_of} | set(figures.open_tables)
    return sorted({told["source"] for told in figures.manifest["attributions"] if told["for"] in shown})


@lru_cache(maxsize=8)
def _csv(figures: Figures, table: str) -> bytes:
    """A table as CSV (RFC 4180, UTF-8); a text that a spreadsheet would calculate is marked as text."""
    rows = figures.open_rows(table)
    texts = [name for name, kind in rows.schema.items() if kind == pl.String]
    safe = rows.with_columns(pl.col(name).str.replace(_FORMULA, "'$1") for name in texts)
    return safe.write_csv(line_terminator="\r\n").encode()
