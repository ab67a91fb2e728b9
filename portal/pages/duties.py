"""What a supplier owes and how it stands; and the region as a whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

from portal.visit import AVisit, Visit, door
from quality import calendar
from storage.paths import Slot

router = APIRouter()


@door(router, "GET", "/pflichten/{supplier}", "duties.see")
def duties(visit: AVisit, supplier: str) -> Response:
    """Everything a supplier owes, what is late first, then what comes due."""
    if supplier not in visit.desk.pack.suppliers:
        raise HTTPException(404)
    owed = sorted(_duties(visit, supplier), key=lambda duty: (duty["order"], duty["due_on"]))
    return visit.page("duties.html", supplier=visit.desk.pack.suppliers[supplier], duties=owed)


@door(router, "GET", "/region", "region.see")
def region(visit: AVisit) -> Response:
    """Who delivered and who did not: one line a supplier and dataset."""
    pack = visit.desk.pack.shared
    counted: dict[tuple[str, str], dict[str, int]] = {}
    for supplier in sorted(pack.suppliers):
        for duty in _duties(visit, supplier):
            states = counted.setdefault((supplier, duty["slot"].dataset), {})
            states[duty["state"]] = states.get(duty["state"], 0) + 1
    rows = [
        {"supplier": pack.suppliers[supplier], "title": pack.contracts[dataset].title, "states": states}
        for (supplier, dataset), states in counted.items()
    ]
    return visit.page("region.html", region=pack.region, rows=rows)


def _duties(visit: Visit, supplier: str) -> list[dict[str, Any]]:
    pack, now = visit.desk.pack.shared, datetime.now(UTC)
    own = [o for o in calendar.owed_slots(pack, now.date()) if o.slot.supplier == supplier]
    due: dict[Slot, datetime | None] = {o.slot: calendar.due_at(o.due_on, pack.region.zone) for o in own}
    states = visit.desk.ledger.slots(due, now, supplier=supplier)
    return [
        {
            "slot": o.slot,
            "title": pack.contracts[o.slot.dataset].title,
            "due_on": o.due_on,
            "state": states[o.slot].state,
            "newest": states[o.slot].newest,
            # what needs an act comes first
            "order": {"overdue": 0, "rejected": 1, "stale": 1, "missing": 2}.get(states[o.slot].state, 3),
        }
        for o in own
    ]
