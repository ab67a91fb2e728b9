"""Maintenance makes the lake small without taking away what was promised."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path

from storage import lake
from storage.maintenance import maintain
from storage.settings import Settings


def filled(settings: Settings, inserts: int) -> None:
    with contextlib.closing(lake.connect(settings)) as connection:
        lake.attach(connection, settings, "accepted")
        connection.execute("call accepted.set_option('data_inlining_row_limit', 0)")
        connection.execute("create table accepted.t (n integer)")
        for number in range(inserts):
            connection.execute(f"insert into accepted.t values ({number})")


def rows(settings: Settings, snapshot: int | None = None) -> int:
    with contextlib.closing(lake.connect(settings)) as connection:
        lake.attach(connection, settings, "accepted", read_only=True, snapshot=snapshot)
        found = connection.execute("select count(*) from accepted.t").fetchone()
        return int(found[0]) if found else -1


def test_a_promised_snapshot_stays_readable_and_all_others_go(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    filled(settings, 12)
    with contextlib.closing(lake.connect(settings)) as connection:
        lake.attach(connection, settings, "accepted", read_only=True)
        newest = lake.snapshot_of(connection, "accepted")
    promised = newest - 6
    before = rows(settings, promised)
    done = maintain(settings, "accepted", keep={promised}, keep_days=-1, grace=timedelta(0))
    assert done["files_after"] < done["files_before"]
    assert done["snapshots_expired"] > 5
    assert rows(settings) == 12
    assert rows(settings, promised) == before == 6


def test_young_snapshots_are_kept(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    filled(settings, 3)
    assert maintain(settings, "accepted", keep=set(), keep_days=30)["snapshots_expired"] == 0
