"""One call of a program: whose token it shows and whether that is enough; and how a route of the interface is made.

The counterpart of `portal.visit` for programs: every route is made by `api_door`, the same table of rights decides, and
the supplier is told by the path. Cookies count for nothing here, so no other site's page can call in somebody's name.
A refusal is `application/problem+json` (RFC 9457) in plain words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Security, status
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer

from portal import texts
from portal.api.describing import PROBLEM
from portal.rights import Act, may
from portal.services import Services, services_of
from portal.texts import Language
from portal.visit import language_of, supplier_of
from quality.desk import Desk
from storage.tokens import Token, TokenRefused

BASE = "/api/v1"
#: The path of each route and what it does; a test walks it with tokens of every kind.
API_DOORS: dict[tuple[str, str], Act] = {}

_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="A token made in the portal: `verbund_…`.")


class Problem(HTTPException):
    """A refusal with its reason.

    Args:
        code: HTTP's word for it.
        problem: Key of the text that says what is wrong; that with `.remedy` says what to do.
        facts: What fills the blanks of both.
    """

    def __init__(
        self, code: int, problem: str, *, headers: Mapping[str, str] | None = None, errors: Any = None, **facts: object
    ) -> None:
        super().__init__(code, headers=dict(headers or {}))
        self.problem, self.facts, self.errors = problem, facts, errors


@dataclass
class Call:
    """What a route needs to know of the program that calls."""

    request: Request
    token: Token | None

    @property
    def program(self) -> Token:
        """Whose token came; only where the act asks for one."""
        assert self.token is not None
        return self.token

    @property
    def services(self) -> Services:
        return services_of(self.request)

    @property
    def desk(self) -> Desk:
        return self.services.desk

    def note(self, act: Act, on: str = "", **facts: Any) -> None:
        """Write down what was done."""
        address = self.request.client.host if self.request.client else ""
        self.services.people.note(self.program.who, act, on, address=address, token=self.program.name, **facts)


def call_of(request: Request, shown: Annotated[Any, Security(_bearer)]) -> Call:
    """The call behind a request."""
    if shown is None:
        return Call(request, None)
    services = services_of(request)
    try:
        token = services.tokens.use(shown.credentials)
    except TokenRefused as error:
        problem = (
            "api.token_unknown"
            if error.since is None
            else "api.token_revoked"
            if error.revoked
            else "api.token_expired"
        )
        raise Problem(status.HTTP_401_UNAUTHORIZED, problem, headers=_asked("invalid_token")) from None
    if not services.vouched(token):
        raise Problem(status.HTTP_401_UNAUTHORIZED, "api.token_unvouched", headers=_asked("invalid_token"))
    return Call(request, token)


ACall = Annotated[Call, Depends(call_of)]


def api_door(
    router: APIRouter, method: str, path: str, act: Act, **described: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function the answer behind a path; its argument `call` is the call, once it is allowed."""

    def made(function: Callable[..., Any]) -> Callable[..., Any]:
        API_DOORS[method, path] = act
        router.add_api_route(path, function, methods=[method], dependencies=[Depends(_allowed(act))], **described)
        return function

    return made


def refused(request: Request, error: HTTPException) -> JSONResponse:
    """The answer to a program that cannot be served."""
    if isinstance(error, Problem):
        return _problem(request, error.status_code, error.problem, error.facts, error.headers, error.errors)
    known = {401: "api.no_token", 403: "api.not_allowed", 404: "api.not_there", 405: "api.no_such_way"}
    return _problem(request, error.status_code, known.get(error.status_code, "api.not_understood"), {}, error.headers)


def _problem(
    request: Request, code: int, problem: str, facts: Mapping[str, object], headers: Mapping[str, str] | None,
    errors: Any = None,
) -> JSONResponse:  # fmt: skip
    language: Language = language_of(request, None)
    told = {
        "type": f"urn:verbund:problem:{problem.removeprefix('api.')}",
        "title": texts.text(problem, language, **facts),
        "status": code,
        "detail": texts.text(f"{problem}.remedy", language, **facts),
        **({"errors": errors} if errors else {}),
    }
    return JSONResponse(told, code, {**(headers or {}), "Content-Language": language}, PROBLEM)


def _allowed(act: Act) -> Callable[[Request, Call], None]:
    def look(request: Request, call: ACall) -> None:
        supplier = supplier_of(request)
        if may(call.token, act, supplier):
            return
        if call.token is None:
            raise Problem(status.HTTP_401_UNAUTHORIZED, "api.no_token", headers=_asked())
        if supplier in (call.token.supplier, None):
            raise Problem(status.HTTP_403_FORBIDDEN, "api.not_allowed", headers=_asked("insufficient_scope"))
        # not to be told whether there is such a thing
        raise Problem(status.HTTP_404_NOT_FOUND, "api.not_there")

    return look


def _asked(error: str | None = None) -> dict[str, str]:
    return {"WWW-Authenticate": "Bearer" + (f' error="{error}"' if error else "")}
