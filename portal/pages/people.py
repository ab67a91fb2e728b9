"""Who may come in, and what was done: for coordinators."""

from __future__ import annotations

from typing import Annotated, cast
from urllib.parse import urlencode

from fastapi import APIRouter, Form, HTTPException, Query
from fastapi.responses import Response

from portal import texts
from portal.visit import AVisit, Visit, door
from storage.people import ROLES, Role

router = APIRouter()
#: So many acts stand on a page.
ACTS = 100
#: An act's number, as far as the database counts.
Place = Annotated[int | None, Query(ge=0, lt=2**63)]


@door(router, "GET", "/menschen", "people.see")
def everybody(visit: AVisit) -> Response:
    """All accounts, and the form for an invitation."""
    return _page(visit)


@door(router, "POST", "/menschen", "people.invite")
def invite(
    visit: AVisit, email: Annotated[str, Form()] = "", name: Annotated[str, Form()] = "",
    role: Annotated[str, Form()] = "", supplier: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    """A link for somebody, shown once."""
    if visit.services.provider:
        raise HTTPException(404)
    if role not in ROLES or (supplier and supplier not in visit.desk.pack.suppliers):
        return _page(visit, problem="people.wrong", code=422)
    try:
        token = visit.people.invite(email, name, cast(Role, role), supplier, by=visit.person.who)
    except ValueError:
        return _page(visit, problem="people.wrong", code=422)
    visit.note("people.invite", f"{role} {supplier}".strip(), email=email.strip().casefold())
    return _page(visit, link=str(visit.request.url_for("invited", token=token)))


@door(router, "GET", "/verlauf", "acts.see")
def acts(visit: AVisit, wer: str = "", was: str = "", vor: Place = None, nach: Place = None) -> Response:
    """What was done through these pages, the newest first, page by page from a place that stays where it is."""
    # no name has a zero in it, and PostgreSQL would not hear of one
    only = {"who": wer.strip().replace("\0", ""), "act": was.replace("\0", "")}
    # one more than is shown tells whether there is another page
    shown = visit.people.acts(ACTS + 1, before=vor, after=nach, **only)
    more = len(shown) > ACTS
    told = {"wer": only["who"], "was": only["act"]}
    if nach is not None and not more:
        # what came meanwhile fills the first page
        return visit.go(f"/verlauf?{_query(**told)}")
    shown = shown[1:] if nach is not None else shown[:ACTS]
    first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    newer = _query(**told, nach=first) if shown and (vor is not None or nach is not None) else None
    older = _query(**told, vor=last) if more or nach is not None else None
    kinds = visit.people.kinds_of_acts()
    return visit.page(
        "acts.html",
        acts=shown,
        newer=newer,
        older=older,
        who=only["who"],
        act=only["act"],
        kinds=kinds,
        names={kind: _in_words(kind, visit.language) for kind in {*kinds, *(one["act"] for one in shown)}},
    )


def _in_words(act: str, language: texts.Language) -> str:
    """An act as people call it; of one that a newer Verbund noted, its name."""
    try:
        return texts.text(f"act.{act}", language)
    except KeyError:
        return act


def _query(**told: object) -> str:
    return urlencode({name: value for name, value in told.items() if value})


def _page(visit: Visit, *, link: str | None = None, problem: str | None = None, code: int = 200) -> Response:
    suppliers = sorted(visit.desk.pack.shared.suppliers.values(), key=lambda supplier: supplier.name)
    told = {"everybody": visit.people.everybody(), "roles": ROLES, "suppliers": suppliers}
    return visit.page("people.html", code=code, link=link, problem=problem, **told)
