"""Scheduled tidying: what a crash left undone for suppliers and readers, the lakes' files, and the age of Dagster's own storage."""

import dagster as dg

from orchestration.defs.maintenance.retention import forget_old_runs
from orchestration.instance import end_dead_runs
from orchestration.resources import DeskResource
from quality import foundation
from quality.region import RegionPack
from quality.release import hand_out_last
from quality.release_reading import releases
from storage.lake import CatalogName
from storage.maintenance import maintain


class MaintenanceConfig(dg.Config):
    """How long history stays readable. Snapshots of releases are always kept."""

    keep_snapshots_days: int = 400
    keep_runs_days: int = 90


@dg.op
def sweep(context: dg.OpExecutionContext, desk: DeskResource) -> None:
    """Write receipts that are missing, end runs of dead processes, hand out a release that readers were not given."""
    with desk.open("sweep") as at:
        written = at.write_missing_receipts()
    ended = end_dead_runs(context.instance)
    handed_out = hand_out_last(desk.settings)
    news = "; the last release had not reached its readers" if handed_out else ""
    context.log.info(f"{written} receipts were missing, {len(ended)} runs had died{news}")
    context.add_output_metadata(
        {"receipts_written": written, "runs_ended": len(ended), "release_handed_out": handed_out}
    )


@dg.op(pool="foundation")
def tidy_lakes(context: dg.OpExecutionContext, config: MaintenanceConfig, desk: DeskResource) -> None:
    """Merge small files, rewrite what is mostly deleted, forget snapshots that nobody was promised, delete their files."""
    settings = desk.settings
    made = releases(settings)
    now = foundation.current(settings)
    kept: dict[CatalogName, set[int]] = {
        "accepted": {r.accepted_snapshot for r in made} | ({now.accepted} if now else set()),
        "foundation": {r.snapshot for r in made} | ({now.foundation} if now else set()),
    }
    for catalog, snapshots in kept.items():
        done = maintain(settings, catalog, keep=snapshots, keep_days=config.keep_snapshots_days)
        context.log.info(f"{catalog}: {done}")
        context.add_output_metadata({f"{catalog}_{name}": value for name, value in done.items()})


@dg.op
def forget_runs(context: dg.OpExecutionContext, config: MaintenanceConfig) -> None:
    """Delete old runs with their events, except those that say how a slot stands."""
    deleted = forget_old_runs(context.instance, days=config.keep_runs_days)
    context.log.info(f"{deleted} runs deleted")
    context.add_output_metadata({"runs_deleted": deleted})


@dg.job(
    description="Receipts that a crash left unwritten, runs whose process is gone, a release that was not handed out."
)
def nightly_sweep() -> None:
    """One step."""
    sweep()


@dg.job(description="Lake maintenance and retention. Keeps every snapshot that a release names.")
def maintenance() -> None:
    """Two independent steps."""
    tidy_lakes()
    forget_runs()


def maintenance_definitions(pack: RegionPack) -> dg.Definitions:
    """Jobs with their schedules in the region's time."""
    schedules = [
        dg.ScheduleDefinition(
            name=f"{job.name}_schedule",
            job=job,
            cron_schedule=cron,
            execution_timezone=pack.region.zone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
        for job, cron in ((nightly_sweep, "30 2 * * *"), (maintenance, "0 4 * * 0"))
    ]
    return dg.Definitions(jobs=[nightly_sweep, maintenance], schedules=schedules)
