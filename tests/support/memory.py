"""How much memory a process took."""

from __future__ import annotations

from pathlib import Path


def peak_mib() -> float:
    """Peak of the resident memory of this process since it was started (Linux), in MiB.

    Not `ru_maxrss`: a process begins with the peak of the one that started it, be it a test run that grew large.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
