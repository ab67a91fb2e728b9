"""Users by AWS's IAM API, as SeaweedFS answers it on its S3 port (started with `-s3.iam.readOnly=false`).

A user has one inline policy, made of the same text as MinIO's without the statements that deny: SeaweedFS takes none, and what
they forbid is nothing it offers, or the front's to refuse. Who was revoked keeps its user, with a mark instead of the
policy, so that nothing gives it back by itself. A key has no end here. A user nobody here made is left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from botocore.parsers import ResponseParserError
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from storage import stores
from storage.accounts.base import READER_USER, Accounts, End, Key, NoAdministration, no_account, no_key, revoked
from storage.logins import READERS, WrongName, spelled_reader
from storage.objects.base import StoreDown, StoreRefused
from storage.objects.s3 import S3Access
from storage.settings import Settings

#: SeaweedFS gives the rights of this user to everybody who has no key.
_EVERYBODY = "anonymous"
#: Actions SeaweedFS takes in no policy. Nothing of ours asks for them.
_NOT_TAKEN = {"s3:ListMultipartUploadParts", "s3:ListBucketMultipartUploads"}
#: The mark of who was revoked: a policy, because users have nothing else that is kept everywhere; what it allows cannot be.
_NOTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::-/-"]}],
}
#: What AWS's library and SeaweedFS both take for one.
_ACCESS_KEY = re.compile(r"[A-Za-z0-9]{16,128}")
#: As many keys as AWS lets a user have.
_MOST_KEYS = 2


class IamAccounts(Accounts):
    """The users of one store with AWS's IAM API, seen by its operator."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._iam = _client(self._access)

    def write_policies(self) -> None:
        """Nothing to do by itself: policies are the users' own, and `make` and `make_platform` bring them up to date."""

    def write_reader_policies(self, readable: Mapping[str, Sequence[str]]) -> None:
        for user in self._users():
            if user.startswith(READER_USER):
                for level in READERS:
                    if self._policy_name(f"reader-{level}") in self._policies(user):
                        self._give(user, f"reader-{level}", self._allowed("reader", readable[level]))

    def make_platform(self) -> None:
        own, user = stores.access(self._settings), f"platform_{self._settings.s3_bucket}"
        if not _ACCESS_KEY.fullmatch(own.access_key):
            raise WrongName(
                f"this store takes no access key {own.access_key!r}: give the platform one of 16 letters and digits or "
                "more in VERBUND_S3_ACCESS_KEY"
            )
        if user not in self._users():
            self._make(user)
        self._give(user, "platform", self._allowed("platform"))
        keys = self._keys(user)
        for key in keys:
            if key != own.access_key:
                self._delete_key(user, key)
        if own.access_key in keys:
            if self._opens(own):
                return
            self._delete_key(user, own.access_key)
        self._make_key(user, own)

    def make_reader(
        self, name: str, level: Literal["open", "region"], readable: Mapping[str, Sequence[str]]
    ) -> tuple[str, str]:
        user = f"{READER_USER}{spelled_reader(name)}"
        self.write_reader_policies(readable)
        if user not in self._users():
            self._make(user)
        self._give(user, f"reader-{level}", self._allowed("reader", readable[level]))
        for key in self._keys(user):
            self._delete_key(user, key)
        return self._make_key(user)

    def remove_reader(self, name: str) -> None:
        user = f"{READER_USER}{spelled_reader(name)}"
        if user in self._users():
            self._empty(user)
            with self._told(f"to remove the user {user}"):
                self._iam.delete_user(UserName=user)

    def make(self, suppliers: Sequence[str]) -> list[str]:
        for supplier in suppliers:
            self.checked(supplier)
        there = self._users()
        of_those_there = [supplier for supplier in suppliers if supplier in there]
        revoked_ones = {supplier for supplier in of_those_there if self._mark in self._own_policies(supplier)}
        new = [supplier for supplier in suppliers if supplier not in there]
        for supplier in new:
            self._make(supplier)
        for supplier in suppliers:
            if supplier not in revoked_ones:
                self._give_supplier(supplier)
        return new

    def strangers(self, suppliers: Sequence[str]) -> list[str]:
        found = []
        for user in sorted(self._users()):
            if user not in suppliers:
                policies = self._policies(user)
                if self.supplier_policy in policies and self._mark not in policies:
                    found.append(user)
        return found

    def new_key(self, supplier: str, *, overlap: timedelta, again: bool = False) -> Key:
        self._checked_overlap(overlap)
        if self._mark in self._policies_of_supplier(supplier):
            if not again:
                raise revoked(supplier)
            # of a revocation that was broken off
            for key in self._keys(supplier):
                self._delete_key(supplier, key)
        self._give_supplier(supplier)
        earlier = self._keys(supplier)
        ends: dict[str, datetime | End] = dict.fromkeys(earlier, End.NOW)
        # the oldest make room for the new one; the newest goes on until the new one is there
        for key in earlier[: 1 - _MOST_KEYS]:
            self._delete_key(supplier, key)
        access_key, secret_key = self._make_key(supplier)
        for key in earlier[1 - _MOST_KEYS :]:
            if overlap:
                ends[key] = End.NOT_BY_ITSELF
            else:
                self._delete_key(supplier, key)
        return Key(supplier, access_key, secret_key, ends)

    def end_key(self, supplier: str, access_key: str) -> None:
        self._policies_of_supplier(supplier)
        known = self._keys(supplier)
        if access_key not in known:
            raise no_key(supplier, access_key, known)
        self._delete_key(supplier, access_key)

    def revoke(self, supplier: str) -> int:
        self._policies_of_supplier(supplier)
        # first the mark, so that whatever breaks here nothing gives access back
        with self._told(f"to mark {supplier} as revoked"):
            self._iam.put_user_policy(UserName=supplier, PolicyName=self._mark, PolicyDocument=json.dumps(_NOTHING))
        return self._empty(supplier, keep=self._mark)

    def checked(self, supplier: str) -> str:
        """As everywhere; also not who everybody is, nor the operator, whose user may have another name than its key.

        Raises:
            WrongName: It could open what is not its own.
        """
        super().checked(supplier)
        if supplier == _EVERYBODY:
            raise WrongName(f"{supplier!r} cannot be a supplier: the store gives its rights to whoever has no key")
        return supplier

    @property
    def _mark(self) -> str:
        return self._policy_name("revoked")

    def _allowed(self, of: str, files: Sequence[str] = (), user: str = "") -> dict[str, Any]:
        """What a policy of infra/minio allows, with the name this store does not fill in."""
        policy = self._policy(of, files)
        allowed = [statement for statement in policy["Statement"] if statement["Effect"] == "Allow"]
        for statement in allowed:
            statement["Action"] = [action for action in statement["Action"] if action not in _NOT_TAKEN]
        text = json.dumps({**policy, "Statement": allowed}).replace("${aws:username}", user)
        found: dict[str, Any] = json.loads(text)
        return found

    def _give_supplier(self, supplier: str) -> None:
        self._give(supplier, "supplier", self._allowed("supplier", user=supplier))

    def _give(self, user: str, of: str, policy: Mapping[str, Any]) -> None:
        """See that a user has this policy and no other, nor one by way of a group. What is right is not written."""
        name = self._policy_name(of)
        with self._told(f"to give {user} its policy"):
            there = self._policies(user)
            if name not in there or _plain(
                self._iam.get_user_policy(UserName=user, PolicyName=name)["PolicyDocument"]
            ) != (_plain(policy)):
                self._iam.put_user_policy(UserName=user, PolicyName=name, PolicyDocument=json.dumps(policy))
        self._strip(user, keep=name)

    def _strip(self, user: str, keep: str = "") -> None:
        """Take from a user what allows it anything, but one inline policy."""
        with self._told(f"to take other policies from {user}"):
            for policy in self._policies(user):
                if policy != keep:
                    self._iam.delete_user_policy(UserName=user, PolicyName=policy)
            for attached in self._iam.list_attached_user_policies(UserName=user)["AttachedPolicies"]:
                self._iam.detach_user_policy(UserName=user, PolicyArn=attached["PolicyArn"])
            for group in self._iam.list_groups_for_user(UserName=user)["Groups"]:
                self._iam.remove_user_from_group(UserName=user, GroupName=group["GroupName"])

    def _empty(self, user: str, keep: str = "") -> int:
        """Take away all a user may do, and its keys; returns how many it had."""
        self._strip(user, keep)
        keys = self._keys(user)
        for key in keys:
            self._delete_key(user, key)
        return len(keys)

    def _policies_of_supplier(self, supplier: str) -> list[str]:
        """Names of the inline policies of whoever is asked for by name.

        Raises:
            NoAccount: There is no such user.
            WrongName: It is no supplier's.
        """
        self.checked(supplier)
        if supplier not in self._users():
            raise no_account(supplier)
        return self._own_policies(supplier)

    def _own_policies(self, supplier: str) -> list[str]:
        """Names of the inline policies of a supplier's user, which is there.

        Raises:
            WrongName: Somebody else made this user: it may do more than can be seen from here.
        """
        policies = self._policies(supplier)
        if self.supplier_policy in policies or self._mark in policies:
            return policies
        # one that was just made has nothing yet
        if policies or self._keys(supplier):
            raise WrongName(
                f"{supplier!r} is a user of the store that was not made here and may do more than a supplier: "
                "take it away, or give the supplier another id"
            )
        return policies

    def _users(self) -> set[str]:
        with self._told("to list users"):
            pages = self._iam.get_paginator("list_users").paginate()
            return {user["UserName"] for page in pages for user in page["Users"]}

    def _policies(self, user: str) -> list[str]:
        with self._told(f"to list the policies of {user}"):
            return list(self._iam.list_user_policies(UserName=user)["PolicyNames"])

    def _keys(self, user: str) -> list[str]:
        """A user's keys, the oldest first."""
        with self._told(f"to list the keys of {user}"):
            keys = self._iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
        # a store that does not tell when a key was made (SeaweedFS) lists them as they were made
        keys.sort(key=lambda key: key.get("CreateDate", datetime.min.replace(tzinfo=UTC)))
        return [key["AccessKeyId"] for key in keys]

    def _make(self, user: str) -> None:
        with self._told(f"to make the user {user}"):
            self._iam.create_user(UserName=user)

    def _make_key(self, user: str, wanted: S3Access | None = None) -> tuple[str, str]:
        """A new key of a user.

        Args:
            user: Whose.
            wanted: The key it shall be. AWS has no words for that, SeaweedFS has.
        """
        client = self._iam
        if wanted is not None:
            client = _client(self._access)
            chosen = {"AccessKeyId": wanted.access_key, "SecretAccessKey": wanted.secret_key}
            client.meta.events.register(
                "before-call.iam.CreateAccessKey", lambda params, **_: params["body"].update(chosen)
            )
        with self._told(f"to make a key of {user}"):
            made = client.create_access_key(UserName=user)["AccessKey"]
        if wanted is not None and made["AccessKeyId"] != wanted.access_key:
            self._delete_key(user, made["AccessKeyId"])
            raise StoreRefused(self._access.address, f"to give {user} the key of the settings", "it made another one")
        return made["AccessKeyId"], made["SecretAccessKey"]

    def _delete_key(self, user: str, key: str) -> None:
        with self._told(f"to delete a key of {user}"):
            self._iam.delete_access_key(UserName=user, AccessKeyId=key)

    def _opens(self, own: S3Access) -> bool:
        """Whether the store knows the platform's key with the secret of the settings."""
        own = S3Access(self._access.endpoint, own.access_key, own.secret_key, own.region, self._access.ca_file)
        try:
            own.client().get_bucket_versioning(self._settings.s3_bucket)
        except S3Error as error:
            return error.code not in ("InvalidAccessKeyId", "SignatureDoesNotMatch")
        except (MinioException, HTTPError) as error:
            raise StoreDown(self._access.address, type(error).__name__) from None
        return True

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        address = self._access.address
        try:
            yield
        except ClientError as error:
            # who does not answer as IAM does is not read as one: there may be nothing of an error in it
            told = error.response.get("Error", {})
            code, said = str(told.get("Code", "Unknown")), str(told.get("Message", ""))
            status = int(error.response["ResponseMetadata"].get("HTTPStatusCode", 0))
            if status >= 500 and status != 501:
                raise StoreDown(address, f"asked {what} it said {status}") from None
            if status == 403:
                raise StoreRefused(address, what, said if code == "AccessDenied" else str(status)) from None
            if code == "Unknown":
                raise _none_at(address) from None
            raise StoreRefused(address, what, code) from None
        except ParamValidationError:
            # ours to mend, not the store's
            raise
        except ResponseParserError:
            raise _none_at(address) from None
        except BotoCoreError as error:
            raise StoreDown(address, type(error).__name__) from None


def _client(access: S3Access) -> Any:
    return boto3.client(
        "iam",
        endpoint_url=access.endpoint,
        aws_access_key_id=access.access_key,
        aws_secret_access_key=access.secret_key,
        region_name=access.region,
        verify=str(access.ca_file) if access.ca_file else None,
        # no proxy of the environment: the administration is on this machine or beside it
        config=Config(connect_timeout=3, read_timeout=60, retries={"total_max_attempts": 3}, proxies={}),
    )


def _plain(policy: Any) -> Any:
    """A policy as it can be compared: what may be one or many is a sorted list of many, and names say nothing."""
    if isinstance(policy, Mapping):
        return {name: _plain(value) for name, value in policy.items() if name != "Sid"}
    many = policy if isinstance(policy, list) else [policy]
    return sorted((_plain(one) if isinstance(one, Mapping) else one for one in many), key=str)


def _none_at(address: str) -> NoAdministration:
    return NoAdministration(
        address,
        "IAM API",
        "Name the store's own address in VERBUND_ADMIN_S3_ENDPOINT and start it so that it takes users "
        "(SeaweedFS: -s3.iam.readOnly=false); VERBUND_S3_KIND=minio is for MinIO.",
    )
