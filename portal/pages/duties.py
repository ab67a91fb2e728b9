"""What a supplier owes and how it stands."""

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
