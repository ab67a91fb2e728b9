"""GeoPackage, Shapefile (zipped) and GeoJSON: one row a feature, its attributes as text and its geometry as WKT.

Coordinates stay as they were sent; `geometry_crs` says in which system, where the file does. Which kind a file is, its bytes
tell: nothing of what it holds is taken for the name of something to open.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from posixpath import splitext
from typing import Any

import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from storage.readers.archive import measured
from storage.readers.base import FormatSpec, Landed, Note, Unreadable
from storage.readers.landing import Landing, unique_names
from storage.readers.sniff import Kind, kind_of, wrong_kind

#: Landed beside the attributes.
GEOMETRY, CRS = "geometry", "geometry_crs"
#: Of one feature; a Land's border at full detail is a tenth of it.
MAX_GEOMETRY = 16 * 1024**2
MAX_CELL = 1024 * 1024
MAX_COLUMNS = 5_000
BATCH = 1_000
#: Where SQLite says what the database is for, and what GeoPackage says there.
_APPLICATION, _GEOPACKAGE = 68, (b"GPKG", b"GP10", b"GP11")
_HEAD = 64 * 1024
_TROUBLE = (DataSourceError, DataLayerError, FeatureError, FieldError, GeometryError, shapely.errors.GEOSException)


def read(source: Path, spec: FormatSpec, to: Path, *, name: str) -> Landed:
    """Land one layer; see `storage.readers.base.read`.

    `layer` names it; without it the first. `delivered_line` counts features. Numbers are written with the layout's decimal
    mark, days and moments in ISO 8601. Attributes called `geometry` or `geometry_crs` get the suffix `_2`.

    Raises:
        Unreadable: Also `file.sheet_missing` with `sheets` for a layer that is not there.
    """
    kind = kind_of(source)
    with (
        tempfile.TemporaryDirectory(dir=to.parent, prefix="geo-") as folder,
        _opened(source, kind, Path(folder)) as place,
    ):
        layer, notes = _layer(place, spec)
        return _land(place, layer, spec, to, notes, _declared(source, kind))


@contextmanager
def _opened(source: Path, kind: Kind, folder: Path) -> Iterator[str]:
    """Where GDAL finds the file, with the name of what it must be."""
    expected = "a GeoPackage, a zipped Shapefile or GeoJSON"
    try:
        match kind.word:
            case "json" | "text":
                yield f"GeoJSON:{_linked(source, folder, 'sent.geojson')}"
            case "binary" if _is_geopackage(source):
                yield str(_linked(source, folder, "sent.gpkg"))
            case "zip":
                with zipfile.ZipFile(source) as archive:
                    inner = _inside(measured(archive))
                yield f"/vsizip/{{{_linked(source, folder, 'sent.zip')}}}/{inner}"
            case _:
                raise wrong_kind(kind, expected)
    except zipfile.BadZipFile as error:
        raise Unreadable("file.unreadable", expected="a sound ZIP archive", found="a broken one") from error
    except _TROUBLE as error:
        # what GDAL says may quote the file
        raise Unreadable("file.unreadable", expected=expected, found="a mistake") from error


def _linked(source: Path, folder: Path, name: str) -> Path:
    link = folder / name
    link.symlink_to(source.absolute())
    return link


def _is_geopackage(source: Path) -> bool:
    with source.open("rb") as file:
        head = file.read(_APPLICATION + 4)
    return head[_APPLICATION:] in _GEOPACKAGE


def _inside(parts: Sequence[zipfile.ZipInfo]) -> str:
    """The one file of a ZIP archive that is read; what belongs to a Shapefile lies beside it."""
    found = [part.filename for part in parts if splitext(part.filename)[1].lower() in (".shp", ".gpkg", ".geojson")]
    if len(found) != 1 or not re.fullmatch(r"[\w .()/-]+", found[0]) or ".." in found[0]:
        listed = ", ".join(part.filename for part in parts[:5]) or "none at all"
        raise Unreadable("file.part_missing", expected="one Shapefile in the archive", found=listed)
    return found[0]


def _layer(place: str, spec: FormatSpec) -> tuple[str, list[Note]]:
    names = [str(name) for name, _ in pyogrio.list_layers(place)]
    if not names:
        raise Unreadable("file.empty", expected="a file with data", found="an empty file")
    if spec.layer is None:
        return names[0], []
    alike = [name for name in names if name.casefold() == spec.layer.casefold()]
    if alike or len(names) == 1:
        found = (alike or names)[0]
        renamed = Note("file.sheet_renamed", "warning", {"agreed": spec.layer, "found": found}, sheet=found)
        return found, [] if alike else [renamed]
    listed = ", ".join(names[:10])
    raise Unreadable("file.sheet_missing", expected=f"a layer named '{spec.layer}'", found=listed, sheets=names[:10])


def _declared(source: Path, kind: Kind) -> bool:
    """Whether the file itself says in which system its coordinates are; GeoJSON mostly does not, and GDAL then supposes one."""
    if kind.word not in ("json", "text"):
        return True
    with source.open("rb") as file:
        return re.search(rb'"crs"\s*:\s*\{', file.read(_HEAD)) is not None


def _land(place: str, layer: str, spec: FormatSpec, to: Path, notes: list[Note], declared: bool) -> Landed:
    with pyogrio.raw.open_arrow(place, layer=layer, batch_size=BATCH, use_pyarrow=True) as (meta, batches):
        shape = meta["geometry_name"] or "wkb_geometry"
        attributes = [str(name) for name in meta["fields"]]
        if len(attributes) > MAX_COLUMNS:
            raise Unreadable(
                "file.too_large", expected=f"at most {MAX_COLUMNS} columns", found=f"{len(attributes)} columns"
            )
        crs = meta["crs"] if declared else None
        columns = unique_names([GEOMETRY, CRS, *attributes])
        number = 0
        with Landing(to, columns) as landing:
            for batch in batches:
                there = set(batch.schema.names)
                shapes = batch.column(shape).to_pylist() if shape in there else [None] * batch.num_rows
                cells = [
                    batch.column(name).to_pylist() if name in there else [None] * batch.num_rows for name in attributes
                ]
                for place_in, values in enumerate(zip(*cells, strict=True) if cells else ((),) * batch.num_rows):
                    number += 1
                    row = [_text(value, spec.decimal, number) for value in values]
                    landing.add(number, [_wkt(shapes[place_in], number), crs, *row], sheet=layer)
    return Landed(to, columns, ("",) * len(columns), landing.rows, tuple(notes))


def _wkt(shape: bytes | None, number: int) -> str | None:
    if shape is None:
        return None
    if len(shape) > MAX_GEOMETRY:
        raise Unreadable(
            "file.too_large",
            expected=f"geometries of at most {MAX_GEOMETRY // 1024**2} MiB",
            found="a larger one",
            line=number,
        )
    # heights say nothing of what is asked here; digits below a millimetre are noise of a computer
    return str(shapely.to_wkt(shapely.force_2d(shapely.from_wkb(shape)), rounding_precision=9, trim=True))


def _text(value: Any, decimal: str, number: int) -> str | None:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return (str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)).replace(".", decimal)
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, dict)):
        value = json.dumps(value, ensure_ascii=False, default=str)
    cell = str(value)
    if len(cell) > MAX_CELL:
        raise Unreadable(
            "file.too_large", expected=f"values of at most {MAX_CELL} characters", found="a longer one", line=number
        )
    return cell
