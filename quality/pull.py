"""Fetching deliveries from other systems: an HTTP address, a folder, a bucket, an SFTP server. What is caught arrives and
is received like what lies in an inbox: each version of a file once, and a process that dies loses and doubles nothing.

When a source is asked is for `orchestration`, how a kind of place lists and opens files for `storage.objects`. That a
source cannot be asked, or gives what cannot become a delivery, is told with what to do; it harms no other file and no
other source.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import httpx
from pydantic import SecretStr

from quality.assign import Assigned, assign_pulled
from quality.desk import Desk
from quality.inboxes import is_temporary
from quality.region import Source
from storage import places
from storage.crash import reached
from storage.ledger.ledger import Arrival, Delivery, SourceState
from storage.objects.base import CHUNK, NoSuchObject, ObjectInfo, Place, StoreDown, StoreRefused, StoreUnfit, WrongHost
from storage.places import UnusableCredential
from storage.settings import credential
from storage.vault import Kept

#: A file is taken once it has not changed for so long. Uploads over a network may stand still for a while, and the clock
#: of another system is not ours.
RESTED_SECONDS = {"folder": 2.0, "sftp": 30.0}
#: A file that claims to change later than this would never have rested.
_LATER = timedelta(days=1)
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
#: So many files that come to nothing are named.
_NAMED = 20
_NEXT_TRY = "The next try is at its usual time."


@dataclass(frozen=True)
class Trouble:
    """What is wrong at a source, for a person."""

    expected: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"expected {self.expected}, found {self.found}. {self.remedy}"


class SourceFailed(Exception):
    """A source could not be asked, or some of what it gave cannot become a delivery.

    Attributes:
        source: Its id.
        address: Where was asked.
        troubles: One for the whole source, or one for every kind of fault, naming the files.
        caught: What was received all the same.
    """

    def __init__(self, source: str, address: str, troubles: Sequence[Trouble], caught: Sequence[Delivery] = ()) -> None:
        self.source, self.address = source, address
        self.troubles, self.caught = tuple(troubles), tuple(caught)
        super().__init__(f"source {source} at {address}: {' Also: '.join(map(str, self.troubles))}")


class _Hindered(Exception):
    """One file comes to nothing; the others go on. `trouble` names it."""

    def __init__(self, expected: str, found: str, remedy: str) -> None:
        self.trouble = Trouble(expected, found, remedy)
        super().__init__(str(self.trouble))


def pull(desk: Desk, source: Source) -> list[Delivery]:
    """Ask a source once; returns the deliveries received, none where nothing is new.

    Raises:
        SourceFailed: It cannot be reached, answers with an error, or gives something of no known period, too large, or
            that we may not read. Whatever else it gave was received (`caught`).
    """
    catch = _Catch(desk, source)
    try:
        catch.finish()
        if source.kind == "http":
            _pull_http(catch)
        else:
            _pull_files(catch)
    except SourceFailed as error:
        raise SourceFailed(source.id, error.address, error.troubles, catch.deliveries) from error.__cause__
    finally:
        desk.note_receipts()
    return catch.deliveries


class _Catch:
    """What a source gave before and gives now."""

    def __init__(self, desk: Desk, source: Source) -> None:
        self.desk, self.source = desk, source
        self.deliveries: list[Delivery] = []
        self._arrived: dict[str, list[Arrival]] = {}
        for arrival in desk.ledger.arrived(source.origin):
            self._arrived.setdefault(arrival.key, []).append(arrival)

    def finish(self) -> None:
        """Receive what arrived when somebody died."""
        for arrived in self._arrived.values():
            for at, arrival in enumerate(arrived):
                if arrival.delivery_id is None and arrival.problem is None:
                    told = assign_pulled(self.desk.pack, self.source, arrival.key)
                    if isinstance(told, Assigned):
                        delivery = self.desk.receive_arrival(arrival, told)
                        arrived[at] = replace(arrival, delivery_id=delivery.delivery_id)
                        self.deliveries.append(delivery)

    def knows(self, key: str, version: str) -> bool:
        """Whether this version was the last that was taken."""
        arrived = self._arrived.get(key)
        return arrived is not None and arrived[-1].version.partition("#")[0] == version

    def slot(self, key: str) -> Assigned:
        told = assign_pulled(self.desk.pack, self.source, key)
        if isinstance(told, Assigned):
            return told
        raise _Hindered(
            "a period in the file's name", repr(key),
            "Name a `period` for this source, agree on file names that hold it, or let `pattern` leave such files out.",
        )  # fmt: skip

    def keep(self, file: IO[bytes]) -> Kept:
        """The fetched bytes into the vault."""
        file.seek(0)
        kept = self.desk.vault.keep(cast(BinaryIO, file), self.desk.settings.max_file_bytes)
        reached("vault.kept")
        return kept

    def take(self, slot: Assigned, key: str, version: str, kept: Kept, began_ns: int) -> None:
        """Make bytes in the vault an arrival, and a delivery unless they are those that came last under this key."""
        arrived = self._arrived.get(key, [])
        if version in {arrival.version for arrival in arrived}:
            # put back to what it was before
            version = f"{version}#{len(arrived)}"
        last = arrived[-1] if arrived else None
        if last and last.sha256 == kept.sha256 and last.delivery_id:
            ledger, source = self.desk.ledger, self.source
            if same := ledger.arrive(source.origin, source.supplier, key, version, kept.size, kept.sha256):
                ledger.settle_arrival(same.id, delivery_id=last.delivery_id)
        elif delivery := self.desk.take_pulled(self.source, slot, key, version, kept, began_ns=began_ns):
            self.deliveries.append(delivery)

    def copy(self, chunks: Iterator[bytes], into: IO[bytes], name: str) -> int:
        """The bytes of a file, as many as are allowed; returns how many."""
        size, limit = 0, self.desk.settings.max_file_bytes
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise _too_large(name, limit)
            into.write(chunk)
        return size

    def failed(self, address: str, *troubles: Trouble) -> SourceFailed:
        return SourceFailed(self.source.id, address, troubles)


def _too_large(name: str, limit: int) -> _Hindered:
    remedy = "Ask the operator of the source for smaller files, or raise VERBUND_MAX_FILE_BYTES."
    return _Hindered(f"at most {limit} bytes", f"more in {name!r}", remedy)


# --- files in a folder, a bucket, on a server ---


def _pull_files(catch: _Catch) -> None:
    address, pattern = _address(catch), catch.source.pattern
    hindered: list[Trouble] = []
    with ExitStack() as stack:
        with _asking(catch, address):
            place = stack.enter_context(_place(catch))
            listed = sorted(place.matching(pattern), key=lambda info: info.key)
        for info in listed:
            if is_temporary(info.key) or catch.knows(info.key, info.version):
                continue
            try:
                _take_file(catch, place, info, address)
            except _Hindered as error:
                hindered.append(error.trouble)
    if hindered:
        raise catch.failed(address, *_gathered(hindered))


def _take_file(catch: _Catch, place: Place, info: ObjectInfo, address: str) -> None:
    if not place.puts_are_whole and not _rested(info, RESTED_SECONDS[catch.source.kind]):
        return
    slot = catch.slot(info.key)
    if info.size > catch.desk.settings.max_file_bytes:
        raise _too_large(info.key, catch.desk.settings.max_file_bytes)
    began = time.time_ns()
    with tempfile.TemporaryFile(dir=catch.desk.home.work) as file:
        try:
            size = catch.copy(_chunks(catch, place, info, address), file, info.key)
            with _asking(catch, address, info.key):
                whole = place.puts_are_whole or place.info(info.key).version == info.version
        except NoSuchObject:
            # gone or changed since the list; the next pull meets it as it is then
            return
        if whole and size != info.size:
            raise _Hindered(
                "as many bytes as the source says", f"{size} of {info.size} in {info.key!r}",
                f"Ask the operator of the source whether its server is sound. {_NEXT_TRY}",
            )  # fmt: skip
        if whole:
            catch.take(slot, info.key, info.version, catch.keep(file), began)


def _chunks(catch: _Catch, place: Place, info: ObjectInfo, address: str) -> Iterator[bytes]:
    with _asking(catch, address, info.key):
        remote = place.open(info.key, info.version)
    with closing(remote):
        while True:
            # our own disk and vault are used in between, and an error of theirs is not the source's
            with _asking(catch, address, info.key):
                chunk = remote.read(CHUNK)
            if not chunk:
                return
            yield chunk


def _rested(info: ObjectInfo, seconds: float) -> bool:
    since = datetime.now(UTC) - info.modified_at
    if -since > _LATER:
        raise _Hindered(
            "files that were changed in the past", f"{info.key!r} of {info.modified_at:%Y-%m-%d}",
            "Ask the operator of the source to set the file's time, or its clock.",
        )  # fmt: skip
    return since.total_seconds() >= seconds


def _place(catch: _Catch) -> AbstractContextManager[Place]:
    """Where the source's files are, open for a `with` block."""
    source = catch.source
    if source.kind == "s3":
        assert source.endpoint is not None
        ca_file = _path(catch, source.ca_file) if source.ca_file else None
        if ca_file and not ca_file.is_file():
            raise StoreUnfit(expected=f"certificates in {ca_file}", found="none")
        address = places.bucket_address(source.address)
        secret = _secret(catch)
        return nullcontext(places.bucket(address, source.endpoint, secret, region=source.s3_region, ca_file=ca_file))
    if source.kind == "sftp":
        assert source.host_key is not None
        return places.sftp(places.sftp_address(source.address), source.host_key, _secret(catch))
    return nullcontext(places.folder(_path(catch, source.address)))


