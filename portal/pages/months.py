"""Deadlines as a month and as a calendar that programs subscribe to."""

from __future__ import annotations

from calendar import Calendar
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import icalendar
from babel.dates import format_date, get_day_names
from fastapi import APIRouter, HTTPException
from fastapi.responses import PlainTextResponse, Response

from portal import texts
from portal.pages.duties import OPEN
from portal.rights import may
from portal.visit import AVisit, Visit, door
from storage.people import Person

router = APIRouter()
#: What a calendar shows beside all that is open: so far back, and so far ahead.
BACK, AHEAD = timedelta(days=90), timedelta(days=366)


@door(router, "GET", "/pflichten/{supplier}/monat", "duties.see")
def month(visit: AVisit, supplier: str, monat: str = "") -> Response:
    """One month with what is due on which day."""
    pack = visit.desk.pack.shared
    if supplier not in pack.suppliers:
        raise HTTPException(404)
    now = datetime.now(UTC)
    first = _first(monat) or now.date().replace(day=1)
    weeks = Calendar().monthdatescalendar(first.year, first.month)
    own = visit.desk.owed(weeks[-1][-1], supplier=supplier)
    states = visit.desk.standing(own, now, supplier=supplier)
    due = defaultdict(list)
    for o in own:
        due[o.due_on].append((o, pack.contracts[o.slot.dataset].title, states[o.slot]))
    names = get_day_names("wide", "stand-alone", locale=visit.language)
    return visit.page(
        "duties/month.html", supplier=pack.suppliers[supplier], weeks=weeks, first=first, due=due, today=now.date(),
        weekdays=[names[number] for number in range(7)], title=format_date(first, "LLLL y", locale=visit.language),
        before=f"{first - timedelta(days=1):%Y-%m}", after=f"{first + timedelta(days=31):%Y-%m}",
    )  # fmt: skip


@door(router, "GET", "/kalender/{token}.ics", "calendar.feed")
def feed(visit: AVisit, token: str) -> Response:
    """The deadlines of whoever has this address, for a calendar program."""
    person = visit.people.of_feed(token)
    if person is None:
        return PlainTextResponse(texts.text("feed.gone", visit.language), status_code=410)
    return Response(_calendar(visit, person), media_type="text/calendar")


def _calendar(visit: Visit, person: Person) -> bytes:
    """Deadlines of every supplier somebody may see the duties of: what is open, and what is near."""
    pack, now, language = visit.desk.pack.shared, datetime.now(UTC), texts.language(person.language)
    own = [o for o in visit.desk.owed(now.date() + AHEAD) if may(person, "duties.see", o.slot.supplier)]
    states = visit.desk.standing(own, now)
    made = icalendar.Calendar()
    made.add("prodid", "-//Verbund//DE")
    made.add("version", "2.0")
    made.add("x-wr-calname", texts.text("feed.name", language, name=pack.region.name))
    for o in own:
        state = states[o.slot].state
        if state not in OPEN and not now.date() - BACK <= o.due_on:
            continue
        supplier, title = pack.suppliers[o.slot.supplier], pack.contracts[o.slot.dataset].title
        event = icalendar.Event()
        event.add("uid", f"{o.slot}@{pack.region.id}.verbund")
        event.add("dtstamp", now)
        event.add("dtstart", o.due_on)
        event.add("dtend", o.due_on + timedelta(days=1))
        event.add("transp", "TRANSPARENT")
        event.add("summary", f"{title.get(language, o.slot.dataset)} {o.slot.period} ({supplier.name})")
        event.add("description", texts.text(f"state.{state}", language))
        event.add("url", f"{visit.desk.settings.portal_address}/pflichten/{supplier.id}")
        made.add_component(event)
    written: bytes = made.to_ical()
    return written


def _first(month: str) -> date | None:
    """The first day of a month written as 2026-11; None where it is none a calendar has room around."""
    try:
        first = date.fromisoformat(f"{month}-01")
    except ValueError:
        return None
    return first if 1900 < first.year < 2200 else None
