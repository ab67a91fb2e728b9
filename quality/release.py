"""Releases: frozen, numbered states of the foundation, as files that anybody reads while loads go on.

A release is a folder that never changes: one DuckDB file, one Parquet file a table, a manifest and the sums of all
files. Here they are made, handed to readers and checked; they are read in `quality.release_reading`. The server profile
puts the folder into the object store, where it counts from its manifest on, and its rows into PostgreSQL
(`quality.serving`). What the foundation holds is built by `quality.foundation`; when to release is for `orchestration`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import yaml

from quality import foundation
from quality.codelists import load_code_lists
from quality.contract import ACCESS_LEVELS, Contract, load_contracts
from quality.release_reading import (
    ABOUT,
    DATABASE,
    MANIFEST,
    POINTER,
    SUMS,
    BadQuery,
    Damage,
    Differences,
    IndicatorDifference,
    NoRelease,
    Release,
    TableDifference,
    current,
    current_number,
    damages_in,
    differences,
    discard,
    from_manifest,
    name,
    numbered,
    numbers,
    open_release,
    query,
    releases,
    sha256_of,
    text,
)
from storage import lake, locks, stores
from storage.crash import reached
from storage.paths import release_key
from storage.settings import Settings, project_root

__all__ = [
    "BadQuery", "Damage", "Differences", "IndicatorDifference", "NoRelease", "NothingToRelease", "Release",
    "TableDifference", "current", "differences", "hand_out_last", "open_release", "query", "readable_files", "release",
    "releases", "verify",
]  # fmt: skip

_INTERNAL = ("stg_", "int_")
#: What a table of accepted rows has, in the catalog `accepted`.
_DELIVERED = ("supplier_id", "period", "delivery_id", "attempt", "delivered_line")
_MEMORY_MB = 1024
_AGREEMENT = "figures of the deliveries named in this manifest; for use as the cooperation has agreed"


class NothingToRelease(NoRelease):
    """The foundation was never built to the end, or holds a table that a release cannot."""


@dataclass(frozen=True)
class _Model:
    """What the dbt project says of a model."""

    description: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    #: `access_level` and `licence`, where the model has no contract to say them.
    meta: Mapping[str, str] = field(default_factory=dict)


_NO_MODEL = _Model()


def release(settings: Settings, note: str = "", now: datetime | None = None, *, force: bool = False) -> Release:
    """Freeze the foundation as it was last built to the end, and make that the current release.

    Where nothing has changed since the last release, that one is given back (`is_new` False) unless `force` is set.

    Args:
        settings: Where state lies.
        note: What to say of this release, for people.
        now: Time of the release, with its zone; without it the present.
        force: Make a release also where nothing is new.

    Raises:
        NothingToRelease: The foundation was never built to the end.
        storage.lake.LakeUnavailable: A catalog cannot be read at the snapshot; nothing was changed.
        storage.locks.Busy: Another process was releasing for too long.
        quality.serving.NotServed: The release is made, and the database could not take it; readers keep the one before.
    """
    state = foundation.current(settings)
    if state is None:
        raise NothingToRelease("the foundation has not been built yet; `verbund build` builds it")
    home = settings.paths
    home.releases.mkdir(parents=True, exist_ok=True)
    with locks.holding(settings, "release", timeout=lake.LOCK_SECONDS):
        for left_over in home.releases.glob(".making-*"):
            shutil.rmtree(left_over)
        known = numbers(settings)
        last = numbered(settings, known[-1]) if known else None
        if last and not force and (last.snapshot, last.accepted_snapshot) == (state.foundation, state.accepted):
            return _hand_out(settings, last)
        number = last.number + 1 if last else 1
        making = home.releases / f".making-{number:04d}"
        (making / "parquet").mkdir(parents=True)
        about = {
            "number": number,
            "released_at": (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0).isoformat(),
            "snapshots": {"foundation": state.foundation, "accepted": state.accepted},
            "note": note,
        }
        manifest = _freeze(settings, about, making)
        if last and not force and _content(last.manifest) == _content(manifest):
            # built again, with the same result
            shutil.rmtree(making)
            return _hand_out(settings, last)
        _seal(making, manifest)
        reached("release.frozen")
        if settings.is_server:
            _put_away(settings, number, making)
            discard(settings, number)
        # the folder appears whole or not at all
        making.rename(home.release(number))
        _sync(home.releases)
        reached("release.made")
        return _hand_out(settings, replace(from_manifest(home.release(number)), is_new=True))


def hand_out_last(settings: Settings) -> bool:
    """Give readers the last release where a crash kept it from them.

    Returns:
        Whether there was something to do.

    Raises:
        As `release`.
    """
    # asked before the lock: mostly there is nothing to do
    if not _is_withheld(settings):
        return False
    with locks.holding(settings, "release", timeout=lake.LOCK_SECONDS):
        _hand_out(settings, numbered(settings, numbers(settings)[-1]))
    return True


def verify(settings: Settings, number: int | None = None) -> list[Damage]:
    """Compare every file of a release with its sum; an empty list says that all is as it was written.

    Raises:
        NoRelease: There is none of this number, or none at all.
    """
    return damages_in(numbered(settings, number).path)


def _freeze(settings: Settings, about: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write the DuckDB file and the Parquet files into `folder`; returns the manifest, which is not written yet."""
    snapshots = about["snapshots"]
    models, tables = _models(), {}
    contracts = load_contracts(project_root() / "quality" / "contracts", settings.region_dir / "contracts")
    with contextlib.closing(lake.connect(settings, memory_mb=_MEMORY_MB)) as connection:
        lake.attach(connection, settings, "accepted", read_only=True, snapshot=snapshots["accepted"])
        lake.attach(connection, settings, "foundation", read_only=True, snapshot=snapshots["foundation"])
        connection.execute(f"attach {text(str(folder / DATABASE))} as frozen")
        for table, comment in _curated(connection):
            model = models.get(table, _NO_MODEL)
            description, rights = comment or model.description, _rights(contracts.get(table), model)
            columns = _columns(connection, table, model)
            for_whom = f"Access level {rights['access_level']}: for {ACCESS_LEVELS[rights['access_level']]}."
            _write_table(connection, folder, table, f"{description} {for_whom}".strip(), columns)
            tables[table] = {
                "rows": _count(connection, f"frozen.main.{name(table)}"),
                **_file(folder, f"parquet/{table}.parquet"),
                "description": description,
                "key": list(model.key),
                "columns": columns,
                "synthetic_rows": _synthetic_rows(connection, table, columns),
                **rights,
            }
        _write_about(connection, about)
        deliveries = _deliveries(connection)
        # writes the rest of the log into the file and takes the log away
        connection.execute("detach frozen")
    return {
        **about,
        "database": _file(folder, DATABASE),
        "tables": tables,
        "access_levels": dict(ACCESS_LEVELS),
        "licence": {"software": "EUPL-1.2", "data": "see `licence` of each table"},
        "attributions": _attributions(settings, [contracts[table] for table in tables if table in contracts]),
        "deliveries": deliveries,
    }


