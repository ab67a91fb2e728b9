"""Serving a release from PostgreSQL: the schema `bi`, which BI tools of the server profile read.

Here the rows of a release go from its DuckDB file into tables, with keys, indexes, comments and rights. How readers
meet one release and never a mixture is in infra/postgres/serving.sql; why it is done so, in docs/decisions/0017. What a
release is, and that it exists before it is served, is for `quality.release`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import psycopg
import pyarrow.csv
from psycopg import sql
from psycopg.types.json import Jsonb

from quality.contract import ACCESS_LEVELS
from quality.release_reading import ABOUT, DATABASE, MANIFEST, Release, name, sha256_of, text
from storage import database
from storage.crash import reached
from storage.settings import Settings, project_root

log = logging.getLogger("verbund.serving")

#: Which roles read the tables of an access level. Roles that do not exist are left out; `verbund server init` makes them.
ROLES: Mapping[str, tuple[str, ...]] = {
    "open": ("verbund_bi_open", "verbund_bi_region"),
    "cooperation": ("verbund_bi_region",),
    "owner": (),
}
#: So many releases stay readable, for transactions that go on and for `set verbund.release`.
KEPT = 3
#: Columns people filter by, whatever the table; times that belong to a key join them.
FILTERS = frozenset({"indicator", "area", "area_code", "period", "year", "supplier_id", "dataset"})
#: Publishing gives way after so long, before PostgreSQL looks for deadlocks (1 s), and readers never wait longer for it.
LOCK_TIMEOUT = "200ms"
#: A changed view waits for a moment without readers, after a while with a longer look that is still below that second.
LONG_LOCK_TIMEOUT, LONG_AFTER_SECONDS = "800ms", 20.0
#: How long it tries, in seconds.
PATIENCE_SECONDS = 60.0
#: How long taking old rows away waits for readers who hold them, who do not notice.
_TIDY_TIMEOUT = "5s"
#: First number of the advisory locks readers hold on a release, as in infra/postgres/serving.sql.
_LOCK_CLASS = 7286003
_BATCH_ROWS = 20_000
_MEMORY_MB = 512
#: PostgreSQL's identifiers have 63 bytes: name, `_`, 8 of a hash, `_v` and a number.
_NAME_CHARS = 40

_TYPES = {
    "VARCHAR": "text", "BOOLEAN": "boolean", "DATE": "date", "TIME": "time", "UUID": "uuid", "BLOB": "bytea",
    "INTERVAL": "interval", "TINYINT": "smallint", "UTINYINT": "smallint", "SMALLINT": "smallint",
    "USMALLINT": "integer", "INTEGER": "integer", "UINTEGER": "bigint", "BIGINT": "bigint", "UBIGINT": "numeric(20)",
    "HUGEINT": "numeric(39)", "UHUGEINT": "numeric(39)", "FLOAT": "real", "DOUBLE": "double precision",
    "TIMESTAMP": "timestamp", "TIMESTAMP_S": "timestamp", "TIMESTAMP_MS": "timestamp", "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}  # fmt: skip


class NotServed(Exception):
    """A release could not be put into PostgreSQL. Readers keep the one before; the next `verbund release` tries again."""

    def __init__(self, number: int, found: str) -> None:
        self.number, self.found = number, found
        super().__init__(
            f"release {number} is made and kept, and PostgreSQL could not take it: {found}. Readers keep the release "
            "before; `verbund release` tries again."
        )


class _NoGap(Exception):
    def __init__(self, views: Sequence[str]) -> None:
        super().__init__(
            f"{', '.join(views)} changed in shape, and for {PATIENCE_SECONDS:g} s there was always somebody in a "
            "transaction that reads; end long ones (`select * from pg_stat_activity`) or wait for a quieter hour"
        )


@dataclass(frozen=True)
class _Table:
    """What `bi` shows under one name.

    Attributes:
        name: The table's name in the release.
        columns: Name, DuckDB's type and description of each.
        key: Columns that tell rows apart; empty where none was tested.
        description: What it holds, and for whom.
        access_level: As in `quality.contract.ACCESS_LEVELS`.
        sha256: Same sum, same rows.
    """

    name: str
    columns: Sequence[Mapping[str, str]]
    key: Sequence[str]
    description: str
    access_level: str
    sha256: str

    @property
    def relation(self) -> str:
        """Name of the partitioned table; another shape or key makes another one."""
        shape = json.dumps([self.name, [(c["name"], c["type"]) for c in self.columns], list(self.key)])
        return f"{self.name[:_NAME_CHARS]}_{hashlib.sha256(shape.encode()).hexdigest()[:8]}"

    def partition(self, version: int) -> str:
        return f"{self.relation}_v{version}"


def publish(settings: Settings, release: Release) -> None:
    """Make a release the one that `bi` shows, in one transaction; rows that are there from an earlier one stay where they are.

    May be repeated: of a release that is served, comments and rights are brought to what they should be.

    Args:
        settings: Of the server profile.
        release: The last there is; its folder is on this machine.

    Raises:
        NotServed: The database did not take it; readers have what they had.
    """
    try:
        with _connection(settings) as connection:
            with connection.transaction():
                _publish(settings, connection, release)
                reached("serving.written")
            reached("serving.committed")
            _take_old_away(connection)
    except psycopg.Error as error:
        raise NotServed(release.number, _short(error)) from error
    except _NoGap as error:
        raise NotServed(release.number, str(error)) from error


def served(settings: Settings) -> int | None:
    """Number of the release that `bi` shows, None before the first."""
    with _connection(settings) as connection:
        # somebody may have dropped one of the two
        there = connection.execute(
            "select to_regclass('bi_data.content') is not null and to_regclass('bi.release') is not null"
        )
        if there.fetchone() != (True,):
            return None
        row = connection.execute("select max(release) from bi_data.content").fetchone()
    return None if row is None else row[0]


def postgres_type(duckdb_type: str) -> str:
    """The type a column of this DuckDB type gets: numbers stay exact, instants keep their zone, what is nested is JSON."""
    if match := re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", duckdb_type):
        return f"numeric({match[1]}, {match[2]})"
    if duckdb_type.startswith("ENUM("):
        return "text"
    return _TYPES.get(duckdb_type, "jsonb")


# --- one transaction ---


def _publish(settings: Settings, connection: psycopg.Connection[Any], release: Release) -> None:
    connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
    _lay_the_ground(connection)
    tables = _tables(release)
    _undo(connection, release, tables)
    kept = {(relation, sha256): version for relation, sha256, version in _rows(connection, _CONTENT)}
    numbers = {number for (number,) in _rows(connection, "select distinct release from bi_data.content")}
    if release.number not in numbers:
        fresh = _one(connection, "select nextval('bi_data.version')")
        for table in tables:
            version = kept.get((table.relation, table.sha256))
            if version is None:
                version = fresh
                _load(settings, connection, release, table, version)
            connection.execute(
                "insert into bi_data.content values (%s, %s, %s, %s)",
                (release.number, table.relation, version, table.sha256),
            )
        # looked for by name: see infra/postgres/serving.sql
        connection.execute(_sql("create table bi_data.{} ()", f"kept_{release.number}"))
    _show(connection, tables, [*numbers, release.number])
    for table in tables:
        _describe(connection, ("bi", table.name), table)
    _grant(connection, tables)


def _lay_the_ground(connection: psycopg.Connection[Any]) -> None:
    """What infra/postgres/serving.sql says; left alone where it is so: a function made anew is compiled anew by every reader."""
    said = (project_root() / "infra" / "postgres" / "serving.sql").read_text(encoding="utf-8")
    body = said.split("$$")[1]
    there = (
        "select to_regclass('bi_data.content') is not null and to_regclass('bi_data.version') is not null and exists ("
        "select from pg_proc where oid = to_regprocedure('bi.version_of(text)') and prosrc = %s and prosecdef and provolatile = 's')"
    )
    if not _one(connection, there, (body,)):
        connection.execute(said.encode())


def _undo(connection: psycopg.Connection[Any], release: Release, tables: Sequence[_Table]) -> None:
    """Forget what an installation that was restored to an earlier day has released since, another one of this number too."""
    wanted = {(table.relation, table.sha256) for table in tables}
    found: dict[int, set[tuple[str, str]]] = {}
    for number, relation, sha256 in _rows(connection, "select release, relation, sha256 from bi_data.content"):
        found.setdefault(number, set()).add((relation, sha256))
    for number, content in found.items():
        if number > release.number or (number == release.number and content != wanted):
            _forget(connection, number)


def _forget(connection: psycopg.Connection[Any], number: int) -> None:
    connection.execute(_sql("drop table if exists bi_data.{}", f"kept_{number}"))
    connection.execute("delete from bi_data.content where release = %s", (number,))


_CONTENT = "select relation, sha256, max(version) from bi_data.content group by relation, sha256"


def _tables(release: Release) -> list[_Table]:
    manifest = release.manifest
    found = [
        _Table(
            table, told["columns"], _key(told),
            f"{told['description']} Access level {told['access_level']}: "
            f"for {ACCESS_LEVELS.get(told['access_level'], 'nobody here')}.".strip(),
            told["access_level"], told["sha256"],
        )
        for table, told in manifest["tables"].items()
    ]  # fmt: skip
    return [*found, _Table(ABOUT, _ABOUT_COLUMNS, ("number",), _ABOUT_SAYS, "open", sha256_of(release.path / MANIFEST))]


def _key(told: Mapping[str, Any]) -> Sequence[str]:
    """The tested key; a table may have lost a column of it since its model was described."""
    there = {column["name"] for column in told["columns"]}
    return told["key"] if there.issuperset(told["key"]) else ()


_ABOUT_SAYS = "Which release the tables beside this one are of. One row."
_ABOUT_COLUMNS = [
    {"name": "number", "type": "INTEGER", "description": "Number of the release."},
    {"name": "released_at", "type": "TIMESTAMP WITH TIME ZONE", "description": "When it was made."},
    {"name": "snapshot", "type": "BIGINT", "description": "Snapshot of the catalog foundation it was made from."},
    {"name": "accepted_snapshot", "type": "BIGINT", "description": "Snapshot of the catalog accepted behind that."},
    {"name": "note", "type": "VARCHAR", "description": "What was said of it."},
    {"name": "tables", "type": "JSON", "description": "Number of rows of each table."},
    {"name": "licence", "type": "JSON", "description": "Licence of each table, and who is to be named."},
]


def _load(
    settings: Settings, connection: psycopg.Connection[Any], release: Release, table: _Table, version: int
) -> None:
    """Write a table's rows as a partition that nobody reads yet."""
    parent, fresh = ("bi_data", table.relation), ("bi_data", table.partition(version))
    spelled = sql.SQL(", ").join(_sql("{} " + postgres_type(c["type"]), c["name"]) for c in table.columns)
    if _one(connection, "select to_regclass(%s)", (sql.Identifier(*parent).as_string(),)) is None:
        connection.execute(
            sql.SQL("create table {} (bi_version integer not null, {}) partition by list (bi_version)").format(
                sql.Identifier(*parent), spelled
            )
        )
        _describe(connection, parent, table)
    # the check spares looking at every row when the partition is attached
    connection.execute(
        sql.SQL("create table {} (bi_version integer not null default {n} check (bi_version = {n}), {})").format(
            sql.Identifier(*fresh), spelled, n=sql.Literal(version)
        )
    )
    _describe(connection, fresh, table)
    if table.name == ABOUT:
        _write_about(connection, fresh, release)
        has_gaps = False
    else:
        has_gaps = _copy(settings, connection, fresh, release, table)
    if table.key:
        listed = sql.SQL(", ").join(map(sql.Identifier, table.key))
        # a null counts as a value in the models' tested keys, and no primary key has one
        key = "create unique index on {} ({}) nulls not distinct" if has_gaps else "alter table {} add primary key ({})"
        connection.execute(sql.SQL(key).format(sql.Identifier(*fresh), listed))
    for column in _filtered(table):
        connection.execute(_sql("create index on {} ({})", fresh, column))
    connection.execute(_sql("analyze {}", fresh))
    connection.execute(
        sql.SQL("alter table {} attach partition {} for values in ({})").format(
            sql.Identifier(*parent), sql.Identifier(*fresh), sql.Literal(version)
        )
    )


