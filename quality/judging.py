"""The judge process: woken by the inboxes and by a bell, it works the queue in short batches until it is told to stop.

One judge works one shard of suppliers and holds the lock of that shard. `verbund deliver` rings the bell where a judge
runs and takes the shard itself where none does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from watchfiles import watch

from quality.desk import Desk
from quality.errors import PlatformTrouble
from quality.inboxes import SETTLED_SECONDS, Inboxes
from quality.judge import Judged
from quality.sources import Misconfigured
from storage import locks
from storage.crash import reached
from storage.ledger.ledger import Delivery, ReceiptKind, shard_key
from storage.ledger.states import WAITING
from storage.paths import parse_delivery_id
from storage.settings import Settings
from storage.vault import VaultDamaged

log = logging.getLogger("verbund.judge")

#: A file that was begun this often without an end has killed its judge twice.
DANGEROUS_AFTER = 3
#: A judge keeps what it has in hand by renewing its lease. Once it died, one of the same name may go on at once, and
#: others after this time.
LEASE_SECONDS = 120.0
#: A supplier's files stay in its inbox while so many of its deliveries wait for their verdict: taking in ten thousand at
#: once would cost the others time and win their sender none.
BACKLOG = 300
#: A receipt that is owed for so long is written by the first judge; shorter, and somebody may still be at it.
OWED_SECONDS = 10.0
#: Between two batches at most so long goes into owed receipts: after a day without a store there may be thousands.
OWED_TURN_SECONDS = 0.3
#: So long a receipt may stand back behind other suppliers' verdicts; well below the time after which it counts as owed.
RECEIPT_WAITS_SECONDS = 2.0


@contextlib.contextmanager
def holding(settings: Settings, shard: tuple[int, int] = (0, 1), *, wait_seconds: float = 0) -> Iterator[bool]:
    """Hold the lock of a shard's judge; yields False when somebody else holds it."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.holding(settings, f"judge-{shard[0]}", timeout=wait_seconds))
        except locks.Busy:
            yield False
            return
        yield True


def ring(settings: Settings) -> None:
    """Wake every judge of this home."""
    if settings.is_server:
        from storage import arrivals

        arrivals.ring(settings)
        return
    bell = settings.paths.create().root / "bell"
    bell.mkdir(exist_ok=True)
    (bell / "rung").write_text(str(time.time_ns()))


def until_judged(desk: Desk, delivery_id: str) -> None:
    """Wait until a delivery has its verdict: from the running judge where there is one, else by judging here."""
    ring(desk.settings)
    while desk.ledger.delivery(delivery_id).state in WAITING:
        with holding(desk.settings, wait_seconds=0.1) as held:
            if held:
                work_queue(desk)
                if desk.ledger.delivery(delivery_id).state in WAITING:
                    raise PlatformTrouble(
                        "a delivery could not be judged now; it stays in the queue", cause=delivery_id
                    )


