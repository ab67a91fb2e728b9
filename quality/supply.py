"""What the foundation must know beside rows: who owed what, what became of it, and the region's own tables.

Outcomes are tables like any other. They are written into the accepted lake before the foundation is built, all in one
transaction, so that a build sees slots, verdicts and rows of one moment.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from quality.calendar import due_at, due_on
from quality.desk import Desk
from quality.region import RegionPack
from storage.ledger.ledger import DeliveryView
from storage.ledger.states import SERVED, SlotState
from storage.paths import Slot
from storage.periods import period as read_period
from storage.threads import Threads

_SLOTS: dict[str, Any] = {
    "supplier_id": pl.String, "dataset": pl.String, "period": pl.String, "period_start_date": pl.Date,
    "period_end_date": pl.Date, "due_on": pl.Date, "state": pl.String, "attempts": pl.Int32, "first_state": pl.String,
    "received_at": pl.Datetime("us", "UTC"), "judged_at": pl.Datetime("us", "UTC"),
    "first_received_at": pl.Datetime("us", "UTC"), "first_accepted_at": pl.Datetime("us", "UTC"),
    "served_delivery_id": pl.String, "served_attempt": pl.Int32, "stale_since": pl.Datetime("us", "UTC"),
    "is_owed": pl.Boolean,
}  # fmt: skip
_DELIVERIES: dict[str, Any] = {
    "delivery_id": pl.String, "supplier_id": pl.String, "dataset": pl.String, "period": pl.String, "attempt": pl.Int32,
    "state": pl.String, "first_verdict": pl.String, "file_name": pl.String, "sha256": pl.String,
    "received_at": pl.Datetime("us", "UTC"), "acknowledged_at": pl.Datetime("us", "UTC"),
    "judged_at": pl.Datetime("us", "UTC"), "first_judged_at": pl.Datetime("us", "UTC"),
    "delivered": pl.Int64, "accepted": pl.Int64, "accepted_with_warning": pl.Int64,
    "quarantined": pl.Int64, "ignored_by_rule": pl.Int64,
}  # fmt: skip
_FINDINGS: dict[str, Any] = {"delivery_id": pl.String, "rule": pl.String, "severity": pl.String, "rows": pl.Int64}
_CONFIRMATIONS: dict[str, Any] = {
    "delivery_id": pl.String, "supplier_id": pl.String, "dataset": pl.String, "period": pl.String, "rule": pl.String,
    "rows": pl.Int64, "reason": pl.String, "confirmed_at": pl.Datetime("us", "UTC"),
}  # fmt: skip
_OBJECTIONS: dict[str, Any] = {
    "thread_id": pl.Int64, "supplier_id": pl.String, "delivery_id": pl.String, "rule": pl.String, "figure": pl.String,
    "state": pl.String, "decision": pl.String, "opened_at": pl.Datetime("us", "UTC"), "due_at": pl.Datetime("us", "UTC"),
    "decided_at": pl.Datetime("us", "UTC"),
}  # fmt: skip
_SERVED: dict[str, Any] = {
    "supplier_id": pl.String, "dataset": pl.String, "period": pl.String, "attempt": pl.Int32, "delivery_id": pl.String,
    "rows": pl.Int64, "accepted_at": pl.Datetime("us", "UTC"),
}  # fmt: skip


def publish_supply(desk: Desk, *, now: datetime | None = None) -> None:
    """Write `supply_*`, `served_slots` and `region_*` into the accepted lake, as of now."""
    now = now or datetime.now(UTC)
    desk.ensure_tables(desk.pack)
    pack = desk.pack.shared
    views = [view for view in desk.ledger.deliveries() if _is_shared(desk.pack, view.dataset)]
    frames = {
        "supply_slots": _slots(desk, pack, views, now),
        "supply_deliveries": pl.DataFrame([_delivery(v) for v in views], schema=_DELIVERIES, orient="row"),
        "supply_findings": pl.DataFrame(_findings(desk, views), schema=_FINDINGS, orient="row"),
        "supply_confirmations": pl.DataFrame(_confirmations(desk, views), schema=_CONFIRMATIONS, orient="row"),
        "supply_objections": pl.DataFrame(_objections(desk), schema=_OBJECTIONS, orient="row"),
        "served_slots": pl.DataFrame([_served(v) for v in views if v.state in SERVED], schema=_SERVED, orient="row"),
        **_region(pack),
    }
    connection = desk.bench.connection
    for name, frame in frames.items():
        connection.register(f"new_{name}", frame.to_arrow())
    try:
        desk.lake.publish({name: f"new_{name}" for name in frames})
    finally:
        for name in frames:
            connection.unregister(f"new_{name}")


def _is_shared(pack: RegionPack, dataset: str) -> bool:
    contract = pack.contracts.get(dataset)
    return contract is None or not contract.is_internal


def _slots(desk: Desk, pack: RegionPack, views: Sequence[DeliveryView], now: datetime) -> pl.DataFrame:
    """One row per slot that is owed or that anything was delivered for."""
    owed = {o.slot: o for o in desk.owed(now.date())}
    by_slot: dict[Slot, list[DeliveryView]] = defaultdict(list)
    for view in views:
        by_slot[view.slot].append(view)
    due: dict[Slot, date] = {slot: o.due_on for slot, o in owed.items()}
    extended = desk.ledger.extensions.granted()
    for slot in by_slot:
        contract = pack.contracts.get(slot.dataset)
        if slot not in due and contract is not None:
            due[slot] = extended.get(slot) or due_on(contract, read_period(slot.period), pack.region.land)
    states = desk.ledger.slots({slot: due_at(day, pack.region.zone) for slot, day in due.items()}, now)
    rows = [_slot(slot, due[slot], states[slot], by_slot.get(slot, []), slot in owed) for slot in sorted(due)]
    return pl.DataFrame(rows, schema=_SLOTS, orient="row")


def _slot(slot: Slot, due: date, state: SlotState, views: Sequence[DeliveryView], is_owed: bool) -> tuple[Any, ...]:
    period = read_period(slot.period)
    counted = [v for v in sorted(views, key=lambda v: v.attempt) if v.duplicate_of is None]
    accepted = [v.first_accepted_at for v in counted if v.verdict_state in SERVED and v.first_accepted_at]
    served = next((v for v in views if v.delivery_id == state.served), None)
    return (
        slot.supplier, slot.dataset, slot.period, period.start, period.end, due,
        _told(state, counted), state.attempts, counted[0].first_verdict_state if counted else None,
        counted[-1].received_at if counted else None, counted[-1].judged_at if counted else None,
        counted[0].received_at if counted else None, min(accepted, default=None),
        state.served, served.attempt if served else None, state.stale_since, is_owed,
    )  # fmt: skip


def _told(state: SlotState, counted: Sequence[DeliveryView]) -> str:
    """The slot's state as the foundation names it: a stale slot keeps the state of its newest attempt."""
    if state.state == "stale":
        return next((v.state for v in counted if v.delivery_id == state.newest), "rejected")
    if state.newest is None and any(v.state == "withdrawn" for v in counted):
        return "withdrawn"
    return state.state


