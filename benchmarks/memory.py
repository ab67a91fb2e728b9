"""Peak memory of the accept path as the file grows: one process per size, resident memory as the system counts it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.files import write_quarter_hours
from benchmarks.measure import Result, fresh, in_child, say

GOAL_MB = 1024


def measure(folder: Path, *, quick: bool) -> list[Result]:
    sizes = (300_000, 1_000_000) if quick else (1_000_000, 10_000_000, 50_000_000)
    peaks, details = [], []
    for rows in sizes:
        file = folder / "quarter_hours.csv"
        lines = write_quarter_hours(file, rows)
        told = in_child("accept", str(file), str(fresh(folder / "work")))
        file.unlink()
        fresh(folder / "work")
        peaks.append(told["peak_mb"])
        details.append(
            f"{lines:,} rows: {told['peak_mb']:,.0f} MB ({told['warm_mb']:,.0f} MB before), {told['seconds']:.0f} s"
        )
        say(details[-1])
    return [
        Result(
            "memory",
            f"peak memory of the accept path at {', '.join(f'{rows:,}' for rows in sizes)} rows",
            f"at most {GOAL_MB} MiB, whatever the size",
            f"{max(peaks):,.0f} MiB",
            None if quick else max(peaks) <= GOAL_MB,
            "its own peak at the smallest size: " + f"{peaks[0]:,.0f} MiB",
            details,
            "The process holds 450 MB before it begins; DuckDB may use 480 MB beside that, and does while keys are compared.",
        )
    ]
