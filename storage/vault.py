"""The bytes of every delivery as they were sent, under their sha256, never changed and never written over.

Bytes come here before anything is read from them. Which delivery they belong to is in the ledger.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from storage.objects.base import CHUNK, NoSuchObject, ObjectStore
from storage.paths import vault_key


@dataclass(frozen=True)
class Kept:
    """Bytes that are safe. `new` is False when the vault had them already."""

    sha256: str
    size: int
    new: bool


class VaultDamaged(Exception):
    """The vault does not hold the bytes it should. For an operator; no verdict may be built on it.

    `found` is the sha256 of what is there, or None when nothing is (or its length alone tells that it is wrong).
    """

    def __init__(self, sha256: str, found: str | None) -> None:
        self.sha256, self.found = sha256, found
        what = f"bytes with sha256 {found}" if found else "nothing, or bytes of another length"
        super().__init__(f"expected bytes with sha256 {sha256} in the vault, found {what}. Restore them from a copy.")


class Vault:
    """The vault in an object store of its own (for the embedded profile `LocalStore(home.vault, read_only=True)`)."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def keep(self, source: Path | BinaryIO, max_bytes: int = 0) -> Kept:
        """Store bytes, reading the source once. The same bytes again cost one reading and change nothing.

        Raises:
            TooManyBytes: The source has more than `max_bytes` (0: no limit).
            VaultDamaged: The vault has an object of this name, but of another length.
        """
        stored = self._store.put_by_content(source, vault_key, max_bytes)
        if not stored.new and self._store.size(stored.key) != stored.size:
            raise VaultDamaged(stored.sha256, None)
        return Kept(stored.sha256, stored.size, stored.new)

    def has(self, sha256: str) -> bool:
        """Whether there is an object of this name; its bytes are not looked at."""
        return self._store.exists(vault_key(sha256))

    def fetch(self, sha256: str, work: Path) -> Path:
        """A local file with the bytes, hashed again on the way. Do not change it and do not delete it.

        Args:
            sha256: Which bytes.
            work: Folder for a copy where the store has no files of its own.

        Raises:
            VaultDamaged: They are not there, or are not those bytes.
        """
        with self.lent(sha256, work) as path:
            return path

    @contextmanager
    def lent(self, sha256: str, work: Path) -> Iterator[Path]:
        """The same for a block, with the bytes hashed beside it: 1 GB costs a second, and readers leave a core idle.

        Raises:
            VaultDamaged: They are not there; or, at the end of the block, are not those bytes. Nothing that was read
                from them holds then, nor does an error that came of it.
        """
        key = vault_key(sha256)
        try:
            path = self._store.local_path(key)
            kept = self._store.open(key) if path else None
            path = path or self._download(key, sha256, work)
        except NoSuchObject as error:
            raise VaultDamaged(sha256, None) from error
        if kept is None:
            # hashed while it was copied
            yield path
            return
        with kept as again, ThreadPoolExecutor(1) as beside:
            found = beside.submit(_hash, again)
            try:
                yield path
            finally:
                _check(sha256, found.result())

    def _download(self, key: str, sha256: str, work: Path) -> Path:
        path = work / sha256
        if path.exists():
            with path.open("rb") as earlier:
                if _hash(earlier) == sha256:
                    return path
        work.mkdir(parents=True, exist_ok=True)
        unfinished = work / f"{sha256}.{uuid.uuid4().hex}"
        try:
            with self._store.open(key) as source, unfinished.open("wb") as into:
                _check(sha256, _hash(source, into))
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return path


def _hash(source: BinaryIO, into: BinaryIO | None = None) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        if into is not None:
            into.write(chunk)
    return digest.hexdigest()


def _check(sha256: str, found: str) -> None:
    if found != sha256:
        raise VaultDamaged(sha256, found)
