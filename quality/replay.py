"""Judging again after a contract, dialect, mapping or code list changed: from the vault, told before it is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from quality.desk import Desk
from quality.reading import choose_dialect
from storage.ledger.ledger import DeliveryView
from storage.ledger.states import SERVED
from storage.periods import period as read_period


@dataclass(frozen=True)
class Replayed:
    """What a delivery was and what it is (or would be) when judged by what holds now. `rows` are the five counts."""

    delivery: str
    state_before: str
    state_after: str
    rows_before: dict[str, int]
    rows_after: dict[str, int]
    versions_before: dict[str, str]
    versions_after: dict[str, str]

    @property
    def differs(self) -> bool:
        return (self.state_before, self.rows_before) != (self.state_after, self.rows_after)


def candidates(
    desk: Desk,
    *,
    supplier: str | None = None,
    dataset: str | None = None,
    period: str | None = None,
    everything: bool = False,
) -> list[DeliveryView]:
    """Deliveries whose verdict may change: per slot the one that is served and a newer one that was rejected.

    Only those judged under another contract, dialect or mapping than the present ones, unless `everything`.
    """
    views = desk.ledger.deliveries(supplier, dataset, period)
    newest = {view.slot: view.attempt for view in views if view.duplicate_of is None and view.state != "withdrawn"}
    wanted = []
    for view in views:
        is_current = view.state in SERVED or (view.state == "rejected" and view.attempt == newest.get(view.slot))
        if is_current and not view.nothing_to_report and (everything or _versions(view) != _present(desk, view)):
            wanted.append(view)
    return wanted


def replay(desk: Desk, deliveries: list[DeliveryView], *, dry_run: bool) -> Iterator[Replayed]:
    """Judge deliveries again, one by one; with `dry_run` nothing is stored.

    Raises:
        PlatformTrouble: The work could not be done; what was yielded before holds.
    """
    for view in deliveries:
        judged = desk.judge(view) if dry_run else desk.rejudge(view.delivery_id)
        if dry_run:
            desk.bench.forget(judged)
        yield Replayed(
            view.delivery_id,
            view.verdict_state or "received",
            judged.verdict.state,
            dict(view.rows or {}),
            asdict(judged.verdict.rows),
            _versions(view),
            asdict(judged.verdict.versions),
        )


def _versions(view: DeliveryView) -> dict[str, Any]:
    return {"contract": view.contract_version, "dialect": view.dialect_version, "mappings": view.mapping_version}


def _present(desk: Desk, view: DeliveryView) -> dict[str, Any]:
    pack, period = desk.pack, read_period(view.period)
    contract = pack.contracts.get(view.dataset)
    mandate = pack.mandate(view.supplier, view.dataset, period.start, period.end)
    dialect = pack.dialect_fingerprint(choose_dialect(pack, mandate, view.file_name, view.dialect)) if mandate else "-"
    if mandate and contract:
        # it may have come in a form of ours, which its content tells and not its name
        forms = [contract.fingerprint, *(pack.dialect_fingerprint(pack.dialects[name]) for name in mandate.dialects)]
        dialect = view.dialect_version if view.dialect_version in forms else dialect
    return {
        "contract": contract.fingerprint if contract else "-",
        "dialect": dialect,
        "mappings": pack.mappings_version(view.supplier),
    }
