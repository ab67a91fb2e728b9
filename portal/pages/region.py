"""The region as a whole: who delivered what, what is open, how well it goes, and what was released."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime

from fastapi import APIRouter
from fastapi.responses import Response

from portal.visit import AVisit, Visit, door
from quality.calendar import OwedSlot
from quality.release_reading import NoRelease, releases
from quality.scorecard import TOPICS, scorecards
from storage.ledger.states import SlotState
from storage.paths import Slot

router = APIRouter()
#: States as the matrix shows them: what somebody must act on first.
WORST_FIRST = (
    "overdue", "rejected", "stale", "partly_accepted", "missing", "received", "judging", "accepted_with_warnings",
    "accepted", "nothing_to_report",
)  # fmt: skip
#: So many open ends are shown; who has more looks at the matrix.
MOST_OPEN = 200
ACT_ON = frozenset({"overdue", "rejected", "stale"})


@door(router, "GET", "/region", "region.see")
def coverage(visit: AVisit, jahr: int | None = None) -> Response:
    """Supplier × dataset × period with states: one table a dataset, for one year."""
    owed, states = _standing(visit)
    years = sorted({o.period.start.year for o in owed}) or [datetime.now(UTC).year]
    year = jahr if jahr in years else years[-1]
    shown = [o for o in owed if o.period.start.year == year]
    pack = visit.desk.pack.shared
    tables = []
    for dataset in sorted({o.slot.dataset for o in shown}):
        own = [o for o in shown if o.slot.dataset == dataset]
        periods = [str(p) for p in sorted({o.period for o in own}, key=lambda p: p.start)]
        cells = {(o.slot.supplier, o.slot.period): states[o.slot] for o in own}
        suppliers = sorted({o.slot.supplier for o in own}, key=lambda s: pack.suppliers[s].name)
        rows = [(pack.suppliers[s], [cells.get((s, p)) for p in periods]) for s in suppliers]
        tables.append({"title": pack.contracts[dataset].title, "dataset": dataset, "periods": periods, "rows": rows})
    counted: Counter[str] = Counter(states[o.slot].state for o in owed)
    return visit.page(
        "region/coverage.html", region=pack.region, tables=tables, years=years, year=year,
        counted=[(state, counted[state]) for state in WORST_FIRST if counted[state]],
    )  # fmt: skip


@door(router, "GET", "/region/offen", "region.see")
def open_ends(visit: AVisit) -> Response:
    """What is overdue, what is stale, and which rules fail most and where."""
    owed, states = _standing(visit)
    pack = visit.desk.pack.shared
    acted = [o for o in owed if states[o.slot].state in ACT_ON]
    acted.sort(key=lambda o: (WORST_FIRST.index(states[o.slot].state), o.due_on))
    waiting = [
        {
            "supplier": pack.suppliers[o.slot.supplier],
            "title": pack.contracts[o.slot.dataset].title,
            "slot": o.slot,
            "due_on": o.due_on,
            "days": (date.today() - o.due_on).days,
            "state": states[o.slot].state,
            "newest": states[o.slot].newest,
        }
        for o in acted[:MOST_OPEN]
    ]
    troubles = visit.services.troubles.most(
        50, lambda trouble: trouble.dataset in pack.contracts and trouble.supplier in pack.suppliers
    )
    return visit.page("region/open.html", waiting=waiting, more=len(acted) - len(waiting), troubles=troubles, pack=pack)


@door(router, "GET", "/zeugnisse", "scores.see")
def scores(visit: AVisit) -> Response:
    """Scores of all suppliers, the same for everybody who looks."""
    pack = visit.desk.pack.shared
    try:
        found = scorecards(visit.desk.settings)
    except NoRelease:
        return visit.page("region/scores.html", release=None, rows=[], topics=TOPICS)
    rows = [(pack.suppliers[s], own) for s, own in found.scores.items() if s in pack.suppliers]
    rows.sort(key=lambda row: row[0].name)
    return visit.page("region/scores.html", release=found.release, rows=rows, topics=TOPICS)


@door(router, "GET", "/staende", "scores.see")
def stands(visit: AVisit) -> Response:
    """The releases, newest first, with what was said of them."""
    return visit.page("region/releases.html", releases=list(reversed(releases(visit.desk.settings)))[:50])


def _standing(visit: Visit) -> tuple[list[OwedSlot], dict[Slot, SlotState]]:
    """Everything that is owed by now, and how it stands."""
    now = datetime.now(UTC)
    owed = visit.desk.owed(now.date())
    return owed, visit.desk.standing(owed, now)