def _curated(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str | None]]:
    """Name and comment of every table and view that readers may see."""
    found = connection.execute(
        "select table_name, comment from duckdb_tables() where database_name = 'foundation' and schema_name = 'main' "
        "union all select view_name, comment from duckdb_views() "
        "where database_name = 'foundation' and schema_name = 'main' and not internal order by 1"
    ).fetchall()
    if any(table == ABOUT for table, _ in found):
        raise NothingToRelease(f"no table may be called {ABOUT!r}: a release tells its own number under that name")
    return [(table, comment) for table, comment in found if not table.startswith(_INTERNAL)]


def _columns(connection: duckdb.DuckDBPyConnection, table: str, model: _Model) -> list[dict[str, Any]]:
    found = connection.execute(
        "select column_name, data_type, comment from duckdb_columns() "
        f"where database_name = 'foundation' and schema_name = 'main' and table_name = {text(table)} order by column_index"
    ).fetchall()
    return [{"name": n, "type": t, "description": c or model.columns.get(n, "")} for n, t, c in found]


def _write_table(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    table: str,
    description: str,
    columns: Sequence[Mapping[str, Any]],
) -> None:
    frozen = f"frozen.main.{name(table)}"
    # in an order of its own, so that equal content gives equal files
    connection.execute(f"create table {frozen} as select * from foundation.main.{name(table)} order by all")
    connection.execute(f"comment on table {frozen} is {text(description)}")
    for column in columns:
        if column["description"]:
            connection.execute(f"comment on column {frozen}.{name(column['name'])} is {text(column['description'])}")
    file = text(str(folder / "parquet" / f"{table}.parquet"))
    connection.execute(f"copy (select * from {frozen}) to {file} (format parquet, compression zstd)")


