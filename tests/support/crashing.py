"""Judges that are killed: one warm process that forks a child for every run, because importing costs ten seconds.

The parent (`python -m tests.support.crashing`) imports everything, opens no database and starts no thread; it reads one
JSON line for every run and answers with how the child ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]


class Warm:
    """The warm parent, seen from the tests."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.crashing"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Warm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def judge(self, home: Path, region: Path, *, crash_at: str = "", **environment: str) -> int:
        """Be a judge that starts, answers what is there and ends.

        Returns:
            0, the exit code, or the negative number of the signal that ended it.
        """
        asked = {"home": str(home), "region": str(region), "env": {"VERBUND_CRASH_AT": crash_at, **environment}}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the warm process died"
        return int(json.loads(answer))


def _run(asked: Mapping[str, Any]) -> None:
    from quality.desk import Desk
    from quality.inboxes import Inboxes
    from quality.judging import holding, work_queue
    from tests.support.profiles import settings_for

    os.environ.update(asked["env"])
    settings = settings_for(Path(asked["home"]), asked["region"])
    with holding(settings) as held:
        assert held
        if os.environ.get("VERBUND_TEST_KILLER"):
            _let_a_file_kill(os.environ["VERBUND_TEST_KILLER"])
        desk = Desk(settings)
        desk.ensure_tables(desk.pack)
        desk.write_owed_receipts(desk.ledger.owed_receipts())
        if os.environ.get("VERBUND_TEST_SWEEP"):
            desk.write_missing_receipts()
        Inboxes(desk).sweep()
        work_queue(desk)
        desk.close()


def _let_a_file_kill(name: str) -> None:
    """Reading a file of this name ends the process, as a file that exhausts the memory does."""
    from quality import judge as judging

    original = judging.read

    def read(source: Path, *args: Any, **more: Any) -> Any:
        if more.get("name") == name:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(source, *args, **more)

    judging.read = read  # type: ignore[attr-defined]


def _main() -> None:
    import polars  # noqa: F401

    import quality.expectations_gx
    import quality.judging
    import quality.receipt.html
    import quality.receipt.xlsx  # noqa: F401
    import storage.readers.csv  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            # the answers of the parent are not the child's to give
            os.dup2(2, 1)
            try:
                _run(json.loads(line))
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _main()
