"""What a supplier owes and how it stands."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException
from fastapi.responses import Response

from portal.visit import AVisit, Visit, door
from quality import judging
from quality.calendar import OwedSlot
from quality.region import RegionPack
from storage.ledger.extensions import AlreadyAsked, Extension, NotOpen
from storage.paths import Slot
from storage.periods import period as read_period

router = APIRouter()
#: States in which a supplier must still act.
OPEN = frozenset({"overdue", "rejected", "stale", "missing"})


@door(router, "GET", "/pflichten/{supplier}", "duties.see")
def duties(visit: AVisit, supplier: str) -> Response:
    """Everything a supplier owes, what is late first, then what comes due."""
    if supplier not in visit.desk.pack.suppliers:
        raise HTTPException(404)
    owed = sorted(_duties(visit, supplier), key=lambda duty: (duty["order"], duty["due_on"]))
    pack = visit.desk.pack.shared
    requests = _known(pack, visit.desk.ledger.extensions.of(supplier))[:20]
    return visit.page(
        "duties.html", supplier=pack.suppliers[supplier], duties=owed, requests=requests, pack=pack,
        coming=[
            (o, pack.contracts[o.slot.dataset].title, o.period.end - timedelta(days=1)) for o in _coming(visit, supplier)
        ],
    )  # fmt: skip


def _coming(visit: Visit, supplier: str) -> list[OwedSlot]:
    """Of each dataset the next period that has not ended yet."""
    today = datetime.now(UTC).date()
    ahead = (o for o in visit.desk.owed(today + timedelta(days=366), supplier=supplier) if o.period.end > today)
    first: dict[str, OwedSlot] = {}
    for o in ahead:
        first.setdefault(o.slot.dataset, o)
    return sorted(first.values(), key=lambda o: o.due_on)


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


@door(router, "GET", "/frist-verlaengern/{supplier}", "extension.ask")
def ask_extension(visit: AVisit, supplier: str, dataset: str = "", period: str = "") -> Response:
    """The form for a later deadline of one slot."""
    return _extension(visit, _slot(visit, supplier, dataset, period))


@door(router, "POST", "/frist-verlaengern/{supplier}", "extension.ask")
def extension(
    visit: AVisit, supplier: str, dataset: Annotated[str, Form()] = "", period: Annotated[str, Form()] = "",
    until: Annotated[str, Form()] = "", reason: Annotated[str, Form(max_length=1000)] = "",
) -> Response:  # fmt: skip
    """Ask the coordinator for a later deadline."""
    slot = _slot(visit, supplier, dataset, period)
    told = {"until": until, "reason": reason}
    day = _day(until)
    if day is None or not visit.desk.may_extend(slot, day):
        return _extension(visit, slot, problem="extension.wrong_day", code=422, **told)
    if not reason.strip():
        return _extension(visit, slot, problem="extension.no_reason", code=422, **told)
    try:
        asked = visit.desk.ledger.extensions.ask(slot, day, reason.strip(), visit.person.who)
    except AlreadyAsked:
        return _extension(visit, slot, problem="extension.twice", code=409, **told)
    visit.note("extension.ask", str(slot), request=asked.id, until=str(day))
    return visit.go(f"/pflichten/{supplier}")


@door(router, "GET", "/fristen", "extension.decide")
def extensions(visit: AVisit) -> Response:
    """Which deadlines suppliers want to have extended, and what was decided."""
    return _extensions(visit)


@door(router, "POST", "/fristen/{number}", "extension.decide")
def decide(
    visit: AVisit, number: int, decision: Annotated[str, Form()] = "", until: Annotated[str, Form()] = "",
    answer: Annotated[str, Form(max_length=1000)] = "",
) -> Response:  # fmt: skip
    """Grant or refuse what a supplier asked for."""
    granted, day, open_ones = decision == "grant", _day(until), visit.desk.ledger.extensions
    try:
        asked = open_ones.request(number)
        if asked.granted is not None:
            raise NotOpen
        if granted and (day is None or not visit.desk.may_extend(asked.slot, day)):
            return _extensions(visit, problem="extension.wrong_day", code=422)
        if not granted and not answer.strip():
            return _extensions(visit, problem="extension.no_answer", code=422)
        done = open_ones.decide(
            number, granted=granted, who=visit.person.who, answer=answer.strip(), until=day if granted else None
        )
    except NotOpen:
        return _extensions(visit, problem="extension.gone", code=409)
    visit.note("extension.decide", str(done.slot), request=number, granted=granted, until=str(done.until))
    return visit.go("/fristen")


def _extension(
    visit: Visit, slot: Slot, *, until: str = "", reason: str = "", problem: str | None = None, code: int = 200
) -> Response:
    pack = visit.desk.pack
    return visit.page(
        "duties/extension.html", code=code, supplier=pack.suppliers[slot.supplier], slot=slot,
        title=pack.contracts[slot.dataset].title, due_on=visit.desk.due_on(slot), until=until, reason=reason, problem=problem,
    )  # fmt: skip


def _extensions(visit: Visit, *, problem: str | None = None, code: int = 200) -> Response:
    desk, now = visit.desk, datetime.now(UTC)
    pack, asked = desk.pack.shared, desk.ledger.extensions
    states = desk.standing(desk.owed(now.date()), now)
    undecided = [
        (one, desk.due_on(one.slot), states[one.slot].state if one.slot in states else "missing")
        for one in _known(pack, asked.undecided())
    ]
    return visit.page(
        "duties/extensions.html", code=code, undecided=undecided, decided=_known(pack, asked.decided()), pack=pack,
        problem=problem,
    )  # fmt: skip


def _known(pack: RegionPack, asked: list[Extension]) -> list[Extension]:
    """Without those of suppliers and datasets the region has no more."""
    return [one for one in asked if one.slot.supplier in pack.suppliers and one.slot.dataset in pack.contracts]


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


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
    own = visit.desk.owed(now.date(), supplier=supplier)
    states = visit.desk.standing(own, now, supplier=supplier)
    asked = {one.slot for one in visit.desk.ledger.extensions.undecided()}
    return [
        {
            "slot": o.slot,
            "title": pack.contracts[o.slot.dataset].title,
            "due_on": o.due_on,
            "is_extended": o.is_extended,
            "asked": o.slot in asked,
            "state": states[o.slot].state,
            "newest": states[o.slot].newest,
            # what needs an act comes first
            "order": {"overdue": 0, "rejected": 1, "stale": 1, "missing": 2}.get(states[o.slot].state, 3),
        }
        for o in own
    ]
