"""Fetching deliveries from other systems: an HTTP address or a folder. What is caught enters like any other delivery.

When a source is asked is for `orchestration`; that a source is unreachable is an error of the platform, told with what to
do, and changes nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import httpx

from quality.assign import Assigned, assign
from quality.desk import Desk
from quality.region import Source
from storage.ledger.ledger import Delivery, SourceState
from storage.paths import Slot

#: A file in a folder is taken once it has not changed for so long.
RESTED_SECONDS = 2.0
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_CHUNK = 1 << 20


class SourceFailed(Exception):
    """A source could not be asked, or what it gave cannot become a delivery. Nothing was changed.

    Attributes:
        source: Its id.
        address: Where was asked.
        expected, found, remedy: For a person.
    """

    def __init__(self, source: str, address: str, *, expected: str, found: str, remedy: str) -> None:
        self.source, self.address = source, address
        self.expected, self.found, self.remedy = expected, found, remedy
        super().__init__(f"source {source} at {address}: expected {expected}, found {found}. {remedy}")


def pull(desk: Desk, source: Source) -> list[Delivery]:
    """Ask a source once; returns the deliveries received, none where nothing is new.

    Raises:
        SourceFailed: It cannot be reached, answers with an error, or gives something of no known period.
    """
    return _pull_http(desk, source) if source.kind == "http" else list(_pull_folder(desk, source))


def _pull_http(desk: Desk, source: Source) -> list[Delivery]:
    state = desk.ledger.source_state(source.id)
    asked: dict[str, str] = {}
    if state and state.etag:
        asked["If-None-Match"] = state.etag
    if state and state.last_modified:
        asked["If-Modified-Since"] = state.last_modified
    try:
        with (
            tempfile.TemporaryFile(dir=desk.home.work) as file,
            httpx.stream("GET", source.address, headers=asked, timeout=_TIMEOUT, follow_redirects=True) as answer,
        ):
            if answer.status_code == httpx.codes.NOT_MODIFIED:
                return []
            if answer.status_code != httpx.codes.OK:
                raise _failed(
                    source, source.address, "200 or 304", f"{answer.status_code} {answer.reason_phrase}",
                    "Ask the operator of the source; the next try is at its usual time.",
                )  # fmt: skip
            size = 0
            for chunk in answer.iter_bytes(_CHUNK):
                size += len(chunk)
                if size > desk.settings.max_file_bytes:
                    raise _failed(
                        source, source.address, f"at most {desk.settings.max_file_bytes} bytes", "more",
                        "Ask the operator for smaller files, or raise VERBUND_MAX_FILE_BYTES.",
                    )  # fmt: skip
                file.write(chunk)
            file.seek(0)
            name = _file_name(answer)
            kept = desk.vault.keep(file, desk.settings.max_file_bytes)
            caught = []
            # a server without tags says "changed" every time, the bytes say whether that is so
            if state is None or state.sha256 != kept.sha256:
                file.seek(0)
                slot = _slot(desk, source, name)
                caught.append(
                    desk.receive(
                        file,
                        slot.supplier,
                        slot.dataset,
                        slot.period,
                        file_name=name,
                        who=_who(source),
                        origin=_who(source),
                    )
                )
            tag, modified = answer.headers.get("etag"), answer.headers.get("last-modified")
    except httpx.HTTPError as error:
        raise _failed(
            source, source.address, "an answer", f"{type(error).__name__}: {error}",
            "Check the address in sources.yml and whether the other system runs.",
        ) from error  # fmt: skip
    # kept last: after a crash the same bytes are fetched again and turn out to be a duplicate
    desk.ledger.keep_source_state(SourceState(source.id, tag, modified, datetime.now(UTC), kept.sha256))
    return caught


def _pull_folder(desk: Desk, source: Source) -> Iterator[Delivery]:
    place = source.address.replace("{home}", str(desk.home.root)).replace("{pack}", str(desk.pack.path))
    folder = Path(place)
    if not folder.is_dir():
        raise _failed(source, place, "a folder", "none", "Create it, or correct the address in sources.yml.")
    known = desk.ledger.known(_who(source), source.supplier)
    now = datetime.now(UTC).timestamp()
    for file in sorted(folder.glob(source.pattern)):
        seen = file.stat()
        version = f"{seen.st_mtime_ns}-{seen.st_size}"
        if not file.is_file() or (file.name, version) in known or now - seen.st_mtime < RESTED_SECONDS:
            continue
        slot = _slot(desk, source, file.name)
        delivery = desk.receive(
            file, slot.supplier, slot.dataset, slot.period, file_name=file.name, who=_who(source), origin=_who(source)
        )
        # noted after it was received: a crash in between ends in a duplicate, the other order in a lost file
        arrival = desk.ledger.arrive(_who(source), source.supplier, file.name, version, delivery.size, delivery.sha256)
        if arrival is not None:
            desk.ledger.settle_arrival(arrival.id, delivery_id=delivery.delivery_id)
        yield delivery


def _slot(desk: Desk, source: Source, name: str) -> Slot:
    if source.period is not None:
        return Slot(source.supplier, source.dataset, source.period)
    told = assign(desk.pack, source.supplier, f"{source.dataset}/{name}")
    if not isinstance(told, Assigned):
        raise _failed(
            source, source.address, "a period in the file's name", repr(name),
            "Name a `period` for this source, or agree on file names that hold it.",
        )  # fmt: skip
    return Slot(source.supplier, told.dataset, str(told.period))


def _file_name(answer: httpx.Response) -> str:
    """Name of what was fetched, for people and for telling the period; never used as a path."""
    disposition = answer.headers.get("content-disposition", "")
    for part in disposition.split(";"):
        key, _, value = part.strip().partition("=")
        if key.lower() == "filename" and value.strip('"'):
            return PurePosixPath(value.strip('"').replace("\\", "/")).name
    return PurePosixPath(unquote(urlsplit(str(answer.url)).path)).name or "download"


def _who(source: Source) -> str:
    return f"pull:{source.id}"


def _failed(source: Source, address: str, expected: str, found: str, remedy: str) -> SourceFailed:
    return SourceFailed(source.id, address, expected=expected, found=found, remedy=remedy)
