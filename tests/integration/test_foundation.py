"""The foundation from accepted rows to indicators: what readers see, and what they never see."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quality import foundation
from quality.foundation import FoundationBroken, build, current, manifest_file, run_dbt, select_for
from storage import lake
from storage.periods import period as read_period
from storage.settings import Settings
from tests.support import accepted_lake
from tests.support.profiles import settings_for

NORTH, SOUTH, EAST = "05124000", "05122000", "05120000"
Tables = dict[str, list[dict[str, Any]]]


def slot(
    supplier: str, dataset: str, period: str, state: str = "accepted", attempts: int = 1, **more: Any
) -> dict[str, Any]:
    """A slot as the platform publishes it; served by its last attempt when that was accepted."""
    span = read_period(period)
    arrived = datetime(span.end.year, span.end.month, span.end.day, 12, tzinfo=UTC)
    row: dict[str, Any] = {
        "supplier_id": supplier, "dataset": dataset, "period": period, "period_start_date": span.start,
        "period_end_date": span.end, "due_on": span.end + timedelta(days=14), "state": state, "attempts": attempts,
        "is_owed": True,
    }  # fmt: skip
    if attempts:
        row |= {"first_state": state, "received_at": arrived, "judged_at": arrived, "first_received_at": arrived}
    if state in ("accepted", "accepted_with_warnings", "partly_accepted"):
        row |= {
            "served_delivery_id": f"{supplier}--{dataset}--{period}--{attempts:02d}", "served_attempt": attempts,
            "first_accepted_at": arrived,
        }  # fmt: skip
    return row | more


def served(of: dict[str, Any], accepted_at: datetime | None = None) -> dict[str, Any]:
    return {
        "supplier_id": of["supplier_id"], "dataset": of["dataset"], "period": of["period"], "rows": 1,
        "attempt": of["served_attempt"], "delivery_id": of["served_delivery_id"],
        "accepted_at": accepted_at or of["first_accepted_at"],
    }  # fmt: skip


def came_from(supplier: str, dataset: str, period: str, line: int, attempt: int = 1) -> dict[str, Any]:
    return {
        "supplier_id": supplier, "period": period, "delivery_id": f"{supplier}--{dataset}--{period}--{attempt:02d}",
        "attempt": attempt, "delivered_line": line,
    }  # fmt: skip


def mandate(
    supplier: str, dataset: str, area: str = "", since: str = "2010-01-01", until: str | None = None
) -> dict[str, Any]:
    return {
        "supplier_id": supplier, "dataset": dataset, "area_prefix": area, "is_optional": False,
        "valid_from_date": date.fromisoformat(since), "valid_until_date": date.fromisoformat(until) if until else None,
    }  # fmt: skip


def waste(
    supplier: str,
    area: str,
    year: int,
    code: str,
    flow: str,
    tonnes: float | None,
    treatment: str = "none",
    line: int = 1,
) -> dict[str, Any]:
    return {
        "area_code": area, "year": year, "waste_code": code, "flow_code": flow, "collection_code": "kerbside",
        "treatment_code": treatment, "quantity_t": tonnes, **came_from(supplier, "waste_balance", str(year), line),
    }  # fmt: skip


def intake(
    supplier: str, area: str, site: str, day: str, quantity: float | None, unit: str = "t", fraction: str = "mixed",
    estimated: bool = False,
) -> dict[str, Any]:  # fmt: skip
    return {
        "site_id": site, "area_code": area, "intake_date": date.fromisoformat(day), "fraction_code": fraction,
        "quantity": quantity, "unit_code": unit, "is_estimated": estimated,
        **came_from(supplier, "green_waste_intake", day[:7], 7),
    }  # fmt: skip


def treated(month: str, flow: str, tonnes: float, source: str | None = None, product: str = "mixed") -> dict[str, Any]:
    return {
        "plant_id": "plant", "month_date": date.fromisoformat(f"{month}-01"), "flow_code": flow, "quantity_t": tonnes,
        "source_area_code": source, "product_code": product, "treatment_code": "R3",
        **came_from("plant-operator", "green_waste_treatment", month, 3),
    }  # fmt: skip


def readings(point: str, first: datetime, quarter_hours: int, kwh: float, status: str = "220") -> list[dict[str, Any]]:
    return [
        {
            "metering_point_id": point, "obis_code": "1-1:1.29.0", "energy_kwh": kwh, "status_code": status,
            "interval_start_at": first + timedelta(minutes=15 * n),
            **came_from("north-grid", "load_profile", "2025-03", n + 1),
        }
        for n in range(quarter_hours)
    ]  # fmt: skip


def region() -> Tables:
    """Three cities. North delivers well; South has gaps; East declares, is late, or is rejected."""
    unlimited = {"valid_from_date": date(2015, 1, 1), "valid_to_date": date(9999, 12, 31)}
    yearly = [
        slot("north-waste", "waste_balance", "2024", attempts=2, first_state="rejected"),
        slot("south-waste", "waste_balance", "2024"),
        slot("east-waste", "waste_balance", "2024", "overdue", attempts=0),
        slot("north-waste", "waste_balance", "2023"),
        slot("south-waste", "waste_balance", "2023"),
        slot("east-waste", "waste_balance", "2023", "nothing_to_report"),
        slot("statistics", "population", "2023"),
        slot("east-waste", "waste_balance", "2022", "withdrawn", first_state="accepted"),
    ]
    stale = datetime(2024, 5, 2, 8, tzinfo=UTC)
    yearly[3] |= {"state": "rejected", "attempts": 3, "stale_since": stale}
    yearly[-1]["first_accepted_at"] = yearly[-1]["judged_at"]
    monthly = [
        slot("north-waste", "green_waste_intake", "2025-06"),
        slot("south-waste", "green_waste_intake", "2025-06"),
        slot("association", "green_waste_intake", "2025-07"),
        slot("north-waste", "green_waste_intake", "2025-07", "rejected"),
        slot("east-waste", "green_waste_intake", "2025-06", "nothing_to_report"),
        slot("plant-operator", "green_waste_treatment", "2025-06"),
        slot("north-grid", "load_profile", "2025-03"),
        slot("south-grid", "load_profile", "2025-03", "missing", attempts=0),
    ]
    slots = yearly + monthly
    return {
        "region_areas": [
            {"region_id": "trio", "area_code": code, "area_name": name, "land": "NW", "nuts": "DEA1A"}
            for code, name in ((NORTH, "North"), (SOUTH, "South"), (EAST, "East"))
        ],
        "region_suppliers": [
            {"supplier_id": s, "supplier_name": s, "role": "utility", "is_synthetic": s.endswith("waste")}
            for s in sorted({s["supplier_id"] for s in slots})
        ],
        "region_mandates": [
            mandate("north-waste", "waste_balance", NORTH), mandate("south-waste", "waste_balance", SOUTH),
            mandate("east-waste", "waste_balance", EAST), mandate("statistics", "population"),
            mandate("north-waste", "green_waste_intake", NORTH), mandate("east-waste", "green_waste_intake", EAST),
            mandate("south-waste", "green_waste_intake", SOUTH, until="2025-07-01"),
            mandate("association", "green_waste_intake", SOUTH, since="2025-07-01"),
            mandate("plant-operator", "green_waste_treatment"), mandate("north-grid", "load_profile", NORTH),
            mandate("south-grid", "load_profile", SOUTH),
        ],
        "region_sites": [
            {"site_id": "plant", "kind": "plant", "site_name": "plant", "area_code": SOUTH, **unlimited},
            {"site_id": "N1", "kind": "metering_point", "site_name": "hall", "area_code": NORTH, **unlimited},
            {"site_id": "N2", "kind": "metering_point", "site_name": "pool", "area_code": NORTH, **unlimited},
            {"site_id": "S1", "kind": "metering_point", "site_name": "school", "area_code": SOUTH, **unlimited},
        ],
        "supply_slots": slots,
        "served_slots": [served(s) for s in slots if s.get("served_delivery_id")],
        "supply_deliveries": [
            {
                "delivery_id": f"{s['supplier_id']}--{s['dataset']}--{s['period']}--{n:02d}", "attempt": n,
                "supplier_id": s["supplier_id"], "dataset": s["dataset"], "period": s["period"],
                "state": s["state"] if n == s["attempts"] else "superseded", "first_verdict": s["first_state"],
                "received_at": s["first_received_at"] + timedelta(days=n),
                "acknowledged_at": None if s["supplier_id"].startswith("south") else s["first_received_at"] + timedelta(days=n, milliseconds=250),
                "first_judged_at": s["first_received_at"] + timedelta(days=n, seconds=2),
                # judged again by a changed rule
                "judged_at": s["first_received_at"] + timedelta(days=n + 90),
            }
            for s in slots for n in range(1, s["attempts"] + 1)
        ],
        "population": [
            {"area_code": a, "key_date": date(2023, 12, 31), "population": p, **came_from("statistics", "population", "2023", n)}
            for n, (a, p) in enumerate(((NORTH, 100_000), (SOUTH, 50_000), (EAST, 25_000)), 1)
        ],
        "waste_balance": [
            waste("north-waste", NORTH, 2024, "200301", "generated", 20_000, line=2),
            waste("north-waste", NORTH, 2024, "200108", "generated", 6_000, line=3),
            waste("north-waste", NORTH, 2024, "200201", "generated", 4_000, line=4),
            waste("north-waste", NORTH, 2024, "150102", "generated", 10_000, line=5),
            waste("north-waste", NORTH, 2024, "200202", "generated", 99_000, line=6),
            waste("north-waste", NORTH, 2024, "000000", "generated", 500_000, line=7),
            waste("north-waste", NORTH, 2024, "200301", "treated", 20_000, "R1", line=8),
            waste("north-waste", NORTH, 2024, "200108", "treated", 5_500, "R3", line=9),
            waste("north-waste", NORTH, 2024, "200201", "treated", 4_000, "R3", line=10),
            waste("north-waste", NORTH, 2024, "150102", "treated", 6_500, "R5", line=11),
            waste("north-waste", NORTH, 2024, "150102", "treated", 3_500, "R12", line=12),
            waste("south-waste", SOUTH, 2024, "200301", "generated", 0, line=2),
            waste("south-waste", SOUTH, 2024, "200108", "generated", None, line=3),
            waste("north-waste", NORTH, 2023, "200301", "generated", 21_000, line=2),
            waste("south-waste", SOUTH, 2023, "200301", "generated", 9_000, line=2),
            # the neighbour delivers the same row without a mandate for it
            waste("north-waste", SOUTH, 2023, "200301", "generated", 9_999, line=3),
        ],
        "green_waste_intake": [
            intake("north-waste", NORTH, "gate", "2025-06-02", 12.0),
            intake("north-waste", NORTH, "gate", "2025-06-02", 100.0, "m3"),
            intake("north-waste", NORTH, "gate", "2025-06-03", 200.0, "m3", "woody"),
            intake("north-waste", NORTH, "gate", "2025-06-04", 8_000.0, "kg"),
            intake("south-waste", SOUTH, "yard", "2025-06-01", 50.0, estimated=True),
            intake("association", SOUTH, "yard", "2025-07-01", 40.0),
            # the former supplier goes on delivering after the hand-over
            intake("south-waste", SOUTH, "yard", "2025-07-01", 41.0),
        ],
        "green_waste_treatment": [
            treated("2025-06", "input", 45.0, NORTH), treated("2025-06", "input", 55.0, SOUTH),
            treated("2025-06", "output", 60.0, product="compost"), treated("2025-06", "loss", 30.0, product="none"),
            treated("2025-06", "stock_change", 4.0, product="none"),
        ],
        # 30 March 2025 has 92 quarter hours; a day before and after is left out
        "load_profile": [
            *readings("N1", datetime(2025, 3, 29, 23, tzinfo=UTC), 92, 10.0),
            *readings("N2", datetime(2025, 3, 29, 23, tzinfo=UTC), 46, 2.5),
            *readings("N2", datetime(2025, 3, 30, 10, 30, tzinfo=UTC), 23, 5.0, "67"),
            *readings("N2", datetime(2025, 3, 30, 16, 15, tzinfo=UTC), 23, 5.0, "20"),
        ],
    }  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home whose foundation was built in full from `region`."""
    made = settings_for(tmp_path_factory.mktemp("home"))
    accepted_lake.write(made, region())
    result = build(made)
    assert result.full
    assert not result.failed_tests
    return made


