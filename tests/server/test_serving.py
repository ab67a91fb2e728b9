"""Releases of the server profile: in PostgreSQL with keys, comments and rights, in the object store, and mended after a crash."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import psycopg
import pytest
import sqlalchemy as sa
import urllib3

from quality import serving
from quality.release import current, hand_out_last, query, release, releases, verify
from quality.release_reading import DamagedRelease, current_number
from storage import database, lake, stores
from storage.paths import release_key
from storage.settings import Settings, project_root
from tests.support import foundation_lake
from tests.support.profiles import settings_on

#: A dataset with a contract and a model, so that key and access level are known; one with each level beside it.
BALANCE = """
create or replace table waste_balance as
select area_code, year, '200301' as waste_code, 'generated' as flow_code, 'kerbside' as collection_code,
    'none' as treatment_code, {tonnes} as quantity_t, 'wuppertal-abfall' as supplier_id
from (values ('05124000', 2024), ('05122000', 2024)) t(area_code, year)
"""
POPULATION = """
create or replace table population as
select '05124000' as area_code, date '2024-12-31' as key_date, 355000 as persons, {round} as round
"""
LOAD = """
create or replace table load_profile as
select 'DE01' as metering_point_id, '1-0:1.8.0' as obis_code, timestamptz '2024-03-31 00:15:00+00' as interval_start_at,
    cast(0.125 as decimal(18, 6)) as energy_kwh
