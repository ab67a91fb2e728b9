"""Checking first for those who come by portal: the verdict a file would get, from a warm process of its own.

Reading a hostile file may take all memory or never end. Here that ends one check and keeps nobody from a page. What a check
says is `Desk.check`'s.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
import signal
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from quality.desk import Desk
from quality.errors import NotAgreed, PlatformTrouble, Refused
from quality.recognition import recognise
from storage.settings import GIB, Settings

log = logging.getLogger("verbund.checking")

#: A file that takes longer keeps others waiting; it may be handed in, where each has its turn.
CHECK_SECONDS = 60.0
#: What it may take to import what judging needs, on a machine that has much else to do.
START_SECONDS = 300.0
#: So many bytes take some ten seconds to judge.
LARGEST_CHECK = 100_000_000


class CannotCheck(Exception):
    """There is no verdict beforehand: reading the file took too long, or ended the process that read it."""


class CheckBusy(Exception):
    """Others' files are being checked; trying again makes sense soon."""


class Checks:
    """Checks files one after another; the process that does begins with the first one. Any thread may ask.

    Args:
        settings: Of the installation.
        seconds: How long a check may take, and how long it may wait for those before it.
    """

    def __init__(self, settings: Settings, *, seconds: float = CHECK_SECONDS) -> None:
        self._settings, self._seconds = settings, seconds
        self._turn = threading.Lock()
        self._asking: set[str] = set()
        self._worker: tuple[BaseProcess, Connection] | None = None

    def check(
        self, source: Path, supplier: str, dataset: str, period: str, *, file_name: str, dialect: str | None = None
    ) -> dict[str, Any]:
        """What `Desk.check` says of a file.

        Raises:
            Refused: There is no such supplier or dataset, the period is none, or the dialect is not agreed for it.
            CannotCheck: The file takes too long, or kills who reads it.
            CheckBusy: The supplier has a check running, or too many wait.
            PlatformTrouble: The work could not be done.
        """
        return self._in_turn(supplier, ("check", source, supplier, dataset, period, file_name, dialect))

    def recognise(
        self, source: Path, supplier: str, *, file_name: str, dataset: str = "", period: str = ""
    ) -> dict[str, Any]:
        """What `quality.recognition.recognise` proposes for a file, as data.

        Raises:
            CannotCheck: The file takes too long, or kills who reads it.
            CheckBusy: The supplier has a check running, or too many wait.
            PlatformTrouble: The work could not be done.
        """
        return self._in_turn(supplier, ("recognise", source, supplier, dataset, period, file_name, None))

    def _in_turn(self, supplier: str, asked: tuple[object, ...]) -> dict[str, Any]:
        if supplier in self._asking:
            # one at a time each: nobody's many keep others waiting
            raise CheckBusy(supplier)
        self._asking.add(supplier)
        try:
            if not self._turn.acquire(timeout=self._seconds):
                raise CheckBusy(supplier)
            try:
                return self._ask(asked)
            finally:
                self._turn.release()
        finally:
            self._asking.discard(supplier)

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            process, connection = self._worker
            self._worker = None
            process.kill()
            process.join()
            connection.close()

    def _ask(self, asked: tuple[object, ...]) -> dict[str, Any]:
        process, connection = self._worker or self._begin()
        try:
            connection.send(asked)
            if not connection.poll(self._seconds):
                self.close()
                raise CannotCheck(f"no end after {self._seconds:g} s")
            kind, told = connection.recv()
        except (EOFError, OSError) as error:
            process.join(1.0)
            ended = process.exitcode
            self.close()
            log.warning("a file that was checked ended its reader (exit code %s)", ended)
            raise CannotCheck(f"its reader ended with {ended}") from error
        return _ANSWERS[kind](told)

    def _begin(self) -> tuple[BaseProcess, Connection]:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(theirs, self._settings), name="check", daemon=True)
        process.start()
        theirs.close()
        self._worker = process, ours
        try:
            if not ours.poll(START_SECONDS):
                raise EOFError
            ours.recv()
        except (EOFError, OSError):
            self.close()
            raise PlatformTrouble("no file can be checked", cause="the process that checks did not begin") from None
        return process, ours


def _told(document: dict[str, Any]) -> dict[str, Any]:
    return document


def _refuse(told: Mapping[str, str]) -> dict[str, Any]:
    raise Refused(**told)


def _not_agreed(told: Mapping[str, str]) -> dict[str, Any]:
    raise NotAgreed(**told)


def _trouble(told: str) -> dict[str, Any]:
    raise PlatformTrouble("a file could not be checked", cause=told)


_ANSWERS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "verdict": _told, "refused": _refuse, "not agreed": _not_agreed, "trouble": _trouble,
}  # fmt: skip


def _serve(connection: Connection, settings: Settings) -> None:
    """Check what is asked until nobody is there to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (4 * GIB, 4 * GIB))
    desk = Desk(settings, who="check")
    desk.warm_up()
    connection.send("ready")
    while True:
        try:
            what, source, supplier, dataset, period, file_name, dialect = connection.recv()
        except EOFError:
            desk.close()
            return
        try:
            if what == "recognise":
                proposal = recognise(
                    desk.pack, supplier, source, file_name, desk.home.work, dataset=dataset, period=period
                )
                connection.send(("verdict", proposal.plain()))
            else:
                told = desk.check(source, supplier, dataset, period, file_name=file_name, dialect=dialect)
                connection.send(("verdict", told))
        except Refused as error:
            kind = "not agreed" if isinstance(error, NotAgreed) else "refused"
            connection.send((kind, {"expected": error.expected, "found": error.found}))
        except Exception as error:
            log.exception("a file could not be checked")
            connection.send(("trouble", repr(error)))