@pytest.fixture
def figures(settings: Settings) -> dict[tuple[str, str, str], dict[str, Any]]:
    names = (
        "value",
        "numerator",
        "denominator",
        "missing_reason",
        "estimated_share",
        "substituted_share",
        "stale_since",
    )
    rows = accepted_lake.read(settings, f"select indicator, area, period, {', '.join(names)} from indicators")
    return {(row[0], row[1], row[2]): dict(zip(names, row[3:], strict=True)) for row in rows}


Figures = dict[tuple[str, str, str], dict[str, Any]]


@pytest.mark.parametrize(
    ("indicator", "area", "period", "value", "numerator", "denominator"),
    [
        ("K-01", NORTH, "2024", "400", 40_000_000, 100_000),
        ("K-02", NORTH, "2024", "200", 20_000_000, 100_000),
        ("K-03", NORTH, "2024", "100", 10_000_000, 100_000),
        ("K-04", NORTH, "2024", "0.4", 16_000, 40_000),
        ("K-05", NORTH, "2024", "0.2375", 9_500, 40_000),
        ("K-11", NORTH, "2025-06", "0.9", 45, 50),
        ("K-11", "trio", "2025-06", "1", 100, 100),
        ("K-12", SOUTH, "2025-06", "0.06", 6, 100),
        ("K-22-peak", NORTH, "2025-03", "60", None, 69),
        ("K-22-base", NORTH, "2025-03", "50", None, 69),
        ("K-22", NORTH, "2025-03", "0.888889", 920, 1035),
        ("K-23", NORTH, "2025-03", "0.027086", 161, 5944),
        ("K-24", NORTH, "2025-03", "0.142857", 23, 161),
    ],
)
def test_an_indicator_is_what_its_definition_says(
    figures: Figures, indicator: str, area: str, period: str, value: str, numerator: int | None, denominator: int
) -> None:
    figure = figures[indicator, area, period]
    assert figure["value"] == Decimal(value)
    assert figure["missing_reason"] is None
    assert (figure["numerator"], figure["denominator"]) == (numerator, denominator)


