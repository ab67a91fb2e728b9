"""Keeping the lakes small: merged files, forgotten snapshots, deleted leftovers. Which snapshots were promised is told."""

from __future__ import annotations

import contextlib
from collections.abc import Set
from datetime import UTC, datetime, timedelta

from storage import lake
from storage.lake import CatalogName
from storage.settings import Settings

#: Files nobody needs any more are deleted so long after: a reader may still hold the snapshot they belonged to.
GRACE = timedelta(hours=24)
_AT_ONCE = 1000


def maintain(
    settings: Settings, catalog: CatalogName, *, keep: Set[int], keep_days: int, grace: timedelta = GRACE
) -> dict[str, int]:
    """Tidy one catalog; readers are not disturbed, writers wait.

    Args:
        settings: Where state lies.
        catalog: `accepted` or `foundation`.
        keep: Snapshots that were promised (releases, what readers see now); kept whatever their age.
        keep_days: Younger snapshots are kept, too.
        grace: Files are deleted so long after the last snapshot that needs them is gone.

    Returns:
        `snapshots_expired`, `snapshots_kept`, `files_before` and `files_after` (data files of the newest snapshot).

    Raises:
        storage.lake.LakeUnavailable: The catalog cannot be attached.
        storage.locks.Busy: A writer held it for too long.
    """
    with lake.writing(settings, catalog), contextlib.closing(lake.connect(settings, memory_mb=1024)) as connection:
        lake.attach(connection, settings, catalog)

        def files() -> int:
            row = connection.execute(
                f"select coalesce(sum(file_count), 0) from ducklake_table_info('{catalog}')"
            ).fetchone()
            return int(row[0]) if row else 0

        before = files()
        connection.execute(f"call ducklake_flush_inlined_data('{catalog}')")
        connection.execute(f"call ducklake_merge_adjacent_files('{catalog}')")
        connection.execute(f"call ducklake_rewrite_data_files('{catalog}')")
        newest = lake.snapshot_of(connection, catalog)
        limit = datetime.now(UTC) - timedelta(days=keep_days)
        snapshots = connection.execute(
            f"select snapshot_id, snapshot_time from ducklake_snapshots('{catalog}')"
        ).fetchall()
        old = sorted(n for n, at in snapshots if n not in keep and n != newest and at < limit)
        for start in range(0, len(old), _AT_ONCE):
            listed = ", ".join(str(number) for number in old[start : start + _AT_ONCE])
            connection.execute(f"call ducklake_expire_snapshots('{catalog}', versions => [{listed}])")
        older_than = f"older_than => now() - interval '{int(grace.total_seconds())} seconds'"
        connection.execute(f"call ducklake_cleanup_old_files('{catalog}', {older_than})")
        # what a killed writer had laid there and no catalog knows
        connection.execute(f"call ducklake_delete_orphaned_files('{catalog}', {older_than})")
        return {
            "snapshots_expired": len(old),
            "snapshots_kept": len(snapshots) - len(old),
            "files_before": before,
            "files_after": files(),
        }
