"""The waiting room: files that somebody chose and has not said yet what they are. Not taken in: gone after a day.

On this machine only. What is handed in from here goes the way of every delivery.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from storage.objects.base import CHUNK, TooManyBytes
from storage.settings import Settings

KEPT_SECONDS = 24 * 3600
#: So many files one person may leave waiting; the oldest go first.
MOST_FILES = 20
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True)
class Waiting:
    """One file: its bytes, and what it was called."""

    token: str
    path: Path
    file_name: str


class WaitingRoom:
    """Files of one installation's portal. Many threads may use it at once."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.paths.work / "waiting"
        self._most_bytes = settings.max_file_bytes

    def put(self, source: BinaryIO | Path, owner: str, file_name: str) -> Waiting:
        """Let a file wait for its owner (a person at a supplier).

        Raises:
            TooManyBytes: It is larger than any delivery may be.
        """
        self._tidy(owner)
        token = secrets.token_urlsafe(16)
        place = self._folder / token
        place.mkdir(parents=True, mode=0o700)
        try:
            with contextlib.ExitStack() as opened, (place / "sent").open("wb") as to:
                file = opened.enter_context(source.open("rb")) if isinstance(source, Path) else source
                size = 0
                while part := file.read(CHUNK):
                    size += len(part)
                    if size > self._most_bytes:
                        raise TooManyBytes(self._most_bytes)
                    to.write(part)
            told = {"owner": owner, "file_name": file_name}
            (place / "told.json").write_text(json.dumps(told), encoding="utf-8")
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return Waiting(token, place / "sent", file_name)

    def get(self, token: str, owner: str) -> Waiting | None:
        """A file that waits; None where there is none of this name, or it is somebody else's."""
        told = self._told(self._folder / token) if _TOKEN.fullmatch(token) else None
        if told is None or told["owner"] != owner:
            return None
        return Waiting(token, self._folder / token / "sent", told["file_name"])

    def drop(self, waiting: Waiting) -> None:
        """Forget a file."""
        shutil.rmtree(waiting.path.parent, ignore_errors=True)

    def _tidy(self, owner: str) -> None:
        """Make room: what is too old goes, and what one person leaves lying."""
        if not self._folder.is_dir():
            return
        mine: list[tuple[float, Path]] = []
        for place in self._folder.iterdir():
            told = self._told(place)
            try:
                age = time.time() - place.stat().st_mtime
            except FileNotFoundError:
                continue  # somebody else tidied
            if age > KEPT_SECONDS:
                shutil.rmtree(place, ignore_errors=True)
            elif told is not None and told["owner"] == owner:
                mine.append((age, place))
        for _, place in sorted(mine)[MOST_FILES - 1 :]:
            shutil.rmtree(place, ignore_errors=True)

    def _told(self, place: Path) -> dict[str, str] | None:
        try:
            told: dict[str, str] = json.loads((place / "told.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return told
