"""Warnings that somebody looked at and found right: which, how many rows, why, who, when. Nothing of it can be changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage import clock
from storage.ledger import tables as t
from storage.ledger.opening import Store

LONGEST_REASON = 1_000
_AT_ONCE = 2_000


class NoReason(ValueError):
    """There is no reason, or too much of one."""


@dataclass(frozen=True)
class Confirmation:
    """One rule of one delivery, warned of for so many `rows`; it says nothing of a verdict that warns of others."""

    delivery_id: str
    rule: str
    rows: int
    at: datetime
    who: str
    author: str
    reason: str

    def document(self) -> dict[str, Any]:
        """As a receipt tells it."""
        return {
            "rule": self.rule,
            "rows": self.rows,
            "reason": self.reason,
            "author": self.author,
            "at": self.at.isoformat(),
        }


class Confirmations(Store):
    """Every confirmation of one installation. Many threads and processes may use it at once."""

    def confirm(self, delivery_id: str, rule: str, rows: int, *, who: str, author: str, reason: str) -> Confirmation:
        """Write a confirmation down; it counts instead of an earlier one.

        Raises:
            NoReason: Nothing was written.
        """
        told = reason.strip()
        if not 0 < len(told) <= LONGEST_REASON:
            raise NoReason(f"expected a reason of at most {LONGEST_REASON} characters, found {len(told)}")
        row: dict[str, Any] = {
            "delivery_id": delivery_id, "rule": rule, "rows": rows, "at": clock.now(), "who": who, "author": author,
            "reason": told,
        }  # fmt: skip
        with self._write() as c:
            c.execute(sa.insert(t.confirmations), row)
        return Confirmation(**row)

    def of(self, delivery_id: str) -> list[Confirmation]:
        """What counts of one delivery, by rule."""
        return self.of_many([delivery_id]).get(delivery_id, [])

    def of_many(self, delivery_ids: Iterable[str]) -> dict[str, list[Confirmation]]:
        """What counts, by delivery; without a line where nothing was confirmed."""
        table = t.confirmations
        wanted, found = sorted(set(delivery_ids)), dict[tuple[str, str], Confirmation]()
        columns = [column for column in table.c if column.name != "id"]
        with self._engine.connect() as c:
            for start in range(0, len(wanted), _AT_ONCE):
                some = table.c.delivery_id.in_(wanted[start : start + _AT_ONCE])
                for row in c.execute(sa.select(*columns).where(some).order_by(table.c.id)):
                    found[row.delivery_id, row.rule] = Confirmation(**row._mapping)
        counting: dict[str, list[Confirmation]] = {}
        for (delivery, _), confirmation in sorted(found.items()):
            counting.setdefault(delivery, []).append(confirmation)
        return counting
