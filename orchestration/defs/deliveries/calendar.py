"""The slot calendar in Dagster: who is overdue, and whether a dataset is supplied on time."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg

from orchestration.report import accepted_key, judged_key
from orchestration.resources import DeskResource
from orchestration.slots import partition_of
from quality.calendar import due_at, owed_slots
from quality.contract import Contract
from quality.desk import Desk
from storage.paths import Slot

ON_TIME = "supplied_on_time"
_SHOWN = 50


def overdue_slots(desk: Desk, now: datetime) -> list[tuple[Slot, datetime]]:
    """Slots whose deadline has passed and that nobody holds, with the deadline, oldest first."""
    pack = desk.pack
    due = {o.slot: due_at(o.due_on, pack.region.zone) for o in owed_slots(pack, now.date())}
    states = desk.ledger.slots(due, now)
    late = [(slot, deadline) for slot, deadline in due.items() if deadline < now and states[slot].is_overdue]
    return sorted(late, key=lambda pair: (pair[1], pair[0]))


def on_time(dataset: str, late: Sequence[tuple[Slot, datetime]]) -> dg.AssetCheckResult:
    """Whether every slot of a dataset that is due is held by a delivery; names those that are not."""
    names = [f"{slot.supplier} {slot.period}" for slot, _ in late if slot.dataset == dataset]
    return dg.AssetCheckResult(
        passed=not names,
        asset_key=accepted_key(dataset),
        check_name=ON_TIME,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(names)} slots are overdue" if names else "every slot that is due was supplied",
        metadata={"overdue": len(names), "slots": ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")},
    )


def on_time_checks(contracts: Sequence[Contract]) -> list[dg.AssetChecksDefinition]:
    """One check per dataset; the sensor tells their results, and they may be asked at any time."""
    specs = [
        dg.AssetCheckSpec(
            ON_TIME, asset=accepted_key(contract.dataset),
            description="Every slot whose deadline has passed by the calendar of the contract is held by a delivery.",
        )
        for contract in contracts
    ]  # fmt: skip

    @dg.multi_asset_check(name="slots_on_time", specs=specs, can_subset=True)
    def slots_on_time(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> Iterator[dg.AssetCheckResult]:
        with desk.open() as at:
            late = overdue_slots(at, datetime.now(UTC))
        for key in sorted(context.selected_asset_check_keys):
            yield on_time(key.asset_key.path[-1], late)

    return [slots_on_time]


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
        datasets = sorted(at.pack.contracts)
    if not news:
        return dg.SkipReason(f"nothing became overdue; {len(late)} slots still are")
    seen = [
        dg.AssetObservation(
            judged_key(slot.dataset), partition=partition_of(slot),
            metadata={"overdue_since": dg.MetadataValue.timestamp(due)},
        )
        for slot, due in news
    ]  # fmt: skip
    changed = {slot.dataset for slot, _ in news}
    told = [_evaluation(on_time(dataset, late)) for dataset in datasets if dataset in changed]
    return dg.SensorResult(asset_events=[*seen, *told])


def _evaluation(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    assert result.asset_key is not None and result.check_name is not None
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key, check_name=result.check_name, passed=result.passed, severity=result.severity,
        description=result.description, metadata=result.metadata or {},
    )  # fmt: skip
