"""Coming in and going out: the start page, signing in, invitations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from portal.provider import NotProved, Provider, ProviderAway
from portal.visit import COOKIE, AVisit, Visit, door, sign
from storage.people import SHORTEST_PASSWORD, NotInvited, TooManyTries, WeakPassword

router = APIRouter()


@door(router, "GET", "/", "page.open")
def start(visit: AVisit) -> Response:
    """The page of whoever comes: their duties, the region, or the way in."""
    if visit.session is None:
        return visit.go("/anmelden")
    if visit.suppliers:
        return visit.go(f"/pflichten/{visit.suppliers[0]}")
    return visit.go("/region") if visit.may("region.see") else visit.page("nothing.html")


@door(router, "GET", "/anmelden", "session.begin")
def ask(visit: AVisit) -> Response:
    """The way in: a form, or the page of the region's provider of identities."""
    return visit.page("sign_in.html", problem=None, email="")


@door(router, "GET", "/anmelden/extern", "session.begin")
async def begin_there(visit: AVisit) -> Response:
    """On to the provider of identities."""
    try:
        return await _provider(visit).ask(visit.request)
    except ProviderAway:
        return visit.page("sign_in.html", code=503, problem="sign_in.provider_away", email="")


@door(router, "GET", "/anmelden/zurueck", "session.begin")
async def begun_there(visit: AVisit) -> Response:
    """Back from the provider: a new session for whom it vouches, with the roles of their groups."""
    provider = _provider(visit)
    try:
        proved = await provider.proved(visit.request)
    except ProviderAway:
        return visit.page("sign_in.html", code=503, problem="sign_in.provider_away", email="")
    except NotProved as error:
        await run_in_threadpool(
            visit.people.note, "nobody", "session.refused", address=visit.address, why=error.why[:200]
        )
        return visit.page("sign_in.html", code=403, problem="sign_in.not_proved", email="")
    roles = provider.roles(proved.groups, visit.desk.pack.suppliers)
    begun = await run_in_threadpool(visit.people.sign_in_by_provider, proved.email, proved.name, roles, provider.issuer)
    if begun is None:
        return visit.page("sign_in.html", code=403, problem="sign_in.not_proved", email="")
    cookie, session = begun
    told = [f"{role} {supplier}".strip() for role, supplier in sorted(roles)]
    await run_in_threadpool(
        visit.people.note, session.person.who, "session.begin", address=visit.address, by=provider.issuer, roles=told
    )
    return sign(visit.go("/"), visit.request, cookie)


@door(router, "POST", "/anmelden", "session.begin")
def begin(visit: AVisit, email: Annotated[str, Form()] = "", password: Annotated[str, Form()] = "") -> Response:
    """A new session, with a cookie nobody knew before."""
    _passwords(visit)
    try:
        begun = visit.people.sign_in(email, password, visit.address)
    except TooManyTries as error:
        told = {"problem": "sign_in.too_often", "email": email, "again_at": error.again_at}
        return visit.page("sign_in.html", code=429, **told)
    if begun is None:
        visit.people.note("nobody", "session.refused", address=visit.address)
        return visit.page("sign_in.html", code=403, problem="sign_in.wrong", email=email)
    cookie, session = begun
    visit.people.note(session.person.who, "session.begin", address=visit.address)
    return sign(visit.go("/"), visit.request, cookie)


@door(router, "POST", "/abmelden", "session.end")
def end(visit: AVisit) -> Response:
    """The session ends here and on the server."""
    visit.people.sign_out(visit.request.cookies[COOKIE])
    visit.note("session.end")
    response = visit.go("/abgemeldet" if visit.services.provider else "/anmelden")
    response.delete_cookie(COOKIE, path="/")
    return response


@door(router, "GET", "/abgemeldet", "session.begin")
async def ended(visit: AVisit) -> Response:
    """Signed out here; where to sign out of the provider, too, for whoever shares a machine."""
    return visit.page("signed_out.html", way_out=await _provider(visit).way_out())


@door(router, "GET", "/einladung/{token}", "invitation.accept")
def invited(visit: AVisit, token: str) -> Response:
    """What somebody is invited to, and the form for a password."""
    _passwords(visit)
    try:
        invitation = visit.people.invitation(token)
    except NotInvited:
        return visit.page("not_invited.html", code=404)
    return visit.page("invited.html", invitation=invitation, token=token, problem=None, shortest=SHORTEST_PASSWORD)


@door(router, "POST", "/einladung/{token}", "invitation.accept")
def accept(
    visit: AVisit, token: str, password: Annotated[str, Form()] = "", again: Annotated[str, Form()] = ""
) -> Response:
    """The account is made, and its owner is in."""
    _passwords(visit)
    try:
        invitation = visit.people.invitation(token)
        if password != again:
            raise WeakPassword("twice the same")
        person = visit.people.accept(token, password)
    except NotInvited:
        return visit.page("not_invited.html", code=404)
    except WeakPassword:
        problem = "invited.different" if password != again else "invited.weak"
        told = {"invitation": invitation, "token": token, "problem": problem, "shortest": SHORTEST_PASSWORD}
        return visit.page("invited.html", code=422, **told)
    cookie, session = visit.people.begin(person)
    visit.people.note(session.person.who, "invitation.accept", invitation.role, address=visit.address)
    return sign(visit.go("/"), visit.request, cookie)


def _passwords(visit: Visit) -> None:
    """Where a provider says who people are, there is no second way in."""
    if visit.services.provider:
        raise HTTPException(404)


def _provider(visit: Visit) -> Provider:
    if visit.services.provider is None:
        raise HTTPException(404)
    return visit.services.provider
