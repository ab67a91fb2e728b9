"""Drafts: tables somebody began to enter by hand, one for each person and slot, until they are handed in or thrown away.

Kept in the database of the ledger. A draft is nobody's delivery: no state of supply knows of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage import clock
from storage.ledger import tables as t
from storage.ledger.opening import Store
from storage.paths import Slot


@dataclass(frozen=True)
class Draft:
    """What was entered so far: text by field, a line each. `delivery_id` is what it was last handed in as."""

    slot: Slot
    rows: Sequence[Mapping[str, str]]
    saved_at: datetime
    delivery_id: str | None


class Drafts(Store):
    """The drafts of one installation. Many threads and processes may use it at once."""

    def save(
        self, person_id: str, slot: Slot, rows: Sequence[Mapping[str, str]], *, delivery_id: str | None = None
    ) -> None:
        """Keep what somebody entered for a slot, in place of what they kept before."""
        key = _key(person_id, slot)
        told = {"rows": [dict(row) for row in rows], "saved_at": clock.now(), "delivery_id": delivery_id}
        with self._write() as c:
            c.execute(sa.delete(t.drafts).where(*_is(key)))
            c.execute(sa.insert(t.drafts).values(**key, **told))

    def get(self, person_id: str, slot: Slot) -> Draft | None:
        """What somebody kept for a slot."""
        with self._engine.connect() as c:
            row = c.execute(sa.select(t.drafts).where(*_is(_key(person_id, slot)))).mappings().first()
        return _draft(row) if row else None

    def drop(self, person_id: str, slot: Slot) -> None:
        """Throw away what somebody kept for a slot."""
        with self._write() as c:
            c.execute(sa.delete(t.drafts).where(*_is(_key(person_id, slot))))

    def of(self, person_id: str, supplier: str) -> list[Draft]:
        """What somebody began for a supplier and did not hand in yet, newest first."""
        d = t.drafts.c
        mine = sa.select(t.drafts).where(d.person_id == person_id, d.supplier == supplier, d.delivery_id.is_(None))
        with self._engine.connect() as c:
            return [_draft(row) for row in c.execute(mine.order_by(d.saved_at.desc())).mappings()]


def _key(person_id: str, slot: Slot) -> dict[str, str]:
    return {"person_id": person_id, "supplier": slot.supplier, "dataset": slot.dataset, "period": slot.period}


def _is(key: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    return [t.drafts.c[name] == value for name, value in key.items()]


def _draft(row: Mapping[Any, Any]) -> Draft:
    slot = Slot(row["supplier"], row["dataset"], row["period"])
    return Draft(slot, row["rows"], row["saved_at"], row["delivery_id"])
