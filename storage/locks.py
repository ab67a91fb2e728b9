"""What may be done by one process at a time. A lock is freed when its holder dies, whoever that was.

Embedded: locks of files, for the processes of one machine. Server: advisory locks of PostgreSQL, for all machines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from storage import database
from storage.settings import Settings


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

    key = int.from_bytes(hashlib.sha256(f"verbund:{name}".encode()).digest()[:8], "big", signed=True)
    with psycopg.connect(
        database.conninfo(settings), autocommit=True, application_name=f"verbund lock {name}"
    ) as connection:
        connection.execute(f"set lock_timeout = {max(1, int(timeout * 1000))}")
        try:
            # the database wakes those who wait in their order
            connection.execute("select pg_advisory_lock(%s)", (key,))
        except psycopg.errors.LockNotAvailable as error:
            raise Busy(name, timeout) from error
        # closing the connection frees it, and so does the end of this process
        yield
