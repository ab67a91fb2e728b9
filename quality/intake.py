"""The intake of the server profile: takes in what arrives in the object store, so that no large file keeps a judge.

Woken by the store's events; behind them the sweep, which alone is the truth. Several suppliers are taken in at once, each
by one thread at most, so that one supplier's flood leaves room for the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from quality.desk import Desk
from quality.inboxes import Inboxes
from quality.judging import BACKLOG
from storage import arrivals, locks, stores
from storage.arrivals import ARRIVALS, Arrivals, Told
from storage.crash import reached
from storage.objects.base import NoSuchObject, StoreUnfit, prove
from storage.settings import Settings

log = logging.getLogger("verbund.intake")

#: So many suppliers are taken in at once.
AT_ONCE = 4
#: A supplier's thread looks for others' turn after so long.
TURN_SECONDS = 2.0
#: A supplier whose arrivals cannot be taken in is left alone for so long; the store may be down.
REST_SECONDS = 3.0
#: A supplier with as many deliveries waiting for their verdict as may be is looked at again after so long.
FULL_SECONDS = 1.0
#: So many failures in a row end a supplier's turn.
FAILURES = 3
_PREFIX = "inbox/"


def run(settings: Settings, *, stop: threading.Event | None = None, ready: Callable[[], None] | None = None) -> None:
    """Take in arrivals until `stop` is set. One intake of an installation works, others wait to take its place.

    Raises:
        StoreUnfit: The object store does not keep what everything rests on; nothing was taken in.
    """
    stop = stop or threading.Event()
    is_proven = False
    while not stop.is_set():
        try:
            if not is_proven:
                prove(stores.lake_files(settings))
                is_proven = True
            with locks.holding(settings, "intake", timeout=1.0):
                _serve(settings, stop, ready)
        except locks.Busy:
            continue
        except StoreUnfit:
            raise
        except Exception:
            log.exception("the intake was interrupted; it begins again")
            stop.wait(1.0)


def _serve(settings: Settings, stop: threading.Event, ready: Callable[[], None] | None) -> None:
    desk, told = Desk(settings, who="intake"), Arrivals(settings)
    swept = 0.0
    if ready:
        ready()
    try:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="intake") as pool:
            work = _Work(desk, told, pool)
            for _ in arrivals.wakes(settings, ARRIVALS, stop, at_least_every=min(settings.sweep_seconds, 2.0)):
                try:
                    waits = True
                    while waits and not stop.is_set():
                        # however many events wait, the sweep has its time: what an event missed does not wait for them all
                        waits = work.begin_waiting(stop, until=swept + settings.sweep_seconds)
                        if time.monotonic() - swept >= settings.sweep_seconds:
                            work.sweep()
                            swept = time.monotonic()
                except Exception:
                    log.exception("arrivals could not be taken in; trying again")
                    stop.wait(1.0)
    finally:
        told.close()
        desk.close()


@dataclass
class _Taken:
    """What a turn came to: events that are done with, those that were none, how many failed; whether no more has room."""

    done: list[int] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    failures: int = 0
    full: bool = False


class _Work:
    """Who is being taken in now: a supplier at most once."""

    def __init__(self, desk: Desk, told: Arrivals, pool: ThreadPoolExecutor) -> None:
        self._desk, self._told, self._pool = desk, told, pool
        self._inboxes = Inboxes(desk)
        self._busy: dict[str, Future[_Taken]] = {}
        self._rests: dict[str, float] = {}

    def begin_waiting(self, stop: threading.Event, until: float) -> bool:
        """Work off every event that waits, at most until a time; returns whether some are left that could be begun."""
        while not stop.is_set():
            self._collect()
            now = time.monotonic()
            resting = [supplier for supplier, end in self._rests.items() if end > now]
            by_supplier: dict[str, list[Told]] = {}
            for one in self._told.waiting([*self._busy, *resting]):
                by_supplier.setdefault(_supplier_of(one.key), []).append(one)
            for supplier in list(by_supplier)[: max(0, AT_ONCE - len(self._busy))]:
                self._busy[supplier] = self._pool.submit(self._take, supplier, by_supplier[supplier])
            if not self._busy:
                return False
            if now > until:
                return True
            # whoever is done first makes room; others go on while a large file is taken in
            wait(list(self._busy.values()), timeout=0.2, return_when=FIRST_COMPLETED)
        return False

    def sweep(self) -> None:
        """Look through every inbox for what no event told."""
        for arrival in self._desk.ledger.unsettled():
            self._inboxes.settle(arrival)
        for supplier in sorted(self._desk.pack.suppliers):
            if supplier not in self._busy:
                self._busy[supplier] = self._pool.submit(self._sweep_one, supplier)
        self._desk.note_receipts()
        if ended := arrivals.end_long_reads(self._desk.settings):
            log.warning("%s transactions of readers took longer than %s and were ended", ended, arrivals.LONGEST_READ)

    def _collect(self) -> None:
        for supplier, future in list(self._busy.items()):
            if future.done():
                del self._busy[supplier]
                taken = future.result()
                self._told.done(taken.done)
                for number, problem in taken.problems:
                    self._told.done([number], problem)
                if taken.failures or taken.full:
                    self._rests[supplier] = time.monotonic() + (REST_SECONDS if taken.failures else FULL_SECONDS)
        self._desk.note_receipts()

    def _sweep_one(self, supplier: str) -> _Taken:
        taken = _Taken()
        try:
            self._inboxes.sweep_of(supplier, BACKLOG)
        except Exception:
            # one inbox that cannot be read keeps nobody else waiting; the next sweep looks again
            log.exception("the inbox of %s could not be looked through", supplier)
            taken.failures += 1
        return taken

    def _take(self, supplier: str, events: Sequence[Told]) -> _Taken:
        taken = _Taken()
        due = time.monotonic() + TURN_SECONDS
        room = BACKLOG - self._desk.ledger.backlog(supplier)
        for event in events:
            if len(taken.done) >= room:
                taken.full = True
                break
            if event.bucket != self._desk.settings.s3_bucket or supplier not in self._desk.pack.suppliers:
                taken.problems.append((event.id, "not a key of a supplier's inbox"))
                continue
            key = event.key.removeprefix(_PREFIX).removeprefix(f"{supplier}/")
            try:
                self._inboxes.take_in(supplier, key, event.version)
                taken.done.append(event.id)
            except (NoSuchObject, ValueError) as error:
                taken.problems.append((event.id, str(error)))
            except Exception:
                # it stays waiting
                log.exception("%s could not be taken in", event.key)
                taken.failures += 1
            reached("intake.taken")
            if time.monotonic() > due or taken.failures >= FAILURES:
                break
        return taken


def _supplier_of(key: str) -> str:
    """The supplier is told by the key alone: what an event says of its sender proves nothing."""
    return key.removeprefix(_PREFIX).split("/", 1)[0] if key.startswith(_PREFIX) else ""
