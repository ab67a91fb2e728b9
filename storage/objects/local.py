"""Objects as files of a folder: the object store of the embedded profile.

The folder may be shared with people who put hostile names and links into it, so no link is followed and nothing but
plain files is seen.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from storage.objects.base import CHUNK, NoSuchObject, ObjectInfo, Stored, StoreUnfit, TooManyBytes, checked_key
from storage.objects.pattern import beginning, fits, leads_into

#: Files on their way begin so; never listed, and no key may have a part like it.
_UNFINISHED = ".unfinished-"
#: After so many bytes the disk is set to work while the rest is read. 300 MiB with their sha256 took 0.45 s so, and
#: 1.3 to 1.6 s with everything written at the end.
_ONWARD = 16 * CHUNK
_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


class LocalStore:
    """An `ObjectStore` in a folder, which is made when first written to.

    Args:
        root: The folder.
        read_only: Take the right to write away from what is stored, so that a slip of the hand does not change it.
    """

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self.root = root.absolute()
        self._mode = 0o444 if read_only else 0o666

    @property
    def puts_are_whole(self) -> bool:
        return False

    def put_new(self, key: str, source: Path | BinaryIO) -> bool:
        target = self._target(key)
        if os.path.lexists(target):
            return False
        with self._unfinished(target.parent) as (temporary, into):
            _copy(source, into)
            return self._link(temporary, into, target)

    def put(self, key: str, source: Path | BinaryIO) -> None:
        target = self._target(key)
        with self._unfinished(target.parent) as (temporary, into):
            _copy(source, into)
            _to_disk(into)
            temporary.replace(target)
            _folder_to_disk(target.parent)

    def put_by_content(self, source: Path | BinaryIO, key_of: Callable[[str], str], max_bytes: int = 0) -> Stored:
        _make_folder(self.root)
        with self._unfinished(self.root) as (temporary, into):
            digest = hashlib.sha256()
            size = _copy(source, into, digest.update, max_bytes)
            key = key_of(digest.hexdigest())
            target = self._target(key)
            new = self._link(temporary, into, target)
        return Stored(key, digest.hexdigest(), size, new)

    def open(self, key: str, version: str | None = None) -> BinaryIO:
        path = self._inside(key)
        if version is not None and self.info(key).version != version:
            # a folder keeps the last bytes only
            raise NoSuchObject(key)
        try:
            # without NONBLOCK a named pipe somebody put there would hold us for ever
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
                raise NoSuchObject(key) from error
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NoSuchObject(key)
        return os.fdopen(descriptor, "rb")

    def exists(self, key: str) -> bool:
        try:
            self.info(key)
        except NoSuchObject:
            return False
        return True

    def info(self, key: str) -> ObjectInfo:
        try:
            found = os.lstat(self._inside(key))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoSuchObject(key) from error
        if not stat.S_ISREG(found.st_mode):
            raise NoSuchObject(key)
        return _info(key, found)

    def size(self, key: str) -> int:
        return self.info(key).size

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder, _, _ = prefix.rpartition("/")
        if not folder:
            yield from _walk(self.root, "", prefix)
            return
        with suppress(NoSuchObject):
            yield from _walk(self._inside(folder), f"{folder}/", prefix)

    def matching(self, pattern: str) -> Iterator[ObjectInfo]:
        """Every file that fits a pattern; folders it does not lead into are not looked at.

        Raises:
            StoreUnfit: There is no such folder.
        """
        if not self.root.is_dir():
            raise StoreUnfit(expected="a folder", found="none")
        for found in _walk(self.root, "", beginning(pattern), lambda folder: leads_into(pattern, folder)):
            if fits(pattern, found.key):
                yield found

    def versions(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self.list(prefix)

    def local_path(self, key: str) -> Path | None:
        self.info(key)
        return self._path(key)

    def delete(self, key: str) -> None:
        with suppress(FileNotFoundError, NotADirectoryError, NoSuchObject):
            path = self._inside(key)
            path.unlink()
            _folder_to_disk(path.parent)

    def clear_unfinished(self, older_than_seconds: float = 86_400) -> int:
        """Take away what a killed process left half written. Returns how many files that were."""
        limit = time.time() - older_than_seconds
        left = [path for path in self.root.rglob(f"{_UNFINISHED}*") if path.lstat().st_mtime < limit]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def _target(self, key: str) -> Path:
        _make_folder(self._path(key).parent)
        return self._inside(key)

    def _path(self, key: str) -> Path:
        for part in key.split("/"):
            if part.startswith(_UNFINISHED) or len(os.fsencode(part)) > 255:
                raise ValueError(f"{key!r} is not a key: a part of it is reserved, or longer than 255 bytes")
        return self.root / checked_key(key)

    def _inside(self, key: str) -> Path:
        """The path, unless a link on the way leads out of the folder."""
        path = self._path(key)
        if not path.parent.resolve().is_relative_to(self.root.resolve()):
            raise NoSuchObject(key)
        return path

    @contextmanager
    def _unfinished(self, folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
        temporary = folder / f"{_UNFINISHED}{uuid.uuid4().hex}"
        # opened by hand so that the rights follow the umask; a tempfile would be for its owner only
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._mode)
        try:
            with os.fdopen(descriptor, "wb") as into:
                yield temporary, into
        finally:
            temporary.unlink(missing_ok=True)

    def _link(self, temporary: Path, into: BinaryIO, target: Path) -> bool:
        # the name appears only after the bytes are on the disk
        _to_disk(into)
        try:
            target.hardlink_to(temporary)
        except FileExistsError:
            return False
        _folder_to_disk(target.parent)
        return True


def _walk(
    folder: Path, under: str, prefix: str, enters: Callable[[str], bool] = lambda folder: True
) -> Iterator[ObjectInfo]:
    try:
        with os.scandir(folder) as found:
            entries = [(entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in found]
    except (FileNotFoundError, NotADirectoryError):
        return
    # a folder sorts as its keys do: "a-b" before "a/b"
    for name, entry in sorted(entries, key=lambda named: named[0]):
        key = under + name
        if entry.name.startswith(_UNFINISHED) or not (key.startswith(prefix) or prefix.startswith(key)):
            continue
        if name.endswith("/"):
            if enters(key.removesuffix("/")):
                yield from _walk(Path(entry.path), key, prefix, enters)
            continue
        # it may be gone by now
        with suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            if key.startswith(prefix) and stat.S_ISREG(status.st_mode):
                yield _info(key, status)


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    # whoever sets a file's time may set it to a year that datetime does not know
    modified_at = datetime.fromtimestamp(min(max(status.st_mtime, 0), _LATEST), UTC)
    return ObjectInfo(key, status.st_size, f"{status.st_mtime_ns}-{status.st_size}", modified_at)


def _copy(
    source: Path | BinaryIO, into: BinaryIO, see: Callable[[bytes], object] | None = None, max_bytes: int = 0
) -> int:
    if isinstance(source, Path):
        with source.open("rb") as opened:
            return _copy(opened, into, see, max_bytes)
    size = 0
    with ThreadPoolExecutor(1) as disk, ThreadPoolExecutor(1) as beside:
        begun: Future[None] | None = None
        seen: Future[object] | None = None
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if 0 < max_bytes < size:
                raise TooManyBytes(max_bytes)
            if see is not None:
                # one chunk is seen while it is written and the next one is read
                if seen is not None:
                    seen.result()
                seen = beside.submit(see, chunk)
            into.write(chunk)
            if size % _ONWARD < CHUNK and (begun is None or begun.done()):
                if begun is not None:
                    # an error of the disk is told once, to whoever asks first; it must not be lost here
                    begun.result()
                into.flush()
                begun = disk.submit(os.fdatasync, into.fileno())
        if begun is not None:
            begun.result()
        if seen is not None:
            seen.result()
    return size


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it so that they are there after a power cut, too."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    _folder_to_disk(folder.parent)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _folder_to_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