class Pace:
    """How long each supplier's last file took a judge, so that nobody's answer waits for one that may take long."""

    #: A file of so many bytes, or of a supplier whose last one took so long, is judged with nobody else's in hand.
    LARGE, SLOW = 2_000_000, 0.3

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def is_slow(self, delivery: Delivery) -> bool:
        """Whether judging this may take longer than those who wait for an answer should notice."""
        return delivery.size > self.LARGE or self._seconds.get(delivery.supplier, 0.0) > self.SLOW

    @contextlib.contextmanager
    def noted(self, supplier: str) -> Iterator[None]:
        """Remember how long the block took for this supplier."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds[supplier] = time.monotonic() - began


class _Answers:
    """Verdicts of a round of turns: stored batch by batch, and answered with receipts once all who wait have theirs.

    A receipt takes a third of what a small file takes. Of twenty who hand in together, the last would wait for the
    receipts of all others before it learns what is wrong with its file.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._stored: list[Judged] = []
        self._since = 0.0

    def __bool__(self) -> bool:
        return bool(self._stored)

    @property
    def suppliers(self) -> set[str]:
        return {judged.task.supplier for judged in self._stored}

    def may_wait(self, waiting: Sequence[Delivery]) -> bool:
        """Whether somebody who has no verdict of this round waits, and no receipt has stood back for long."""
        is_young = time.monotonic() - self._since < RECEIPT_WAITS_SECONDS
        return bool(self._stored) and is_young and any(one.supplier not in self.suppliers for one in waiting)

    def store(self, batch: Sequence[Judged]) -> None:
        """Record the verdicts of a batch."""
        states = self._desk.store(batch)
        if not self._stored:
            self._since = time.monotonic()
        self._stored += [judged for judged in batch if judged.task.delivery in states]

    def write(self) -> None:
        """Write the receipts that stood back."""
        nth = Counter[str]()

        def place(judged: Judged) -> tuple[int, int]:
            nth[judged.task.supplier] += 1
            return nth[judged.task.supplier], judged.verdict.rows.delivered

        # everybody's first before anybody's second, and small ones before large: a hundred files, or a workbook of many rows,
        # keep only those waiting who sent as much
        stored, self._stored = sorted(self._stored, key=place), []
        self._desk.write_receipts(stored)

    def end_round(self) -> None:
        """Write the receipts; the suppliers of this round are anybody's again."""
        try:
            self.write()
        finally:
            self._desk.turns.give_back()


def work_queue(
    desk: Desk,
    shard: tuple[int, int] = (0, 1),
    pace: Pace | None = None,
    between: Callable[[], None] | None = None,
) -> int:
    """Judge and answer everything that waits, in batches of at most `batch_seconds`. Returns how many were begun.

    Verdicts are stored after each batch. Receipts of several suppliers are written after a round of turns, or when the
    first has stood back for `RECEIPT_WAITS_SECONDS`. A supplier is this judge's until its receipts are written: however
    much it sends, and however long its receipts take, other judges stay free.

    Args:
        desk: Who judges.
        shard: Which part of how many.
        pace: What is known of how long each supplier's files take.
        between: Called between two batches: a queue may take hours, and what is due meanwhile does not wait for its end.
    """
    begun, pace, answers = 0, pace or Pace(), _Answers(desk)
    try:
        while (waiting := desk.ledger.waiting(desk.who, shard)) or answers:
            if not answers.may_wait(waiting):
                answers.end_round()
                if not waiting:
                    # somebody may have sent more while the receipts were written
                    continue
            now = _work_batch(desk, waiting, pace, answers)
            begun += now
            if not now and not answers:
                # all that waits is in others' hands
                break
            if not now:
                answers.end_round()
            if between:
                between()
    finally:
        answers.end_round()
    _judge_again(desk, shard)
    return begun


def _judge_again(desk: Desk, shard: tuple[int, int]) -> None:
    """Judge again what somebody wants judged again; new deliveries go first."""
    part, parts = shard
    for delivery_id in desk.ledger.owed_replays():
        supplier = parse_delivery_id(delivery_id).supplier
        if shard_key(supplier) % parts != part:
            continue
        try:
            if desk.turns.take(supplier):
                _judge_one_again(desk, delivery_id)
        finally:
            desk.turns.give_back()


def _judge_one_again(desk: Desk, delivery_id: str) -> None:
    begins = desk.ledger.begin_replay(delivery_id)
    if begins == 0:
        return
    if begins >= DANGEROUS_AFTER:
        log.error("%s could not be judged again; its verdict stays as it is", delivery_id)
        desk.ledger.end_replay(delivery_id)
        return
    try:
        desk.rejudge(delivery_id)
        desk.ledger.end_replay(delivery_id)
    except (PlatformTrouble, Misconfigured, VaultDamaged, OSError):
        log.exception("%s could not be judged again now", delivery_id)
        desk.ledger.defer_replay(delivery_id)


