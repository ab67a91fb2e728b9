"""Many events in one transaction, for the embedded profile's SQLite event log.

Dagster commits three times for every event, each time with a new engine. The reporter writes hundreds of events at once:
inside `one_transaction` they share one connection per file and are committed together, so they are also there whole or
not at all. Uses private names; where one is missing, events are committed one by one as Dagster does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

_BUSY_SECONDS = 60


@contextmanager
def one_transaction(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Commit all events of a run that are reported in this block together; nothing of them if it raises."""
    storage: Any = instance.event_log_storage
    if not can_hold_together(storage):
        yield
        return
    held: dict[str, sa.Connection] = {}

    @contextmanager
    def shared(shard: str) -> Iterator[sa.Connection]:
        if shard not in held:
            held[shard] = stack.enter_context(_transaction(storage, shard))
        yield held[shard]

    with ExitStack() as stack:
        # opened first, so committed last: what counts is the index over all runs
        held[run_id] = stack.enter_context(_transaction(storage, run_id))
        storage._connect = shared
        stack.callback(lambda: storage.__dict__.pop("_connect", None))
        yield


def can_hold_together(storage: object) -> bool:
    """Whether this is the event log the shortcut was written for."""
    return isinstance(storage, SqliteEventLogStorage) and all(
        hasattr(storage, name) for name in ("_connect", "conn_string_for_shard")
    )


@contextmanager
def _transaction(storage: SqliteEventLogStorage, shard: str) -> Iterator[sa.Connection]:
    with SqliteEventLogStorage._connect(storage, shard):
        pass  # the file of a new run gets its tables
    engine = sa.create_engine(
        storage.conn_string_for_shard(shard), poolclass=sa.pool.NullPool, connect_args={"timeout": _BUSY_SECONDS}
    )
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
