"""Runs the Dagster baseline: its daemon in a process of its own, files laid into its folder, receipts awaited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.files import small_file
from benchmarks.judge_process import wait_for
from benchmarks.measure import fresh, say
from storage.settings import project_root

_INSTANCE = """\
telemetry: {enabled: false}
run_queue: {max_concurrent_runs: 2, dequeue_interval_seconds: 1}
"""


@contextmanager
def running(folder: Path, *, postgres_url: str | None = None) -> Iterator[Path]:
    """The daemon over a folder with `inbox/` and `receipts/`; ready for its first file when this begins.

    Args:
        folder: Made anew.
        postgres_url: Database of Dagster's storage; without it the default, SQLite.
    """
    fresh(folder)
    for name in ("inbox", "receipts", "accepted", "dagster"):
        (folder / name).mkdir()
    storage = f"storage: {{postgres: {{postgres_url: '{postgres_url}'}}}}\n" if postgres_url else ""
    (folder / "dagster" / "dagster.yaml").write_text(_INSTANCE + storage, encoding="utf-8")
    environment = {**os.environ, "DAGSTER_HOME": str(folder / "dagster"), "BENCHMARK_FOLDER": str(folder)}
    with (folder / "daemon.log").open("wb") as log:
        command = [sys.executable, "-m", "dagster._daemon", "run", "-m", "benchmarks.dagster_baseline"]
        daemon = subprocess.Popen(
            command, cwd=project_root(), env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        # the first file pays for the start of the daemon and is not counted
        lay(folder, "warm", 0)
        try:
            wait_for(folder / "receipts" / "warm.json", 180)
        except TimeoutError as error:
            raise RuntimeError((folder / "daemon.log").read_text(errors="replace")[-3000:]) from error
        yield folder
    finally:
        daemon.send_signal(signal.SIGINT)
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(daemon.pid, signal.SIGKILL)


def lay(folder: Path, name: str, salt: int) -> None:
    hidden = folder / "inbox" / f".{name}.part"
    hidden.write_bytes(small_file(1, 2025, 1, salt=salt))
    hidden.rename(folder / "inbox" / f"{name}.csv")


def latencies(folder: Path, samples: int) -> list[float]:
    """Seconds from a file's arrival to its receipt, one file at a time."""
    spent = []
    for nth in range(samples):
        time.sleep(1.3 * (nth % 3))  # not in step with the sensor
        began = time.perf_counter()
        lay(folder, f"single-{nth}", nth)
        spent.append(wait_for(folder / "receipts" / f"single-{nth}.json", 180) - began)
        say(f"baseline, one file: {spent[-1]:.1f} s")
    return spent


def burst(folder: Path, files: int) -> float:
    """Files a second in a burst, from the first receipt to the last, so that the first wait is not counted."""
    for nth in range(files):
        lay(folder, f"burst-{nth}", 1000 + nth)
    seen: list[float] = []
    began = time.perf_counter()
    while len(seen) < files:
        there = sum((folder / "receipts" / f"burst-{nth}.json").exists() for nth in range(files))
        seen += [time.perf_counter()] * (there - len(seen))
        if time.perf_counter() - began > 600:
            raise TimeoutError(f"{files - len(seen)} receipts of the baseline are missing after 600 s")
        time.sleep(0.02)
    rate = (files - 1) / (seen[-1] - seen[0])
    say(f"baseline, burst of {files}: {rate:.2f} files a second")
    return rate
