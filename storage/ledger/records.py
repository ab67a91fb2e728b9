"""What the ledger is given and gives back: plain data about arrivals, deliveries, verdicts and what is to be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.ledger.states import VERDICT_STATES, DeliveryState, VerdictState
from storage.paths import Slot

#: Names of the five counts of a verdict; the first is the sum of the others.
ROW_COUNTS = ("delivered", "accepted", "accepted_with_warning", "quarantined", "ignored_by_rule")


@dataclass(frozen=True)
class Arrival:
    """An object that appeared at a place we look at. Settled once it has a delivery or a problem."""

    id: int
    origin: str
    supplier: str
    key: str
    version: str
    size: int
    sha256: str
    arrived_at: datetime
    delivery_id: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Delivery:
    """A delivery as it came in. `file_name` is for people to read, never a path."""

    delivery_id: str
    supplier: str
    dataset: str
    period: str
    attempt: int
    sha256: str
    size: int
    file_name: str
    origin: str
    received_at: datetime
    who: str
    nothing_to_report: bool
    reason: str | None
    synthetic: bool
    duplicate_of: str | None
    """The earlier attempt with the same bytes; then there is nothing to judge."""
    dialect: str | None = None
    """The dialect its sender chose; None where the file tells it."""

    @property
    def slot(self) -> Slot:
        return Slot(self.supplier, self.dataset, self.period)


@dataclass(frozen=True)
class DeliveryView(Delivery):
    """A delivery with what became of it. `verdict_state` is what the last verdict said, `state` what holds now."""

    state: DeliveryState = "received"
    verdict_state: VerdictState | None = None
    judged_at: datetime | None = None
    rows: Mapping[str, int] | None = None
    """The five counts of the last verdict (`ROW_COUNTS`); None before there is one."""
    contract_version: str | None = None
    dialect_version: str | None = None
    mapping_version: str | None = None
    acknowledged_at: datetime | None = None
    """When receipt 1 was there to be read; None where nobody noted it."""
    first_verdict_state: VerdictState | None = None
    """What the first verdict said; a replay changes `verdict_state`, never this one."""
    first_judged_at: datetime | None = None
    first_accepted_at: datetime | None = None
    """When a verdict that lets rows (or a "nothing to report") in was first given."""


@dataclass(frozen=True)
class VerdictRecord:
    """A verdict as the ledger keeps it.

    Attributes:
        rows: The five counts named in `ROW_COUNTS`.
        body: All of the verdict as plain JSON data.
        replay: A later judgement of a delivery that has a verdict. Without it a second verdict is passed over.

    Raises:
        ValueError: The state is none, or the counts are not the five, or do not add up.
    """

    delivery_id: str
    state: str
    rows: Mapping[str, int]
    contract_version: str
    dialect_version: str
    mapping_version: str
    body: Mapping[str, Any]
    judged_at: datetime
    replay: bool = False

    def __post_init__(self) -> None:
        if self.state not in VERDICT_STATES:
            raise ValueError(f"{self.state!r} is not a verdict; there are: {', '.join(VERDICT_STATES)}")
        if set(self.rows) != set(ROW_COUNTS) or self.rows["delivered"] != sum(self.rows[n] for n in ROW_COUNTS[1:]):
            raise ValueError(f"{self.delivery_id}: rows do not reconcile: {dict(self.rows)}")


@dataclass(frozen=True)
class OutboxEntry:
    """What the orchestrator was not told yet: kind `judged` (`{state, rows, replay}`) or `withdrawn` (`{why, was}`)."""

    id: int
    delivery_id: str
    kind: str
    body: Mapping[str, Any]
    created_at: datetime
    supplier: str
    dataset: str
    period: str

    @property
    def slot(self) -> Slot:
        return Slot(self.supplier, self.dataset, self.period)


@dataclass(frozen=True)
class SourceState:
    """What was last fetched from an address, to ask for changes only."""

    source_id: str
    etag: str | None
    last_modified: str | None
    fetched_at: datetime
    sha256: str | None


class UnknownDelivery(LookupError):
    """There is no delivery of this id."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids
        super().__init__(f"no delivery {', '.join(ids)}")
