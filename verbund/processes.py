"""Starting and watching the processes of one machine: intake, judges, portal, mailer, observer, reporter, Dagster's own."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from storage.priority import BACKGROUND, JUDGES, give_way
from storage.settings import Settings, project_root
from verbund.output import err, out

log = logging.getLogger("verbund.processes")

#: A process that ends by itself is started again, at most so often within a minute.
RESTARTS_PER_MINUTE = 5


@dataclass
class Process:
    """What is started, and how often it was."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    niceness: int = 0
    running: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)


def stop_on_signal() -> threading.Event:
    """An event that is set when the process is asked to end."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def processes(settings: Settings, *, host: str, port: int, code_port: int, judges: int) -> list[Process]:
    """Every process of the platform: intake and observer of the server profile, judges, and Dagster's.

    Args:
        settings: Handed to the processes by environment.
        host: Address the web page of Dagster listens on.
        port: Its port.
        code_port: Of Dagster's code server, on this machine only.
        judges: How many.
    """
    from orchestration.instance import processes as dagster_processes

    environment = settings.environment()
    own = [sys.executable, "-m", "verbund.cli"]
    found = [Process("intake", [*own, "intake"], environment)] if settings.is_server else []
    judge = [*own, "judge", "--of", str(judges), "--shard"]
    found += [Process(f"judge-{i}", [*judge, str(i)], environment, JUDGES) for i in range(judges)]
    if (project_root() / "portal" / "web" / "node_modules").is_dir():
        found.append(Process("portal", [*own, "portal"], environment))
    else:
        err.print("the portal is left out: its styles were not fetched; run `make setup`")
    found.append(Process("mailer", [*own, "mailer"], environment, BACKGROUND))
    if settings.is_server or settings.heartbeat_minutes:
        found.append(Process("observer", [*own, "observe"], environment, BACKGROUND))
    return found + [
        Process(command.name, command.arguments, command.environment, BACKGROUND if command.low_priority else 0)
        for command in dagster_processes(settings, host=host, port=port, code_port=code_port)
    ]


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket at this address, waited for while somebody else has it: to end would have the whole platform stopped."""
    while True:
        try:
            return socket.create_server((host, port))
        except OSError as error:
            log.error("%s:%s cannot be listened on (VERBUND_PORTAL_PORT): %s; trying again", host, port, error)
            time.sleep(15)


def become(process: Process) -> NoReturn:
    """Be this process from now on, for whoever else starts and watches processes (systemd)."""
    if process.niceness:
        give_way(process.niceness)
    os.execve(process.command[0], list(process.command), _environment(process))


def supervise(settings: Settings, *, host: str, port: int, judges: int) -> int:
    """Start all processes, start again what ends, and end them all on a signal. Returns the exit code."""
    home = settings.paths.create()
    home.logs.mkdir(parents=True, exist_ok=True)
    started = processes(settings, host=host, port=port, code_port=_free_port(), judges=judges)
    stop = stop_on_signal()
    out.print(f"Portal:      http://{settings.portal_host}:{settings.portal_port}   (first: verbund user invite)")
    out.print(f"Dagster UI:  http://{host}:{port}")
    if settings.is_server:
        inboxes = f"{settings.s3_endpoint}/{settings.s3_bucket}/inbox/<supplier>/   (receipts in receipts/<supplier>/)"
    else:
        inboxes = f"{home.inboxes}/<supplier>/   (drop a file, the receipt appears beside it)"
    out.print(f"Inboxes:     {inboxes}", markup=False)
    out.print(f"Logs:        {home.logs}", markup=False)
    out.print("End with Ctrl-C.")
    try:
        for process in started:
            _start(process, home.logs)
        while not stop.wait(0.5):
            for process in started:
                if process.running is None or process.running.poll() is None:
                    continue
                log = home.logs / f"{process.name}.log"
                err.print(f"{process.name} ended with {process.running.returncode}, see {log}", markup=False)
                if not _may_start(process):
                    err.print(f"{process.name} keeps ending; all is stopped.", markup=False)
                    return 3
                _start(process, home.logs)
    finally:
        _end(started)
    return 0


def _free_port() -> int:
    """A port of this machine nobody listens on, for Dagster's code server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(process: Process, logs: Path) -> None:
    with (logs / f"{process.name}.log").open("ab") as log:
        process.running = subprocess.Popen(
            process.command, env=_environment(process), stdout=log, stderr=log, start_new_session=True
        )
    if process.niceness:
        give_way(process.niceness, process.running.pid)
    process.starts.append(time.monotonic())


def _environment(process: Process) -> dict[str, str]:
    # whoever starts the platform may hold what the administrator may do; no process of it needs that
    ours = {name: value for name, value in os.environ.items() if not name.startswith("VERBUND_ADMIN_")}
    return {**ours, "PYTHONUNBUFFERED": "1", **process.environment}


def _may_start(process: Process) -> bool:
    recent = [at for at in process.starts if at > time.monotonic() - 60]
    return len(recent) < RESTARTS_PER_MINUTE


def _end(processes: Sequence[Process]) -> None:
    """Ask every process and its children to end, then insist."""
    for process in processes:
        if process.running is not None and process.running.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.running.pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    for process in processes:
        if process.running is None:
            continue
        try:
            process.running.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.running.pid, signal.SIGKILL)