def _filtered(table: _Table) -> list[str]:
    """Columns that get an index of their own; the first of the key has one."""
    times = {c["name"] for c in table.columns if c["type"].startswith(("DATE", "TIMESTAMP")) and c["name"] in table.key}
    wanted = (FILTERS | times) - set(table.key[:1])
    return [c["name"] for c in table.columns if c["name"] in wanted]


def _copy(
    settings: Settings, connection: psycopg.Connection[Any], into: tuple[str, str], release: Release, table: _Table
) -> bool:
    """Stream the table's rows into a table of this transaction; returns whether its key has gaps."""
    # of the file, because Parquet knows fewer types (a huge integer is a floating-point number there)
    source = f"frozen.main.{name(table.name)}"
    listed = ", ".join(_as_text(column) for column in table.columns)
    begin = sql.SQL("copy {} ({}) from stdin (format csv, freeze)").format(
        sql.Identifier(*into), sql.SQL(", ").join(sql.Identifier(c["name"]) for c in table.columns)
    )
    plain = pyarrow.csv.WriteOptions(include_header=False)
    with _reading(settings, release) as frozen:
        with connection.cursor() as cursor, cursor.copy(begin) as copy:
            for batch in frozen.execute(f"select {listed} from {source}").to_arrow_reader(_BATCH_ROWS):
                lines = io.BytesIO()
                pyarrow.csv.write_csv(batch, lines, plain)
                copy.write(lines.getbuffer())
        gaps = " or ".join(f"{name(column)} is null" for column in table.key) or "false"
        return frozen.execute(f"select count(*) from {source} where {gaps}").fetchall() != [(0,)]


