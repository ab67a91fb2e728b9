"""The demo's files are the same every time, hold what they say, and cover what utilities do wrong."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path

import openpyxl
import pytest

from quality.assign import Assigned, assign
from quality.reading import choose_dialect
from quality.region import RegionPack, load_pack
from quality.units import factor
from storage.periods import period
from storage.readers import Unreadable, read
from verbund import demo_figures as figures
from verbund.demo import DemoDelivery, demo_deliveries, write_demo
from verbund.demo_files import SYNTHETIC, fixed_width, german, workbook

ROOT = Path(__file__).parents[3]
#: States a delivery can be in when everything was sent, and the verdicts a judge gives.
VERDICTS = {"accepted", "accepted_with_warnings", "partly_accepted", "rejected", "nothing_to_report"}
FINAL = VERDICTS | {"duplicate", "superseded", "withdrawn"}
#: Legal forms and well-known names that would give a real organisation away.
COMPANIES = re.compile(r"\b(GmbH|AG|AöR|mbH|eG|KG|AWG|WSW|TBS|TBR|EWR|SWS|REB)\b")


@pytest.fixture(scope="module")
def deliveries() -> list[DemoDelivery]:
    return demo_deliveries()


@pytest.fixture(scope="module")
def bergisch() -> RegionPack:
    return load_pack(ROOT / "regions" / "bergisch", ROOT / "quality" / "contracts", ROOT / "quality" / "codelists")


def test_the_same_seed_gives_the_same_bytes(deliveries: list[DemoDelivery]) -> None:
    assert demo_deliveries() == deliveries


def test_another_seed_gives_other_figures_and_the_same_story(deliveries: list[DemoDelivery]) -> None:
    other = demo_deliveries(7)
    assert [d.story for d in other] == [d.story for d in deliveries]
    assert [d.content for d in other] != [d.content for d in deliveries]


def test_some_forty_deliveries_are_sent_and_most_are_accepted(deliveries: list[DemoDelivery]) -> None:
    assert 40 <= len(deliveries) <= 55
    states = Counter(delivery.verdict for delivery in deliveries)
    assert states["accepted"] > len(deliveries) / 2
    assert set(states) == VERDICTS | {None}
    assert {delivery.expect for delivery in deliveries} == FINAL


def test_deliveries_come_in_the_order_they_arrive(deliveries: list[DemoDelivery]) -> None:
    assert [delivery.order for delivery in deliveries] == list(range(1, len(deliveries) + 1))
    assert sorted(deliveries, key=lambda delivery: delivery.received_at) == deliveries


def test_every_delivery_names_a_slot_that_can_be_read(deliveries: list[DemoDelivery], bergisch: RegionPack) -> None:
    for delivery in deliveries:
        assert delivery.supplier in bergisch.suppliers
        assert period(delivery.period).interval == bergisch.contracts[delivery.dataset].interval
        assert delivery.received_at.tzinfo is UTC
        # nobody reports on a period before it has ended
        assert delivery.received_at.date() >= period(delivery.period).end


def test_every_file_is_told_apart_by_its_name(deliveries: list[DemoDelivery], bergisch: RegionPack) -> None:
    for delivery in (d for d in deliveries if d.content is not None and d.trap != "wrong supplier"):
        told = assign(bergisch, delivery.supplier, delivery.file_name)
        assert told == Assigned(delivery.dataset, period(delivery.period)), delivery.file_name


def test_at_least_eight_dialects_and_three_formats_are_spoken(
    deliveries: list[DemoDelivery], bergisch: RegionPack
) -> None:
    used = set()
    for delivery in (d for d in deliveries if d.content is not None and d.verdict != "rejected"):
        of = period(delivery.period)
        mandate = bergisch.mandate(delivery.supplier, delivery.dataset, of.start, of.end)
        assert mandate is not None, delivery.file_name
        used.add(choose_dialect(bergisch, mandate, delivery.file_name).id)
    assert len(used) >= 8
    assert len({bergisch.dialects[name].format.type for name in used}) >= 3
    assert used == set(bergisch.dialects), "a dialect of the pack that no delivery of the demo speaks"


def test_every_file_lands_in_the_dialect_it_is_meant_for(
    deliveries: list[DemoDelivery], bergisch: RegionPack, tmp_path: Path
) -> None:
    for delivery in (d for d in deliveries if d.content is not None):
        of = period(delivery.period)
        mandate = bergisch.mandate(delivery.supplier, delivery.dataset, of.start, of.end)
        if mandate is None:
            assert delivery.verdict == "rejected"
            continue
        dialect = choose_dialect(bergisch, mandate, delivery.file_name)
        source = tmp_path / "source"
        assert delivery.content is not None
        source.write_bytes(delivery.content)
        try:
            landed = read(source, dialect.format, tmp_path / "landed.parquet", name=delivery.file_name)
        except Unreadable:
            assert delivery.verdict == "rejected", delivery.file_name
            continue
        missing = set(dialect.delivered_columns()) - set(landed.columns)
        assert bool(missing) == (delivery.verdict == "rejected"), (delivery.file_name, missing)


def test_the_demo_names_no_company(deliveries: list[DemoDelivery], bergisch: RegionPack) -> None:
    texts = [supplier.name for supplier in bergisch.suppliers.values()]
    for delivery in deliveries:
        texts += [*delivery.story.values(), delivery.file_name, *_texts(delivery.content)]
    named = {match[0] for text in texts for match in COMPANIES.finditer(text)}
    # KG is also the association's word for soft green waste
    assert named <= {"KG"}


def test_invented_figures_are_marked_in_every_file_that_can_carry_a_mark(deliveries: list[DemoDelivery]) -> None:
    for delivery in deliveries:
        text = "\n".join(_texts(delivery.content))
        if delivery.synthetic and delivery.verdict != "rejected" and text and not text.startswith("UNA"):
            assert SYNTHETIC in text, delivery.file_name


def test_official_figures_name_source_and_licence_and_are_not_called_synthetic(
    deliveries: list[DemoDelivery], bergisch: RegionPack
) -> None:
    official = [delivery for delivery in deliveries if not delivery.synthetic]
    assert official
    for delivery in official:
        assert not bergisch.suppliers[delivery.supplier].synthetic
        text = "\n".join(_texts(delivery.content))
        assert "Quelle: " in text
        assert "© Statistisches Bundesamt (Destatis)" in text
        assert SYNTHETIC not in text


def test_official_figures_equal_the_register(deliveries: list[DemoDelivery], real_register: list[str]) -> None:
    official = next(delivery for delivery in deliveries if not delivery.synthetic)
    lines = [line for line in "\n".join(_texts(official.content)).splitlines() if line.startswith("60")]
    published = {line[10:18]: line for line in real_register if line.startswith("60")}
    assert len(lines) == 3
    for line in lines:
        # name, area, population, males and postcode, as published
        for first, last in ((23, 72), (129, 139), (140, 150), (151, 161), (166, 170)):
            assert line[first - 1 : last] == published[line[10:18]][first - 1 : last]


@pytest.mark.parametrize("city", figures.CITIES, ids=lambda city: city.name)
@pytest.mark.parametrize("year", [2023, 2024, 2025])
def test_waste_figures_have_a_size_that_could_be_true(city: figures.City, year: int) -> None:
    people, _ = figures.population(city, year)
    balances = {balance.fraction.code: balance for balance in figures.balances(2025, city, year)}
    for balance in balances.values():
        assert sum(balance.treated_kg.values()) == balance.generated_kg
    assert 140 <= balances["200301"].generated_kg / people <= 215
    assert 55 <= balances["200108"].generated_kg / people <= 95
    generated = sum(balance.generated_kg for balance in balances.values())
    recycled = sum(kg for b in balances.values() for code, kg in b.treated_kg.items() if code not in ("R1", "D10"))
    assert 0.42 <= recycled / generated <= 0.62


@pytest.mark.parametrize(("month", "day", "quarters"), [("2025-03", 30, 92), ("2025-10", 26, 100), ("2025-11", 26, 96)])
def test_a_day_has_as_many_quarter_hours_as_its_clock_shows(month: str, day: int, quarters: int) -> None:
    starts = [start.astimezone(figures.ZONE) for start, _ in figures.quarter_hours(month)]
    assert sum(start.day == day for start in starts) == quarters
    assert {f"{start:%Y-%m}" for start in starts} == {month}


def test_a_load_profile_sleeps_at_night(deliveries: list[DemoDelivery]) -> None:
    powers = defaultdict(list)
    for reading in figures.load(2025, "point", "2025-10", base_kw=30, peak_kw=150):
        powers[reading.start.astimezone(figures.ZONE).hour].append(reading.energy_wh)
    means = {hour: sum(values) / len(values) for hour, values in powers.items()}
    assert means[12] > 2 * means[2]


def test_power_in_the_file_is_four_times_the_energy_of_a_quarter_hour(deliveries: list[DemoDelivery]) -> None:
    file = next(d for d in deliveries if d.dataset == "load_profile" and d.period == "2025-03")
    (text,) = _texts(file.content)
    rows = list(csv.reader(text.splitlines()[6:], delimiter=";"))[1:-1]
    sent = sum(float(row[2].replace(".", "").replace(",", ".")) for row in rows)
    readings = figures.load(2025, "DE0000004210300000000000000000101", "2025-03", base_kw=35, peak_kw=160)
    assert sent * float(factor("kW", "kWh", "PT15M")) == pytest.approx(sum(r.energy_wh for r in readings) / 1000)


def test_files_are_small(deliveries: list[DemoDelivery]) -> None:
    assert max(len(delivery.content or b"") for delivery in deliveries) < 600_000


@pytest.mark.parametrize(
    "trap",
    [
        "thousands marks", "BOM", "preamble", "unit row", "merged two-row header", "totals", "footnotes", "k.A. is not zero",
        "columns renamed", "columns reordered", "extra column", "AGS without leading zero", "AVV with blanks and star",
        "kg, t and m³ mixed", "kW sent as kWh", "interval end label", "92 intervals", "100 intervals",
        "cumulative instead of monthly", "same file twice", "correction that removes rows", "foreign rows", "wrong supplier",
        "mandate moved in mid-year", "unknown local word", "cancellation before correction", "provisional, then true",
        "password", "formula cells", "=cmd injection", "HTML saved as .csv", "empty file", "nothing to report", "withdrawn",
        "code valid only until last year", "site no longer valid", "gap",
    ],
)  # fmt: skip
def test_a_trap_is_part_of_the_demo(trap: str, deliveries: list[DemoDelivery]) -> None:
    assert any(trap in (delivery.trap or "") for delivery in deliveries)


def test_some_slots_stay_empty_and_one_is_corrected_twice(deliveries: list[DemoDelivery]) -> None:
    attempts = Counter((d.supplier, d.dataset, d.period) for d in deliveries if d.kind == "deliver")
    assert attempts["wuppertal-abfall", "waste_balance", "2024"] == 3
    assert not attempts["wuppertal-abfall", "green_waste_intake", "2025-08"]
    assert not attempts["solingen-stadtwerke", "load_profile", "2025-11"]


def test_only_files_can_be_written_for_people(tmp_path: Path, deliveries: list[DemoDelivery]) -> None:
    written = write_demo(tmp_path)
    assert [path.read_bytes() for path in written] == [d.content for d in deliveries if d.content is not None]
    assert len(set(written)) == len(written)


def test_a_formula_in_the_workbook_shows_what_a_spreadsheet_would() -> None:
    def fill(sheet: openpyxl.worksheet.worksheet.Worksheet) -> None:
        sheet["A1"], sheet["A2"] = 1.5, "=A1*2"

    made = workbook(fill, results={"A2": 3.0})
    assert openpyxl.load_workbook(io.BytesIO(made), data_only=True).active["A2"].value == 3.0
    assert openpyxl.load_workbook(io.BytesIO(made)).active["A2"].value == "=A1*2"
    assert {info.date_time for info in zipfile.ZipFile(io.BytesIO(made)).infolist()} == {(2026, 1, 1, 0, 0, 0)}
    with pytest.raises(ValueError, match="no formula cell"):
        workbook(fill, results={"A1": 3.0})


def test_the_injected_formula_travels_as_text(deliveries: list[DemoDelivery]) -> None:
    sent = next(delivery for delivery in deliveries if "=cmd" in (delivery.trap or ""))
    sheet = openpyxl.load_workbook(io.BytesIO(sent.content or b"")).active
    injected = [cell for row in sheet for cell in row if str(cell.value).startswith("=cmd")]
    assert [cell.data_type for cell in injected] == ["s"]


def test_a_number_is_written_as_germans_do() -> None:
    assert german(1_234_567_890) == "1.234.567,890"
    assert german(-500, 1) == "-0,5"


def test_a_record_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        fixed_width([{(1, 2): "100"}])


@pytest.fixture
def real_register() -> list[str]:
    import os

    folder = Path(os.environ.get("VERBUND_REAL_DATA", ROOT.parent / "shared" / "data"))
    file = folder / "codelists" / "gv100ad" / "GV100AD_301121.ASC"
    if not file.exists():
        pytest.skip(f"the published register is not at {file}; set VERBUND_REAL_DATA")
    return file.read_text(encoding="utf-8").splitlines()


def _texts(content: bytes | None) -> list[str]:
    """What a person reads in a file, as far as it is text or a workbook."""
    if not content or content.startswith(b"\xd0\xcf"):
        return []
    if content.startswith(b"PK"):
        book = openpyxl.load_workbook(io.BytesIO(content))
        return ["\n".join(str(cell.value) for sheet in book for row in sheet for cell in row if cell.value is not None)]
    if content.startswith(b"\xff\xfe"):
        return [content.decode("utf-16")]
    try:
        return [content.decode("utf-8-sig")]
    except UnicodeDecodeError:
        return [content.decode("cp1252")]


def test_dates_in_the_story_are_in_the_past(deliveries: list[DemoDelivery]) -> None:
    assert deliveries[-1].received_at < datetime(2026, 11, 1, tzinfo=UTC)
