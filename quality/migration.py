"""Carrying an embedded home over to the server profile: the same deliveries, tables, snapshots, receipts and releases.

The home stays as it was. Objects go first, then ledger and catalogs in one transaction: until that is done the server
profile counts as empty, and the whole may be repeated.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from quality import backup, foundation, release
from storage import dumps
from storage.settings import Settings


def to_server(source: Settings, target: Settings) -> backup.Restored:
    """Carry `source` over to `target`, and compare what is there then with what was here.

    Args:
        source: An embedded home that nobody works in.
        target: The server profile; its buckets and its database are there and hold nothing.

    Raises:
        quality.backup.NotEmpty: The target holds something, a judge runs, or there is nothing to carry.
        quality.backup.DamagedBackup: Something came over otherwise than it was.
        storage.dumps.RowsInCatalog, storage.locks.Busy, storage.objects.base.StoreDown: As they say.
    """
    if not source.paths.ledger.exists():
        raise backup.NotEmpty(f"{source.home} holds no ledger; there is nothing to carry over")
    source.paths.create()
    with backup.alone(source), tempfile.TemporaryDirectory(dir=source.paths.work, prefix="carry-") as work:
        folder = Path(work)
        point = backup.look(source, folder)
        with backup.alone(target):
            backup.refuse_filled(target, point.objects)
            here, there = backup.places(source), backup.places(target)
            for area in backup.AREAS:
                for key, kept in backup.pointers_last(point.objects[area]):
                    backup.bring(here[area], key, there[area], key, kept.sha256)
            dumps.carry(source, target, folder)
            assert foundation.published(target) == foundation.published(source)
            proved = backup.prove(target, point)
        release.hand_out_last(target)
        return proved


def embedded(settings: Settings) -> Settings:
    """The embedded profile of the same home."""
    return settings.model_copy(update={"profile": "local", "database_url": None})