def _work_batch(desk: Desk, waiting: Sequence[Delivery], pace: Pace, answers: _Answers) -> int:
    begun, due = 0, time.monotonic() + desk.settings.batch_seconds
    batch: list[Judged] = []
    others: set[str] = set()
    for delivery in waiting:
        asked = answers.suppliers | {judged.task.supplier for judged in batch}
        if len(asked) > 1 and delivery.supplier in asked:
            # a round of turns is over: who sent one file does not wait for another one's hundred
            break
        if delivery.supplier in others:
            continue
        if not desk.turns.take(delivery.supplier):
            others.add(delivery.supplier)
            continue
        begun += 1
        if pace.is_slow(delivery):
            answers.store(batch)
            answers.write()
            batch = []
        begins = desk.ledger.begin([delivery.delivery_id], desk.who, LEASE_SECONDS).get(delivery.delivery_id)
        if begins is None:
            continue
        reached("judge.begun")
        # what was begun before a crash is judged alone: only the one that kills is begun a third time
        suspect = begins > 1
        if suspect:
            answers.store(batch)
            answers.write()
            batch = []
        in_hand = [delivery.delivery_id, *(judged.task.delivery for judged in batch)]
        with _keeping(desk, in_hand), pace.noted(delivery.supplier):
            judged = _judge_or_set_aside(desk, delivery, begins)
        if judged is not None:
            batch.append(judged)
        if suspect or time.monotonic() > due:
            break
    answers.store(batch)
    return begun


def run(
    settings: Settings,
    *,
    shard: tuple[int, int] = (0, 1),
    stop: threading.Event | None = None,
    ready: Callable[[], None] | None = None,
) -> None:
    """Be the judge of a shard until `stop` is set; waits for the lock while another judge holds it.

    Args:
        settings: Where state lies.
        shard: Which part of how many. Embedded, a supplier is always the same judge's, and shard 0 also looks through
            the inboxes; on a server all judges work one queue and the intake fills it.
        stop: Ends the loop after the batch in hand.
        ready: Called once everything is warm.
    """
    stop = stop or threading.Event()
    while not stop.is_set():
        try:
            with holding(settings, shard, wait_seconds=1.0) as held:
                if held:
                    _serve(settings, shard, stop, ready)
                    return
        except Misconfigured:
            raise
        except Exception:
            if not settings.is_server:
                raise
            # the database or the store may be down for a while; a judge that ended would have to be started by hand
            log.exception("the judge cannot work now; trying again")
            stop.wait(1.0)


def _serve(settings: Settings, shard: tuple[int, int], stop: threading.Event, ready: Callable[[], None] | None) -> None:
    desk, pace = Desk(settings, who=f"judge-{shard[0]}"), Pace()
    desk.warm_up()
    if ready:
        ready()
    try:
        rounds = _Rounds(desk) if shard[0] == 0 else None
        part = (0, 1) if settings.is_server else shard
        for came in _wakes(settings, stop):
            try:
                if rounds and came:
                    rounds.begin()
                elif rounds:
                    rounds.go_on()
                work_queue(desk, part, pace, rounds.go_on if rounds else None)
            except Exception:
                # a judge that ends helps nobody: the reason is logged, state is unchanged, the next wake tries again
                log.exception("the queue could not be worked; trying again")
                stop.wait(1.0)
    finally:
        desk.close()


