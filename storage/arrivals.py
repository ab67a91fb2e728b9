"""What the object store of the server profile tells about arrivals, and the bell that wakes judges and intake.

The store writes its events into a view of PostgreSQL, whose trigger keeps each version of an object once and can never
raise. Events are the fast path only: what they miss is found by the sweep of the inboxes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus

import psycopg
from psycopg.rows import dict_row

from storage import database
from storage.ledger.ledger import QUEUE_BELL
from storage.settings import Settings

#: Channel on which a new arrival is told.
ARRIVALS = "verbund_arrivals"
#: So long may a reader's transaction take; by itself a statement of theirs ends after a minute.
LONGEST_READ = timedelta(minutes=10)
#: Channel on which something new in the queue of judges is told.
QUEUE = QUEUE_BELL


@dataclass(frozen=True)
class Told:
    """An event of the store. `key` is the object's whole key, decoded; `version` names the bytes."""

    id: int
    bucket: str
    key: str
    version: str
    size: int
    event_time: datetime | None
    seen_at: datetime


class Arrivals:
    """The events that wait, on one connection. One process, one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: psycopg.Connection[dict[str, Any]] | None = None

    def waiting(self, but_of: Sequence[str] = (), each: int = 200) -> list[Told]:
        """Events nobody has worked off, suppliers in turn, each one's oldest first.

        Args:
            but_of: Suppliers whose events are left out.
            each: At most so many of one supplier.
        """
        rows = self._run(
            """
            select told.id, bucket, key, version_id, size, event_time, seen_at
            from (select distinct supplier from intake.arrival where done_at is null and supplier <> all(%s)) as waiting
            cross join lateral (
                select *, row_number() over (order by id) as turn from (
                    select * from intake.arrival
                    where done_at is null and supplier = waiting.supplier order by id limit %s
                ) as oldest
            ) as told
            order by turn, told.id
            """,
            (list(but_of), each),
        )
        return [
            Told(row["id"], row["bucket"], unquote_plus(row["key"]), row["version_id"] or "", row["size"] or 0, row["event_time"], row["seen_at"])
            for row in rows
        ]  # fmt: skip

    def done(self, ids: Sequence[int], problem: str | None = None) -> None:
        """Say that these need no more work; `problem` says why they came to nothing."""
        if ids:
            self._run(
                "update intake.arrival set done_at = now(), problem = %s where id = any(%s) returning id",
                (problem, list(ids)),
            )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(self, statement: str, values: Sequence[object]) -> list[dict[str, Any]]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                database.conninfo(self._settings),
                autocommit=True,
                row_factory=dict_row,
                application_name="verbund intake",
            )
        try:
            return self._connection.execute(statement, values).fetchall()
        except psycopg.OperationalError:
            # the next call connects anew
            self.close()
            raise


def end_long_reads(settings: Settings, longest: timedelta = LONGEST_READ) -> int:
    """End transactions of BI readers that are older than that, whatever limits they lifted; returns how many were.

    Does nothing where `infra/postgres/roles.sql` was not run.
    """
    with psycopg.connect(database.conninfo(settings), autocommit=True) as connection:
        there = connection.execute("select to_regprocedure('intake.end_long_reads(interval)') is not null").fetchone()
        if there != (True,):
            return 0
        row = connection.execute("select intake.end_long_reads(%s)", (longest,)).fetchone()
        return int(row[0]) if row else 0


def ring(settings: Settings, channel: str = QUEUE) -> None:
    """Wake everybody who listens."""
    with psycopg.connect(database.conninfo(settings), autocommit=True) as connection:
        connection.execute("select pg_notify(%s, '')", (channel,))


def wakes(settings: Settings, channel: str, stop: threading.Event, *, at_least_every: float) -> Iterator[bool]:
    """Yield when the bell was rung or the time is up: whether it was rung. Survives a database that goes and comes back.

    Args:
        settings: Which database.
        channel: `ARRIVALS` or `QUEUE`.
        stop: Ends the waiting.
        at_least_every: In seconds.
    """
    yield True
    while not stop.is_set():
        try:
            with psycopg.connect(
                database.conninfo(settings), autocommit=True, application_name=f"verbund waits on {channel}"
            ) as connection:
                connection.execute(f"listen {channel}")
                # what was told while nobody listened
                yield True
                yield from _heard(connection, stop, at_least_every)
        except psycopg.OperationalError:
            stop.wait(min(1.0, at_least_every))


def _heard(connection: psycopg.Connection[tuple[object, ...]], stop: threading.Event, every: float) -> Iterator[bool]:
    slept = time.monotonic()
    while not stop.is_set():
        # short, so that a process that is asked to stop does
        rung = any(True for _ in connection.notifies(timeout=min(every, 0.5), stop_after=1))
        if rung or time.monotonic() - slept >= every:
            yield rung
            slept = time.monotonic()
