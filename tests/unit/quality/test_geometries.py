"""Shapes in a delivery: kept as valid WKT in one coordinate system, measured, and a bad one holds back its own row only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import PLAIN, WORKS, WUPPERTAL, TestBench, found

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: parcels
name: Flurstücke
version: 1.0.0
status: active
domain: tests
description: {purpose: Holds a shape., usage: Tests., limitations: Nobody owes it.}
customProperties:
  - {property: title, value: {de: Flurstücke, en: Parcels}}
  - {property: interval, value: yearly}
  - {property: due, value: {month: 4, day: 1}}
  - {property: areaField, value: area_code}
schema:
  - name: parcels
    physicalType: table
    description: One row per parcel.
    properties:
      - {name: parcel_id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: area_code, logicalType: string, required: true, customProperties: [{property: format, value: ags}]}
      - {name: shape, logicalType: string, required: true, customProperties: [{property: format, value: geometry}]}
      - {name: measured_m2, logicalType: number, required: false, customProperties: [{property: unit, value: m2}]}
      - {name: said_m2, logicalType: number, required: false, customProperties: [{property: unit, value: m2}]}
    quality:
      - id: area_as_said
        type: custom
        engine: greatExpectations
        severity: warning
        description: as said
        implementation:
          {type: unexpected_rows, kwargs: {condition: "abs(measured_m2 - said_m2) > 0.05 * said_m2", columns: [said_m2]}}
"""
DIALECT = """
id: parcels-geojson
dataset: parcels
format: {type: geo}
columns:
  parcel_id: id
  area_code: ags
  shape: {from: geometry, crs: "EPSG:25832"}
  measured_m2: {from: geometry, crs: "EPSG:25832", measure: area, unit: m2}
  said_m2: {from: m2, optional: true}
"""
MANDATE = f'  - {{supplier: {WORKS}, dataset: parcels, dialects: [parcels-geojson], areas: ["05124000"], valid_from: 2010-01-01}}\n'
SQUARE = [
    [370000.0, 5670000.0],
    [370010.0, 5670000.0],
    [370010.0, 5670010.0],
    [370000.0, 5670010.0],
    [370000.0, 5670000.0],
]
BOW = [SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3], SQUARE[0]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBench]:
    folder = tmp_path_factory.mktemp("parcels")
    region = Path(shutil.copytree(PLAIN, folder / "pack"))
    (region / "contracts" / "parcels.odcs.yml").write_text(CONTRACT)
    (region / "dialects" / "parcels.yml").write_text(DIALECT)
    with (region / "mandates.yml").open("a") as file:
        file.write(MANDATE)
    made = TestBench(folder / "home", region)
    yield made
    made.close()


def feature(number: int, ring: list[list[float]] | None, **more: Any) -> dict[str, Any]:
    shape = None if ring is None else {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "properties": {"id": f"p{number}", "ags": WUPPERTAL, **more}, "geometry": shape}


def collection(*features: dict[str, Any], crs: str | None = None) -> str:
    named = {"crs": {"type": "name", "properties": {"name": crs}}} if crs else {}
    return json.dumps({"type": "FeatureCollection", **named, "features": list(features)})


def test_shapes_are_kept_and_measured(bench: TestBench) -> None:
    with bench.judged(collection(feature(1, SQUARE, m2=100), feature(2, SQUARE, m2=120)), "parcels", "2025") as judged:
        assert judged.verdict.state == "accepted_with_warnings"
        assert [o.rows for o in judged.verdict.outcomes if o.rule == "area_as_said"] == [1]
        kept = bench.rows(f"select parcel_id, measured_m2, shape from {judged.accepted} order by parcel_id")
    assert [(name, float(area)) for name, area, _ in kept] == [("p1", 100.0), ("p2", 100.0)]
    assert kept[0][2].startswith("POLYGON ((370000 5670000")


def test_coordinates_of_another_system_come_into_ours(bench: TestBench) -> None:
    # a square of ten metres in Gauss-Krüger, zone 2
    ring = [[x - 370000 + 2570000, y - 5670000 + 5680000] for x, y in SQUARE]
    content = collection(feature(1, ring), crs="urn:ogc:def:crs:EPSG::31466")
    with bench.judged(content, "parcels", "2025") as judged:
        [(area, shape)] = bench.rows(f"select measured_m2, shape from {judged.accepted}")
    assert float(area) == pytest.approx(100.0, rel=2e-3)
    assert shape.startswith("POLYGON ((3605")


def test_a_bad_shape_holds_back_its_row_and_no_other(bench: TestBench) -> None:
    content = collection(feature(1, SQUARE), feature(2, BOW), feature(3, None))
    with bench.judged(content, "parcels", "2025") as judged:
        rows = judged.verdict.rows
        assert (rows.accepted, rows.quarantined) == (1, 2)
        wrong, missing = (found(judged.verdict.findings, rule) for rule in ("values.not_a_geometry", "values.missing"))
        assert wrong is not None and wrong.rows == 1
        assert missing is not None and missing.rows == 1


@pytest.mark.parametrize("crs", ["urn:ogc:def:crs:EPSG::2056", "urn:ogc:def:crs:OGC:1.3:CRS84"])
def test_a_system_nobody_here_uses_is_told_and_guessed_by_nobody(bench: TestBench, crs: str) -> None:
    ring = (
        SQUARE
        if "2056" in crs
        else [[7.0 + x / 10, 51.0 + y / 10] for x, y in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))]
    )
    with bench.judged(collection(feature(1, ring), crs=crs), "parcels", "2025") as judged:
        told = found(judged.verdict.findings, "values.not_a_geometry")
    assert (told is None) == ("CRS84" in crs), "the web's order of degrees is known"
