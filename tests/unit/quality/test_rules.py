"""Every rule is broken by a delivery; Great Expectations, our rows and a count made here agree on how many rows broke it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quality import judge as judging
from quality.errors import PlatformTrouble
from quality.judge import _Judging
from quality.rules import Check, rule_ids
from quality.sources import Misconfigured
from tests.support.bench import GOOD, SOLINGEN, WUPPERTAL, TestBench, found, written

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBench]:
    made = TestBench(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


@dataclass(frozen=True)
class Broken:
    """A delivery that breaks a rule: changes to the good row of the dataset, one row each, and how many rows break it.

    `before` holds rows accepted earlier for `period` (the same slot) or the period given with them.
    """

    rows: Sequence[Mapping[str, str]]
    count: int
    before: tuple[str, Sequence[Mapping[str, str]]] | None = None


def hours(day: date, hours_utc: Sequence[int], item: str = "a") -> list[dict[str, str]]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return [
        {"item_id": item, "part_id": f"{day}{n}", "measured_on": "2025-03-12", "read_at": (start + timedelta(hours=n)).isoformat()}
        for n in hours_utc
    ]  # fmt: skip


def quarters(first: str, count: int, **change: str) -> list[dict[str, str]]:
    start = datetime.fromisoformat(first)
    return [{"interval_start_at": (start + timedelta(minutes=15 * n)).isoformat(), **change} for n in range(count)]


SPLIT = {"flow_code": "treated", "treatment_code": "R1"}
OUT = {"flow_code": "output", "source_area_code": "", "product_code": "compost", "treatment_code": "none"}
DAYS = [f"2025-03-{n:02d}" for n in range(1, 32)]

CASES: dict[tuple[str, str], Broken] = {
    # what every dataset has by nature
    ("waste_balance", "values.missing"): Broken([{"area_code": ""}, {"waste_code": "-"}, {"year": "k.A."}, {}], 3),
    ("waste_balance", "values.not_a_number"): Broken(
        [{"quantity_t": "1.23"}, {"year": "2024,5"}, {"quantity_t": "viel"}, {"quantity_t": "1e3"}], 3
    ),
    ("waste_balance", "values.unknown_code"): Broken(
        [{"waste_code": "999999"}, {"flow_code": "weg", "waste_code": "0"}, {"area_code": "Nirgendwo"}, {"area_code": "Probestadt"}], 3,
    ),
    ("waste_balance", "values.leading_zero_restored"): Broken(
        [{"area_code": "5124000"}, {"area_code": "5122", "waste_code": "200108"}, {"area_code": "05124"}], 2
    ),
    ("waste_balance", "keys.duplicate"): Broken(
        [{}, {"quantity_t": "2"}, {"waste_code": "20 03 01*"}, {"waste_code": "200108"}], 3
    ),
    ("waste_balance", "mandate.foreign_row"): Broken([{"area_code": "05120000"}, {"area_code": SOLINGEN}, {"area_code": "5513"}], 2),
    ("waste_balance", "slot.wrong_period"): Broken([{"year": "2023"}, {"year": "2025"}, {}], 2),
    ("green_waste_intake", "values.missing"): Broken([{"site_id": ""}, {"unit_code": ""}, {"intake_date": ""}, {}], 3),
    ("green_waste_intake", "values.not_a_number"): Broken([{"quantity": "ca. 5"}, {"quantity": "0,5", "unit_code": "kg"}], 1),
    ("green_waste_intake", "values.not_a_date"): Broken([{"intake_date": "31.05.2025"}, {"intake_date": "2025-05-32"}, {}], 2),
    ("green_waste_intake", "values.not_a_boolean"): Broken([{"is_estimated": "vielleicht"}, {"is_estimated": "JA", "unit_code": "kg"}], 1),
    ("green_waste_intake", "values.unknown_code"): Broken([{"site_id": "hinten"}, {"fraction_code": "nass"}, {}], 2),
    ("green_waste_intake", "values.leading_zero_restored"): Broken([{"area_code": "5124000"}], 1),
    ("green_waste_intake", "keys.duplicate"): Broken([{}, {"quantity": "1"}, {"unit_code": "kg"}], 2),
    ("green_waste_intake", "mandate.foreign_row"): Broken([{"area_code": "05120000"}], 1),
    ("green_waste_intake", "slot.wrong_period"): Broken(
        [{"intake_date": "2025-04-30"}, {"intake_date": "2025-06-01"}, {"intake_date": "2025-05-31"}], 2
    ),
    ("green_waste_treatment", "values.missing"): Broken([{"quantity_t": ""}, {"product_code": "", "quantity_t": "1"}], 2),
    ("green_waste_treatment", "values.not_a_number"): Broken([{"quantity_t": "1.5"}], 1),
    ("green_waste_treatment", "values.not_a_date"): Broken([{"month_date": "Mai 2025"}], 1),
    ("green_waste_treatment", "values.unknown_code"): Broken([{"source_area_code": "woanders"}, {"treatment_code": "R99"}], 2),
    ("green_waste_treatment", "values.leading_zero_restored"): Broken([{"source_area_code": "5124000"}], 1),
    # an empty origin is a part of the key: two outputs of the same product are one too many
    ("green_waste_treatment", "keys.duplicate"): Broken([OUT, OUT | {"quantity_t": "7"}, {}, {"product_code": "soft"}], 2),
    ("green_waste_treatment", "mandate.foreign_row"): Broken([{"source_area_code": "05120000"}, OUT], 1),
    ("green_waste_treatment", "slot.wrong_period"): Broken([{"month_date": "2025-06-01"}], 1),
    ("load_profile", "values.missing"): Broken([{"metering_point_id": ""}, {"energy_kwh": "-"}, {"status_code": ""}], 3),
    ("load_profile", "values.not_a_number"): Broken([{"energy_kwh": "1.5"}], 1),
    ("load_profile", "values.not_a_timestamp"): Broken(
        [{"interval_start_at": "2025-05-02 00:15"}, {"interval_start_at": "02.05.2025"}, {"interval_start_at": "2025-05-02T00:15:00Z"}], 2,
    ),
    ("load_profile", "values.unknown_code"): Broken([{"status_code": "gut"}], 1),
    # the same instant in two zones is one quarter hour
    ("load_profile", "keys.duplicate"): Broken(
        [{}, {"interval_start_at": "2025-05-01T22:00:00Z"}, {"obis_code": "1-1:2.29.0"}], 2
    ),
    # a month begins and ends at midnight in Berlin
    ("load_profile", "slot.wrong_period"): Broken(
        [{"interval_start_at": t} for t in ("2025-04-30T21:45:00Z", "2025-04-30T22:00:00Z", "2025-05-31T21:45:00Z", "2025-05-31T22:00:00Z")], 2,
    ),
    ("municipality_register", "values.missing"): Broken([{"area_name": ""}, {"as_of_date": "", "area_code": SOLINGEN}], 2),
    ("municipality_register", "values.not_a_date"): Broken([{"as_of_date": "20241231"}], 1),
    ("municipality_register", "values.unknown_code"): Broken([{"area_code": "ABC"}, {"area_code": "123456789"}, {"area_code": "051240"}], 3),
    ("municipality_register", "values.leading_zero_restored"): Broken([{"area_code": "5124000"}], 1),
    ("municipality_register", "keys.duplicate"): Broken([{}, {"area_name": "Zwilling"}, {"area_code": "05124"}], 3),
    ("population", "values.missing"): Broken([{"population": ""}, {"key_date": ""}], 2),
    ("population", "values.not_a_number"): Broken([{"population": "350,5"}, {"area_ha": "groß"}, {"population": "350,0"}], 2),
    ("population", "values.not_a_date"): Broken([{"key_date": "31.12."}], 1),
    ("population", "values.unknown_code"): Broken([{"area_code": "Dorf"}], 1),
    ("population", "values.leading_zero_restored"): Broken([{"area_code": "5124000"}], 1),
    ("population", "keys.duplicate"): Broken([{}, {"population": "1"}], 2),
    ("population", "slot.wrong_period"): Broken([{"key_date": "2023-12-31"}, {"key_date": "2025-01-01"}], 2),
    # what the contracts add
    ("waste_balance", "quantity_stated"): Broken(
        [{"quantity_t": ""}, {"quantity_t": "-", "waste_code": "200108"}, {"quantity_t": "0", "waste_code": "200201"}], 2
    ),
    ("waste_balance", "quantity_not_negative"): Broken([{"quantity_t": "-0,001"}, {"quantity_t": "0", "waste_code": "200108"}], 1),
    ("waste_balance", "quantity_plausible"): Broken([{"quantity_t": "100.000.001"}, {"quantity_t": "100.000.000", "waste_code": "200108"}], 1),
    ("waste_balance", "destinations_add_up"): Broken(
        [{"quantity_t": "100"}, SPLIT | {"quantity_t": "60"}, SPLIT | {"treatment_code": "R3", "quantity_t": "38,9"},
         {"waste_code": "200108", "quantity_t": "100"}, SPLIT | {"waste_code": "200108", "quantity_t": "99"},
         {"waste_code": "200201", "quantity_t": "100"}], 3,
    ),
    ("waste_balance", "quantity_changed_by_less_than_a_third"): Broken(
        [{"quantity_t": "131"}, {"quantity_t": "130", "waste_code": "200108"}, {"quantity_t": "999", "waste_code": "200201"}], 1,
        ("2023", [{"year": "2023", "quantity_t": "100"}, {"year": "2023", "quantity_t": "100", "waste_code": "200108"}]),
    ),
    ("green_waste_intake", "intake_quantity_stated"): Broken([{"quantity": ""}], 1),
    ("green_waste_intake", "intake_not_negative"): Broken([{"quantity": "-1"}], 1),
    ("green_waste_intake", "intake_plausible_per_day"): Broken([{"quantity": "1.000.001"}], 1),
    ("green_waste_intake", "intake_change_against_last_month"): Broken(
        [{"quantity": "30"}, {"quantity": "21", "intake_date": "2025-05-03"}], 2, ("2025-04", [{"intake_date": "2025-04-03", "quantity": "10"}]),
    ),
    ("green_waste_treatment", "origin_of_input_stated"): Broken([{"source_area_code": ""}, OUT], 1),
    ("green_waste_treatment", "only_stock_change_negative"): Broken(
        [{"quantity_t": "-1"}, OUT | {"flow_code": "stock_change", "quantity_t": "-1"}], 1
    ),
    ("green_waste_treatment", "mass_balance_closes"): Broken([{"quantity_t": "100"}, OUT | {"quantity_t": "94"}], 2),
    ("load_profile", "metering_point_present"): Broken([{"metering_point_id": ""}], 1),
    ("load_profile", "metering_point_well_formed"): Broken([{"metering_point_id": "DE00"}, {"metering_point_id": "12345678901"}], 1),
    ("load_profile", "energy_not_negative"): Broken([{"energy_kwh": "-0,001"}], 1),
    ("load_profile", "energy_plausible"): Broken([{"energy_kwh": "100.001"}], 1),
    # 30 March 2025 has 23 hours: 92 quarter hours are all of it; the last of 31 March is missing
    ("load_profile", "days_are_complete"): Broken(
        quarters("2025-03-30T00:00:00+01:00", 92) + quarters("2025-03-31T00:00:00+02:00", 95), 95
    ),
    ("municipality_register", "name_present"): Broken([{"area_name": "x" * 121}, {"area_name": "ö" * 120, "area_code": SOLINGEN}], 1),
    ("population", "population_not_negative"): Broken([{"population": "-1", "population_male": ""}], 1),
    ("population", "area_above_zero"): Broken([{"area_ha": "0"}, {"area_ha": "0,1", "area_code": SOLINGEN}], 1),
    ("population", "males_are_part_of_population"): Broken([{"population_male": "350001"}, {"population_male": "350000", "area_code": SOLINGEN}], 1),
    ("population", "population_changed_by_less_than_a_tenth"): Broken(
        [{"population": "90"}, {"population": "89", "area_code": SOLINGEN}], 1,
        ("2023", [{"key_date": "2023-12-31", "population": "100", "population_male": ""},
                  {"key_date": "2023-12-31", "population": "100", "population_male": "", "area_code": SOLINGEN}]),
    ),
    # one rule of every kind
    ("all_kinds", "values.missing"): Broken([{"item_id": ""}, {"measured_on": ""}, {"word": ""}], 2),
    ("all_kinds", "values.not_a_number"): Broken([{"amount": "1.2"}, {"pieces": "1,2"}, {"pieces": "2,0"}], 2),
    ("all_kinds", "values.not_a_date"): Broken([{"measured_on": "12.03.2025"}], 1),
    ("all_kinds", "values.not_a_timestamp"): Broken([{"read_at": "gestern"}], 1),
    ("all_kinds", "values.not_a_boolean"): Broken([{"is_open": "2"}], 1),
    ("all_kinds", "values.unknown_code"): Broken([{"unit_code": "Eimer"}], 1),
    ("all_kinds", "values.leading_zero_restored"): Broken([{"area_code": "5124"}, {"area_code": "5122 000"}], 2),
    ("all_kinds", "keys.duplicate"): Broken([{"part_id": ""}, {"part_id": ""}, {"part_id": "1"}, {"part_id": "2"}], 2),
    ("all_kinds", "mandate.foreign_row"): Broken([{"area_code": "05513000"}], 1),
    ("all_kinds", "slot.wrong_period"): Broken([{"measured_on": "2025-02-28"}, {"measured_on": "2025-03-31"}], 1),
    ("all_kinds", "amount_stated"): Broken([{"amount": ""}, {"amount": "0"}], 1),
    ("all_kinds", "amount_between"): Broken([{"amount": "-10,6"}, {"amount": "1000,000001"}, {"amount": "-10,5"}, {"amount": ""}], 2),
    ("all_kinds", "high_above_zero_below_ten"): Broken([{"high": "0"}, {"high": "10"}, {"high": "9,999999"}, {"high": ""}], 2),
    ("all_kinds", "not_before_the_tenth"): Broken([{"measured_on": "2025-03-09"}, {"measured_on": "2025-03-10"}], 1),
    ("all_kinds", "side_known"): Broken([{"side": "oben"}, {"side": "o'ther"}, {"side": ""}], 1),
    ("all_kinds", "pieces_known"): Broken([{"pieces": "3"}, {"pieces": "12"}, {"pieces": ""}], 1),
    ("all_kinds", "word_shaped"): Broken([{"word": "ab1"}, {"word": "ABC"}, {"word": "ärä"}, {"word": "12"}, {"word": ":x"}, {"word": ""}], 2),
    ("all_kinds", "word_length"): Broken([{"word": "a"}, {"word": "abcdef"}, {"word": "ääääa"}], 2),
    ("all_kinds", "high_not_below_low"): Broken([{"high": "1", "low": "2"}, {"high": "2", "low": "2"}, {"high": "", "low": "2"}], 1),
    ("all_kinds", "amount_above_low"): Broken([{"amount": "2", "low": "2"}, {"amount": "3", "low": "2"}, {"amount": "1", "low": ""}], 1),
    ("all_kinds", "open_ones_have_pieces"): Broken([{"pieces": ""}, {"pieces": "", "is_open": "nein"}, {"pieces": "", "is_open": ""}], 1),
    ("all_kinds", "no_thirteen"): Broken([{"pieces": "13"}, {"pieces": "12"}], 1),
    ("all_kinds", "sides_agree"): Broken(
        [{"side": "left", "amount": "100"}, {"side": "right", "amount": "89"}, {"side": ""},
         {"side": "left", "amount": "100", "item_id": "b"}, {"side": "right", "amount": "90", "item_id": "b"},
         {"side": "left", "amount": "100", "item_id": "c"}], 3,
    ),
    ("all_kinds", "like_last_month"): Broken(
        [{"amount": "1"}, {"amount": "3"}, {"amount": "3", "item_id": "b"}, {"amount": "500", "item_id": "new"}], 2,
        ("2025-02", [{"measured_on": "2025-02-12", "amount": "10"}, {"measured_on": "2025-02-12", "amount": "2", "item_id": "b"}]),
    ),
    ("all_kinds", "like_last_version"): Broken(
        [{"pieces": "12"}, {"pieces": "2", "item_id": "b"}], 1, ("2025-03", [{"pieces": "1"}, {"pieces": "1", "item_id": "b"}])
    ),
    # 30 March: 23 hours from 23:00 UTC of the day before; complete for a, one short for b
    ("all_kinds", "hours_complete"): Broken(
        hours(date(2025, 3, 29), range(23, 23 + 23)) + hours(date(2025, 3, 29), range(23, 23 + 22), "b"), 22
    ),
    ("all_kinds", "every_area"): Broken([{}], 1),
    ("all_kinds", "every_day"): Broken([{"measured_on": day} for day in DAYS if day not in ("2025-03-05", "2025-03-31")], 2),
}  # fmt: skip


def delivery_of(dataset: str, changes: Sequence[Mapping[str, str]]) -> str:
    """The good row with each change; `part_id`, which only tells rows apart, counts on where it is not the point."""
    good = GOOD[dataset][1]
    parts = [{"part_id": str(n)} if "part_id" in good else {} for n in range(1, len(changes) + 1)]
    return written([{**good, **part, **change} for part, change in zip(parts, changes, strict=True)])


@pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize(("dataset", "rule"), CASES, ids=[f"{dataset}:{rule}" for dataset, rule in CASES])
def test_great_expectations_and_our_rows_count_the_same_rows_for_every_rule(
    bench: TestBench, monkeypatch: pytest.MonkeyPatch, dataset: str, rule: str, is_large: bool
) -> None:
    if is_large:
        monkeypatch.setattr("quality.judge.LARGE", 0)
        # a delivery so small has no dictionaries that would tell
        monkeypatch.setattr("quality.judge._Judging._repeating", lambda judging: frozenset(judging.contract.by_name))
    case = CASES[dataset, rule]
    period = "2025-03" if rule == "days_are_complete" else GOOD[dataset][0]
    if case.before:
        before, rows = case.before
        accepted = bench.deliver(delivery_of(dataset, rows), dataset, before)
        assert accepted is not None
        assert accepted.verdict.state != "rejected"
    with bench.judged(delivery_of(dataset, case.rows), dataset, period) as judged:
        by_great_expectations = {outcome.rule: outcome for outcome in judged.verdict.outcomes}[rule]
        ours = found(judged.verdict.findings, rule)
        assert ours is not None
        assert (by_great_expectations.rows, ours.rows, by_great_expectations.passed) == (case.count, case.count, False)
        assert judged.marks is not None or rule.startswith("every_")
        if rule not in ("every_area", "every_day"):
            marks = f"select count(distinct delivered_line) from '{judged.marks}' where rule = '{rule}'"
            assert bench.rows(marks) == [(case.count,)]
    if case.before:
        for delivery in bench.desk.ledger.deliveries(dataset=dataset):
            bench.desk.withdraw(delivery.delivery_id, who="test", why="the next test begins without it")


def test_rows_are_never_compared_with_every_bad_group(bench: TestBench, monkeypatch: pytest.MonkeyPatch) -> None:
    # ten million rows with a hundred thousand incomplete days would take days
    plans = []
    keep = _Judging._keep

    def explained(judging: _Judging, name: str, sql: str) -> str:
        if name == "spotted":
            plans.append(str(judging.con.execute(f"explain {sql}").fetchall()))
        return keep(judging, name, sql)

    monkeypatch.setattr(_Judging, "_keep", explained)
    for large in (10**9, 0):
        monkeypatch.setattr("quality.judge.LARGE", large)
        for dataset, rule in (("load_profile", "days_are_complete"), ("load_profile", "keys.duplicate")):
            sent = delivery_of(dataset, CASES[dataset, rule].rows)
            with bench.judged(sent, dataset, "2025-03"):
                pass
    assert len(plans) == 4
    assert all("HASH_JOIN" in plan and "_NL_JOIN" not in plan and "NESTED_LOOP" not in plan for plan in plans)


def test_every_rule_of_every_contract_has_a_delivery_that_breaks_it(bench: TestBench) -> None:
    pack = bench.desk.pack
    rules = {(contract.dataset, rule) for contract in pack.contracts.values() for rule, _, _ in rule_ids(contract)}
    # the statistics of the plain pack are about every area, so nothing is foreign there
    rules -= {("population", "mandate.foreign_row"), ("municipality_register", "mandate.foreign_row")}
    assert rules == set(CASES)


@pytest.mark.parametrize(
    ("key", "told"), [("051240000", WUPPERTAL), ("512400", WUPPERTAL), ("0512400O", WUPPERTAL), ("DEA1A", "8 Ziffern")]
)
def test_what_is_no_municipality_key_is_held_back_and_told_how_one_looks(bench: TestBench, key: str, told: str) -> None:
    good = GOOD["municipality_register"][1]
    sent = written([good, good | {"area_code": key}])
    with bench.judged(sent, "municipality_register", "2024") as judged:
        assert judged.verdict.rows.quarantined == 1
        finding = found(judged.verdict.findings, "values.unknown_code")
        assert finding is not None
        (example,) = finding.examples
        assert (example.value, example.line) == (key, 3)
        assert told in example.expected["de"]


@pytest.mark.parametrize("dataset", GOOD)
def test_a_delivery_as_agreed_breaks_no_rule_that_looks_at_rows(bench: TestBench, dataset: str) -> None:
    period, good = GOOD[dataset]
    with bench.judged(written([good]), dataset, period) as judged:
        broken = {outcome.rule for outcome in judged.verdict.outcomes if not outcome.passed}
        # a single row covers neither all areas nor all days
        assert broken <= {"every_area", "every_day", "days_are_complete"}
        assert judged.verdict.rows.delivered == 1
        assert judged.verdict.rows.quarantined == 0


def test_a_disagreement_of_great_expectations_and_our_rows_is_trouble_of_the_platform(
    bench: TestBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = judging.checks_for

    def one_forgets_nulls(*args: Any) -> list[Check]:
        return [
            replace(check, parts=[("amount", "false")]) if check.id == "amount_between" else check
            for check in original(*args)
        ]

    monkeypatch.setattr(judging, "checks_for", one_forgets_nulls)
    sent = delivery_of("all_kinds", [{"amount": "1001"}])
    with pytest.raises(PlatformTrouble, match="disagree") as error, bench.judged(sent, "all_kinds", "2025-03"):
        pass
    assert list(error.value.rules) == ["amount_between"]


def test_a_contract_with_a_kind_nobody_knows_is_a_mistake_of_its_file(
    bench: TestBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = bench.desk.pack.contracts["all_kinds"]
    strange = replace(contract, rules=[replace(contract.rules[0], kind="expect_miracles")])
    monkeypatch.setitem(bench.desk.pack.contracts, "all_kinds", strange)  # type: ignore[arg-type]
    with (
        pytest.raises(Misconfigured, match="expect_miracles"),
        bench.judged(delivery_of("all_kinds", [{}]), "all_kinds", "2025-03"),
    ):
        pass


# --- random deliveries ---

NUMBERS = st.sampled_from(["", "-", "0", "1", "2", "2,0", "-3", "9,5", "10", "12", "1.000", "1.23", "x", "1001"])
ROWS = st.fixed_dictionaries(
    {
        "item_id": st.sampled_from(["a", "b", ""]),
        "part_id": st.sampled_from(["", "1", "2", "3"]),
        "area_code": st.sampled_from([WUPPERTAL, SOLINGEN, "5124", "05120000", "Probestadt", "??", ""]),
        "measured_on": st.sampled_from(["2025-03-01", "2025-03-09", "2025-03-31", "2025-04-01", "1.3.2025", ""]),
        "amount": NUMBERS,
        "high": NUMBERS,
        "low": NUMBERS,
        "pieces": NUMBERS,
        "is_open": st.sampled_from(["ja", "nein", "", "?"]),
        "unit_code": st.sampled_from(["t", "KG", "m3", "Fass", ""]),
        "side": st.sampled_from(["left", "right", "o'ther", "", "oben"]),
        "read_at": st.just(""),
        "word": st.sampled_from(["", "a", "abc", "ABC", "12", "abcdef", ":x", "ä b"]),
    }
)
READ = {"2": 2.0, "2,0": 2.0, "9,5": 9.5, "1.000": 1000.0}


def number(text: str) -> float | None:
    if text in ("", "-", "x", "1.23"):
        return None
    return READ.get(text, float(text.replace(",", ".")) if "." not in text else None)


def whole(text: str) -> float | None:
    value = number(text)
    return value if value is not None and value == int(value) else None


def area(text: str) -> str | None:
    return {"Probestadt": WUPPERTAL, "5124": WUPPERTAL, "??": None, "": None}.get(text, text)


def below(a: float | None, b: float | None, *, or_equal: bool = False) -> bool:
    return a is not None and b is not None and (a < b or (or_equal and a == b))


def expected_counts(rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """How many rows break each rule, worked out row by row without SQL."""
    count: dict[str, int] = {}

    def of(rule: str, bad: Sequence[bool]) -> None:
        count[rule] = sum(bad)

    keys = [(row["item_id"], row["part_id"]) for row in rows]
    amount, high, low = ([number(row[name]) for row in rows] for name in ("amount", "high", "low"))
    pieces = [whole(row["pieces"]) for row in rows]
    days = [row["measured_on"] if row["measured_on"].startswith("2025-") else None for row in rows]
    of("values.missing", [not r["item_id"] or not r["area_code"] or not r["measured_on"] for r in rows])
    of("values.not_a_number", [
        any(r[name] not in ("", "-") and number(r[name]) is None for name in ("amount", "high", "low"))
        or (r["pieces"] not in ("", "-") and whole(r["pieces"]) is None) for r in rows
    ])  # fmt: skip
    of("values.not_a_date", [r["measured_on"] == "1.3.2025" for r in rows])
    of("values.not_a_boolean", [r["is_open"] == "?" for r in rows])
    of("values.unknown_code", [r["unit_code"] == "Fass" or r["area_code"] == "??" for r in rows])
    of("values.leading_zero_restored", [r["area_code"] == "5124" for r in rows])
    of("keys.duplicate", [key[0] != "" and keys.count(key) > 1 for key in keys])
    of("mandate.foreign_row", [area(r["area_code"]) == "05120000" for r in rows])
    of("slot.wrong_period", [day == "2025-04-01" for day in days])
    of("amount_stated", [a is None for a in amount])
    of("amount_between", [a is not None and not -10.5 <= a <= 1000 for a in amount])
    of("high_above_zero_below_ten", [h is not None and not 0 < h < 10 for h in high])
    of("not_before_the_tenth", [day is not None and day < "2025-03-10" for day in days])
    of("side_known", [r["side"] == "oben" for r in rows])
    of("pieces_known", [p is not None and p not in (0, 1, 2, 12) for p in pieces])
    of("word_shaped", [r["word"] in ("ABC", "ä b") for r in rows])
    of("word_length", [len(r["word"]) not in (0, 2, 3, 4, 5) for r in rows])
    of("high_not_below_low", [below(h, lo) for h, lo in zip(high, low, strict=True)])
    of("amount_above_low", [below(a, lo, or_equal=True) for a, lo in zip(amount, low, strict=True)])
    of("open_ones_have_pieces", [r["is_open"] == "ja" and p is None for r, p in zip(rows, pieces, strict=True)])
    groups = [(r["item_id"], area(r["area_code"])) for r in rows]
    sums: dict[tuple[Any, str], list[float]] = {}
    for group, r, a in zip(groups, rows, amount, strict=True):
        if a is not None:
            sums.setdefault((group, r["side"]), []).append(a)
    apart = set()
    for group in groups:
        left, right = (sums.get((group, side)) for side in ("left", "right"))
        if left and right and abs(sum(left) - sum(right)) > 0.1 * max(abs(sum(left)), abs(sum(right))) + 1e-6:
            apart.add(group)
    of("sides_agree", [group in apart for group in groups])
    count["every_area"] = len({WUPPERTAL, SOLINGEN} - {area(r["area_code"]) for r in rows})
    count["every_day"] = 31 - len({day for day in days if day and day < "2025-04"})
    return count


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, min_size=1, max_size=12))
def test_whatever_is_delivered_both_count_what_a_loop_over_the_rows_counts(
    bench: TestBench, rows: list[dict[str, str]]
) -> None:
    with bench.judged(written(rows), "all_kinds", "2025-03") as judged:
        counted = {outcome.rule: outcome.rows for outcome in judged.verdict.outcomes}
        expected = expected_counts(rows)
        assert {rule: counted[rule] for rule in expected} == expected
        assert {f.rule: f.rows for f in judged.verdict.findings if f.rule in expected} == {
            r: n for r, n in expected.items() if n
        }
