"""Questions and objections: what is said about a receipt, a rule or a figure, in order, by whom and until when.

Kept in the database of the ledger; nothing that was said can be changed. Both sides of a thread, the supplier and the
coordination, read the same one. Who may say what is decided in `portal.rights`; what may follow what, here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Literal, cast, get_args

import sqlalchemy as sa

from storage import clock
from storage.ledger import tables as t
from storage.ledger.opening import Store

About = Literal["receipt", "rule", "figure"]
Kind = Literal["ask", "answer", "contest", "decide"]
Party = Literal["supplier", "coordination"]
State = Literal["asked", "answered", "contested", "decided"]
Decision = Literal["upheld", "partly", "dismissed"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)

#: By when the other side should have answered, and the coordination decided, where nobody names a day; and the latest
#: day that may be named.
ANSWER_WITHIN, DECIDE_WITHIN, LATEST = timedelta(days=14), timedelta(days=30), timedelta(days=180)
LONGEST_TEXT = 4_000
#: What may be said next.
NEXT: Mapping[State, frozenset[Kind]] = {
    "asked": frozenset({"ask", "answer", "contest"}),
    "answered": frozenset({"ask", "contest"}),
    "contested": frozenset({"answer", "decide"}),
    "decided": frozenset(),
}
OPEN: frozenset[State] = frozenset({"asked", "contested"})


class UnknownThread(LookupError):
    """There is no such thread."""


class Unsaid(ValueError):
    """Something that cannot be said: there is no `text` or too much of it, no `day` ahead, or no `decision`."""

    def __init__(self, lacks: Literal["text", "day", "decision"], told: str) -> None:
        self.lacks = lacks
        super().__init__(told)


class OutOfOrder(Exception):
    """Something that cannot be said now, or not by this side."""


@dataclass(frozen=True)
class Topic:
    """What a thread is about. `rule` is one of the delivery's findings, `figure` a field of it or the id of an indicator."""

    supplier: str
    delivery_id: str | None = None
    rule: str | None = None
    figure: str | None = None

    @property
    def about(self) -> About:
        return "rule" if self.rule else "figure" if self.figure else "receipt"


@dataclass(frozen=True)
class Speaker:
    """Who says something: as the ledger names them, as people do, and for which side."""

    who: str
    name: str
    party: Party


@dataclass(frozen=True)
class Entry:
    """One thing that was said; `due_at` is when the next word of the other side is due."""

    at: datetime
    kind: Kind
    party: Party
    who: str
    author: str
    text: str
    decision: Decision | None
    due_at: datetime | None


@dataclass(frozen=True)
class News:
    """That something was said, and by which side; `number` grows in the order of saying."""

    number: int
    at: datetime
    thread_id: int
    kind: Kind
    party: Party
    supplier: str
    delivery_id: str | None


@dataclass(frozen=True)
class Thread:
    """What was said about one topic, oldest first."""

    thread_id: int
    opened_at: datetime
    topic: Topic
    entries: Sequence[Entry]

    @property
    def state(self) -> State:
        """An objection stays one until it is decided, whatever is answered meanwhile."""
        state: State = "asked"
        for entry in self.entries:
            match entry.kind:
                case "contest":
                    state = "contested"
                case "decide":
                    state = "decided"
                case "ask" | "answer" if state != "contested":
                    state = "asked" if entry.kind == "ask" else "answered"
        return state

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def due_at(self) -> datetime | None:
        """When the next word is due, while it is open."""
        due = [entry.due_at for entry in self.entries if entry.kind in ("ask", "contest")]
        return due[-1] if due and self.is_open else None

    @property
    def is_late(self) -> bool:
        return self.due_at is not None and self.due_at < clock.now()

    @property
    def waits_for(self) -> Party | None:
        """Whose turn it is: who was asked answers, the coordination decides."""
        if not self.is_open:
            return None
        last = [entry for entry in self.entries if entry.kind in ("ask", "contest")][-1]
        return "supplier" if self.state == "asked" and last.party == "coordination" else "coordination"

    @property
    def decision(self) -> Decision | None:
        return self.entries[-1].decision

    def may_follow(self, kind: Kind, speaker: Speaker) -> bool:
        """Whether this side may say this now. Nobody answers themselves, and who contested does not decide."""
        if kind not in NEXT[self.state]:
            return False
        match kind:
            case "answer" if self.state == "asked":
                return speaker.party == self.waits_for
            case "contest":
                return speaker.party == "supplier"
            case "decide":
                contesters = {entry.who for entry in self.entries if entry.kind == "contest"}
                return speaker.party == "coordination" and speaker.who not in contesters
            case _:
                return True


