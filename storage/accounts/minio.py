"""Users by MinIO's own administration, which its front shows to nobody but the operator.

A user's secret is thrown away when it is made. A supplier's keys are its user's service accounts; disabling the user ends
them, presigned addresses and sessions with them.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.crypto import encrypt
from minio.error import MinioAdminException
from minio.minioadmin import _COMMAND
from urllib3.exceptions import HTTPError

from storage import stores
from storage.accounts.base import READER_USER, Accounts, End, Key, NoAdministration, no_account, no_key, revoked
from storage.logins import spelled_reader
from storage.objects.base import StoreDown, StoreRefused
from storage.settings import Settings

#: MinIO ends a key no sooner than 15 minutes from now; what must end sooner is deleted.
_SHORTEST_OVERLAP = timedelta(minutes=16)
#: What MinIO says where nothing is to be removed.
_NO_USER = "XMinioAdminNoSuchUser"
#: What MinIO says of a key that has no end.
_NO_END = datetime(1970, 1, 1, tzinfo=UTC)


class MinioAccounts(Accounts):
    """The users of one MinIO, seen by its operator."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._credentials = StaticProvider(self._access.access_key, self._access.secret_key)
        self._admin = MinioAdmin(
            endpoint=self._access.address,
            credentials=self._credentials,
            secure=self._access.secure,
            http_client=self._access.pool(),
        )

    def write_policies(self) -> None:
        for of in ("supplier", "platform"):
            with self._told(f"to write the policy {of}"):
                self._admin.policy_add(self._policy_name(of), policy=self._policy(of))

    def write_reader_policies(self, readable: Mapping[str, Sequence[str]]) -> None:
        for level, files in readable.items():
            with self._told(f"to write the policy of readers of level {level}"):
                self._admin.policy_add(self._policy_name(f"reader-{level}"), policy=self._policy("reader", files))

    def make_reader(
        self, name: str, level: Literal["open", "region"], readable: Mapping[str, Sequence[str]]
    ) -> tuple[str, str]:
        user, secret = f"{READER_USER}{spelled_reader(name)}", secrets.token_hex(20)
        self.write_reader_policies(readable)
        with self._told(f"to make the user {user}"):
            self._admin.user_add(user, secret)
            self._admin.policy_set(self._policy_name(f"reader-{level}"), user=user)
        return user, secret

    def remove_reader(self, name: str) -> None:
        user = f"{READER_USER}{spelled_reader(name)}"
        try:
            with self._told(f"to remove the user {user}"):
                self._admin.user_remove(user)
        except StoreRefused as error:
            if error.code != _NO_USER:
                raise

    def make_platform(self) -> None:
        own = stores.access(self._settings)
        with self._told("to make the platform's user"):
            self._admin.user_add(own.access_key, own.secret_key)
            self._admin.policy_set(self._policy_name("platform"), user=own.access_key)

    def make(self, suppliers: Sequence[str]) -> list[str]:
        for supplier in suppliers:
            self.checked(supplier)
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
        return sorted(
            name
            for name, user in self._users().items()
            if self.supplier_policy in user.get("policyName", "").split(",")
            and user.get("status") == "enabled"
            and name not in suppliers
        )

    def new_key(self, supplier: str, *, overlap: timedelta, again: bool = False) -> Key:
        self.checked(supplier)
        self._checked_overlap(overlap)
        user = self._users().get(supplier)
        if user is None:
            raise no_account(supplier)
        if user.get("status") != "enabled":
            if not again:
                raise revoked(supplier)
            with self._told(f"to enable {supplier}"):
                self._admin.user_enable(supplier)
        earlier = self._keys(supplier)
        key = Key(supplier, secrets.token_hex(10), secrets.token_hex(20), {})
        self._add_key(key)
        for access_key, end in earlier.items():
            key.ends[access_key] = self._end_key(access_key, end, overlap)
        return key

    def end_key(self, supplier: str, access_key: str) -> None:
        known = self._keys(supplier) if supplier in self._users() else {}
        if access_key not in known:
            raise no_key(supplier, access_key, list(known))
        with self._told(f"to delete a key of {supplier}"):
            self._admin.delete_service_account(access_key)

    def revoke(self, supplier: str) -> int:
        if supplier not in self._users():
            raise no_account(supplier)
        with self._told(f"to disable {supplier}"):
            self._admin.user_disable(supplier)
        keys = self._keys(supplier)
        for access_key in keys:
            with self._told(f"to delete a key of {supplier}"):
                self._admin.delete_service_account(access_key)
        return len(keys)

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

    def _end_key(self, access_key: str, end: datetime | None, overlap: timedelta) -> datetime | End:
        wanted = datetime.now(UTC) + overlap
        with self._told("to end a key"):
            if overlap < _SHORTEST_OVERLAP:
                self._admin.delete_service_account(access_key)
                return End.NOW
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
                raise _none_at(address) from None
            raise StoreRefused(address, what, code) from None
        except HTTPError as error:
            raise StoreDown(address, type(error).__name__) from None
        except (ValueError, KeyError) as error:
            raise _none_at(address) from error


def _none_at(address: str) -> NoAdministration:
    return NoAdministration(
        address,
        "MinIO administration",
        "Name MinIO's own address in VERBUND_ADMIN_S3_ENDPOINT (its front shows the administration to nobody); for a store "
        "that knows AWS's IAM API, such as SeaweedFS, set VERBUND_S3_KIND=iam.",
    )