def _as_text(column: Mapping[str, str]) -> str:
    """The expression that spells a column as PostgreSQL reads it."""
    said = name(column["name"])
    match postgres_type(column["type"]):
        case "text":
            # the one character that PostgreSQL's texts cannot hold
            return f"replace(cast({said} as varchar), chr(0), '\N{REPLACEMENT CHARACTER}') as {said}"
        case "bytea":
            return f"'\\x' || hex({said}) as {said}"
        case "jsonb":
            return f"cast(to_json({said}) as varchar) as {said}"
        case _:
            return f"cast({said} as varchar) as {said}"


@contextlib.contextmanager
def _reading(settings: Settings, release: Release) -> Iterator[duckdb.DuckDBPyConnection]:
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "memory_limit": f"{_MEMORY_MB}MB",
        "temp_directory": str(settings.paths.work / "duckdb"),
        "threads": "1",
    }
    with contextlib.closing(duckdb.connect(":memory:", config=config)) as connection:
        connection.execute(f"attach {text(str(release.path / DATABASE))} as frozen (read_only)")
        connection.execute("set timezone = 'UTC'")
        yield connection


def _write_about(connection: psycopg.Connection[Any], into: tuple[str, str], release: Release) -> None:
    manifest = release.manifest
    licence = {
        **manifest["licence"],
        "tables": {table: told["licence"] for table, told in manifest["tables"].items()},
        "attributions": manifest["attributions"],
    }
    row = (
        release.number, release.released_at, release.snapshot, release.accepted_snapshot, release.note,
        Jsonb(dict(release.tables)), Jsonb(licence),
    )  # fmt: skip
    connection.execute(
        _sql(
            "insert into {} (number, released_at, snapshot, accepted_snapshot, note, tables, licence) "
            "values (%s, %s, %s, %s, %s, %s, %s)",
            into,
        ),
        row,
    )


