"""What is measured in a process of its own, so that its peak memory is its own: one job, one line of JSON.

`python -m benchmarks.child accept FILE HOME_FOLDER` · `polars FILE TO` · `polars-text FILE TO`
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.region import LOAD_PROFILE_YEAR, METERS, home
from tests.support.memory import peak_mib


def accept(file: str, folder: str) -> dict[str, Any]:
    """Take one file the whole way on a warm desk: vault, ledger, land, judge, accept, receipts."""
    from quality import findings
    from quality import judge as judging
    from quality.desk import Desk

    desk = Desk(home(Path(folder)))
    desk.warm_up()
    stages: dict[str, tuple[float, float]] = {}
    for owner, name, stage in (
        (desk, "receive", "vault"), (judging, "read", "land"),
        (judging._Judging, "_type_rows", "type"), (judging._Judging, "_judge_rows", "rules"),
        (judging._Judging, "_count", "count"), (judging._Judging, "_ask_great_expectations", "gx"),
        (findings, "findings_of", "findings"), (judging._Judging, "_conclude", "conclude"),
        (desk.lake, "replace", "accept"), (desk, "_tell_supplier", "receipt"),
    ):  # fmt: skip
        _timed(owner, name, stage, stages)
    before = peak_mib()
    began, used = time.perf_counter(), time.process_time()
    delivery = desk.receive(Path(file), METERS, LOAD_PROFILE_YEAR, "2025", file_name="lastgang.csv", who="benchmark")
    judged = desk.judge(delivery)
    desk.answer([judged])
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    desk.close()
    return {
        "seconds": seconds, "cpu": cpu, "stages": stages, "peak_mb": peak_mib(), "warm_mb": before,
        "state": judged.verdict.state, "rows": judged.verdict.rows.delivered,
        "accepted": judged.verdict.rows.accepted + judged.verdict.rows.accepted_with_warning,
        "findings": {finding.rule: finding.rows for finding in judged.verdict.findings},
    }  # fmt: skip


def polars(file: str, to: str) -> dict[str, Any]:
    """The baseline: polars alone reads the file, converts dates and decimals, and writes Parquet."""
    import polars as pl

    before, began, used = peak_mib(), time.perf_counter(), time.process_time()
    pl.scan_csv(file, separator=";", decimal_comma=True, schema_overrides=_TEXT, ignore_errors=True).with_columns(
        pl.col("Zeit").str.to_datetime("%d.%m.%Y %H:%M", strict=False)
    ).sink_parquet(to, compression="zstd", engine="streaming")
    return _told(began, used, before)


def polars_text(file: str, to: str) -> dict[str, Any]:
    """The same with every cell left as text."""
    import polars as pl

    before, began, used = peak_mib(), time.perf_counter(), time.process_time()
    pl.scan_csv(file, separator=";", infer_schema=False).sink_parquet(to, compression="zstd", engine="streaming")
    return _told(began, used, before)


def _told(began: float, used: float, warm_mb: float) -> dict[str, Any]:
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    return {"seconds": seconds, "cpu": cpu, "peak_mb": peak_mib(), "warm_mb": warm_mb}


def _text_columns() -> dict[str, Any]:
    import polars as pl

    texts = dict.fromkeys(("Messlokation", "OBIS", "Zeit", "Status"), pl.String)
    return {**texts, "Arbeit [kWh]": pl.Float64}


_TEXT = _text_columns()


def _timed(owner: Any, name: str, stage: str, into: dict[str, tuple[float, float]]) -> None:
    """Add the time spent in a function to a stage; a function that is no longer there leaves its stage out."""
    inner: Callable[..., Any] | None = getattr(owner, name, None)
    if inner is None:
        return

    def timed(*given: Any, **named: Any) -> Any:
        with _clocked(stage, into):
            return inner(*given, **named)

    setattr(owner, name, timed)


@contextmanager
def _clocked(stage: str, into: dict[str, tuple[float, float]]) -> Iterator[None]:
    began, used = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        seconds, cpu = into.get(stage, (0.0, 0.0))
        into[stage] = (seconds + time.perf_counter() - began, cpu + time.process_time() - used)


JOBS: dict[str, Callable[..., dict[str, Any]]] = {"accept": accept, "polars": polars, "polars-text": polars_text}

if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]](*sys.argv[2:])))
