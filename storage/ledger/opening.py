"""Opens a ledger: the engine with what each database needs said, and the way from an older shape to the present."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry

from storage.ledger.tables import HEAD

#: How long a process waits for another one's transaction, in seconds.
BUSY_SECONDS = 60.0

MIGRATIONS = Path(__file__).parent / "migrations"
#: Any number nobody else uses: two processes that migrate one PostgreSQL ledger take turns.
_MIGRATION_LOCK = 7_286_001


def open_engine(url: str) -> sa.Engine:
    """An engine whose write transactions (`execution_options(writes=True)`) begin as such.

    SQLite would otherwise begin every transaction as a reader, and a reader that wants to write after somebody else
    wrote fails at once instead of waiting its turn.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_pre_ping=True, json_serializer=to_json)
    if not parsed.database or parsed.database == ":memory:":
        raise ValueError("a ledger is a file or a database server: several processes write to it")
    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(parsed, json_serializer=to_json, connect_args={"timeout": BUSY_SECONDS})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


class Store:
    """Tables that lie in the ledger's database and are none of its own. Many threads and processes may use one at once.

    Args:
        url: Of the ledger's database, brought to its present shape by `Ledger.migrate`.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._writing = self._engine.execution_options(writes=True)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _write(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that writes."""
        return self._writing.begin()


def migrate(engine: sa.Engine) -> None:
    """Bring the ledger to the present shape; one look at one row when it is there already.

    Raises:
        LedgerTooNew: It was written by a later Verbund.
    """
    with engine.connect() as connection:
        if revision_of(connection) == HEAD:
            return
    # imported here because it takes 0.2 s and is needed once in the life of a ledger
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        found = revision_of(connection)
        if found == HEAD:
            return
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if found is not None and found not in known:
            raise LedgerTooNew(found)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


class LedgerTooNew(Exception):
    """The ledger was written by a later Verbund than this one."""

    def __init__(self, found: str) -> None:
        self.found, self.known = found, HEAD
        super().__init__(f"the ledger is at revision {found}, this Verbund knows up to {HEAD}. Use the newer Verbund.")


def to_json(value: Any) -> str:
    """JSON that every database takes: figures that are none (NaN, infinite) become null."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def revision_of(connection: sa.Connection) -> str | None:
    """The shape the ledger has, None where there is none."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _prepare_sqlite(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    # the driver must not begin or commit by itself: it would begin as a reader and commit before DDL
    connection.isolation_level = None
    _use_wal(connection)
    # FULL: a receipt was promised to the supplier, so it must survive a power cut (one fsync per commit)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _use_wal(connection: sqlite3.Connection) -> None:
    patience = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            # SQLite does not wait for other processes while it changes the journal mode
            if time.monotonic() > patience:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