def _show(connection: psycopg.Connection[Any], tables: Sequence[_Table], numbers: Sequence[int]) -> None:
    """Bring the views to the tables of this release. Mostly there is nothing to do: only another shape needs another view."""
    found = dict(
        _rows(
            connection,
            "select relname, substring(pg_get_viewdef(oid) from $$version_of\\('([^']+)'$$) from pg_class "
            "where relnamespace = 'bi'::regnamespace and relkind = 'v'",
        )
    )
    wanted = {table.name: table for table in tables}
    gone = sorted(name for name, relation in found.items() if name not in wanted or wanted[name].relation != relation)
    new = [table for table in tables if table.name not in found or table.name in gone]
    began = time.monotonic()
    while gone:
        spent = time.monotonic() - began
        try:
            # what was loaded stays when this gives way
            with connection.transaction():
                if spent > LONG_AFTER_SECONDS:
                    connection.execute(f"set local lock_timeout = '{LONG_LOCK_TIMEOUT}'")
                for view in gone:
                    connection.execute(_sql("drop view {}", ("bi", view)))
                for number in numbers:
                    # whoever reads a release to its end still finds all of it in the old shape
                    connection.execute("select pg_advisory_xact_lock(%s, %s)", (_LOCK_CLASS, number))
                _make_views(connection, new)
            return
        except psycopg.errors.LockNotAvailable as error:
            if spent > PATIENCE_SECONDS:
                raise _NoGap(gone) from error
            time.sleep(1)
    _make_views(connection, new)


