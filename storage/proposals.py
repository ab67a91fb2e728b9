"""Proposed changes of the region pack: which files as they were and as they would be, by whom, and what became of it.

What a proposal may say and whether it can be applied is `quality.onboarding`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from storage import clock
from storage.ledger import tables as t
from storage.ledger.opening import Store

Decision = Literal["applied", "withdrawn"]


@dataclass(frozen=True)
class Change:
    """One file of the pack: its place below the pack's folder, its text before (None: a new file) and after."""

    place: str
    before: str | None
    after: str


@dataclass(frozen=True)
class Proposal:
    """One proposal. `says` is what the files say, for people; `decision` is None as long as it is open."""

    proposal_id: int
    at: datetime
    who: str
    author: str
    region: str
    supplier: str
    says: Mapping[str, Any]
    files: Sequence[Change]
    decision: Decision | None
    decided_at: datetime | None
    decided_by: str | None


class Proposals(Store):
    """The proposals of one installation. Many threads and processes may use it at once."""

    def add(
        self, region: str, supplier: str, says: Mapping[str, Any], files: Sequence[Change], *, who: str, author: str
    ) -> Proposal:
        """Keep a proposal."""
        row = {
            "at": clock.now(), "who": who, "author": author, "region": region, "supplier": supplier,
            "says": dict(says), "files": [asdict(change) for change in files],
        }  # fmt: skip
        p = t.pack_proposals
        with self._write() as c:
            made: int = c.execute(sa.insert(p).values(row).returning(p.c.id)).scalar_one()
            return _read(c.execute(sa.select(p).where(p.c.id == made)).mappings().one())

    def get(self, proposal_id: int) -> Proposal | None:
        """A proposal; None where there is none."""
        p = t.pack_proposals
        # a number no database knows is none of ours
        if not 0 < proposal_id < 2**63:
            return None
        with self._engine.connect() as c:
            row = c.execute(sa.select(p).where(p.c.id == proposal_id)).mappings().first()
        return _read(row) if row else None

    def newest(self, region: str, limit: int = 100) -> list[Proposal]:
        """Proposals for a region, newest first."""
        p = t.pack_proposals
        wanted = sa.select(p).where(p.c.region == region).order_by(p.c.id.desc()).limit(limit)
        with self._engine.connect() as c:
            return [_read(row) for row in c.execute(wanted).mappings()]

    def decide(self, proposal_id: int, decision: Decision, *, who: str) -> bool:
        """Write down what became of a proposal; False where that was written down before."""
        p = t.pack_proposals
        told = {"decision": decision, "decided_at": clock.now(), "decided_by": who}
        with self._write() as c:
            done = c.execute(sa.update(p).where(p.c.id == proposal_id, p.c.decision.is_(None)).values(told))
            return done.rowcount == 1


def _read(row: Mapping[Any, Any]) -> Proposal:
    told = dict(row)
    files = [Change(**change) for change in told.pop("files")]
    return Proposal(proposal_id=told.pop("id"), files=files, **told)