def _secret(catch: _Catch) -> SecretStr:
    name = catch.source.credential
    assert name is not None
    if (secret := credential(name)) is None:
        raise UnusableCredential(f"the credential {name!r}", "none")
    return secret


def _path(catch: _Catch, text: str) -> Path:
    return Path(text.replace("{home}", str(catch.desk.home.root)).replace("{pack}", str(catch.desk.pack.path)))


def _address(catch: _Catch) -> str:
    """Where files are, as people are told it."""
    if catch.source.kind == "folder":
        return str(_path(catch, catch.source.address))
    return f"{catch.source.address} ({catch.source.endpoint})" if catch.source.endpoint else catch.source.address


@contextmanager
def _asking(catch: _Catch, address: str, key: str | None = None) -> Iterator[None]:
    """What the place answers in words for people. With a key, what we may not read hinders that file alone."""
    name = catch.source.credential
    try:
        yield
    except UnusableCredential as error:
        variable = f"VERBUND_CREDENTIAL_{(name or '').replace('-', '_').upper()}"
        remedy = f"Put it into a file {name} in the folder of VERBUND_SECRETS_DIR, or into {variable}."
        raise catch.failed(address, Trouble(error.expected, error.found, remedy)) from None
    except WrongHost as error:
        remedy = (
            "Nothing was sent. Ask the operator of the source, not over this connection, whether the key was changed; "
            "only then put the new one into sources.yml."
        )
        raise catch.failed(address, Trouble(error.expected, error.found, remedy)) from error
    except StoreUnfit as error:
        remedy = "Create it, or correct sources.yml."
        raise catch.failed(address, Trouble(error.expected, error.found, remedy)) from error
    except PermissionError as error:
        expected, found = "to be allowed to read it", error.strerror or type(error).__name__
        if isinstance(error, StoreRefused):
            expected, found = f"to be allowed {error.what}", error.code
        remedy = "Ask the operator of the source for the right to read it."
        if name is not None:
            remedy = f"Check the credential {name!r}, and ask the operator of the source what it may read."
        if key is not None:
            raise _Hindered("to be allowed to read every file", f"{found} for {key!r}", remedy) from error
        raise catch.failed(address, Trouble(expected, found, remedy)) from error
    except OSError as error:
        found = error.found if isinstance(error, StoreDown) else error.strerror or type(error).__name__
        remedy = f"See that it runs and can be reached from here. {_NEXT_TRY}"
        raise catch.failed(address, Trouble("an answer", found, remedy)) from error


