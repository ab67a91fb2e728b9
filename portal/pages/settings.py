"""What somebody decides for themselves: the address of their calendar."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from portal.visit import AVisit, Visit, door

router = APIRouter()


@door(router, "GET", "/einstellungen", "settings.own")
def settings(visit: AVisit) -> Response:
    """What one may choose."""
    return _page(visit)


@door(router, "POST", "/einstellungen/kalender", "settings.own")
def renew_calendar(visit: AVisit) -> Response:
    """A new address of the calendar, shown once."""
    token = visit.people.renew_feed(visit.person)
    visit.note("calendar.renew")
    return _page(visit, address=str(visit.request.url_for("feed", token=token)))


def _page(visit: Visit, *, address: str | None = None) -> Response:
    return visit.page("settings.html", address=address, feed_made_at=visit.people.feed_made_at(visit.person))
