"""Accounts: suppliers' users and keys in the object store, and the logins of those who read releases.

Users are MinIO's; on another store the operator makes them with that store's own tools (docs/operators.md). Nobody logs
in with a user itself: its secret is thrown away. What a supplier holds are keys of its user (service accounts), of which
several may be valid at once, so that one follows another without a gap; disabling the user ends them all. A reader has one
login in the database and one user of the store, whose names and passwords change together.
"""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.crypto import encrypt
from minio.error import MinioAdminException
from minio.minioadmin import _COMMAND
from psycopg import sql
from urllib3.exceptions import HTTPError

from storage import database, stores
from storage.objects.base import StoreDown, StoreRefused
from storage.paths import checked_supplier
from storage.settings import Settings, project_root

#: The groups of those who read, by what they may see.
READERS = {"open": "verbund_bi_open", "region": "verbund_bi_region"}
#: A key that was replaced is valid for so long at most.
LONGEST_OVERLAP = timedelta(days=90)
#: MinIO ends a key no sooner than 15 minutes from now; what must end sooner is deleted.
_SHORTEST_OVERLAP = timedelta(minutes=16)
#: Their users in the store begin with this; no supplier's name can.
_READER_USER = "reader_"
#: What MinIO says where nothing is to be removed.
_NO_USER = "XMinioAdminNoSuchUser"
_READER = re.compile(r"[a-z][a-z0-9_]{2,40}")
#: What MinIO says of a key that has no end.
_NO_END = datetime(1970, 1, 1, tzinfo=UTC)
_POLICIES = project_root() / "infra" / "minio"


