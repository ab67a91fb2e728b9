"""The CSV reader beside polars alone on the same file: seconds, processor seconds and peak memory.

`python benchmarks/read_csv.py 10000000` makes a quarter-hour file of that many lines of 5 cells, in UTF-8 and in
windows-1252 with an umlaut in every line, and lands it in a process of its own each time. The baseline is polars
streaming the same file to Parquet without looking at it: no line numbers, no check of any kind.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

_POLARS = """
pl.scan_csv(source, separator=";", infer_schema=False, quote_char=None, encoding=sys.argv[3]).sink_parquet(
    to, compression="zstd", engine="streaming")
"""
_READER = """
read(source, FormatSpec(type="csv", encoding=sys.argv[4], delimiter=";"), to, name="benchmark.csv")
"""
_FRAME = """
import json, resource, sys, time
from pathlib import Path
import polars as pl
from storage.readers.base import FormatSpec, read
import storage.readers.csv
from tests.support.memory import peak_mib
source, to = Path(sys.argv[1]), Path(sys.argv[2])
wall = time.perf_counter()
{work}
wall = time.perf_counter() - wall
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([wall, used.ru_utime + used.ru_stime, peak_mib()]))
"""


def make(rows: int, to: Path, unit: str) -> None:
    """Write `rows` quarter-hour values of metering points, with German dates and decimal commas."""
    number = pl.int_range(rows).alias("n")
    point = pl.format("DE00{}", (pl.col("n") // 35_040).cast(pl.String).str.zfill(29))
    begins = pl.datetime(2024, 1, 1) + pl.duration(minutes=15 * (pl.col("n") % 35_040))
    value = pl.format("{},{}", pl.col("n") * 7919 % 100_000, pl.col("n") % 1000)
    pl.LazyFrame().select(number).select(
        point.alias("Zaehlpunkt"),
        begins.dt.strftime("%d.%m.%Y %H:%M").alias("von"),
        value.alias("Leistung"),
        pl.lit(unit).alias("Einheit"),
        pl.when(pl.col("n") % 17 == 0).then(pl.lit("E")).otherwise(pl.lit("W")).alias("Status"),
    ).sink_csv(to, separator=";")


def measure(work: str, source: Path, to: Path, *arguments: str) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak memory in MiB of one run in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", _FRAME.format(work=work), str(source), str(to), *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    wall, processor, peak = json.loads(done.stdout)
    to.unlink()
    return wall, processor, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where the file is made; needs about 150 bytes a row")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as folder:
        plain, umlauts, to = (Path(folder) / name for name in ("plain.csv", "umlauts.csv", "landed.parquet"))
        make(wanted.rows, plain, "kW")
        cases = [
            ("polars alone, UTF-8", _POLARS, plain, "utf8", ""),
            ("reader, agreed UTF-8", _READER, plain, "", "utf-8"),
            ("reader, agreed windows-1252, pure ASCII", _READER, plain, "", "cp1252"),
            ("reader, windows-1252 with umlauts", _READER, umlauts, "", "cp1252"),
        ]
        base = 0.0
        print(f"{wanted.rows:,} rows, {plain.stat().st_size / 1e6:,.0f} MB, median of {wanted.runs}")
        for called, work, source, *arguments in cases:
            if source == umlauts:
                make(wanted.rows, plain, "kWä")
                with plain.open(encoding="utf-8") as reading, umlauts.open("w", encoding="cp1252") as writing:
                    while chunk := reading.read(1 << 22):
                        writing.write(chunk)
                plain.unlink()
            runs = [measure(work, source, to, *arguments) for _ in range(wanted.runs)]
            wall, processor, peak = (statistics.median(column) for column in zip(*runs, strict=True))
            base = base or wall
            print(f"{called:42} {wall:7.2f} s ({wall / base:4.2f} x) {processor:7.2f} s cpu {peak:7.0f} MiB")


if __name__ == "__main__":
    main()
