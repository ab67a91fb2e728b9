"""What an installation is configured with: its region pack, and the contracts and code lists that every region shares."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from quality.heartbeat import with_heartbeat
from quality.region import RegionPack, load_pack
from storage.settings import Settings, project_root


def load_region(settings: Settings) -> RegionPack:
    """The region pack the settings name, with the platform's own heartbeat where one is sent.

    Raises:
        Misconfigured: With every mistake in it.
    """
    pack = load_pack(settings.region_dir, contracts_dir(), code_lists_dir())
    return with_heartbeat(pack) if settings.heartbeat_minutes else pack


def contracts_dir() -> Path:
    """Folder of the contracts that every region shares."""
    return project_root() / "quality" / "contracts"


def code_lists_dir() -> Path:
    """Folder of the code lists that every region shares."""
    return project_root() / "quality" / "codelists"


#: Files and when each was written, in nanoseconds.
Stamp = tuple[tuple[str, int], ...]
_Written = tuple[tuple[Path, int], ...]


class Files:
    """The files under some folders that configure, and when they were written. Asked for with every page and delivery.

    Which files there are is looked up only when a folder changed; any thread may ask.
    """

    #: A folder's clock is coarse: one that changed just now may change once more and look the same.
    _SETTLED_NS = 1_000_000_000

    def __init__(self, folders: Sequence[Path]) -> None:
        self._roots = list(folders)
        self._listed: tuple[_Written, list[Path]] = ((), [])

    def stamp(self) -> Stamp:
        """Every file that is there now; another one as soon as one is written, comes or goes."""
        try:
            return self._files()
        except FileNotFoundError:
            # one went between two looks
            self._listed = ((), [])
            return self._files()

    def _files(self) -> Stamp:
        known, files = self._listed
        before = time.time_ns()
        if not known or known != _written(folder for folder, _ in known):
            found = [file for root in self._roots for file in (root, *root.rglob("*"))]
            files = [file for file in found if file.suffix in (".yml", ".csv")]
            known = _written(file for file in found if file.is_dir())
            settled = all(before - changed > self._SETTLED_NS for _, changed in known)
            self._listed = (known, files) if settled else ((), [])
        return tuple((str(file), changed) for file, changed in _written(files))


def _written(files: Iterable[Path]) -> _Written:
    return tuple((file, file.stat().st_mtime_ns) for file in files)
