"""The job that freezes the foundation into a release, and a schedule for regions that want one every night."""

import dagster as dg

from orchestration.resources import DeskResource
from quality.region import RegionPack
from quality.release import NothingToRelease, release


class ReleaseConfig(dg.Config):
    """What to say of the release, for people."""

    note: str = ""


@dg.op
def freeze_foundation(context: dg.OpExecutionContext, config: ReleaseConfig, desk: DeskResource) -> None:
    """Freeze the foundation as it was last built to the end; where nothing is new, the last release stays."""
    try:
        made = release(desk.settings, note=config.note)
    except NothingToRelease as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log.info(f"release {made.number}" if made.is_new else f"nothing is new since release {made.number}")
    context.add_output_metadata(
        {"release": made.number, "new": made.is_new, "path": dg.MetadataValue.path(str(made.path))}
    )


@dg.job(description="Freezes the foundation: number, snapshots, tables as Parquet and a read-only DuckDB file.")
def release_foundation() -> None:
    """One step."""
    freeze_foundation()


def release_definitions(pack: RegionPack) -> dg.Definitions:
    """Job and schedule; what is published is a decision, so the schedule is off until somebody turns it on."""
    nightly = dg.ScheduleDefinition(
        name="nightly_release",
        job=release_foundation,
        cron_schedule="30 3 * * *",
        execution_timezone=pack.region.zone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
    return dg.Definitions(jobs=[release_foundation], schedules=[nightly])
