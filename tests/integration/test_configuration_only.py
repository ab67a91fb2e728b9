"""A supplier and a dataset come in by files of the region pack alone: no Python, no SQL, and everything is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import openpyxl
import pytest
from typer.testing import CliRunner

from orchestration.instance import open_instance
from orchestration.report import accepted_key, judged_key
from orchestration.reporter import report_all
from orchestration.slots import check_name, partition_of
from quality.configuration import load_region
from quality.desk import Desk
from quality.judging import work_queue
from quality.lint import lint
from quality.rules import rule_ids
from storage.paths import Slot
from storage.settings import Settings, project_root
from verbund.cli import app

# building the definitions and judging import what takes seconds, whichever of these tests runs
pytestmark = pytest.mark.slow

SUPPLIER, KNOWN_DATASET = "wuppertal-gaertnerei", "green_waste_intake"
SWEEPER, NEW_DATASET = "solingen-betriebe", "street_sweepings"
INTAKE, SWEEPINGS = Slot(SUPPLIER, KNOWN_DATASET, "2024-06"), Slot(SWEEPER, NEW_DATASET, "2024")

SUPPLIER_LINE = (
    f"\n  - {{id: {SUPPLIER}, name: Stadtgärtnerei (Rolle), role: municipal nursery, "
    'area_code: "05124000", synthetic: true}\n'
)
MANDATE_LINES = f"""
  - {{supplier: {SUPPLIER}, dataset: {KNOWN_DATASET}, dialects: [gaertnerei], areas: ["05124000"], valid_from: 2024-01-01, valid_until: 2025-01-01}}
  - {{supplier: {SWEEPER}, dataset: {NEW_DATASET}, dialects: [kehricht], areas: ["05122000"], valid_from: 2024-01-01}}
"""
INTAKE_DIALECT = f"""\
id: gaertnerei
dataset: {KNOWN_DATASET}
note: Export of the nursery's gate, English numbers in kilograms.
recognise: {{file_name: '(?i)tor_(?P<period>20\\d\\d-(?:0[1-9]|1[0-2]))\\.txt'}}
format: {{type: csv, encoding: cp1252, delimiter: "|", header: {{row: 2}}}}
decimal: "."
thousands: ","
dates: ["%Y/%m/%d"]
columns:
  site_id: {{constant: wuppertal-nord}}
  area_code: {{constant: "05124000"}}
  intake_date: Tag
  fraction_code: Grünfraktion
  quantity: Gewicht
  unit_code: {{constant: kg}}
"""
SWEEPINGS_DIALECT = f"""\
id: kehricht
dataset: {NEW_DATASET}
note: Yearly list of the sweeping machines.
recognise: {{file_name: '(?i)kehricht_(?P<period>20\\d\\d)\\.csv'}}
format: {{type: csv, encoding: utf-8, delimiter: ";"}}
decimal: ","
thousands: "."
columns:
  year: {{period: true}}
  area_code: AGS
  machine_id: Maschine
  sweepings_t: {{from: "Kehricht [kg]", unit: kg}}
  swept_km: Strecke
"""
CONTRACT = f"""\
apiVersion: v3.1.0
kind: DataContract
id: {NEW_DATASET}
name: Straßenkehricht
version: 1.0.0
status: active
domain: waste
description:
  purpose: "What the sweeping machines of a municipality took up in a year."
  usage: "Planning of sweeping and treatment."
  limitations: "Weighed wet."
customProperties:
  - {{property: title, value: {{de: Straßenkehricht, en: Street sweepings}}}}
  - {{property: interval, value: yearly}}
  - {{property: due, value: {{month: 3, day: 31}}}}
  - {{property: areaField, value: area_code}}
  - {{property: periodField, value: year}}
schema:
  - name: {NEW_DATASET}
    physicalType: table
    description: "One row per machine and year."
    properties:
      - {{name: year, logicalType: integer, required: true, primaryKey: true, primaryKeyPosition: 1, description: Year of sweeping.}}
      - {{name: area_code, logicalType: string, required: true, description: Municipality., customProperties: [{{property: format, value: ags}}]}}
      - {{name: machine_id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 2, description: Machine.}}
      - {{name: sweepings_t, logicalType: number, required: true, description: Sweepings taken up., customProperties: [{{property: unit, value: t}}]}}
      - {{name: swept_km, logicalType: number, required: false, description: Kilometres swept., customProperties: [{{property: unit, value: km}}]}}
    quality:
      - id: sweepings_not_negative
        type: custom
        engine: greatExpectations
        implementation: {{type: expect_column_values_to_be_between, kwargs: {{column: sweepings_t, min_value: 0}}}}
        severity: error
        description: Nothing less than nothing can be swept up.
        customProperties:
          - {{property: because, value: {{de: Weniger als nichts kann nicht gekehrt werden., en: Nothing less than nothing can be swept up.}}}}
      - id: swept_where_taken_up
        type: custom
        engine: greatExpectations
        implementation: {{type: unexpected_rows, kwargs: {{condition: "sweepings_t > 0 and swept_km is null", columns: [swept_km]}}}}
        severity: warning
        description: Where something was taken up, some way was swept.
        customProperties:
          - {{property: because, value: {{de: Wo gekehrt wurde, ist die Maschine gefahren., en: Where something was taken up, some way was swept.}}}}