def _make_views(connection: psycopg.Connection[Any], tables: Sequence[_Table]) -> None:
    for table in tables:
        columns = sql.SQL(", ").join(sql.Identifier(c["name"]) for c in table.columns)
        connection.execute(
            # asked once a statement, not once a row
            sql.SQL("create view {} as select {} from {} where bi_version = (select bi.version_of({}))").format(
                sql.Identifier("bi", table.name), columns, sql.Identifier("bi_data", table.relation),
                sql.Literal(table.relation),
            )
        )  # fmt: skip


def _describe(connection: psycopg.Connection[Any], of: tuple[str, str], table: _Table) -> None:
    kind = "view" if of[0] == "bi" else "table"
    said = [sql.SQL(f"comment on {kind} {{}} is {{}}").format(sql.Identifier(*of), sql.Literal(table.description))]
    said += [
        sql.SQL("comment on column {} is {}").format(
            sql.Identifier(*of, column["name"]), sql.Literal(column["description"] or None)
        )
        for column in table.columns
    ]
    connection.execute(sql.SQL("; ").join(said))


def _grant(connection: psycopg.Connection[Any], tables: Sequence[_Table]) -> None:
    """Give each role the views of its levels and take from it what it should not have; a view whose rights are so is not touched."""
    wanted = sorted({role for roles in ROLES.values() for role in roles})
    there = [role for (role,) in _rows(connection, "select rolname from pg_roles where rolname = any(%s)", (wanted,))]
    for role in there:
        if not _one(connection, "select has_schema_privilege(%s, 'bi', 'usage')", (role,)):
            connection.execute(_sql("grant usage on schema bi to {}", role))
    held: dict[str, set[tuple[str, str]]] = {}
    for view, role, right in _rows(connection, _RIGHTS, (there,)):
        held.setdefault(view, set()).add((role, right))
    for table in tables:
        view, readers = ("bi", table.name), [role for role in there if role in ROLES.get(table.access_level, ())]
        if held.get(table.name, set()) == {(role, "SELECT") for role in readers}:
            continue
        for role in there:
            connection.execute(_sql("revoke all on {} from {}", view, role))
        connection.execute(_sql("revoke all on {} from public", view))
        for role in readers:
            connection.execute(_sql("grant select on {} to {}", view, role))


