"""Where the bytes of large files wait until they are handed in: received part by part, so that a break costs a part, not the file.

How many bytes a file has is how many are here; nothing beside the file says it, so a process killed at any moment leaves
an upload that goes on where it stopped. What is not handed in within a day is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from anyio import Lock, to_thread

#: Uploads one person may have open.
OPEN_UPLOADS = 8
KEPT_SECONDS = 24 * 3600
#: Bytes held in memory until they are written.
PART = 1 << 20


class NoSuchUpload(LookupError):
    """This person has no upload of this name."""


class TooManyUploads(Exception):
    """This person has begun so many uploads that one must be ended first."""


class WrongOffset(Exception):
    """The bytes sent do not go on where those we have end."""


@dataclass(frozen=True)
class Upload:
    """An upload: its name, how many bytes it will have, and how many are here."""

    name: str
    length: int
    offset: int
    path: Path

    @property
    def whole(self) -> bool:
        return self.offset == self.length


class Uploads:
    """The uploads of all people, each person's in a folder of its own.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writing: dict[str, object] = {}
        self._locks: dict[str, Lock] = {}

    def begin(self, who: str, length: int) -> Upload:
        """Make room for a file.

        Raises:
            TooManyUploads: Others of this person are not done.
        """
        folder = self._of(who)
        folder.mkdir(parents=True, exist_ok=True)
        self._remove_old(folder)
        if len(list(folder.iterdir())) >= OPEN_UPLOADS:
            raise TooManyUploads
        name = f"{uuid.uuid4().hex}-{length}"
        (folder / name).touch(exist_ok=False)
        return self.find(who, name)

    def find(self, who: str, name: str) -> Upload:
        """An upload of this person.

        Raises:
            NoSuchUpload: There is none of this name.
        """
        # the length is part of the name: it is never changed, and the file holds the sender's bytes alone
        told = re.fullmatch(r"[0-9a-f]{32}-([0-9]{1,15})", name)
        path = self._of(who) / name
        if not told or not path.is_file():
            raise NoSuchUpload
        return Upload(name, int(told[1]), path.stat().st_size, path)

    async def append(self, who: str, name: str, offset: int, parts: AsyncIterator[bytes]) -> Upload:
        """Write on. Whoever comes later takes over from one whose connection hangs.

        Raises:
            NoSuchUpload: There is none of this name.
            WrongOffset: `offset` is not where the bytes we have end, or more came than the file has.
        """
        upload = self.find(who, name)
        me = self._writing[name] = object()
        lock = self._locks.setdefault(name, Lock())
        try:
            # whoever wrote before is done with its part now
            async with lock:
                upload = self.find(who, name)
                if upload.offset != offset:
                    raise WrongOffset
                opened = await to_thread.run_sync(lambda: upload.path.open("ab", buffering=0))
            with opened:
                held = bytearray()
                try:
                    async for part in parts:
                        held += part
                        if offset + len(held) > upload.length:
                            held.clear()
                            raise WrongOffset
                        if len(held) >= PART:
                            offset += await self._write(opened, held, name, me, lock)
                finally:
                    # also what came before a break
                    await self._write(opened, held, name, me, lock)
        finally:
            if self._writing.get(name) is me:
                del self._writing[name], self._locks[name]
        return self.find(who, name)

    async def _write(self, opened: BinaryIO, held: bytearray, name: str, me: object, lock: Lock) -> int:
        async with lock:
            if self._writing.get(name) is not me:
                raise WrongOffset
            count = len(held)
            await to_thread.run_sync(_write_all, opened, bytes(held))
            held.clear()
            return count

    def end(self, who: str, name: str) -> None:
        """Forget an upload, whole or not."""
        with contextlib.suppress(NoSuchUpload):
            self.find(who, name).path.unlink(missing_ok=True)

    def _of(self, who: str) -> Path:
        return self._folder / hashlib.sha256(who.encode()).hexdigest()[:32]

    def _remove_old(self, folder: Path) -> None:
        oldest = time.time() - KEPT_SECONDS
        for file in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if file.stat().st_mtime < oldest:
                    file.unlink()


def _write_all(opened: BinaryIO, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[opened.write(view) or 0 :]
    os.fdatasync(opened.fileno())
