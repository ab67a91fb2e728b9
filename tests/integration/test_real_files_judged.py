"""Files that nobody on this project wrote are judged as an independent, plain reading of them says, row by row."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from quality.judge import Judged
from tests.support.bench import PACKS, TestBench, found

DATA = Path(os.environ.get("VERBUND_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files: VERBUND_REAL_DATA names no folder ({DATA})"),
]

REGISTER = "codelists/gv100ad/GV100AD_301121.ASC"
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBench]:
    made = TestBench(tmp_path_factory.mktemp("home"), PACKS / "real")
    yield made
    made.close()


def counts(judged: Judged) -> tuple[int, int, int, int, int]:
    """Delivered, accepted, accepted with warning, quarantined, ignored; checked to add up."""
    rows = judged.verdict.rows
    parts = (rows.accepted, rows.accepted_with_warning, rows.quarantined, rows.ignored_by_rule)
    assert rows.delivered == sum(parts)
    return rows.delivered, *parts


# --- waste of a Land: levels in one column, two kinds of nothing ---

LAND = "waste/nrw_32111-01iz_2015/nrw_counties.csv"
#: Columns of the file that hold quantities, and the flow each stands for.
FLOWS = {3: "treated", 4: "treated_from_state", 5: "passed_on", 7: "landfilled"}
WUPPERTAL, SOLINGEN, REMSCHEID = "05124", "05122", "05120"


def districts() -> dict[str, list[str]]:
    """Key → cells of every line of the raw file that names a district."""
    with (DATA / LAND).open(encoding="cp1252", newline="") as file:
        return {line[0]: line for line in csv.reader(file, delimiter=";") if re.fullmatch(r"\d{5}", line[0])}


def test_every_quantity_of_the_land_table_is_accepted_to_the_last_digit(bench: TestBench) -> None:
    with bench.judged(DATA / LAND, "waste_balance", "2015", supplier="land-statistics") as judged:
        rows = bench.rows(f"select area_code, flow_code, quantity_t, year, waste_code from {judged.accepted}")
    accepted = {(area, flow): quantity for area, flow, quantity, _, _ in rows}
    raw = districts()
    assert accepted == {
        (f"{key}000", flow): None if raw[key][place] == "-" else Decimal(raw[key][place])
        for key in raw
        for place, flow in FLOWS.items()
    }
    assert {(year, code) for *_, year, code in rows} == {(2015, "000000")}
    # the cities this platform was built for, as anybody reads them in the file
    cities = {key: [accepted[f"{key}000", flow] for flow in FLOWS.values()] for key in (WUPPERTAL, SOLINGEN, REMSCHEID)}
    assert cities == {
        WUPPERTAL: [1924761, 1913015, 504697, 941745],
        SOLINGEN: [243204, 235552, 134894, None],
        REMSCHEID: [94955, 94955, 93579, None],
    }


def test_totals_and_footnotes_of_the_land_table_are_ignored_and_counted(bench: TestBench) -> None:
    raw = districts()
    stated = [raw[key][place] for key in raw for place in FLOWS]
    with bench.judged(DATA / LAND, "waste_balance", "2015", supplier="land-statistics") as judged:
        ignored = Counter(r for (r,) in bench.rows("select ignored from judged where ignored is not null"))
        total = bench.rows(f"select sum(quantity_t) from {judged.accepted} where flow_code = 'treated'")
        assert judged.verdict.state == "accepted_with_warnings"
        assert counts(judged) == (len(stated) + 10, len(stated) - stated.count("-"), stated.count("-"), 0, 10)
    assert ignored == {"rows.land_total": 1, "rows.government_district_total": 5, "rows.footnote": 4}
    # the Land's own total, which the file states, but for what the office rounded off: nothing is counted twice
    assert abs(total[0][0] - 58_965_980) < 10


def test_a_dash_is_a_missing_quantity_and_a_zero_is_a_zero(bench: TestBench) -> None:
    with bench.judged(DATA / LAND, "waste_balance", "2015", supplier="land-statistics") as judged:
        rows = bench.rows(f"select area_code, flow_code, quantity_t, row_warnings from {judged.accepted}")
        warned = found(judged.verdict.findings, "quantity_stated")
    raw = districts()
    zeros = {(area, flow) for area, flow, quantity, _ in rows if quantity == 0}
    assert zeros == {("05911000", "landfilled"), ("05914000", "landfilled")}  # Bochum, Hagen
    missing = {(area, flow) for area, flow, quantity, _ in rows if quantity is None}
    assert missing == {(f"{key}000", flow) for key in raw for place, flow in FLOWS.items() if raw[key][place] == "-"}
    assert missing >= {("05313000", "treated"), ("05354000", "treated")}  # Aachen, which the Städteregion replaced
    assert {(area, flow) for area, flow, _, warnings in rows if warnings == "quantity_stated"} == missing
    assert warned is not None and (warned.severity, warned.rows) == ("warning", len(missing))


# --- waste of a city: a line per year, a column per fraction, the unit in another file ---


def fractions(file: str, year: str) -> dict[str, Decimal]:
    with (DATA / file).open(encoding="utf-8", newline="") as lines:
        line = next(line for line in csv.DictReader(lines) if line["jahr"] == year)
    return {name: Decimal(cell) for name, cell in line.items() if name != "jahr"}


@pytest.mark.parametrize(
    ("file", "supplier", "in_t"),
    [
        ("waste/konstanz/abfall_insg.csv", "city-tonnes", Decimal(1)),
        ("waste/konstanz/abfall_ew.csv", "city-per-head", Decimal("0.001")),
    ],
    ids=["tonnes", "kilograms_per_head"],
)
def test_one_year_of_a_city_becomes_a_row_per_fraction(
    bench: TestBench, file: str, supplier: str, in_t: Decimal
) -> None:
    with bench.judged(DATA / file, "waste_balance", "2020", supplier=supplier) as judged:
        rows = bench.rows(f"select waste_code, quantity_t, delivered_line, year, area_code from {judged.accepted}")
        assert judged.verdict.state == "accepted"
        assert counts(judged) == (8 + 24, 8, 0, 0, 24)
        assert found(judged.verdict.findings, "slot.wrong_period") is None
    raw = fractions(file, "2020")
    codes = ("200301", "200108", "200102", "200101", "200201", "150106", "200307", "200199")
    assert {code: quantity for code, quantity, *_ in rows} == {
        code: raw[name] * in_t for code, name in zip(codes, raw, strict=True)
    }
    assert {tuple(rest) for _, _, *rest in rows} == {(21, 2020, "08335043")}


def test_tonnes_and_kilograms_per_head_imply_the_same_population_for_every_fraction(bench: TestBench) -> None:
    files = {"city-tonnes": "waste/konstanz/abfall_insg.csv", "city-per-head": "waste/konstanz/abfall_ew.csv"}
    sums: dict[str, dict[str, Decimal]] = {}
    for supplier, file in files.items():
        with bench.judged(DATA / file, "waste_balance", "2020", supplier=supplier) as judged:
            sums[supplier] = dict(bench.rows(f"select waste_code, quantity_t from {judged.accepted}"))
    whole, head = sums["city-tonnes"], sums["city-per-head"]
    assert len(whole) == 8 and whole.keys() == head.keys()
    # both columns are rounded to the next whole number, of tonnes and of kilograms
    half_t, half_kg = Decimal("0.5"), Decimal("0.0005")
    fewest = max((whole[code] - half_t) / (head[code] + half_kg) for code in whole)
    most = min((whole[code] + half_t) / (head[code] - half_kg) for code in whole)
    assert 84_000 < fewest <= most < 86_000


def test_without_a_rule_for_it_the_other_years_of_a_city_are_not_taken_for_this_one(bench: TestBench) -> None:
    file = DATA / "waste/konstanz/abfall_insg.csv"
    with bench.judged(file, "waste_balance", "2019", supplier="city-tonnes") as judged:
        wrong = found(judged.verdict.findings, "slot.wrong_period")
        assert judged.verdict.state == "rejected" and judged.accepted is None
        assert wrong is not None and wrong.rows == 8
        assert counts(judged) == (8 + 24, 0, 0, 8, 24)


# --- municipalities by character ---


def municipalities() -> list[str]:
    lines = (DATA / REGISTER).read_bytes().decode("utf-8").split("\r\n")
    return [line for line in lines if line.startswith("60")]


def test_every_municipality_of_the_register_is_accepted_and_other_records_are_ignored(bench: TestBench) -> None:
    with bench.judged(DATA / REGISTER, "municipality_register", "2021", supplier="federal-statistics") as judged:
        rows = bench.rows(
            "select area_code, association_code, area_name, type_code, postcode, as_of_date "
            f"from {judged.accepted} order by delivered_line"
        )
        assert judged.verdict.state == "accepted"
        assert counts(judged) == (16_060, 10_997, 0, 0, 16_060 - 10_997)
    raw = [
        (ags, of, name, kind or None, code or None, datetime(2021, 11, 30).date())
        for line in municipalities()
        for ags, of, name, kind, code in [
            [line[a - 1 : b].strip() for a, b in ((11, 18), (19, 22), (23, 72), (123, 124), (166, 170))]
        ]
    ]
    assert rows == raw


def test_the_population_of_the_register_adds_up_to_the_country(bench: TestBench) -> None:
    with bench.judged(DATA / REGISTER, "population", "2020", supplier="federal-statistics") as judged:
        rows = bench.rows(
            f"select area_code, population, population_male, area_ha from {judged.accepted} order by delivered_line"
        )
        assert judged.verdict.state == "accepted"
        assert counts(judged) == (16_060, 10_997, 0, 0, 16_060 - 10_997)
    assert rows == [
        (line[10:18], int(line[139:150]), int(line[150:161]), Decimal(int(line[128:139]))) for line in municipalities()
    ]
    assert sum(population for _, population, _, _ in rows) == 83_155_031
    assert sum(area for *_, area in rows) == 35_758_734


# --- messages of the energy market ---


class Reading(NamedTuple):
    place: str
    obis: str
    start: datetime
    value: Decimal


def readings(file: Path) -> list[Reading]:
    """Every quantity of a file, read segment by segment; what a message leaves out stays empty, nothing is tidied."""
    text = file.read_text("latin-1")
    mark = text[5] if text.startswith("UNA") else "."
    place, obis, value, got = "", "", None, list[Reading]()
    for segment in re.split(r"(?<!\?)'", text[9:] if text.startswith("UNA") else text):
        tag, _, rest = segment.strip().partition("+")
        if tag == "UNH":
            place = obis = ""
        elif tag == "LOC":
            place = rest.split("+")[1]
        elif tag == "PIA":
            obis = rest.split("+")[1].removesuffix(":SRW").replace("?:", ":")
        elif tag == "QTY":
            # both marks occur in one file, the other than declared as well
            value = Decimal(rest.split(":")[1].replace(mark, "."))
        elif tag == "DTM" and rest.startswith("163:") and value is not None:
            ahead = timedelta(hours=int(rest[18:20]))
            assert rest[16:18] == "?+"
            got.append(
                Reading(place, obis, datetime.strptime(rest[4:16], "%Y%m%d%H%M").replace(tzinfo=UTC) - ahead, value)
            )
            value = None
    return got


def energy(rows: Iterable[tuple[str | None, Decimal]]) -> dict[str | None, Decimal]:
    sums = defaultdict[str | None, Decimal](Decimal)
    for place, value in rows:
        sums[place] += value
    return dict(sums)


MONTHS = {"mscons_sak_2019": "2019-12", "mscons_tl_2015": "2015-12", "mscons_examples_24c": "2021-01"}
MESSAGES = sorted(str(path.relative_to(DATA)) for path in DATA.glob("energy/mscons*/*.txt")) or ["energy"]


@pytest.mark.parametrize("file", MESSAGES)
def test_energy_per_metering_point_equals_a_plain_reading_of_the_messages(bench: TestBench, file: str) -> None:
    month = MONTHS[Path(file).parent.name]
    with bench.judged(DATA / file, "load_profile", month, supplier="metering") as judged:
        all_rows = bench.rows("select metering_point_id, energy_kwh from judged")
        accepted = judged.accepted and bench.rows(
            f"select metering_point_id, obis_code, epoch(interval_start_at), energy_kwh, status_code from {judged.accepted}"
        )
        delivered, *_, quarantined, ignored = counts(judged)
        state = judged.verdict.state
    read = readings(DATA / file)
    assert energy(all_rows) == energy((reading.place, reading.value) for reading in read)
    times = Counter(reading[:3] for reading in read)
    good = [
        reading
        for reading in read
        if reading.obis and times[reading[:3]] == 1 and f"{reading.start.astimezone(BERLIN):%Y-%m}" == month
    ]
    assert (delivered, ignored) == (len(read), 0)
    if len(good) * 2 < len(read):
        assert (state, accepted, quarantined) == ("rejected", None, delivered)
    else:
        assert accepted
        assert quarantined == len(read) - len(good)
        assert sorted(accepted) == sorted(
            (reading.place, reading.obis, reading.start.timestamp(), reading.value, "220") for reading in good
        )


def test_two_values_for_one_quarter_hour_are_held_back_both(bench: TestBench) -> None:
    with bench.judged(
        DATA / "energy/mscons_tl_2015/MSCONS_TL_SAMPLE01.txt", "load_profile", "2015-12", supplier="metering"
    ) as judged:
        held = bench.rows("select strftime(timezone('Europe/Berlin', interval_start_at), '%d. %H:%M') from judged "
                          "where row_state = 'quarantined' order by all")  # fmt: skip
        doubled = found(judged.verdict.findings, "keys.duplicate")
        assert judged.verdict.state == "partly_accepted"
        assert counts(judged)[3] == 8
    # the sender wrote 16:00 where 14:00 had to stand
    assert [day for (day,) in held] == [f"20. 16:{minute}" for minute in ("00", "15", "30", "45") for _ in range(2)]
    assert doubled is not None and doubled.rows == 8


def test_the_same_message_under_another_name_is_a_duplicate(bench: TestBench) -> None:
    folder = DATA / "energy/mscons_tl_2015"
    first, second = (
        bench.deliver(folder / f"MSCONS_TL_SAMPLE0{number}.txt", "load_profile", "2015-12", supplier="metering")
        for number in (1, 2)
    )
    assert first is not None and second is None
    accepted = bench.rows(
        "select metering_point_id, sum(energy_kwh) from accepted.load_profile where period = '2015-12' group by all"
    )
    read = readings(folder / "MSCONS_TL_SAMPLE01.txt")
    times = Counter(reading[:3] for reading in read)
    assert dict(accepted) == energy((reading.place, reading.value) for reading in read if times[reading[:3]] == 1)
