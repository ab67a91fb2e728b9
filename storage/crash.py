"""Named points at which a test may end the process, to prove that every step can be repeated.

Outside tests nothing happens here: the environment variable `VERBUND_CRASH_AT` is not set.
"""

from __future__ import annotations

import os
import signal

_passes: dict[str, int] = {}


def reached(point: str) -> None:
    """End the process with SIGKILL if `VERBUND_CRASH_AT` is `point` or `point:n` and this is its n-th pass."""
    wanted = os.environ.get("VERBUND_CRASH_AT")
    if not wanted:
        return
    name, _, count = wanted.partition(":")
    if name == point:
        _passes[point] = _passes.get(point, 0) + 1
        if _passes[point] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
