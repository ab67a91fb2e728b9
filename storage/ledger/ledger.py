"""Writes down what happens to deliveries and answers what is known of them. The only module that changes the ledger.

Every change is one transaction: a process that dies in between leaves nothing half. What the events mean is in
`states`; nothing here decides whether a delivery is good.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import clock
from storage.ledger import opening
from storage.ledger import tables as t
from storage.ledger.extensions import Extensions
from storage.ledger.records import (
    ROW_COUNTS,
    Arrival,
    Delivery,
    DeliveryView,
    OutboxEntry,
    SourceState,
    UnknownDelivery,
    VerdictRecord,
)
from storage.ledger.standings import Standings
from storage.ledger.states import (
    SERVED,
    WAITING,
    DeliveryState,
    Event,
    SlotFold,
    SlotState,
    slot_state,
    state_of,
    states_of,
)
from storage.paths import Slot, checked_sha256, delivery_id, parse_delivery_id, parse_slot

__all__ = [
    "ROW_COUNTS",
    "Arrival",
    "Delivery",
    "DeliveryView",
    "Ledger",
    "OutboxEntry",
    "ReceiptKind",
    "SourceState",
    "Step",
    "UnknownDelivery",
    "VerdictRecord",
]

#: How long a delivery that was begun is left to the one who began it; in real time, whatever story is told.
LEASE_SECONDS = 120.0

# SQLite takes 32,766 parameters in a statement; a slot needs three
_AT_ONCE = 2_000
#: Channel on which PostgreSQL tells that something new waits for a judge.
QUEUE_BELL = "verbund_queue"
#: Ids of events that are folded before they are written.
_NOT_WRITTEN_YET = 2**62

#: Receipt 1, of the arrival, or the one with the verdict.
ReceiptKind = Literal["arrival", "verdict"]

#: How far a delivery is: nobody has it in hand yet, a judge has, its receipt is being written, it is to be judged again, or
#: nothing is left to do.
Step = Literal["queued", "judging", "writing", "again", "done"]

#: Of a slot nothing happened to.
_NOTHING = SlotFold()

T = TypeVar("T")


class Ledger:
    """The ledger at a database address (`sqlite:///…`, `postgresql+…://…`). Many processes may hold it open at once.

    `who` is a person or a process (`judge-0`, `portal:anna`); it is written into each event.
    """

    def __init__(self, url: str) -> None:
        self._engine = opening.open_engine(url)
        self._writing = self._engine.execution_options(writes=True)
        self.extensions = Extensions(self._engine)
        self._standings = Standings(self.happened_after, in_order=self._engine.dialect.name == "sqlite")

    def migrate(self) -> None:
        """Bring the ledger to the present shape. Call it after opening one; at head it costs milliseconds."""
        opening.migrate(self._engine)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    # --- arrivals ---

    def known(self, origin: str, supplier: str) -> set[tuple[str, str]]:
        """Key and version of everything that arrived there: what a sweep need not look at again."""
        chosen = sa.select(t.arrivals.c.key, t.arrivals.c.version).where(
            t.arrivals.c.origin == origin, t.arrivals.c.supplier == supplier
        )
        with self._engine.connect() as c:
            return {(row.key, row.version) for row in c.execute(chosen)}

    def arrived(self, origin: str) -> list[Arrival]:
        """Everything that arrived there, oldest first."""
        chosen = sa.select(t.arrivals).where(t.arrivals.c.origin == origin).order_by(t.arrivals.c.id)
        with self._engine.connect() as c:
            return [Arrival(**row._mapping) for row in c.execute(chosen)]

    def arrive(self, origin: str, supplier: str, key: str, version: str, size: int, sha256: str) -> Arrival | None:
        """Note an object whose bytes are in the vault; None when this version of it is known already."""
        values = {
            "origin": origin,
            "supplier": supplier,
            "key": key,
            "version": version,
            "size": size,
            "sha256": checked_sha256(sha256),
            "arrived_at": clock.now(),
        }
        with self._write() as c:
            dialect = postgresql if c.dialect.name == "postgresql" else sqlite
            new = dialect.insert(t.arrivals).values(values).on_conflict_do_nothing().returning(t.arrivals)
            row = c.execute(new).one_or_none()
        return Arrival(**row._mapping) if row else None

    def settle_arrival(self, arrival_id: int, *, delivery_id: str | None = None, problem: str | None = None) -> None:
        """Say what became of an arrival: a delivery, or the reason why it is none."""
        if (delivery_id is None) == (problem is None):
            raise ValueError("an arrival is settled by a delivery or by a problem")
        with self._write() as c:
            _settle(c, arrival_id, delivery_id=delivery_id, problem=problem)

    def unsettled(self, limit: int = 1000) -> list[Arrival]:
        """Arrivals that nobody finished with, oldest first: somebody died between `arrive` and `receive`."""
        open_ones = t.arrivals.c.delivery_id.is_(None) & t.arrivals.c.problem.is_(None)
        chosen = sa.select(t.arrivals).where(open_ones).order_by(t.arrivals.c.id).limit(limit)
        with self._engine.connect() as c:
            return [Arrival(**row._mapping) for row in c.execute(chosen)]

    # --- the life of a delivery ---

    def receive(
        self,
        supplier: str,
        dataset: str,
        period: str,
        sha256: str,
        size: int,
        file_name: str,
        origin: str,
        who: str,
        at: datetime | None = None,
        nothing_to_report: bool = False,
        reason: str | None = None,
        synthetic: bool = False,
        arrival_id: int | None = None,
        dialect: str | None = None,
    ) -> Delivery:
        """Number the attempt, write the delivery down and put it into the queue.

        The same bytes as the slot's last attempt (duplicates not counted) are a `duplicate`, not queued, unless that
        attempt was withdrawn or they are to be read by another dialect: then they are wanted again. An arrival that has
        its delivery gets it a second time, so that a caller who died may repeat.

        Raises:
            ValueError: A name is not allowed, or `sha256` is none (it may be empty with `nothing_to_report`).
        """
        slot = Slot(supplier, dataset, period)
        if sha256 or not nothing_to_report:
            checked_sha256(sha256)
        at = at or clock.now()
        with self._write() as c:
            _lock(c, [slot])
            if arrival_id is not None and (known := _delivery_of_arrival(c, arrival_id)):
                return known
            earlier = _rows(c, sa.select(t.deliveries).where(_is(t.deliveries, slot)).order_by(t.deliveries.c.attempt))
            attempt = earlier[-1].attempt + 1 if earlier else 1
            delivery = Delivery(
                delivery_id=delivery_id(supplier, dataset, period, attempt),
                supplier=supplier,
                dataset=dataset,
                period=period,
                attempt=attempt,
                sha256=sha256,
                size=size,
                file_name=_for_people(file_name),
                origin=origin,
                received_at=at,
                who=who,
                nothing_to_report=nothing_to_report,
                reason=reason,
                synthetic=synthetic,
                duplicate_of=_same_bytes(c, earlier, (sha256, nothing_to_report, dialect)),
                dialect=dialect,
            )
            c.execute(sa.insert(t.deliveries), asdict(delivery))
            _owe(c, [delivery.delivery_id], "arrival")
            facts = {
                "attempt": attempt,
                "sha256": sha256,
                "size": size,
                "file_name": delivery.file_name,
                "origin": origin,
                "nothing_to_report": nothing_to_report,
                "synthetic": synthetic,
                **({"dialect": dialect} if dialect else {}),
            }
            events = [_event("received", slot, delivery.delivery_id, who, reason, facts, at)]
            if delivery.duplicate_of:
                of = {"of": delivery.duplicate_of}
                events.append(_event("duplicate", slot, delivery.delivery_id, who, facts=of, at=at))
            else:
                _enqueue(c, [delivery], begins={})
            _append(c, events)
            if arrival_id is not None:
                _settle(c, arrival_id, delivery_id=delivery.delivery_id)
        return delivery

    def acknowledge(self, at: Mapping[str, datetime], who: str) -> None:
        """Note when receipt 1 of deliveries was there to be read; only what was told first counts."""
        if not at:
            return
        with self._write() as c:
            _append(
                c,
                [
                    _event("acknowledged", parse_delivery_id(delivery).slot, delivery, who, at=moment)
                    for delivery, moment in at.items()
                ],
            )
            _pay(c, at, "arrival")

    def answered(self, delivery_ids: Iterable[str], kind: ReceiptKind = "verdict") -> None:
        """Note that these receipts are out."""
        with self._write() as c:
            _pay(c, delivery_ids, kind)

    def owed_receipts(self) -> set[tuple[str, ReceiptKind]]:
        """Receipts that are still to be written; who has just taken in or judged a delivery may be at it."""
        with self._engine.connect() as c:
            return {(row.delivery_id, cast(ReceiptKind, row.kind)) for row in c.execute(sa.select(t.owed_receipts))}

    def progress(self, delivery_ids: Iterable[str]) -> dict[str, Step]:
        """How far deliveries are on their way to a verdict and its receipt; asked for all that somebody waits for at once."""
        found: dict[str, Step] = dict.fromkeys(delivery_ids, "done")
        q, now = t.queue.c, datetime.now(UTC)
        with self._engine.connect() as c:
            for ids in _chunks(sorted(found)):
                again, owed = t.owed_replays.c.delivery_id, t.owed_receipts.c.delivery_id
                found |= dict.fromkeys(c.execute(sa.select(again).where(again.in_(ids))).scalars(), "again")
                found |= dict.fromkeys(c.execute(sa.select(owed).where(owed.in_(ids))).scalars(), "writing")
                for row in c.execute(sa.select(q.delivery_id, q.lease_until).where(q.delivery_id.in_(ids))):
                    in_hand = row.lease_until is not None and row.lease_until > now
                    found[row.delivery_id] = "judging" if in_hand else "queued"
        return found

    def attempts(self, slot: Slot) -> int:
        """How many deliveries there are for a slot, whatever became of them."""
        with self._engine.connect() as c:
            return int(c.execute(sa.select(sa.func.count()).where(_is(t.deliveries, slot))).scalar_one())

    def backlog(self, supplier: str) -> int:
        """How many of a supplier's deliveries wait for their verdict."""
        with self._engine.connect() as c:
            count = sa.select(sa.func.count()).select_from(t.queue).where(t.queue.c.supplier == supplier)
            return int(c.execute(count).scalar_one())

    def waiting(self, judge: str, shard: tuple[int, int] = (0, 1), limit: int = 200) -> list[Delivery]:
        """What is to be judged next: suppliers in turn, each one's oldest first, of a slot only the oldest attempt.

        A supplier is worked by one judge at a time: however much it sends, other judges stay free for the others.

        Args:
            judge: Who asks; what somebody else has begun is left to them until their lease ends.
            shard: Which part of how many; a supplier is always in the same part.
            limit: At most so many.
        """
        part, parts = shard
        q = t.queue.c
        first_of_slot = sa.func.row_number().over(partition_by=(q.supplier, q.dataset, q.period), order_by=q.attempt)
        heads = (
            sa.select(
                q.delivery_id, q.supplier, q.received_at, q.lease_until, q.leased_by, first_of_slot.label("place")
            )
            .where(q.shard % parts == part)
            .subquery()
        )
        free = sa.or_(
            heads.c.lease_until.is_(None), heads.c.leased_by == judge, heads.c.lease_until <= datetime.now(UTC)
        )
        others = sa.select(q.supplier).where(q.leased_by != judge, q.leased_by != "", q.lease_until > datetime.now(UTC))
        turn = sa.func.row_number().over(
            partition_by=heads.c.supplier, order_by=(heads.c.received_at, heads.c.delivery_id)
        )
        now_ready = (heads.c.place == 1, free, heads.c.supplier.not_in(others))
        ready = sa.select(heads.c.delivery_id, turn.label("turn")).where(*now_ready).subquery()
        chosen = (
            sa.select(t.deliveries)
            .join(ready, ready.c.delivery_id == t.deliveries.c.delivery_id)
            .order_by(ready.c.turn, t.deliveries.c.received_at, t.deliveries.c.delivery_id)
            .limit(limit)
        )
        with self._engine.connect() as c:
            return _rows(c, chosen)

    def begin(self, delivery_ids: Iterable[str], who: str, lease_seconds: float = LEASE_SECONDS) -> dict[str, int]:
        """Take deliveries to judge them. Call it once each time they are taken, also before judging again.

        Returns:
            How often each was begun without an end, this time included: 3 means it killed the judge twice. Deliveries
            that are not waiting any more, or that somebody else has in hand, are left out.
        """
        now = datetime.now(UTC)
        with self._write() as c:
            taken: dict[str, int] = {}
            events = []
            for ids in _chunks(sorted(set(delivery_ids))):
                chosen = sa.select(t.queue).where(t.queue.c.delivery_id.in_(ids))
                if c.dialect.name == "postgresql":
                    # what another judge is taking at this moment is theirs
                    chosen = chosen.with_for_update(skip_locked=True)
                for row in c.execute(chosen):
                    if row.lease_until is not None and row.leased_by != who and row.lease_until > now:
                        continue
                    taken[row.delivery_id] = row.begins + 1
                    slot = Slot(row.supplier, row.dataset, row.period)
                    events.append(_event("judging", slot, row.delivery_id, who, facts={"begins": row.begins + 1}))
            if taken:
                change = sa.update(t.queue).where(t.queue.c.delivery_id == sa.bindparam("this"))
                change = change.values(begins=sa.bindparam("new"), lease_until=sa.bindparam("until"), leased_by=who)
                until = now + timedelta(seconds=lease_seconds)
                c.execute(change, [{"this": this, "new": new, "until": until} for this, new in taken.items()])
                _append(c, events)
        return taken

    def renew(self, delivery_ids: Iterable[str], who: str, lease_seconds: float = LEASE_SECONDS) -> None:
        """Keep in hand for longer what `who` has begun: judging a large file outlasts a lease."""
        until = datetime.now(UTC) + timedelta(seconds=lease_seconds)
        with self._write() as c:
            for ids in _chunks(sorted(set(delivery_ids))):
                own = t.queue.c.delivery_id.in_(ids) & (t.queue.c.leased_by == who)
                c.execute(sa.update(t.queue).where(own).values(lease_until=until))

    def defer(self, delivery_id: str, why: str, who: str = "judge", again_after_seconds: float = 0) -> None:
        """Give a delivery back unjudged because the platform, not the file, failed; this begin does not count."""
        with self._write() as c:
            row = c.execute(sa.select(t.queue).where(t.queue.c.delivery_id == delivery_id)).one_or_none()
            if row is None:
                return
            rests = again_after_seconds > 0
            values = {
                "begins": max(row.begins - 1, 0),
                "lease_until": datetime.now(UTC) + timedelta(seconds=again_after_seconds) if rests else None,
                # nobody's name, so that the one who gave it back waits as well
                "leased_by": "" if rests else None,
            }
            c.execute(sa.update(t.queue).where(t.queue.c.delivery_id == delivery_id).values(values))
            _append(c, [_event("deferred", parse_delivery_id(delivery_id).slot, delivery_id, who, why)])

    def record(self, records: Sequence[VerdictRecord], who: str, *, tell: bool = True) -> dict[str, DeliveryState]:
        """Write verdicts down, all or none: verdict, state, who supersedes whom, end of waiting, outbox.

        An accepted delivery supersedes what the slot served before; it is superseded itself when a newer attempt was
        accepted earlier. A delivery that was withdrawn meanwhile, is a duplicate, or has its verdict already (and this
        is no replay) is passed over.

        Args:
            records: The verdicts, in the order in which they take effect.
            who: Who judged.
            tell: False when the caller tells the orchestrator itself, so no outbox line is needed.

        Returns:
            The state of each delivery now. One that is not in `SERVED` must have no rows in the lake.

        Raises:
            UnknownDelivery: One of them was never received; then nothing is written.
        """
        with self._write() as c:
            deliveries = {d.delivery_id: d for d in self._chosen(c, [record.delivery_id for record in records])}
            _lock(c, {d.slot for d in deliveries.values()})
            histories = _histories(c, {d.slot for d in deliveries.values()})
            now: dict[str, DeliveryState] = {}
            new: list[Event] = []
            verdicts: list[dict[str, Any]] = []
            lines: list[dict[str, Any]] = []
            for record in records:
                delivery = deliveries[record.delivery_id]
                history = histories[delivery.slot]
                events = _judged(delivery, record, history, who)
                for number, event in enumerate(events, start=_NOT_WRITTEN_YET + len(new)):
                    history.append(Event(id=number, **event))
                    new.append(history[-1])
                if events:
                    verdicts.append(_verdict_row(record, cast(str, events[0]["facts"]["state"])))
                    body = {key: events[0]["facts"][key] for key in ("state", "rows", "replay")}
                    lines.append(_outbox_row(record.delivery_id, "judged", body))
                now[record.delivery_id] = state_of(_of(history, record.delivery_id))
            _insert(c, t.verdicts, verdicts)
            _owe(c, [verdict["delivery_id"] for verdict in verdicts], "verdict")
            _append(c, [_without_id(event) for event in new])
            for ids in _chunks(list(deliveries)):
                c.execute(sa.delete(t.queue).where(t.queue.c.delivery_id.in_(ids)))
            _insert(c, t.outbox, lines if tell else [])
            # what an earlier delivery of this very batch became by a later one
            return {delivery: state_of(_of(histories[deliveries[delivery].slot], delivery)) for delivery in now}

    def withdraw(self, delivery_id: str, who: str, why: str) -> bool:
        """Take a delivery back. If it held its slot, nobody holds it now: earlier attempts stay superseded.

        Returns:
            Whether this changed anything; False when it was withdrawn before.

        Raises:
            UnknownDelivery: There is none of this id.
        """
        with self._write() as c:
            delivery = self._chosen(c, [delivery_id])[0]
            _lock(c, [delivery.slot])
            state = state_of(_history(c, t.events.c.delivery_id == delivery_id))
            if state == "withdrawn":
                return False
            _append(c, [_event("withdrawn", delivery.slot, delivery_id, who, why, {"was": state})])
            c.execute(sa.delete(t.queue).where(t.queue.c.delivery_id == delivery_id))
            _insert(c, t.outbox, [_outbox_row(delivery_id, "withdrawn", {"why": why, "was": state})])
        return True

    def overdue(self, slot: Slot, due: datetime, who: str = "calendar") -> bool:
        """Note that a slot's deadline passed; once per slot and deadline. Returns whether it is news."""
        fact = due.astimezone(UTC).isoformat()
        with self._write() as c:
            _lock(c, [slot])
            told = _history(c, _is(t.events, slot) & (t.events.c.kind == "overdue"))
            if any(event.facts.get("due") == fact for event in told):
                return False
            _append(c, [_event("overdue", slot, None, who, facts={"due": fact})])
        return True

    # --- what is known ---

    def deliveries(
        self,
        supplier: str | None = None,
        dataset: str | None = None,
        period: str | None = None,
        state: str | None = None,
    ) -> list[DeliveryView]:
        """Deliveries with what became of them, in the order they came in."""
        given = {"supplier": supplier, "dataset": dataset, "period": period}
        wanted = {name: value for name, value in given.items() if value is not None}
        with self._engine.connect() as c:
            views = _views(c, wanted)
        return [view for view in views if state is None or view.state == state]

    def delivery(self, delivery_id: str) -> DeliveryView:
        """One delivery with what became of it.

        Raises:
            UnknownDelivery: There is none of this id.
        """
        with self._engine.connect() as c:
            for view in _views(c, {"delivery_id": delivery_id}):
                return view
        raise UnknownDelivery(delivery_id)

    def accepted_of(self, slot: Slot) -> DeliveryView | None:
        """The delivery that holds the slot: whose rows (or "nothing to report") are served."""
        with self._engine.connect() as c:
            views = _views(c, asdict(slot))
        return next((view for view in reversed(_by_attempt(views)) if view.state in SERVED), None)

    def newest_accepted(self, slots: Iterable[Slot]) -> dict[Slot, int]:
        """The highest attempt ever accepted per slot and not withdrawn, superseded ones included; 0 for none.

        An attempt below it must not replace the slot's rows any more.
        """
        with self._engine.connect() as c:
            histories = _histories(c, set(slots))
        return {slot: _newest_accepted(history) for slot, history in histories.items()}

    def verdict(self, delivery_id: str) -> dict[str, Any] | None:
        """The body of the last verdict; None while there is none."""
        last = sa.select(t.verdicts.c.body).where(t.verdicts.c.delivery_id == delivery_id)
        with self._engine.connect() as c:
            return cast(dict[str, Any] | None, c.execute(last.order_by(t.verdicts.c.id.desc()).limit(1)).scalar())

    def verdicts(self, delivery_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The bodies of the last verdicts of many deliveries; those without one are left out."""
        v = t.verdicts.c
        bodies: dict[str, dict[str, Any]] = {}
        with self._engine.connect() as c:
            for ids in _chunks(sorted(set(delivery_ids))):
                last = sa.select(sa.func.max(v.id)).where(v.delivery_id.in_(ids)).group_by(v.delivery_id)
                for row in c.execute(sa.select(v.delivery_id, v.body).where(v.id.in_(last))):
                    bodies[row.delivery_id] = row.body
        return bodies

    def findings(self, after: int = 0) -> list[tuple[int, str, list[dict[str, Any]]]]:
        """Number, delivery and findings of every first verdict with a higher number, in order."""
        v = t.verdicts.c
        chosen = sa.select(v.id, v.delivery_id, v.body).where(v.id > after, v.replay.is_(False)).order_by(v.id)
        with self._engine.connect() as c:
            return [(row.id, row.delivery_id, row.body.get("findings", [])) for row in c.execute(chosen)]

    def history(self, target: str | Slot) -> list[Event]:
        """All that happened to a delivery (by id) or a slot (by name or as such), in order.

        Raises:
            ValueError: The text is neither.
        """
        if isinstance(target, str):
            try:
                parse_delivery_id(target)
            except ValueError:
                target = parse_slot(target)
        where = t.events.c.delivery_id == target if isinstance(target, str) else _is(t.events, target)
        with self._engine.connect() as c:
            return _history(c, where)

    def slot(self, slot: Slot, *, due: datetime | None = None, now: datetime | None = None) -> SlotState:
        """How one slot stands; see `states.slot_state`."""
        return slot_state(self.history(slot), due=due, now=now)

    def slots(
        self, due: Mapping[Slot, datetime | None], now: datetime, *, supplier: str | None = None
    ) -> dict[Slot, SlotState]:
        """How slots stand: those asked for, owed by the times given, and all others that anything happened to.

        Args:
            due: By when they are owed.
            now: The moment to look from.
            supplier: Only this one's.
        """
        folded = self._standings.now()
        owed = {slot: due.get(slot) for slot in (*due, *folded) if supplier in (None, slot.supplier)}
        return {
            slot: folded.get(slot, _NOTHING).state(due=until, now=now if until else None)
            for slot, until in owed.items()
        }

    def happened_after(self, number: int) -> list[Event]:
        """Every event with a higher number, in order. On PostgreSQL one may turn up behind others for a moment."""
        with self._engine.connect() as c:
            return _history(c, t.events.c.id > number)

    def newest_event(self) -> int:
        """Number of the last event; 0 before the first."""
        with self._engine.connect() as c:
            return int(c.execute(sa.select(sa.func.coalesce(sa.func.max(t.events.c.id), 0))).scalar_one())

    # --- what is to be told ---

    def unreported(self, limit: int = 25) -> list[OutboxEntry]:
        """What the orchestrator is to be told next, oldest first, a slot at most once."""
        d = t.deliveries.c
        place = sa.func.row_number().over(partition_by=(d.supplier, d.dataset, d.period), order_by=t.outbox.c.id)
        open_ones = (
            sa.select(t.outbox, d.supplier, d.dataset, d.period, place.label("place"))
            .join(t.deliveries, d.delivery_id == t.outbox.c.delivery_id)
            .where(t.outbox.c.reported_at.is_(None))
            .subquery()
        )
        columns = [column for column in open_ones.c if column.name not in ("place", "reported_at")]
        chosen = sa.select(*columns).where(open_ones.c.place == 1).order_by(open_ones.c.id).limit(limit)
        with self._engine.connect() as c:
            return [OutboxEntry(**row._mapping) for row in c.execute(chosen)]

    def reported(self, ids: Iterable[int]) -> None:
        """Tick entries off; safe to repeat."""
        with self._write() as c:
            for some in _chunks(sorted(set(ids))):
                open_ones = t.outbox.c.id.in_(some) & t.outbox.c.reported_at.is_(None)
                c.execute(sa.update(t.outbox).where(open_ones).values(reported_at=clock.now()))

    # --- what is to be judged again ---

    def owe_replays(self, delivery_ids: Iterable[str]) -> None:
        """Have deliveries judged again that have their verdict; one that waits for it already waits once."""
        wanted = sorted(set(delivery_ids))
        if not wanted:
            return
        rows = [{"delivery_id": this, "begins": 0, "wanted_at": clock.now()} for this in wanted]
        with self._write() as c:
            dialect = postgresql if c.dialect.name == "postgresql" else sqlite
            c.execute(dialect.insert(t.owed_replays).on_conflict_do_nothing(), rows)
            _ring(c)

    def owed_replays(self) -> list[str]:
        """What is to be judged again, in the order in which it was wanted."""
        r = t.owed_replays.c
        with self._engine.connect() as c:
            return list(c.execute(sa.select(r.delivery_id).order_by(r.wanted_at, r.delivery_id)).scalars())

    def begin_replay(self, delivery_id: str) -> int:
        """How often judging it again was begun, this time included; 0 where nobody wants it any more."""
        own = t.owed_replays.c.delivery_id == delivery_id
        more = sa.update(t.owed_replays).where(own).values(begins=t.owed_replays.c.begins + 1)
        with self._write() as c:
            return c.execute(more.returning(t.owed_replays.c.begins)).scalar_one_or_none() or 0

    def defer_replay(self, delivery_id: str) -> None:
        """Try it later because the platform, not the file, failed; this begin does not count."""
        own = t.owed_replays.c.delivery_id == delivery_id
        with self._write() as c:
            c.execute(sa.update(t.owed_replays).where(own).values(begins=t.owed_replays.c.begins - 1))

    def end_replay(self, delivery_id: str) -> None:
        """It was judged again, or will not be."""
        with self._write() as c:
            c.execute(sa.delete(t.owed_replays).where(t.owed_replays.c.delivery_id == delivery_id))

    # --- sources that are pulled ---

    def source_state(self, source_id: str) -> SourceState | None:
        """What was last fetched from there; None before the first time."""
        with self._engine.connect() as c:
            row = c.execute(sa.select(t.sources).where(t.sources.c.source_id == source_id)).one_or_none()
        return SourceState(**row._mapping) if row else None

    def keep_source_state(self, state: SourceState) -> None:
        """Remember what was fetched, instead of what was remembered before."""
        with self._write() as c:
            c.execute(sa.delete(t.sources).where(t.sources.c.source_id == state.source_id))
            c.execute(sa.insert(t.sources), asdict(state))

    # --- repair ---

    def rebuild_queue(self) -> int:
        """Make the queue anew from the events, with nothing in anybody's hands. Returns how much is waiting."""
        with self._write() as c:
            c.execute(sa.delete(t.queue))
            own: dict[str, list[Event]] = defaultdict(list)
            for event in _history(c, t.events.c.delivery_id.is_not(None)):
                own[cast(str, event.delivery_id)].append(event)
            waiting = [delivery for delivery, events in own.items() if state_of(events) in WAITING]
            _enqueue(c, self._chosen(c, waiting), {delivery: _begins(own[delivery]) for delivery in waiting})
        return len(waiting)

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with self._writing.begin() as connection:
            yield connection

    def _chosen(self, c: sa.Connection, ids: Sequence[str]) -> list[Delivery]:
        found: dict[str, Delivery] = {}
        for some in _chunks(ids):
            chosen = sa.select(t.deliveries).where(t.deliveries.c.delivery_id.in_(some))
            found.update((delivery.delivery_id, delivery) for delivery in _rows(c, chosen))
        if missing := [this for this in ids if this not in found]:
            raise UnknownDelivery(*missing)
        return [found[this] for this in dict.fromkeys(ids)]


def shard_key(supplier: str) -> int:
    """A number that stays the same for a supplier, for sharing work out."""
    return zlib.crc32(supplier.encode())


def _judged(delivery: Delivery, record: VerdictRecord, history: list[Event], who: str) -> list[dict[str, Any]]:
    """The events a verdict brings about, the `judged` one first; none if it changes nothing."""
    states = states_of(history)
    own = _of(history, delivery.delivery_id)
    was_judged = any(event.kind == "judged" for event in own)
    if states[delivery.delivery_id] in ("withdrawn", "duplicate") or (was_judged and not record.replay):
        return []
    state = "nothing_to_report" if delivery.nothing_to_report and record.state in SERVED else record.state
    facts = {
        "state": state,
        "rows": dict(record.rows),
        "replay": record.replay,
        "contract": record.contract_version,
        "dialect": record.dialect_version,
        "mappings": record.mapping_version,
    }
    events = [_event("judged", delivery.slot, delivery.delivery_id, who, facts=facts)]
    if state not in SERVED:
        return events
    others = {parse_delivery_id(other).attempt: other for other in states if other != delivery.delivery_id}
    newer = [a for a in others if a > delivery.attempt and states[others[a]] in {*SERVED, "superseded"}]
    if newer:
        by = {"by": others[max(newer)]}
        return [*events, _event("superseded", delivery.slot, delivery.delivery_id, who, facts=by)]
    by = {"by": delivery.delivery_id}
    older = [other for _, other in sorted(others.items()) if states[other] in SERVED]
    return events + [_event("superseded", delivery.slot, other, who, facts=by) for other in older]


def _newest_accepted(history: list[Event]) -> int:
    states = states_of(history)
    accepted = (delivery for delivery, state in states.items() if state in {*SERVED, "superseded"})
    return max((parse_delivery_id(delivery).attempt for delivery in accepted), default=0)


def _same_bytes(c: sa.Connection, earlier: list[Delivery], told: tuple[str, bool, str | None]) -> str | None:
    last = next((d for d in reversed(earlier) if d.duplicate_of is None), None)
    if last is None or (last.sha256, last.nothing_to_report, last.dialect) != told:
        return None
    state = state_of(_history(c, t.events.c.delivery_id == last.delivery_id))
    return None if state == "withdrawn" else last.delivery_id


def _begins(events: list[Event]) -> int:
    begins = 0
    for event in events:
        if event.kind == "judging":
            begins += 1
        elif event.kind == "deferred":
            begins = max(begins - 1, 0)
    return begins


def _views(c: sa.Connection, wanted: Mapping[str, str]) -> list[DeliveryView]:
    """Three questions whatever the number of deliveries: what came in, what happened, what was said."""
    d, v = t.deliveries.c, t.verdicts.c
    rows = c.execute(sa.select(t.deliveries).where(_equal(d, wanted)).order_by(d.received_at, d.delivery_id)).all()
    events = _history(c, _equal(t.events.c, wanted))
    states = states_of(events)
    acknowledged: dict[str, datetime] = {}
    for event in events:
        if event.kind == "acknowledged" and event.delivery_id is not None:
            acknowledged.setdefault(event.delivery_id, event.at)
    said = sa.select(*(column for column in v if column.name not in ("id", "body", "replay"))).order_by(v.id)
    if "delivery_id" in wanted:
        said = said.where(v.delivery_id == wanted["delivery_id"])
    elif wanted:
        said = said.where(v.delivery_id.in_(sa.select(d.delivery_id).where(_equal(d, wanted))))
    verdicts: dict[str, list[sa.Row[Any]]] = {}
    for row in c.execute(said):
        verdicts.setdefault(row.delivery_id, []).append(row)
    return [
        _view(row, states[row.delivery_id], verdicts.get(row.delivery_id, ()), acknowledged.get(row.delivery_id))
        for row in rows
    ]


def _view(
    row: sa.Row[Any], state: DeliveryState, verdicts: Sequence[sa.Row[Any]], acknowledged_at: datetime | None
) -> DeliveryView:
    # by position: naming fifteen columns for each of 10,000 rows was a third of the time
    values: list[Any] = [*row, state]
    if not verdicts:
        return replace(DeliveryView(*values), acknowledged_at=acknowledged_at)
    first, last = verdicts[0], verdicts[-1]
    rows = {name: last._mapping[name] for name in ROW_COUNTS}
    values += [last.state, last.judged_at, rows]
    values += [last.contract_version, last.dialect_version, last.mapping_version, acknowledged_at]
    values += [first.state, first.judged_at, next((one.judged_at for one in verdicts if one.state in SERVED), None)]
    return DeliveryView(*values)


def _by_attempt(views: list[DeliveryView]) -> list[DeliveryView]:
    return sorted(views, key=lambda view: view.attempt)


def _histories(c: sa.Connection, slots: set[Slot]) -> dict[Slot, list[Event]]:
    histories: dict[Slot, list[Event]] = {slot: [] for slot in slots}
    e = t.events.c
    for some in _chunks(sorted(slots)):
        these = sa.tuple_(e.supplier, e.dataset, e.period).in_([(s.supplier, s.dataset, s.period) for s in some])
        for event in _history(c, these):
            histories[Slot(event.supplier, event.dataset, event.period)].append(event)
    return histories


def _history(c: sa.Connection, where: sa.ColumnElement[bool]) -> list[Event]:
    chosen = sa.select(t.events).where(where).order_by(t.events.c.id)
    return [Event(*cast(tuple[Any, ...], row)) for row in c.execute(chosen)]


def _of(history: list[Event], delivery: str) -> list[Event]:
    return [event for event in history if event.delivery_id == delivery]


def _event(
    kind: str,
    slot: Slot,
    delivery: str | None,
    who: str,
    why: str | None = None,
    facts: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> dict[str, Any]:
    return {
        "at": at or clock.now(),
        "kind": kind,
        **asdict(slot),
        "delivery_id": delivery,
        "who": who,
        "why": why,
        "facts": dict(facts or {}),
    }


def _without_id(event: Event) -> dict[str, Any]:
    values = asdict(event)
    del values["id"]
    return values


def _append(c: sa.Connection, events: list[dict[str, Any]]) -> None:
    _insert(c, t.events, events)


def _insert(c: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    # an empty list would insert a row of defaults
    if rows:
        c.execute(sa.insert(table), rows)


def _owe(c: sa.Connection, deliveries: Sequence[str], kind: ReceiptKind) -> None:
    # one that was owed already is owed once
    _pay(c, deliveries, kind)
    _insert(c, t.owed_receipts, [{"delivery_id": delivery, "kind": kind} for delivery in sorted(set(deliveries))])


def _pay(c: sa.Connection, deliveries: Iterable[str], kind: ReceiptKind) -> None:
    for ids in _chunks(sorted(set(deliveries))):
        these = t.owed_receipts.c.delivery_id.in_(ids) & (t.owed_receipts.c.kind == kind)
        c.execute(sa.delete(t.owed_receipts).where(these))


def _enqueue(c: sa.Connection, deliveries: Iterable[Delivery], begins: Mapping[str, int]) -> None:
    rows = [
        {
            "delivery_id": d.delivery_id,
            "supplier": d.supplier,
            "dataset": d.dataset,
            "period": d.period,
            "attempt": d.attempt,
            "shard": shard_key(d.supplier),
            "received_at": d.received_at,
            "begins": begins.get(d.delivery_id, 0),
        }
        for d in deliveries
    ]
    _insert(c, t.queue, rows)
    if rows:
        _ring(c)


def _ring(c: sa.Connection) -> None:
    """Wake the judges of a server once this transaction is committed."""
    if c.dialect.name == "postgresql":
        c.execute(sa.select(sa.func.pg_notify(QUEUE_BELL, "")))


def _verdict_row(record: VerdictRecord, state: str) -> dict[str, Any]:
    return {
        "delivery_id": record.delivery_id,
        "judged_at": record.judged_at,
        "state": state,
        **record.rows,
        "contract_version": record.contract_version,
        "dialect_version": record.dialect_version,
        "mapping_version": record.mapping_version,
        "body": dict(record.body),
        "replay": record.replay,
    }


def _outbox_row(delivery: str, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"delivery_id": delivery, "kind": kind, "body": dict(body), "created_at": clock.now()}


def _settle(c: sa.Connection, arrival_id: int, **values: str | None) -> None:
    c.execute(sa.update(t.arrivals).where(t.arrivals.c.id == arrival_id).values(values))


def _delivery_of_arrival(c: sa.Connection, arrival_id: int) -> Delivery | None:
    a, d = t.arrivals, t.deliveries
    chosen = sa.select(d).join(a, a.c.delivery_id == d.c.delivery_id).where(a.c.id == arrival_id)
    found = _rows(c, chosen)
    return found[0] if found else None


def _rows(c: sa.Connection, chosen: sa.Select[Any]) -> list[Delivery]:
    return [Delivery(**row._mapping) for row in c.execute(chosen)]


def _is(table: sa.Table, slot: Slot) -> sa.ColumnElement[bool]:
    return _equal(table.c, asdict(slot))


def _equal(columns: Any, wanted: Mapping[str, str]) -> sa.ColumnElement[bool]:
    return sa.and_(sa.true(), *(columns[name] == value for name, value in wanted.items()))


def _lock(c: sa.Connection, slots: Iterable[Slot]) -> None:
    """Let nobody else change these slots until the end of the transaction. In SQLite there is one writer anyway."""
    if c.dialect.name == "postgresql":
        for slot in sorted(slots):  # everybody in the same order, so that nobody waits in a circle
            c.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(str(slot), 0))))


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


def _for_people(file_name: str) -> str:
    """A file's name as it may be shown: no control characters, no bytes that are no text, not endless."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in file_name[:255])
