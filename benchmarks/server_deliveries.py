"""Small deliveries in the server profile: from a supplier's put, by plain S3 through the front, to the receipt object.

Real PostgreSQL, MinIO behind HAProxy with TLS, an intake, two judges and the reporter, all on this machine. The baseline is
one default Dagster run per file with GX on pandas (`benchmarks.dagster_baseline`), its storage in the same PostgreSQL.
Needs what `.ci/servers` installs.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import baseline
from benchmarks.files import small_file
from benchmarks.measure import Result, Spread, fresh, say
from benchmarks.region import depot, write_region
from storage import stores
from storage.ledger.ledger import Ledger
from storage.settings import project_root
from tests.faults.harness import Installation, installation

DEPOTS = 20
FIRST_YEAR = 1960


def measure(folder: Path, *, quick: bool) -> list[Result]:
    samples, files, base_samples, base_files = (5, 40, 1, 3) if quick else (40, 500, 3, 8)
    region = write_region(folder / "region", DEPOTS)
    with installation(fresh(folder / "verbund"), region) as to:
        to.postgres.sql("create database baseline;")
        url = to.postgres.url("baseline").replace("postgresql://", "postgresql+psycopg2://")
        with baseline.running(folder / "baseline", postgres_url=url) as running:
            alone = Spread(baseline.latencies(running, base_samples))
            base_rate = baseline.burst(running, base_files)
        with reporting(to):
            spent = Spread(latencies(to, samples))
            say(f"put to receipt: {spent.told()}, p95 {spent.p95:.2f} s")
            rate, told_after = burst(to, files)
    return [
        Result(
            "server_deliveries",
            "supplier's put → receipt object, one file of 300 rows and 13 rules, Dagster told meanwhile",
            "p50 at most 1 s, p95 at most 2.5 s",
            f"p50 {spent.median:.2f} s, p95 {spent.p95:.2f} s",
            None if quick else spent.median <= 1.0 and spent.p95 <= 2.5,
            f"one default Dagster run per file on the same PostgreSQL: {alone.told()}",
            [],
            "Store, front, database, intake, two judges and reporter share two cores.",
        ),
        Result(
            "server_deliveries",
            f"burst of {files} files of {DEPOTS} suppliers, all receipts in the store",
            "at least 20 × the throughput of the baseline",
            f"{rate / base_rate:.0f} ×",
            None if quick else rate >= 20 * base_rate,
            f"the same baseline, burst of {base_files}: {base_rate:.2f} files a second",
            [f"{rate:.1f} files a second", f"all told to Dagster {told_after:.0f} s after the last receipt"],
            "The putting itself takes part of the two cores.",
        ),
    ]


def latencies(to: Installation, samples: int) -> list[float]:
    """Seconds from the beginning of a put to its receipt; the first two are not counted."""
    spent = []
    for nth in range(samples + 2):
        supplier, month = nth % DEPOTS + 1, nth // DEPOTS + 1
        time.sleep(0.2)
        began = time.perf_counter()
        receipt = put(to, supplier, FIRST_YEAR, month)
        wait_for_receipts(to, [receipt])
        spent.append(time.perf_counter() - began)
    return spent[2:]


def burst(to: Installation, files: int) -> tuple[float, float]:
    """Files a second from the first receipt to the last, and seconds until Dagster was told of all."""
    waiting = []
    for nth in range(files):
        month = nth // DEPOTS
        waiting.append(put(to, nth % DEPOTS + 1, FIRST_YEAR + 20 + month // 12, month % 12 + 1))
    began = time.perf_counter()
    last, rate = wait_for_receipts(to, waiting)
    ledger = Ledger(to.settings.ledger_url)
    while ledger.unreported(1):
        if time.perf_counter() - last > 600:
            raise TimeoutError("Dagster was not told within 600 s")
        time.sleep(0.2)
    ledger.close()
    say(f"burst of {files}: {rate:.1f} files a second, {last - began:.1f} s from the last put to the last receipt")
    return rate, time.perf_counter() - last


def put(to: Installation, supplier: int, year: int, month: int, *, salt: int = 0) -> str:
    """Put a file as its supplier does, another salt for another attempt; returns the key of its receipt."""
    content = small_file(supplier, year, month, salt=salt)
    key = f"{depot(supplier)}/gruenabfall_{year}-{month:02d}{f'_{salt}' if salt else ''}.csv"
    to.inbox.access.client().put_object(
        bucket_name=to.settings.s3_bucket, object_name=f"inbox/{key}", data=io.BytesIO(content), length=len(content)
    )
    return f"{key}.quittung.html"


def wait_for_receipts(to: Installation, keys: list[str]) -> tuple[float, float]:
    """Wait for all; returns when the last one was seen, and how many a second came between the first and the last."""
    answers, began, seen = stores.receipts(to.settings), time.perf_counter(), []
    waiting = set(keys)
    while waiting:
        if len(keys) == 1:
            there = waiting if answers.exists(keys[0]) else set()
        else:
            there = waiting & {info.key for info in answers.list()}
            time.sleep(0.5)
        seen += [time.perf_counter()] * len(there)
        waiting -= there
        if time.perf_counter() - began > 900:
            raise TimeoutError(f"{len(waiting)} receipts are missing after 900 s, among them {min(waiting)}")
        time.sleep(0.01)
    rate = (len(keys) - 1) / (seen[-1] - began) if len(keys) > 1 else 0.0
    return seen[-1], rate


@contextmanager
def reporting(to: Installation) -> Iterator[None]:
    """The reporter beside it, as `verbund up` starts it."""
    import os

    with (to.settings.home.parent / "reporter.log").open("wb") as log:
        reporter = subprocess.Popen(
            [sys.executable, "-m", "orchestration.reporter"],
            cwd=project_root(),
            env={**os.environ, **to.settings.environment()},
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        reporter.terminate()
        reporter.wait(30)
