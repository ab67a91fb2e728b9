"""The results page: what was measured last of each row, with the machine and the versions it was measured with."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure import Result

PAGE = Path(__file__).parent / "RESULTS.md"
KEPT = Path(__file__).parent / "results.json"
_PACKAGES = (
    "duckdb",
    "polars",
    "great-expectations",
    "dagster",
    "dbt-core",
    "dbt-duckdb",
    "pandas",
    "openpyxl",
    "sqlalchemy",
)
_MET = {True: "met", False: "**missed**", None: "–"}


def line(result: Result) -> str:
    """One result for the terminal."""
    told = [
        f"{result.what}",
        f"    {result.measured}   goal: {result.goal or '–'}   {_MET[result.met]}",
        f"    beside {result.beside}",
    ]
    return "\n".join([*told, *(f"    {detail}" for detail in result.details)])


def keep(name: str, found: Sequence[Result]) -> None:
    """Put the results of a row in place of its earlier ones."""
    kept = _kept()
    kept[name] = {
        "at": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "results": [one.as_dict() for one in found],
    }
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write() -> Path:
    """Write the page from everything kept."""
    from benchmarks.__main__ import APART, ROWS

    kept = _kept()
    rows = [(name, kept[name]) for name in (*ROWS, *APART) if name in kept]
    text = [
        "# What the platform costs",
        "",
        _INTRODUCTION,
        "",
        "| what | goal | measured | |",
        "| --- | --- | --- | --- |",
    ]
    missed = []
    for _, row in rows:
        for one in row["results"]:
            text.append(f"| {one['what']} | {one['goal'] or '–'} | {one['measured']} | {_MET[one['met']]} |")
            if one["met"] is False:
                missed.append(one)
    if missed:
        text += ["", "## Goals that are missed", ""]
        text += [
            f"- **{one['what']}**: {one['measured']}, goal {one['goal']}. {one['missed_because']}" for one in missed
        ]
    text += ["", "## Each row beside its baseline", ""]
    for name, row in rows:
        text += [f"### {name}", "", f"`{_command(name)}`, {row['at']}, {row['machine']}", ""]
        for one in row["results"]:
            text += [f"**{one['what']}**: {one['measured']} (load of the machine at the end {one['load']:.1f})", ""]
            text += [f"- beside {one['beside']}", *(f"- {detail}" for detail in one["details"]), ""]
    text += ["## Versions", "", ", ".join(_versions())]
    PAGE.write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
    return PAGE


def _command(name: str) -> str:
    from benchmarks.__main__ import APART

    return f"python -m benchmarks.{name}" if name in APART else f"python -m benchmarks {name}"


_INTRODUCTION = (
    "Written by `make bench`. Every figure was measured in the same run as the baseline beside it; the ratios are what "
    "counts, because other work went on on the machine. Figures are medians with smallest and largest in brackets."
)


def machine() -> str:
    """Processor, cores and memory."""
    model = next(
        (text.split(":", 1)[1].strip() for text in _lines("/proc/cpuinfo") if text.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Python {platform.python_version()}"


def _versions() -> list[str]:
    return [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES]


def _kept() -> dict[str, Any]:
    return dict(json.loads(KEPT.read_text(encoding="utf-8"))) if KEPT.exists() else {}


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
