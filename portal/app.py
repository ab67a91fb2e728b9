"""The application: pages, what they are made with, and the headers that keep a page to itself."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException as PlainHTTPException
from starlette.middleware.sessions import SessionMiddleware

from portal.api import routes as api
from portal.api.door import BASE, Problem
from portal.api.door import refused as refused_program
from portal.pages import (
    deliveries,
    duties,
    entering,
    figures,
    grid,
    mails,
    months,
    onboarding,
    people,
    public,
    recognising,
    region,
    session,
    threads,
    tokens,
    uploads,
    words,
)
from portal.pages import settings as own_settings
from portal.services import opened
from portal.visit import visit_of
from quality.errors import PlatformTrouble
from storage.objects.base import StoreDown
from storage.settings import Settings

log = logging.getLogger("verbund.portal")

#: What `make setup` fetched by portal/web/package-lock.json.
WEB = Path(__file__).parent / "web" / "node_modules"
STATIC = {
    "kern": WEB / "@kern-ux" / "native" / "dist",
    "htmx": WEB / "htmx.org" / "dist",
    "tus": WEB / "tus-js-client" / "dist",
    "own": Path(__file__).parent / "static",
}
#: A page loads nothing from elsewhere, runs nothing that stands in it, and is shown in nobody else's frame.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self' data:; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class NotBuilt(FileNotFoundError):
    """What the pages are made with was not fetched."""


def make_app(settings: Settings) -> FastAPI:
    """The portal of an installation.

    Raises:
        NotBuilt: `make setup` did not fetch styles and scripts.
    """
    if missing := [str(folder) for folder in STATIC.values() if not folder.is_dir()]:
        raise NotBuilt(f"the portal's styles are missing ({', '.join(missing)}); run `make setup`")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        with opened(settings) as app.state.services:
            yield

    app = FastAPI(title="Verbund", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    if settings.oidc_issuer:
        # what a sign-in under way must find again; whoever signs in while the portal is started anew begins once more
        app.add_middleware(
            SessionMiddleware, secret_key=secrets.token_hex(32), session_cookie="verbund_sign_in", path="/anmelden",
            max_age=600, https_only=settings.portal_address.startswith("https:"),
        )  # fmt: skip
    for page in (
        session,
        duties,
        months,
        deliveries,
        recognising,
        grid,
        entering,
        uploads,
        region,
        onboarding,
        people,
        threads,
        own_settings,
        mails,
        tokens,
        words,
        api,
    ):
        app.include_router(page.router)
    for page in (figures, public):
        app.include_router(page.router)
    for name, folder in STATIC.items():
        app.mount(f"/static/{name}", StaticFiles(directory=folder), name=name)

    @app.middleware("http")
    async def guarded(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await answer(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if not request.url.path.startswith("/static/"):
            response.headers["Cache-Control"] = "no-store"
        if (asked := request.query_params.get("lang")) in ("de", "en"):
            response.set_cookie("verbund_language", asked, samesite="lax", httponly=True)
        return response

    @app.exception_handler(PlainHTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if _by_program(request):
            return refused_program(request, error)
        visit = visit_of(request)
        if error.status_code == 401:
            return RedirectResponse("/anmelden", status_code=303)
        return visit.page("refused.html", code=error.status_code, status=error.status_code)

    @app.exception_handler(StoreDown)
    @app.exception_handler(PlatformTrouble)
    @app.exception_handler(OperationalError)
    async def trouble(request: Request, error: Exception) -> Response:
        # the store, the database or the judging process is away for a while: nothing was done, and trying again helps
        log.error("%s could not be answered", request.url.path, exc_info=error)
        if _by_program(request):
            return refused_program(request, Problem(503, "api.trouble", headers={"Retry-After": "60"}))
        return visit_of(request).page("refused.html", code=503, status=503)

    @app.exception_handler(RequestValidationError)
    async def unclear(request: Request, error: RequestValidationError) -> Response:
        if _by_program(request):
            wrong = [{"where": " ".join(map(str, part["loc"])), "what": str(part["msg"])} for part in error.errors()]
            return refused_program(request, Problem(422, "api.not_understood", errors=wrong))
        return visit_of(request).page("refused.html", code=422, status=422)

    return app


def _by_program(request: Request) -> bool:
    return request.url.path.startswith(f"{BASE}/")
