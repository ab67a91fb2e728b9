"""What the events of a delivery and of a slot mean: pure functions, no database.

A state is never stored. Whoever wants to know it folds the events, here and nowhere else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast, get_args

from storage.paths import parse_delivery_id

Kind = Literal[
    "received", "acknowledged", "duplicate", "judging", "deferred", "judged", "superseded", "withdrawn", "overdue"
]

VerdictState = Literal["accepted", "accepted_with_warnings", "partly_accepted", "rejected", "nothing_to_report"]

DeliveryState = Literal[
    "received",
    "judging",
    "accepted",
    "accepted_with_warnings",
    "partly_accepted",
    "rejected",
    "nothing_to_report",
    "duplicate",
    "superseded",
    "withdrawn",
]

SlotStateName = Literal[
    "missing",
    "overdue",
    "received",
    "judging",
    "accepted",
    "accepted_with_warnings",
    "partly_accepted",
    "nothing_to_report",
    "rejected",
    "stale",
]

KINDS: tuple[Kind, ...] = get_args(Kind)
VERDICT_STATES: tuple[VerdictState, ...] = get_args(VerdictState)
DELIVERY_STATES: tuple[DeliveryState, ...] = get_args(DeliveryState)

#: States of the one delivery that holds its slot: its rows (or its "nothing to report") are what readers see.
SERVED: frozenset[str] = frozenset({"accepted", "accepted_with_warnings", "partly_accepted", "nothing_to_report"})
#: States in which a verdict is still owed.
WAITING: frozenset[str] = frozenset({"received", "judging"})


class ImpossibleHistory(ValueError):
    """Events that cannot have happened: an unknown kind, or a delivery that was judged before it was received."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, as written in the ledger; `id` grows in the order of happening.

    `facts` by kind: received `{attempt, sha256, size, file_name, origin, nothing_to_report, synthetic}`, with
    `{dialect}` where it was chosen,
    acknowledged (receipt 1 lies there, at this time) `{}`,
    duplicate `{of}`, judging `{begins}`, judged `{state, rows, replay, contract, dialect, mappings}`,
    superseded `{by}`, withdrawn `{was}`, overdue `{due}` (ISO). Only `overdue` belongs to a slot without a delivery.
    """

    id: int
    at: datetime
    kind: str
    supplier: str
    dataset: str
    period: str
    delivery_id: str | None
    who: str
    why: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SlotState:
    """How a slot stands.

    Attributes:
        state: `missing` (nothing there, not due yet), `overdue`, the state of its newest attempt, or `stale`.
        served: Id of the delivery that holds the slot, if one does.
        newest: Id of the newest attempt that counts: neither withdrawn nor a duplicate.
        attempts: How often something was delivered for it, everything counted.
        is_overdue: The deadline has passed and nobody holds the slot, whatever was tried.
        stale_since: When the oldest attempt newer than the served one arrived.
    """

    state: SlotStateName
    served: str | None = None
    newest: str | None = None
    attempts: int = 0
    is_overdue: bool = False
    stale_since: datetime | None = None


def state_of(events: Iterable[Event]) -> DeliveryState:
    """Fold the events of one delivery into its state. The order in which they are handed in does not matter.

    Raises:
        ImpossibleHistory: No `received` event, events of several deliveries, or a kind nobody knows.
    """
    state: DeliveryState | None = None
    nothing_to_report = False
    deliveries: set[str | None] = set()
    for event in sorted(events, key=lambda event: event.id):
        deliveries.add(event.delivery_id)
        if state is None:
            nothing_to_report = bool(event.facts.get("nothing_to_report"))
        state = _next(state, event, nothing_to_report)
    if state is None or len(deliveries) != 1:
        raise ImpossibleHistory(f"not the history of one delivery: {sorted(map(str, deliveries))}")
    return state


def states_of(events: Iterable[Event]) -> dict[str, DeliveryState]:
    """State of every delivery these events speak of; events of a slot alone are passed over."""
    by_delivery: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.delivery_id is not None:
            by_delivery[event.delivery_id].append(event)
    return {delivery: state_of(own) for delivery, own in by_delivery.items()}


def slot_state(events: Iterable[Event], *, due: datetime | None = None, now: datetime | None = None) -> SlotState:
    """Fold all events of one slot.

    Args:
        events: All of the slot: those of its deliveries and its own.
        due: When it was owed; without it a slot is overdue once an `overdue` event says so.
        now: The time to compare `due` with; given whenever `due` is.
    """
    folded = SlotFold()
    for event in sorted(events, key=lambda event: event.id):
        folded.add(event)
    return folded.state(due=due, now=now)


@dataclass
class SlotFold:
    """What the events of one slot came to so far; more may be added, in the order of their ids.

    Attributes:
        states: State of each delivery.
        received_at: When each came.
        declared: Those that say there is nothing to report.
        is_told_overdue: An `overdue` event was there.
    """

    states: dict[str, DeliveryState] = field(default_factory=dict)
    received_at: dict[str, datetime] = field(default_factory=dict)
    declared: set[str] = field(default_factory=set)
    is_told_overdue: bool = False

    def add(self, event: Event) -> None:
        """Add one event.

        Raises:
            ImpossibleHistory: It cannot have happened after what is known.
        """
        if event.delivery_id is None:
            self.is_told_overdue = self.is_told_overdue or event.kind == "overdue"
            return
        this = event.delivery_id
        if event.kind == "received" and this not in self.states:
            self.received_at[this] = event.at
            if event.facts.get("nothing_to_report"):
                self.declared.add(this)
        self.states[this] = _next(self.states.get(this), event, this in self.declared)

    def copy(self) -> SlotFold:
        """Another one that knows the same."""
        return SlotFold(dict(self.states), dict(self.received_at), set(self.declared), self.is_told_overdue)

    def state(self, *, due: datetime | None = None, now: datetime | None = None) -> SlotState:
        """How the slot stands; see `slot_state`."""
        if (due is None) != (now is None):
            raise ValueError("`due` and `now` are given together or not at all")
        attempt = {delivery: parse_delivery_id(delivery).attempt for delivery in self.states}
        newest_first = sorted(self.states, key=lambda delivery: -attempt[delivery])
        served = next((delivery for delivery in newest_first if self.states[delivery] in SERVED), None)
        counting = [d for d in newest_first if self.states[d] not in ("withdrawn", "duplicate", "superseded")]
        newest = counting[0] if counting else None
        late = now > due if due is not None and now is not None else self.is_told_overdue
        stale_since: datetime | None = None
        name: SlotStateName
        if newest is None:
            name = "overdue" if late else "missing"
        elif served is not None and newest != served:
            name = "stale"
            stale_since = min(self.received_at[d] for d in counting if attempt[d] > attempt[served])
        else:
            # what is left after the three that do not count are states a slot can have
            name = cast(SlotStateName, self.states[newest])
        return SlotState(name, served, newest, len(self.states), late and served is None, stale_since)


def _next(state: DeliveryState | None, event: Event, nothing_to_report: bool) -> DeliveryState:
    if event.kind == "received" and state is None:
        return "received"
    if event.kind not in KINDS or event.kind in ("received", "overdue") or state is None:
        raise ImpossibleHistory(f"event {event.id}: {event.kind!r} cannot follow {state!r} ({event.delivery_id})")
    return _after(state, event, nothing_to_report)


def _after(state: DeliveryState, event: Event, nothing_to_report: bool) -> DeliveryState:
    if state == "withdrawn" or event.kind == "withdrawn":
        # whatever was under way when it was withdrawn changes nothing any more
        return "withdrawn"
    if state == "duplicate":
        return state
    match cast(Kind, event.kind):
        case "acknowledged":
            return state
        case "duplicate":
            return "duplicate"
        case "judging":
            # judging again what has a verdict (replay) does not take the verdict away meanwhile
            return "judging" if state in WAITING else state
        case "deferred":
            return "received" if state in WAITING else state
        case "judged":
            verdict = event.facts.get("state")
            if verdict not in VERDICT_STATES:
                raise ImpossibleHistory(f"event {event.id}: {verdict!r} is not a verdict ({event.delivery_id})")
            return "nothing_to_report" if nothing_to_report and verdict in SERVED else verdict
        case "superseded":
            return "superseded" if state in SERVED else state
        case _:
            raise ImpossibleHistory(f"event {event.id}: {event.kind!r} cannot follow {state!r} ({event.delivery_id})")