"""
INDICATORS = """
create or replace table indicators as
select 'K-01' as indicator, '05124000' as area, '2024' as period, cast({round} as decimal(28, 6)) as value
"""


@pytest.fixture
def settings(servers: Mapping[str, str], tmp_path: Path) -> Settings:
    return settings_on(servers, tmp_path / "home")


@pytest.fixture
def elsewhere(servers: Mapping[str, str], settings: Settings, tmp_path: Path) -> Settings:
    """Another machine of the same installation."""
    return settings_on(servers, tmp_path / "elsewhere", installation=settings.home)


def build(settings: Settings, number: int = 1, *more: str) -> None:
    tonnes = f"cast({number} as decimal(18, 6))"
    statements = [BALANCE.format(tonnes=tonnes), POPULATION.format(round=number), LOAD, INDICATORS.format(round=number)]
    foundation_lake.build(settings, [*statements, *more], accepted=["create or replace table things as select 1 as x"])


def connect(settings: Settings, user: str | None = None) -> psycopg.Connection[Any]:
    url = sa.make_url(settings.ledger_url).set(drivername="postgresql")
    if user:
        url = url.set(username=user, password="geheim")
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


def rows(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with connect(settings) as connection:
        return connection.execute(sql).fetchall()


# --- what is in the database ---


def test_a_release_is_in_the_database_with_its_number_and_all_tables(settings: Settings) -> None:
    build(settings)
    made = release(settings, note="Beirat")
    shown = rows(settings, "select table_name from information_schema.views where table_schema = 'bi'")
    assert {view for (view,) in shown} == {*made.tables, "release"}
    assert rows(
        settings, "select number, snapshot, note, tables->'population', licence->>'software' from bi.release"
    ) == [(1, made.snapshot, "Beirat", 1, "EUPL-1.2")]
    assert rows(settings, "select value from bi.indicators") == [(Decimal("1.000000"),)]
    assert serving.served(settings) == 1


TYPES: dict[str, tuple[str, str, Any]] = {
    "varchar": ("'Grünabfall; \"a\"' || chr(10) || 'b'", "text", 'Grünabfall; "a"\nb'),
    "decimal(38, 10)": ("1234567890123456789012345678.0123456789", "numeric(38,10)", Decimal("1234567890123456789012345678.0123456789")),
    "decimal(18, 6)": ("0.1", "numeric(18,6)", Decimal("0.100000")),
    "double": ("0.1::double + 0.2::double", "double precision", 0.1 + 0.2),
    "bigint": ("9223372036854775807", "bigint", 9223372036854775807),
    "ubigint": ("18446744073709551615", "numeric(20,0)", Decimal(18446744073709551615)),
    # what sums are in models; the lake keeps it to 15 digits, as its Parquet does
    "hugeint": ("-123456789012345", "numeric(39,0)", Decimal(-123456789012345)),
    "smallint": ("-3", "smallint", -3),
    "boolean": ("true", "boolean", True),
    "date": ("date '2024-02-29'", "date", dt.date(2024, 2, 29)),
    "time": ("time '23:59:59.5'", "time without time zone", dt.time(23, 59, 59, 500000)),
    "timestamp": ("timestamp '2024-03-31 02:30:00'", "timestamp without time zone", dt.datetime(2024, 3, 31, 2, 30)),
    "timestamptz": ("timestamptz '2024-03-31 03:30:00.123456+02'", "timestamp with time zone", dt.datetime(2024, 3, 31, 1, 30, 0, 123456, dt.UTC)),
    "blob": ("'\\x00\\xFFa'::blob", "bytea", b"\x00\xffa"),
    "uuid": ("uuid '00000000-0000-0000-0000-00000000000a'", "uuid", None),
    "varchar[]": ("['a', null]", "jsonb", ["a", None]),
    "struct(a integer)": ("{'a': 1}", "jsonb", {"a": 1}),
}  # fmt: skip


def test_types_and_values_reach_the_database_as_they_are_and_null_is_not_empty(settings: Settings) -> None:
    spelled = ", ".join(f"cast({value} as {kind}) as c{n}" for n, (kind, (value, _, _)) in enumerate(TYPES.items()))
    empty = ", ".join(f"cast(null as {kind})" for kind in TYPES)
    build(
        settings, 1, f"create table kinds as select 1 as line, '' as blank, {spelled} union all select 2, null, {empty}",
        "create table nul as select 'a' || chr(0) || 'b' as said",
    )  # fmt: skip
    release(settings)
    kinds = rows(
        settings,
        "select attname, format_type(atttypid, atttypmod) from pg_attribute "
        "where attrelid = 'bi.kinds'::regclass and attname ~ '^c[0-9]' order by attnum",
    )
    assert [kind for _, kind in kinds] == [expected for _, expected, _ in TYPES.values()]
    first, second = rows(settings, "select * from bi.kinds order by line")
    for told, (_, _, expected) in zip(first[2:], TYPES.values(), strict=True):
        assert expected is None or told == expected
    assert first[1] == ""
    assert second[1:] == (None,) * (len(TYPES) + 1)
    assert rows(settings, "select said from bi.nul") == [("a�b",)]


def test_tested_keys_are_primary_keys_and_filters_have_indexes(settings: Settings) -> None:
    build(settings)
    release(settings)
    found = rows(
        settings,
        "select regexp_replace(c.relname, '_[0-9a-f]{8}_v1$', ''), i.indisprimary, array_agg(a.attname order by k.nth) "
        "from pg_index i join pg_class c on c.oid = i.indrelid, unnest(i.indkey) with ordinality k(attnum, nth) "
        "join pg_attribute a on a.attnum = k.attnum where a.attrelid = i.indrelid "
        "and c.relnamespace = 'bi_data'::regnamespace and c.relname ~ '_v1$' group by 1, 2, i.indexrelid",
    )
    keys = {table: columns for table, is_key, columns in found if is_key}
    assert keys["waste_balance"] == [
        "area_code", "year", "waste_code", "flow_code", "collection_code", "treatment_code",
    ]  # fmt: skip
    assert keys["indicators"] == ["indicator", "area", "period"]
    assert keys["release"] == ["number"]
    others = {(table, *columns) for table, is_key, columns in found if not is_key}
    assert others >= {
        ("indicators", "area"), ("indicators", "period"), ("waste_balance", "year"), ("waste_balance", "supplier_id"),
        ("load_profile", "interval_start_at"), ("population", "key_date"),
    }  # fmt: skip


def test_a_key_with_a_gap_is_unique_all_the_same(settings: Settings) -> None:
    """A null counts as a value in the keys that models are tested for."""
    build(settings, 1, "update population set key_date = null")
    release(settings)
    found = rows(
        settings,
        "select indexdef from pg_indexes where schemaname = 'bi_data' and indexdef like '%UNIQUE%population%'",
    )
    assert "(area_code, key_date) NULLS NOT DISTINCT" in found[0][0]


def test_an_index_is_used_through_the_view_and_other_releases_are_not_looked_at(settings: Settings) -> None:
    for number in (1, 2):
        lines = f"select i as line, 'a' || i as area, {number} as round from range(20000) r(i)"
        build(settings, number, f"create or replace table many as {lines}")
        release(settings)
    with connect(settings) as connection:
        plan = connection.execute("explain (analyze, format json) select * from bi.many where area = 'a7'").fetchone()
    said = json.dumps(plan)
    assert "Index Scan" in said
    assert "Seq Scan" not in said
    scans = [node for node in _nodes(plan[0][0]["Plan"]) if "Index Name" in node]  # type: ignore[index]
    assert sorted(node["Actual Loops"] for node in scans) == [0, 1]


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def test_tables_and_columns_say_what_they_are_in_which_unit_and_for_whom(settings: Settings) -> None:
    build(settings)
    made = release(settings)
    told = made.manifest["tables"]
    found = rows(
        settings,
        "select c.relname, obj_description(c.oid), a.attname, col_description(c.oid, a.attnum) from pg_class c "
        "join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 where c.relnamespace = 'bi'::regnamespace",
    )
    tables = {table: comment for table, comment, _, _ in found}
    assert tables["waste_balance"].startswith(told["waste_balance"]["description"])
    assert tables["waste_balance"].endswith("for the organisations of the cooperation.")
    for table in made.tables:
        described = {column["name"]: column["description"] or None for column in told[table]["columns"]}
        assert {column: comment for of, _, column, comment in found if of == table} == described
    assert "Quantity in t;" in next(
        comment for of, _, column, comment in found if (of, column) == ("waste_balance", "quantity_t")
    )
    assert all(comment for of, _, _, comment in found if of == "release")


# --- who may read ---


@pytest.fixture
def logins(settings: Settings) -> Iterator[dict[str, str]]:
    """A user of each group role; a user of none."""
    suffix = sa.make_url(settings.ledger_url).database
    users = {role: f"{role}_{suffix}" for role in ("verbund_bi_open", "verbund_bi_region", "nobody")}
    with connect(settings) as connection:
        for role, user in users.items():
            if role != "nobody":
                with contextlib.suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                    connection.execute(f"create role {role} nologin")
            connection.execute(f"create role {user} login password 'geheim'")
            if role != "nobody":
                connection.execute(f"grant {role} to {user}")
        yield users
        for user in users.values():
            connection.execute(f"drop role {user}")


def readable(settings: Settings, user: str) -> set[str]:
    """What of `bi` and of the platform's own schemas a user can read, tried one by one."""
    found = set()
    with connect(settings) as connection:
        tables = connection.execute(
            "select c.oid::regclass::text from pg_class c where relkind in ('r', 'p', 'v') "
            "and relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema', 'pg_toast')"
        ).fetchall()
    with connect(settings, user) as connection:
        for (table,) in tables:
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"select * from {table} limit 1")
                found.add(table)
    return found


