"""A result, how it is told, and how numbers become one: medians, spread, and a process of its own for a measurement."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from storage.settings import project_root


@dataclass
class Result:
    """One row of the results.

    Attributes:
        name: The module that measured it.
        what: What was measured, with its size.
        goal: What the design asks for; empty where it asks for nothing.
        measured: The ratio or figure that is held against the goal, as text.
        met: Whether it is; None where there is no goal, or the measurement was too small to say.
        beside: The baseline and its figure.
        details: Further figures, one a line.
        missed_because: Why the goal is missed and what would mend it.
    """

    name: str
    what: str
    goal: str
    measured: str
    met: bool | None
    beside: str
    details: list[str] = field(default_factory=list)
    missed_because: str = ""
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Spread:
    """Median, 95th percentile and extremes of a few measurements."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]

    def told(self, unit: str = "s", digits: int = 2) -> str:
        low, high = min(self.values), max(self.values)
        return f"{self.median:.{digits}f} {unit} ({low:.{digits}f}–{high:.{digits}f}, n={len(self.values)})"


def in_child(*arguments: str) -> dict[str, Any]:
    """Run a job of `benchmarks.child` in a process of its own, so that its peak memory is its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.child", *arguments],
        cwd=project_root(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"benchmarks.child {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}"
        )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(f"  {text}", flush=True)


def fresh(folder: Path) -> Path:
    """An empty folder in place of whatever was there."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
