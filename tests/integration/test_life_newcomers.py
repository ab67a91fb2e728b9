"""A new supplier is a pack entry and a dialect; a new dataset is a contract, a dialect and a mandate. No Python, no SQL."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from quality.judging import work_queue
from quality.rules import rule_ids
from storage.settings import project_root
from tests.support.bench import TestBench

pytestmark = pytest.mark.slow

NEW_SUPPLIER = """
  - {id: talwerke-nord, name: Talwerke Nord (Rolle), role: municipal utility, area_code: "05124000"}
"""
NEW_MANDATES = """
  - {supplier: talwerke-nord, dataset: waste_balance, dialects: [talwerke-bilanz], areas: ["05124000"], valid_from: 2024-01-01}
  - {supplier: talwerke-nord, dataset: sewage_sludge, dialects: [talwerke-schlamm], areas: ["05124000"], valid_from: 2024-01-01}
"""
NEW_DIALECT = """
id: talwerke-bilanz
dataset: waste_balance
recognise: {file_name: '(?i)^bilanz_(?P<period>20\\d\\d)\\.txt$'}
format: {type: csv, encoding: cp1252, delimiter: "|", header: {row: 2}}
decimal: ","
thousands: " "
"null": ["n.e."]
ignore:
  - {id: total, column: Art, matches: '^Summe', because: {de: Summen zählen nicht., en: Totals do not count.}}
columns:
  area_code: {constant: "05124000"}
  year: {period: true}
  waste_code: Art
  flow_code: {constant: generated}
  collection_code: {constant: not_stated}
  treatment_code: {constant: none}
  quantity_t: {from: Masse kg, unit: kg}
