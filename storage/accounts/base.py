"""What is asked of a store's administration, whichever it is, and what holds for each: names, keys, texts of policies.

Nobody logs in with a user itself. What a supplier holds are keys of its user, of which several may be valid at once, so
that one follows another without a gap; ending the user's access ends them all. A reader has one user with one key.
"""

from __future__ import annotations

import json
import string
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from storage import stores
from storage.logins import WrongName
from storage.paths import checked_supplier
from storage.settings import Settings, project_root

#: A key that was replaced is valid for so long at most, where the store can end it by itself.
LONGEST_OVERLAP = timedelta(days=90)
#: Readers' users in the store begin with this; no supplier's name can.
READER_USER = "reader_"
_POLICIES = project_root() / "infra" / "minio"


class NoAdministration(Exception):
    """The store has no administration of the kind at this address. Nothing was changed."""

    def __init__(self, address: str, kind: str, hint: str) -> None:
        self.address = address
        super().__init__(f"no {kind} at {address}. {hint}")


class NoAccount(LookupError):
    """The supplier has no account, or it was revoked; or the key is none of it."""


class End(StrEnum):
    """What becomes of an earlier key where there is no instant to tell."""

    NOW = "ended"
    NOT_BY_ITSELF = "goes on until it is ended"


@dataclass(frozen=True)
class Key:
    """A new key of a supplier. `ends` tells when its earlier ones end, by access key."""

    supplier: str
    access_key: str
    secret_key: str = field(repr=False)
    ends: dict[str, datetime | End]


class Accounts(ABC):
    """The users of one store, seen by its operator.

    Every method raises `StoreDown`, `StoreRefused` or `NoAdministration`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._access = stores.admin_access(settings)

    @abstractmethod
    def write_policies(self) -> None:
        """Bring what every supplier and the platform may do to what infra/minio says."""

    @abstractmethod
    def write_reader_policies(self, readable: Mapping[str, Sequence[str]]) -> None:
        """Bring what readers may do to the files of a release that each level may read (`storage.logins.READERS`)."""

    @abstractmethod
    def make_platform(self) -> None:
        """Make the platform's own user, or give it the key of the settings.

        Raises:
            WrongName: The store takes no such key.
        """

    @abstractmethod
    def make_reader(
        self, name: str, level: Literal["open", "region"], readable: Mapping[str, Sequence[str]]
    ) -> tuple[str, str]:
        """Make a reader's user or give it another level and secret; returns access key and secret."""

    @abstractmethod
    def remove_reader(self, name: str) -> None:
        """Take a reader's user away, where there is one."""

    @abstractmethod
    def make(self, suppliers: Sequence[str]) -> list[str]:
        """Make the users that are not there, each with the suppliers' policy and no other; returns the new ones.

        A user that was revoked stays so.

        Raises:
            WrongName: A name could open what is not its own; then none is made.
        """

    @abstractmethod
    def strangers(self, suppliers: Sequence[str]) -> list[str]:
        """Users with the suppliers' policy who have access and are no suppliers."""

    @abstractmethod
    def new_key(self, supplier: str, *, overlap: timedelta, again: bool = False) -> Key:
        """Make a key; earlier ones go on for the overlap, or end at once if there is none.

        Where the store cannot end a key by itself (IAM), the newest of the earlier ones goes on until somebody ends it,
        and those before it end at once.

        Args:
            supplier: Whose.
            overlap: From 0 to `LONGEST_OVERLAP`.
            again: Also where access was revoked.

        Raises:
            NoAccount: The supplier has none, or it was revoked.
        """

    @abstractmethod
    def end_key(self, supplier: str, access_key: str) -> None:
        """End one key of a supplier at once; its others go on.

        Raises:
            NoAccount: The supplier has no such key.
        """

    @abstractmethod
    def revoke(self, supplier: str) -> int:
        """End all access of a supplier at once; returns how many keys there were.

        Raises:
            NoAccount: There is no such user.
        """

    def checked(self, supplier: str) -> str:
        """The name, if a supplier may have it.

        Raises:
            WrongName: It could open what is not its own.
        """
        try:
            checked_supplier(supplier)
        except ValueError as error:
            raise WrongName(str(error)) from None
        if supplier in (self._settings.s3_access_key, self._access.access_key):
            raise WrongName(f"{supplier!r} is the platform's own user of the store and cannot be a supplier's")
        return supplier

    @property
    def supplier_policy(self) -> str:
        """Name of the one policy all suppliers have."""
        return self._policy_name("supplier")

    def _policy_name(self, of: str) -> str:
        return f"{self._settings.s3_bucket}-{of}"

    def _policy(self, of: str, files: Sequence[str] = (), **names: str) -> dict[str, Any]:
        """A policy of infra/minio for this installation.

        Args:
            of: `supplier`, `platform` or `reader`.
            files: What a reader may read of a release.
            names: What else the text leaves open; what is not named is left to the store (`${aws:username}`).
        """
        text = string.Template((_POLICIES / f"{of}-policy.json").read_text(encoding="utf-8"))
        policy: dict[str, Any] = json.loads(text.safe_substitute(names, bucket=self._settings.s3_bucket))
        for statement in policy["Statement"]:
            if resources := statement.get("Resource"):
                # a resource that names no file stays one
                with_files = {r.replace("${file}", f) for r in resources for f in files or ("${file}",)}
                statement["Resource"] = sorted(with_files)
        return policy

    def _checked_overlap(self, overlap: timedelta) -> timedelta:
        if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
            raise ValueError(f"expected an overlap of 0 to {LONGEST_OVERLAP.days} days, found {overlap.days}")
        return overlap


def no_account(supplier: str) -> NoAccount:
    """Nobody made one yet."""
    return NoAccount(f"{supplier} has no account; `verbund server init` makes those of the region pack")


def revoked(supplier: str) -> NoAccount:
    """Somebody took it away."""
    return NoAccount(f"the access of {supplier} was revoked; --again gives it a key nevertheless")


def no_key(supplier: str, access_key: str, known: Sequence[str]) -> NoAccount:
    """It may be somebody else's."""
    return NoAccount(f"{supplier} has no key {access_key!r}; its keys: {', '.join(sorted(known)) or 'none'}")
