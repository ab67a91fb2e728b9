"""The slot calendar in Dagster: who is overdue, and whether a dataset is supplied on time."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from orchestration.report import SUPPLY_KEY, judged_key
from orchestration.resources import DeskResource
from orchestration.slots import partition_of
from quality.calendar import due_at, owed_slots
from quality.desk import Desk
from quality.region import RegionPack
from storage.paths import Slot

_ON_TIME = "_on_time"
_SHOWN = 50


def overdue_slots(desk: Desk, now: datetime) -> list[tuple[Slot, datetime]]:
    """Slots whose deadline has passed and that nobody holds, with the deadline, oldest first."""
    pack = desk.pack
    owed = owed_slots(pack, now.date(), desk.ledger.extensions.granted())
    due = {o.slot: due_at(o.due_on, pack.region.zone) for o in owed}
    states = desk.ledger.slots(due, now)
    late = [(slot, deadline) for slot, deadline in due.items() if deadline < now and states[slot].is_overdue]
    return sorted(late, key=lambda pair: (pair[1], pair[0]))


def on_time(dataset: str, late: Sequence[tuple[Slot, datetime]]) -> dict[str, Any]:
    """Whether every slot of a dataset that is due is held by a delivery, naming those that are not.

    Returns:
        Arguments shared by `AssetCheckResult` and `AssetCheckEvaluation`.
    """
    names = [f"{slot.supplier} {slot.period}" for slot, _ in late if slot.dataset == dataset]
    return {
        "asset_key": SUPPLY_KEY,
        "check_name": f"{dataset}{_ON_TIME}",
        "passed": not names,
        "severity": dg.AssetCheckSeverity.WARN,
        "description": f"{len(names)} slots are overdue" if names else "every slot that is due was supplied",
        "metadata": {
            "overdue": len(names),
            "slots": ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else ""),
        },
    }


def on_time_checks(pack: RegionPack) -> list[dg.AssetCheckSpec]:
    """One check per dataset on the state of supply: is it fresh by the calendar of its contract?"""
    return [
        dg.AssetCheckSpec(
            f"{dataset}{_ON_TIME}",
            asset=SUPPLY_KEY,
            description="Every slot whose deadline has passed by the calendar of the contract is held by a delivery.",
        )
        for dataset in pack.contracts
    ]


@dg.sensor(
    minimum_interval_seconds=600,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Notes every slot whose deadline passed since the last look, in the ledger and on the slot.",
)
def overdue_deliveries(desk: DeskResource) -> dg.SensorResult | dg.SkipReason:
    """Note slots that became overdue; the ledger remembers what was noted."""
    with desk.open("calendar") as at:
        late = overdue_slots(at, datetime.now(UTC))
        news = [(slot, due) for slot, due in late if at.ledger.overdue(slot, due)]
    if not news:
        return dg.SkipReason(f"nothing became overdue; {len(late)} slots still are")
    seen = [
        dg.AssetObservation(
            judged_key(slot.dataset), partition=partition_of(slot),
            metadata={"overdue_since": dg.MetadataValue.timestamp(due)},
        )
        for slot, due in news
    ]  # fmt: skip
    changed = sorted({slot.dataset for slot, _ in news})
    return dg.SensorResult(
        asset_events=[*seen, *(dg.AssetCheckEvaluation(**on_time(dataset, late)) for dataset in changed)]
    )
