"""PostgreSQL of the server profile: how to reach it without telling the password to anybody who reads a statement or a log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from psycopg.conninfo import make_conninfo

from storage.settings import Settings, project_root

if TYPE_CHECKING:
    import psycopg

#: Schemas the platform keeps its state in; the ledger is in `public`.
SCHEMAS = ("lake_accepted", "lake_foundation", "dagster", "intake", "bi_data")
#: Schema of what BI tools read; its rows are in `bi_data`.
SERVED = "bi"


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


def server(settings: Settings) -> dict[str, str]:
    """Where the server is, for programs of others (`PGHOST`, `PGPORT`, `PGSSLMODE`); no secret is in it."""
    url = _url(settings)
    told = {"PGHOST": url.host, "PGPORT": url.port, "PGSSLMODE": url.query.get("sslmode")}
    return {name: str(value) for name, value in told.items() if value is not None}


def dagster_url(settings: Settings) -> str:
    """Address of Dagster's own storage, a schema of the same database; holds the password. By the driver it was written for."""
    url = _url(settings).set(drivername="postgresql+psycopg2").update_query_dict({"options": "-csearch_path=dagster"})
    return url.render_as_string(hide_password=False)


#: Finds what `infra/postgres/intake.sql` made last; change it with that file, so that an upgrade runs it again.
_NEWEST_OF_INTAKE = "select 1 from pg_attribute where attrelid = to_regclass('intake.arrival') and attname = 'supplier'"


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
        for schema in (*SCHEMAS, SERVED):
            # asked first: a role that may not create schemas can still work where they stand
            if connection.execute("select to_regnamespace(%s)", (schema,)).fetchone() == (None,):
                connection.execute(f"create schema {schema}")
        if connection.execute(_NEWEST_OF_INTAKE).fetchone() is None:
            connection.execute(intake_file().read_bytes())


def connect_as_admin(settings: Settings, name: str | None = None) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect as who may make roles and databases, each statement on its own; its password is told to nobody.

    Args:
        settings: With `admin_database_url`, else the platform's own role is taken.
        name: Which database; None for the one of the administrator's address.

    Raises:
        psycopg.OperationalError: The server does not answer or does not let us in.
    """
    import psycopg

    url = _url(settings, admin=True)
    told = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
    told |= {key: value for key, value in url.query.items() if isinstance(value, str)}
    return psycopg.connect(
        make_conninfo(
            "", dbname=name or url.database, **{key: value for key, value in told.items() if value is not None}
        ),
        autocommit=True,
        application_name="verbund server",
    )


def names(settings: Settings) -> tuple[str, str]:
    """The platform's database and its role there."""
    url = _url(settings)
    if not url.database or not url.username:
        raise ValueError(
            "the address of the database must name a database and a role: postgresql+psycopg://role@host/name"
        )
    return url.database, url.username


def scram(connection: psycopg.Connection[Any], role: str, password: str) -> str:
    """What the server keeps of a password. Sent instead of it, so that no statement and no log holds the password."""
    return connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()


def roles_file() -> Path:
    """The SQL that makes the roles of those who read and of the store's notifications."""
    return project_root() / "infra" / "postgres" / "roles.sql"


def intake_file() -> Path:
    """The SQL that makes the receiver of the store's events."""
    return project_root() / "infra" / "postgres" / "intake.sql"


def address(settings: Settings) -> str:
    """Where the database is, for people: no password."""
    return _url(settings).render_as_string(hide_password=True)


def password(settings: Settings) -> str | None:
    """The platform's own password; None where the server asks for none."""
    return _url(settings).password


def _url(settings: Settings, *, admin: bool = False) -> sa.URL:
    given = (settings.admin_database_url if admin else None) or settings.database_url
    if given is None:
        raise ValueError("these settings name no database server")
    return sa.make_url(given.get_secret_value())


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