class _Rounds:
    """What the first judge does beside judging: inboxes are looked through and owed receipts written, however long the queue.

    A receipt that stayed owed for a whole pause is written here, and what is owed when this begins: who owed it died, or
    the store was down.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk, self._seen = desk, set[tuple[str, ReceiptKind]]()
        self._owed = sorted(desk.ledger.owed_receipts(), reverse=True)
        self._inboxes = Inboxes(desk)
        self._swept, self._looked = 0.0, time.monotonic()

    def begin(self) -> None:
        """Something may have come: look now."""
        # on a server the intake looks through the inboxes
        if not self._desk.settings.is_server:
            self._inboxes.sweep(BACKLOG)
        self._swept = time.monotonic()
        self._write_owed()

    def go_on(self) -> None:
        """While a long queue is worked: look once in a while."""
        if time.monotonic() - self._swept >= self._desk.settings.sweep_seconds:
            self.begin()
        else:
            self._write_owed()

    def _write_owed(self) -> None:
        now = time.monotonic()
        if not self._owed and now - self._looked >= OWED_SECONDS:
            owed = self._desk.ledger.owed_receipts()
            self._owed = sorted(owed & self._seen, reverse=True)
            self._seen, self._looked = owed, now
        while self._owed and time.monotonic() - now < OWED_TURN_SECONDS:
            self._desk.write_owed_receipts([self._owed.pop()])


@contextlib.contextmanager
def _keeping(desk: Desk, deliveries: Sequence[str]) -> Iterator[None]:
    """Renew the lease of what is in hand for as long as the block takes."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(LEASE_SECONDS / 4):
            try:
                desk.ledger.renew(deliveries, desk.who, LEASE_SECONDS)
            except Exception:
                # another judge may take it up then; the verdict is stored once whoever comes first
                log.exception("the lease of %s could not be renewed", ", ".join(deliveries))

    threading.Thread(target=renew, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _wakes(settings: Settings, stop: threading.Event) -> Iterator[bool]:
    """Yield when something may wait: a change under the inboxes, the bell, the database's word, or the sweep's time.

    What is yielded says whether something may have come into the inboxes; who rings the bell has taken in already.
    """
    if settings.is_server:
        from storage import arrivals

        for _ in arrivals.wakes(settings, arrivals.QUEUE, stop, at_least_every=min(settings.sweep_seconds, 2.0)):
            yield True
        return
    home = settings.paths.create()
    (home.root / "bell").mkdir(exist_ok=True)
    changes = watch(
        home.inboxes, home.root / "bell", stop_event=stop, step=20, debounce=50,
        rust_timeout=int(min(settings.sweep_seconds, 2.0) * 1000), yield_on_timeout=True, raise_interrupt=False,
    )  # fmt: skip
    yield True
    for change in changes:
        came = any(Path(path).is_relative_to(home.inboxes) for _, path in change)
        yield came or not change
        if came:
            # a file is taken once it has rested; without another event nobody would look again
            stop.wait(SETTLED_SECONDS)
            yield True


def _judge_or_set_aside(desk: Desk, delivery: Delivery, begins: int) -> Judged | None:
    if begins >= DANGEROUS_AFTER:
        _judge_apart(desk, delivery)
        return None
    try:
        judged = desk.judge(delivery)
    except (PlatformTrouble, Misconfigured, VaultDamaged, OSError) as error:
        log.warning("%s is put back: %s", delivery.delivery_id, error)
        desk.ledger.defer(delivery.delivery_id, str(error), desk.who, again_after_seconds=10)
        return None
    except Exception:
        # a mistake of ours that this file brings out counts like a death: others go on, and it ends in a verdict
        log.exception("%s could not be judged", delivery.delivery_id)
        return None
    reached("judge.judged")
    return judged


def _judge_apart(desk: Desk, delivery: Delivery) -> None:
    """Judge in a process that may die: with limits on memory and time. Its death is a verdict."""
    settings = desk.settings
    command = [sys.executable, "-m", "quality.judging", delivery.delivery_id]
    environment = {**os.environ, **settings.environment()}
    try:
        done = subprocess.run(
            command, env=environment, timeout=settings.judge_seconds, capture_output=True, check=False
        )
        reason = None if done.returncode == 0 else _death(done.returncode)
    except subprocess.TimeoutExpired:
        reason = f"no end after {settings.judge_seconds} s"
    if reason is not None:
        log.error("%s ended its process (%s) and is rejected", delivery.delivery_id, reason)
        desk.reject_unread(delivery, reason)


def _death(returncode: int) -> str:
    return f"signal {signal.Signals(-returncode).name}" if returncode < 0 else f"exit code {returncode}"


def main(arguments: Sequence[str]) -> None:
    """Judge one delivery in this process, under limits; the throw-away end of `_judge_apart`."""
    from storage.settings import GIB

    resource.setrlimit(resource.RLIMIT_DATA, (4 * GIB, 4 * GIB))
    desk = Desk(Settings(), who="judge-apart")
    desk.rejudge(arguments[0])


if __name__ == "__main__":
    main(sys.argv[1:])
