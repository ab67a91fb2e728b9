"""The accept path on ten million quarter hours, beside polars reading the same file straight to Parquet.

Both start warm (imports done, desk open) in processes of their own and take turns. The baseline converts dates and
decimals as the accepted table has them; without that, with every cell as text, it is told as well.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.files import write_quarter_hours
from benchmarks.measure import Result, Spread, fresh, in_child, say

GOAL = 2.0
MIB_GOAL = 1024


def measure(folder: Path, *, quick: bool) -> list[Result]:
    rows, turns = (1_000_000, 3) if quick else (10_000_000, 3)
    file = folder / "quarter_hours.csv"
    lines = write_quarter_hours(file, rows)
    runs = take_turns(folder, file, turns)
    size = f"{lines:,} rows, {file.stat().st_size / 1e6:,.0f} MB"
    file.unlink()
    ours, typed, text = (Spread([run["seconds"] for run in runs[job]]) for job in ("accept", "polars", "polars-text"))
    used = {job: Spread([run["cpu"] for run in runs[job]]).median for job in runs}
    ratio = Spread([one / other for one, other in zip(ours.values, typed.values, strict=True)])
    return [
        Result(
            "accept_path",
            f"vault, land, judge, accept, receipts: {size}",
            f"at most {GOAL} × polars straight to Parquet",
            f"{ratio.median:.1f} × ({min(ratio.values):.1f}–{max(ratio.values):.1f})",
            None if quick else ratio.median <= GOAL,
            f"polars, dates and decimals converted: {typed.told()}",
            [
                f"accept path: {ours.told()}",
                f"polars with every cell left as text: {text.told()}",
                f"processor seconds: {used['accept']:.1f} beside {used['polars']:.1f}, {used['accept'] / used['polars']:.1f} ×",
                "seconds by stage (processor seconds): " + stages_of(runs["accept"]),
                f"found: {runs['accept'][0]['findings']}, accepted {runs['accept'][0]['accepted']:,}",
                f"peak memory {max(run['peak_mb'] for run in runs['accept']):,.0f} MB beside "
                f"{max(run['peak_mb'] for run in runs['polars']):,.0f} MB",
            ],
            MISSED,
        )
    ]


MISSED = (
    "Polars reads the bytes once and keeps nothing. Of the processor seconds of the accept path a quarter goes into landing "
    "every cell as text and proving that every line has its cells (by itself more than the baseline), a quarter into typing "
    "that text and writing it again, a fifth into rules and Great Expectations, which each compare ten million keys and ask "
    "every rule for themselves, a tenth into keeping the bytes and hashing them twice, and the rest into the receipt, the held "
    "rows and the catalog. The lake takes the typed file over, which costs next to nothing. What would mend more: typing in the "
    "pass that lands (the conversion would then be stated twice, for polars and in SQL), telling from the bytes that cells "
    "need no trimming (a twentieth), and more cores, which all stages but the hashing use."
)


def take_turns(folder: Path, file: Path, turns: int) -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for turn in range(turns):
        for job in ("polars", "accept", "polars-text"):
            work = fresh(folder / "work")
            told = in_child(job, str(file), str(work if job == "accept" else work / "out.parquet"))
            runs[job].append(told)
            say(
                f"{job} {turn + 1}/{turns}: {told['seconds']:.1f} s, processor {told['cpu']:.1f} s, {told['peak_mb']:.0f} MB"
            )
            fresh(work)
    return runs


def stages_of(runs: list[dict[str, Any]]) -> str:
    names = runs[0]["stages"]
    told = []
    for name in names:
        seconds, cpu = (Spread([run["stages"][name][part] for run in runs]).median for part in (0, 1))
        told.append(f"{name} {seconds:.1f} ({cpu:.1f})")
    return ", ".join(told)
