"""What one supplier's poison or flood costs the others: their verdicts, their rows, and how long they wait.

Four suppliers deliver small files one after the other, on servers nobody disturbs and then beside a fifth one who sends
files that cannot be read (an hour in the kept results), 10,000 files, or one of 2 GB. Intake, two judges, store, front and
database share the machine. The fifth one's own program would run elsewhere; here it gives way to all others. Needs what
`.ci/servers` installs.
"""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path

from benchmarks.files import small_file, write_quarter_hours
from benchmarks.measure import Result, Spread, fresh, say
from benchmarks.region import LOAD_PROFILE_YEAR, METERS, SMALL, depot, write_region
from benchmarks.server_deliveries import put
from storage import lake, stores
from storage.ledger.ledger import Ledger
from tests.faults.harness import Installation, installation
from tests.support.poison import poisons

GOAL = 2.0
NEIGHBOURS, OFFENDER = 4, 5
FIRST_YEAR = 1960
#: How long poison is sent, in minutes.
MINUTES = float(os.environ.get("VERBUND_BENCH_POISON_MINUTES", "60"))


def measure(folder: Path, *, quick: bool) -> list[Result]:
    minutes, files, size = (0.5, 200, 50) if quick else (MINUTES, 10_000, 2_000)
    region = write_region(folder / "region", OFFENDER)
    with running(folder / "calm", region) as to:
        calm = deliver(to, itertools.repeat(0.2, 20 if quick else 120))
        calm_end = end_of(to, len(calm.keys))
    found = []
    for what, offend in (
        (f"poison of one supplier for {minutes:g} minutes", lambda to, stop: send_poison(to, stop)),
        (f"{files:,} files of one supplier", lambda to, stop: send_many(to, stop, files)),
        (f"one file of {size:,} MB of one supplier", lambda to, stop: send_large(to, folder, size)),
    ):
        seconds = minutes * 60 if what.startswith("poison") else (20.0 if quick else 180.0)
        with running(folder / "disturbed", region) as to:
            beside, told = disturbed(to, offend, seconds, len(calm.keys))
            same = end_of(to, len(calm.keys)) == calm_end
        ratio = beside.spread.median / calm.spread.median
        say(f"beside {what}: {beside.spread.told()}, p95 {beside.spread.p95:.2f} s, {ratio:.2f} ×, {told}")
        found.append(
            Result(
                "neighbours",
                f"four suppliers beside {what}",
                f"the same verdicts and rows; time to verdict at most {GOAL:g} × undisturbed",
                f"{'the same' if same else 'OTHER'} verdicts and rows, {ratio:.2f} ×",
                None if quick else same and ratio <= GOAL,
                f"undisturbed: {calm.spread.told()}, p95 {calm.spread.p95:.2f} s",
                [f"beside it: {beside.spread.told()}, p95 {beside.spread.p95:.2f} s", told],
                "Intake, two judges, store, front, database and those who send share two cores; no judge waits for the "
                "offender's files, but both use the same cores.",
            )
        )
    return found


@dataclass
class Delivered:
    """Seconds from put to receipt of each file, and the files."""

    seconds: list[float] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    @property
    def spread(self) -> Spread:
        return Spread(self.seconds[2:])


@contextmanager
def running(folder: Path, region: Path) -> Iterator[Installation]:
    with installation(fresh(folder), region) as to:
        warm = put(to, 1, FIRST_YEAR - 1, 1)
        wait(to, warm)
        yield to


