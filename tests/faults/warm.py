"""A process that has imported everything and forks the platform's processes, so that killing one costs no ten seconds.

Read from standard input, one JSON object a line: `{"role", "settings", "environment"}`; answered with the child's pid.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Process:
    """A process of the platform, seen from the harness."""

    def __init__(self, role: str, pid: int) -> None:
        self.role, self.pid = role, pid

    @property
    def running(self) -> bool:
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return False
        return state != "Z"

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        try:
            os.kill(self.pid, how)
        except ProcessLookupError:
            return
        while self.running:
            time.sleep(0.005)


class Warm:
    """The warm parent, seen from the harness."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.warm"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log, text=True,
        )  # fmt: skip

    def start(self, role: str, settings: Mapping[str, str], **environment: str) -> Process:
        """Fork a process of the platform: `judge-0`, `judge-1`, `intake`, `reporter`, `daemon`."""
        assert self._process.stdin and self._process.stdout
        asked = {"role": role, "settings": dict(settings), "environment": environment}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Process(role, int(self._process.stdout.readline()))

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._log.close()


def _be(role: str, environment: Mapping[str, str]) -> None:
    import logging

    from storage.priority import BACKGROUND, JUDGES, give_way

    os.environ.update(environment)
    # as `verbund up` starts them
    give_way({"judge": JUDGES, "reporter": BACKGROUND}.get(role.partition("-")[0], 0))
    if role == "daemon":
        _be_the_daemon()
        return
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {role} %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if jump := float(environment.get("FAULTS_CLOCK_JUMP", "0")):
        _jump(timedelta(seconds=jump))
    if limit := int(environment.get("FAULTS_FILE_BYTES", "0")):
        import resource

        # writing past it fails as a full disk does, and kills nobody
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    from orchestration import reporter
    from quality import intake, judging
    from storage.settings import Settings

    if role == "intake":
        intake.run(Settings(), stop=stop)
    elif role == "reporter":
        reporter.run(Settings(), stop)
    else:
        judging.run(Settings(), shard=(int(role.rpartition("-")[2]), 2), stop=stop)


def _be_the_daemon() -> None:
    """Dagster's own, as `orchestration.instance.processes` has it started."""
    from dagster._daemon.cli import run_command

    workspace = Path(os.environ["DAGSTER_HOME"]) / "workspace.yaml"
    run_command.main(["-w", str(workspace)], standalone_mode=False)


def _jump(by: timedelta) -> None:
    """Let this process' clock be wrong."""
    from storage import clock
    from storage.ledger import ledger

    class Jumped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + by

    ledger.datetime = Jumped  # type: ignore[misc]
    clock.now = lambda: datetime.now(UTC) + by


def _main() -> None:
    import dagster._daemon.cli  # noqa: F401
    import great_expectations  # noqa: F401
    import polars  # noqa: F401
    import psycopg  # noqa: F401

    import orchestration.reporter  # noqa: F401
    import storage.arrivals
    import storage.objects.s3
    import storage.readers.csv  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            os.dup2(2, 1)
            os.setsid()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                _be(asked["role"], {**asked["settings"], **asked["environment"]})
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    _main()
