"""Geodata as offices send them: every kind lands as the same table, and hostile files get a verdict."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyogrio
import pytest
import shapely

from storage.readers import FormatSpec, Landed, Unreadable, geo, read

Cells = list[dict[str, str | None]]
SHAPES = [shapely.box(370000, 5670000, 370010, 5670020.5), shapely.Point(370001.25, 5670002), None]
WKT = [
    "POLYGON ((370010 5670000, 370010 5670020.5, 370000 5670020.5, 370000 5670000, 370010 5670000))",
    "POINT (370001.25 5670002)",
    None,
]
ATTRIBUTES = {
    "id": np.array(["a", "b", "c"], dtype=object),
    "size": np.array([205.0, 1.5, np.nan]),
    "Straße": np.array(["Ä", "ß", ""], dtype=object),
}


def written(to: Path, driver: str, crs: str | None = "EPSG:25832", kinds: str = "Unknown") -> Path:
    """A file of this kind with the features above."""
    shapes = np.array([shapely.to_wkb(shape) if shape is not None else None for shape in SHAPES], dtype=object)
    pyogrio.raw.write(
        to, shapes, list(ATTRIBUTES.values()), list(ATTRIBUTES), geometry_type=kinds, driver=driver, crs=crs, encoding="UTF-8"
    )  # fmt: skip
    return to


def land(folder: Path, content: bytes, **layout: Any) -> tuple[Landed, Cells]:
    source = folder / "sent"
    source.write_bytes(content)
    landed = read(source, FormatSpec(type="geo", **layout), folder / "landed.parquet", name="sent")
    return landed, pl.read_parquet(landed.path).select(landed.columns).to_dicts()


def collection(*features: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"type": "FeatureCollection", **more, "features": features}).encode()


def square(**properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": json.loads(shapely.to_geojson(SHAPES[0]))}


def zipped(folder: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"Flächen 2026/{file.name}")
    return packed.getvalue()


def test_a_geopackage_lands_with_its_system_and_its_words(tmp_path: Path) -> None:
    content = written(tmp_path / "a.gpkg", "GPKG").read_bytes()
    landed, cells = land(tmp_path, content)
    assert [row["geometry"] for row in cells] == WKT
    assert {row["geometry_crs"] for row in cells} == {"EPSG:25832"}
    assert [(row["id"], row["size"], row["Straße"]) for row in cells] == [
        ("a", "205", "Ä"),
        ("b", "1.5", "ß"),
        ("c", None, None),
    ]
    assert pl.read_parquet(landed.path)["delivered_line"].to_list() == [1, 2, 3]
    assert land(tmp_path, content, decimal=",")[1][1]["size"] == "1,5"


def test_a_zipped_shapefile_is_read_in_whatever_folder(tmp_path: Path) -> None:
    (tmp_path / "shape").mkdir()
    shapes = np.array([shapely.to_wkb(SHAPES[0])], dtype=object)
    to = tmp_path / "shape" / "flaechen.shp"
    pyogrio.raw.write(
        to,
        shapes,
        [np.array(["Ä"], dtype=object)],
        ["name"],
        geometry_type="Polygon",
        crs="EPSG:31466",
        encoding="UTF-8",
    )
    _, [row] = land(tmp_path, zipped(tmp_path / "shape"))
    assert (row["geometry_crs"], row["name"]) == ("EPSG:31466", "Ä")
    assert row["geometry"] is not None and row["geometry"].startswith("POLYGON")
    to.with_suffix(".prj").unlink()
    assert land(tmp_path, zipped(tmp_path / "shape"))[1][0]["geometry_crs"] is None


def test_geojson_says_its_system_or_says_none(tmp_path: Path) -> None:
    named = {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::25832"}}}
    assert land(tmp_path, collection(square(n=1), **named))[1][0]["geometry_crs"] == "EPSG:25832"
    _, [first, second] = land(
        tmp_path, collection(square(n=1.5, deep={"a": [1]}), {"type": "Feature", "properties": {}, "geometry": None})
    )
    assert (first["geometry_crs"], first["n"]) == (None, "1.5") and first["deep"] is not None
    assert second["geometry"] is None


def test_another_layer_than_agreed_is_told(tmp_path: Path) -> None:
    content = written(tmp_path / "a.gpkg", "GPKG").read_bytes()
    assert land(tmp_path, content, layer="A")[0].notes == ()
    assert [note.rule for note in land(tmp_path, content, layer="potentials")[0].notes] == ["file.sheet_renamed"]


def a_database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (a)")
    return connection.serialize()


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (a_database(), "file.wrong_kind"),
        (b"<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>/etc/passwd</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>", "file.wrong_kind"),
        (b'{"type": "FeatureCollection", "features": [', "file.unreadable"),
        (b'{"a": 1}', "file.unreadable"),
        (b"id;wert\n1;2\n", "file.unreadable"),
        (b"SQLite format 3\x00" + b"\x00" * 52 + b"GPKG" + b"\x00" * 1000, "file.unreadable"),
        (b"PK\x03\x04 something that was zipped once", "file.unreadable"),
        (b"", "file.empty"),
    ],
)  # fmt: skip
def test_hostile_files_get_a_verdict(tmp_path: Path, content: bytes, rule: str) -> None:
    with pytest.raises(Unreadable) as refused:
        land(tmp_path, content)
    assert refused.value.rule == rule
    assert not list(tmp_path.glob("geo-*")) and not list(tmp_path.glob("*.parquet"))


@pytest.mark.parametrize("names", [["a.txt"], ["a.shp", "b.shp"], ["../../a.shp"], ["x}/a.shp"]])
def test_an_archive_must_hold_one_file_with_a_plain_name(tmp_path: Path, names: list[str]) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    with pytest.raises(Unreadable) as refused:
        land(tmp_path, packed.getvalue())
    assert refused.value.rule == "file.part_missing"


def test_a_geometry_nobody_can_look_at_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geo, "MAX_GEOMETRY", 10)
    with pytest.raises(Unreadable) as refused:
        land(tmp_path, collection(square(n=1)))
    assert refused.value.rule == "file.too_large"
