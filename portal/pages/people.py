"""Who may come in, and what was done: for coordinators."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Form, HTTPException
from fastapi.responses import Response

from portal.visit import AVisit, Visit, door
from storage.people import ROLES, Role

router = APIRouter()


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
def acts(visit: AVisit) -> Response:
    """What was done through these pages, the newest first."""
    return visit.page("acts.html", acts=visit.people.acts())


def _page(visit: Visit, *, link: str | None = None, problem: str | None = None, code: int = 200) -> Response:
    suppliers = sorted(visit.desk.pack.shared.suppliers.values(), key=lambda supplier: supplier.name)
    told = {"everybody": visit.people.everybody(), "roles": ROLES, "suppliers": suppliers}
    return visit.page("people.html", code=code, link=link, problem=problem, **told)