"""
GOOD = {
    INTAKE: ("tor_2024-06.txt", "Torbuch\nTag|Grünfraktion|Gewicht\n2024/06/03|woody|1,250.5\n2024/06/04|mixed|800\n"),
    SWEEPINGS: (
        "kehricht_2024.csv",
        "AGS;Maschine;Kehricht [kg];Strecke\n05122000;K-1;12.500;310,5\n05122000;K-2;8.000;7\n05122000;K-3;0;\n",
    ),
}  # fmt: skip
#: A row that breaks a rule of the contract, one of the platform, and one that holds.
BAD = {
    INTAKE: (
        "tor_2024-06.txt",
        "Torbuch\nTag|Grünfraktion|Gewicht\n2024/06/03|woody|1,250.5\n2024/06/04|mixed|-800\n2024/06/05|mixed|viel\n"
        "2024/06/06|mixed|1\n",
    ),
    SWEEPINGS: (
        "kehricht_2024.csv",
        "AGS;Maschine;Kehricht [kg];Strecke\n05122000;K-1;12.500;310,5\n05122000;K-2;-8.000;12\n05124000;K-3;1;2\n"
        "05122000;K-4;700;9\n",
    ),
}
HELD = {
    INTAKE: {"intake_not_negative", "values.not_a_number"},
    SWEEPINGS: {"sweepings_not_negative", "mandate.foreign_row"},
}
SLOTS = pytest.mark.parametrize("slot", [INTAKE, SWEEPINGS], ids=["a_new_supplier", "a_new_dataset"])


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The region pack with a supplier and a dataset more; nothing but YAML is added."""
    folder = tmp_path_factory.mktemp("pack") / "bergisch"
    shutil.copytree(project_root() / "regions" / "bergisch", folder)
    _append(folder / "suppliers.yml", SUPPLIER_LINE)
    _append(folder / "mandates.yml", MANDATE_LINES)
    (folder / "dialects" / "gaertnerei.yml").write_text(INTAKE_DIALECT, encoding="utf-8")
    (folder / "dialects" / "kehricht.yml").write_text(SWEEPINGS_DIALECT, encoding="utf-8")
    (folder / "contracts").mkdir(exist_ok=True)
    (folder / "contracts" / f"{NEW_DATASET}.odcs.yml").write_text(CONTRACT, encoding="utf-8")
    return folder


def _append(file: Path, text: str) -> None:
    file.write_text(file.read_text(encoding="utf-8").rstrip() + text, encoding="utf-8")


