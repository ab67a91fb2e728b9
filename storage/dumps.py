"""Ledger and lake catalogs as one: their copy at one moment, what that copy names, its way back, its way into the server.

Bytes that lie in object stores are copied by `quality.backup`. Dagster's own storage and the events of the object store
are no state worth keeping: the first tells about runs, the second are hints the sweep does without.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import sqlalchemy as sa

from storage import database, lake
from storage.lake import CatalogName
from storage.ledger import opening
from storage.ledger import tables as ledger_tables
from storage.paths import Home
from storage.settings import Settings

CATALOGS: tuple[CatalogName, ...] = get_args(CatalogName)
#: The one file of a copy of PostgreSQL, in pg_dump's own format.
DUMP = "database.dump"
_SCHEMAS = ("public", *(lake.catalog_schema(catalog) for catalog in CATALOGS))
_DEBIAN = Path("/usr/lib/postgresql")
_AT_ONCE = 1_000


class DatabaseToolFailed(Exception):
    """`pg_dump` or `pg_restore` is missing or could not do it; the text ends with its own words."""


class LakeOutside(Exception):
    """A catalog names a file that does not lie with the others; such a lake cannot be carried elsewhere."""


class RowsInCatalog(Exception):
    """A catalog keeps rows inside its own tables, which are of another kind in another database."""


@dataclass(frozen=True)
class Catalog:
    """One lake catalog at a moment: its newest snapshot, and the keys of all files any of its snapshots needs."""

    snapshot: int
    files: frozenset[str]


@dataclass(frozen=True)
class Copied:
    """What the databases held when they were copied.

    Attributes:
        files: Name of each file of the copy → where it is.
        revision: Shape of the ledger, as Alembic names it; None before the first.
        deliveries: How many the ledger knows.
        contents: sha256 of all bytes the ledger knows.
        catalogs: Those that exist.
    """

    files: Mapping[str, Path]
    revision: str | None
    deliveries: int
    contents: frozenset[str]
    catalogs: Mapping[CatalogName, Catalog]


def copy(settings: Settings, folder: Path) -> Copied:
    """Copy ledger and catalogs into `folder`, as they are at one moment; nobody is held up for longer than that takes.

    Raises:
        DatabaseToolFailed: `pg_dump` could not do it.
        LakeOutside: A catalog names a file elsewhere.
        storage.locks.Busy: A writer of a catalog did not end (embedded).
    """
    folder.mkdir(parents=True, exist_ok=True)
    return _copy_server(settings, folder) if settings.is_server else _copy_files(settings, folder)


def put_back(settings: Settings, folder: Path) -> None:
    """Make the databases what `copy` found; they must be empty (`holds_nothing`). Done as a whole or not at all.

    A ledger of an earlier Verbund is brought to the present shape.

    Raises:
        DatabaseToolFailed: `pg_restore` could not do it.
        storage.ledger.opening.LedgerTooNew: The copy is of a later Verbund.
    """
    if settings.is_server:
        database.prepare(settings)
        _restore_server(settings, folder / DUMP)
    else:
        # the ledger last: without it the home still counts as empty
        for name, target in reversed(_sqlite_files(settings.paths).items()):
            if (folder / name).exists():
                _put_file(folder / name, target)
    upgrade(settings)


def upgrade(settings: Settings) -> tuple[str | None, str]:
    """Bring the ledger to the present shape; returns the revision it was at, and the one it is at.

    Raises:
        storage.ledger.opening.LedgerTooNew: It was written by a later Verbund.
    """
    return _migrate(settings.ledger_url), ledger_tables.HEAD


def holds_nothing(settings: Settings) -> bool:
    """Whether no delivery, no arrival and no table was ever written down here."""
    if settings.is_server:
        engine = opening.open_engine(settings.ledger_url)
        try:
            with engine.connect() as connection:
                return all(_is_empty(connection, schema, table) for schema, table in _TELLING)
        finally:
            engine.dispose()
    files = _sqlite_files(settings.paths)
    for file in files.values():
        if file.exists():
            with _reading(file) as connection:
                if not all(_is_empty(connection, None, table) for _, table in _TELLING):
                    return False
    return True


def known_contents(settings: Settings) -> tuple[int, frozenset[str]]:
    """How many deliveries the ledger knows, and the sha256 of all bytes it knows."""
    engine = opening.open_engine(settings.ledger_url)
    try:
        with engine.connect() as connection:
            return _known_contents(connection)
    finally:
        engine.dispose()


def row_counts(settings: Settings, catalog: CatalogName, snapshot: int) -> dict[str, int]:
    """Rows of every table of a lake at a snapshot, by `schema.table`.

    Raises:
        storage.lake.LakeUnavailable: The catalog cannot be read at this snapshot.
    """
    with contextlib.closing(lake.connect(settings, memory_mb=512)) as connection:
        lake.attach(connection, settings, catalog, read_only=True, snapshot=snapshot)
        found = connection.execute(
            f"select schema_name, table_name from duckdb_tables() where database_name = '{catalog}' order by all"
        ).fetchall()
        counts = {}
        for schema, table in found:
            row = connection.execute(f'select count(*) from {catalog}."{schema}"."{table}"').fetchone()
            counts[f"{schema}.{table}"] = int(row[0]) if row else 0
        return counts


def carry(source: Settings, target: Settings, folder: Path) -> None:
    """Write what the files of a copy say into PostgreSQL: ledger and catalogs in one transaction, ids and all.

    Args:
        source: The embedded home `folder` was copied from.
        target: The server profile, which holds nothing yet.
        folder: What `copy` wrote; its ledger is brought to the present shape.

    Raises:
        RowsInCatalog: A catalog keeps rows in its own tables; a run of maintenance lays them into files.
    """
    database.prepare(target)
    upgrade(target)
    ledger_file = folder / next(iter(_sqlite_files(source.paths)))
    _migrate(f"sqlite:///{ledger_file}")
    present = [catalog for catalog in CATALOGS if (folder / _catalog_name(catalog)).exists()]
    with contextlib.closing(lake.connect(target)) as connection:
        # lets DuckLake make its own tables, of the types it wants in this database
        for catalog in present:
            lake.attach(connection, target, catalog)
            connection.execute(f"detach {catalog}")
    engine = opening.open_engine(target.ledger_url)
    try:
        with engine.begin() as into:
            with _reading(ledger_file) as ledger:
                _carry_ledger(ledger, into)
            for catalog in present:
                with _reading(folder / _catalog_name(catalog)) as kept:
                    _carry_catalog(kept, into, lake.catalog_schema(catalog), lake.data_path(target, catalog))
    finally:
        engine.dispose()


def _migrate(url: str) -> str | None:
    engine = opening.open_engine(url)
    try:
        with engine.connect() as connection:
            before = opening.revision_of(connection)
        opening.migrate(engine)
    finally:
        engine.dispose()
    return before


# --- what a copy names ---


def _told(
    connection: sa.Connection,
    files: Mapping[str, Path],
    schemas: Mapping[CatalogName, tuple[sa.Connection, str | None]],
) -> Copied:
    deliveries, contents = _known_contents(connection)
    return Copied(
        files,
        opening.revision_of(connection),
        deliveries,
        contents,
        {catalog: _catalog(where, schema, catalog) for catalog, (where, schema) in schemas.items()},
    )


def _known_contents(connection: sa.Connection) -> tuple[int, frozenset[str]]:
    if not sa.inspect(connection).has_table("deliveries"):
        return 0, frozenset()
    deliveries = int(connection.execute(sa.text("select count(*) from deliveries")).scalar_one())
    known = connection.execute(sa.text("select sha256 from deliveries union select sha256 from arrivals"))
    return deliveries, frozenset(str(sha256) for (sha256,) in known if sha256)


def _catalog(connection: sa.Connection, schema: str | None, catalog: CatalogName) -> Catalog:
    place = f"{schema}." if schema else ""
    newest: int | None = connection.execute(
        sa.text(f"select max(snapshot_id) from {place}ducklake_snapshot")
    ).scalar_one()
    files = set()
    for kind in ("data", "delete"):
        rows = connection.execute(
            sa.text(
                "select s.path, s.path_is_relative, t.path, t.path_is_relative, f.path, f.path_is_relative, s.schema_name "
                f"from {place}ducklake_{kind}_file f "
                f"join (select distinct table_id, schema_id, path, path_is_relative from {place}ducklake_table) t "
                f"on t.table_id = f.table_id join {place}ducklake_schema s on s.schema_id = t.schema_id"
            )
        )
        for schema_path, is_schema, table_path, is_table, path, is_file, _ in rows:
            if not (is_schema and is_table and is_file):
                raise LakeOutside(f"the catalog {catalog} names {path}, which does not lie below its own folder")
            files.add(f"{catalog}/{schema_path}{table_path}{path}")
    return Catalog(newest or 0, frozenset(files))


#: Tables that have rows once anything was written down: of the ledger, of the catalogs.
_TELLING: Sequence[tuple[str, str]] = (
    *(("public", name) for name in ("deliveries", "arrivals", "events")),
    *((lake.catalog_schema(catalog), "ducklake_table") for catalog in CATALOGS),
)


def _is_empty(connection: sa.Connection, schema: str | None, table: str) -> bool:
    if not sa.inspect(connection).has_table(table, schema=schema):
        return True
    place = f"{schema}." if schema else ""
    return connection.execute(sa.text(f"select 1 from {place}{table} limit 1")).first() is None


# --- embedded: SQLite ---


def _catalog_name(catalog: CatalogName) -> str:
    return f"{catalog}.sqlite"


def _sqlite_files(home: Home) -> dict[str, Path]:
    """Name in a copy → file of a home; the ledger first."""
    return {
        "ledger.sqlite": home.ledger,
        _catalog_name("accepted"): home.accepted_catalog,
        _catalog_name("foundation"): home.foundation_catalog,
    }


def _copy_files(settings: Settings, folder: Path) -> Copied:
    made: dict[str, Path] = {}
    with lake.writing(settings, "accepted"), lake.writing(settings, "foundation"):
        # the ledger first: rows whose verdict it does not know yet are judged again, a verdict without rows would stay
        for name, file in _sqlite_files(settings.paths).items():
            if file.exists():
                made[name] = folder / name
                _back_up(file, made[name])
    with contextlib.ExitStack() as stack:
        opened = {name: stack.enter_context(_reading(file)) for name, file in made.items()}
        if "ledger.sqlite" not in opened:
            return Copied(made, None, 0, frozenset(), {})
        catalogs: dict[CatalogName, tuple[sa.Connection, str | None]] = {
            catalog: (opened[_catalog_name(catalog)], None) for catalog in CATALOGS if _catalog_name(catalog) in opened
        }
        return _told(opened["ledger.sqlite"], made, catalogs)


def _back_up(file: Path, to: Path) -> None:
    to.unlink(missing_ok=True)
    # its own way of copying: a copy of the file alone would lack what lies in its log
    with (
        contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=60)) as source,
        contextlib.closing(sqlite3.connect(to)) as copied,
    ):
        source.backup(copied)
        # one file, readable where nothing can be written
        copied.execute("pragma journal_mode = delete")


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[sa.Connection]:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=60)

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _put_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    with source.open("rb") as read, fresh.open("wb") as into:
        shutil.copyfileobj(read, into)
        into.flush()
        os.fsync(into.fileno())
    with contextlib.closing(sqlite3.connect(fresh)) as connection:
        # a reader that may not write could not change it
        connection.execute("pragma journal_mode = wal")
    # the log of an empty one before must not be read into it
    for ending in ("-wal", "-shm"):
        target.with_name(target.name + ending).unlink(missing_ok=True)
    fresh.replace(target)


# --- server: PostgreSQL ---


def _copy_server(settings: Settings, folder: Path) -> Copied:
    dump = folder / DUMP
    engine = opening.open_engine(settings.ledger_url)
    try:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            # pg_dump sees what this transaction sees, and so does everything told about it
            snapshot: str = connection.execute(sa.text("select pg_export_snapshot()")).scalar_one()
            schemas = [f"--schema={schema}" for schema in _SCHEMAS]
            _run(settings, "pg_dump", "--format=custom", f"--snapshot={snapshot}", *schemas, f"--file={dump}")
            made = [
                c for c in CATALOGS if sa.inspect(connection).has_table("ducklake_metadata", lake.catalog_schema(c))
            ]
            return _told(
                connection, {DUMP: dump}, {catalog: (connection, lake.catalog_schema(catalog)) for catalog in made}
            )
    finally:
        engine.dispose()


def _restore_server(settings: Settings, dump: Path) -> None:
    listed = _run(settings, "pg_restore", "--list", str(dump), connected=False)
    # the schemas stand, with the rights that were given on them
    wanted = [line for line in listed.splitlines() if not line.startswith(";") and " SCHEMA " not in f"{line} "]
    with tempfile.NamedTemporaryFile("w", suffix=".list") as chosen:
        chosen.write("\n".join(wanted) + "\n")
        chosen.flush()
        _run(
            settings, "pg_restore", "--single-transaction", "--exit-on-error", "--clean", "--if-exists", "--no-owner",
            "--no-privileges", f"--use-list={chosen.name}", str(dump),
        )  # fmt: skip


def _run(settings: Settings, program: str, *arguments: str, connected: bool = True) -> str:
    command = [_program(program), *arguments]
    if connected:
        command.append(f"--dbname={database.conninfo(settings)}")
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise DatabaseToolFailed(f"{program} could not do it: {done.stderr.strip()[-2000:]}")
    return done.stdout


def _program(name: str) -> str:
    """The newest installed: an older one refuses a newer server. Debian keeps a folder per version."""
    folders = sorted(_DEBIAN.glob("*/bin"), key=lambda folder: folder.parent.name.zfill(4), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")]))
    if found is None:
        raise DatabaseToolFailed(f"{name} is not installed; it comes with PostgreSQL's client programs")
    return found


# --- embedded into server ---


def _carry_ledger(source: sa.Connection, into: sa.Connection) -> None:
    for table in ledger_tables.metadata.sorted_tables:
        rows = source.execute(sa.select(table)).yield_per(_AT_ONCE)
        for part in rows.partitions():
            into.execute(sa.insert(table), [dict(row._mapping) for row in part])
        if "id" in table.c:
            # the next id follows the last one that was carried over
            into.execute(
                sa.text(
                    f"select setval(pg_get_serial_sequence('{table.name}', 'id'), "
                    f"greatest((select max(id) from {table.name}), 1), exists (select 1 from {table.name}))"
                )
            )


def _carry_catalog(source: sa.Connection, into: sa.Connection, schema: str, data_path: str) -> None:
    if source.execute(sa.text("select 1 from ducklake_inlined_data_tables limit 1")).first() is not None:
        raise RowsInCatalog(
            f"the catalog of {schema} keeps rows in tables of its own; run the maintenance of the embedded home first"
        )
    types = _column_types(into, schema)
    for table in sa.inspect(source).get_table_names():
        columns = [column["name"] for column in sa.inspect(source).get_columns(table)]
        if missing := [column for column in columns if column not in types.get(table, {})]:
            raise RowsInCatalog(f"{schema}.{table} has no {', '.join(missing)} in PostgreSQL")
        into.execute(sa.text(f"delete from {schema}.{table}"))
        named = ", ".join(f'"{column}"' for column in columns)
        # SQLite has fewer types: what it wrote as text or number is read again as what it was
        read = ", ".join(f"cast(cast(:v{n} as text) as {types[table][c]})" for n, c in enumerate(columns))
        insert = sa.text(f"insert into {schema}.{table} ({named}) values ({read})")
        rows = source.execute(sa.text(f"select {named} from {table}"))
        for part in rows.partitions(_AT_ONCE):
            into.execute(insert, [{f"v{n}": _as_text(value) for n, value in enumerate(row)} for row in part])
    into.execute(
        sa.text(f"update {schema}.ducklake_metadata set value = :path where key = 'data_path'"),
        {"path": f"{data_path}/"},
    )


def _column_types(connection: sa.Connection, schema: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    rows = connection.execute(
        sa.text(
            "select table_name, column_name, data_type from information_schema.columns where table_schema = :schema"
        ),
        {"schema": schema},
    )
    for table, column, kind in cast("Iterator[Any]", rows):
        found.setdefault(table, {})[column] = kind
    return found


def _as_text(value: object) -> str | None:
    return None if value is None else str(value)
