"""Releases from a small foundation: what is frozen, who may read it how, and what readers see while others write."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import shutil
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from quality import foundation
from quality.contract import load_contract
from quality.release import (
    BadQuery,
    IndicatorDifference,
    NoRelease,
    NothingToRelease,
    TableDifference,
    current,
    differences,
    open_release,
    query,
    release,
    releases,
    verify,
)
from quality.sources import Misconfigured
from storage import lake
from storage.settings import Settings, project_root
from tests.support import accepted_lake, foundation_lake
from tests.support.profiles import settings_for

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
#: A dataset with a contract and a model, so that keys, rights and attributions are known.
BALANCE = """
create or replace table waste_balance as
select area_code, year, waste_code, 'generated' as flow_code, 'kerbside' as collection_code, 'none' as treatment_code,
    quantity_t, area_code = '05124000' as is_synthetic, 'wuppertal-abfall' as supplier_id, delivery_id, attempt,
    cast(delivered_line as bigint) as delivered_line
from (values {rows}) t(area_code, year, waste_code, quantity_t, delivery_id, attempt, delivered_line)
"""
FIRST = "('05124000', 2024, '200301', 71234.567891, 'd--01', 1, 2), ('05122000', 2024, '200301', null, 'd--01', 1, 3)"
INDICATORS = """
create or replace table indicators as
select 'K-01' as indicator, '05124000' as area, '2024' as period, cast({value} as decimal(28, 6)) as value,
    {reason} as missing_reason