def deliver(
    to: Installation, pauses: Iterator[float] | Sequence[float], stop: threading.Event | None = None
) -> Delivered:
    """Small files of the neighbours, one after the other, the same ones in every run."""
    done = Delivered()
    for nth, pause in enumerate(pauses):
        if stop is not None and stop.is_set():
            break
        supplier, month = nth % NEIGHBOURS + 1, nth // NEIGHBOURS
        began = time.perf_counter()
        receipt = put(to, supplier, FIRST_YEAR + month // 12, month % 12 + 1)
        wait(to, receipt)
        done.seconds.append(time.perf_counter() - began)
        done.keys.append(receipt)
        time.sleep(pause)
    return done


def disturbed(
    to: Installation, offend: Callable[[Installation, Event], str], seconds: float, files: int
) -> tuple[Delivered, str]:
    """The neighbours' deliveries while somebody offends; at least as many as undisturbed, spread over the time."""
    processes = multiprocessing.get_context("fork")
    stop, told = processes.Event(), processes.SimpleQueue()

    def send() -> None:
        os.nice(19)
        told.put(offend(to, stop))

    offender = processes.Process(target=send)
    offender.start()
    time.sleep(2.0)
    until = time.monotonic() + seconds
    pause = max(0.2, seconds / files - 1.0)
    done = deliver(to, _until(until, files, pause))
    stop.set()
    offender.join()
    ledger = Ledger(to.settings.ledger_url)
    offenders = [view for view in ledger.deliveries() if view.supplier in (depot(OFFENDER), METERS)]
    judged = sum(view.verdict_state is not None for view in offenders)
    ledger.close()
    return done, f"{told.get()}; {len(offenders)} received and {judged} of them judged by then"


def _until(until: float, files: int, pause: float) -> Iterator[float]:
    """Pauses: at least for so many files, and until the time is over."""
    for nth in itertools.count():
        if nth >= files and time.monotonic() >= until:
            return
        yield pause


def send_poison(to: Installation, stop: Event) -> str:
    sent = 0
    for ending, content in poisons():
        if stop.is_set():
            break
        # every fourth is another attempt at a slot that got one already
        month = sent * 3 // 4
        key = f"{depot(OFFENDER)}/gruenabfall_{1900 + month // 12 % 100}-{month % 12 + 1:02d}_{sent}{ending}"
        _put(to, key, io.BytesIO(content), len(content))
        sent += 1
        stop.wait(1.0)
    return f"{sent} files of poison"


def send_many(to: Installation, stop: threading.Event, files: int) -> str:
    for nth in range(files):
        content = small_file(OFFENDER, 1900 + nth // 12 % 50, nth % 12 + 1, salt=nth)
        key = f"{depot(OFFENDER)}/gruenabfall_{1900 + nth // 12 % 50}-{nth % 12 + 1:02d}_{nth}.csv"
        _put(to, key, io.BytesIO(content), len(content))
    return f"{files} files put"


def send_large(to: Installation, folder: Path, megabytes: int) -> str:
    file = folder / "large.csv"
    if not file.exists():
        write_quarter_hours(file, megabytes * 1_000_000 // 66)
    with file.open("rb") as content:
        _put(to, f"{METERS}/{LOAD_PROFILE_YEAR}/2025/large.csv", content, file.stat().st_size)
    return f"one file of {file.stat().st_size / 1e6:,.0f} MB put"


def wait(to: Installation, receipt: str) -> None:
    answers, until = stores.receipts(to.settings), time.perf_counter() + 300
    while not answers.exists(receipt):
        if time.perf_counter() > until:
            raise TimeoutError(f"no {receipt} after 300 s")
        time.sleep(0.02)


def end_of(to: Installation, files: int) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Verdicts and accepted rows of the neighbours' first files, without what differs from run to run."""
    slots = {
        (depot(nth % NEIGHBOURS + 1), f"{FIRST_YEAR + month // 12}-{month % 12 + 1:02d}")
        for nth, month in ((nth, nth // NEIGHBOURS) for nth in range(files))
    }
    ledger = Ledger(to.settings.ledger_url)
    verdicts = sorted(
        (view.delivery_id, view.state, tuple(sorted((view.rows or {}).items())))
        for view in ledger.deliveries()
        if (view.supplier, view.period) in slots
    )
    ledger.close()
    connection = lake.connect(to.settings)
    lake.attach(connection, to.settings, "accepted", read_only=True)
    rows = connection.execute(
        f"""
        select supplier_id, period, delivery_id, count(*), sum(hash(rows)) from accepted.{SMALL} as rows
        group by all order by all
        """
    ).fetchall()
    connection.close()
    return verdicts, [row for row in rows if row[:2] in slots]


def _put(to: Installation, key: str, content: io.BufferedIOBase, length: int) -> None:
    to.inbox.access.client().put_object(
        bucket_name=to.settings.s3_bucket, object_name=f"inbox/{key}", data=content, length=length
    )
