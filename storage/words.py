"""Words of suppliers and the codes they stand for, as people mapped them: every one with who, when and why, none ever changed.

A word is mapped anew by another line, and stands for nothing once a line says so. How words are compared is `quality`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage import clock
from storage.ledger import tables as t
from storage.ledger.opening import Store

LONGEST_WORD, LONGEST_REASON = 200, 1_000


class BadWord(ValueError):
    """There is no word or no reason, or too much of it."""


@dataclass(frozen=True)
class Word:
    """One line: from then on the word of this supplier stands for the code; without a code for nothing."""

    word_id: int
    code_list: str
    supplier: str
    word: str
    code: str | None
    at: datetime
    who: str
    author: str
    reason: str
    delivery_id: str | None


class Words(Store):
    """Every mapping of one installation. Many threads and processes may use it at once."""

    def map(
        self, code_list: str, supplier: str, word: str, code: str | None, *, who: str, author: str, reason: str,
        delivery_id: str | None = None,
    ) -> Word:  # fmt: skip
        """Let a word stand for a code from now on, or for nothing.

        Raises:
            BadWord: Nothing was written.
        """
        told = reason.strip()
        if not 0 < len(word.strip()) <= LONGEST_WORD:
            raise BadWord(f"expected a word of at most {LONGEST_WORD} characters, found {len(word.strip())}")
        if not 0 < len(told) <= LONGEST_REASON:
            raise BadWord(f"expected a reason of at most {LONGEST_REASON} characters, found {len(told)}")
        row = {
            "list": code_list, "supplier": supplier, "word": word, "code": code, "at": clock.now(), "who": who,
            "author": author, "reason": told, "delivery_id": delivery_id,
        }  # fmt: skip
        with self._write() as c:
            made: int = c.execute(sa.insert(t.word_mappings).values(row).returning(t.word_mappings.c.id)).scalar_one()
            return _read(c.execute(sa.select(t.word_mappings).where(t.word_mappings.c.id == made)).one())

    def version(self) -> int:
        """Grows with every line; 0 where there is none."""
        with self._engine.connect() as c:
            return int(c.execute(sa.select(sa.func.coalesce(sa.func.max(t.word_mappings.c.id), 0))).scalar_one())

    def everything(self) -> list[Word]:
        """All lines, oldest first."""
        with self._engine.connect() as c:
            return [_read(row) for row in c.execute(sa.select(t.word_mappings).order_by(t.word_mappings.c.id))]


def _read(row: sa.Row[Any]) -> Word:
    # in the order of the table's columns
    values: list[Any] = [*row]
    return Word(*values)
