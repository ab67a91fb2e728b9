"""One visit of a page: who it is, in which language, and whether they may; and how a route says what it does.

Every route is made by `door`, which names the act of `portal.rights` behind it and looks at the supplier in the path (or
in the delivery's id) before the page's own code runs. A form must come from a page of ours and bring back the word of its
session.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Header, HTTPException, Request, status
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from portal.rights import Act, may
from portal.services import Services, services_of
from portal.texts import LANGUAGES, Language
from portal.views import render
from quality.desk import Desk
from storage.paths import parse_delivery_id
from storage.people import People, Person, Session

COOKIE = "verbund_session"
#: The path of each route and what it does; a test walks it with every role.
DOORS: dict[tuple[str, str], Act] = {}


@dataclass
class Visit:
    """What a page needs to know of whoever asked for it."""

    request: Request
    services: Services
    session: Session | None
    language: Language

    @property
    def person(self) -> Person:
        """Who is signed in; only where the act asks for somebody."""
        assert self.session is not None
        return self.session.person

    @property
    def desk(self) -> Desk:
        return self.services.desk

    @property
    def people(self) -> People:
        return self.services.people

    @property
    def contested(self) -> frozenset[str]:
        """Figures of a release that are contested, so that whoever sees one sees that, too."""
        return self.services.threads.contested_figures()

    @property
    def address(self) -> str:
        """Where it came from."""
        return self.request.client.host if self.request.client else ""

    @property
    def suppliers(self) -> list[str]:
        """Whose clerk or lead this person is."""
        if self.session is None:
            return []
        return sorted({of for _, of in self.session.person.roles if of})

    def may(self, act: Act, supplier: str | None = None) -> bool:
        return may(self.session.person if self.session else None, act, supplier)

    def page(self, template: str, *, code: int = 200, **told: Any) -> HTMLResponse:
        """A page in the visitor's language."""
        return HTMLResponse(render(template, self, **told), status_code=code)

    def go(self, path: str) -> RedirectResponse:
        """After a form: on to a page of ours."""
        return RedirectResponse(path, status_code=status.HTTP_303_SEE_OTHER)

    def note(self, act: str, on: str = "", **facts: Any) -> None:
        """Write down what was done."""
        who = self.session.person.who if self.session else "nobody"
        self.people.note(who, act, on, address=self.address, **facts)


def door(
    router: APIRouter, method: str, path: str, act: Act, *, sends: Literal["form", "bytes"] = "form"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function the page behind a path; its argument `visit` is the visit, once it is allowed.

    Where a page of ours sends bytes, not a form, the word of the session comes in the header `X-Form`.
    """

    def made(function: Callable[..., Any]) -> Callable[..., Any]:
        DOORS[method, path] = act
        needs = [Depends(_allowed(act))]
        if sends == "bytes":
            needs.append(Depends(_own_script))
        elif method == "POST":
            needs.append(Depends(_own_form))
        router.add_api_route(
            path, function, methods=[method], dependencies=needs, response_class=HTMLResponse, include_in_schema=False
        )
        return function

    return made


def visit_of(request: Request) -> Visit:
    """The visit behind a request."""
    if (found := getattr(request.state, "visit", None)) is not None:
        return cast(Visit, found)
    services = services_of(request)
    cookie = request.cookies.get(COOKIE)
    session = services.people.session(cookie) if cookie else None
    made = Visit(request, services, session, language_of(request, session))
    request.state.visit = made
    return made


AVisit = Annotated[Visit, Depends(visit_of)]


def _allowed(act: Act) -> Callable[[Request, Visit], None]:
    def look(request: Request, visit: AVisit) -> None:
        supplier = supplier_of(request)
        if visit.may(act, supplier):
            return
        if visit.session is None:
            # not to be told whether there is such a page
            raise HTTPException(status.HTTP_401_UNAUTHORIZED)
        raise HTTPException(status.HTTP_404_NOT_FOUND)

    return look


def supplier_of(request: Request) -> str | None:
    """The supplier an address is about.

    Raises:
        HTTPException: The address names no delivery.
    """
    told = request.path_params
    if "supplier" in told:
        return str(told["supplier"])
    if "delivery" in told:
        try:
            return parse_delivery_id(str(told["delivery"])).supplier
        except ValueError:
            raise HTTPException(status.HTTP_404_NOT_FOUND) from None
    return None


def _own_form(request: Request, visit: AVisit, form: Annotated[str, Form()] = "") -> None:
    """A form that another site made, or that is of another session, changes nothing."""
    _ours(request, visit, form)


def _own_script(request: Request, visit: AVisit, x_form: Annotated[str, Header()] = "") -> None:
    """The same of what a script sends."""
    _ours(request, visit, x_form)


def _ours(request: Request, visit: Visit, form: str) -> None:
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    foreign = site not in (None, "same-origin", "none")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        foreign = True
    if foreign:
        raise HTTPException(status.HTTP_403_FORBIDDEN)
    if visit.session is not None and not secrets.compare_digest(form, visit.session.form):
        raise HTTPException(status.HTTP_403_FORBIDDEN)


def language_of(request: Request, session: Session | None) -> Language:
    asked = request.query_params.get("lang") or request.cookies.get("verbund_language")
    if asked in LANGUAGES:
        return cast(Language, asked)
    if session is not None and session.person.language in LANGUAGES:
        return cast(Language, session.person.language)
    wanted = request.headers.get("accept-language", "").lower()
    return "en" if wanted.startswith("en") else "de"


def sign(response: Response, request: Request, cookie: str) -> Response:
    """Give a session's cookie to a browser; only over TLS where the page came by it."""
    response.set_cookie(COOKIE, cookie, httponly=True, samesite="lax", secure=request.url.scheme == "https", path="/")
    return response
