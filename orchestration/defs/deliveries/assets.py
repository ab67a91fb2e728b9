"""The assets a delivery passes, made from contracts alone. What "Materialize", a re-run and a backfill call.

Arrivals are answered by the judge and recorded by the reporter; both end in the same events (`orchestration.report`).
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from orchestration.defs.sources.assets import source_key
from orchestration.marks import mark_refused
from orchestration.report import (
    ACCEPTED,
    JUDGED,
    OTHER_FINDINGS,
    WHOLE_FILE_RULES,
    accepted_key,
    judged_key,
    report_of,
)
from orchestration.resources import DeskResource
from orchestration.slots import check_name, slot_of, slots_of
from quality.contract import Contract
from quality.messages import message, remedy
from quality.region import RegionPack
from quality.rules import rule_ids


def delivery_assets(contract: Contract, sources: Sequence[dg.AssetKey] = ()) -> dg.AssetsDefinition:
    """The assets `judged/<dataset>` and `accepted/<dataset>`: judge the slot's newest delivery again, from the vault."""
    dataset = contract.dataset
    slots = slots_of(dataset)
    title = contract.title.get("en", dataset)
    judged = dg.AssetSpec(
        judged_key(dataset),
        deps=list(sources),
        group_name=JUDGED,
        kinds={"greatexpectations"},
        description=f"{title}: the verdict on what each supplier delivered for each period. Grey: nothing was delivered; "
        "red: the newest attempt was rejected or withdrawn; green: accepted, at least in part.",
        metadata={"contract": dg.MetadataValue.path(str(contract.path)), "contract_version": contract.version},
        code_version=contract.fingerprint,
        skippable=True,
        partitions_def=slots,
    )
    accepted = dg.AssetSpec(
        accepted_key(dataset),
        deps=[dg.AssetDep(judged.key, partition_mapping=dg.IdentityPartitionMapping())],
        group_name=ACCEPTED,
        kinds={"ducklake"},
        description=f"{title}: {contract.grain} Rows of the attempt that is served, of every supplier. Green: the slot "
        "has been served; red: the newest attempt was refused, an earlier one may still be served.",
        metadata=_columns(contract),
        skippable=True,
        partitions_def=slots,
    )

    @dg.multi_asset(
        name=f"judge_{dataset}",
        specs=[judged, accepted],
        check_specs=check_specs(contract),
        can_subset=True,
        op_tags={"verbund/dataset": dataset},
    )
    def judge_slot(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[Any]:
        slot = slot_of(dataset, context.partition_key)
        with desk.open() as at:
            state = at.ledger.slot(slot)
            newest = state.newest
            if newest is None:
                context.log.warning(f"nothing was delivered for {slot}, so there is nothing to judge")
                return
            at.rejudge(newest, tell=False)
            report = report_of(at, newest, may_empty=state.served is not None)
        context.log.info(f"{newest}: {report.view.verdict_state}")
        wanted = context.selected_asset_keys
        for event in (report.judged(), *report.accepted()):
            if event.asset_key in wanted:
                yield dg.MaterializeResult(event.asset_key, metadata=event.metadata)
            else:
                # judging changes both, whatever was selected
                context.log_event(event)
        chosen = {key.name for key in context.selected_asset_check_keys}
        for facts in report.checks():
            if facts["check_name"] in chosen:
                yield dg.AssetCheckResult(**facts)
        if report.refused:
            mark_refused(context.instance, [report])

    return judge_slot


def check_specs(contract: Contract) -> list[dg.AssetCheckSpec]:
    """One check per rule on `judged/<dataset>`, its reason as description."""
    rules = [(rule, because.get("en") or remedy(rule, {}, 0, "en")) for rule, _, because in rule_ids(contract)]
    rules += [(rule, message(rule, {}, 0, "en")) for rule in WHOLE_FILE_RULES]
    rules += [(OTHER_FINDINGS, "Everything found under a rule that has no check of its own, hints included.")]
    return [_check_spec(contract, check_name(rule), because) for rule, because in rules]


def _check_spec(contract: Contract, name: str, because: str) -> dg.AssetCheckSpec:
    # `partitions_def` of a check is a preview of Dagster 1.13, so it is used here and nowhere else
    warnings.filterwarnings("ignore", message="Specifying a partitions_def on an AssetCheckSpec")
    return dg.AssetCheckSpec(
        name, asset=judged_key(contract.dataset), description=because, partitions_def=slots_of(contract.dataset)
    )


def _columns(contract: Contract) -> dict[str, Any]:
    columns = [
        dg.TableColumn(f.name, f.physical, f.description + (f" [{f.unit}]" if f.unit else ""),
                       constraints=dg.TableColumnConstraints(nullable=not f.required))
        for f in contract.fields
    ]  # fmt: skip
    return {"dagster/column_schema": dg.TableSchema(columns)}


def all_delivery_assets(pack: RegionPack) -> list[dg.AssetsDefinition]:
    """The assets of every contract; what is pulled for a dataset comes before them."""
    return [
        delivery_assets(pack.contracts[dataset], [source_key(s) for s in pack.sources if s.dataset == dataset])
        for dataset in sorted(pack.contracts)
    ]