"""
ACCEPTED = (
    "create or replace table waste_balance as select 'wuppertal-abfall' as supplier_id, '2024' as period, "
    "'wuppertal-abfall--waste_balance--2024--01' as delivery_id, 1 as attempt, unnest([2, 3]) as delivered_line",
    "create or replace table quarantine as select *, 'waste_balance' as dataset from waste_balance",
    "create or replace table served_slots as select 'x-betrieb' as supplier_id, 'waste_balance' as dataset, "
    "'2024' as period, 3 as attempt, 'x-betrieb--waste_balance--2024--03' as delivery_id, 0 as rows",
    "create or replace table region_suppliers as select 'wuppertal-abfall' as supplier_id, true as is_synthetic",
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "home")


@pytest.fixture
def built(settings: Settings) -> Settings:
    build(settings)
    return settings


def build(settings: Settings, rows: str = FIRST, value: str = "412.5", reason: str = "null") -> None:
    foundation_lake.build(
        settings,
        [
            BALANCE.format(rows=rows),
            INDICATORS.format(value=value, reason=reason),
            "comment on column indicators.value is 'Value in the unit of the row.'",
            "create or replace view places as select distinct area_code from waste_balance",
            "create or replace table stg_waste_balance as select 1 as secret",
            "create schema if not exists intermediate",
            "create or replace table intermediate.waste_preferred as select 1 as secret",
        ],
        accepted=ACCEPTED,
    )


# --- what a release is ---


def test_a_release_holds_the_curated_tables_and_views_and_nothing_internal(built: Settings) -> None:
    made = release(built, note="Beirat", now=NOW)
    assert (made.number, made.is_new, made.released_at, made.note) == (1, True, NOW, "Beirat")
    assert made.tables == {"indicators": 1, "places": 2, "waste_balance": 2}
    with duckdb.connect(str(made.path / "verbund.duckdb"), read_only=True) as connection:
        tables = connection.execute("select table_name from duckdb_tables() order by 1").fetchall()
        views = connection.execute("select view_name from duckdb_views() where not internal").fetchall()
        about = connection.execute(
            "select number, foundation_snapshot, accepted_snapshot, note from release"
        ).fetchall()
    assert [table for (table,) in tables] == ["indicators", "places", "release", "waste_balance"]
    assert views == []
    assert about == [(1, made.snapshot, made.accepted_snapshot, "Beirat")]


def test_comments_of_the_lake_win_and_the_models_fill_in(built: Settings) -> None:
    made = release(built)
    with open_release(built) as connection:
        comments = dict(
            connection.execute(
                "select table_name || '.' || column_name, comment from duckdb_columns() where database_name = 'verbund'"
            ).fetchall()
        )
    assert comments["indicators.value"] == "Value in the unit of the row."
    assert "AGS" in comments["waste_balance.area_code"]
    listed = {column["name"]: column for column in made.manifest["tables"]["waste_balance"]["columns"]}
    assert listed["area_code"]["description"] == comments["waste_balance.area_code"]
    assert listed["delivered_line"]["type"] == "BIGINT"


def test_the_manifest_says_what_is_in_the_release_and_where_it_came_from(built: Settings) -> None:
    made = release(built, now=NOW)
    told = json.loads((made.path / "manifest.json").read_text(encoding="utf-8"))
    assert told["released_at"] == "2026-03-02T09:30:00+00:00"
    assert told["snapshots"] == {"foundation": made.snapshot, "accepted": made.accepted_snapshot}
    assert told["deliveries"] == [
        {
            "dataset": "waste_balance",
            "supplier": "wuppertal-abfall",
            "period": "2024",
            "delivery": "wuppertal-abfall--waste_balance--2024--01",
            "attempt": 1,
            "rows": 2,
            "synthetic": True,
        },
        {
            "dataset": "waste_balance",
            "supplier": "x-betrieb",
            "period": "2024",
            "delivery": "x-betrieb--waste_balance--2024--03",
            "attempt": 3,
            "rows": 0,
            "synthetic": False,
        },
    ]
    table = told["tables"]["waste_balance"]
    file = made.path / table["file"]
    assert (table["rows"], table["bytes"], table["synthetic_rows"]) == (2, file.stat().st_size, 1)
    assert table["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert table["access_level"] == "cooperation"
    assert set(told["access_levels"]) == {"open", "cooperation", "owner"}
    assert table["licence"]
    assert told["licence"]["software"] == "EUPL-1.2"
    assert any("Abfallverzeichnis-Verordnung" in one["source"] for one in told["attributions"])


def restricted(home: Settings) -> None:
    """A foundation with a table whose contract says `owner`."""
    foundation_lake.build(
        home,
        [
            "create or replace table load_profile as select 'N1' as metering_point_id, 1.5 as energy_kwh",
            "comment on table load_profile is 'One row per metering point.'",
            "create or replace table population as select '05124000' as area_code",
            "create or replace table indicators as select 'K-22' as indicator",
        ],
        accepted=ACCEPTED,
    )


def test_manifest_and_comments_say_who_may_read_each_table(settings: Settings) -> None:
    restricted(settings)
    made = release(settings)
    levels = {table: told["access_level"] for table, told in made.manifest["tables"].items()}
    assert levels == {"load_profile": "owner", "population": "open", "indicators": "cooperation"}
    with open_release(settings) as connection:
        [(comment,)] = connection.execute(
            "select comment from duckdb_tables() where table_name = 'load_profile'"
        ).fetchall()
    assert comment.startswith("One row per metering point. Access level owner: for the supplying organisation")
    assert made.manifest["tables"]["load_profile"]["description"] == "One row per metering point."


def test_equal_rows_for_other_readers_are_another_release(settings: Settings, tmp_path: Path) -> None:
    region = tmp_path / "region"
    contract = region / "contracts" / "own_figures.odcs.yml"
    contract.parent.mkdir(parents=True)
    shared = (project_root() / "quality" / "contracts" / "population.odcs.yml").read_text()
    own = Settings(home=settings.home, region=str(region))
    releases_made = []
    for level in ("open", "owner", "owner"):
        contract.write_text(
            shared.replace("id: population", "id: own_figures").replace(
                '{property: accessLevel, value: "open"}', f"{{property: accessLevel, value: {level}}}"
            )
        )
        foundation_lake.build(own, ["create or replace table own_figures as select 1 as figure"], accepted=ACCEPTED)
        made = release(own)
        releases_made.append((made.number, made.manifest["tables"]["own_figures"]["access_level"]))
    assert releases_made == [(1, "open"), (2, "owner"), (2, "owner")]
    contract.write_text(contract.read_text().replace("value: owner", "value: ownr"))
    with pytest.raises(Misconfigured, match="an `accessLevel` of open, cooperation, owner, found 'ownr'"):
        load_contract(contract)


def test_every_file_can_be_checked_and_no_one_may_write_it(built: Settings) -> None:
    made = release(built)
    assert verify(built, 1) == []
    listed = {line.split("  ")[1] for line in (made.path / "SHA256SUMS").read_text().splitlines()}
    files = [file for file in made.path.rglob("*") if file.is_file()]
    assert listed == {file.relative_to(made.path).as_posix() for file in files} - {"SHA256SUMS"}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o444 for file in files)

    broken, gone = made.path / "parquet" / "waste_balance.parquet", made.path / "manifest.json"
    kept = gone.read_bytes()
    broken.chmod(0o644)
    broken.write_bytes(b"something else")
    gone.unlink()
    gone.write_bytes(kept + b" ")
    (made.path / "verbund.duckdb").unlink()
    assert {damage.file: damage.found is None for damage in verify(built, 1)} == {
        "parquet/waste_balance.parquet": False,
        "manifest.json": False,
        "verbund.duckdb": True,
    }


def test_without_a_finished_build_there_is_nothing_to_release(settings: Settings) -> None:
    with pytest.raises(NothingToRelease, match="verbund build"):
        release(settings)
    assert current(settings) is None
    assert releases(settings) == []


def test_readers_of_a_build_that_is_not_finished_get_the_state_before(built: Settings) -> None:
    """What was committed after the published snapshot is not released."""
    with lake.connect(built) as connection:
        lake.attach(connection, built, "foundation")
        connection.execute("delete from foundation.main.waste_balance")
    assert release(built).tables["waste_balance"] == 2


def test_nothing_new_makes_no_release_unless_forced(built: Settings) -> None:
    first = release(built, now=NOW)
    again = release(built)
    assert (again.number, again.is_new, again.released_at) == (1, False, NOW)
    # the same content from another build is nothing new either
    build(built)
    state = foundation.current(built)
    assert state is not None
    assert state.foundation > first.snapshot
    assert not release(built).is_new
    forced = release(built, force=True)
    assert (forced.number, forced.is_new, forced.snapshot) == (2, True, state.foundation)
    assert [found.number for found in releases(built)] == [1, 2]


def test_equal_content_gives_equal_files_whatever_the_order_of_writing(tmp_path: Path) -> None:
    sums = []
    for place, direction in (("one", "asc"), ("two", "desc")):
        settings = Settings(home=tmp_path / place)
        rows = "select i % 97 as area, i as line, cast(i * 0.37 as decimal(18, 6)) as t, 'x' || i % 13 as word"
        foundation_lake.build(
            settings, [f"create table big as {rows} from range(400000) r(i) order by hash(i) {direction}"]
        )
        sums.append(release(settings).manifest["tables"]["big"]["sha256"])
    assert sums[0] == sums[1]


def test_a_release_that_was_interrupted_leaves_no_trace(built: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> None:
        raise OSError("disk full")

    release(built)
    build(built, rows=FIRST.replace("71234", "71235"))
    with monkeypatch.context() as patched:
        patched.setattr("quality.release._seal", breaks)
        with pytest.raises(OSError, match="disk full"):
            release(built)
    assert [found.number for found in releases(built)] == [1]
    assert query(built, "select max(quantity_t) from waste_balance")["release"] == 1

    # stopped between the folder's appearance and the pointer: the next call finishes it
    with monkeypatch.context() as patched:
        patched.setattr("quality.release._point_to", breaks)
        with pytest.raises(OSError, match="disk full"):
            release(built)
    assert query(built, "from release")["release"] == 1
    finished = release(built)
    assert (finished.number, finished.is_new) == (2, False)
    assert query(built, "from release")["release"] == 2
    assert not list(built.paths.releases.glob(".making-*"))


# --- reading one ---


@pytest.mark.parametrize(
    "read",
    [
        lambda folder: pl.read_parquet(folder / "parquet" / "waste_balance.parquet")["quantity_t"].to_list(),
        lambda folder: pandas_column(folder / "parquet" / "waste_balance.parquet"),
        lambda folder: duckdb_column(folder),
    ],
    ids=["polars", "pandas", "duckdb"],
)
def test_common_tools_read_a_release(built: Settings, read: Callable[[Path], list[Decimal | None]]) -> None:
    values = read(release(built).path)
    assert values == [None, Decimal("71234.567891")]


def pandas_column(file: Path) -> list[Decimal | None]:
    pandas = pytest.importorskip("pandas")
    return list(pandas.read_parquet(file)["quantity_t"])


def duckdb_column(folder: Path) -> list[Decimal | None]:
    with duckdb.connect(str(folder / "verbund.duckdb"), read_only=True) as connection:
        return [value for (value,) in connection.execute("select quantity_t from waste_balance").fetchall()]


def test_a_query_answers_with_the_release_it_was_asked_of(built: Settings) -> None:
    release(built)
    build(built, rows=FIRST.replace("71234", "80000"))
    release(built)
    asked = "select area_code, quantity_t from waste_balance order by 1"
    assert query(built, asked) == {
        "release": 2,
        "columns": ["area_code", "quantity_t"],
        "rows": [["05122000", None], ["05124000", 80000.567891]],
    }
    assert query(built, asked, number=1)["rows"][1] == ["05124000", 71234.567891]
    assert json.dumps(query(built, "select released_at, number from release")["rows"])
    with pytest.raises(NoRelease, match="there are: 1, 2"):
        query(built, asked, number=7)


def test_before_the_first_release_a_query_says_so(built: Settings) -> None:
    with pytest.raises(NoRelease, match="verbund release"):
        query(built, "select 1")


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("delete from waste_balance", "reads"),
        ("create temp table t as select 1", "reads"),
        ("set memory_limit = '1TB'", "reads"),
        ("copy waste_balance to '/tmp/stolen.csv'", "reads"),
        ("attach '/tmp/other.duckdb'", "reads"),
        ("install httpfs", "reads"),
        ("pragma enable_profiling", "reads"),
        ("select 1; drop table waste_balance", "one statement"),
        ("", "one statement"),
        ("select * from read_csv('/etc/passwd')", "nothing else"),
        ("select * from glob('/*')", "nothing else"),
        ("from query('drop table waste_balance')", "SELECT"),
        ("select * from wastebalance", "waste_balance"),
        ("select * from built", "places"),
        ("selec 1", "syntax error"),
    ],
)
def test_a_query_reads_the_release_and_nothing_else(built: Settings, sql: str, told: str) -> None:
    release(built)
    with pytest.raises(BadQuery) as refused:
        query(built, sql)
    assert told in str(refused.value)
    assert query(built, "select count(*) from waste_balance")["rows"] == [[2]]


@pytest.mark.parametrize(
    "sql",
    [
        "from waste_balance",
        "with w as (from waste_balance) select count(*) from w",
        "describe waste_balance",
        "show tables",
        "summarize waste_balance",
        "explain select 1",
        "select count(*) from verbund.waste_balance; ",
    ],
)
def test_a_query_may_take_any_form_that_reads(built: Settings, sql: str) -> None:
    release(built)
    assert query(built, sql)["rows"]


def test_a_release_can_be_queried_while_another_tool_holds_it_open(built: Settings) -> None:
    with duckdb.connect(str(release(built).path / "verbund.duckdb"), read_only=True) as held:
        counted = "select count(*) from waste_balance"
        assert query(built, counted)["rows"] == [list(row) for row in held.execute(counted).fetchall()] == [[2]]


# --- what differs ---


def test_two_releases_differ_by_rows_of_a_key_and_by_indicators(built: Settings) -> None:
    release(built)
    # one row changed, one gone, one new; all came with another delivery
    rows = "('05124000', 2024, '200301', 70000, 'd--02', 2, 2), ('05120000', 2024, '200301', 1, 'd--02', 2, 3)"
    build(built, rows=rows, value="null", reason="'rejected'")
    release(built)
    found = differences(built, 1, 2)
    assert {difference.table: difference for difference in found.tables} == {
        "waste_balance": TableDifference("waste_balance", 2, 2, added=1, removed=1, changed=1),
        "indicators": TableDifference("indicators", 1, 1, added=0, removed=0, changed=1),
        "places": TableDifference("places", 2, 2, added=1, removed=1, changed=None),
    }
    assert found.indicators == (
        IndicatorDifference("K-01", "05124000", "2024", Decimal("412.500000"), None, None, "rejected"),
    )


def test_the_same_figures_in_another_delivery_are_no_difference(built: Settings) -> None:
    release(built)
    build(built, rows=FIRST.replace("'d--01', 1", "'d--02', 2"))
    assert release(built).is_new
    assert differences(built, 1, 2).tables == ()
    assert differences(built, 1, 2).indicators == ()


def test_a_table_that_came_or_went_is_a_difference_of_all_its_rows(built: Settings) -> None:
    release(built)
    foundation_lake.build(
        built,
        [
            "drop view places",
            "create table suppliers as select 'a' as supplier_id",
            "alter table indicators add column unit varchar",
        ],
    )
    release(built)
    assert differences(built, 1, 2).tables == (
        TableDifference("indicators", 1, 1, 0, 0, 0, columns_added=("unit",)),
        TableDifference("places", 2, 0, 0, 2, None, columns_removed=("area_code",)),
        TableDifference("suppliers", 0, 1, 1, 0, None, columns_added=("supplier_id",)),
    )


# --- while others write ---

ROUNDS = 4


def _writes(home: Path, rounds: int, done: Event) -> None:
    """Another process: builds table after table, each with the number of its round, and releases."""
    settings = Settings(home=home)
    try:
        for number in range(2, rounds + 2):
            round_of(settings, number)
            release(settings)
    finally:
        done.set()


def round_of(settings: Settings, number: int) -> None:
    rows = f"select {number} as round, i as line from range({1000 + number}) r(i)"
    foundation_lake.build(
        settings,
        [f"create or replace table {table} as {rows}" for table in ("facts", "dimensions")],
        accepted=[f"create or replace table things as {rows}"],
    )


@pytest.mark.slow
def test_readers_meet_no_error_and_no_mixed_state_while_builds_and_releases_go_on(settings: Settings) -> None:
    round_of(settings, 1)
    release(settings)
    process = multiprocessing.get_context("spawn")
    done = process.Event()
    writer = process.Process(target=_writes, args=(settings.home, ROUNDS, done))
    writer.start()
    seen, reads = set(), 0
    asked = (
        "select round, count(*) from {0}facts group by 1 union all select round, count(*) from {0}dimensions group by 1"
    )
    started = time.monotonic()
    try:
        while not done.is_set() and time.monotonic() - started < 200:
            answer = query(settings, asked.format(""))
            assert answer["rows"][0] == answer["rows"][1], "one release, two rounds"
            assert answer["rows"][0] == [answer["release"], 1000 + answer["release"]]

            state = foundation.current(settings)
            assert state is not None
            with lake.connect(settings, threads=1) as connection:
                lake.attach(connection, settings, "foundation", read_only=True, snapshot=state.foundation)
                facts, dimensions = connection.execute(asked.format("foundation.main.")).fetchall()
            assert facts == dimensions, "one snapshot, two rounds"
            seen.add(answer["release"])
            reads += 1
    finally:
        writer.join(60)
        writer.kill()
    assert writer.exitcode == 0
    assert len(releases(settings)) == ROUNDS + 1
    assert reads > ROUNDS
    assert len(seen) > 2
    assert all(verify(settings, found.number) == [] for found in releases(settings))


def test_a_release_that_was_copied_elsewhere_is_whole(built: Settings, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(release(built).path, tmp_path / "usb stick" / "verbund 1"))
    assert duckdb_column(copied) == [None, Decimal("71234.567891")]


# --- what the documentation promises ---

DOCS = Path(__file__).parents[2] / "docs" / "bi.md"


@pytest.mark.slow
def test_every_example_of_the_documentation_runs_on_the_real_models(settings: Settings) -> None:
    accepted_lake.write(settings, {})
    foundation.build(settings)
    made = release(settings)
    examples = re.findall(r"```sql\n(.+?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 6
    for example in examples:
        assert query(settings, example)["columns"]
    grains = DOCS.read_text(encoding="utf-8").partition("## The tables and their grain")[2].partition("\n## ")[0]
    promised = set(re.findall(r"^\| `(\w+)` \|", grains, re.MULTILINE))
    assert promised == {*made.tables, "release"}
    undescribed = [
        f"{table}.{column['name']}"
        for table, told in made.manifest["tables"].items()
        for column in told["columns"]
        if not column["description"]
    ]
    assert undescribed == []
    assert all(told["key"] for told in made.manifest["tables"].values())