@pytest.mark.parametrize(
    ("indicator", "area", "period", "reason"),
    [
        ("K-01", EAST, "2024", "overdue"),
        ("K-01", EAST, "2023", "nothing_to_report"),
        ("K-01", SOUTH, "2024", "not_stated: 200108"),
        ("K-01", "trio", "2024", f"incomplete: {EAST},{SOUTH}"),
        ("K-03", SOUTH, "2023", "not_stated"),
        ("K-04", NORTH, "2023", "treatment_not_stated"),
        ("K-11", NORTH, "2025-07", "rejected"),
        ("K-11", SOUTH, "2025-07", "treatment_not_owed"),
        ("K-11", EAST, "2025-06", "nothing_to_report"),
        ("K-22", SOUTH, "2025-03", "no_delivery"),
        ("K-23", "trio", "2025-03", f"incomplete: {SOUTH}"),
    ],
)  # fmt: skip
def test_a_missing_value_says_why(figures: Figures, indicator: str, area: str, period: str, reason: str) -> None:
    figure = figures[indicator, area, period]
    assert figure["value"] is None
    assert figure["missing_reason"] == reason


def test_a_delivered_zero_is_a_value(figures: Figures) -> None:
    assert figures["K-02", SOUTH, "2024"]["value"] == 0
    assert figures["K-02", SOUTH, "2024"]["missing_reason"] is None


