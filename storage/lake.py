"""The lakehouse: DuckDB with its extensions from wheels, the two DuckLake catalogs, one writer and one lock each.

What the accepted tables hold is decided by contracts in `quality`; here they are opened, replaced by slot and read.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import duckdb
from filelock import FileLock

from storage.settings import Settings

CatalogName = Literal["accepted", "foundation"]
EXTENSIONS = ("ducklake", "sqlite_scanner")
#: How long a writer waits for another one of the same catalog before giving up, in seconds.
LOCK_SECONDS = 120.0


class LakeUnavailable(Exception):
    """The lake cannot be opened: an extension is missing or the catalog cannot be reached. Nothing was changed."""


def extension_directory(settings: Settings) -> Path:
    """Folder DuckDB loads its extensions from, made of links to the wheels, so that nothing is downloaded.

    Raises:
        LakeUnavailable: A wheel is not installed.
    """
    folder = settings.paths.root / "duckdb_extensions"
    target = folder / f"v{duckdb.__version__}" / _platform()
    for name in EXTENSIONS:
        link = target / f"{name}.duckdb_extension"
        wheel = _wheel_file(name)
        if link.is_symlink() and link.resolve() == wheel:
            continue
        target.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f".{link.name}.{id(link)}")
        fresh.symlink_to(wheel)
        fresh.replace(link)
    return folder


def connect(
    settings: Settings, *, memory_mb: int | None = None, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB that can attach the lake; never reaches for the network.

    Args:
        settings: Where state lies.
        memory_mb: Upper bound for DuckDB's own memory; what does not fit goes to `home/work`.
        threads: Number of threads; None leaves DuckDB's default.
    """
    settings.paths.work.mkdir(parents=True, exist_ok=True)
    config: dict[str, str | bool | int | float | list[str]] = {
        "extension_directory": str(extension_directory(settings)),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "temp_directory": str(settings.paths.work / "duckdb"),
    }
    if memory_mb:
        config["memory_limit"] = f"{memory_mb}MB"
    if threads:
        config["threads"] = str(threads)
    connection = duckdb.connect(":memory:", config=config)
    try:
        for name in EXTENSIONS:
            connection.load_extension(name)
        connection.execute("set timezone = 'UTC'")
    except duckdb.Error as error:
        connection.close()
        raise LakeUnavailable(f"an extension of DuckDB cannot be loaded: {error}") from error
    return connection


def catalog_address(settings: Settings, catalog: CatalogName) -> str:
    """What follows `ducklake:` in an ATTACH; also used by dbt."""
    home = settings.paths
    file = home.accepted_catalog if catalog == "accepted" else home.foundation_catalog
    return f"sqlite:{file}"


def data_path(settings: Settings, catalog: CatalogName) -> Path:
    """Folder of the catalog's Parquet files."""
    return settings.paths.accepted_data if catalog == "accepted" else settings.paths.foundation_data


def attach(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    catalog: CatalogName,
    *,
    read_only: bool = False,
    snapshot: int | None = None,
    alias: str | None = None,
) -> None:
    """Attach one catalog, creating it when it is new; at a snapshot if one is given.

    Raises:
        LakeUnavailable: The catalog cannot be reached, or does not exist and `read_only` forbids making it.
    """
    data = data_path(settings, catalog)
    data.mkdir(parents=True, exist_ok=True)
    # the catalog remembers where it was made; a home that was moved or restored elsewhere lies where it lies now
    options = [f"DATA_PATH '{data}/'", "OVERRIDE_DATA_PATH true", "META_BUSY_TIMEOUT 60000", "META_JOURNAL_MODE 'WAL'"]
    if read_only:
        options.append("READ_ONLY")
    if snapshot is not None:
        options.append(f"SNAPSHOT_VERSION {int(snapshot)}")
    try:
        connection.execute(
            f"attach 'ducklake:{catalog_address(settings, catalog)}' as {alias or catalog} ({', '.join(options)})"
        )
    except duckdb.Error as error:
        raise LakeUnavailable(f"the catalog {catalog} cannot be attached: {error}") from error


def snapshot_of(connection: duckdb.DuckDBPyConnection, catalog: CatalogName) -> int:
    """Number of the newest snapshot of an attached catalog."""
    row = connection.execute(f"select max(snapshot_id) from ducklake_snapshots('{catalog}')").fetchone()
    return int(row[0]) if row and row[0] is not None else 0


@contextmanager
def writing(settings: Settings, catalog: CatalogName, *, timeout: float = LOCK_SECONDS) -> Iterator[None]:
    """Be the only writer of a catalog, across threads and processes; freed by the system when a process dies.

    Raises:
        filelock.Timeout: Another writer held it for longer than `timeout` seconds.
    """
    settings.paths.locks.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.paths.lock(catalog), timeout=timeout):
        yield


def _wheel_file(name: str) -> Path:
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or not spec.submodule_search_locations:
        raise LakeUnavailable(f"the wheel duckdb-extension-{name.replace('_', '-')} is not installed; run `make setup`")
    folder = Path(next(iter(spec.submodule_search_locations)))
    return folder / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"


def _platform() -> str:
    row = duckdb.connect(":memory:").execute("pragma platform").fetchone()
    return str(row[0]) if row else platform.machine()
