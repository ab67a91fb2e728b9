"""What a supplier owes and how it stands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException
from fastapi.responses import Response

from portal.visit import AVisit, Visit, door
from quality import calendar, judging
from storage.paths import Slot
from storage.periods import period as read_period

router = APIRouter()


@door(router, "GET", "/pflichten/{supplier}", "duties.see")
def duties(visit: AVisit, supplier: str) -> Response:
    """Everything a supplier owes, what is late first, then what comes due."""
    if supplier not in visit.desk.pack.suppliers:
        raise HTTPException(404)
    owed = sorted(_duties(visit, supplier), key=lambda duty: (duty["order"], duty["due_on"]))
    return visit.page("duties.html", supplier=visit.desk.pack.suppliers[supplier], duties=owed)


@door(router, "GET", "/nichts-zu-melden/{supplier}", "delivery.declare_nothing")
def ask_nothing(visit: AVisit, supplier: str, dataset: str = "", period: str = "") -> Response:
    """The form for "nothing to report" of one slot."""
    return _declaration(visit, _slot(visit, supplier, dataset, period))


@door(router, "POST", "/nichts-zu-melden/{supplier}", "delivery.declare_nothing")
def declare_nothing(
    visit: AVisit, supplier: str, dataset: Annotated[str, Form()] = "", period: Annotated[str, Form()] = "",
    reason: Annotated[str, Form(max_length=1000)] = "",
) -> Response:  # fmt: skip
    """Take a declaration in; it is judged and answered like any delivery."""
    slot = _slot(visit, supplier, dataset, period)
    if not reason.strip():
        return _declaration(visit, slot, problem="declare.no_reason", code=422)
    delivery = visit.desk.declare_nothing(
        supplier, slot.dataset, slot.period, who=visit.person.who, reason=reason.strip(), origin="portal"
    )
    visit.note("delivery.declare_nothing", delivery.delivery_id)
    judging.ring(visit.desk.settings)
    return visit.go(f"/lieferung/{delivery.delivery_id}")


def _declaration(visit: Visit, slot: Slot, *, problem: str | None = None, code: int = 200) -> Response:
    pack = visit.desk.pack
    return visit.page(
        "duties/declare.html", code=code, supplier=pack.suppliers[slot.supplier], slot=slot,
        title=pack.contracts[slot.dataset].title, reason="", problem=problem,
    )  # fmt: skip


def _slot(visit: Visit, supplier: str, dataset: str, period: str) -> Slot:
    """The slot a form is about.

    Raises:
        HTTPException: The supplier owes no such dataset, or the period is none.
    """
    pack = visit.desk.pack.shared
    if supplier not in pack.suppliers or dataset not in pack.datasets_of(supplier):
        raise HTTPException(422)
    try:
        return Slot(supplier, dataset, str(read_period(period)))
    except ValueError:
        raise HTTPException(422) from None


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