def test_a_role_reads_the_tables_of_its_access_level_and_nothing_else(
    settings: Settings, logins: Mapping[str, str]
) -> None:
    build(settings)
    release(settings)
    assert readable(settings, logins["verbund_bi_open"]) == {"bi.population", "bi.release"}
    assert readable(settings, logins["verbund_bi_region"]) == {
        "bi.population", "bi.release", "bi.waste_balance", "bi.indicators",
    }  # fmt: skip
    assert readable(settings, logins["nobody"]) == set()
    for user, attempt in itertools.product(
        logins.values(),
        (
            "delete from bi.population", "create table bi.mine (x int)", "drop view bi.population",
            "insert into bi_data.content values (9, 'x', 9, '')", "set role verbund",
        ),
    ):  # fmt: skip
        with connect(settings, user) as connection, pytest.raises(psycopg.Error):
            connection.execute(attempt)


def test_rights_that_strayed_are_set_right_by_the_next_release(settings: Settings, logins: Mapping[str, str]) -> None:
    build(settings)
    release(settings)
    with connect(settings) as connection:
        connection.execute("grant select on bi.load_profile to verbund_bi_open, public")
        connection.execute("revoke select on bi.population from verbund_bi_open")
    assert not release(settings).is_new
    assert readable(settings, logins["verbund_bi_open"]) == {"bi.population", "bi.release"}