def _write_about(connection: duckdb.DuckDBPyConnection, about: Mapping[str, Any]) -> None:
    frozen, snapshots = f"frozen.main.{ABOUT}", about["snapshots"]
    connection.execute(
        f"create table {frozen} (number integer, released_at timestamptz, foundation_snapshot bigint, "
        "accepted_snapshot bigint, note varchar)"
    )
    # written out, because the first bound parameter of a process makes DuckDB import pandas, which takes seconds
    connection.execute(
        f"insert into {frozen} values ({about['number']}, {text(about['released_at'])}, {snapshots['foundation']}, "
        f"{snapshots['accepted']}, {text(about['note'])})"
    )
    connection.execute(f"comment on table {frozen} is 'Which release this file is. One row.'")


def _deliveries(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Every delivery whose rows, or whose word that there are none, the foundation was built from."""
    columns: dict[str, set[str]] = {}
    for table, column in connection.execute(
        "select table_name, column_name from duckdb_columns() where database_name = 'accepted' and schema_name = 'main'"
    ).fetchall():
        columns.setdefault(table, set()).add(column)
    parts = [
        f"select {text(table)} as dataset, supplier_id, period, delivery_id, attempt, count(*) as number_of_rows "
        f"from accepted.main.{name(table)} group by all"
        for table, own in sorted(columns.items())
        if own.issuperset(_DELIVERED) and table != "quarantine"
    ]
    if "served_slots" in columns:
        parts.append(
            "select dataset, supplier_id, period, delivery_id, attempt, 0 from accepted.main.served_slots where rows = 0"
        )
    if not parts:
        return []
    invented = "select supplier_id from accepted.main.region_suppliers where is_synthetic"
    found = connection.execute(
        "select dataset, supplier_id, period, delivery_id, max(attempt), cast(sum(number_of_rows) as bigint), "
        f"{f'supplier_id in ({invented})' if 'region_suppliers' in columns else 'null'} "
        f"from ({' union all '.join(parts)}) group by all order by all"
    ).fetchall()
    told = ("dataset", "supplier", "period", "delivery", "attempt", "rows", "synthetic")
    return [dict(zip(told, row, strict=True)) for row in found]


def _synthetic_rows(
    connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[Mapping[str, Any]]
) -> int | None:
    """Rows that were invented for demonstration; None where the table does not say."""
    if not any(column["name"] == "is_synthetic" for column in columns):
        return None
    return _count(connection, f"frozen.main.{name(table)} where is_synthetic")


def _rights(contract: Contract | None, model: _Model = _NO_MODEL) -> dict[str, Any]:
    """Who may see a table and how it may be used: as its contract says, else its model."""
    said = contract.properties if contract else {}
    level = contract.access_level if contract else model.meta.get("access_level", "cooperation")
    return {
        "licence": said.get("licence") or model.meta.get("licence", _AGREEMENT),
        "access_level": level,
        "disclosure_class": said.get("disclosureClass") or ("open" if level == "open" else "aggregate"),
    }


def _attributions(settings: Settings, contracts: Sequence[Contract]) -> list[dict[str, str]]:
    """Who is to be named when these tables are shown: the sources of datasets and of the code lists in them."""
    known = load_code_lists(project_root() / "quality" / "codelists", settings.region_dir / "codelists")
    used = sorted({f.code_list for contract in contracts for f in contract.fields if f.code_list in known})
    return [
        {"for": contract.dataset, "source": contract.properties["attribution"], "licence": _rights(contract)["licence"]}
        for contract in contracts
        if "attribution" in contract.properties
    ] + [
        {
            "for": f"code list {one}",
            "source": f"{known[one].spec.source.strip()}, version {known[one].spec.version}",
            "licence": known[one].spec.licence,
        }
        for one in used
    ]


def readable_files(settings: Settings) -> dict[str, list[str]]:
    """Files of a release that readers of each level may fetch from the object store; of a table no model describes, nobody.

    The DuckDB file holds all tables, so it is in no list.
    """
    from quality.serving import ROLES
    from storage.logins import READERS

    contracts = load_contracts(project_root() / "quality" / "contracts", settings.region_dir / "contracts")
    models = {table: model for table, model in _models().items() if not table.startswith(_INTERNAL)}
    levels = {table: _rights(contracts.get(table), model)["access_level"] for table, model in models.items()}
    files = {
        reader: [f"parquet/{table}.parquet" for table, level in levels.items() if role in ROLES[level]]
        for reader, role in READERS.items()
    }
    files["region"] += [MANIFEST, SUMS]
    return files


def _models() -> dict[str, _Model]:
    """Descriptions and tested keys, as the dbt project states them; the lake carries no comments where dbt wrote none."""
    models: dict[str, _Model] = {}
    for file in sorted((foundation.project_dir() / "models").rglob("*.yml")):
        for told in (yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader) or {}).get("models", ()):
            tests = [
                test["one_row_per"]
                for test in told.get("data_tests", ())
                if isinstance(test, dict) and "one_row_per" in test
            ]
            keys = [test.get("arguments", test)["columns"] for test in tests]
            columns = {c["name"]: str(c.get("description", "")).strip() for c in told.get("columns", ())}
            models[told["name"]] = _Model(
                str(told.get("description", "")).strip(), columns, tuple(keys[0]) if keys else (),
                told.get("config", {}).get("meta", {}),
            )  # fmt: skip
    return models


def _content(manifest: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """What makes a release another one: its rows, and who may see them."""
    return {table: (told["sha256"], told["access_level"]) for table, told in manifest["tables"].items()}


def _seal(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write manifest and sums, take away the right to write, and see that all of it is on the disk."""
    (folder / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    sums = "".join(f"{sha256_of(folder / file)}  {file}\n" for file in files)
    (folder / SUMS).write_text(sums, encoding="utf-8")
    for file in (*files, SUMS):
        (folder / file).chmod(0o444)
        _sync(folder / file)
    _sync(folder / "parquet")
    _sync(folder)


def _put_away(settings: Settings, number: int, folder: Path) -> None:
    """Copy a sealed folder into the object store; the manifest comes last, and with it the release is there."""
    store = stores.releases(settings)
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    # what an interrupted one of this number left is overwritten, or nobody reads it because the sums do not name it
    for file in sorted(files, key=lambda file: file == MANIFEST):
        if file == MANIFEST:
            reached("release.put")
        store.put(release_key(number, file), folder / file)
        reached("release.putting")


def _hand_out(settings: Settings, chosen: Release) -> Release:
    """Give a release to readers: into the database where there is one, then make it the current one. May be repeated."""
    if settings.is_server:
        # imported here: the embedded profile has no use for it
        from quality import serving

        serving.publish(settings, chosen)
        reached("release.served")
    _point_to(settings, chosen)
    return chosen


def _is_withheld(settings: Settings) -> bool:
    known = numbers(settings)
    if not known:
        return False
    if settings.is_server:
        from quality import serving

        if serving.served(settings) != known[-1]:
            return True
    return current_number(settings) != known[-1]


def _point_to(settings: Settings, chosen: Release) -> None:
    """Make a release the current one, in one step."""
    if current_number(settings) != chosen.number:
        stores.releases(settings).put(POINTER, io.BytesIO(json.dumps({"release": chosen.number}).encode()))


def _file(folder: Path, inside: str) -> dict[str, Any]:
    return {"file": inside, "sha256": sha256_of(folder / inside), "bytes": (folder / inside).stat().st_size}


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int(connection.execute(f"select count(*) from {relation}").fetchall()[0][0])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
