"""Backup and restore of a whole installation, and the proof that what came back is what was there.

A backup is a folder. `objects/` holds bytes under their sha256, each once, whatever number of points names them;
`points/<time>/` holds the databases of one moment and a manifest of all bytes that belong to it. What the manifest names
was there before it, so a backup that broke off is no point, and the points before it stay whole.

What is kept: ledger and catalogs (`storage.dumps`), vault, the files of the lakes, receipts, releases. Not the inboxes (what
was received of them is in the vault), not Dagster's own storage, nothing that can be made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from filelock import FileLock

from quality import foundation, judging
from quality import release as releasing
from storage import dumps, locks, stores
from storage.objects.base import CHUNK, NoSuchObject, ObjectInfo, ObjectStore
from storage.objects.local import LocalStore
from storage.paths import vault_key
from storage.settings import Settings
from storage.vault import Vault, VaultDamaged

FORMAT = 1
MANIFEST = "manifest.json"
_POINT = re.compile(r"\d{8}T\d{6}Z")
_RELEASED = re.compile(r"\d{4,}/.+|current\.json")
#: Kinds of objects, in the order they come back: what others rest on first.
AREAS = ("vault", "lake", "receipts", "releases")
#: How long a release may take that is being made, in seconds.
_PATIENCE = 120.0


class NoBackup(LookupError):
    """The folder holds no point of time to go back to, or none of this name."""


class NotEmpty(Exception):
    """There is something where something is to be restored; nothing was changed."""


class DamagedBackup(Exception):
    """Bytes of the backup are missing or not what they were. `files` names them."""

    def __init__(self, what: str, files: Sequence[str]) -> None:
        self.files = tuple(files)
        shown = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
        super().__init__(f"{what}: {shown}")


@dataclass(frozen=True)
class Kept:
    """One object of a point. `version` is the store's word for these bytes, by which the next backup knows them again."""

    sha256: str
    size: int
    version: str


@dataclass(frozen=True)
class Point:
    """One moment of a backup, as its manifest tells it.

    Attributes:
        name: `20261123T013000Z`, in UTC.
        profile: Of the installation it was made of; it goes back into the same profile.
        revision: Shape of its ledger.
        deliveries: How many the ledger knows.
        databases: File beside the manifest → sha256.
        snapshots: Catalog → its newest snapshot.
        rows: Catalog → rows of each table at that snapshot.
        release: The release readers were given, None before the first.
        objects: Area → key → what it holds.
        copied: Objects whose bytes the backup did not have before.
    """

    name: str
    profile: str
    revision: str | None
    deliveries: int
    databases: Mapping[str, str | None]
    snapshots: Mapping[str, int]
    rows: Mapping[str, Mapping[str, int]]
    release: int | None
    objects: Mapping[str, Mapping[str, Kept]] = field(repr=False)
    copied: int = 0

    def document(self) -> dict[str, Any]:
        """What `verbund backup --json` prints."""
        sizes = [kept.size for area in self.objects.values() for kept in area.values()]
        return {
            "point": self.name,
            "profile": self.profile,
            "revision": self.revision,
            "deliveries": self.deliveries,
            "release": self.release,
            "rows": {catalog: sum(tables.values()) for catalog, tables in self.rows.items()},
            "objects": {area: len(kept) for area, kept in self.objects.items()},
            "bytes": sum(sizes),
            "copied": self.copied,
        }


@dataclass(frozen=True)
class Restored:
    """What was brought back, and what it was compared with. It exists only where all of it was equal."""

    point: Point
    files: int
    contents: int
    releases: int
    tables: int

    def document(self) -> dict[str, Any]:
        """What `verbund restore --json` prints."""
        return {
            "point": self.point.name or None,
            "deliveries": self.point.deliveries,
            "files": self.files,
            "contents": self.contents,
            "tables": self.tables,
            "releases": self.releases,
        }


# --- backup ---


def backup(settings: Settings, to: Path, now: datetime | None = None) -> Point:
    """Add a point to the backup in `to`, which is made if it is new. Work goes on meanwhile.

    Bytes that an earlier point has are hashed where they lie in the backup, and not copied again.

    Args:
        settings: What to back up.
        to: A folder that does not lie in the home, better on another machine's disk.
        now: Time of the point; without it the present.

    Raises:
        NotEmpty: `to` lies in the home, or holds something else than a backup.
        storage.vault.VaultDamaged: The ledger knows bytes the vault does not hold.
        storage.dumps.DatabaseToolFailed, storage.locks.Busy, storage.objects.base.StoreDown: As they say.
    """
    to = to.expanduser().absolute()
    if to.is_relative_to(settings.home):
        raise NotEmpty(f"{to} lies in {settings.home}; a backup there is lost with it")
    if to.is_dir() and any(to.iterdir()) and not (to / "points").is_dir():
        raise NotEmpty(f"{to} holds other things than a backup; choose a folder of its own")
    if not to.exists():
        # all that suppliers sent will lie there
        to.mkdir(parents=True, mode=0o700)
    (to / "points").mkdir(exist_ok=True)
    name = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    if (to / "points" / name).exists():
        raise NotEmpty(f"{to} has the point {name} already; a point is never changed")
    known = read_point(to).objects if points(to) else {}
    with _taking(to, name) as making, locks.holding(settings, "release", timeout=_PATIENCE):
        keeper = _Keeper(to, known)
        point = _taken(settings, name, making, keeper.keep, keeper.keep_bytes)
        point = replace(point, copied=keeper.copied)
        _write_manifest(point, making / MANIFEST)
    return point


