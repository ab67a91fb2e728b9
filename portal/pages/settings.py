"""What somebody decides for themselves: when to hear, who hears in their place, and the address of their calendar."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Form
from fastapi.responses import Response

from portal.texts import LANGUAGES
from portal.visit import AVisit, Visit, door
from storage.mails import PACES, Choice, Pace
from storage.people import Person

router = APIRouter()


@door(router, "GET", "/einstellungen", "settings.own")
def settings(visit: AVisit) -> Response:
    """What one may choose."""
    return _page(visit)


@door(router, "POST", "/einstellungen", "settings.own")
def choose(
    visit: AVisit, pace: Annotated[str, Form()] = "", deputy: Annotated[str, Form()] = "",
    language: Annotated[str, Form()] = "de",
) -> Response:  # fmt: skip
    """Keep when and in which language somebody wants to hear, and who is their deputy."""
    colleagues = {person.person_id for person in _colleagues(visit)}
    if pace not in PACES or language not in LANGUAGES or (deputy and deputy not in colleagues):
        return _page(visit, problem="settings.wrong", code=422)
    visit.services.mails.choose(visit.person.person_id, cast(Pace, pace), deputy or None)
    visit.people.speak(visit.person, language)
    visit.note("settings.choose", pace=pace, deputy=deputy, language=language)
    return _page(visit, speaks=language, is_saved=True)


@door(router, "POST", "/einstellungen/kalender", "settings.own")
def renew_calendar(visit: AVisit) -> Response:
    """A new address of the calendar, shown once."""
    token = visit.people.renew_feed(visit.person)
    visit.note("calendar.renew")
    return _page(visit, address=str(visit.request.url_for("feed", token=token)))


def _page(
    visit: Visit,
    *,
    address: str | None = None,
    speaks: str | None = None,
    is_saved: bool = False,
    problem: str | None = None,
    code: int = 200,
) -> Response:
    choice = visit.services.mails.choices().get(visit.person.person_id, Choice())
    usual: Pace = "daily" if ("coordinator", "") in visit.person.roles else "at_once"
    return visit.page(
        "settings.html", code=code, address=address, feed_made_at=visit.people.feed_made_at(visit.person), paces=PACES,
        pace=choice.pace or usual, deputy=choice.deputy_id or "", colleagues=_colleagues(visit), is_saved=is_saved,
        problem=problem, languages=LANGUAGES, speaks=speaks or visit.person.language,
    )  # fmt: skip


def _colleagues(visit: Visit) -> list[Person]:
    """The others who deliver for the same supplier."""
    own = set(visit.suppliers)
    return [
        person
        for person in visit.people.everybody()
        if person.person_id != visit.person.person_id and own & {of for _, of in person.roles if of}
    ]
