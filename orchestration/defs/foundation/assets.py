"""Assets of the foundation: the state of supply, and every dbt model with its tests as checks."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import dbt_assets

from orchestration.defs.foundation.automation import REGION_CHANGED, SOME_DELIVERY_ACCEPTED
from orchestration.defs.foundation.translator import LayerTranslator
from orchestration.report import ACCEPTED, judged_key
from orchestration.resources import DeskResource
from quality.foundation import Step, build, current
from quality.region import RegionPack
from quality.supply import publish_supply

#: One writer per lake catalog.
POOL = "foundation"
#: Tables of the region pack begin so; they change with the pack and not with deliveries.
_REGION = "region_"
#: One of the tables of the state of supply; all are published together.
_SUPPLY = "supply_slots"


def supply_assets(manifest: Mapping[str, Any], pack: RegionPack) -> list[dg.AssetsDefinition]:
    """What the models read beside rows: the state of supply after every verdict, and the region's own tables."""
    tables = sorted(s["name"] for s in manifest["sources"].values() if s["source_name"] == ACCEPTED)
    tables = [table for table in tables if table not in pack.contracts]
    descriptions = {s["name"]: s.get("description") or "" for s in manifest["sources"].values()}
    verdicts = [dg.AssetDep(judged_key(dataset)) for dataset in sorted(pack.contracts)]

    def spec(table: str) -> dg.AssetSpec:
        of_region = table.startswith(_REGION)
        return dg.AssetSpec(
            dg.AssetKey([ACCEPTED, table]),
            deps=[] if of_region else verdicts,
            group_name=ACCEPTED,
            kinds={"ducklake"},
            description=descriptions[table],
            code_version=pack.fingerprint if of_region else None,
            automation_condition=REGION_CHANGED if of_region else SOME_DELIVERY_ACCEPTED,
        )

    def published(name: str, specs: list[dg.AssetSpec]) -> dg.AssetsDefinition:
        @dg.multi_asset(name=name, specs=specs)
        def publish(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[dg.MaterializeResult[Any]]:
            with desk.open() as at:
                publish_supply(at)
            for key in context.selected_asset_keys:
                yield dg.MaterializeResult(key)

        return publish

    return [
        published("publish_supply", [spec(table) for table in tables if not table.startswith(_REGION)]),
        published("publish_region", [spec(table) for table in tables if table.startswith(_REGION)]),
    ]


def foundation_assets(manifest: Mapping[str, Any]) -> dg.AssetsDefinition:
    """Every dbt model and seed, built in this process, only what was selected and holds rows of its own."""
    translator = LayerTranslator()
    nodes = {
        translator.get_asset_key(node): node
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed")
    }

    @dbt_assets(manifest=dict(manifest), dagster_dbt_translator=translator, name="build_foundation", pool=POOL)
    def build_foundation(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[Any]:
        wanted = [key for key in nodes if key in context.selected_asset_keys]
        whole = len(wanted) == len(nodes)
        # a view holds no rows: it changes with the project, and then everything is built
        tables = [nodes[key]["name"] for key in wanted if nodes[key]["config"]["materialized"] != "view"]
        published = dg.AssetKey([ACCEPTED, _SUPPLY]) in (context.run.asset_selection or ())
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


def _facts(step: Step | None) -> dict[str, Any]:
    if step is None:
        return {"built": "a view, read when asked"}
    return {"seconds": round(step.seconds, 3), "status": step.status}
