"""The portal as a process of its own, to look at what it costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from storage.settings import Settings, project_root


@contextmanager
def portal_process(settings: Settings, port: int) -> Iterator[int]:
    """The portal as `verbund up` starts it."""
    environment = {**os.environ, **settings.environment(), "VERBUND_PORTAL_PORT": str(port)}
    command = [sys.executable, "-m", "verbund.cli", "portal"]
    running = subprocess.Popen(command, env=environment, cwd=project_root())
    try:
        until = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/anmelden")
                break
            except httpx.TransportError:
                assert running.poll() is None and time.monotonic() < until
                time.sleep(0.2)
        yield running.pid
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


def resident(pid: int) -> int:
    """Memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
