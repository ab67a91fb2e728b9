"""How old Dagster's own memory may get. Runs that hold the present state of a slot are kept, however old they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from orchestration.marks import slots_refused
from orchestration.report import ACCEPTED, JUDGED

_AT_ONCE = 500


def forget_old_runs(instance: dg.DagsterInstance, *, days: int) -> int:
    """Delete finished runs older than so many days; returns how many."""
    before = datetime.now(UTC) - timedelta(days=days)
    finished = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    old = instance.get_runs(dg.RunsFilter(statuses=finished, created_before=before), limit=_AT_ONCE)
    needed = runs_in_force(instance) if old else set()
    doomed = [run for run in old if run.run_id not in needed and run.job_name != slots_refused.name]
    for run in doomed:
        instance.delete_run(run.run_id)
    return len(doomed)


def runs_in_force(instance: dg.DagsterInstance) -> set[str]:
    """Runs that hold the latest materialization of a slot, or of an asset without partitions."""
    kept = set()
    for key in instance.all_asset_keys():
        if key.path[0] not in (JUDGED, ACCEPTED):
            latest = instance.get_latest_materialization_event(key)
            kept |= {latest.run_id} if latest else set()
            continue
        storage_ids = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
        wanted = list(storage_ids.values())
        for start in range(0, len(wanted), _AT_ONCE):
            some = dg.AssetRecordsFilter(key, storage_ids=wanted[start : start + _AT_ONCE])
            kept |= {record.run_id for record in instance.fetch_materializations(some, limit=_AT_ONCE).records}
    return kept