# --- readers and the next release ---


@pytest.mark.parametrize("isolation", list(psycopg.IsolationLevel)[1:], ids=lambda level: level.name)
def test_a_transaction_reads_one_release_to_its_end_and_holds_nobody_up(
    settings: Settings, isolation: psycopg.IsolationLevel
) -> None:
    build(settings, 1)
    release(settings)
    with connect(settings) as connection:
        connection.isolation_level = isolation
        with connection.transaction():
            assert connection.execute("select number from bi.release").fetchall() == [(1,)]
            for number in (2, 3, 4, 5):
                build(settings, number)
                release(settings)
            # four releases later, in a table it did not touch before
            assert connection.execute("select value from bi.indicators").fetchall() == [(Decimal(1),)]
            assert connection.execute("select round from bi.population").fetchall() == [(1,)]
        assert connection.execute("select number from bi.release").fetchall() == [(5,)]
    build(settings, 6)
    release(settings)
    assert rows(settings, "select distinct release from bi_data.content order by 1") == [(4,), (5,), (6,)]


def test_a_snapshot_older_than_what_is_kept_is_told_so_and_never_shown_an_empty_table(settings: Settings) -> None:
    build(settings, 1)
    release(settings)
    with connect(settings) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with connection.transaction(force_rollback=True):
            connection.execute("select 1 from pg_class limit 1")
            for number in (2, 3, 4, 5):
                build(settings, number)
                release(settings)
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="release 1 is not kept"):
                connection.execute("select * from bi.indicators")


def test_an_earlier_release_that_is_kept_can_be_asked_for(settings: Settings) -> None:
    for number in (1, 2, 3, 4):
        build(settings, number)
        release(settings)
    with connect(settings) as connection:
        connection.execute("set verbund.release = 2")
        assert connection.execute("select number, round from bi.release, bi.population").fetchall() == [(2, 2)]
        for gone in (1, 9):
            connection.execute(f"set verbund.release = {gone}")
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as told:
                connection.execute("select * from bi.population")
            assert "There are: 2, 3, 4." in str(told.value.diag.message_hint)


def test_rows_that_did_not_change_are_not_loaded_again(settings: Settings) -> None:
    for number in range(1, 6):
        build(settings, number)
        release(settings)
    versions = rows(
        settings, "select release, version from bi_data.content where relation like 'load_profile%' order by 1"
    )
    assert versions == [(3, 1), (4, 1), (5, 1)]
    assert rows(settings, "select count(distinct version) from bi_data.content where relation like 'pop%'") == [(3,)]
    partitions = {
        partition
        for (partition,) in rows(
            settings,
            "select relname from pg_class where relnamespace = 'bi_data'::regnamespace and relkind = 'r'",
        )
    }
    # three kept releases of four tables, of which one never changed, their three marks, and the list of all that
    assert len([name for name in partitions if name.startswith("load_profile")]) == 1
    assert len(partitions) == 4 * 3 + 1 + 3 + 1


def test_a_table_may_change_its_shape_come_and_go(settings: Settings) -> None:
    build(settings, 1, "create table places as select '05124000' as area_code")
    release(settings)
    with connect(settings) as connection, connection.transaction():
        # in the midst of a transaction that reads another table: the change waits until it ends
        connection.execute("select * from bi.population")
        waiting = threading.Thread(target=_next_shape, args=(settings,))
        waiting.start()
        time.sleep(3)
        assert waiting.is_alive()
        assert connection.execute("select * from bi.places").fetchall() == [("05124000",)]
        assert connection.execute("select number from bi.release").fetchall() == [(1,)]
    waiting.join(30)
    assert rows(settings, "select number from bi.release") == [(2,)]
    assert rows(settings, "select area_name, area_code from bi.places") == [("Wuppertal", 5124000)]
    build(settings, 3, "drop table places")
    release(settings)
    with pytest.raises(psycopg.errors.UndefinedTable):
        rows(settings, "select * from bi.places")


