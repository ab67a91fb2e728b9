"""Questions and objections: ask, answer, contest, decide. Supplier and coordination read the same page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, HTTPException
from fastapi.responses import Response

from portal.rights import Act
from portal.visit import AVisit, Visit, door
from quality import calendar
from quality.lineage import Figure, Use
from storage.ledger.ledger import UnknownDelivery
from storage.paths import parse_delivery_id
from storage.threads import (
    ANSWER_WITHIN,
    DECIDE_WITHIN,
    DECISIONS,
    Kind,
    OutOfOrder,
    Speaker,
    Thread,
    Topic,
    UnknownThread,
    Unsaid,
    figure_id,
    standing,
    urgent_first,
)  # fmt: skip

router = APIRouter()
Said = Annotated[str, Form()]
#: What may be said, in the order in which it is offered, and the act behind it.
ACTS: Mapping[Kind, Act] = {
    "answer": "thread.answer", "ask": "thread.ask", "contest": "thread.contest", "decide": "thread.decide",
}  # fmt: skip


@door(router, "GET", "/fragen", "threads.see_all")
def everything(visit: AVisit) -> Response:
    """What everybody asked and contested, what is due first."""
    return _list(visit, None, visit.services.threads.everything())


@door(router, "GET", "/fragen/{supplier}", "thread.see")
def own(visit: AVisit, supplier: str) -> Response:
    """What one supplier asked, was asked and contested."""
    _known(visit, supplier)
    return _list(visit, supplier, visit.services.threads.of_supplier(supplier))


@door(router, "GET", "/fragen/{supplier}/neu", "thread.ask")
def begin(visit: AVisit, supplier: str, lieferung: str = "", regel: str = "", zahl: str = "") -> Response:
    """The form for a question or an objection."""
    return _form(visit, _topic(visit, supplier, lieferung, regel, zahl))


@door(router, "POST", "/fragen/{supplier}/neu/frage", "thread.ask")
def ask_first(
    visit: AVisit, supplier: str, text: Said = "", due: Said = "", lieferung: Said = "", regel: Said = "", zahl: Said = ""
) -> Response:  # fmt: skip
    """Begin with a question."""
    return _begin(visit, _topic(visit, supplier, lieferung, regel, zahl), "ask", text, due)


@door(router, "POST", "/fragen/{supplier}/neu/einspruch", "thread.contest")
def contest_first(
    visit: AVisit, supplier: str, text: Said = "", due: Said = "", lieferung: Said = "", regel: Said = "", zahl: Said = ""
) -> Response:  # fmt: skip
    """Begin with an objection."""
    return _begin(visit, _topic(visit, supplier, lieferung, regel, zahl), "contest", text, due)


@door(router, "GET", "/fragen/{supplier}/{thread}", "thread.see")
def see(visit: AVisit, supplier: str, thread: int) -> Response:
    """What was said, and what may be said now."""
    return _page(visit, _thread(visit, supplier, thread))


@door(router, "POST", "/fragen/{supplier}/{thread}/frage", "thread.ask")
def ask(visit: AVisit, supplier: str, thread: int, text: Said = "", due: Said = "") -> Response:
    """Ask again."""
    return _say(visit, _thread(visit, supplier, thread), "ask", text, due)


@door(router, "POST", "/fragen/{supplier}/{thread}/antwort", "thread.answer")
def answer(visit: AVisit, supplier: str, thread: int, text: Said = "") -> Response:
    """Answer what was asked, or say something to an objection."""
    return _say(visit, _thread(visit, supplier, thread), "answer", text)


@door(router, "POST", "/fragen/{supplier}/{thread}/einspruch", "thread.contest")
def contest(visit: AVisit, supplier: str, thread: int, text: Said = "", due: Said = "") -> Response:
    """Not agree."""
    return _say(visit, _thread(visit, supplier, thread), "contest", text, due)


@door(router, "POST", "/fragen/{supplier}/{thread}/entscheidung", "thread.decide")
def decide(visit: AVisit, supplier: str, thread: int, text: Said = "", decision: Said = "") -> Response:
    """Decide an objection; the thread ends with it."""
    return _say(visit, _thread(visit, supplier, thread), "decide", text, decision=decision)


def speaker(visit: Visit, supplier: str) -> Speaker:
    """Whoever asks, and for which side: who works for the supplier never speaks for the coordination here."""
    side: Literal["supplier", "coordination"] = "supplier" if supplier in visit.suppliers else "coordination"
    return Speaker(visit.person.who, visit.person.name, side)


def last_day(visit: Visit, thread: Thread) -> date | None:
    """The last day on which the next word is in time."""
    if thread.due_at is None:
        return None
    zone = ZoneInfo(visit.desk.pack.region.zone)
    return (thread.due_at - timedelta(microseconds=1)).astimezone(zone).date()


def shown(visit: Visit, threads: list[Thread]) -> list[dict[str, Any]]:
    """Threads as lists show them."""
    pack = visit.desk.pack
    return [
        {
            "thread": one,
            "supplier": pack.suppliers[one.topic.supplier].name if one.topic.supplier in pack.suppliers else "–",
            "about": _about(visit, one.topic),
            "due_on": last_day(visit, one),
        }
        for one in urgent_first(threads)
    ]


def said_of(visit: Visit, figure: Figure, uses: Sequence[Use]) -> dict[str, Any]:
    """What the page of a figure tells of what people say: of the figure, and of the deliveries it uses.

    That something is contested, and why a warning is no mistake, is for whoever sees the figure; what was said is for the
    two sides of a thread.
    """
    deliveries = [use.delivery for use in uses]
    on_figure = visit.services.threads.on_figure(figure_id(figure.indicator.id, figure.area, figure.period))
    on_deliveries = visit.services.threads.of_deliveries(deliveries)
    mine = [one for one in (*on_figure, *on_deliveries) if visit.may("thread.see", one.topic.supplier)]
    confirmed = visit.desk.confirmed(deliveries)
    asks = visit.suppliers or sorted({use.supplier for use in uses})
    return {
        "threads": shown(visit, mine),
        "contested_deliveries": len({o.topic.delivery_id for o in on_deliveries if o.state == "contested"}),
        "confirmed": [
            {"supplier": use.supplier, "dataset": use.dataset, "period": parse_delivery_id(use.delivery).period,
             "rule": one.rule, "reason": one.reason}
            for use in uses for one in confirmed.get(use.delivery, ())
        ],
        "may_ask": [supplier for supplier in asks if visit.may("thread.ask", supplier)],
    }  # fmt: skip


def _about(visit: Visit, topic: Topic) -> dict[str, Any]:
    """What a thread is about, in the words of its reader: dataset, period and attempt, then rule or figure."""
    told: dict[str, Any] = {
        "title": None,
        "period": "",
        "attempt": 0,
        "rule": topic.rule,
        "figure": topic.figure,
        "field": None,
    }
    if topic.delivery_id is None:
        return told
    base = parse_delivery_id(topic.delivery_id)
    contract = visit.desk.pack.contracts.get(base.dataset)
    told |= {"title": contract.title if contract else {}, "period": base.period, "attempt": base.attempt}
    if contract and topic.figure and topic.figure in contract.by_name:
        told["field"] = contract.by_name[topic.figure].title
    return told


def _topic(visit: Visit, supplier: str, delivery: str, rule: str, figure: str) -> Topic:
    """What is asked about.

    Raises:
        HTTPException: There is no such supplier, delivery, finding or figure.
    """
    _known(visit, supplier)
    topic = Topic(supplier, delivery or None, rule or None, figure or None)
    if topic.delivery_id is None:
        # a figure of a release, or the cooperation as such
        if rule or (figure and not _sees_figure(visit, figure)):
            raise HTTPException(404)
        return topic
    try:
        base = parse_delivery_id(delivery)
        document = visit.desk.receipt(delivery)
    except (ValueError, UnknownDelivery):
        raise HTTPException(404) from None
    contract = visit.desk.pack.contracts.get(base.dataset)
    fits = base.supplier == supplier and not (rule and figure)
    fits &= not rule or rule in {finding["rule"] for finding in document["findings"]}
    fits &= not figure or (contract is not None and figure in contract.by_name)
    if not fits:
        raise HTTPException(404)
    return topic


def _sees_figure(visit: Visit, figure: str) -> bool:
    from portal.pages.figures import find  # that page tells what is said here

    parts = figure.split("/")
    if len(parts) != 3:
        return False
    find(visit, *parts)
    return True


def _begin(visit: Visit, topic: Topic, kind: Literal["ask", "contest"], text: str, due: str) -> Response:
    try:
        made = visit.services.threads.open(topic, kind, speaker(visit, topic.supplier), text, _day(visit, due))
    except Unsaid as error:
        return _form(visit, topic, text=text, problem=f"threads.no_{error.lacks}", code=422)
    except OutOfOrder:
        return _form(visit, topic, text=text, problem="threads.not_now", code=409)
    visit.note(f"thread.{kind}", f"{topic.supplier}/{made.thread_id}", delivery=topic.delivery_id)
    return visit.go(f"/fragen/{topic.supplier}/{made.thread_id}")


def _say(visit: Visit, thread: Thread, kind: Kind, text: str, due: str = "", decision: str | None = None) -> Response:
    supplier = thread.topic.supplier
    try:
        visit.services.threads.say(
            thread.thread_id, kind, speaker(visit, supplier), text, due_at=_day(visit, due), decision=decision
        )
    except Unsaid as error:
        return _page(visit, thread, text=text, problem=f"threads.no_{error.lacks}", code=422)
    except OutOfOrder:
        # somebody else may have said something meanwhile
        return _page(
            visit, visit.services.threads.thread(thread.thread_id), text=text, problem="threads.not_now", code=409
        )
    visit.note(f"thread.{kind}", f"{supplier}/{thread.thread_id}", delivery=thread.topic.delivery_id)
    return visit.go(f"/fragen/{supplier}/{thread.thread_id}")


def _day(visit: Visit, text: str) -> datetime | None:
    """The end of a day somebody named.

    Raises:
        Unsaid: It is none.
    """
    if not text.strip():
        return None
    try:
        return calendar.due_at(date.fromisoformat(text.strip()), visit.desk.pack.region.zone)
    except (ValueError, OverflowError) as error:
        raise Unsaid("day", f"expected a day like 2026-05-31, found {text!r}") from error


def _known(visit: Visit, supplier: str) -> None:
    if supplier not in visit.desk.pack.suppliers:
        raise HTTPException(404)


def _thread(visit: Visit, supplier: str, number: int) -> Thread:
    try:
        found = visit.services.threads.thread(number)
    except UnknownThread:
        raise HTTPException(404) from None
    if found.topic.supplier != supplier:
        raise HTTPException(404)
    return found


def _list(visit: Visit, supplier: str | None, threads: list[Thread]) -> Response:
    named = visit.desk.pack.suppliers[supplier] if supplier else None
    return visit.page("threads/list.html", supplier=named, threads=shown(visit, threads), standing=standing(threads))


def _form(visit: Visit, topic: Topic, *, text: str = "", problem: str | None = None, code: int = 200) -> Response:
    return visit.page(
        "threads/begin.html", code=code, topic=topic, about=_about(visit, topic), text=text, problem=problem,
        may_contest=visit.may("thread.contest", topic.supplier), days=(ANSWER_WITHIN.days, DECIDE_WITHIN.days),
    )  # fmt: skip


def _page(visit: Visit, thread: Thread, *, text: str = "", problem: str | None = None, code: int = 200) -> Response:
    speaks, supplier = speaker(visit, thread.topic.supplier), thread.topic.supplier
    steps = [kind for kind, act in ACTS.items() if visit.may(act, supplier) and thread.may_follow(kind, speaks)]
    return visit.page(
        "threads/thread.html", code=code, thread=thread, about=_about(visit, thread.topic), steps=steps, text=text,
        problem=problem, decisions=DECISIONS, due_on=last_day(visit, thread), supplier=visit.desk.pack.suppliers[supplier],
        days=(ANSWER_WITHIN.days, DECIDE_WITHIN.days),
    )  # fmt: skip