def test_a_region_adds_up_its_areas_and_a_declared_nothing_adds_nothing(figures: Figures) -> None:
    figure = figures["K-02", "trio", "2023"]
    assert (figure["numerator"], figure["denominator"]) == (30_000_000, 175_000)
    assert figure["value"] == Decimal("171.428571")


def test_inhabitants_of_an_earlier_year_are_marked_as_a_substitute(figures: Figures) -> None:
    assert figures["K-02", NORTH, "2024"]["substituted_share"] == 1
    assert figures["K-02", NORTH, "2023"]["substituted_share"] == 0


def test_estimates_and_volumes_show_as_estimated_share(figures: Figures) -> None:
    assert figures["K-11", NORTH, "2025-06"]["estimated_share"] == Decimal("0.6")
    assert figures["K-11", SOUTH, "2025-06"]["estimated_share"] == 1
    assert figures["K-11", "trio", "2025-06"]["estimated_share"] == Decimal("0.8")


def test_substitute_values_show_and_unusable_ones_do_not_count(figures: Figures) -> None:
    # 161 usable values of 184 delivered
    assert figures["K-23", NORTH, "2025-03"]["substituted_share"] == Decimal("0.142857")


def test_figures_from_an_older_version_are_marked_stale(settings: Settings, figures: Figures) -> None:
    assert figures["K-02", NORTH, "2023"]["stale_since"] == datetime(2024, 5, 2, 8, tzinfo=UTC)
    assert figures["K-02", NORTH, "2024"]["stale_since"] is None
    stale = accepted_lake.read(settings, "select distinct year from waste_balance where stale_since is not null")
    assert stale == [(2023,)]


