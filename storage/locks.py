"""What may be done by one process at a time. A lock is freed when its holder dies, whoever that was.

Embedded: locks of files, for the processes of one machine. Server: advisory locks of PostgreSQL, for all machines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from storage import database
from storage.settings import Settings

if TYPE_CHECKING:
    import psycopg


class Busy(Exception):
    """Somebody else held the lock for longer than one wanted to wait. Nothing was done."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        super().__init__(f"{name} is busy: another process of Verbund held it for more than {seconds:g} s")


@contextmanager
def holding(settings: Settings, name: str, *, timeout: float) -> Iterator[None]:
    """Be the only one who does `name` (`accepted`, `release`, `judge-0`, …) in this installation.

    Args:
        settings: Whose installation.
        name: As `storage.paths.Home.lock` allows.
        timeout: How long to wait, in seconds.

    Raises:
        Busy: Somebody else held it all the time.
    """
    file = settings.paths.create().lock(name)
    if settings.is_server:
        with _advisory(settings, name, timeout):
            yield
        return
    lock = FileLock(file, timeout=timeout)
    try:
        lock.acquire()
    except Timeout as error:
        raise Busy(name, timeout) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _advisory(settings: Settings, name: str, timeout: float) -> Iterator[None]:
    # imported here: the embedded profile has no use for it
    import psycopg

    with psycopg.connect(
        database.conninfo(settings), autocommit=True, application_name=f"verbund lock {name}"
    ) as connection:
        connection.execute(f"set lock_timeout = {max(1, int(timeout * 1000))}")
        try:
            # the database wakes those who wait in their order
            connection.execute("select pg_advisory_lock(%s)", (_key(name),))
        except psycopg.errors.LockNotAvailable as error:
            raise Busy(name, timeout) from error
        # closing the connection frees it, and so does the end of this process
        yield


class Turns:
    """What one process has in hand for a while, tried and never waited for: suppliers whose files it judges and answers.

    Embedded nobody is asked: there a supplier is always the same judge's. One thread, one connection.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._held: set[str] = set()

    def take(self, name: str) -> bool:
        """Whether `name` is this process' now; it stays so until `give_back`, or the end of the process.

        Raises:
            psycopg.OperationalError: The database cannot be asked; nothing is held any more.
        """
        if not self._settings.is_server or name in self._held:
            return True
        if is_mine := self._ask("select pg_try_advisory_lock(%s)", (_key(f"turn {name}"),)):
            self._held.add(name)
        return is_mine

    def give_back(self) -> None:
        """Let others have what was taken.

        Raises:
            psycopg.OperationalError: The database cannot be asked, and has taken it back by itself.
        """
        if self._held:
            self._held.clear()
            self._ask("select pg_advisory_unlock_all() is null", ())

    def _ask(self, sql: str, told: tuple[int, ...]) -> bool:
        import psycopg

        try:
            if self._connection is None:
                self._connection = psycopg.connect(
                    database.conninfo(self._settings), autocommit=True, application_name="verbund turns"
                )
            row = self._connection.execute(sql.encode(), told).fetchone()
        except psycopg.OperationalError:
            self.close()
            raise
        return row is not None and bool(row[0])

    def close(self) -> None:
        """Give everything back, and the connection, which may be broken."""
        self._held.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"verbund:{name}".encode()).digest()[:8], "big", signed=True)
