"""A judge as `verbund up` starts it, and files that reach it through an inbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quality.receipt import receipt_stem
from storage.settings import Settings, project_root


@contextmanager
def judging(settings: Settings, judges: int = 1) -> Iterator[None]:
    """Judges of this home in processes of their own, warm when this begins."""
    environment = {**os.environ, "VERBUND_HOME": str(settings.home), "VERBUND_REGION": str(settings.region_dir)}
    settings.paths.create().logs.mkdir(parents=True, exist_ok=True)
    processes = []
    try:
        for nth in range(judges):
            log = (settings.paths.logs / f"judge-{nth}.log").open("wb")
            command = [sys.executable, "-m", "verbund.cli", "judge", "--shard", str(nth), "--of", str(judges)]
            processes.append(subprocess.Popen(command, cwd=project_root(), env=environment, stdout=log, stderr=log))
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(30)


def drop(settings: Settings, supplier: str, name: str, content: bytes) -> None:
    """Lay a file into an inbox the way a client does: under a hidden name first, then renamed."""
    inbox = settings.paths.inbox(supplier)
    inbox.mkdir(parents=True, exist_ok=True)
    hidden = inbox / f".{name}.part"
    hidden.write_bytes(content)
    hidden.rename(inbox / name)


def verdict_receipt(settings: Settings, delivery: str) -> Path:
    """The file of a delivery's second receipt that is written last."""
    supplier = delivery.split("--", 1)[0]
    return settings.paths.receipts(supplier) / f"{receipt_stem(delivery)}.json"


def wait_for(path: Path, seconds: float = 60.0) -> float:
    """Wait until a file is there and return the time; looked at every 5 ms."""
    until = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"{path} did not appear within {seconds} s")
        time.sleep(0.005)
    return time.perf_counter()