def _gathered(troubles: Sequence[Trouble]) -> list[Trouble]:
    """Of each kind one, that names all files."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for trouble in troubles:
        kinds.setdefault((trouble.expected, trouble.remedy), []).append(trouble.found)
    return [
        Trouble(expected, ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if found[_NAMED:] else ""), remedy)
        for (expected, remedy), found in kinds.items()
    ]  # fmt: skip


# --- one file at an address ---


def _pull_http(catch: _Catch) -> None:
    desk, source = catch.desk, catch.source
    state = desk.ledger.source_state(source.id)
    asked: dict[str, str] = {}
    if state and state.etag:
        asked["If-None-Match"] = state.etag
    if state and state.last_modified:
        asked["If-Modified-Since"] = state.last_modified
    began = time.time_ns()
    with tempfile.TemporaryFile(dir=desk.home.work) as file:
        try:
            with httpx.stream("GET", source.address, headers=asked, timeout=_TIMEOUT, follow_redirects=True) as answer:
                if answer.status_code == httpx.codes.NOT_MODIFIED:
                    return
                if answer.status_code != httpx.codes.OK:
                    found = f"{answer.status_code} {answer.reason_phrase}"
                    remedy = f"Ask the operator of the source. {_NEXT_TRY}"
                    raise catch.failed(source.address, Trouble("200 or 304", found, remedy))
                name = _file_name(answer)
                slot = catch.slot(name)
                catch.copy(answer.iter_bytes(CHUNK), file, name)
        except httpx.HTTPError as error:
            found = f"{type(error).__name__}: {error}"
            remedy = "Check the address in sources.yml and whether the other system runs."
            raise catch.failed(source.address, Trouble("an answer", found, remedy)) from error
        except _Hindered as error:
            raise catch.failed(source.address, error.trouble) from None
        kept = catch.keep(file)
    # a server without tags says "changed" every time, the bytes say whether that is so
    if state is None or state.sha256 != kept.sha256:
        catch.take(slot, name, kept.sha256, kept, began)
    tag, modified = answer.headers.get("etag"), answer.headers.get("last-modified")
    # kept last: after a crash the same bytes are fetched again, and are known
    desk.ledger.keep_source_state(SourceState(source.id, tag, modified, datetime.now(UTC), kept.sha256))


def _file_name(answer: httpx.Response) -> str:
    """Name of what was fetched, for people and for telling the period; never used as a path."""
    disposition = answer.headers.get("content-disposition", "")
    for part in disposition.split(";"):
        key, _, value = part.strip().partition("=")
        if key.lower() == "filename" and value.strip('"'):
            return PurePosixPath(value.strip('"').replace("\\", "/")).name
    return PurePosixPath(unquote(urlsplit(str(answer.url)).path)).name or "download"