def test_two_suppliers_of_the_same_row_count_once(settings: Settings) -> None:
    south = f"select supplier_id, quantity_t from waste_balance where area_code = '{SOUTH}' and year = 2023"
    assert accepted_lake.read(settings, south) == [("south-waste", 9_000)]


def test_who_holds_the_mandate_on_the_day_speaks_for_the_site(settings: Settings) -> None:
    july = "select supplier_id, quantity_t from green_waste_intake where intake_date = date '2025-07-01'"
    assert accepted_lake.read(settings, july) == [("association", 40)]


def test_a_converted_quantity_keeps_its_factor_and_origin(settings: Settings) -> None:
    rows = accepted_lake.read(
        settings,
        "select quantity_t, delivered_quantity, delivered_unit_code, conversion_factor, is_conversion_assumed, is_estimated,"
        " rows_set_aside, conversion_source is not null, delivered_line"
        f" from green_waste_intake where area_code = '{NORTH}' order by intake_date",
    )
    assert rows == [
        (Decimal(12), 12, "t", 1, False, False, 1, True, 7),
        (Decimal(30), 200, "m3", Decimal("0.15"), True, True, 0, True, 7),
        (Decimal(8), 8_000, "kg", Decimal("0.001"), False, False, 0, True, 7),
    ]


def test_supply_is_told_for_every_slot_also_never_delivered_ones(settings: Settings, figures: Figures) -> None:
    told = dict(
        accepted_lake.read(
            settings, "select supplier_id, state from data_supply where dataset = 'waste_balance' and period = '2024'"
        )
    )
    assert told == {"north-waste": "accepted", "south-waste": "accepted", "east-waste": "overdue"}
    # deadlines in January 2025 are those of the balances of 2024: three slots, one of them rejected at first
    assert figures["K-40", "trio", "2025-01"]["value"] == Decimal("0.666667")
    assert figures["K-41", "trio", "2025-01"]["value"] == Decimal("0.666667")
    assert figures["K-42", "trio", "2025-01"]["value"] == Decimal("0.5")
    assert figures["K-43", "trio", "2025-01"]["value"] == Decimal("0.5")
    assert figures["K-44", "trio", "2025-01"]["value"] == 2
    assert figures["K-44-receipt-p50", NORTH, "2025-01"]["value"] == Decimal("0.25")
    assert figures["K-44-receipt-p95", SOUTH, "2025-01"]["missing_reason"] == "not_recorded"
    assert figures["K-44-receipt-p50", EAST, "2025-01"]["missing_reason"] == "no_delivery"
    assert figures["K-44-correction-p50", NORTH, "2025-01"]["value"] == 86_398
    assert figures["K-44-correction-p50", SOUTH, "2025-01"]["missing_reason"] == "no_correction"
    assert figures["K-40", EAST, "2025-01"]["value"] == 0


