"""What the platform asks of a place that keeps objects, and the proof that a place does it.

Written so that a folder and any S3 with `If-None-Match` can do it. Nobody may depend on more.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

#: Bytes handed on at once.
CHUNK = 1024 * 1024


@dataclass(frozen=True)
class ObjectInfo:
    """An object as listed. `version` changes whenever the bytes under the key do."""

    key: str
    size: int
    version: str
    modified_at: datetime


@dataclass(frozen=True)
class Stored:
    """What was put by its content. `new` is False when the key held an object already, which was left alone."""

    key: str
    sha256: str
    size: int
    new: bool


class ObjectStore(Protocol):
    """Objects under keys like `wuppertal-x/2025/report.csv`. What the platform puts, a reader sees whole or not at all.

    Every method raises ValueError for a key that could lead elsewhere (absolute, `..`, empty parts); `open`, `info` and
    `size` raise `NoSuchObject` for a key that holds nothing.
    """

    @property
    def puts_are_whole(self) -> bool:
        """Whether nobody else can be met in the midst of writing either; people copy files into folders bit by bit."""
        ...

    def put_new(self, key: str, source: Path | BinaryIO) -> bool:
        """Store unless the key holds something; then leave that alone and return False."""
        ...

    def put(self, key: str, source: Path | BinaryIO) -> None:
        """Store, in place of what the key held before."""
        ...

    def put_by_content(self, source: Path | BinaryIO, key_of: Callable[[str], str], max_bytes: int = 0) -> Stored:
        """Store under the key that `key_of` makes of the bytes' sha256, reading the source once.

        Raises:
            TooManyBytes: The source has more than `max_bytes` (0: no limit); nothing is stored.
        """
        ...

    def open(self, key: str, version: str | None = None) -> BinaryIO:
        """The bytes under a key, or those of one of its versions where the store keeps them."""
        ...

    def exists(self, key: str) -> bool: ...

    def info(self, key: str) -> ObjectInfo: ...

    def size(self, key: str) -> int: ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose key begins with the prefix, in the order of keys."""
        ...

    def versions(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The same with every version the store keeps; deleted ones whose bytes are still there are among them."""
        ...

    def local_path(self, key: str) -> Path | None:
        """Where the object lies as a file of this machine, for readers that need one; None if it does not."""
        ...

    def delete(self, key: str) -> None:
        """Take the object away; nothing happens if there is none."""
        ...


class Place(Protocol):
    """Somebody else's place that files are fetched from: what is there now, and its bytes. Nothing is ever put there.

    `open` and `info` raise as those of an `ObjectStore` do; a place that cannot be asked raises `StoreDown`,
    `StoreRefused` or `StoreUnfit`.
    """

    @property
    def puts_are_whole(self) -> bool:
        """Whether nobody can be met in the midst of writing."""
        ...

    def matching(self, pattern: str) -> Iterator[ObjectInfo]:
        """Every object whose key fits a pattern (`storage.objects.pattern`). Links are not followed."""
        ...

    def open(self, key: str, version: str | None = None) -> BinaryIO: ...

    def info(self, key: str) -> ObjectInfo: ...


class NoSuchObject(LookupError):
    """The key holds nothing, or nothing that is an object (a link, a folder, a device)."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"no object {key!r}")


class TooManyBytes(ValueError):
    """The source did not end where it had to."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"more than {limit} bytes")


class StoreDown(OSError):
    """The store does not answer, or says that it cannot. Nothing changed that the caller was told of: try again.

    `address` is where it was looked for, `found` what happened there.
    """

    def __init__(self, address: str, found: str) -> None:
        self.address, self.found = address, found
        super().__init__(
            f"the object store at {address} cannot be used now: {found}. "
            "Nothing is lost; the work goes on when it can. See that it runs and can be reached from here."
        )


class StoreRefused(PermissionError):
    """The store answers, and does not let these credentials do this. `code` is the store's word for it."""

    def __init__(self, address: str, what: str, code: str) -> None:
        self.address, self.what, self.code = address, what, code
        super().__init__(
            f"the object store at {address} refused {what}: {code}. "
            "Check the access key, its secret, the clock of this machine and the policy of this user."
        )


class StoreUnfit(Exception):
    """The place does not keep a promise the platform rests on. Do not start with it."""

    def __init__(self, *, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"the object store does not fit: expected {expected}, found {found}")


class WrongHost(StoreUnfit):
    """Somebody else answers than who was agreed on, or who it is cannot be told. Nothing was said to them."""


def checked_key(key: str) -> str:
    """The key itself, if it stays inside the store.

    Raises:
        ValueError: It is absolute, empty, or has a part that is empty, `.` or `..`.
    """
    for part in key.split("/"):
        if part in ("", ".", "..") or "\0" in part:
            raise ValueError(f"{key!r} is not a key: parts between '/' are names, not empty, '.' or '..'")
    return key


def prove(store: ObjectStore, prefix: str = "proof") -> None:
    """Try what everything rests on: a second conditional put is refused, and what was written is read at once.

    Raises:
        StoreUnfit: It did otherwise.
    """
    key = f"{prefix}/{uuid.uuid4().hex}"
    try:
        if not store.put_new(key, io.BytesIO(b"first")):
            raise StoreUnfit(expected="a new key to be taken", found="it was refused")
        if store.put_new(key, io.BytesIO(b"second")):
            raise StoreUnfit(expected="a second put under the same key to be refused", found="it was taken")
        with store.open(key) as found:
            if (content := found.read()) != b"first":
                raise StoreUnfit(expected="to read back what was put first", found=repr(content))
        if [info.key for info in store.list(key)] != [key]:
            raise StoreUnfit(expected="a new object in the next list", found="none")
    finally:
        store.delete(key)
    if store.exists(key):
        raise StoreUnfit(expected="a deleted object to be gone", found="it is there")
