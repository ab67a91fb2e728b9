"""Files that nobody on this project wrote land as an independent, plain reading of them says."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from storage.readers.base import FormatSpec, Landed, read

DATA = Path(os.environ.get("VERBUND_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files: VERBUND_REAL_DATA names no folder ({DATA})"),
]


def land(to: Path, file: str, **layout: Any) -> tuple[Landed, pl.DataFrame]:
    landed = read(DATA / file, FormatSpec.model_validate(layout), to / "landed.parquet", name=file)
    return landed, pl.read_parquet(landed.path)


def values(table: pl.DataFrame) -> list[list[str]]:
    """The cells of the rows that count, empty ones as empty text."""
    kept = table.filter(pl.col("ignored_by").is_null())
    kept = kept.drop("delivered_row", "delivered_line", "delivered_sheet", "ignored_by")
    return [[cell or "" for cell in row] for row in kept.rows()]


def test_the_waste_table_of_nrw_lands_to_the_last_digit(tmp_path: Path) -> None:
    file = "waste/nrw_32111-01iz_2015/nrw_counties.csv"
    landed, table = land(
        tmp_path,
        file,
        type="csv",
        encoding="cp1252",
        delimiter=";",
        header={"row": 7},
        units_rows=1,
        stop_at="^__________$",
    )
    lines = (DATA / file).read_bytes().decode("cp1252").split("\n")
    data = [line.split(";") for line in lines[8:] if re.match(r"\d{2,5};", line)]
    assert values(table) == data
    assert landed.units == tuple(lines[7].split(";"))
    assert landed.columns[2:] == tuple(lines[6].split(";")[2:])
    footnotes = table.filter(pl.col("ignored_by") == "rows.footnote")
    assert footnotes["delivered_line"].to_list() == [70, 71, 77, 78]
    assert landed.rows == len(data) + 4
    assert table["column_2"][1].startswith("  Düsseldorf")
    assert landed.notes == ()


@pytest.mark.parametrize("file", ["waste/konstanz/abfall_insg.csv", "waste/konstanz/abfall_ew.csv"])
def test_the_waste_tables_of_konstanz_land_line_by_line(tmp_path: Path, file: str) -> None:
    landed, table = land(tmp_path, file, type="csv", encoding="utf-8", delimiter=",")
    header, *lines = (DATA / file).read_text("utf-8").splitlines()
    assert landed.columns == tuple(header.split(","))
    assert values(table) == [line.split(",") for line in lines]
    assert table["delivered_line"].to_list() == list(range(2, len(lines) + 2))


@pytest.mark.parametrize("file", ["energy/bdew_slp/h25.csv", "energy/bdew_slp/g25.csv"])
def test_the_load_profiles_of_bdew_land_with_month_and_day_in_the_name(tmp_path: Path, file: str) -> None:
    landed, table = land(tmp_path, file, type="csv", encoding="utf-8", delimiter=",", header={"rows": 2})
    months, days, *lines = (DATA / file).read_text("utf-8").splitlines()
    pairs = zip(months.split(",")[1:], days.split(",")[1:], strict=True)
    assert landed.columns == ("[kWh]", *(f"{month} / {day}" for month, day in pairs))
    assert values(table) == [line.split(",") for line in lines]
    assert landed.rows == 96


@pytest.mark.parametrize(
    "file", sorted(str(path.relative_to(DATA)) for path in DATA.glob("water/gkd_bayern/*.csv")) or ["water"]
)
def test_the_water_tables_of_bavaria_land_below_their_block_of_facts(tmp_path: Path, file: str) -> None:
    landed, table = land(tmp_path, file, type="csv", encoding="cp1252", delimiter=";", header={"row": 9})
    lines = (DATA / file).read_bytes().decode("cp1252").splitlines()
    header, *data = csv.reader(lines[8:], delimiter=";")
    assert len(landed.columns) == len(header)
    assert values(table) == data
    assert landed.notes == ()


def test_the_register_of_municipalities_lands_by_characters(tmp_path: Path) -> None:
    widths = {"record": (1, 2), "ags": (11, 18), "name": (23, 72), "area_ha": (129, 139), "people": (140, 150)}
    file = "codelists/gv100ad/GV100AD_301121.ASC"
    landed, table = land(tmp_path, file, type="fixed_width", encoding="utf-8", widths=widths, only_lines="^60")
    lines = (DATA / file).read_bytes().decode("utf-8").split("\r\n")
    municipalities = [line for line in lines if line.startswith("60")]
    assert landed.rows == len([line for line in lines if line.strip()]) == 16_060
    assert values(table) == [
        [line[first - 1 : last].strip() for first, last in widths.values()] for line in municipalities
    ]
    kept = table.filter(pl.col("ignored_by").is_null())
    assert kept["people"].cast(pl.Int64).sum() == 83_155_031
    assert kept["area_ha"].cast(pl.Int64).sum() == 35_758_734


@pytest.mark.parametrize(
    "file", sorted(str(path.relative_to(DATA)) for path in DATA.glob("energy/mscons*/*.txt")) or ["energy"]
)
def test_mscons_energy_per_metering_point_equals_a_plain_reading_of_the_segments(tmp_path: Path, file: str) -> None:
    landed, table = land(tmp_path, file, type="mscons")
    text = (DATA / file).read_text("latin-1")
    mark = text[5] if text.startswith("UNA") else "."
    place, sums, starts = "", defaultdict[str, Decimal](Decimal), list[str]()
    for segment in re.split(r"(?<!\?)'", text[9:] if text.startswith("UNA") else text):
        tag, *elements = segment.strip().split("+")
        if tag == "LOC":
            place = elements[1]
        elif tag == "QTY":
            # both marks occur in one file, the other than declared as well
            sums[place] += Decimal(elements[0].split(":")[1].replace(mark, "."))
            starts.append("")
        elif tag == "DTM" and elements[0].startswith("163") and starts and not starts[-1]:
            starts[-1] = elements[0][4:16]
    landed_sums = defaultdict[str, Decimal](Decimal)
    for location, value in table.select("location_id", "value").rows():
        landed_sums[location] += Decimal(value)
    assert landed_sums == sums
    assert [re.sub(r"\D", "", start)[:12] for start in table["period_start"]] == starts
    assert "GETTY" not in str(table.rows())
    assert {note.rule for note in landed.notes} <= {"file.message_count_differs"}


WALK = """
import json, sys, time
from pathlib import Path
from storage.readers.base import FormatSpec, Unreadable, read
from tests.support.memory import peak_mib
specs = [
    FormatSpec(type="csv"),
    FormatSpec(type="csv", encoding="cp1252", delimiter=";", header={"row": 7}, units_rows=1, stop_at="^__"),
    FormatSpec(type="xlsx"),
    FormatSpec(type="mscons"),
    FormatSpec(type="fixed_width", widths={"a": (1, 5), "b": (6, 20)}, only_lines="^60"),
]
to = Path(sys.argv[2]) / "landed.parquet"
for file in sorted(Path(sys.argv[1]).rglob("*")):
    if file.is_file():
        for spec in specs:
            began = time.monotonic()
            try:
                read(file, spec, to, name=file.name)
                said = "landed"
            except Unreadable as refused:
                said = refused.rule
                assert refused.facts["expected"] and refused.facts["found"], file
                assert not to.exists(), f"{file} refused, and a table left behind"
            to.unlink(missing_ok=True)
            print(json.dumps([str(file), spec.type, said, time.monotonic() - began]), flush=True)
print(json.dumps(["", "", "peak", peak_mib()]))
"""


@pytest.mark.slow
def test_every_file_lands_or_is_refused_by_every_reader_in_time_and_memory(tmp_path: Path) -> None:
    walk = subprocess.run(
        [sys.executable, "-c", WALK, str(DATA), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert walk.returncode == 0, walk.stderr[-2000:]
    *files, (_, _, _, peak) = (json.loads(line) for line in walk.stdout.splitlines())
    assert len(files) >= 5 * 100
    assert max(seconds for _, _, _, seconds in files) < 20
    assert peak < 1024
