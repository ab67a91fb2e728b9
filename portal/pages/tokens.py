"""Tokens for a supplier's programs: made, shown once, revoked. What a program may do with one is `portal.api`'s."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException
from fastapi.responses import Response

from portal.rights import OF_PROGRAMS
from portal.visit import AVisit, Visit, door
from storage.tokens import TooManyTokens

router = APIRouter()
#: For how many days a token may be made.
DAYS = (30, 90, 180, 365)


@door(router, "GET", "/zugaenge", "tokens.see_all")
def suppliers(visit: AVisit) -> Response:
    """Every supplier, with how many tokens it has."""
    known = sorted(visit.desk.pack.shared.suppliers.values(), key=lambda supplier: supplier.name)
    services = visit.services
    rows = [
        (supplier, sum(token.ended_at is None and services.vouched(token) for token in services.tokens.of(supplier.id)))
        for supplier in known
    ]
    return visit.page("tokens_by_supplier.html", rows=rows)


@door(router, "GET", "/zugaenge/{supplier}", "tokens.see")
def tokens(visit: AVisit, supplier: str) -> Response:
    """A supplier's tokens, and the form for a new one."""
    return _page(visit, supplier)


@door(router, "POST", "/zugaenge/{supplier}", "tokens.make")
def make(
    visit: AVisit, supplier: str, name: Annotated[str, Form()] = "", days: Annotated[str, Form()] = "",
    acts: Annotated[list[str] | None, Form()] = None,
) -> Response:  # fmt: skip
    """A new token, shown this once."""
    chosen = sorted(set(acts or ()) & set(OF_PROGRAMS))
    told: dict[str, Any] = {"name": name, "days": days, "acts": chosen}
    if not name.strip() or days not in map(str, DAYS) or not chosen:
        return _page(visit, supplier, problem="tokens.wrong", code=422, **told)
    try:
        token, made = visit.services.tokens.make(supplier, name, chosen, int(days), by=visit.person.who)
    except TooManyTokens:
        return _page(visit, supplier, problem="tokens.too_many", code=422, **told)
    except ValueError:
        return _page(visit, supplier, problem="tokens.wrong", code=422, **told)
    visit.note("tokens.make", f"{supplier} {made.token_id}", name=made.name, acts=chosen, days=int(days))
    return _page(visit, supplier, token=token)


@door(router, "POST", "/zugaenge/{supplier}/widerrufen", "tokens.revoke")
def revoke(visit: AVisit, supplier: str, token: Annotated[str, Form()] = "") -> Response:
    """End a token at once."""
    if not visit.services.tokens.revoke(supplier, token):
        return _page(visit, supplier, problem="tokens.gone", code=422)
    visit.note("tokens.revoke", f"{supplier} {token}")
    return visit.go(f"/zugaenge/{supplier}")


def _page(
    visit: Visit, supplier: str, *, token: str | None = None, problem: str | None = None, code: int = 200,
    name: str = "", days: str = "90", acts: list[str] | None = None,
) -> Response:  # fmt: skip
    if supplier not in visit.desk.pack.suppliers:
        raise HTTPException(404)
    there = visit.services.tokens.of(supplier)
    return visit.page(
        "tokens.html", code=code, supplier=visit.desk.pack.suppliers[supplier], tokens=there,
        unvouched={one.token_id for one in there if not visit.services.vouched(one)},
        token=token, problem=problem, name=name, days=days, choices=DAYS, acts=OF_PROGRAMS if acts is None else acts,
        all_acts=OF_PROGRAMS,
    )  # fmt: skip
