"""What became of it: the figures that use a supplier's deliveries, and from a figure down to a line of a file."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

from portal import plots
from portal.pages.threads import said_of
from portal.visit import AVisit, Visit, door
from quality.lineage import MOST_ROWS, Figure, Figures, NoSuchFigure, as_sent
from quality.release_reading import NoRelease
from storage.ledger.ledger import UnknownDelivery
from storage.paths import parse_delivery_id

router = APIRouter()
#: Columns that say how a row was worked out and not what it says.
ASIDE = frozenset({
    "stale_since", "row_warnings", "is_synthetic", "conversion_source", "conversion_valid_from_date", "rows_set_aside",
})  # fmt: skip
#: A picture may be styled by itself and does nothing else.
SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


@door(router, "GET", "/zahlen/{supplier}", "figures.see")
def of_supplier(visit: AVisit, supplier: str, jahr: str = "") -> Response:
    """Every figure of the newest release that uses a supplier's deliveries, one year at a time."""
    if supplier not in visit.desk.pack.suppliers:
        raise HTTPException(404)
    named = visit.desk.pack.suppliers[supplier]
    try:
        figures = visit.services.lineage.figures()
    except NoRelease:
        return visit.page(
            "figures/of_supplier.html", supplier=named, release=None, shown=[], years=[], year="", names={}
        )
    own = [(figure, uses) for figure, uses in figures.of_supplier(supplier) if may_see(visit, figures, figure)]
    years = sorted({figure.period[:4] for figure, _ in own}, reverse=True)
    year = jahr if jahr in years else (years[0] if years else "")
    return visit.page(
        "figures/of_supplier.html", supplier=named, release=figures.release, years=years, year=year,
        shown=[(figure, uses) for figure, uses in own if figure.period.startswith(year)], names=names(visit, figures),
    )  # fmt: skip


@door(router, "GET", "/lieferung/{delivery}/zahlen", "figures.see")
def of_delivery(visit: AVisit, delivery: str) -> Response:
    """The figures that use rows of one delivery."""
    try:
        view = visit.desk.ledger.delivery(delivery)
    except UnknownDelivery:
        raise HTTPException(404) from None
    contract = visit.desk.pack.contracts.get(view.slot.dataset)
    told: dict[str, Any] = {"delivery": view, "title": contract.title if contract else {}}
    try:
        figures = visit.services.lineage.figures()
    except NoRelease:
        return visit.page("figures/of_delivery.html", **told, release=None, shown=[], names={})
    shown = [figure for figure in figures.of_delivery(delivery) if may_see(visit, figures, figure)]
    return visit.page(
        "figures/of_delivery.html", **told, release=figures.release, shown=shown, names=names(visit, figures)
    )


@door(router, "GET", "/zahl/{indicator}/{area}/{period}", "figure.see")
def one(visit: AVisit, indicator: str, area: str, period: str) -> Response:
    """One figure: what it means, which deliveries it uses, how it went and how others stand."""
    figures, figure = find(visit, indicator, area, period)
    uses = [(use, _sees_rows(visit, use.supplier, use.dataset)) for use in figures.uses(figure)]
    pack = visit.desk.pack
    return visit.page(
        "figures/one.html", figure=figure, release=figures.release, uses=uses, names=names(visit, figures),
        suppliers=pack.suppliers, contracts=pack.contracts, over_time=over_time(visit, figures, figure),
        others=others(visit, figures, figure), plots="/bild", **said_of(visit, figure, [use for use, _ in uses]),
    )  # fmt: skip


@door(router, "GET", "/zahl/{indicator}/{area}/{period}/zeilen/{delivery}", "rows.see")
def rows(visit: AVisit, indicator: str, area: str, period: str, delivery: str, ab: int = 0) -> Response:
    """The rows a figure takes from one delivery, each with its line in the file."""
    figures, figure = find(visit, indicator, area, period)
    name = parse_delivery_id(delivery)
    if not _sees_rows(visit, name.supplier, name.dataset):
        raise HTTPException(404)
    first = min(max(0, ab), 10**9)
    try:
        found = figures.rows(figure, delivery, after=first)
    except NoSuchFigure:
        raise HTTPException(404) from None
    contract = visit.desk.pack.contracts.get(name.dataset)
    titles = {field.name: field.title for field in contract.fields} if contract else {}
    # what was delivered, and what became of it in numbers
    first_row = found.rows[0] if found.rows else ()
    shown = [
        place
        for place, (column, value) in enumerate(zip(found.columns, first_row, strict=False))
        if place > 1 and column not in ASIDE and (column in titles or isinstance(value, Decimal))
    ]
    return visit.page(
        "figures/rows.html", figure=figure, delivery=visit.desk.ledger.delivery(delivery), found=found, shown=shown,
        titles=titles, names=names(visit, figures), first=first, most=MOST_ROWS,
    )  # fmt: skip