def _delivery(v: DeliveryView) -> tuple[Any, ...]:
    rows = v.rows or {}
    counts = [rows.get(n) for n in ("delivered", "accepted", "accepted_with_warning", "quarantined", "ignored_by_rule")]
    return (
        v.delivery_id, v.supplier, v.dataset, v.period, v.attempt, v.state, v.first_verdict_state, v.file_name, v.sha256,
        v.received_at, v.acknowledged_at, v.judged_at, v.first_judged_at, *counts,
    )  # fmt: skip


def _findings(desk: Desk, views: Sequence[DeliveryView]) -> list[tuple[str, str, str, int]]:
    bodies = desk.ledger.verdicts([v.delivery_id for v in views if v.verdict_state])
    return [
        (delivery, finding["rule"], finding["severity"], finding["rows"])
        for delivery, body in bodies.items()
        for finding in body.get("findings", ())
    ]


def _confirmations(desk: Desk, views: Sequence[DeliveryView]) -> list[tuple[Any, ...]]:
    """What suppliers said of warnings that their served deliveries still have; persons stay in the ledger."""
    served = {v.delivery_id: v for v in views if v.state in SERVED}
    return [
        (delivery, served[delivery].supplier, served[delivery].dataset, served[delivery].period, one.rule, one.rows,
         one.reason, one.at)
        for delivery, told in desk.confirmed(served).items()
        for one in told
    ]  # fmt: skip


def _objections(desk: Desk) -> list[tuple[Any, ...]]:
    """Who contests what, and what was decided; what was said stays in the ledger."""
    rows = []
    with contextlib.closing(Threads(desk.settings.ledger_url)) as threads:
        for one in threads.everything():
            if one.state in ("contested", "decided"):
                contested = next(entry.at for entry in one.entries if entry.kind == "contest")
                decided = None if one.is_open else one.entries[-1].at
                topic = one.topic
                rows.append(
                    (one.thread_id, topic.supplier, topic.delivery_id, topic.rule, topic.figure, one.state, one.decision,
                     contested, one.due_at, decided)
                )  # fmt: skip
    return rows


def _served(v: DeliveryView) -> tuple[Any, ...]:
    rows = v.rows or {}
    count = rows.get("accepted", 0) + rows.get("accepted_with_warning", 0)
    return (v.supplier, v.dataset, v.period, v.attempt, v.delivery_id, count, v.judged_at)


def _region(pack: RegionPack) -> dict[str, pl.DataFrame]:
    region = pack.region
    text = pl.String
    return {
        "region_areas": pl.DataFrame(
            [(region.id, a.area_code, a.name, a.land, a.nuts) for a in region.areas],
            schema={"region_id": text, "area_code": text, "area_name": text, "land": text, "nuts": text}, orient="row",
        ),
        "region_suppliers": pl.DataFrame(
            [(s.id, s.name, s.role, s.area_code, s.synthetic) for s in pack.suppliers.values()],
            schema={"supplier_id": text, "supplier_name": text, "role": text, "area_code": text, "is_synthetic": pl.Boolean},
            orient="row",
        ),
        "region_mandates": pl.DataFrame(
            [(m.supplier, m.dataset, prefix, m.valid_from, m.valid_until, m.optional) for m in pack.mandates for prefix in (m.areas or [""])],
            schema={"supplier_id": text, "dataset": text, "area_prefix": text, "valid_from_date": pl.Date, "valid_until_date": pl.Date,
                    "is_optional": pl.Boolean}, orient="row",
        ),
        "region_sites": pl.DataFrame(
            [(s.site_id, s.kind, s.name, s.area_code, s.valid_from, s.valid_to) for s in pack.sites],
            schema={"site_id": text, "kind": text, "site_name": text, "area_code": text, "valid_from_date": pl.Date,
                    "valid_to_date": pl.Date}, orient="row",
        ),
        "region_codes": pl.DataFrame(
            [(name, e.code, e.name_de, e.name_en, e.valid_from, e.valid_to) for name, cl in pack.code_lists.items() for e in cl.entries],
            schema={"list_id": text, "code": text, "name_de": text, "name_en": text, "valid_from_date": pl.Date, "valid_to_date": pl.Date},
            orient="row",
        ),
    }  # fmt: skip