class NoAdministration(Exception):
    """The store has no MinIO administration at this address. Nothing was changed."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(
            f"no MinIO administration at {address}. Name MinIO's own address in VERBUND_ADMIN_S3_ENDPOINT (its front shows "
            "the administration to nobody); on another store make users and keys with its own tools."
        )


class WrongName(ValueError):
    """A name that could open what is not its own, or that somebody else has."""


class NoAccount(LookupError):
    """The supplier has no account, or it was revoked."""


@dataclass(frozen=True)
class Key:
    """A new key of a supplier. `ends` tells when its earlier ones end, by access key; None: at once."""

    supplier: str
    access_key: str
    secret_key: str = field(repr=False)
    ends: dict[str, datetime | None]


class Accounts:
    """The suppliers' users of one MinIO, seen by its operator.

    Every method raises `StoreDown`, `StoreRefused` or `NoAdministration`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._access = stores.admin_access(settings)
        self._credentials = StaticProvider(self._access.access_key, self._access.secret_key)
        self._admin = MinioAdmin(
            endpoint=self._access.address,
            credentials=self._credentials,
            secure=self._access.secure,
            http_client=self._access.pool(),
        )

    @property
    def supplier_policy(self) -> str:
        """Name of the one policy all suppliers have."""
        return f"{self._settings.s3_bucket}-supplier"

    def write_policies(self) -> None:
        """Bring the policies to what infra/minio says."""
        for name in ("supplier", "platform"):
            text = string.Template((_POLICIES / f"{name}-policy.json").read_text(encoding="utf-8"))
            # `${aws:username}` is for the store to fill in
            policy = json.loads(text.safe_substitute(bucket=self._settings.s3_bucket))
            with self._told(f"to write the policy {name}"):
                self._admin.policy_add(f"{self._settings.s3_bucket}-{name}", policy=policy)

    def write_reader_policies(self, readable: Mapping[str, Sequence[str]]) -> None:
        """Bring the readers' policies to the files of a release that each level may read, as `READERS` names levels."""
        text = string.Template((_POLICIES / "reader-policy.json").read_text(encoding="utf-8"))
        for level, files in readable.items():
            policy = json.loads(text.safe_substitute(bucket=self._settings.s3_bucket))
            for statement in policy["Statement"]:
                if resources := statement.get("Resource"):
                    # sorted, and each once: a resource that names no file stays one
                    statement["Resource"] = sorted({r.replace("${file}", file) for r in resources for file in files})
            with self._told(f"to write the policy of readers of level {level}"):
                self._admin.policy_add(self._reader_policy(level), policy=policy)

    def make_reader(self, name: str, level: str) -> tuple[str, str]:
        """Make a reader's user or give it another level and secret; returns access key and secret."""
        user, secret = f"{_READER_USER}{_spelled_reader(name)}", secrets.token_hex(20)
        with self._told(f"to make the user {user}"):
            self._admin.user_add(user, secret)
            self._admin.policy_set(self._reader_policy(level), user=user)
        return user, secret

    def remove_reader(self, name: str) -> None:
        """Take a reader's user away, where there is one."""
        user = f"{_READER_USER}{_spelled_reader(name)}"
        try:
            with self._told(f"to remove the user {user}"):
                self._admin.user_remove(user)
        except StoreRefused as error:
            if error.code != _NO_USER:
                raise

    def _reader_policy(self, level: str) -> str:
        return f"{self._settings.s3_bucket}-reader-{level}"

    def make_platform(self) -> None:
        """Make the platform's own user, or give it the secret of the settings."""
        own = stores.access(self._settings)
        with self._told("to make the platform's user"):
            self._admin.user_add(own.access_key, own.secret_key)
            self._admin.policy_set(f"{self._settings.s3_bucket}-platform", user=own.access_key)

    def make(self, suppliers: Sequence[str]) -> list[str]:
        """Make the users that are not there, each with the suppliers' policy and no other; returns the new ones.

        A user that was revoked stays so.

        Raises:
            WrongName: A name could open what is not its own; then none is made.
        """
        for supplier in suppliers:
            self._checked(supplier)
        there = self._users()
        new = [supplier for supplier in suppliers if supplier not in there]
        for supplier in new:
            with self._told(f"to make the user {supplier}"):
                self._admin.user_add(supplier, secrets.token_hex(20))
        for supplier in suppliers:
            if there.get(supplier, {}).get("policyName") != self.supplier_policy:
                with self._told(f"to give {supplier} its policy"):
                    self._admin.policy_set(self.supplier_policy, user=supplier)
        return new

    def strangers(self, suppliers: Sequence[str]) -> list[str]:
        """Users with the suppliers' policy who may log in and are no suppliers."""
        return sorted(
            name
            for name, user in self._users().items()
            if self.supplier_policy in user.get("policyName", "").split(",")
            and user.get("status") == "enabled"
            and name not in suppliers
        )

    def new_key(self, supplier: str, *, overlap: timedelta, again: bool = False) -> Key:
        """Make a key; earlier ones go on for the overlap, or end at once if there is none.

        Args:
            supplier: Whose.
            overlap: From 0 to `LONGEST_OVERLAP`.
            again: Also where access was revoked.

        Raises:
            NoAccount: The supplier has none, or it was revoked.
        """
        self._checked(supplier)
        if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
            raise ValueError(f"expected an overlap of 0 to {LONGEST_OVERLAP.days} days, found {overlap.days}")
        user = self._users().get(supplier)
        if user is None:
            raise NoAccount(f"{supplier} has no account; `verbund server init` makes those of the region pack")
        if user.get("status") != "enabled":
            if not again:
                raise NoAccount(f"the access of {supplier} was revoked; --again gives it a key nevertheless")
            with self._told(f"to enable {supplier}"):
                self._admin.user_enable(supplier)
        earlier = self._keys(supplier)
        key = Key(supplier, secrets.token_hex(10), secrets.token_hex(20), {})
        self._add_key(key)
        for access_key, end in earlier.items():
            key.ends[access_key] = self._end_key(access_key, end, overlap)
        return key

    def revoke(self, supplier: str) -> int:
        """End all access at once: the user, its keys, and sessions made with them; returns how many keys there were.

        Raises:
            NoAccount: There is no such user.
        """
        if supplier not in self._users():
            raise NoAccount(f"{supplier} has no account")
        with self._told(f"to disable {supplier}"):
            self._admin.user_disable(supplier)
        keys = self._keys(supplier)
        for access_key in keys:
            with self._told(f"to delete a key of {supplier}"):
                self._admin.delete_service_account(access_key)
        return len(keys)

    def _checked(self, supplier: str) -> None:
        try:
            checked_supplier(supplier)
        except ValueError as error:
            raise WrongName(str(error)) from None
        if supplier in (self._settings.s3_access_key, self._access.access_key):
            raise WrongName(f"{supplier!r} is the platform's own user of the store and cannot be a supplier's")

    def _users(self) -> dict[str, dict[str, Any]]:
        with self._told("to list users"):
            found: dict[str, dict[str, Any]] = json.loads(self._admin.user_list()) or {}
        return found

    def _keys(self, supplier: str) -> dict[str, datetime | None]:
        """A user's keys with their end."""
        with self._told(f"to list the keys of {supplier}"):
            accounts = json.loads(self._admin.list_service_account(supplier)).get("accounts") or []
        ends = {account["accessKey"]: datetime.fromisoformat(account["expiration"]) for account in accounts}
        return {access_key: None if end == _NO_END else end for access_key, end in ends.items()}

    def _add_key(self, key: Key) -> None:
        # `add_service_account` cannot say whose: it would be a key of the operator
        told = {
            "targetUser": key.supplier,
            "accessKey": key.access_key,
            "secretKey": key.secret_key,
            "name": "verbund",
            "description": f"key of {key.supplier}, made {datetime.now(UTC):%Y-%m-%d}",
        }
        with self._told(f"to make a key for {key.supplier}"):
            self._admin._url_open(
                method="PUT",
                command=_COMMAND.SERVICE_ACCOUNT_ADD,
                body=encrypt(json.dumps(told).encode(), self._access.secret_key),
            )

    def _end_key(self, access_key: str, end: datetime | None, overlap: timedelta) -> datetime | None:
        wanted = datetime.now(UTC) + overlap
        with self._told("to end a key"):
            if overlap < _SHORTEST_OVERLAP:
                self._admin.delete_service_account(access_key)
                return None
            if end is not None and end <= wanted:
                return end
            self._admin.update_service_account(access_key=access_key, expiration=f"{wanted:%Y-%m-%dT%H:%M:%SZ}")
        return wanted.replace(microsecond=0)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        address = self._access.address
        try:
            yield
        except MinioAdminException as error:
            try:
                code = str(json.loads(error._body)["Code"])
            except (ValueError, KeyError, TypeError):
                # whoever answers knows nothing of MinIO's administration, or keeps it from us as its front does
                raise NoAdministration(address) from None
            raise StoreRefused(address, what, code) from None
        except HTTPError as error:
            raise StoreDown(address, type(error).__name__) from None
        except (ValueError, KeyError) as error:
            raise NoAdministration(address) from error


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
        NoAccount: There is no such reader.
    """
    with database.connect_as_admin(settings, database.names(settings)[0]) as connection:
        if connection.execute("select to_regrole(%s)", (_checked_reader(connection, name),)).fetchone() == (None,):
            raise NoAccount(f"there is no reader {name!r}")
        role = sql.Identifier(name)
        # nobody comes in between
        connection.execute(sql.SQL("alter role {} nologin").format(role))
        connection.execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = %s", (name,))
        connection.execute(sql.SQL("drop role {}").format(role))


def _spelled_reader(name: str) -> str:
    if not _READER.fullmatch(name):
        raise WrongName(f"{name!r} is not a reader's name: 3 to 41 of a-z, 0-9 and '_', beginning with a letter")
    return name


def _checked_reader(connection: Any, name: str) -> str:
    """The name, if it is free or a reader's."""
    _spelled_reader(name)
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
