"""From the verdict's receipt to the engineer's grid and to the mart, with everything running as `verbund up` starts it.

One small file at a time: receipt, recorded in Dagster, visible in the published foundation. Then a burst: how long
after the last receipt the last delivery is recorded. Nothing is started by hand; automation does what it does.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.files import small_file
from benchmarks.judge_process import drop, verdict_receipt, wait_for
from benchmarks.measure import Result, Spread, fresh, say
from benchmarks.region import SMALL, depot, home
from quality import foundation
from storage import lake
from storage.ledger.ledger import Ledger
from storage.paths import delivery_id
from storage.settings import Settings, project_root

DEPOTS = 20
YEAR = 2020
SHOWN_GOAL, MART_GOAL = 90.0, 60.0


def measure(folder: Path, *, quick: bool) -> list[Result]:
    samples, files = (2, 30) if quick else (6, 500)
    settings = home(fresh(folder / "verbund"), depots=DEPOTS)
    receipt, shown, mart = [], [], []
    with everything(settings):
        ledger = Ledger(settings.ledger_url)
        for nth in range(samples + 1):
            began = time.perf_counter()
            delivery = send(settings, nth)
            told = wait_for(verdict_receipt(settings, delivery))
            recorded = until(lambda: not ledger.unreported(1), 300)
            seen = until(functools.partial(in_mart, settings, delivery), 300)
            if nth:  # the first waits for the full build of a new home
                receipt.append(told - began)
                shown.append(recorded - told)
                mart.append(seen - told)
                say(
                    f"receipt {receipt[-1]:.2f} s, in Dagster {shown[-1]:.1f} s later, in the mart {mart[-1]:.1f} s later"
                )
        sent = [send(settings, 40 + nth) for nth in range(files)]
        last = max(wait_for(verdict_receipt(settings, delivery), 900) for delivery in sent)
        lag = until(lambda: not ledger.unreported(1), 900) - last
        say(f"burst of {files}: all in Dagster {lag:.0f} s after the last receipt")
        burst_mart = until(lambda: in_mart(settings, sent[-1]), 300) - last
        ledger.close()
    receipts, grid, marts = Spread(receipt), Spread(shown), Spread(mart)
    return [
        Result(
            "visible",
            f"burst of {files} small deliveries until all are in Dagster",
            f"within {SHOWN_GOAL:.0f} s of the last receipt",
            f"{lag:.0f} s",
            None if quick else lag <= SHOWN_GOAL,
            "nothing: there is no default way that answers first and records later",
            [f"the burst's last delivery is in the mart {burst_mart:.0f} s after the last receipt"],
            "Each recorded delivery is some 20 rows in Dagster's SQLite event log, beside judge and builds on two cores.",
        ),
        Result(
            "visible",
            "one small delivery until it is in the mart, everything running",
            f"within {MART_GOAL:.0f} s",
            marts.told("s", 1),
            None if quick else marts.p95 <= MART_GOAL,
            "nothing: see the row above",
            [
                f"inbox to receipt meanwhile: {receipts.told()}",
                f"receipt to Dagster's grid: {grid.told('s', 1)}",
            ],
            "Automation looks every few seconds and starts a run; more cores shorten both.",
        ),
    ]


@contextlib.contextmanager
def everything(settings: Settings) -> Iterator[None]:
    """`verbund up` on this home until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "VERBUND_HOME": str(settings.home), "VERBUND_REGION": str(settings.region_dir)}
    settings.paths.create()
    with (settings.home / "up.log").open("wb") as log:
        command = [sys.executable, "-m", "verbund.cli", "up", "--port", str(port)]
        up = subprocess.Popen(command, cwd=project_root(), env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(120)


def send(settings: Settings, nth: int) -> str:
    """Drop the small file of a slot into its inbox; returns the delivery it becomes."""
    year, month = YEAR + nth // DEPOTS // 12, nth // DEPOTS % 12 + 1
    supplier, period = nth % DEPOTS + 1, f"{year}-{month:02d}"
    drop(settings, depot(supplier), f"gruenabfall_{period}.csv", small_file(supplier, year, month))
    return delivery_id(depot(supplier), SMALL, period, 1)


def in_mart(settings: Settings, delivery: str) -> bool:
    """Whether the published foundation holds rows of a delivery."""
    state = foundation.current(settings)
    if state is None:
        return False
    with contextlib.closing(lake.connect(settings, threads=1, memory_mb=256)) as connection:
        lake.attach(connection, settings, "foundation", read_only=True, snapshot=state.foundation)
        found = connection.execute(
            f"select 1 from foundation.main.{SMALL} where delivery_id = ? limit 1", [delivery]
        ).fetchone()
    return found is not None


def until(holds: Callable[[], bool], seconds: float) -> float:
    """Look five times a second until something holds, and return the time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.2)
    return time.perf_counter()
