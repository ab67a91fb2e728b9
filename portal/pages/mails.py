"""Which messages could not be sent: for coordinators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form
from fastapi.responses import Response

from portal.visit import AVisit, door
from storage import clock

router = APIRouter()


@door(router, "GET", "/nachrichten", "mails.see")
def mails(visit: AVisit) -> Response:
    """What is stuck, and why."""
    known = {person.person_id: person for person in visit.people.everybody()}
    messages: dict[str, dict[str, Any]] = {}
    for mail in visit.services.mails.troubled():
        message = messages.setdefault(
            str(mail.message_id), {"mail": mail, "to": known.get(mail.person_id), "kinds": []}
        )
        if mail.kind not in message["kinds"]:
            message["kinds"].append(mail.kind)
    waiting, sent = visit.services.mails.counts()
    by_server = visit.desk.settings.smtp_host is not None
    return visit.page("mails.html", messages=messages, waiting=waiting, sent=sent, by_server=by_server)


@door(router, "POST", "/nachrichten", "mails.again")
def again(visit: AVisit, message: Annotated[str, Form()] = "") -> Response:
    """Try a message again."""
    if visit.services.mails.again(message, clock.now()):
        visit.note("mails.again", message)
    return visit.go("/nachrichten")