def test_a_withdrawn_slot_is_a_gap_however_early_it_came(settings: Settings, figures: Figures) -> None:
    assert figures["K-01", EAST, "2022"]["missing_reason"] == "withdrawn"
    assert figures["K-40", EAST, "2023-01"]["value"] == 0
    assert figures["K-41", EAST, "2023-01"]["value"] == 0
    told = "select on_time, first_pass from data_supply where period = '2022'"
    assert accepted_lake.read(settings, told) == [(False, True)]


def test_an_incomplete_region_has_neither_numerator_nor_denominator(figures: Figures) -> None:
    figure = figures["K-01", "trio", "2024"]
    assert (figure["numerator"], figure["denominator"]) == (None, None)


def test_what_is_not_due_yet_is_in_no_figure(figures: Figures) -> None:
    # the two load profile slots are due in April 2025; the missing one does not count yet
    assert figures["K-40", "trio", "2025-04"]["denominator"] == 1


def test_every_row_can_be_walked_back_to_a_line(settings: Settings) -> None:
    for table in ("waste_balance", "green_waste_intake", "green_waste_treatment", "load_profile", "population"):
        gaps = (
            f"select count(*) filter (where supplier_id is null or delivery_id is null or attempt is null"
            f" or delivered_line is null), count(*) > 0 from {table}"
        )
        assert accepted_lake.read(settings, gaps) == [(0, True)], table


def test_unit_tests_of_the_models_pass(settings: Settings) -> None:
    result = run_dbt(settings, ["test", "--select", "test_type:unit"])
    told = {r.node.name: (str(r.status), r.message) for r in result.results}
    assert len(told) >= 5
    assert {name: told[name] for name in told if told[name][0] != "pass"} == {}


def test_docs_describe_every_column_of_every_curated_table(settings: Settings) -> None:
    run_dbt(settings, ["docs", "generate", "--static"])
    manifest = json.loads((settings.paths.dbt / "target" / "manifest.json").read_text())
    catalog = json.loads((settings.paths.dbt / "target" / "catalog.json").read_text())
    assert (settings.paths.dbt / "target" / "static_index.html").stat().st_size > 100_000
    curated = [
        key for key, node in manifest["nodes"].items() if node.get("schema") == "main" and key.startswith("model.")
    ]
    assert len(curated) == 14
    for key in curated:
        described = {name for name, column in manifest["nodes"][key]["columns"].items() if column["description"]}
        assert described == set(catalog["nodes"][key]["columns"])


# --- builds ---


@pytest.fixture
def spare(tmp_path: Path) -> Settings:
    made = settings_for(tmp_path)
    accepted_lake.write(made, region())
    return made


def test_a_branch_changes_with_its_dataset_and_the_rest_stays(settings: Settings) -> None:
    before = current(settings)
    changed = region()
    changed["waste_balance"][0]["quantity_t"] = 30_000
    accepted_lake.write(settings, changed)
    result = build(settings, select_for("waste_balance"))
    try:
        assert not result.full
        built = {step.name for step in result.models}
        assert {"waste_balance", "indicators", "data_supply"} <= built
        assert not {"load_profile", "int_load_by_month", "green_waste_intake", "stg_waste_balance"} & built
        after = "select value from indicators where indicator = 'K-02' and period = '2024' and area = '05124000'"
        assert accepted_lake.read(settings, after, snapshot=result.snapshot) == [(300,)]
        assert before is not None
        assert accepted_lake.read(settings, after, snapshot=before.foundation) == [(200,)]
    finally:
        accepted_lake.write(settings, region())
        build(settings, select_for("waste_balance"))