"""
NEW_CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: sewage_sludge
name: Klärschlamm
version: 0.1.0
status: draft
domain: water
description: {purpose: Sludge of a sewage works by month., usage: Balances., limitations: None known.}
customProperties:
  - {property: title, value: {de: Klärschlamm, en: Sewage sludge}}
  - {property: interval, value: monthly}
  - {property: due, value: {workingDays: 12}}
  - {property: areaField, value: area_code}
  - {property: periodField, value: day_date}
schema:
  - name: sewage_sludge
    physicalType: table
    description: Sludge by works and day.
    properties:
      - {name: works_id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1, description: Works.}
      - name: area_code
        logicalType: string
        required: true
        description: Municipality.
        customProperties: [{property: format, value: ags}]
      - {name: day_date, logicalType: date, required: true, primaryKey: true, primaryKeyPosition: 2, description: Day.}
      - name: dry_mass_t
        logicalType: number
        physicalType: decimal(12,3)
        required: true
        description: Dry mass.
        customProperties: [{property: unit, value: t}]
    quality:
      - id: dry_mass_plausible
        type: custom
        engine: greatExpectations
        implementation: {type: expect_column_values_to_be_between, kwargs: {column: dry_mass_t, min_value: 0, max_value: 99.5}}
        severity: error
        description: Nobody dries more than 99.5 t a day.
"""
NEW_DATASETS_DIALECT = """
id: talwerke-schlamm
dataset: sewage_sludge
format: {type: csv, encoding: utf-8, delimiter: ","}
dates: ["%d/%m/%Y"]
columns:
  works_id: Works
  area_code: AGS
  day_date: Day
  dry_mass_t: {from: Dry mass, unit: kg}
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBench]:
    folder = tmp_path_factory.mktemp("newcomers")
    pack = Path(shutil.copytree(project_root() / "regions" / "bergisch", folder / "pack"))
    made = TestBench(folder / "home", pack)
    # the judge is warm already when the supplier comes
    assert "talwerke-nord" not in made.desk.pack.suppliers
    (pack / "suppliers.yml").write_text((pack / "suppliers.yml").read_text() + NEW_SUPPLIER)
    (pack / "mandates.yml").write_text((pack / "mandates.yml").read_text() + NEW_MANDATES)
    (pack / "dialects" / "talwerke-bilanz.yml").write_text(NEW_DIALECT)
    (pack / "dialects" / "talwerke-schlamm.yml").write_text(NEW_DATASETS_DIALECT)
    (pack / "contracts").mkdir()
    (pack / "contracts" / "sewage_sludge.odcs.yml").write_text(NEW_CONTRACT)
    yield made
    made.close()


def drop(bench: TestBench, key: str, content: bytes) -> None:
    import os

    file = bench.desk.home.inbox("talwerke-nord") / key
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (1, 1))


def test_a_new_supplier_is_there_once_the_pack_names_it(bench: TestBench) -> None:
    good = "Bilanz der Talwerke\nArt|Masse kg\nRestmüll|1 234 500,5\n20 01 08|n.e.\nSumme|1 234 500,5\n"
    drop(bench, "bilanz_2024.txt", good.encode("cp1252"))
    drop(bench, "bilanz_2025.txt", "Art;Masse\nRestmüll;1\n".encode("cp1252"))
    assert bench.desk.sweep_inboxes() == 2
    work_queue(bench.desk)
    first, second = bench.desk.ledger.deliveries("talwerke-nord", "waste_balance")
    assert (first.state, second.state) == ("accepted_with_warnings", "rejected")
    assert first.rows == {
        "delivered": 3, "accepted": 1, "accepted_with_warning": 1, "quarantined": 0, "ignored_by_rule": 1,
    }  # fmt: skip
    rows = bench.rows(
        "select waste_code, quantity_t from accepted.waste_balance where supplier_id = 'talwerke-nord' order by 1"
    )
    assert rows == [("200108", None), ("200301", Decimal("1234.5005"))]
    receipt = json.loads(Path(bench.desk.receipt_files(second.delivery_id)["json"] or "").read_text())
    assert receipt["findings"][0]["rule"] == "columns.missing"
    assert receipt["supplier_name"] == "Talwerke Nord (Rolle)"
    beside = {file.name for file in bench.desk.home.inbox("talwerke-nord").iterdir()}
    assert {"bilanz_2024.txt.eingang.html", "bilanz_2024.txt.quittung.html", "bilanz_2025.txt.quittung.html"} <= beside


def test_a_new_dataset_has_rules_receipts_and_a_table_once_it_has_a_contract(bench: TestBench) -> None:
    good = b"Works,AGS,Day,Dry mass\nBuchenhofen,5124000,01/03/2025,12500\nBuchenhofen,05124000,02/03/2025,0\n"
    bad = b"Works,AGS,Day,Dry mass\nBuchenhofen,05124000,01/04/2025,99501\nX,05124000,2025-04-02,1\nY,05122000,03/04/2025,5\n"
    drop(bench, "sewage_sludge/2025-03/schlamm.csv", good)
    drop(bench, "sewage_sludge/2025-04/schlamm.csv", bad)
    assert bench.desk.sweep_inboxes() == 2
    work_queue(bench.desk)
    states = [(view.period, view.state) for view in bench.desk.ledger.deliveries("talwerke-nord", "sewage_sludge")]
    assert states == [("2025-03", "accepted"), ("2025-04", "partly_accepted")]
    columns = "works_id, area_code, day_date, dry_mass_t, period, attempt, delivered_line"
    assert [str(v) for row in bench.accepted("sewage_sludge", columns) for v in row] == [
        "Buchenhofen", "05124000", "2025-03-01", "12.500", "2025-03", "1", "2",
        "Buchenhofen", "05124000", "2025-03-02", "0.000", "2025-03", "1", "3",
    ]  # fmt: skip
    held = bench.rows(
        "select delivered_line, rules from accepted.quarantine where dataset = 'sewage_sludge' order by 1"
    )
    assert held == [(2, "dry_mass_plausible"), (3, "values.not_a_date"), (4, "mandate.foreign_row")]


def test_a_new_dataset_has_its_assets_and_checks_in_dagster(bench: TestBench, monkeypatch: pytest.MonkeyPatch) -> None:
    dg = pytest.importorskip("dagster")
    monkeypatch.setenv("VERBUND_HOME", str(bench.settings.home))
    monkeypatch.setenv("VERBUND_REGION", bench.settings.region)
    from orchestration.definitions import definitions
    from orchestration.slots import check_name

    graph = definitions(bench.settings).resolve_asset_graph()
    judged, accepted = dg.AssetKey(["judged", "sewage_sludge"]), dg.AssetKey(["accepted", "sewage_sludge"])
    assert {judged, accepted} <= set(graph.get_all_asset_keys())
    checks = {key.name for key in graph.asset_check_keys if key.asset_key == judged}
    wanted = {rule for rule, _, _ in rule_ids(bench.desk.pack.contracts["sewage_sludge"])}
    assert "dry_mass_plausible" in wanted
    assert {check_name(rule) for rule in wanted} <= checks
