"""The lakehouse: DuckDB with its extensions from wheels, the two DuckLake catalogs, one writer and one lock each.

Embedded: catalogs in SQLite, Parquet in folders. Server: catalogs in schemas of PostgreSQL, Parquet in the object store.

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

from storage import database, locks
from storage.settings import Settings

CatalogName = Literal["accepted", "foundation"]
#: Extensions by profile.
EXTENSIONS = {
    "local": ("ducklake", "sqlite_scanner"),
    "server": ("ducklake", "postgres_scanner", "httpfs"),
}
#: Loaded when somebody asks for shapes: it takes a third of a second and 60 MB.
SPATIAL = "spatial"
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
    for name in (*EXTENSIONS[settings.profile], SPATIAL):
        link = target / f"{name}.duckdb_extension"
        wheel = _wheel_file(name)
        if link.is_symlink() and link.resolve() == wheel:
            continue
        target.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f".{link.name}.{id(link)}")
        fresh.symlink_to(wheel)
        fresh.replace(link)
    return folder


def load_spatial(connection: duckdb.DuckDBPyConnection) -> None:
    """Let a connection of `connect` work on shapes; nothing happens where it does already."""
    connection.load_extension(SPATIAL)


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
        for name in EXTENSIONS[settings.profile]:
            connection.load_extension(name)
        connection.execute("set timezone = 'UTC'")
        if settings.is_server:
            _reach_store(connection, settings)
    except duckdb.Error as error:
        connection.close()
        raise LakeUnavailable(f"an extension of DuckDB cannot be loaded: {error}") from error
    return connection


def catalog_address(settings: Settings, catalog: CatalogName) -> str:
    """What follows `ducklake:` in an ATTACH; also used by dbt. Holds no password."""
    if settings.is_server:
        return f"postgres:{database.conninfo(settings)}"
    home = settings.paths
    file = home.accepted_catalog if catalog == "accepted" else home.foundation_catalog
    return f"sqlite:{file}"


def data_path(settings: Settings, catalog: CatalogName) -> str:
    """Where the catalog's Parquet files lie: a folder, or a prefix of the object store."""
    if settings.is_server:
        return f"s3://{settings.s3_bucket}-lake/{catalog}"
    return str(settings.paths.accepted_data if catalog == "accepted" else settings.paths.foundation_data)


def catalog_schema(catalog: CatalogName) -> str:
    """Schema of the database that holds a catalog in the server profile."""
    return f"lake_{catalog}"


def exists(settings: Settings, catalog: CatalogName) -> bool:
    """Whether the catalog was made; it may be in the making."""
    if settings.is_server:
        import psycopg

        with psycopg.connect(database.conninfo(settings)) as connection:
            found = connection.execute("select to_regclass(%s)", (f"{catalog_schema(catalog)}.ducklake_metadata",))
            row = found.fetchone()
            return row is not None and row[0] is not None
    home = settings.paths
    return (home.accepted_catalog if catalog == "accepted" else home.foundation_catalog).exists()


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
    # the catalog remembers where it was made; a home that was moved or restored elsewhere lies where it lies now
    options = [f"DATA_PATH '{data}/'", "OVERRIDE_DATA_PATH true"]
    if settings.is_server:
        options.append(f"META_SCHEMA '{catalog_schema(catalog)}'")
    else:
        Path(data).mkdir(parents=True, exist_ok=True)
        options += ["META_BUSY_TIMEOUT 60000", "META_JOURNAL_MODE 'WAL'"]
    if read_only:
        options.append("READ_ONLY")
    if snapshot is not None:
        options.append(f"SNAPSHOT_VERSION {int(snapshot)}")
    address = catalog_address(settings, catalog).replace("'", "''")
    try:
        connection.execute(f"attach 'ducklake:{address}' as {alias or catalog} ({', '.join(options)})")
    except duckdb.Error as error:
        raise LakeUnavailable(f"the catalog {catalog} cannot be attached: {error}") from error


def _reach_store(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Let DuckDB read and write the lake's bucket; its secret is not shown by any statement or error."""
    assert settings.s3_endpoint and settings.s3_access_key and settings.s3_secret_key
    scheme, _, host = settings.s3_endpoint.rstrip("/").partition("://")
    told = {
        "KEY_ID": settings.s3_access_key,
        "SECRET": settings.s3_secret_key.get_secret_value(),
        "ENDPOINT": host,
        "REGION": settings.s3_region,
        "SCOPE": f"s3://{settings.s3_bucket}-lake",
    }
    values = ", ".join(f"{name} {_text(value)}" for name, value in told.items())
    connection.execute(
        f"create or replace secret verbund_lake (type s3, url_style 'path', use_ssl {scheme == 'https'}, {values})"
    )
    if settings.s3_ca_file is not None:
        connection.execute(f"set global ca_cert_file = {_text(str(settings.s3_ca_file))}")
    # several judges and a build may commit at the same time
    connection.execute("set ducklake_max_retry_count = 100")


def snapshot_of(connection: duckdb.DuckDBPyConnection, catalog: CatalogName) -> int:
    """Number of the newest snapshot of an attached catalog."""
    row = connection.execute(f"select max(snapshot_id) from ducklake_snapshots('{catalog}')").fetchone()
    return int(row[0]) if row and row[0] is not None else 0


@contextmanager
def writing(settings: Settings, catalog: CatalogName, *, timeout: float = LOCK_SECONDS) -> Iterator[None]:
    """Be the only writer of a catalog, across threads, processes and machines; freed when its holder dies.

    Raises:
        storage.locks.Busy: Another writer held it for longer than `timeout` seconds.
    """
    with locks.holding(settings, catalog, timeout=timeout):
        yield


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _wheel_file(name: str) -> Path:
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or not spec.submodule_search_locations:
        raise LakeUnavailable(f"the wheel duckdb-extension-{name.replace('_', '-')} is not installed; run `make setup`")
    folder = Path(next(iter(spec.submodule_search_locations)))
    return folder / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"


def _platform() -> str:
    row = duckdb.connect(":memory:").execute("pragma platform").fetchone()
    return str(row[0]) if row else platform.machine()
