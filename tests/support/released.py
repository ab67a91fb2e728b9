"""A small release with figures of every access level, as a build leaves it, without building it."""

from __future__ import annotations

from datetime import UTC, datetime

from quality.release import release
from quality.release_reading import text
from storage.paths import parse_delivery_id
from storage.settings import Settings
from tests.support import foundation_lake
from tests.support.bench import SOLINGEN, THIRD, WORKS, WUPPERTAL

_FIGURE = "(indicator, definition_version, area, period, value, unit, numerator, denominator, missing_reason)"
_CATALOGUE = (
    "(indicator, definition_version, name_de, name_en, unit, formula_de, formula_en, definition_source, comparability, "
    "made_of, access_level)"
)


def small_release(
    settings: Settings,
    own: str = f"{WORKS}--waste_balance--2024--01",
    foreign: str = f"{THIRD}--waste_balance--2024--01",
    loads: str = f"{WORKS}--load_profile--2025-05--01",
    region: str = "plain",
) -> None:
    """Release K-02 (open), K-40 (cooperation) and K-22-peak (owner) of two municipalities, K-02 of the region too.

    Args:
        settings: Of a home in which nothing was built.
        own: Delivery of waste of Wuppertal with lines 2 (of 2023) and 3.
        foreign: Delivery of waste of Solingen with line 2.
        loads: Delivery of load profiles of Wuppertal, May 2025, with line 2.
        region: Id of the region.
    """

    def provenance(delivery: str, line: int) -> str:
        supplier, _, period, attempt = parse_delivery_id(delivery)
        return f"'{supplier}', '{period}', '{delivery}', {attempt}, cast({line} as bigint), cast(null as varchar)"

    origin = "supplier_id, period, delivery_id, attempt, delivered_line, delivered_sheet"
    indicators = [
        ("K-02", WUPPERTAL, "2023", "410.5", "kg/person", None), ("K-02", WUPPERTAL, "2024", "400", "kg/person", None),
        ("K-02", SOLINGEN, "2023", None, "kg/person", "rejected"), ("K-02", SOLINGEN, "2024", "380", "kg/person", None),
        ("K-02", region, "2023", None, "kg/person", f"incomplete: {SOLINGEN}"), ("K-02", region, "2024", "393.5", "kg/person", None),
        ("K-40", WUPPERTAL, "2024", "0.5", "share", None), ("K-40", SOLINGEN, "2024", "0.75", "share", None),
        ("K-22-peak", WUPPERTAL, "2025-05", "60", "kW", None), ("K-22-peak", SOLINGEN, "2025-05", None, "kW", "no_delivery"),
    ]  # fmt: skip
    rows = ", ".join(
        f"('{i}', '1', '{a}', '{p}', cast({v or 'null'} as decimal(28, 6)), '{u}', cast(null as decimal(38, 6)), "
        f"cast(null as decimal(38, 6)), cast({text(m) if m else 'null'} as varchar))"
        for i, a, p, v, u, m in indicators
    )
    catalogue = ", ".join(
        f"('{i}', '1', '{de}', '{en}', '{unit}', 'Formel', 'formula', 'a law', 'regional', '{made_of}', '{level}')"
        for i, de, en, unit, made_of, level in (
            (
                "K-02",
                "Restabfall je Einwohner",
                "Residual waste per head",
                "kg/person",
                "waste_balance,population",
                "open",
            ),
            ("K-40", "Abdeckung", "Coverage", "share", "data_supply", "cooperation"),
            ("K-22-peak", "Spitzenlast", "Peak load", "kW", "load_profile", "owner"),
        )
    )
    waste = ", ".join(
        f"('{area}', {year}, '200301', 'generated', 'kerbside', 'none', cast({t} as decimal(18, 6)), true, 'residual', {from_})"
        for area, year, t, from_ in (
            (WUPPERTAL, 2023, 20_525, provenance(own, 2)), (WUPPERTAL, 2024, 20_000, provenance(own, 3)),
            (SOLINGEN, 2024, 19_000, provenance(foreign, 2)),
        )
    )  # fmt: skip
    foundation_lake.build(
        settings,
        [
            f"create table indicators as select *, cast(null as decimal(9, 6)) as estimated_share, "
            f"cast(null as decimal(9, 6)) as substituted_share, cast(null as timestamptz) as stale_since from (values {rows}) t{_FIGURE}",
            f"create table indicator_catalogue as select * from (values {catalogue}) t{_CATALOGUE}",
            "create table open_indicators as select indicator, area, period, value, '=1+1' as area_name from indicators "
            "where indicator = 'K-02'",
            f"create table municipalities as select * from (values ('{WUPPERTAL}', 'Wuppertal', '{region}', true), "
            f"('{SOLINGEN}', 'Solingen', '{region}', true)) t(area_code, area_name, region_id, is_in_region)",
            f"create table data_supply as select '{WORKS}' as supplier_id, 'waste_balance' as dataset, '2024' as period, "
            "'accepted' as state, 1 as attempts, date '2025-03-31' as due_on, true as on_time, true as first_pass",
            "create table waste_balance as select * from (values "
            f"{waste}) t(area_code, year, waste_code, flow_code, collection_code, treatment_code, quantity_t, is_municipal, "
            f"waste_class, {origin})",
            f"create table population as select * from (values ('{WUPPERTAL}', date '2023-12-31', 50000, "
            f"{provenance('statistics--population--2023--01', 1)})) t(area_code, key_date, population, {origin})",
            "create table load_profile as select * from (values ('DE1', '1-1:1.29.0', "
            f"'{WUPPERTAL}', date '2025-05-02', cast(15 as decimal(18, 6)), true, {provenance(loads, 2)})) "
            f"t(metering_point_id, obis_code, area_code, local_date, energy_kwh, is_usable, {origin})",
        ],
    )  # fmt: skip
    release(settings, now=datetime(2026, 3, 2, 9, 30, tzinfo=UTC))