#: Rights on the views, and on columns of them, of everybody (`public`) and of some roles.
_RIGHTS = """
    with acls as (
        select oid, relname, relacl as acl from pg_class where relnamespace = 'bi'::regnamespace and relkind = 'v'
        union all
        select c.oid, c.relname, a.attacl from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = 'bi'::regnamespace and c.relkind = 'v' and a.attacl is not null
    )
    select relname, coalesce(rolname, 'public'), privilege_type
    from acls cross join lateral aclexplode(acl) as given left join pg_roles r on r.oid = given.grantee
    where given.grantee = 0 or rolname = any(%s)
"""


# --- afterwards ---


def _take_old_away(connection: psycopg.Connection[Any]) -> None:
    """Forget releases but the last, and drop the rows that no release has any more. What readers hold waits for next time."""
    numbers = [number for (number,) in _rows(connection, "select distinct release from bi_data.content order by 1")]
    for number in numbers[:-KEPT]:
        if not _one(connection, "select pg_try_advisory_lock(%s, %s)", (_LOCK_CLASS, number)):
            log.info("release %d is being read; it stays in the database until the next release", number)
            continue
        try:
            with connection.transaction():
                _forget(connection, number)
        finally:
            connection.execute("select pg_advisory_unlock(%s, %s)", (_LOCK_CLASS, number))
    reached("serving.forgotten")
    connection.execute(f"set statement_timeout = '{_TIDY_TIMEOUT}'")
    try:
        for parent, partition, is_attached, is_pending in _rows(connection, _UNUSED):
            if is_attached:
                # waits for those who read the table, lets in who comes, and takes no lock that a reader would wait for
                how = "finalize" if is_pending else "concurrently"
                connection.execute(
                    _sql(f"alter table {{}} detach partition {{}} {how}", ("bi_data", parent), ("bi_data", partition))
                )
                reached("serving.detached")
            connection.execute(_sql("drop table {}", ("bi_data", partition)))
        for (relation,) in _rows(connection, _EMPTY):
            connection.execute(_sql("drop table {}", ("bi_data", relation)))
    except psycopg.errors.QueryCanceled:
        log.info("rows of an old release are being read; they stay in the database until the next release")


#: Partitions that belong to no kept release, those first whose removal was broken off: their table takes no second one.
_UNUSED = """
    select parent.relname, p.relname, p.relispartition, coalesce(i.inhdetachpending, false) as is_pending
    from pg_class p
    left join pg_inherits i on i.inhrelid = p.oid
    left join pg_class parent on parent.oid = i.inhparent
    where p.relnamespace = 'bi_data'::regnamespace and p.relkind = 'r' and p.relname ~ '_v[0-9]+$'
        and not exists (select from bi_data.content c where p.relname = c.relation || '_v' || c.version)
    order by is_pending desc, p.relname
"""
_EMPTY = """
    select p.relname from pg_class p
    where p.relnamespace = 'bi_data'::regnamespace and p.relkind = 'p'
        and not exists (select from pg_inherits i where i.inhparent = p.oid)
        and not exists (select from pg_depend d where d.refobjid = p.oid and d.classid = 'pg_rewrite'::regclass)
"""


# --- asking ---


def _connection(settings: Settings) -> psycopg.Connection[Any]:
    return psycopg.connect(database.conninfo(settings), autocommit=True, application_name="verbund serving")


def _rows(connection: psycopg.Connection[Any], query: str, told: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    return connection.execute(sql.SQL(query), told or None).fetchall()


def _one(connection: psycopg.Connection[Any], query: str, told: Sequence[Any] = ()) -> Any:
    return _rows(connection, query, told)[0][0]


def _sql(template: str, *names: str | tuple[str, str]) -> sql.Composed:
    """A statement with its identifiers, of which a pair is schema and name."""
    return sql.SQL(template).format(*(sql.Identifier(*([n] if isinstance(n, str) else n)) for n in names))


def _short(error: psycopg.Error) -> str:
    said = error.diag.message_primary or str(error).strip()
    return " ".join(part for part in (said, error.diag.message_detail) if part).splitlines()[0]