class Threads(Store):
    """Every thread of one installation. Many threads and processes may use it at once."""

    def open(
        self, topic: Topic, kind: Literal["ask", "contest"], speaker: Speaker, text: str, due_at: datetime | None = None
    ) -> Thread:
        """Begin a thread with a question or an objection.

        Raises:
            Unsaid: There is no text, or the day is none ahead.
            OutOfOrder: Only the supplier contests.
        """
        if kind == "contest" and speaker.party != "supplier":
            raise OutOfOrder("an objection is the supplier's")
        entry = _entry(kind, speaker, text, due_at)
        row = {
            "opened_at": entry["at"], "supplier": topic.supplier, "kind": topic.about, "delivery_id": topic.delivery_id,
            "rule": topic.rule, "figure": topic.figure,
        }  # fmt: skip
        with self._write() as c:
            made: int = c.execute(sa.insert(t.threads).values(row).returning(t.threads.c.id)).scalar_one()
            c.execute(sa.insert(t.thread_entries), {**entry, "thread_id": made})
            return _chosen(c, t.threads.c.id == made)[0]

    def say(
        self, thread_id: int, kind: Kind, speaker: Speaker, text: str, *, due_at: datetime | None = None,
        decision: str | None = None,
    ) -> Thread:  # fmt: skip
        """Add to a thread.

        Raises:
            UnknownThread: There is none of this number.
            Unsaid: There is no text, the day is none ahead, or a decision says nothing.
            OutOfOrder: Not now, or not by this side.
        """
        if (kind == "decide") != (decision in DECISIONS):
            raise Unsaid("decision", f"a decision is one of {', '.join(DECISIONS)}")
        entry = _entry(kind, speaker, text, due_at, decision)
        own = t.threads.c.id == thread_id
        with self._write() as c:
            # two who decide at once take turns
            if c.execute(sa.select(t.threads.c.id).where(own).with_for_update()).one_or_none() is None:
                raise UnknownThread(thread_id)
            if not _chosen(c, own)[0].may_follow(kind, speaker):
                raise OutOfOrder(kind)
            c.execute(sa.insert(t.thread_entries), {**entry, "thread_id": thread_id})
            return _chosen(c, own)[0]

    def thread(self, thread_id: int) -> Thread:
        """One thread.

        Raises:
            UnknownThread: There is none of this number.
        """
        found = self._found(t.threads.c.id == thread_id)
        if not found:
            raise UnknownThread(thread_id)
        return found[0]

    def of_delivery(self, delivery_id: str) -> list[Thread]:
        """What is said about a delivery, its findings and its figures, oldest first."""
        return self._found(t.threads.c.delivery_id == delivery_id)

    def of_supplier(self, supplier: str) -> list[Thread]:
        """Every thread one supplier takes part in, oldest first."""
        return self._found(t.threads.c.supplier == supplier)

    def on_figure(self, figure: str) -> list[Thread]:
        """What is said about a figure of a release, by whichever supplier."""
        return self._found((t.threads.c.figure == figure) & t.threads.c.delivery_id.is_(None))

    def contested_figures(self) -> frozenset[str]:
        """Figures of a release that somebody contests and nobody has decided on."""
        of_releases = t.threads.c.figure.is_not(None) & t.threads.c.delivery_id.is_(None)
        return frozenset(
            one.topic.figure for one in self._found(of_releases) if one.topic.figure and one.state == "contested"
        )

    def of_deliveries(self, delivery_ids: Sequence[str]) -> list[Thread]:
        """What is said about some deliveries, oldest first."""
        return self._found(t.threads.c.delivery_id.in_(delivery_ids)) if delivery_ids else []

    def everything(self) -> list[Thread]:
        """All threads, oldest first."""
        return self._found(sa.true())

    def said_after(self, number: int) -> list[News]:
        """What was said later than the entry of this number, in order."""
        e, own = t.thread_entries.c, t.threads.c
        chosen = sa.select(e.id.label("number"), e.at, e.thread_id, e.kind, e.party, own.supplier, own.delivery_id)
        joined = chosen.join(t.threads, own.id == e.thread_id).where(e.id > number).order_by(e.id)
        with self._engine.connect() as c:
            return [News(**row._mapping) for row in c.execute(joined).all()]

    def newest_entry(self) -> int:
        """Number of what was said last; 0 before the first."""
        with self._engine.connect() as c:
            newest = sa.select(sa.func.coalesce(sa.func.max(t.thread_entries.c.id), 0))
            return int(c.execute(newest).scalar_one())

    def _found(self, where: sa.ColumnElement[bool]) -> list[Thread]:
        with self._engine.connect() as c:
            return _chosen(c, where)