@door(router, "GET", "/lieferung/{delivery}/zeile/{line}", "rows.see")
def one_line(visit: AVisit, delivery: str, line: int, blatt: str = "") -> Response:
    """A line of a file as it was sent, under the sender's own column names."""
    name = parse_delivery_id(delivery)
    if not _sees_rows(visit, name.supplier, name.dataset):
        raise HTTPException(404)
    try:
        view = visit.desk.ledger.delivery(delivery)
    except UnknownDelivery:
        raise HTTPException(404) from None
    cells = as_sent(visit.desk.settings, delivery, line, blatt or None)
    return visit.page("figures/line.html", delivery=view, line=line, sheet=blatt, rows=cells)


@door(router, "GET", "/bild/reihe/{indicator}/{area}/{period}", "figure.see")
def series(visit: AVisit, indicator: str, area: str, period: str) -> Response:
    """The values of an indicator over time, as a picture."""
    figures, figure = find(visit, indicator, area, period)
    return picture(visit, over_time(visit, figures, figure))


@door(router, "GET", "/bild/vergleich/{indicator}/{area}/{period}", "figure.see")
def comparison(visit: AVisit, indicator: str, area: str, period: str) -> Response:
    """The values of all areas beside each other, as a picture."""
    figures, figure = find(visit, indicator, area, period)
    return picture(visit, others(visit, figures, figure), own=figure)


# --- what pages of figures share ---


def find(visit: Visit, indicator: str, area: str, period: str) -> tuple[Figures, Figure]:
    """A figure the visit may see.

    Raises:
        HTTPException: There is none, or none for them.
    """
    try:
        figures = visit.services.lineage.figures()
        figure = figures.figure(indicator, area, period)
    except (NoRelease, NoSuchFigure):
        raise HTTPException(404) from None
    if not may_see(visit, figures, figure):
        raise HTTPException(404)
    return figures, figure


def may_see(visit: Visit, figures: Figures, figure: Figure) -> bool:
    """Whether a figure's access level names who is visiting; of an owner's figure, whoever delivered to it."""
    match figure.indicator.access_level:
        case "open":
            return visit.may("open.see")
        case "cooperation":
            return visit.may("figure.see")
        case _:
            # nobody is the supplier ""
            suppliers = {use.supplier for use in figures.uses(figure)} or {""}
            return any(visit.may("figure.see_owner", supplier) for supplier in suppliers)


def over_time(visit: Visit, figures: Figures, figure: Figure) -> list[Figure]:
    """The same indicator of the same area in every period the visit may see."""
    found = figures.chosen(indicator=figure.indicator.id, area=figure.area)
    return [one for one in found if len(one.period) == len(figure.period) and may_see(visit, figures, one)]


def others(visit: Visit, figures: Figures, figure: Figure) -> list[Figure]:
    """The same indicator and period of every area, highest first; nothing where only an owner sees the figure."""
    if figure.indicator.access_level == "owner":
        return []
    found = figures.chosen(indicator=figure.indicator.id, period=figure.period)
    return sorted(found, key=lambda one: (one.value is None, -(one.value or 0), one.area))


def names(visit: Visit, figures: Figures) -> dict[str, str]:
    """What areas are called."""
    region = visit.desk.pack.region
    return {
        area: name or (region.name if area == region.id else area) for area, name in figures.areas.items()
    }  # fmt: skip


def picture(visit: Visit, shown: Sequence[Figure], own: Figure | None = None) -> Response:
    """Values as SVG: over time, or of many areas with one's own among them."""
    if not any(one.value is not None for one in shown):
        raise HTTPException(404)
    unit = shown[0].indicator.unit
    if own is None:
        drawn = plots.series(tuple((one.period, one.value) for one in shown), unit, visit.language)
    else:
        called = names(visit, visit.services.lineage.figures())
        points = tuple((called.get(one.area, one.area), one.value) for one in shown)
        drawn = plots.places(points, shown.index(own), unit, visit.language)
    return Response(drawn, media_type="image/svg+xml", headers={"Content-Security-Policy": SVG_POLICY})


def _sees_rows(visit: Visit, supplier: str, dataset: str) -> bool:
    contract = visit.desk.pack.contracts.get(dataset)
    is_open_to_steering = contract is not None and contract.access_level != "owner"
    return visit.may("rows.see", supplier) and (is_open_to_steering or visit.may("figure.see_owner", supplier))
