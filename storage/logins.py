"""Logins of the database for those who read releases: made, changed, taken away.

Their users of the object store are `storage.accounts`; names and secrets of both change together (`verbund server reader`).
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Literal

from psycopg import sql

from storage import database
from storage.settings import Settings

#: The groups of those who read, by what they may see.
READERS = {"open": "verbund_bi_open", "region": "verbund_bi_region"}
_READER = re.compile(r"[a-z][a-z0-9_]{2,40}")


class WrongName(ValueError):
    """A name that could open what is not its own, or that somebody else has."""


class NoLogin(LookupError):
    """There is no such reader."""


def make_reader(settings: Settings, name: str, level: Literal["open", "region"]) -> str:
    """Make a login that reads what releases serve, or give it another level and password; returns its password.

    Args:
        settings: Whose database.
        name: Of the login.
        level: What it may see.

    Raises:
        WrongName: The name is none, or it is somebody else's.
        psycopg.Error: The database cannot be reached, or the administrator may not do it.
    """
    group, password = READERS[level], secrets.token_urlsafe(24)
    with database.connect_as_admin(settings, database.names(settings)[0]) as connection, connection.transaction():
        role = sql.Identifier(_checked_reader(connection, name))
        if connection.execute("select to_regrole(%s)", (name,)).fetchone() == (None,):
            connection.execute(sql.SQL("create role {}").format(role))
        for other in READERS.values():
            connection.execute(sql.SQL("revoke {} from {}").format(sql.Identifier(other), role))
        statements = [
            "alter role {role} login nosuperuser nocreatedb nocreaterole inherit connection limit 20 password {password}",
            "grant {group} to {role}",
            # what a reader may lift for itself guards against accidents; the space for sorting it may not
            "alter role {role} set statement_timeout = '60s'",
            "alter role {role} set default_transaction_read_only = on",
            "alter role {role} set search_path = bi",
            # some tools drop the zone of an instant: then it is always the same one
            "alter role {role} set timezone = 'UTC'",
            "alter role {role} set temp_file_limit = '4GB'",
        ]
        for statement in statements:
            connection.execute(
                sql.SQL(statement).format(
                    role=role,
                    group=sql.Identifier(group),
                    password=sql.Literal(database.scram(connection, name, password)),
                )
            )
    return password


def remove_reader(settings: Settings, name: str) -> None:
    """Take a reader's login away and end what it has open.

    Raises:
        NoLogin: There is no such reader.
    """
    with database.connect_as_admin(settings, database.names(settings)[0]) as connection:
        if connection.execute("select to_regrole(%s)", (_checked_reader(connection, name),)).fetchone() == (None,):
            raise NoLogin(f"there is no reader {name!r}")
        role = sql.Identifier(name)
        # nobody comes in between
        connection.execute(sql.SQL("alter role {} nologin").format(role))
        connection.execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = %s", (name,))
        connection.execute(sql.SQL("drop role {}").format(role))


def spelled_reader(name: str) -> str:
    """The name, if it is spelled as a reader's.

    Raises:
        WrongName: It is not.
    """
    if not _READER.fullmatch(name):
        raise WrongName(f"{name!r} is not a reader's name: 3 to 41 of a-z, 0-9 and '_', beginning with a letter")
    return name


def _checked_reader(connection: Any, name: str) -> str:
    """The name, if it is free or a reader's."""
    spelled_reader(name)
    row = connection.execute(
        """
        select bool_or(g.rolname = any(%s)) from pg_roles as r
        left join pg_auth_members as m on m.member = r.oid left join pg_roles as g on g.oid = m.roleid
        where r.rolname = %s group by r.oid
        """,
        (list(READERS.values()), name),
    ).fetchone()
    if row is not None and row[0] is not True:
        raise WrongName(f"{name!r} is a role of the database that is no reader's")
    return name