@pytest.fixture(scope="module")
def settings(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home that serves this pack, also for what reads the environment."""
    settings = Settings(home=tmp_path_factory.mktemp("home") / "home", region=str(pack))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERBUND_HOME", str(settings.home))
        patch.setenv("VERBUND_REGION", str(pack))
        yield settings


@pytest.fixture(scope="module")
def desk(settings: Settings) -> Iterator[Desk]:
    """Good files came first and bad ones after them, the new supplier's through its inbox."""
    desk = Desk(settings)
    for files in (GOOD, BAD):
        for slot, (name, text) in files.items():
            encoding = "cp1252" if slot is INTAKE else "utf-8"
            sent = settings.home.parent / name
            sent.write_bytes(text.encode(encoding))
            desk.receive(sent, slot.supplier, slot.dataset, slot.period, file_name=name, who="test")
            work_queue(desk)
    yield desk
    desk.close()


def id_of(slot: Slot, attempt: int) -> str:
    return f"{slot}--{attempt:02d}"


def rows(desk: Desk, query: str) -> list[tuple[Any, ...]]:
    return desk.bench.connection.execute(query).fetchall()


def test_the_pack_is_sound_as_a_whole(pack: Path, settings: Settings) -> None:
    said = CliRunner().invoke(app, ["region", "check", "--region", str(pack), "--home", str(settings.home), "--json"])
    assert said.exit_code == 0, said.output
    assert lint(pack / "contracts" / f"{NEW_DATASET}.odcs.yml").problems == ()


@SLOTS
def test_a_good_file_is_accepted_and_answered(desk: Desk, slot: Slot) -> None:
    receipt = desk.receipt(id_of(slot, 1))
    assert (receipt["state"], receipt["findings"]) == ("superseded", [])
    assert (
        receipt["rows"]["accepted"]
        == receipt["rows"]["delivered"]
        == len(GOOD[slot][1].splitlines()) - 1 - (slot is INTAKE)
    )
    for ending in ("json", "html"):
        assert Path(receipt["receipt"][ending]).stat().st_size > 0


@SLOTS
def test_a_bad_file_gets_a_receipt_that_names_what_to_mend(desk: Desk, slot: Slot) -> None:
    receipt = desk.receipt(id_of(slot, 2))
    assert receipt["state"] == "partly_accepted"
    assert receipt["rows"] == {
        "delivered": 4, "accepted": 2, "accepted_with_warning": 0, "quarantined": 2, "ignored_by_rule": 0,
    }  # fmt: skip
    told = {finding["rule"]: finding for finding in receipt["findings"]}
    assert told.keys() >= HELD[slot]
    for rule in HELD[slot]:
        assert told[rule]["rows"] == 1
        assert told[rule]["message"]["de"] and told[rule]["message"]["en"]
        assert told[rule]["examples"][0]["column"] in BAD[slot][1]
    document = json.loads(Path(receipt["receipt"]["json"]).read_text(encoding="utf-8"))
    assert document["delivery"] == id_of(slot, 2)
    page = Path(receipt["receipt"]["html"]).read_text(encoding="utf-8")
    assert desk.pack.contracts[slot.dataset].title["de"] in page
    sheet = openpyxl.load_workbook(receipt["receipt"]["xlsx"]).worksheets[0]
    assert sheet.max_row > 2


def test_accepted_rows_are_in_the_contracts_words_and_say_where_they_came_from(desk: Desk) -> None:
    assert rows(desk, f"from accepted.{KNOWN_DATASET} select columns(* exclude (delivered_sheet, row_warnings)) "
                      f"where supplier_id = '{SUPPLIER}' order by delivered_line") == [
        ("wuppertal-nord", "05124000", date(2024, 6, 3), "woody", Decimal("1250.5"), "kg", None,
         SUPPLIER, "2024-06", id_of(INTAKE, 2), 2, 3),
        ("wuppertal-nord", "05124000", date(2024, 6, 6), "mixed", Decimal(1), "kg", None,
         SUPPLIER, "2024-06", id_of(INTAKE, 2), 2, 6),
    ]  # fmt: skip
    assert rows(desk, f"from accepted.{NEW_DATASET} select columns(* exclude (delivered_sheet, row_warnings)) "
                      "order by delivered_line") == [
        (2024, "05122000", "K-1", Decimal("12.5"), Decimal("310.5"), SWEEPER, "2024", id_of(SWEEPINGS, 2), 2, 2),
        (2024, "05122000", "K-4", Decimal("0.7"), Decimal(9), SWEEPER, "2024", id_of(SWEEPINGS, 2), 2, 5),
    ]  # fmt: skip


@SLOTS
def test_rows_that_broke_a_rule_are_held_with_their_own_words(desk: Desk, slot: Slot) -> None:
    held = rows(
        desk, f"select delivered_line, cells, rules from accepted.quarantine where delivery_id = '{id_of(slot, 2)}'"
    )
    assert len(held) == 2
    assert {rule for rule in HELD[slot] if any(rule in rules for *_, rules in held)} == HELD[slot]
    lines = BAD[slot][1].splitlines()
    for line, cells, _ in held:
        assert set(json.loads(cells).values()) >= set(lines[line - 1].replace("|", ";").split(";"))


def test_dagster_has_assets_and_one_check_per_rule_for_the_new_dataset(desk: Desk, settings: Settings) -> None:
    from orchestration.definitions import definitions

    made = definitions(settings)
    dg.Definitions.validate_loadable(made)
    graph = made.resolve_asset_graph()
    judged, accepted = judged_key(NEW_DATASET), accepted_key(NEW_DATASET)
    assert {judged, accepted} <= graph.get_all_asset_keys()
    assert graph.get(accepted).parent_keys == {judged}
    checks = {key.name for key in graph.asset_check_keys if key.asset_key == judged}
    contract = load_region(settings).contracts[NEW_DATASET]
    rules = {check_name(rule) for rule, *_ in rule_ids(contract)}
    assert {"sweepings_not_negative", "swept_where_taken_up", "mandate__foreign_row"} <= rules <= checks

    assert report_all(settings) > 0
    job = made.resolve_implicit_global_asset_job_def()
    with open_instance(settings) as instance:
        for slot in (INTAKE, SWEEPINGS):
            records = instance.fetch_materializations(accepted_key(slot.dataset), limit=5).records
            assert partition_of(slot) in {record.partition_key for record in records}
        run = job.execute_in_process(
            instance=instance, partition_key=partition_of(SWEEPINGS), asset_selection=[judged, accepted]
        )
        broken = {e.check_name for e in run.get_asset_check_evaluations() if not e.passed}
        assert broken == {"sweepings_not_negative", "mandate__foreign_row"}
