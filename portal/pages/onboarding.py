"""Bringing in a supplier: a form, the proposal it makes of the region pack, and who takes it over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from portal.visit import AVisit, Visit, door
from quality.onboarding import (
    PLAIN_CSV,
    TEMPLATE,
    NotNow,
    Unfit,
    apply,
    dialects_for,
    diff,
    newcomer,
    patch,
    propose,
    standing,
    withdraw,
)
from storage.locks import Busy
from storage.proposals import Proposal

router = APIRouter()
NOT_OWED = ""


@dataclass
class Told:
    """What a form said."""

    fields: Mapping[str, str]
    areas: list[str]


async def _sent(request: Request) -> Told:
    form: FormData = await request.form()
    areas = [area for area in form.getlist("areas") if isinstance(area, str)]
    return Told({name: text for name, text in form.items() if isinstance(text, str)}, areas)


Sent = Annotated[Told, Depends(_sent)]


@door(router, "GET", "/anschliessen", "onboarding.see")
def proposals(visit: AVisit) -> Response:
    """What was proposed, and what became of it."""
    found = visit.services.proposals.newest(visit.desk.pack.region.id)
    return visit.page("onboarding/list.html", proposals=found)


@door(router, "GET", "/anschliessen/neu", "onboarding.propose")
def new(visit: AVisit) -> Response:
    """The form for a new supplier."""
    return _form(visit, Told({}, []))


@door(router, "POST", "/anschliessen/neu", "onboarding.propose")
def make(visit: AVisit, sent: Sent) -> Response:
    """A proposal of what the form says; nothing in the pack changes yet."""
    told, pack = sent.fields, visit.desk.pack
    owed = [
        {
            "dataset": dataset,
            "dialect": told.get(f"dialect.{dataset}", NOT_OWED),
            "valid_from": told.get(f"from.{dataset}", ""),
            "optional": told.get(f"optional.{dataset}", ""),
        }
        for dataset in pack.shared.contracts
    ]
    try:
        wanted = newcomer(pack, told, sent.areas, owed)
        made = propose(
            visit.desk, visit.services.proposals, wanted, who=visit.person.who, author=visit.person.name
        )  # fmt: skip
    except Unfit as error:
        return _form(visit, sent, error.mistakes, code=422)
    visit.note("onboarding.propose", made.supplier, proposal=made.proposal_id)
    return visit.go(f"/anschliessen/{made.proposal_id}")


@door(router, "GET", "/anschliessen/{proposal}", "onboarding.see")
def see(visit: AVisit, proposal: int) -> Response:
    """A proposal: what it says, which files change and how, and what can be done."""
    return _proposal(visit, _found(visit, proposal))


@door(router, "GET", "/anschliessen/{proposal}/patch", "onboarding.see")
def download(visit: AVisit, proposal: int) -> Response:
    """The change as a file, for `git apply` or `patch -p1` in the pack's folder."""
    found = _found(visit, proposal)
    headers = {"Content-Disposition": f'attachment; filename="{found.supplier}.patch"'}
    return Response(patch(found).encode("utf-8"), media_type="text/x-diff; charset=utf-8", headers=headers)


@door(router, "POST", "/anschliessen/{proposal}/uebernehmen", "onboarding.apply")
def take_over(visit: AVisit, proposal: int) -> Response:
    """Write the files into the region pack."""
    found = _found(visit, proposal)
    try:
        apply(visit.desk, visit.services.proposals, found, who=visit.person.who)
    except NotNow:
        # the page says how it stands, and what to do
        return _proposal(visit, _found(visit, proposal), problem="onboarding.not_now", code=409)
    except Busy:
        return _proposal(visit, found, problem="onboarding.busy", code=409)
    visit.note("onboarding.apply", found.supplier, proposal=proposal)
    return visit.go(f"/anschliessen/{proposal}")


@door(router, "POST", "/anschliessen/{proposal}/verwerfen", "onboarding.propose")
def drop(visit: AVisit, proposal: int) -> Response:
    """Take a proposal back."""
    found = _found(visit, proposal)
    try:
        withdraw(visit.services.proposals, found, who=visit.person.who)
    except NotNow:
        return _proposal(visit, _found(visit, proposal), problem="onboarding.not_now", code=409)
    visit.note("onboarding.withdraw", found.supplier, proposal=proposal)
    return visit.go(f"/anschliessen/{proposal}")


def _found(visit: Visit, proposal: int) -> Proposal:
    found = visit.services.proposals.get(proposal)
    if found is None or found.region != visit.desk.pack.region.id:
        raise HTTPException(404)
    return found


def _form(visit: Visit, sent: Told, mistakes: tuple[str, ...] = (), *, code: int = 200) -> Response:
    pack = visit.desk.pack
    lines = [
        {"contract": contract, "dialects": dialects_for(pack, contract.dataset)}
        for contract in sorted(pack.shared.contracts.values(), key=lambda c: c.title.get(visit.language, c.dataset))
    ]
    return visit.page(
        "onboarding/form.html", code=code, told=sent.fields, chosen=sent.areas, mistakes=mistakes, lines=lines,
        areas=pack.region.areas, ways=(TEMPLATE, PLAIN_CSV), first=date(date.today().year, 1, 1),
    )  # fmt: skip


def _proposal(visit: Visit, found: Proposal, *, problem: str | None = None, code: int = 200) -> Response:
    return visit.page(
        "onboarding/proposal.html", code=code, proposal=found, now=standing(visit.desk, found), problem=problem,
        files=[(change, diff(change).splitlines()) for change in found.files], contracts=visit.desk.pack.contracts,
    )  # fmt: skip