def look(settings: Settings, databases: Path) -> Point:
    """What a backup would say of this installation, which nobody works in (`alone`); copies the databases only.

    Args:
        settings: Of the installation.
        databases: Folder for their copy.

    Raises:
        As `backup`.
    """

    def hashed(area: str, key: str, info: ObjectInfo, store: ObjectStore) -> Kept:
        return Kept(_sha256_in(store, key) or "", info.size, info.version)

    def hashed_bytes(content: bytes) -> Kept:
        return Kept(hashlib.sha256(content).hexdigest(), len(content), "")

    return _taken(settings, "", databases, hashed, hashed_bytes)


def _taken(
    settings: Settings,
    name: str,
    databases: Path,
    keep: Callable[[str, str, ObjectInfo, ObjectStore], Kept],
    keep_bytes: Callable[[bytes], Kept],
) -> Point:
    sources = places(settings)
    # before the databases: what these two name is in them then
    found = {"releases": _listed(sources["releases"])}
    state = foundation.published(settings)
    current = releasing.current(settings)
    copied = dumps.copy(settings, databases)
    # after them: what they name is there by then
    found |= {area: _listed(sources[area]) for area in ("vault", "lake", "receipts")}
    needed = frozenset[str]().union(*(told.files for told in copied.catalogs.values()))
    if missing := needed - set(found["lake"]):
        raise DamagedBackup("the catalogs name files that the lake does not hold", sorted(missing))
    if lost := sorted(sha256 for sha256 in copied.contents if vault_key(sha256) not in found["vault"]):
        raise VaultDamaged(lost[0], None)
    objects = {
        area: {
            key: keep(area, key, *found[area][key])
            for key in found[area]
            if (key in needed if area == "lake" else _is_kept(area, key))
        }
        for area in AREAS
    }
    if damaged := [(key, kept.sha256) for key, kept in objects["vault"].items() if vault_key(kept.sha256) != key]:
        raise VaultDamaged(damaged[0][0].rpartition("/")[2], damaged[0][1])
    if state is not None:
        objects["lake"][foundation.POINTER] = keep_bytes(state)
    return Point(
        name=name,
        profile=settings.profile,
        revision=copied.revision,
        deliveries=copied.deliveries,
        databases={file: _sha256(path) for file, path in copied.files.items()},
        snapshots={catalog: told.snapshot for catalog, told in copied.catalogs.items()},
        rows={c: dumps.row_counts(settings, c, told.snapshot) for c, told in copied.catalogs.items()},
        release=current.number if current else None,
        objects=objects,
    )


def points(folder: Path) -> list[str]:
    """Names of the moments one can go back to, oldest first."""
    found = folder / "points"
    if not found.is_dir():
        return []
    return sorted(path.name for path in found.iterdir() if _POINT.fullmatch(path.name) and (path / MANIFEST).is_file())


