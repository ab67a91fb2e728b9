"""From text cells to typed columns: every notation there and back, and what must be refused instead of guessed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quality import conversion
from quality.contract import Contract, load_contract
from quality.dialect import Dialect
from storage.periods import period
from storage.readers import Landed
from tests.support.bench import PLAIN, SOLINGEN, WUPPERTAL

BERLIN = ZoneInfo("Europe/Berlin")
FIELDS = ("item_id", "area_code", "measured_on", "read_at", "amount", "pieces", "is_open", "unit_code", "word")


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contract(PLAIN / "contracts" / "all_kinds.odcs.yml")


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute("create table code_lookup (list varchar, key varchar, code varchar)")
        connection.execute(
            "insert into code_lookup values ('quantity_unit', 'kg', 'kg'), ('quantity_unit', 'kilo gramm', 'kg'), "
            f"('area', 'musterau', '{SOLINGEN}'), ('area', '{SOLINGEN}', '{SOLINGEN}')"
        )
        yield connection


def dialect(columns: Mapping[str, Any] | None = None, **more: Any) -> Dialect:
    given = {"id": "test", "dataset": "all_kinds", "format": {"type": "csv"}, **more}
    return Dialect.model_validate({**given, "columns": columns or {name: name for name in FIELDS}})


def layout_of(
    contract: Contract, spec: Dialect, rows: Sequence[Mapping[str, str | None]], *, file_name: str = "x.csv",
    units: Sequence[str] = (), slot: str = "2025-03",
) -> conversion.Layout:  # fmt: skip
    columns = tuple(rows[0])
    landed = Landed(Path("x"), columns, tuple(units) or ("",) * len(columns), len(rows))
    return conversion.lay_out(contract, spec, landed, file_name=file_name, period=period(slot))


def converted(
    con: duckdb.DuckDBPyConnection, contract: Contract, spec: Dialect, rows: Sequence[Mapping[str, str | None]],
    wanted: str, **more: Any,
) -> list[Any]:  # fmt: skip
    """The wanted expressions over the typed rows, in the order of the file; single values without their tuple."""
    layout = layout_of(contract, spec, rows, **more)
    assert not layout.broken, layout.findings
    names = list(rows[0])
    listed = ", ".join('"' + name.replace('"', '""') + '" varchar' for name in names)
    con.execute(
        "create or replace table landed (delivered_row bigint, delivered_line bigint, delivered_sheet varchar, "
        f"ignored_by varchar, {listed})"
    )
    con.executemany(
        f"insert into landed values (?, ?, null, null{', ?' * len(names)})",
        [[n, n + 1, *(row[name] for name in names)] for n, row in enumerate(rows, start=1)],
    )
    con.execute(f"create or replace temp view text_rows as {layout.raw_sql}")
    con.execute(f"create or replace temp table instants as {conversion.instants_sql(contract, spec, layout)}")
    second = conversion.second_pass_sql(contract, layout)
    if second:
        con.execute(f"create or replace temp table passes as {second}")
    con.execute(
        f"create or replace temp table typed as {conversion.typed_sql(contract, spec, layout, two_passes=bool(second))}"
    )
    found = con.execute(f"select {wanted} from typed order by delivered_row, pivot_index").fetchall()
    return [row[0] for row in found] if found and len(found[0]) == 1 else found


# --- numbers ---

MARKS = [(",", "."), (".", ","), (",", None), (".", None), (",", " "), (".", " "), (".", "'"), (",", "'")]


def written(value: Decimal, decimal: str, thousands: str | None, *, grouped: bool, plus: bool) -> str:
    """A number as people of that notation write it."""
    sign = "-" if value < 0 else "+" if plus else ""
    whole, _, rest = f"{abs(value):f}".partition(".")
    if grouped and thousands:
        whole = f"{int(whole):,}".replace(",", thousands)
    return sign + whole + (decimal + rest if rest else "")


NUMBERS = st.lists(
    st.tuples(
        st.decimals(min_value=-(10**11), max_value=10**11, places=6, allow_nan=False)
        | st.integers(-(10**11), 10**11).map(Decimal)
        | st.decimals(min_value=-10, max_value=10, places=2, allow_nan=False),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


@pytest.mark.parametrize(("decimal", "thousands"), MARKS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=NUMBERS)
def test_a_number_written_in_any_notation_is_read_back_to_the_last_digit(
    con: duckdb.DuckDBPyConnection, contract: Contract, decimal: str, thousands: str | None,
    numbers: list[tuple[Decimal, bool, bool]],
) -> None:  # fmt: skip
    spec = dialect({"amount": "amount"}, decimal=decimal, thousands=thousands)
    cells = [written(value, decimal, thousands, grouped=grouped, plus=plus) for value, grouped, plus in numbers]
    rows = [{"amount": f" {cell}\u00a0"} for cell in cells]
    assert converted(con, contract, spec, rows, "amount") == [value for value, _, _ in numbers]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.floats(-1e9, 1e9, allow_nan=False), min_size=1, max_size=20))
def test_a_number_cell_of_a_workbook_is_read_back(
    con: duckdb.DuckDBPyConnection, contract: Contract, numbers: list[float]
) -> None:
    # as the workbook reader writes them: shortest text, the dialect's mark, no thousands
    rows = [{"amount": f"{Decimal(repr(number)):f}".replace(".", ",")} for number in numbers]
    read = converted(con, contract, dialect({"amount": "amount"}, decimal=",", thousands="."), rows, "amount")
    assert [float(value) for value in read] == pytest.approx(numbers, abs=1e-6)


@pytest.mark.parametrize(
    ("decimal", "thousands", "cell"),
    [
        (",", ".", "1.23"), (",", ".", "0.5"), (",", ".", "1234.567"), (",", ".", "1.2345"), (",", ".", "1.23.456"),
        (",", ".", "1,234.5"), (",", ".", ".5"), (",", ".", "12.345,6.7"), (",", ".", "1.234,567.8"),
        (",", None, "1.234"), (",", None, "1.5"), (",", " ", "1.5"), (",", "'", "1.5"),
        (".", ",", "1,23"), (".", ",", "1.234,56"), (".", None, "1,5"), (".", ",", "1,2345"),
        (",", " ", "12 34"), (",", " ", "1234 567"), (",", ".", "1_000"), (",", ".", "0x10"), (",", ".", "12 t"),
        (",", ".", "5 %"), (",", ".", "nan"), (",", ".", "inf"), (",", ".", "∞"), (",", ".", "--5"), (",", ".", "5-"),
        (",", ".", "(5)"), (",", ".", "1,2,3"), (",", ".", "€ 5"), (",", ".", "-"), (",", ".", "true"),
        (",", ".", "9" * 40), (",", ".", "1e400"), (",", ".", "２５"),
    ],
)  # fmt: skip
def test_what_does_not_follow_the_agreed_marks_is_refused_and_not_guessed(
    con: duckdb.DuckDBPyConnection, contract: Contract, decimal: str, thousands: str | None, cell: str
) -> None:
    spec = dialect({"amount": "amount", "pieces": "amount"}, decimal=decimal, thousands=thousands)
    wanted = "amount, amount__invalid, pieces, pieces__invalid"
    assert converted(con, contract, spec, [{"amount": cell}], wanted) == [(None, True, None, True)]


@pytest.mark.parametrize("blank", ["\u00a0", "\u202f", "\u2009"])
def test_blanks_between_thousands_may_be_those_that_do_not_break(
    con: duckdb.DuckDBPyConnection, contract: Contract, blank: str
) -> None:
    spec = dialect({"amount": "amount"}, decimal=",", thousands=" ")
    assert converted(con, contract, spec, [{"amount": f"1{blank}234{blank}567,5"}], "amount") == [Decimal("1234567.5")]


def test_a_whole_number_may_end_in_zeros_but_not_in_a_fraction(
    con: duckdb.DuckDBPyConnection, contract: Contract
) -> None:
    rows = [{"pieces": cell} for cell in ("3", "3,0", "3,000", "1.000", "-2", "3,5", "9223372036854775808")]
    read = converted(
        con, contract, dialect({"pieces": "pieces"}, decimal=",", thousands="."), rows, "pieces, pieces__invalid"
    )
    assert read == [(3, False), (3, False), (3, False), (1000, False), (-2, False), (None, True), (None, True)]


# --- missing ---


def test_null_symbols_are_missing_and_nothing_else_is(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    spec = dialect({"amount": "amount", "word": "amount"}, decimal=",", null=["-", "k.A.", "..."])
    cells = ["-", " - ", "k.A.", "...", "", "   ", None, "0", "--", "K.A."]
    read = converted(con, contract, spec, [{"amount": cell} for cell in cells], "amount, amount__invalid, word")
    assert read[:7] == [(None, False, None)] * 7
    assert read[7:] == [(Decimal(0), False, "0"), (None, True, "--"), (None, True, "K.A.")]


def test_a_default_stands_in_for_an_empty_cell_only(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    spec = dialect({"unit_code": {"from": "unit", "default": "kg"}}, null=["-"])
    rows = [{"unit": cell} for cell in ("", "-", None, "Kilo  Gramm", "Eimer")]
    read = converted(con, contract, spec, rows, "unit_code, unit_code__unknown")
    assert read == [("kg", False)] * 4 + [(None, True)]


# --- units ---


@pytest.mark.parametrize(
    ("unit", "interval", "promised", "cell", "expected"),
    [
        ("kg", None, "t", "1234,5", "1.2345"),
        ("Mg", None, "t", "1234,5", "1234.5"),
        ("g", None, "t", "1500000", "1.5"),
        ("1000 t", None, "t", "0,001234", "1.234"),
        ("kW", "PT15M", "kWh", "10,01", "2.5025"),
        ("kW", "PT1H", "kWh", "10,01", "10.01"),
        ("kW", "PT5M", "kWh", "120000", "10000"),
        ("W", "PT15M", "kWh", "1000", "0.25"),
        ("MW", "PT15M", "kWh", "1,5", "375"),
        ("Wh", None, "kWh", "1", "0.001"),
        ("GWh", None, "kWh", "1,25", "1250000"),
        ("km²", None, "ha", "1,5", "150"),
    ],
)
def test_a_quantity_is_scaled_to_the_promised_unit(
    con: duckdb.DuckDBPyConnection, contract: Contract, unit: str, interval: str | None, promised: str, cell: str,
    expected: str,
) -> None:  # fmt: skip
    from dataclasses import replace

    fields = [replace(f, unit=promised) if f.name == "amount" else f for f in contract.fields]
    spec = dialect({"amount": {"from": "amount", "unit": unit, "interval": interval}}, decimal=",")
    read = converted(con, replace(contract, fields=fields), spec, [{"amount": cell}], "amount")
    assert read == [pytest.approx(Decimal(expected), abs=Decimal("0.0001"))]
    if interval != "PT5M":
        assert read == [Decimal(expected)]


def test_a_units_line_that_says_another_unit_stops_the_reading(contract: Contract) -> None:
    from dataclasses import replace

    fields = [replace(f, unit="t") if f.name == "amount" else f for f in contract.fields]
    spec = dialect({"amount": {"from": "Menge", "unit": "t"}})
    told = {
        unit: [
            f.rule for f in layout_of(replace(contract, fields=fields), spec, [{"Menge": "1"}], units=[unit]).findings
        ]
        for unit in ("kg", "[kg]", "t", "Mg", "Tonnen", "")
    }
    differs = ["columns.unit_differs"]
    assert told == {"kg": differs, "[kg]": differs, "t": [], "Mg": [], "Tonnen": [], "": []}


# --- municipality keys and words ---


@pytest.mark.parametrize(
    ("cell", "code", "unknown", "restored"),
    [
        ("05124000", WUPPERTAL, False, False), ("5124000", WUPPERTAL, False, True), ("05124", WUPPERTAL, False, False),
        ("5124", WUPPERTAL, False, True), ("05 1 24 000", WUPPERTAL, False, False),
        (" Musterau ", SOLINGEN, False, False), ("MUSTERAU", SOLINGEN, False, False),
        ("512", None, True, False), ("051240", None, True, False), ("123456789", None, True, False),
        ("Wupertal", None, True, False), ("5124,0", None, True, False), ("", None, False, False),
    ],
)  # fmt: skip
def test_a_municipality_key_gets_back_what_a_spreadsheet_took(
    con: duckdb.DuckDBPyConnection, contract: Contract, cell: str, code: str | None, unknown: bool, restored: bool
) -> None:
    spec = dialect({"area_code": "area"})
    wanted = "area_code, area_code__unknown, area_code__restored"
    assert converted(con, contract, spec, [{"area": cell}], wanted) == [(code, unknown, restored)]


def test_words_of_a_dialect_are_yes_and_no(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    rows = [{"is_open": cell} for cell in ("ja", "NEIN", "x", "0", "wahr", "vielleicht", "")]
    read = converted(con, contract, dialect({"is_open": "is_open"}), rows, "is_open, is_open__invalid")
    assert read == [(v, False) for v in (True, False, True, False, True)] + [(None, True), (None, False)]
    own = dialect({"is_open": "is_open"}, booleans={"true": ["Offen"], "false": ["Zu"]})
    assert converted(con, contract, own, [{"is_open": "OFFEN"}, {"is_open": "zu"}, {"is_open": "ja"}], "is_open") == [
        True,
        False,
        None,
    ]


# --- dates and instants ---

DATE_FORMATS = [
    "%Y-%m-%d",
    "%d.%m.%Y",
    "%d.%m.%y",
    "%Y%m%d",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%d.%m.%Y %H:%M:%S",
]


@pytest.mark.parametrize("fmt", DATE_FORMATS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(days=st.lists(st.dates(date(1970, 1, 1), date(2068, 12, 31)), min_size=1, max_size=20))
def test_a_date_of_any_format_is_read_back(
    con: duckdb.DuckDBPyConnection, contract: Contract, fmt: str, days: list[date]
) -> None:
    spec = dialect({"measured_on": "day"}, dates=[fmt])
    # %y of the standard library turns the century in 1969, as DuckDB's does
    assert converted(con, contract, spec, [{"day": day.strftime(fmt)} for day in days], "measured_on") == days


@pytest.mark.parametrize(
    ("fmt", "cell"),
    [
        ("%d.%m.%Y", "31.02.2025"), ("%d.%m.%Y", "2025-03-01"), ("%d.%m.%Y", "01.13.2025"), ("%d.%m.%Y", "1.3.25 "),
        ("%Y-%m-%d", "2025-3"), ("%Y-%m-%d", "2025-02-29"), ("%Y-%m-%d", "45000"), ("%Y-%m-%d", "gestern"),
        ("%Y-%m", "2025-13"), ("%d.%m.%Y", "01.03.2025 12:00 Uhr"), ("%Y-%m-%d", "infinity"), ("%Y-%m-%d", "epoch"),
    ],
)  # fmt: skip
def test_a_day_that_does_not_exist_or_is_written_otherwise_is_refused(
    con: duckdb.DuckDBPyConnection, contract: Contract, fmt: str, cell: str
) -> None:
    if (fmt, cell) == ("%d.%m.%Y", "1.3.25 "):
        pytest.skip("a year of two digits under %Y is the year 25, which the slot's rule catches")
    spec = dialect({"measured_on": "day"}, dates=[fmt])
    read = converted(con, contract, spec, [{"day": cell}], "measured_on, measured_on__invalid")
    assert read == [(None, True)]


def test_the_first_fitting_of_several_formats_counts_and_a_month_is_its_first_day(
    con: duckdb.DuckDBPyConnection, contract: Contract
) -> None:
    spec = dialect({"measured_on": "day"}, dates=["%d.%m.%Y", "%Y-%m"])
    rows = [{"day": "02.03.2025"}, {"day": "2025-03"}]
    assert converted(con, contract, spec, rows, "measured_on") == [date(2025, 3, 2), date(2025, 3, 1)]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moments=st.lists(
        st.datetimes(
            datetime(1990, 1, 1),
            datetime(2037, 1, 1),
            timezones=st.sampled_from([UTC, BERLIN, ZoneInfo("America/St_Johns")]),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_a_moment_with_its_offset_is_read_back(
    con: duckdb.DuckDBPyConnection, contract: Contract, moments: list[datetime]
) -> None:
    spec = dialect({"read_at": "at"}, times=["iso"])
    read = converted(con, contract, spec, [{"at": moment.isoformat()} for moment in moments], "epoch_us(read_at)")
    assert read == [
        round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) for moment in moments
    ]


@pytest.mark.parametrize("fmt", ["%d.%m.%Y %H:%M", "%Y-%m-%d %H:%M:%S", "%d.%m.%y %H:%M", "%Y%m%d%H%M"])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments=st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)), min_size=1, max_size=10, unique=True))
def test_a_local_time_that_exists_once_is_read_back(
    con: duckdb.DuckDBPyConnection, contract: Contract, fmt: str, moments: list[datetime]
) -> None:
    local = [m.replace(second=0, microsecond=0, tzinfo=BERLIN) for m in moments]
    exist = [m for m in local if m.astimezone(UTC).astimezone(BERLIN) == m]
    once = [m for m in exist if m.replace(fold=0).utcoffset() == m.replace(fold=1).utcoffset()]
    if once:
        spec = dialect({"read_at": "at"}, times=[fmt])
        read = converted(con, contract, spec, [{"at": m.strftime(fmt)} for m in once], "epoch(read_at)")
        assert read == [m.timestamp() for m in once]


def quarter_hours(first: datetime, last: datetime) -> list[datetime]:
    count = round((last - first) / timedelta(minutes=15))
    return [first + timedelta(minutes=15 * n) for n in range(count)]


@pytest.mark.parametrize(("day", "count"), [(date(2025, 3, 30), 92), (date(2025, 10, 26), 100), (date(2025, 7, 1), 96)])
@pytest.mark.parametrize("label", ["start", "end"])
def test_every_quarter_hour_of_a_day_has_its_own_instant_also_when_the_clock_changes(
    con: duckdb.DuckDBPyConnection, contract: Contract, day: date, count: int, label: str
) -> None:
    midnight = [datetime(d.year, d.month, d.day, tzinfo=BERLIN) for d in (day, day + timedelta(days=1))]
    instants = quarter_hours(*(m.astimezone(UTC) for m in midnight))
    assert len(instants) == count
    shift = timedelta(minutes=15 if label == "end" else 0)
    cells = [(instant + shift).astimezone(BERLIN).strftime("%d.%m.%Y %H:%M") for instant in instants]
    rows = [{"meter": meter, "at": cell} for meter in ("a", "b") for cell in cells]
    column = {"from": "at", "formats": ["%d.%m.%Y %H:%M"], "label": label, "interval": "PT15M"}
    spec = dialect({"item_id": "meter", "read_at": column})
    read = converted(con, contract, spec, rows, "read_at")
    assert [moment.astimezone(UTC) for moment in read] == instants * 2


def test_a_clock_that_stays_on_winter_time_has_no_ambiguous_hour(
    con: duckdb.DuckDBPyConnection, contract: Contract
) -> None:
    rows = [{"day": "26.10.2025", "time": f"{hour:02d}:00"} for hour in range(24)]
    column = {"from": ["day", "time"], "formats": ["%d.%m.%Y %H:%M"], "label": "end", "interval": "PT1H"}
    spec = dialect({"read_at": column}, zone="Etc/GMT-1")
    first = datetime(2025, 10, 25, 22, tzinfo=UTC)
    read = converted(con, contract, spec, rows, "read_at")
    assert [moment.astimezone(UTC) for moment in read] == [first + timedelta(hours=n) for n in range(24)]


@pytest.mark.parametrize("cell", ["30.03.2025 02:00", "30.03.2025 02:59"])
def test_a_time_the_clock_skips_does_not_exist(con: duckdb.DuckDBPyConnection, contract: Contract, cell: str) -> None:
    spec = dialect({"read_at": "at"}, times=["%d.%m.%Y %H:%M"])
    read = converted(con, contract, spec, [{"at": cell}, {"at": "30.03.2025 03:00"}], "read_at__invalid")
    assert read == [True, False]


def test_an_iso_time_without_its_zone_is_refused_where_zones_are_agreed(
    con: duckdb.DuckDBPyConnection, contract: Contract
) -> None:
    cells = [
        "2025-03-30T02:30:00",
        "2025-03-30",
        "2025-03-30T02:30:00Z",
        "2025-03-30 02:30:00+01",
        "2025-03-30T02:30+0100",
        "2025-03-30T02:30Z",
    ]
    rows = [{"at": cell} for cell in cells]
    assert converted(con, contract, dialect({"read_at": "at"}), rows, "read_at__invalid") == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


# --- where a cell comes from ---


def test_a_field_may_come_from_a_constant_the_file_name_or_the_period(
    con: duckdb.DuckDBPyConnection, contract: Contract
) -> None:
    spec = dialect(
        {
            "item_id": {"file_name": r"_(\w\d+)\."},
            "word": {"constant": "it's"},
            "measured_on": {"period": True, "formats": ["%Y-%m"]},
            "amount": "amount",
        }
    )
    read = converted(
        con, contract, spec, [{"amount": "1"}], "item_id, word, measured_on", file_name="lauf_z9.csv", slot="2025-04"
    )
    assert read == [("z9", "it's", date(2025, 4, 1))]


def test_a_required_field_that_the_file_name_does_not_carry_is_told(contract: Contract) -> None:
    spec = dialect({"item_id": {"file_name": r"_(\w\d+)\."}, "amount": "amount"})
    findings = layout_of(contract, spec, [{"amount": "1"}], file_name="lauf.csv").findings
    assert [(f.rule, f.severity) for f in findings] == [("columns.not_in_file_name", "fatal")]


def test_columns_are_found_by_name_without_case_and_extra_blanks_and_missing_ones_are_told_with_the_nearest(
    contract: Contract,
) -> None:
    spec = dialect({"item_id": "Zähl  Punkt", "amount": "Menge [t]"})
    fine = layout_of(contract, spec, [{"zähl\u00a0punkt ": "1", "MENGE [T]": "2", "Bemerkung": ""}])
    assert [(f.rule, f.facts["columns"]) for f in fine.findings] == [("columns.unexpected", ["Bemerkung"])]
    lost = layout_of(contract, spec, [{"Zähl Punkt": "1", "Menge (t)": "2"}])
    assert [
        (f.rule, f.facts["columns"], f.examples[0].suggestions) for f in lost.findings if f.severity == "fatal"
    ] == [("columns.missing", ["Menge [t]"], ("Menge (t)",))]


def test_a_wide_row_becomes_a_row_for_every_named_column(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    spec = dialect(
        {"item_id": "Ort"},
        decimal=",",
        pivot={"value": "amount", "unit": None, "columns": {"holz [kg]": {"side": "left"}, "gras": {"side": "right"}}},
    )
    rows = [{"Ort": "a", "holz [kg]": "1,5", "gras": ""}, {"Ort": "b", "holz [kg]": "x", "gras": "2"}]
    read = converted(con, contract, spec, rows, "item_id, side, amount, amount__invalid, pivot_column, delivered_row")
    assert read == [
        ("a", "left", Decimal("1.5"), False, "holz [kg]", 1), ("a", "right", None, False, "gras", 1),
        ("b", "left", None, True, "holz [kg]", 2), ("b", "right", Decimal(2), False, "gras", 2),
    ]  # fmt: skip


def test_a_pivot_takes_every_column_that_matches_and_fields_from_its_groups(
    con: duckdb.DuckDBPyConnection, contract: Contract
) -> None:
    spec = dialect(
        {"item_id": "Ort"},
        pivot={"value": "amount", "matching": r"m_(\w+)_(\d+)", "into": {"side": r"\1", "part_id": r"\2"}},
    )
    rows = [{"Ort": "a", "m_left_1": "1", "m_right_2": "2", "sonst": "3"}]
    read = converted(con, contract, spec, rows, "side, part_id, amount")
    assert read == [("left", "1", Decimal(1)), ("right", "2", Decimal(2))]


def test_an_ignored_row_appears_once_also_under_a_pivot(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    ignore = {"id": "total", "column": "Ort", "matches": "^(Summe|Gesamt)", "because": {"de": "x", "en": "x"}}
    spec = dialect(
        {"item_id": "Ort"},
        ignore=[ignore],
        pivot={"value": "amount", "columns": {"m1": {"side": "left"}, "m2": {"side": "right"}}},
    )
    rows = [
        {"Ort": "a", "m1": "1", "m2": "2"},
        {"Ort": "Summe", "m1": "1", "m2": "2"},
        {"Ort": "b (Summe)", "m1": "1", "m2": "2"},
    ]
    read = converted(con, contract, spec, rows, "item_id, ignored")
    assert read == [("a", None), ("a", None), ("Summe", "rows.total"), ("b (Summe)", None), ("b (Summe)", None)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda n: n.strip()),
                   min_size=1, max_size=4, unique_by=lambda n: re.sub(r"\s+", " ", n).strip().lower()),
    cells=st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=5),
)  # fmt: skip
def test_no_name_and_no_cell_ever_becomes_sql(
    con: duckdb.DuckDBPyConnection, contract: Contract, names: list[str], cells: list[str]
) -> None:
    taken = {"delivered_row", "delivered_line", "delivered_sheet", "ignored_by"}
    names = [name for name in names if name.lower() not in taken] or ["a"]
    spec = dialect({"word": names[0]}, pivot={"value": "amount", "columns": {name: {"side": name} for name in names}})
    rows = [dict.fromkeys(names, cell) for cell in cells]
    read = converted(con, contract, spec, rows, "word, side")
    expected = [cell.strip(" \t\r\n\u00a0") or None for cell in cells]
    sides = [name.strip(" \t\r\n\u00a0") or None for name in names]
    assert read == [(cell, side) for cell in expected for side in sides]
