"""Dagster's own storage in `home/dagster`: written anew at every start, may be lost without losing a delivery."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from filelock import FileLock

from storage import database
from storage.settings import Settings, project_root

#: Keeps the template of runs from starting pools of threads when it imports.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LOCATION = "verbund"
MODULE = "orchestration.definitions"
_TEMPLATES = {
    "local": project_root() / "infra" / "dagster" / "dagster.yaml",
    "server": project_root() / "infra" / "dagster" / "dagster.server.yaml",
}


def prepare_instance(settings: Settings) -> Path:
    """Write `dagster.yaml` of this home from the template in `infra/dagster`; returns the folder, `DAGSTER_HOME`.

    Makes the databases of a new home: processes that make them at the same time leave them broken.
    """
    folder = settings.paths.create().dagster
    text = _TEMPLATES[settings.profile].read_text(encoding="utf-8").replace("{dagster_home}", str(folder))
    os.environ.update(_storage(settings))
    made = folder / "storage" / "made"
    made.parent.mkdir(exist_ok=True)
    with FileLock(settings.paths.lock("dagster"), timeout=60):
        _write(folder / "dagster.yaml", text)
        if not made.exists():
            with dg.DagsterInstance.from_config(str(folder)):
                made.touch()
    return folder


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The instance of this home; close it with `dispose` or use it in a `with`."""
    return dg.DagsterInstance.from_config(str(prepare_instance(settings)))


@dataclass(frozen=True)
class Command:
    """A process of the platform: its name, what to run, what to add to the environment, whether it may wait its turn."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    low_priority: bool = False


def processes(settings: Settings, *, port: int = 3000, code_port: int = 3001, host: str = "127.0.0.1") -> list[Command]:
    """What `verbund up` starts for Dagster: code server, web server, daemon, template of runs and reporter, in this order.

    The template may be left out to save 0.5 GB of memory: runs then take some seconds longer to start.

    Args:
        settings: Home and region; handed to the processes by environment.
        port: Of the web page.
        code_port: Of the code server, on this machine only.
        host: Address the web page listens on.
    """
    folder = prepare_instance(settings)
    # JSON is YAML, too
    workspace = folder / "workspace.yaml"
    server = {"grpc_server": {"host": "127.0.0.1", "port": code_port, "location_name": LOCATION}}
    _write(workspace, json.dumps({"load_from": [server]}))
    environment = {
        "DAGSTER_HOME": str(folder),
        **settings.environment(),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(project_root()), os.environ.get("PYTHONPATH", "")])),
        "DO_NOT_TRACK": "1",
        **_storage(settings),
    }
    python = [sys.executable, "-m"]
    at_code = ["-h", "127.0.0.1", "-p", str(code_port)]
    return [
        Command("code", [*python, "dagster", "code-server", "start", "-m", MODULE, *at_code], environment),
        Command("web", [*python, "dagster_webserver", "-w", str(workspace), "-h", host, "-p", str(port)], environment),
        Command("daemon", [*python, "dagster._daemon", "run", "-w", str(workspace)], environment),
        Command("launcher", [*python, "orchestration.forking"], {**environment, **ENVIRONMENT}, low_priority=True),
        Command("reporter", [*python, "orchestration.reporter"], environment, low_priority=True),
    ]


def end_dead_runs(instance: dg.DagsterInstance, *, also: Sequence[str] = ()) -> list[str]:
    """Mark runs as failed whose process is gone, so that none stays "started" for ever; returns their ids.

    A run tells the process it runs in by events; runs that told none are left to Dagster's own monitoring.

    Args:
        instance: Whose runs; all of this machine.
        also: Ids of runs known to be dead.
    """
    ended = []
    going = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    for run in instance.get_runs(dg.RunsFilter(statuses=going)):
        pid = _process_of(instance, run.run_id)
        if run.run_id in also or (pid is not None and not _is_alive(pid)):
            instance.report_run_failed(run, "the process of this run ended without saying so")
            ended.append(run.run_id)
    return ended


def _storage(settings: Settings) -> dict[str, str]:
    """What `dagster.server.yaml` asks the environment for."""
    return {"VERBUND_DAGSTER_URL": database.dagster_url(settings)} if settings.is_server else {}


def _process_of(instance: dg.DagsterInstance, run_id: str) -> int | None:
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
    for record in reversed(records):
        event = record.event_log_entry.dagster_event
        metadata: Mapping[str, Any] = getattr(event.event_specific_data, "metadata", {}) if event else {}
        if "pid" in metadata:
            return int(metadata["pid"].value)
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # a process that ended and was not waited for is dead, too
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return True


def _write(file: Path, text: str) -> None:
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(file)