def figure_id(indicator: str, area: str, period: str) -> str:
    """How a thread names a figure of a release."""
    return f"{indicator}/{area}/{period}"


@dataclass(frozen=True)
class Standing:
    """How objections go (K-47): how many are open, how many were decided, and after how many days in the middle."""

    contested: int
    decided: int
    median_days: float | None


def standing(threads: Sequence[Thread]) -> Standing:
    """How the objections among some threads go."""
    contested = sum(thread.state == "contested" for thread in threads)
    days = [
        (thread.entries[-1].at - next(e.at for e in thread.entries if e.kind == "contest")) / timedelta(days=1)
        for thread in threads
        if thread.state == "decided"
    ]
    return Standing(contested, len(days), median(days) if days else None)


def urgent_first(threads: Sequence[Thread]) -> list[Thread]:
    """Open ones by the day they are due, then the others, the newest first."""
    waiting = sorted((thread for thread in threads if thread.is_open), key=lambda one: one.due_at or one.opened_at)
    done = sorted(
        (thread for thread in threads if not thread.is_open), key=lambda one: one.entries[-1].at, reverse=True
    )
    return [*waiting, *done]


def _entry(
    kind: Kind, speaker: Speaker, text: str, due_at: datetime | None, decision: str | None = None
) -> dict[str, Any]:
    now, said = clock.now(), text.strip()
    if not 0 < len(said) <= LONGEST_TEXT:
        raise Unsaid("text", f"expected a text of at most {LONGEST_TEXT} characters, found {len(said)}")
    if kind not in ("ask", "contest"):
        due_at = None
    elif due_at is None:
        due_at = now + (ANSWER_WITHIN if kind == "ask" else DECIDE_WITHIN)
    elif not now < due_at <= now + LATEST:
        raise Unsaid("day", f"expected a day within the next {LATEST.days}, found {due_at:%Y-%m-%d}")
    return {
        "at": now, "kind": kind, "party": speaker.party, "who": speaker.who, "author": speaker.name, "text": said,
        "decision": decision, "due_at": due_at,
    }  # fmt: skip


def _chosen(c: sa.Connection, where: sa.ColumnElement[bool]) -> list[Thread]:
    rows = c.execute(sa.select(t.threads).where(where).order_by(t.threads.c.id)).all()
    e = t.thread_entries
    said: dict[int, list[Entry]] = defaultdict(list)
    chosen = sa.select(e).where(e.c.thread_id.in_(sa.select(t.threads.c.id).where(where))).order_by(e.c.id)
    for row in c.execute(chosen):
        said[row.thread_id].append(
            Entry(
                row.at, cast(Kind, row.kind), cast(Party, row.party), row.who, row.author, row.text,
                cast("Decision | None", row.decision), row.due_at,
            )
        )  # fmt: skip
    return [
        Thread(row.id, row.opened_at, Topic(row.supplier, row.delivery_id, row.rule, row.figure), said[row.id])
        for row in rows
    ]
