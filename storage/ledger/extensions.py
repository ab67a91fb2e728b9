"""Deadlines that a supplier asked to have extended, and what was decided. What a deadline is, is in `quality.calendar`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime

import sqlalchemy as sa

from storage import clock
from storage.ledger import tables as t
from storage.paths import Slot


class AlreadyAsked(Exception):
    """Somebody asked for this slot before and has no answer yet."""


class NotOpen(LookupError):
    """There is no such request, or it was decided before."""


@dataclass(frozen=True)
class Extension:
    """Somebody's wish for a later deadline. `granted` is None until somebody decided; `until` is the last day."""

    id: int
    slot: Slot
    asked_by: str
    asked_at: datetime
    until: date
    reason: str
    granted: bool | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    answer: str | None = None


class Extensions:
    """The extensions of one ledger. Many threads and processes may use it at once."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(writes=True)

    def ask(self, slot: Slot, until: date, reason: str, who: str) -> Extension:
        """Ask for a later deadline of one slot.

        Raises:
            AlreadyAsked: Nothing was changed.
        """
        asked = {**asdict(slot), "until": until, "reason": reason, "asked_by": who, "asked_at": clock.now()}
        try:
            with self._writing.begin() as c:
                row = c.execute(sa.insert(t.extensions).values(asked).returning(t.extensions)).one()
        except sa.exc.IntegrityError as error:
            raise AlreadyAsked(str(slot)) from error
        return _extension(row)

    def decide(self, number: int, *, granted: bool, who: str, answer: str = "", until: date | None = None) -> Extension:
        """Grant or refuse what somebody asked for.

        Args:
            number: Of the request.
            granted: Whether the deadline is extended.
            who: Who decided.
            answer: What is said to those who asked.
            until: Another last day than they asked for.

        Raises:
            NotOpen: Nothing was changed.
        """
        e = t.extensions.c
        said = {"granted": granted, "decided_by": who, "decided_at": clock.now(), "answer": answer}
        if until is not None:
            said["until"] = until
        change = sa.update(t.extensions).where(e.id == number, e.granted.is_(None)).values(said).returning(t.extensions)
        with self._writing.begin() as c:
            row = c.execute(change).one_or_none()
        if row is None:
            raise NotOpen(f"there is no open request {number}")
        return _extension(row)

    def granted(self) -> dict[Slot, date]:
        """The last day of every slot whose deadline was extended; what was granted last counts."""
        e = t.extensions.c
        chosen = sa.select(e.supplier, e.dataset, e.period, e.until).where(e.granted).order_by(e.decided_at, e.id)
        with self._engine.connect() as c:
            return {Slot(row.supplier, row.dataset, row.period): row.until for row in c.execute(chosen)}

    def undecided(self) -> list[Extension]:
        """What waits for a decision, oldest first."""
        return self._found(t.extensions.c.granted.is_(None), newest_first=False)

    def decided(self, limit: int = 50) -> list[Extension]:
        """What was decided, the newest first."""
        return self._found(t.extensions.c.granted.is_not(None))[:limit]

    def of(self, supplier: str) -> list[Extension]:
        """Everything one supplier asked for, the newest first."""
        return self._found(t.extensions.c.supplier == supplier)

    def request(self, number: int) -> Extension:
        """One of them.

        Raises:
            NotOpen: There is none.
        """
        for found in self._found(t.extensions.c.id == number):
            return found
        raise NotOpen(f"there is no request {number}")

    def _found(self, where: sa.ColumnElement[bool], *, newest_first: bool = True) -> list[Extension]:
        order = t.extensions.c.id.desc() if newest_first else t.extensions.c.id
        with self._engine.connect() as c:
            return [_extension(row) for row in c.execute(sa.select(t.extensions).where(where).order_by(order))]


def _extension(row: sa.Row[tuple[object, ...]]) -> Extension:
    told = dict(row._mapping)
    slot = Slot(told.pop("supplier"), told.pop("dataset"), told.pop("period"))
    return Extension(slot=slot, **told)
