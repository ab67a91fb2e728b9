"""The description of the interface (OpenAPI), made from its routes and models."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from portal.api import models

PROBLEM = "application/problem+json"
ABOUT = """The acts of the portal for programs of suppliers: what is owed, handing in, checking first, what became of it.

Every call shows a token (`Authorization: Bearer verbund_…`), which a lead of the supplier or the coordination makes in the
portal. It is one supplier's, may do what it was made for, and ends. A refusal is `application/problem+json` and says what
is wrong and what to do, in German or, with `Accept-Language: en`, in English.
"""
_REFUSALS = {
    401: "No token, or one that lets nobody in (any more).", 403: "The token was not made for this.",
    404: "There is no such thing, or it is not yours.", 422: "Something in the call cannot be used; nothing was stored.",
}  # fmt: skip
_REFUSALS_OF_FILES = {
    400: "The file broke off; nothing was stored.", 413: "The file is too large.", 415: "Send the bytes of the file and nothing around them.",
    429: "Too much at once; `Retry-After` says when to try again.",
}  # fmt: skip
_BODY = {
    "required": True,
    "description": "The bytes of the file. What the header says of their kind counts for nothing.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FILES = {
    "application/json": {"schema": {"type": "object"}},
    "text/html": {"schema": {"type": "string"}},
    _WORKBOOK: {"schema": {"type": "string", "format": "binary"}},
}


def described(model: Any, summary: str, *, code: int = 200, body: bool = False) -> dict[str, Any]:
    """What a route's maker tells of it: what it answers, how it refuses, and whether a file goes with the call."""
    refusals = _REFUSALS | (_REFUSALS_OF_FILES if body else {})
    problem = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    told: dict[str, Any] = {
        "response_model": model,
        "summary": summary,
        "status_code": code,
        "responses": {code: {"description": why, "content": problem} for code, why in sorted(refusals.items())},
    }
    if model is None:
        told["responses"][200] = {"description": "The file.", "content": FILES}
    if body:
        told["openapi_extra"] = {"requestBody": _BODY}
    return told


def description(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application, made once."""
    if app.openapi_schema is None:
        told = get_openapi(
            title="Verbund", version="1", summary="Deliveries by program", description=ABOUT, routes=app.routes
        )
        problem = models.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        told["components"]["schemas"] |= {**problem.pop("$defs"), "Problem": problem}
        app.openapi_schema = told
    return app.openapi_schema