def test_the_project_is_parsed_once_for_builds_and_for_its_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dbt.cli.main import dbtRunner

    parses = []
    original = dbtRunner.invoke

    def counted(runner: dbtRunner, args: list[str], **more: Any) -> Any:
        parses.append(args)
        return original(runner, args, **more)

    monkeypatch.setattr(dbtRunner, "invoke", counted)
    monkeypatch.setattr(foundation, "_MANIFESTS", {})
    home = Settings(home=tmp_path / "home")
    assert len(select_for("waste_balance")) == 2
    file = manifest_file(home)
    assert len(parses) == 1
    told = json.loads(file.read_text())
    assert {node["name"] for node in told["nodes"].values()} >= {"stg_waste_balance", "indicators"}
    assert told["sources"]
    foundation._MANIFESTS.clear()
    assert manifest_file(home) == file
    assert len(parses) == 1, "another process reads what the first one wrote"
    monkeypatch.setattr(foundation, "_fingerprint", lambda: "changed")
    assert manifest_file(home) != file
    assert len(parses) == 2
    assert not file.exists()


def test_a_dataset_without_a_model_changes_the_state_of_supply_alone() -> None:
    assert select_for("sewage_sludge") == [foundation.EVERY_DELIVERY]


@contextlib.contextmanager
def broken(settings: Settings, table: str) -> Iterator[None]:
    """A column of an accepted table is gone, so that a model fails in the middle of the build."""
    with contextlib.closing(lake.connect(settings)) as connection:
        lake.attach(connection, settings, "accepted")
        connection.execute(f"alter table accepted.main.{table} rename column quantity_t to quantity")
        yield
        connection.execute(f"alter table accepted.main.{table} rename column quantity to quantity_t")


def test_a_broken_model_is_told_in_dbts_words_and_readers_stay_where_they_are(settings: Settings) -> None:
    before = current(settings)
    with broken(settings, "waste_balance"), pytest.raises(FoundationBroken, match="quantity_t") as error:
        build(settings, select_for("waste_balance"))
    assert "waste_balance" in error.value.failures
    assert current(settings) == before
    assert build(settings, select_for("waste_balance")).failed_tests == ()


def test_a_failed_data_test_is_a_result_and_the_build_is_published(settings: Settings) -> None:
    before = current(settings)
    impossible = region()
    impossible["waste_balance"].append(waste("north-waste", NORTH, 2024, "200302", "generated", -1, line=99))
    accepted_lake.write(settings, impossible)
    result = build(settings, select_for("waste_balance"))
    assert [(test.status, test.failures) for test in result.failed_tests] == [("fail", 1)]
    assert before is not None
    assert current(settings) != before
    accepted_lake.write(settings, region())
    build(settings, select_for("waste_balance"))


def test_the_first_build_of_a_home_is_full_whatever_is_selected(
    spare: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    where, environment = Path.cwd(), dict(os.environ)
    result = build(spare, select_for("population"))
    assert result.full
    assert {"load_profile", "suppliers", "municipalities", "municipality_register"} <= {s.name for s in result.models}
    assert current(spare) is not None
    assert (Path.cwd(), dict(os.environ)) == (where, environment)
    assert capfd.readouterr().out == ""


def test_a_list_with_other_columns_than_before_is_made_anew(settings: Settings) -> None:
    before = current(settings)
    assert before is not None
    # as the project before left it
    with lake.writing(settings, "foundation"), contextlib.closing(lake.connect(settings)) as connection:
        lake.attach(connection, settings, "foundation")
        connection.execute("alter table foundation.seeds.indicator_definitions drop column formula")
    foundation._publish(settings, replace(before, project="the one before"))
    assert build(settings, select_for("population")).full
    assert accepted_lake.read(settings, "select count(formula) > 0 from foundation.seeds.indicator_definitions") == [
        (True,)
    ]
