"""Runs that start in a second: a process that has imported everything forks one child per run.

Dagster starts a new interpreter for every run and imports everything again, which takes 5 to 15 s. The template here
imports once and only imports: it opens no database, no instance, and has one Python thread, so that a fork is whole.
Where no template answers, or the code changed since it began, Dagster's own launcher is used.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.storage.dagster_run import DagsterRun
from dagster._grpc.types import ExecuteRunArgs

from storage.priority import give_way
from storage.settings import Settings, project_root

log = logging.getLogger("verbund.launcher")

#: A path of a socket may be no longer on Linux.
_LONGEST = 100
_ANSWER_SECONDS = 2.0
_PID = "verbund/pid"
#: What runs import sooner or later.
_PRELOADED = (
    "quality.receipt.xlsx", "holidays.countries.germany", "quality.judging", "orchestration.reporter", "httpx",
    "orchestration.definitions", "dagster._cli", "dagster._core.execution.api", "quality.expectations_gx",
    "great_expectations", "dbt.cli.main", "dbt.adapters.duckdb", "quality.release", "quality.replay", "quality.pull",
)  # fmt: skip


class ForkedRunLauncher(DefaultRunLauncher):
    """Asks the template of this home for a child; falls back to Dagster's own way of starting runs."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the run, within about a second where a template runs."""
        run = context.dagster_run
        pid = None
        if run.job_code_origin is not None:
            arguments = ExecuteRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref())
            pid = ask_for_child(_socket(Settings()), arguments.get_command_args())
        if pid is None:
            super().launch_run(context)
            return
        self._instance.add_run_tags(run.run_id, {_PID: str(pid)})
        self._run_ids.add(run.run_id)

    def terminate(self, run_id: str) -> bool:
        """Interrupt the child, which then says that it was cancelled."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or _PID not in run.tags:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        self._instance.report_run_canceling(run)
        try:
            os.kill(int(run.tags[_PID]), signal.SIGINT)
        except ProcessLookupError:
            self._instance.report_run_canceled(run)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Children are looked at by their process id."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the child still lives; nothing is known of runs that Dagster started its own way."""
        if _PID not in run.tags:
            return CheckRunHealthResult(WorkerStatus.UNKNOWN)
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(run.tags[_PID]), 0)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "the process of this run is gone")


def ask_for_child(address: Path, arguments: Sequence[str]) -> int | None:
    """Ask the template at an address to run a command in a child; returns its process id, None where there is none."""
    if len(str(address)) > _LONGEST or not address.exists():
        return None
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(_ANSWER_SECONDS)
            door.connect(str(address))
            door.sendall(json.dumps(list(arguments)).encode() + b"\n")
            answer = door.makefile("rb").readline()
    except OSError:
        return None
    return int(answer) if answer.strip().isdigit() else None


# --- the template ---


def serve(settings: Settings) -> None:
    """Be the template: import everything, then fork a child for each request until the process is ended."""
    address = _socket(settings)
    if len(str(address)) > _LONGEST:
        log.warning("%s is too long for a socket; runs are started Dagster's way", address)
        return
    stamp = code_stamp(settings)
    for name in _PRELOADED:
        importlib.import_module(name)
    _parse_project()
    if threading.active_count() > 1:
        # allocators' own threads know about forks, Python's would be missing in the child with their locks held
        log.warning("an import started threads; runs are started Dagster's way")
        return
    # children are not waited for, how they end is in the run's own events
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(address))
        address.chmod(0o600)
        door.listen(16)
        log.info("ready")
        while True:
            caller, _ = door.accept()
            with caller:
                if code_stamp(settings) != stamp:
                    address.unlink(missing_ok=True)
                    caller.close()
                    log.info("the code changed; starting anew")
                    os.execv(sys.executable, [sys.executable, "-m", "orchestration.forking"])
                caller.settimeout(_ANSWER_SECONDS)
                with contextlib.suppress(OSError, ValueError):
                    arguments = json.loads(caller.makefile("rb").readline())
                    pid = os.fork()
                    if pid == 0:
                        _be_child(door, caller, arguments)
                    caller.sendall(f"{pid}\n".encode())


def code_stamp(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Changes with any file a run is made of: our packages, the models, the region pack."""
    root = project_root()
    folders = [root / name for name in ("orchestration", "quality", "storage", "transformations")]
    files = (file for folder in [*folders, settings.region_dir] for file in folder.rglob("*"))
    wanted = (".py", ".yml", ".sql", ".csv")
    return tuple(sorted((str(f), f.stat().st_mtime_ns) for f in files if f.suffix in wanted and f.is_file()))


def _be_child(door: socket.socket, caller: socket.socket, arguments: Sequence[str]) -> None:
    """Run `dagster api execute_run …` in this fork and end; never returns."""
    code = 1
    try:
        os.setsid()
        # the new session gives way as the template does
        give_way(os.getpriority(os.PRIO_PROCESS, 0))
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        door.close()
        caller.close()
        from dagster._cli import main

        sys.argv = list(arguments)
        try:
            main()  # type: ignore[no-untyped-call]
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _parse_project() -> None:
    """Let dbt parse the project here, so that no run has to."""
    from quality import foundation

    with contextlib.suppress(foundation.FoundationBroken):
        foundation.select_for("")


def _socket(settings: Settings) -> Path:
    return settings.paths.dagster / "runs.sock"


def main() -> None:
    """Be the template of the home the environment names."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    log.setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(Settings())


if __name__ == "__main__":
    main()