def test_a_changed_shape_that_finds_no_gap_between_readers_says_so_and_changes_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(settings, 1, "create table places as select '05124000' as area_code")
    release(settings)
    monkeypatch.setattr(serving, "PATIENCE_SECONDS", 1.0)
    with connect(settings) as connection, connection.transaction():
        connection.execute("select * from bi.places")
        with pytest.raises(serving.NotServed, match="places changed in shape"):
            _next_shape(settings)
        assert rows(settings, "select number from bi.release") == [(1,)]
    assert hand_out_last(settings) is True
    assert rows(settings, "select number from bi.release") == [(2,)]


def _next_shape(settings: Settings) -> None:
    build(settings, 2, "create or replace table places as select 'Wuppertal' as area_name, 5124000 as area_code")
    release(settings)


# --- as files, from the object store ---


def command(settings: Settings, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("verbund")), *arguments],
        cwd=project_root(), env={**os.environ, **settings.environment(), **environment}, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip


def test_a_machine_that_made_no_release_reads_every_one(settings: Settings, elsewhere: Settings) -> None:
    for number in (1, 2):
        build(settings, number)
        made = release(settings, note=f"note {number}")
    asked = command(elsewhere, "query", "select round from population", "--json")
    assert json.loads(asked.stdout) == {"release": 2, "columns": ["round"], "rows": [[2]]}
    assert query(elsewhere, "from indicators", number=1)["rows"][0][-1] == 1
    assert [(found.number, found.note) for found in releases(elsewhere)] == [(1, "note 1"), (2, "note 2")]
    assert verify(elsewhere, 2) == []
    # and makes the next one
    build(elsewhere, 3)
    third = json.loads(command(elsewhere, "release", "--json").stdout)
    assert set(third) == set(made.document())
    assert (third["release"], third["is_new"], third["path"]) == (3, True, str(elsewhere.paths.release(3)))
    assert query(settings, "select number from release")["rows"] == [[3]]
    assert rows(settings, "select number from bi.release") == [(3,)]


def test_a_file_that_is_not_what_was_put_there_is_not_read(settings: Settings, elsewhere: Settings) -> None:
    build(settings)
    release(settings)
    store = stores.releases(settings)
    store.put(release_key(1, "parquet/population.parquet"), project_root() / "README.md")
    with pytest.raises(DamagedRelease, match=r"parquet/population\.parquet"):
        query(elsewhere, "from population")
    assert not elsewhere.paths.release(1).exists()
    assert not list(elsewhere.paths.work.glob("release-*"))


