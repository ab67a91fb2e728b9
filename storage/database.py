"""PostgreSQL of the server profile: how to reach it without telling the password to anybody who reads a statement or a log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from psycopg.conninfo import make_conninfo

from storage.settings import Settings, project_root

#: Schemas the platform keeps its state in; the ledger is in `public`.
SCHEMAS = ("lake_accepted", "lake_foundation", "dagster", "intake")


def conninfo(settings: Settings) -> str:
    """What libpq needs to connect; the password is in a file only this user reads, which the text names.

    For DuckDB and dbt, whose errors and logs repeat how they were told to connect.

    Raises:
        ValueError: The settings name no PostgreSQL.
    """
    url = _url(settings)
    told: dict[str, Any] = {"host": url.host, "port": url.port, "user": url.username, "dbname": url.database}
    told |= {name: value for name, value in url.query.items() if isinstance(value, str) and name != "options"}
    if url.password is not None:
        told["passfile"] = str(_password_file(settings, url))
    return make_conninfo("", **{name: value for name, value in told.items() if value is not None})


def environment(settings: Settings) -> dict[str, str]:
    """The same for programs that take their connection from the environment (`pg_dump`)."""
    url = _url(settings)
    told = {"PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.username, "PGDATABASE": url.database}
    if url.password is not None:
        told["PGPASSFILE"] = str(_password_file(settings, url))
    return {name: str(value) for name, value in told.items() if value is not None}


def dagster_url(settings: Settings) -> str:
    """Address of Dagster's own storage, a schema of the same database; holds the password. By the driver it was written for."""
    url = _url(settings).set(drivername="postgresql+psycopg2").update_query_dict({"options": "-csearch_path=dagster"})
    return url.render_as_string(hide_password=False)


def prepare(settings: Settings) -> None:
    """Make the schemas the platform keeps its state in, and the receiver of the store's events; may be repeated.

    The ledger migrates itself, the catalogs and Dagster fill their schemas when they are first opened.

    Raises:
        psycopg.Error: The database cannot be reached, or this role may not do it.
    """
    import psycopg

    with psycopg.connect(conninfo(settings)) as connection:
        # two who prepare take turns
        connection.execute("select pg_advisory_xact_lock(7286002)")
        for schema in SCHEMAS:
            # asked first: a role that may not create schemas can still work where they stand
            if connection.execute("select to_regnamespace(%s)", (schema,)).fetchone() == (None,):
                connection.execute(f"create schema {schema}")
        if connection.execute("select to_regproc('intake.take_event')").fetchone() == (None,):
            connection.execute(intake_file().read_bytes())


def intake_file() -> Path:
    """The SQL that makes the receiver of the store's events."""
    return project_root() / "infra" / "postgres" / "intake.sql"


def address(settings: Settings) -> str:
    """Where the database is, for people: no password."""
    return _url(settings).render_as_string(hide_password=True)


def _url(settings: Settings) -> sa.URL:
    if settings.database_url is None:
        raise ValueError("these settings name no database server")
    url = sa.make_url(settings.database_url.get_secret_value())
    if url.get_backend_name() != "postgresql":
        raise ValueError(f"expected the address of a PostgreSQL database, found {url.get_backend_name()}")
    return url


def _password_file(settings: Settings, url: sa.URL) -> Path:
    def escaped(value: object) -> str:
        return str(value).replace("\\", "\\\\").replace(":", "\\:")

    line = f"*:*:*:{escaped(url.username or '*')}:{escaped(url.password)}\n"
    file = settings.paths.create().work / f"pgpass-{url.username}"
    try:
        if file.read_text(encoding="utf-8") == line:
            return file
    except OSError:
        pass
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as into:
        into.write(line)
    fresh.replace(file)
    return file
