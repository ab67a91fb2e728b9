"""Mails that are to be sent, once each: the outbox, and how everybody wants to hear.

Kept in the database of the ledger. What is worth telling is in `quality.announcing`, how it is worded in `portal.letters`,
and the way out in `storage.mailing`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, cast, get_args

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage.ledger import tables as t
from storage.ledger.opening import Store

#: As it happens, or once a day.
Pace = Literal["at_once", "daily"]
PACES: tuple[Pace, ...] = get_args(Pace)
# SQLite takes 32,766 parameters in a statement
_AT_ONCE = 10_000


@dataclass(frozen=True)
class Notice:
    """Something to tell somebody.

    Attributes:
        key: Names it once and for all: a second one of the same key is none.
        kind: What happened; words for it are the portal's.
        facts: What it is about: `supplier`, mostly `dataset` and `period`, and by kind `delivery`, `state`, `due_on`, `thread`.
            Never figures.
        bundle: Notices of one person and bundle go out in one message; empty: in one of its own.
        next_at: Not before.
    """

    key: str
    person_id: str
    kind: str
    facts: Mapping[str, str]
    created_at: datetime
    bundle: str
    next_at: datetime


@dataclass(frozen=True)
class Mail(Notice):
    """A notice in the outbox, with what became of it."""

    id: int = 0
    message_id: str | None = None
    tries: int = 0
    sent_at: datetime | None = None
    failed_at: datetime | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Choice:
    """How somebody wants to hear (None: nothing was chosen), and who hears when they let a deadline pass."""

    pace: Pace | None = None
    deputy_id: str | None = None


class Mails(Store):
    """The outbox of one installation. Many threads and processes may use it at once; only one may send."""

    # --- what is to be told ---

    def announced(self, what: str) -> int | None:
        """Up to which event everything was announced; None before the first time."""
        with self._engine.connect() as c:
            chosen = sa.select(t.announced.c.up_to).where(t.announced.c.what == what)
            return c.execute(chosen).scalar_one_or_none()

    def announce(self, notices: Iterable[Notice], announced: Mapping[str, int] | None = None) -> int:
        """Put notices into the outbox, each key once, and note up to where everything was announced: all or nothing.

        Returns:
            How many were new.
        """
        rows = {notice.key: {**asdict(notice), "tries": 0} for notice in notices}
        for known in self._known(list(rows)):
            del rows[known]
        # nothing is written, and no disk waited for, where nothing is new
        if not rows and not announced:
            return 0
        new = 0
        with self._write() as c:
            insert = (postgresql if c.dialect.name == "postgresql" else sqlite).insert
            for row in rows.values():
                added = insert(t.mails).values(row).on_conflict_do_nothing().returning(t.mails.c.id)
                new += c.execute(added).one_or_none() is not None
            for what, up_to in (announced or {}).items():
                c.execute(sa.delete(t.announced).where(t.announced.c.what == what))
                c.execute(sa.insert(t.announced), {"what": what, "up_to": up_to})
        return new

    def told(self, kind: str, since: datetime) -> dict[tuple[str, str, str, str], datetime]:
        """When notices of a kind were first made, by supplier, dataset, period and `due_on`."""
        m = t.mails.c
        chosen = sa.select(m.facts, m.created_at).where(m.kind == kind, m.created_at >= since).order_by(m.id.desc())
        with self._engine.connect() as c:
            return {
                (row.facts["supplier"], row.facts["dataset"], row.facts["period"], row.facts["due_on"]): row.created_at
                for row in c.execute(chosen)
            }

    def waiting(self, kinds: Collection[str]) -> list[Mail]:
        """What of these kinds is not sent yet and not given up."""
        return self._found(_OPEN & t.mails.c.kind.in_(kinds))

    def drop(self, ids: Collection[int]) -> None:
        """Take out what is not true any more and was not sent; the same key may be put in again."""
        if ids:
            with self._write() as c:
                c.execute(sa.delete(t.mails).where(t.mails.c.id.in_(ids), t.mails.c.sent_at.is_(None)))

    # --- sending ---

    def due(self, now: datetime) -> list[tuple[str, Sequence[Mail]]]:
        """Messages that are to be sent now, oldest first: their id and what is in them.

        A message keeps its id and what is in it, so that whoever gets it twice after a broken line can tell.
        """
        fresh = _OPEN & t.mails.c.message_id.is_(None) & (t.mails.c.next_at <= now)
        together: dict[tuple[str, str], list[Mail]] = defaultdict(list)
        for mail in self._found(fresh):
            together[mail.person_id, mail.bundle or f"alone/{mail.key}"].append(mail)
        with self._write() as c:
            for group in together.values():
                named = _message_id(group)
                ids = [mail.id for mail in group]
                c.execute(sa.update(t.mails).where(t.mails.c.id.in_(ids)).values(message_id=named))
        messages: dict[str, list[Mail]] = defaultdict(list)
        for mail in self._found(_OPEN & t.mails.c.message_id.is_not(None) & (t.mails.c.next_at <= now)):
            messages[cast(str, mail.message_id)].append(mail)
        return list(messages.items())

    def sent(self, message_id: str, at: datetime) -> None:
        """Note that a message is out."""
        self._change(message_id, {"sent_at": at, "problem": None})

    def put_off(self, message_id: str, until: datetime, problem: str) -> None:
        """Try a message again later."""
        self._change(message_id, {"next_at": until, "tries": t.mails.c.tries + 1, "problem": problem})

    def give_up(self, message_id: str, at: datetime, problem: str) -> None:
        """Try a message no more, until somebody asks for it."""
        self._change(message_id, {"failed_at": at, "tries": t.mails.c.tries + 1, "problem": problem})

    def again(self, message_id: str, at: datetime) -> bool:
        """Let a message be tried again from now on; whether there was one that is not out."""
        values = {"next_at": at, "created_at": at, "tries": 0, "failed_at": None}
        return self._change(message_id, values) > 0

    def troubled(self, limit: int = 500) -> list[Mail]:
        """What could not be sent so far, or was given up; the newest first."""
        m = t.mails.c
        chosen = sa.select(t.mails).where(m.sent_at.is_(None), m.tries > 0).order_by(m.id.desc()).limit(limit)
        with self._engine.connect() as c:
            return [Mail(**row._mapping) for row in c.execute(chosen)]

    def counts(self) -> tuple[int, int]:
        """How many notices wait, and how many were sent."""
        m = t.mails.c
        with self._engine.connect() as c:
            chosen = sa.select(sa.func.count(), sa.func.count(m.sent_at), sa.func.count(m.failed_at))
            every, sent, failed = c.execute(chosen).one()._tuple()
        return every - sent - failed, sent

    # --- how everybody wants to hear ---

    def choices(self) -> dict[str, Choice]:
        """What people chose, by their id; who chose nothing is left out."""
        with self._engine.connect() as c:
            rows = c.execute(sa.select(t.mail_choices)).all()
        return {row.person_id: Choice(cast(Pace, row.pace), row.deputy_id) for row in rows}

    def choose(self, person_id: str, pace: Pace, deputy_id: str | None) -> None:
        """Keep what somebody chose. What waits for a digest still goes out with it."""
        with self._write() as c:
            c.execute(sa.delete(t.mail_choices).where(t.mail_choices.c.person_id == person_id))
            c.execute(sa.insert(t.mail_choices), {"person_id": person_id, "pace": pace, "deputy_id": deputy_id})

    def _known(self, keys: Sequence[str]) -> set[str]:
        found: set[str] = set()
        with self._engine.connect() as c:
            for start in range(0, len(keys), _AT_ONCE):
                these = t.mails.c.key.in_(keys[start : start + _AT_ONCE])
                found |= set(c.execute(sa.select(t.mails.c.key).where(these)).scalars())
        return found

    def _change(self, message_id: str, values: Mapping[str, Any]) -> int:
        own = (t.mails.c.message_id == message_id) & t.mails.c.sent_at.is_(None)
        with self._write() as c:
            return c.execute(sa.update(t.mails).where(own).values(values)).rowcount

    def _found(self, where: sa.ColumnElement[bool]) -> list[Mail]:
        with self._engine.connect() as c:
            return [Mail(**row._mapping) for row in c.execute(sa.select(t.mails).where(where).order_by(t.mails.c.id))]


_OPEN = t.mails.c.sent_at.is_(None) & t.mails.c.failed_at.is_(None)


def _message_id(mails: Sequence[Mail]) -> str:
    """What names a message: the keys of what is in it."""
    return hashlib.sha256("\n".join(sorted(mail.key for mail in mails)).encode()).hexdigest()[:32]