@pytest.fixture
def s3_duckdb(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    scheme, _, host = str(settings.s3_endpoint).partition("://")
    assert settings.s3_secret_key
    with contextlib.closing(lake.connect(settings)) as connection:
        connection.execute(
            f"create secret releases (type s3, url_style 'path', use_ssl {scheme == 'https'}, endpoint '{host}', "
            f"key_id '{settings.s3_access_key}', secret '{settings.s3_secret_key.get_secret_value()}', "
            f"region '{settings.s3_region}', scope 's3://{settings.s3_bucket}-releases')"
        )
        yield connection


def test_duckdb_and_polars_read_a_release_where_it_lies(
    settings: Settings, s3_duckdb: duckdb.DuckDBPyConnection
) -> None:
    build(settings)
    release(settings)
    place = f"s3://{settings.s3_bucket}-releases/0001"
    assert s3_duckdb.execute(f"select persons from '{place}/parquet/population.parquet'").fetchall() == [(355000,)]
    s3_duckdb.execute(f"attach '{place}/verbund.duckdb' as verbund (read_only)")
    assert s3_duckdb.execute("select number from verbund.release").fetchall() == [(1,)]
    assert settings.s3_secret_key
    options = {
        "aws_access_key_id": str(settings.s3_access_key), "aws_endpoint_url": str(settings.s3_endpoint),
        "aws_secret_access_key": settings.s3_secret_key.get_secret_value(), "aws_region": settings.s3_region,
        "aws_allow_http": "true",
    }  # fmt: skip
    frame = pl.scan_parquet(f"{place}/parquet/population.parquet", storage_options=options).collect()
    assert frame["persons"].to_list() == [355000]


def test_plain_http_reads_parts_of_a_file(settings: Settings) -> None:
    lines = "select i as line, md5(i::varchar) as said from range(300000) r(i)"
    build(settings, 1, f"create table big as {lines}")
    release(settings)
    url = presigned(settings, "0001/parquet/big.parquet")
    answer = urllib3.request("GET", url, headers={"Range": "bytes=-4"})
    assert (answer.status, answer.data) == (206, b"PAR1")
    with contextlib.closing(lake.connect(settings)) as connection:
        connection.execute("set enable_http_logging = false")
        found = connection.execute(f"select said from read_parquet('{url}') where line = 7").fetchall()
        connection.execute(f"attach '{presigned(settings, '0001/verbund.duckdb')}' as far (read_only)")
        there = connection.execute("select said from far.big where line = 7").fetchall()
    assert found == there == [("8f14e45fceea167a5a36dedd4bea2543",)]


def presigned(settings: Settings, key: str) -> str:
    """An address that needs no credentials, for a quarter of an hour."""
    from minio import Minio

    scheme, _, host = str(settings.s3_endpoint).partition("://")
    assert settings.s3_secret_key
    client = Minio(
        endpoint=host, access_key=settings.s3_access_key, secret_key=settings.s3_secret_key.get_secret_value(),
        secure=scheme == "https", region=settings.s3_region,
    )  # fmt: skip
    return client.presigned_get_object(
        bucket_name=f"{settings.s3_bucket}-releases", object_name=key, expires=dt.timedelta(minutes=15)
    )


# --- crashes ---

CRASHES = (
    "release.frozen", "release.putting:3", "release.put", "release.made", "serving.written", "serving.committed",
    "serving.forgotten", "serving.detached", "release.served",
)  # fmt: skip
#: After these the release is there, and the next call only finishes it.
MADE = CRASHES[CRASHES.index("release.made") :]


@pytest.mark.parametrize("point", CRASHES)
def test_a_crash_anywhere_is_mended_by_the_next_release_and_readers_notice_nothing(
    settings: Settings, elsewhere: Settings, point: str
) -> None:
    for number in (1, 2, 3):
        build(settings, number)
        release(settings)
    build(settings, 4)
    crashed = command(settings, "release", VERBUND_CRASH_AT=point)
    assert crashed.returncode == -9, crashed.stderr
    for _ in (1, 2):
        # database and files each show one release, whole
        [(shown, tonnes)] = rows(
            settings, "select number, max(quantity_t) from bi.release, bi.waste_balance group by number"
        )
        assert shown == tonnes
        answer = query(elsewhere, "select max(quantity_t) from waste_balance")
        assert answer["rows"] == [[answer["release"]]]
    mended = release(settings)
    assert (mended.number, mended.is_new) == (4, point not in MADE)
    assert rows(settings, "select number, round from bi.release, bi.population") == [(4, 4)]
    assert query(elsewhere, "select number, round from release, population")["rows"] == [[4, 4]]
    assert verify(elsewhere) == []
    assert rows(settings, "select distinct release from bi_data.content order by 1") == [(2,), (3,), (4,)]
    assert left_over(settings) == []


def left_over(settings: Settings) -> list[Any]:
    """Rows in the database that belong to no release that is kept."""
    return rows(settings, serving._UNUSED) + rows(settings, serving._EMPTY)


def test_the_sweep_hands_out_what_a_crash_withheld(settings: Settings) -> None:
    build(settings, 1)
    assert hand_out_last(settings) is False
    assert command(settings, "release", VERBUND_CRASH_AT="release.made").returncode == -9
    assert (serving.served(settings), current_number(settings)) == (None, None)
    assert hand_out_last(settings) is True
    assert (serving.served(settings), current_number(settings)) == (1, 1)
    assert hand_out_last(settings) is False


def test_a_schema_somebody_dropped_comes_back(settings: Settings) -> None:
    build(settings, 1)
    release(settings)
    for schema in ("bi", "bi_data"):
        with connect(settings) as connection:
            connection.execute(f"drop schema {schema} cascade")
        database.prepare(settings)
        assert hand_out_last(settings) is True
        assert rows(settings, "select number, round from bi.release, bi.population") == [(1, 1)]


def test_a_release_the_database_cannot_take_leaves_readers_the_one_before(settings: Settings) -> None:
    build(settings, 1)
    release(settings)
    build(settings, 2, "insert into population select * from population")
    told = command(settings, "release")
    assert told.returncode == 3
    assert "release 2 is made and kept" in " ".join(told.stderr.split())
    assert rows(settings, "select number from bi.release") == [(1,)]
    current_release = current(settings)
    assert current_release
    assert current_release.number == 1
    build(settings, 3)
    assert release(settings).number == 3
    assert rows(settings, "select number from bi.release") == [(3,)]


def test_an_installation_restored_to_an_earlier_day_serves_that_day_and_goes_on_from_there(
    settings: Settings, elsewhere: Settings
) -> None:
    for number in (1, 2, 3):
        build(settings, number)
        release(settings)
    assert query(elsewhere, "select round from population")["rows"] == [[3]]
    store = stores.releases(settings)
    for info in list(store.list("0003/")):
        store.delete(info.key)
    store.put("current.json", io.BytesIO(b'{"release": 2}'))
    assert hand_out_last(settings) is True
    assert rows(settings, "select number, round from bi.release, bi.population") == [(2, 2)]
    build(settings, 7)
    assert release(settings).number == 3
    assert rows(settings, "select number, round from bi.release, bi.population") == [(3, 7)]
    # machines that have the third of before take the new one
    assert query(elsewhere, "select number, round from release, population")["rows"] == [[3, 7]]
    assert left_over(settings) == []


# --- readers while loads go on ---

READERS, RELEASES = 8, 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_readers_meet_no_error_and_no_mixed_state_during_ten_releases(settings: Settings) -> None:
    many = "create or replace table many as select i as line, {0} as round from range(5000 + {0}) r(i)"
    build(settings, 1, many.format(1))
    release(settings)
    stop = threading.Event()
    seen: list[tuple[str, int]] = []
    errors: list[str] = []
    looks: tuple[Callable[[], int], ...] = (
        lambda: look_at_the_database(settings, psycopg.IsolationLevel.READ_COMMITTED),
        lambda: look_at_the_database(settings, psycopg.IsolationLevel.REPEATABLE_READ),
        lambda: look_at_the_file(settings),
    )

    def read(nth: int) -> None:
        while not stop.is_set():
            try:
                seen.append((f"{nth % 3}", looks[nth % 3]()))
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")
            time.sleep(0.05)

    readers = [threading.Thread(target=read, args=(nth,)) for nth in range(READERS)]
    for reader in readers:
        reader.start()
    try:
        for number in range(2, RELEASES + 2):
            build(settings, number, many.format(number))
            assert release(settings).is_new
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert errors == []
    assert {way for way, _ in seen} == {"0", "1", "2"}
    assert len({number for _, number in seen}) > RELEASES // 2


def look_at_the_database(settings: Settings, isolation: psycopg.IsolationLevel) -> int:
    """One transaction over all tables. Returns the release it saw everywhere."""
    with connect(settings) as connection:
        connection.isolation_level = isolation
        with connection.transaction():
            said = [
                connection.execute(sql).fetchone()
                for sql in (
                    "select number, 1 from bi.release", "select round, 1 from bi.population",
                    "select round, count(*) - 4999 - round from bi.many group by round",
                    "select max(quantity_t)::int, 1 from bi.waste_balance", "select value::int, 1 from bi.indicators",
                    "select number, 1 from bi.release",
                )
            ]  # fmt: skip
    assert len(set(said)) == 1, said
    assert said[0] is not None
    return int(said[0][0])


def look_at_the_file(settings: Settings) -> int:
    answer = query(
        settings,
        "select number, round, n, tonnes from release, population, (select count(*) - 5000 as n from many), "
        "(select max(quantity_t) as tonnes from waste_balance)",
    )
    assert answer["rows"] == [[answer["release"]] * 4]
    return int(answer["release"])
