"""Refused slots in the grid: a rejected or withdrawn slot is shown as failed, although no run failed.

Dagster paints a partition as failed when the last thing it knows is a planned materialization of a failed run. A verdict
is no failure of a run, so one run per home, the job `slots_refused`, has failed once and for all, and holds these plans.
The next materialization of the slot takes the mark away. See docs/decisions/0013-refused-slots.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent

from orchestration.report import accepted_key, judged_key

if TYPE_CHECKING:
    from orchestration.report import Report

_JOB = "slots_refused"


@dg.op(description="Never runs. Its one failed run holds the marks of slots whose newest delivery was refused.")
def refuse() -> None:
    """Stands for the step that would have accepted a slot's rows."""
    raise dg.Failure("this job only holds marks; it is not meant to be run")


@dg.job(name=_JOB, description="Holds the marks of refused slots; not meant to be run.")
def slots_refused() -> None:
    """One step, never run."""
    refuse()


def mark_refused(instance: dg.DagsterInstance, reports: Sequence[Report]) -> None:
    """Show the slots of these reports as failed in the grids of `judged` and `accepted`."""
    if not reports:
        return
    run = _run(instance)
    for report in reports:
        # who asks why a slot is red is led to this run
        instance.report_engine_event(f"{report.slot}: {report.refused}", run)
        for key in (judged_key(report.slot.dataset), accepted_key(report.slot.dataset)):
            plan = AssetMaterializationPlannedData(key, partition=report.partition)
            event = DagsterEvent.build_asset_materialization_planned_event(_JOB, "refuse", plan)
            instance.report_dagster_event(event, run.run_id)


def _run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    failed = dg.RunsFilter(job_name=_JOB, statuses=[dg.DagsterRunStatus.FAILURE], tags={"verbund/marks": "refused"})
    for run in instance.get_runs(failed, limit=1):
        return run
    run = instance.create_run_for_job(slots_refused, tags={"verbund/marks": "refused"})
    instance.report_run_failed(run, "not a failure: holds the marks of slots whose newest delivery was refused")
    return run
