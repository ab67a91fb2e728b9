"""A Parquet file of rows becomes a data file of the lake as it is, and counts as if its rows had been inserted."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage import lake
from storage.accepted import AcceptedLake, RowsFile, SlotRows
from storage.maintenance import maintain
from storage.paths import Slot, delivery_id
from storage.settings import Settings

COLUMNS = (
    ("amount", "decimal(18,6)"), ("read_at", "timestamptz"), ("supplier_id", "varchar"), ("period", "varchar"),
    ("delivery_id", "varchar"), ("attempt", "integer"), ("delivered_line", "bigint"), ("delivered_sheet", "varchar"),
    ("row_warnings", "varchar"),
)  # fmt: skip
NO_GRACE = timedelta(seconds=-60)


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[AcceptedLake]:
    with contextlib.closing(lake.connect(settings)) as connection:
        accepted = AcceptedLake(settings, connection)
        accepted.ensure({"meters": COLUMNS})
        yield accepted


def slot_rows(
    accepted: AcceptedLake,
    attempt: int,
    *,
    supplier: str = "works-a",
    lines: int = 1000,
    warned: int = 10,
    held: int = 5,
) -> SlotRows:
    """A file of `lines` rows, of which the first are warned of and the next are held back."""
    con, work = accepted.connection, accepted.settings.paths.work
    delivery = delivery_id(supplier, "meters", "2025-03", attempt)
    file = work / f"{delivery}.parquet"
    nulls = ", ".join(f"cast(null as varchar) as {name}" for name in ("delivered_sheet", "row_warnings"))
    con.execute(
        f"copy (select cast({attempt} as decimal(18,6)) as amount, timestamptz '2025-03-01' + i * interval 1 minute "
        f"as read_at, i as delivered_line, {nulls}, i % 7 = 0 as amount__invalid from range({lines}) r(i)) to '{file}'"
    )
    name = f"{supplier[-1]}_{attempt}"
    con.execute(
        f"create or replace temp table lines_{name} as select i as delivered_line from range({warned + held}) r(i)"
    )
    con.execute(
        f"create or replace temp table rows_{name} as select amount, read_at, '{supplier}' as supplier_id, "
        f"'2025-03' as period, '{delivery}' as delivery_id, {attempt} as attempt, delivered_line, "
        f"cast(null as varchar) as delivered_sheet, 'too_much' as row_warnings from '{file}' where delivered_line < {warned}"
    )
    rows = RowsFile(file, f"lines_{name}", f"rows_{name}")
    return SlotRows(Slot(supplier, "meters", "2025-03"), delivery, attempt, f"all_{name}", file=rows, again=True)


def store(accepted: AcceptedLake, *slots: SlotRows) -> None:
    with lake.writing(accepted.settings, "accepted"):
        accepted.replace(slots)


def told(accepted: AcceptedLake) -> list[tuple[Any, ...]]:
    return accepted.connection.execute(
        "select supplier_id, period, delivery_id, attempt, count(*), count(row_warnings), "
        "count(*) filter (where row_warnings is null), count(delivered_sheet), cast(min(amount) as integer), "
        "min(delivered_line), max(delivered_line), count(distinct read_at) from accepted.meters group by all order by all"
    ).fetchall()


def of(supplier: str, attempt: int) -> tuple[Any, ...]:
    delivery = delivery_id(supplier, "meters", "2025-03", attempt)
    return (supplier, "2025-03", delivery, attempt, 995, 10, 985, 0, attempt, 0, 999, 995)


def data_files(settings: Settings) -> list[Path]:
    return sorted(settings.paths.accepted_data.rglob("attempt=*/*.parquet"))


def test_rows_of_a_file_that_was_taken_over_are_those_that_were_accepted(tmp_path: Path) -> None:
    with opened(Settings(home=tmp_path)) as accepted:
        store(accepted, slot_rows(accepted, 1), slot_rows(accepted, 1, supplier="works-b"))
        assert told(accepted) == [of("works-a", 1), of("works-b", 1)]


def test_the_file_stays_with_the_judge_and_the_lake_keeps_its_own(tmp_path: Path) -> None:
    with opened(Settings(home=tmp_path)) as accepted:
        slot = slot_rows(accepted, 1)
        store(accepted, slot)
        assert slot.file and slot.file.path.exists()
        slot.file.path.unlink()
        assert told(accepted) == [of("works-a", 1)]


def test_a_newer_attempt_replaces_the_file_and_the_older_version_stays_readable(tmp_path: Path) -> None:
    with opened(Settings(home=tmp_path)) as accepted:
        store(accepted, slot_rows(accepted, 1))
        before = accepted.snapshot()
        store(accepted, slot_rows(accepted, 2))
        store(accepted, slot_rows(accepted, 2))
        assert told(accepted) == [of("works-a", 2)]
        earlier = f"select min(attempt), max(attempt), count(*) from accepted.meters at (version => {before})"
        assert accepted.connection.execute(earlier).fetchall() == [(1, 1, 995)]


def test_a_file_without_anything_to_replace_is_taken_whole(tmp_path: Path) -> None:
    with opened(Settings(home=tmp_path)) as accepted:
        store(accepted, slot_rows(accepted, 1, warned=0, held=0))
        assert [row[4:7] for row in told(accepted)] == [(1000, 0, 1000)]


def test_where_the_table_has_a_column_that_the_file_lacks_the_rows_are_inserted(tmp_path: Path) -> None:
    # DuckLake would take the file, and count rows in which the column is null as if it were not
    with opened(Settings(home=tmp_path)) as accepted:
        accepted.ensure({"meters": (*COLUMNS, ("unit_code", "varchar"))})
        slot = slot_rows(accepted, 1)
        accepted.connection.execute(f"create temp table {slot.rows} as from rows_a_1")
        store(accepted, slot)
        assert not data_files(accepted.settings)
        counted = accepted.connection.execute("select count(*), count(unit_code) from accepted.meters")
        assert counted.fetchall() == [(10, 0)]


def test_a_home_that_was_moved_still_finds_the_files(tmp_path: Path) -> None:
    with opened(Settings(home=tmp_path / "here")) as accepted:
        store(accepted, slot_rows(accepted, 1))
    shutil.move(tmp_path / "here", tmp_path / "there")
    with opened(Settings(home=tmp_path / "there")) as accepted:
        assert told(accepted) == [of("works-a", 1)]


def test_maintenance_keeps_the_rows_and_takes_away_what_no_catalog_knows(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with opened(settings) as accepted:
        store(accepted, *(slot_rows(accepted, 1, supplier=name) for name in ("works-a", "works-b", "works-c")))
        known = data_files(settings)
        broken = slot_rows(accepted, 2)
        assert broken.file
        lost = SlotRows(
            broken.slot,
            broken.delivery,
            2,
            file=RowsFile(broken.file.path, broken.file.lines, "rows_that_are_not_there"),
        )
        with pytest.raises(duckdb.Error):
            store(accepted, lost)
        assert told(accepted) == [of("works-a", 1), of("works-b", 1), of("works-c", 1)]
    orphans = set(data_files(settings)) - set(known)
    assert len(orphans) == 1
    maintain(settings, "accepted", keep=set(), keep_days=30)
    assert orphans <= set(data_files(settings)), "a young file may be one that is just being written"
    maintain(settings, "accepted", keep=set(), keep_days=-1, grace=NO_GRACE)
    assert not orphans & set(data_files(settings))
    with opened(settings) as accepted:
        assert told(accepted) == [of("works-a", 1), of("works-b", 1), of("works-c", 1)]