def moment(point: str) -> datetime:
    """The moment a point is named after."""
    return datetime.strptime(point, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def read_point(folder: Path, name: str | None = None) -> Point:
    """One point of a backup, the newest without a name.

    Raises:
        NoBackup: There is none, or none of this name; the text lists those there are.
    """
    there = points(folder)
    if not there:
        raise NoBackup(f"{folder} holds no whole backup; `verbund backup {folder}` makes one")
    if name is not None and name not in there:
        raise NoBackup(f"{folder} has no point {name}; it has: {', '.join(there)}")
    told = json.loads((folder / "points" / (name or there[-1]) / MANIFEST).read_text(encoding="utf-8"))
    if told["format"] != FORMAT:
        raise NoBackup(f"this backup has format {told['format']}, this Verbund reads {FORMAT}. Use the newer Verbund.")
    objects = {area: {key: Kept(*kept) for key, kept in keys.items()} for area, keys in told["objects"].items()}
    return Point(**{f.name: told[f.name] for f in fields(Point) if f.name != "objects"}, objects=objects)


# --- restore ---


def restore(settings: Settings, folder: Path, name: str | None = None) -> Restored:
    """Bring a point back into an installation that holds nothing, and compare it with what the manifest says.

    May be repeated where it broke off: objects of the same point that are there are looked at and left.

    Args:
        settings: Where to; of the profile the backup was made of. Buckets and the database must be there.
        folder: The backup.
        name: Which point; without it the newest.

    Raises:
        NoBackup: There is no such point, or it is of the other profile.
        NotEmpty: There is something already, or a judge is running.
        DamagedBackup: The backup is not what it was, or what came back is not what the manifest says.
    """
    folder = folder.expanduser().absolute()
    point = read_point(folder, name)
    if point.profile != settings.profile:
        raise NoBackup(
            f"the point {point.name} is of the profile {point.profile}, these settings are of {settings.profile}. "
            "Restore into the same profile, then `verbund migrate --to server`."
        )
    where = folder / "points" / point.name
    saved = LocalStore(folder / "objects")
    contents = {kept.sha256 for area in point.objects.values() for kept in area.values()}
    # all of it before the first is written: what lies in a locked vault can never be taken out again
    broken = [file for file, sha256 in point.databases.items() if _sha256(where / file) != sha256]
    broken += sorted(sha256 for sha256 in contents if _sha256_in(saved, vault_key(sha256)) != sha256)
    if broken:
        raise DamagedBackup("the backup lacks these, or they are not what they were", broken)
    with alone(settings):
        refuse_filled(settings, point.objects)
        for area, target in places(settings).items():
            for key, kept in pointers_last(point.objects[area]):
                bring(saved, vault_key(kept.sha256), target, key, kept.sha256)
        dumps.put_back(settings, where)
        proved = prove(settings, point)
    # the database of the server profile serves it again
    releasing.hand_out_last(settings)
    return proved


def prove(settings: Settings, point: Point) -> Restored:
    """Read an installation again from where it lies, and compare it with a point: bytes, ledger, tables, releases.

    Raises:
        DamagedBackup: Something is not as the point says.
    """
    wrong = [
        f"{area}/{key}"
        for area, store in places(settings).items()
        for key, kept in point.objects[area].items()
        if _sha256_in(store, key) != kept.sha256
    ]
    if wrong:
        raise DamagedBackup("what lies here now is not what the backup says", wrong)
    deliveries, contents = dumps.known_contents(settings)
    if deliveries != point.deliveries:
        raise DamagedBackup("the number of deliveries differs", [f"{deliveries} instead of {point.deliveries}"])
    if lost := sorted(sha256 for sha256 in contents if vault_key(sha256) not in point.objects["vault"]):
        raise DamagedBackup("the ledger knows bytes the vault does not hold", lost)
    for catalog in dumps.CATALOGS:
        if catalog not in point.snapshots:
            continue
        counted, expected = dumps.row_counts(settings, catalog, point.snapshots[catalog]), point.rows[catalog]
        if differ := sorted(t for t in {*counted, *expected} if counted.get(t) != expected.get(t)):
            raise DamagedBackup(f"tables of the lake {catalog} have another number of rows than in the backup", differ)
    released = releasing.releases(settings)
    for made in released:
        if damages := releasing.verify(settings, made.number):
            raise DamagedBackup(f"release {made.number} is not as it was written", [damage.file for damage in damages])
    return Restored(
        point=point,
        files=sum(len(keys) for keys in point.objects.values()),
        contents=len(contents),
        releases=len(released),
        tables=sum(len(tables) for tables in point.rows.values()),
    )


# --- what a whole installation is made of; `quality.migration` carries the same ---


@contextlib.contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Be the only one who works here: no judge, no release.

    Raises:
        NotEmpty: A judge runs.
        storage.locks.Busy: A release did not end.
    """
    with judging.holding(settings, wait_seconds=5) as held:
        if not held:
            raise NotEmpty("a judge is running here; end `verbund up` first")
        with locks.holding(settings, "release", timeout=_PATIENCE):
            yield


def refuse_filled(settings: Settings, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """See that an installation holds nothing but objects that are to come (of an attempt before that broke off).

    Raises:
        NotEmpty: It holds something.
    """
    if not dumps.holds_nothing(settings):
        raise NotEmpty(
            "the ledger or the lake holds something already, and this goes into an empty installation only. "
            "Name another home, or another database and other buckets."
        )
    for area, store in places(settings).items():
        if foreign := next((key for key in _listed(store) if _is_kept(area, key) and key not in wanted[area]), None):
            raise NotEmpty(
                f"there is {area}/{foreign} already, which is none of what is to come, and this goes into an empty "
                "installation only. Name another home, or another database and other buckets."
            )


def places(settings: Settings) -> dict[str, ObjectStore]:
    """Where the objects of each area lie."""
    # files of a release may be written by nobody, and the store of the embedded profile writes its pointer as well
    releases = stores.releases(settings) if settings.is_server else LocalStore(settings.paths.releases, read_only=True)
    return {
        "vault": stores.vault(settings),
        "lake": stores.lake_files(settings),
        "receipts": stores.receipts(settings),
        "releases": releases,
    }


def pointers_last(objects: Mapping[str, Kept]) -> list[tuple[str, Kept]]:
    """In the order they are written: what names others after what it names."""
    return sorted(objects.items(), key=lambda item: (item[0] in _POINTERS, item[0]))


def bring(source: ObjectStore, source_key: str, target: ObjectStore, key: str, sha256: str) -> None:
    """Copy one object, whose bytes were looked at before, unless it is there; what is there must be the same.

    Raises:
        DamagedBackup: The source changed meanwhile.
        NotEmpty: The target holds other bytes.
    """
    with source.open(source_key) as stream:
        seen = _Seen(stream)
        new = target.put_new(key, cast(BinaryIO, seen))
    if new and seen.sha256 != sha256:
        raise DamagedBackup("bytes changed while they were copied", [source_key])
    if not new and _sha256_in(target, key) != sha256:
        raise NotEmpty(f"there is {key} already with other bytes. Empty it, or name another place.")


_POINTERS = ("current.json", foundation.POINTER)


def _listed(store: ObjectStore) -> dict[str, tuple[ObjectInfo, ObjectStore]]:
    return {info.key: (info, store) for info in store.list()}


def _is_kept(area: str, key: str) -> bool:
    """Whether a key is state; beside it lies what is in the making, and the catalogs of the embedded profile."""
    if area == "releases":
        return _RELEASED.fullmatch(key) is not None
    return area != "lake" or key.startswith(tuple(f"{catalog}/" for catalog in dumps.CATALOGS)) or key in _POINTERS


class _Keeper:
    """Lays objects into a backup, each content once, and counts what was new to it."""

    def __init__(self, to: Path, known: Mapping[str, Mapping[str, Kept]]) -> None:
        self._store = LocalStore(to / "objects", read_only=True)
        self._vault, self._known, self.copied = Vault(self._store), known, 0

    def keep(self, area: str, key: str, info: ObjectInfo, source: ObjectStore) -> Kept:
        before = self._known.get(area, {}).get(key)
        if before and (before.version, before.size) == (info.version, info.size) and self._has(before.sha256):
            return before
        with source.open(key) as stream:
            return self._keep(stream, info.version)

    def keep_bytes(self, content: bytes) -> Kept:
        return self._keep(io.BytesIO(content), "")

    def _keep(self, stream: BinaryIO, version: str) -> Kept:
        kept = self._vault.keep(stream)
        self.copied += kept.new
        if not kept.new and not self._has(kept.sha256):
            raise DamagedBackup("bytes of the backup are not what they were; try again", [vault_key(kept.sha256)])
        return Kept(kept.sha256, kept.size, version)

    def _has(self, sha256: str) -> bool:
        """Whether the backup holds these bytes; wrong ones under their name are taken away."""
        key = vault_key(sha256)
        found = _sha256_in(self._store, key)
        if found is not None and found != sha256:
            self._store.delete(key)
        return found == sha256


class _Seen:
    """A stream that is hashed while somebody reads it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._digest = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size)
        self._digest.update(chunk)
        return chunk

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


