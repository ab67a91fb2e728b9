"""Assets of the foundation: the state of supply, and every dbt model with its tests as checks."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg
from dagster_dbt import dbt_assets

from orchestration.defs.deliveries.calendar import on_time, on_time_checks, overdue_slots
from orchestration.defs.foundation.automation import at_rest, follows_region, follows_verdicts
from orchestration.defs.foundation.translator import REGION, LayerTranslator, held_by_every_build
from orchestration.report import ACCEPTED, SUPPLY_KEY, judged_key
from orchestration.resources import DeskResource
from quality.foundation import Step, build, current
from quality.region import RegionPack
from quality.supply import publish_supply

#: One writer per lake catalog.
POOL = "foundation"


def supply_assets(manifest: Mapping[str, Any], pack: RegionPack) -> list[dg.AssetsDefinition]:
    """What the models read beside rows: the state of supply after every verdict, and the region's own tables."""
    tables = sorted(s["name"] for s in manifest["sources"].values() if s["source_name"] == ACCEPTED)
    tables = [table for table in tables if table not in pack.contracts]
    descriptions = {s["name"]: s.get("description") or "" for s in manifest["sources"].values()}
    gate = at_rest(held_by_every_build(manifest))
    verdicts = [dg.AssetDep(judged_key(dataset)) for dataset in sorted(pack.contracts)]

    def spec(table: str) -> dg.AssetSpec:
        of_region = table.startswith(REGION)
        return dg.AssetSpec(
            dg.AssetKey([ACCEPTED, table]),
            deps=[] if of_region else verdicts,
            group_name=ACCEPTED,
            kinds={"ducklake"},
            description=descriptions[table],
            code_version=pack.fingerprint if of_region else None,
            automation_condition=follows_region(gate) if of_region else follows_verdicts(gate),
        )

    @dg.multi_asset(
        name="publish_supply",
        specs=[spec(table) for table in tables if not table.startswith(REGION)],
        check_specs=on_time_checks(pack),
    )
    def supply(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[Any]:
        with desk.open() as at:
            publish_supply(at)
            late = overdue_slots(at, datetime.now(UTC))
        for key in context.selected_asset_keys:
            yield dg.MaterializeResult(key)
        for dataset in pack.contracts:
            yield dg.AssetCheckResult(**on_time(dataset, late))

    @dg.multi_asset(name="publish_region", specs=[spec(table) for table in tables if table.startswith(REGION)])
    def region(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[Any]:
        with desk.open() as at:
            publish_supply(at)
        for key in context.selected_asset_keys:
            yield dg.MaterializeResult(key)

    return [supply, region]


def foundation_assets(manifest: Mapping[str, Any], pack: RegionPack) -> dg.AssetsDefinition:
    """Every dbt model and seed, built in this process, only what was selected and holds rows of its own."""
    translator = LayerTranslator(manifest, set(pack.contracts))
    nodes = {translator.get_asset_key(node): node for node in in_order(manifest)}

    @dbt_assets(manifest=dict(manifest), dagster_dbt_translator=translator, name="build_foundation", pool=POOL)
    def build_foundation(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[Any]:
        wanted = [key for key in nodes if key in context.selected_asset_keys]
        whole = len(wanted) == len(nodes)
        # a view holds no rows: it changes with the project, and then everything is built
        tables = [nodes[key]["name"] for key in wanted if nodes[key]["config"]["materialized"] != "view"]
        published = SUPPLY_KEY in (context.run.asset_selection or ())
        if not published:
            with desk.open() as at:
                publish_supply(at)
        done: dict[str, Step] = {}
        facts: dict[str, Any] = {}
        if tables or current(desk.settings) is None:
            result = build(desk.settings, select=None if whole else tables)
            done = {step.name: step for step in (*result.models, *result.tests)}
            facts = {"snapshot": result.snapshot, "accepted_snapshot": result.accepted_snapshot, "full": result.full}
            context.log.info(f"{len(result.models)} models in {result.seconds:.1f} s, full: {result.full}")
        for key, node in nodes.items():
            step = done.get(node["name"])
            if key in context.selected_asset_keys:
                yield dg.MaterializeResult(key, metadata={**facts, **_facts(step)})
            elif step is not None:
                # the first build of a home is full, whatever was selected
                context.log_event(dg.AssetMaterialization(key, metadata={**facts, **_facts(step)}))
        for check in context.selected_asset_check_keys:
            step = done.get(check.name)
            if step is not None and step.status != "skipped":
                yield dg.AssetCheckResult(
                    passed=step.status in ("pass", "success"),
                    asset_key=check.asset_key,
                    check_name=check.name,
                    severity=dg.AssetCheckSeverity.WARN if step.status == "warn" else dg.AssetCheckSeverity.ERROR,
                    metadata={"failures": step.failures or 0, "message": step.message},
                )

    return build_foundation


def in_order(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Models and seeds, each after what it reads: Dagster wants them told in this order."""
    nodes = {name: node for name, node in manifest["nodes"].items() if node["resource_type"] in ("model", "seed")}
    # a seed reads nothing and says so by leaving `nodes` out
    upstream = {name: [n for n in node["depends_on"].get("nodes", ()) if n in nodes] for name, node in nodes.items()}
    return [nodes[name] for name in TopologicalSorter(upstream).static_order()]


def _facts(step: Step | None) -> dict[str, Any]:
    if step is None:
        return {"built": "a view, read when asked"}
    return {"seconds": round(step.seconds, 3), "status": step.status}
