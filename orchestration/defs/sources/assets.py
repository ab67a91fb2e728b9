"""Sources as assets: materialized on their cron, what they catch enters as a delivery like any other."""

from typing import Any

import dagster as dg

from orchestration.resources import DeskResource
from quality.judging import holding, ring, work_queue
from quality.pull import SourceFailed, pull
from quality.region import RegionPack, Source

GROUP = "sources"


def source_assets(pack: RegionPack) -> list[dg.AssetsDefinition]:
    """The asset `sources/<id>` of every source of the pack."""
    return [_source_asset(source) for source in pack.sources]


def source_schedules(pack: RegionPack) -> list[dg.ScheduleDefinition]:
    """One schedule per source, in the region's time."""
    return [
        dg.ScheduleDefinition(
            name=f"pull_{source.id}",
            target=dg.AssetSelection.assets(source_key(source)),
            cron_schedule=source.every,
            execution_timezone=pack.region.zone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
        for source in pack.sources
    ]


def source_key(source: Source) -> dg.AssetKey:
    """Asset key of a source."""
    return dg.AssetKey([GROUP, source.id])


def _source_asset(source: Source) -> dg.AssetsDefinition:
    @dg.asset(
        key=source_key(source),
        group_name=GROUP,
        kinds={source.kind},
        description=f"{source.dataset} of {source.supplier}, from {source.address}",
        metadata={"supplier": source.supplier, "dataset": source.dataset, "address": source.address},
    )
    def pulled(desk: DeskResource) -> dg.MaterializeResult[Any]:
        with desk.open(f"pull:{source.id}") as at:
            failed = None
            try:
                caught = pull(at, source)
            except SourceFailed as error:
                failed, caught = error, list(error.caught)
            if caught:
                ring(desk.settings)
                with holding(desk.settings) as alone:
                    if alone:
                        # no judge runs here, so this run judges
                        work_queue(at)
        told: dict[str, Any] = {
            "deliveries": len(caught), "caught": ", ".join(delivery.delivery_id for delivery in caught)
        }  # fmt: skip
        if failed is not None:
            # what came before, or beside what is wrong, is a delivery all the same
            raise dg.Failure(str(failed), metadata={"address": failed.address, **told}, allow_retries=True)
        return dg.MaterializeResult(metadata=told)

    return pulled