@contextlib.contextmanager
def _taking(to: Path, name: str) -> Iterator[Path]:
    """A folder for a point in the making, which becomes one when the block ends well. One backup at a time."""
    with FileLock(to / "backup.lock", timeout=0):
        for left_over in (to / "points").glob(".making-*"):
            shutil.rmtree(left_over)
        making = to / "points" / f".making-{name}"
        yield making
        making.rename(to / "points" / name)
        _sync(to / "points")


def _write_manifest(point: Point, file: Path) -> None:
    told = {field.name: getattr(point, field.name) for field in fields(point) if field.name != "objects"}
    told |= {"format": FORMAT, "verbund": importlib.metadata.version("verbund")}
    told["objects"] = {
        area: {key: [kept.sha256, kept.size, kept.version] for key, kept in keys.items()}
        for area, keys in point.objects.items()
    }
    file.write_text(json.dumps(told, ensure_ascii=False) + "\n", encoding="utf-8")
    for written in file.parent.iterdir():
        _sync(written)
    _sync(file.parent)


def _sha256(file: Path) -> str | None:
    if not file.is_file():
        return None
    with file.open("rb") as read:
        return hashlib.file_digest(read, "sha256").hexdigest()


def _sha256_in(store: ObjectStore, key: str) -> str | None:
    digest = hashlib.sha256()
    try:
        with store.open(key) as read:
            while chunk := read.read(CHUNK):
                digest.update(chunk)
    except NoSuchObject:
        return None
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
