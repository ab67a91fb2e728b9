"""Small deliveries, 300 rows and 13 rules each, judge warm: from arrival to the verdict's receipt, alone and in a burst.

What counts is the last form of the receipt on disk (JSON, after HTML and XLSX), with vault, ledger and lake before it.
The baseline is one default Dagster run per file with GX on pandas, see `benchmarks.dagster_baseline`.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import baseline
from benchmarks.files import small_file
from benchmarks.judge_process import drop, judging, verdict_receipt, wait_for
from benchmarks.measure import Result, Spread, fresh, say
from benchmarks.region import SMALL, depot, home
from quality.desk import Desk
from quality.judging import ring
from storage.paths import delivery_id
from storage.settings import Settings

DEPOTS = 20
FIRST_YEAR = 1960


def measure(folder: Path, *, quick: bool) -> list[Result]:
    samples, files, base_samples, base_files = (10, 60, 1, 3) if quick else (30, 500, 3, 8)
    with baseline.running(folder / "baseline") as running:
        alone = Spread(baseline.latencies(running, base_samples))
        base_rate = baseline.burst(running, base_files)
    settings = home(fresh(folder / "verbund"), depots=DEPOTS)
    with judging(settings):
        handed, dropped = latencies(settings, samples)
        one_judge = burst(settings, files, year=FIRST_YEAR + 20)
    settings = home(fresh(folder / "verbund"), depots=DEPOTS)
    with judging(settings, judges=2):
        latencies(settings, 2)
        two_judges = burst(settings, files, year=FIRST_YEAR + 20)
    best = max(one_judge, two_judges)
    return [
        Result(
            "small_deliveries",
            "arrival → verdict receipt, one file of 300 rows and 13 rules, all receipts written",
            "p50 at most 0.5 s, p95 at most 1 s",
            f"p50 {handed.median:.2f} s, p95 {handed.p95:.2f} s",
            handed.median <= 0.5 and handed.p95 <= 1.0,
            f"one default Dagster run per file, GX on pandas: {alone.told()}",
            [
                f"handed in by a process that rings the judge, as `verbund deliver` and the portal do: {handed.told()}, "
                f"{alone.median / handed.median:.0f} × quicker",
                f"dropped into the inbox, where a file rests 0.3 s before it is taken: {dropped.told()}, p95 {dropped.p95:.2f} s",
            ],
            "Whatever of it is not the judge's own work is the wait of the inbox.",
        ),
        Result(
            "small_deliveries",
            f"burst of {files} small deliveries of {DEPOTS} suppliers, all receipts written",
            "at least 30 × the throughput of the baseline",
            f"{best / base_rate:.0f} ×",
            None if quick else best >= 30 * base_rate,
            f"the same baseline, burst of {base_files}: {base_rate:.2f} files a second",
            [
                f"one judge: {one_judge:.1f} files a second ({one_judge / base_rate:.0f} ×)",
                f"two judges: {two_judges:.1f} files a second ({two_judges / base_rate:.0f} ×)",
            ],
            "Each delivery writes and syncs its bytes, its two receipts in three forms and two ledger transactions; "
            "judging several small deliveries of a dataset in one validation would save most of the rest.",
        ),
    ]


def latencies(settings: Settings, samples: int) -> tuple[Spread, Spread]:
    """Seconds from handing in, and from dropping into the inbox, to the receipt; the first two are not counted."""
    desk = Desk(settings, who="benchmark")
    spent: dict[str, list[float]] = {"handed": [], "dropped": []}
    for nth in range(samples + 2):
        for way, year in (("handed", FIRST_YEAR), ("dropped", FIRST_YEAR + 10)):
            supplier, month = depot(nth % DEPOTS + 1), nth // DEPOTS + 1
            content = small_file(nth % DEPOTS + 1, year, month)
            delivery = delivery_id(supplier, SMALL, f"{year}-{month:02d}", 1)
            name = f"gruenabfall_{year}-{month:02d}.csv"
            time.sleep(0.2)
            began = time.perf_counter()
            if way == "handed":
                file = settings.paths.work / name
                file.write_bytes(content)
                desk.receive(file, supplier, SMALL, f"{year}-{month:02d}", file_name=name, who="benchmark")
                ring(settings)
            else:
                drop(settings, supplier, name, content)
            ended = wait_for(verdict_receipt(settings, delivery))
            if nth > 1:
                spent[way].append(ended - began)
    desk.close()
    handed, dropped = Spread(spent["handed"]), Spread(spent["dropped"])
    if samples > 2:
        say(f"handed in: {handed.told()}, p95 {handed.p95:.2f} s; dropped: {dropped.told()}, p95 {dropped.p95:.2f} s")
    return handed, dropped


def burst(settings: Settings, files: int, *, year: int) -> float:
    """Files a second when all lie in the inboxes at once, from the first receipt to the last."""
    waiting = []
    for nth in range(files):
        supplier, month = nth % DEPOTS + 1, nth // DEPOTS
        period = f"{year + month // 12}-{month % 12 + 1:02d}"
        content = small_file(supplier, year + month // 12, month % 12 + 1)
        drop(settings, depot(supplier), f"gruenabfall_{period}.csv", content)
        waiting.append(verdict_receipt(settings, delivery_id(depot(supplier), SMALL, period, 1)))
    began = time.perf_counter()
    seen: list[float] = []
    while waiting:
        left = [path for path in waiting if not path.exists()]
        seen += [time.perf_counter()] * (len(waiting) - len(left))
        waiting = left
        if time.perf_counter() - began > 900:
            raise TimeoutError(f"{len(waiting)} receipts are missing after 900 s")
        time.sleep(0.05)
    rate = (files - 1) / (seen[-1] - seen[0])
    say(f"burst of {files}: {rate:.1f} files a second, {seen[-1] - began:.1f} s from the last drop to the last receipt")
    return rate
