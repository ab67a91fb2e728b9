"""ZIP archives whose parts are one delivery: registers and platforms send a file a kind, a month or a site.

Parts are read by the layout's own reader, in the order of their names, and become one table. Nothing is unpacked under a
name that the archive gives, and nothing is unpacked beyond what was said.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from storage.readers.base import BROKEN_ARCHIVE, Archive, FormatSpec, Landed, Unreadable
from storage.readers.base import read as read_part
from storage.readers.landing import joined
from storage.readers.sniff import kind_of, wrong_kind

MAX_PARTS = 10_000
MAX_UNPACKED = 16 * 1024**3
#: How many times its packed size an archive may hold, above `RATIO_FROM`. Registers in XML pack 1 : 40.
MAX_RATIO = 200
RATIO_FROM = 64 * 1024**2
MAX_MANIFEST = 4 * 1024**2
CHUNK = 1024 * 1024


def read(source: Path, spec: FormatSpec, to: Path, *, name: str) -> Landed:
    """Land all parts of an archive as one table; see `storage.readers.base.read`.

    `delivered_sheet` is the part's name, followed by that of its sheet where it is a workbook.

    Raises:
        Unreadable: Also `file.too_large`, and `file.part_missing` for what the manifest lists.
    """
    assert spec.archive is not None
    kind = kind_of(source)
    if kind.word not in ("zip", "xlsx"):
        raise wrong_kind(kind, "a ZIP archive")
    with contextlib.ExitStack() as open_:
        with _sound():
            archive = open_.enter_context(zipfile.ZipFile(source))
            parts = _parts(archive, spec.archive)
        folder = open_.enter_context(tempfile.TemporaryDirectory(dir=to.parent, prefix="parts-"))
        return joined(_landed(archive, parts, spec, Path(folder)), to)


@contextlib.contextmanager
def _sound() -> Iterator[None]:
    """What a damaged archive raises is the sender's to mend."""
    try:
        yield
    except BROKEN_ARCHIVE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk, not the file
        raise Unreadable("file.unreadable", expected="a sound ZIP archive", found="a broken one") from error


def measured(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files in an archive, judged by what it says of itself.

    Raises:
        Unreadable: They are too many or too large, have a password, or share a name.
    """
    found = [part for part in archive.infolist() if not part.is_dir()]
    names = [part.filename for part in found]
    if len(found) > MAX_PARTS:
        raise _too_large(f"at most {MAX_PARTS} parts", f"{len(found)}")
    if len({name.lower() for name in names}) < len(names):
        raise Unreadable("file.unreadable", expected="parts with names of their own", found="two of the same name")
    if any(part.flag_bits & 1 for part in found):
        raise Unreadable("file.encrypted", expected="an archive without password", found="encrypted parts")
    unpacked, packed = sum(part.file_size for part in found), max(1, sum(part.compress_size for part in found))
    if unpacked > MAX_UNPACKED:
        raise _too_large(f"at most {MAX_UNPACKED // 1024**2} MiB unpacked", f"{unpacked // 1024**2} MiB")
    if unpacked > RATIO_FROM and unpacked > MAX_RATIO * packed:
        raise _too_large(f"at most {MAX_RATIO} times the packed size", f"{unpacked // packed} times")
    return found


def _parts(archive: zipfile.ZipFile, spec: Archive) -> list[zipfile.ZipInfo]:
    """The parts that are data, in the order of their names."""
    found = measured(archive)
    names = [part.filename for part in found]
    listed = _manifest(archive, spec, names)
    chosen = [part for part in found if re.fullmatch(spec.parts, part.filename) and part.filename != spec.manifest]
    if not chosen:
        shown = ", ".join(names[:5]) or "none at all"
        raise Unreadable("file.part_missing", expected=f"parts called like {spec.parts}", found=shown)
    if listed is not None and (unlisted := [part.filename for part in chosen if part.filename not in listed]):
        raise Unreadable(
            "file.part_missing", expected=f"all parts listed in {spec.manifest}", found=", ".join(unlisted[:5])
        )
    for name, digest in (listed or {}).items():
        if _digest(archive, archive.getinfo(name)) != digest:
            raise Unreadable(
                "file.part_missing", expected=f"{name} as {spec.manifest} lists it", found="another content"
            )
    return sorted(chosen, key=lambda part: part.filename)


def _manifest(archive: zipfile.ZipFile, spec: Archive, names: list[str]) -> Mapping[str, str] | None:
    if spec.manifest is None:
        return None
    if spec.manifest not in names:
        raise Unreadable("file.part_missing", expected=spec.manifest, found=", ".join(names[:5]))
    with archive.open(spec.manifest) as file:
        text = file.read(MAX_MANIFEST + 1)
    if len(text) > MAX_MANIFEST:
        raise _too_large(f"a list of at most {MAX_MANIFEST // 1024**2} MiB", "a longer one")
    listed: dict[str, str] = {}
    for number, line in enumerate(text.decode("utf-8-sig", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        told = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line.rstrip())
        if told is None:
            raise Unreadable(
                "file.unreadable",
                expected=f"lines of a sha256 and a name in {spec.manifest}",
                found="another line",
                line=number,
            )
        listed[told[2]] = told[1].lower()
    if missing := [name for name in listed if name not in names]:
        raise Unreadable("file.part_missing", expected=", ".join(missing[:5]), found=", ".join(names[:5]))
    return listed


def _landed(
    archive: zipfile.ZipFile, parts: list[zipfile.ZipInfo], spec: FormatSpec, folder: Path
) -> list[tuple[str, Landed]]:
    inner = spec.model_copy(update={"archive": None})
    landed = []
    for number, part in enumerate(parts):
        # a name of ours: what the archive calls it may lead anywhere
        file = folder / f"{number}.part"
        with _sound(), archive.open(part) as packed, file.open("wb") as to:
            _copy(packed, to, part)
        try:
            landed.append((part.filename, read_part(file, inner, folder / f"{number}.parquet", name=part.filename)))
        except Unreadable as error:
            raise Unreadable(error.rule, line=error.line, **{**error.facts, "part": part.filename}) from error
        file.unlink()
    return landed


def _copy(packed: IO[bytes], to: IO[bytes], part: zipfile.ZipInfo) -> None:
    left = part.file_size
    while chunk := packed.read(CHUNK):
        left -= len(chunk)
        if left < 0:
            raise _too_large(f"{part.file_size} bytes of {part.filename}, as the archive says", "more of them")
        to.write(chunk)


def _digest(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> str:
    digest = hashlib.sha256()
    with archive.open(part) as packed:
        while chunk := packed.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _too_large(expected: str, found: str) -> Unreadable:
    return Unreadable("file.too_large", expected=expected, found=found)
