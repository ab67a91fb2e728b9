from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

AUTOGROUP = Path("/proc/self/autogroup")

SAY = """
import os
from pathlib import Path
from storage.priority import BACKGROUND, give_way
give_way(BACKGROUND)
def say():
    print(os.getpriority(os.PRIO_PROCESS, 0), Path("/proc/self/autogroup").read_text().split()[-1], flush=True)
say()
child = os.fork()
if child == 0:
    os.setsid()
    say()
    give_way(os.getpriority(os.PRIO_PROCESS, 0))
    say()
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_process_gives_way_by_its_own_niceness_and_by_its_sessions() -> None:
    if not AUTOGROUP.exists():
        pytest.skip("this kernel does not group processes by session (no /proc/self/autogroup)")
    done = subprocess.run(
        [sys.executable, "-c", SAY], capture_output=True, text=True, check=True, start_new_session=True
    )
    # in the middle: a new session's group gives way to nobody, whatever its only process says
    assert done.stdout.splitlines() == ["10 10", "10 0", "10 10"]


def test_what_a_process_may_not_change_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from storage.priority import give_way

    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbidden)
    monkeypatch.setattr(Path, "write_text", forbidden)
    give_way(19)
