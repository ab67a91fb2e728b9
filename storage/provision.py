"""Making what the server profile stands on: roles and schemas, buckets and their locks, users, policies, notifications.

Every step may be done again at any time and brings what is there to what the settings and the region pack say. A step
that cannot be done says so and leaves the others alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from minio.error import MinioException, S3Error
from minio.notificationconfig import NotificationConfig, PrefixFilterRule, QueueConfig
from psycopg import sql
from urllib3.exceptions import HTTPError

from storage import database, stores
from storage.accounts import accounts_of
from storage.accounts.base import NoAdministration
from storage.objects.base import StoreDown, StoreRefused, StoreUnfit
from storage.objects.s3 import prepare_bucket
from storage.settings import Settings

#: Targets of the store's notifications (infra/minio/events.env) and the objects they tell of.
TARGETS = {"fast": "arn:minio:sqs::FAST:postgresql", "sure": "arn:minio:sqs::SURE:postgresql"}
PREFIX = "inbox/"
_EVENTS = ["s3:ObjectCreated:*"]
_EVENTS_ROLE = "minio_notify"


@dataclass(frozen=True)
class Step:
    """What was to be made, whether it stands now, what is there, and how to come by it where it is not."""

    what: str
    well: bool
    found: str
    remedy: str = ""


class Unmade(Exception):
    """A step came to less than asked."""

    def __init__(self, found: str, remedy: str) -> None:
        self.found, self.remedy = found, remedy
        super().__init__(found)


def provision(settings: Settings, suppliers: Sequence[str], readable: Mapping[str, Sequence[str]]) -> list[Step]:
    """Make everything that is missing.

    Args:
        settings: Of the server profile, with what the administrator may do.
        suppliers: Ids of all suppliers of the region pack.
        readable: Files of a release that readers of each level may read.
    """
    steps: list[tuple[str, Callable[[], str]]] = [
        ("the platform's database and role", lambda: _database(settings)),
        ("schemas and the receiver of events", lambda: _schemas(settings)),
        ("roles of readers and of the store's events", lambda: _roles(settings)),
        ("suppliers known to the database", lambda: _suppliers(settings, suppliers)),
        ("the vault's bucket, versioned and locked", lambda: _vault(settings)),
        ("the other buckets", lambda: _buckets(settings)),
        ("policies and the platform's user of the store", lambda: _platform(settings, readable)),
        ("a user of the store for each supplier", lambda: _users(settings, suppliers)),
        ("the store tells arrivals", lambda: _notifications(settings)),
    ]
    made = []
    for what, make in steps:
        try:
            made.append(Step(what, True, make()))
        except Unmade as error:
            made.append(Step(what, False, error.found, error.remedy))
        except (StoreDown, StoreRefused, StoreUnfit, NoAdministration, ValueError) as error:
            made.append(Step(what, False, str(error), "mend this, then `verbund server init` again"))
        except psycopg.Error as error:
            remedy = "see that the server runs and that VERBUND_ADMIN_DATABASE_URL names a superuser"
            made.append(Step(what, False, str(error).strip(), remedy))
    return made


def _database(settings: Settings) -> str:
    name, role = database.names(settings)
    with database.connect_as_admin(settings) as connection:
        if connection.execute("select to_regrole(%s)", (f'"{role}"',)).fetchone() == (None,):
            password = database.password(settings)
            make = sql.SQL("create role {} login").format(sql.Identifier(role))
            if password is not None:
                make += sql.SQL(" password {}").format(sql.Literal(database.scram(connection, role, password)))
            connection.execute(make)
        owner = connection.execute(
            "select pg_get_userbyid(datdba) from pg_database where datname = %s", (name,)
        ).fetchone()
        if owner is None:
            connection.execute(
                sql.SQL("create database {} owner {} encoding 'UTF8' template template0").format(
                    sql.Identifier(name), sql.Identifier(role)
                )
            )
        elif owner[0] != role:
            raise Unmade(f"the database {name} belongs to {owner[0]}", f'alter database "{name}" owner to "{role}"')
    return f"{name}, owned by {role}"


def _schemas(settings: Settings) -> str:
    database.prepare(settings)
    return ", ".join((*database.SCHEMAS, database.SERVED))


def _roles(settings: Settings) -> str:
    with database.connect_as_admin(settings, database.names(settings)[0]) as connection:
        connection.execute(database.roles_file().read_bytes())
        if settings.s3_kind == "iam":
            # nobody logs in with the role of the store's events, so it stays without a password
            return "verbund_bi_open, verbund_bi_region"
        password = settings.admin_events_password
        if password is not None:
            connection.execute(
                sql.SQL("alter role {} password {}").format(
                    sql.Identifier(_EVENTS_ROLE),
                    sql.Literal(database.scram(connection, _EVENTS_ROLE, password.get_secret_value())),
                )
            )
        found = connection.execute("select rolpassword is not null from pg_authid where rolname = %s", (_EVENTS_ROLE,))
        if found.fetchone() != (True,):
            raise Unmade(
                f"{_EVENTS_ROLE} has no password, so the store cannot tell arrivals; the sweep finds them meanwhile",
                "set VERBUND_ADMIN_EVENTS_PASSWORD to the one in MinIO's own settings",
            )
    return f"verbund_bi_open, verbund_bi_region, {_EVENTS_ROLE}"


def _suppliers(settings: Settings, suppliers: Sequence[str]) -> str:
    with psycopg.connect(database.conninfo(settings)) as connection:
        connection.cursor().executemany(
            "insert into intake.supplier (id) values (%s) on conflict do nothing",
            [(supplier,) for supplier in suppliers],
        )
    return ", ".join(suppliers)


def _vault(settings: Settings) -> str:
    vault, days = stores.buckets(settings)[1], settings.vault_lock_days
    if problem := prepare_bucket(stores.admin_access(settings), vault, versioned=True, lock_days=days):
        raise Unmade(
            problem,
            "make the vault's bucket anew while it is empty, or VERBUND_VAULT_LOCK_DAYS=0 if this store cannot lock",
        )
    locked = f"COMPLIANCE for {days} days" if days else "no lock is asked for (VERBUND_VAULT_LOCK_DAYS=0)"
    return f"{vault}, {locked}"


def _buckets(settings: Settings) -> str:
    access = stores.admin_access(settings)
    inboxes, _, lake, releases = stores.buckets(settings)
    problems = [
        prepare_bucket(access, inboxes, versioned=True),
        prepare_bucket(access, lake),
        prepare_bucket(access, releases, versioned=True),
    ]
    if told := "; ".join(filter(None, problems)):
        raise Unmade(told, "use a store with versions: this one loses what a supplier overwrites before it is taken in")
    return ", ".join((inboxes, lake, releases))


def _platform(settings: Settings, readable: Mapping[str, Sequence[str]]) -> str:
    accounts = accounts_of(settings)
    accounts.write_policies()
    accounts.write_reader_policies(readable)
    if stores.access(settings).access_key == stores.admin_access(settings).access_key:
        raise Unmade(
            "the platform works with the operator's key, which may delete what no policy keeps",
            "give the platform a key of its own in VERBUND_S3_ACCESS_KEY and the operator's in VERBUND_ADMIN_S3_ACCESS_KEY",
        )
    accounts.make_platform()
    return f"{settings.s3_access_key}, who may not delete from the vault"


def _users(settings: Settings, suppliers: Sequence[str]) -> str:
    accounts = accounts_of(settings)
    new = accounts.make(suppliers)
    if strangers := accounts.strangers(suppliers):
        raise Unmade(
            f"users who are no suppliers of the region pack: {', '.join(strangers)}",
            "; ".join(f"verbund server revoke {stranger}" for stranger in strangers),
        )
    return f"{len(suppliers)} users, new: {', '.join(new) or 'none'}"


def _notifications(settings: Settings) -> str:
    if settings.s3_kind == "iam":
        return f"this store tells none (VERBUND_S3_KIND=iam); the sweep finds them within {settings.sweep_seconds:g} s"
    access = stores.admin_access(settings)
    wanted = NotificationConfig(
        queue_config_list=[
            QueueConfig(queue=queue, events=_EVENTS, config_id=name, prefix_filter_rule=PrefixFilterRule(PREFIX))
            for name, queue in TARGETS.items()
        ]
    )
    try:
        access.client().set_bucket_notification(settings.s3_bucket, wanted)
    except S3Error as error:
        raise Unmade(
            f"the store takes no such notification ({error.code}); the sweep finds what arrives "
            f"within {settings.sweep_seconds:g} s",
            "start MinIO with infra/minio/events.env, and the database before it",
        ) from None
    except (MinioException, HTTPError) as error:
        raise StoreDown(access.address, type(error).__name__) from None
    return ", ".join(TARGETS.values())
