"""Reading releases: which there are, queries on one, and how two differ. Nothing here changes what others see.

A release never changes and the pointer to the current one is replaced in one step, so readers need no lock and meet no
half state. A release is there once its manifest is: in the folder of releases, or in the object store of the server
profile, from which a machine that did not make it takes a copy. How a release is made is in `quality.release`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from storage import stores
from storage.objects.base import CHUNK, NoSuchObject
from storage.paths import release_key
from storage.settings import Settings

DATABASE = "verbund.duckdb"
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
#: Object that names the current release.
POINTER = "current.json"
#: Name of the database a release is opened under.
ALIAS = "verbund"
#: Table inside the DuckDB file that says which release it is.
ABOUT = "release"
INDICATORS = "indicators"
#: Where a row came from: two rows that differ in nothing else say the same.
WHERE_FROM = frozenset({"delivery_id", "attempt", "delivered_line", "delivered_sheet"})
_READABLE = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
_MEMORY_MB = 1024


class NoRelease(LookupError):
    """There is no release, or none of this number."""


class BadQuery(ValueError):
    """A query that is not run, or that failed; the text is for the person who wrote it."""


@dataclass(frozen=True)
class Release:
    """One release.

    Attributes:
        number: 1, 2, 3, ….
        released_at: When it was made (UTC).
        snapshot: Snapshot of the catalog `foundation` it was made from.
        accepted_snapshot: Snapshot of the catalog `accepted` that the foundation was built from.
        note: What the person who released wanted to say.
        tables: Table → number of rows.
        path: Its folder; in the server profile it may wait in the object store until somebody asks for it.
        is_new: False where nothing was new, and the release that already says so was given back.
    """

    number: int
    released_at: datetime
    snapshot: int
    accepted_snapshot: int
    note: str
    tables: Mapping[str, int]
    path: Path
    is_new: bool = False

    @property
    def manifest(self) -> dict[str, Any]:
        """The whole manifest: deliveries, columns, sums, licences."""
        return read_manifest(self.path)

    def document(self) -> dict[str, Any]:
        """What `verbund release --json` prints."""
        return {
            "release": self.number,
            "snapshot": self.snapshot,
            "tables": dict(self.tables),
            "path": str(self.path),
            "accepted_snapshot": self.accepted_snapshot,
            "released_at": self.released_at.isoformat(),
            "note": self.note,
            "is_new": self.is_new,
        }


@dataclass(frozen=True)
class TableDifference:
    """How one table differs. Rows are compared by what they say, not by the delivery they came with (`WHERE_FROM`).

    `changed` counts rows of the same key that say something else; it is None where no key is known, and such a row is
    then one removed and one added. Columns that only one of the two has do not enter the comparison of rows.
    """

    table: str
    rows_before: int
    rows_now: int
    added: int
    removed: int
    changed: int | None
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        return not (self.added or self.removed or self.changed or self.columns_added or self.columns_removed)


@dataclass(frozen=True)
class IndicatorDifference:
    """One indicator value that is not what it was. A value of None has its reason beside it."""

    indicator: str
    area: str
    period: str
    value_before: Decimal | None
    value_now: Decimal | None
    missing_before: str | None
    missing_now: str | None


@dataclass(frozen=True)
class Differences:
    """What differs between two releases; what is equal is left out."""

    before: int
    now: int
    tables: tuple[TableDifference, ...]
    indicators: tuple[IndicatorDifference, ...]


@dataclass(frozen=True)
class Damage:
    """One file of a release that is not as it was written; `found` is None where it is missing."""

    file: str
    expected: str
    found: str | None


class DamagedRelease(OSError):
    """Files of a release came from the object store otherwise than they were put there. No copy was kept."""

    def __init__(self, number: int, damages: Sequence[Damage]) -> None:
        self.number, self.damages = number, damages
        files = ", ".join(damage.file for damage in damages)
        super().__init__(
            f"release {number} in the object store is not as it was written: {files}. "
            "Restore these objects from their earlier versions or a backup, or read another release."
        )


# --- which there are ---


def current(settings: Settings) -> Release | None:
    """The release readers are given, None before the first.

    Raises:
        storage.objects.base.StoreDown: The object store does not answer.
    """
    number = current_number(settings)
    return None if number is None else from_manifest(folder_of(settings, number))


def current_number(settings: Settings) -> int | None:
    """Number of the release readers are given, None before the first."""
    try:
        with stores.releases(settings).open(POINTER) as file:
            return int(json.load(file)["release"])
    except NoSuchObject:
        return None


def numbers(settings: Settings) -> list[int]:
    """Number of every release, rising."""
    found = (re.fullmatch(rf"([0-9]{{4,}})/{MANIFEST}", info.key) for info in stores.releases(settings).list())
    return sorted(int(match[1]) for match in found if match)


def releases(settings: Settings) -> list[Release]:
    """Every release, oldest first. What is not on this machine is not fetched but for its manifest."""
    store, found = stores.releases(settings), []
    for number in numbers(settings):
        with store.open(release_key(number, MANIFEST)) as file:
            found.append(_told(json.load(file), settings.paths.release(number)))
    return found


def numbered(settings: Settings, number: int | None = None) -> Release:
    """The release of this number, without one the current; its files are on this machine then.

    Raises:
        NoRelease: There is none.
        DamagedRelease: What the object store holds under this number is not what was put there.
    """
    if number is None:
        found = current(settings)
        if found is None:
            raise NoRelease("there is no release yet; `verbund release` makes the first")
        return found
    known = numbers(settings)
    if number not in known:
        there_are = ", ".join(map(str, known)) or "none yet"
        raise NoRelease(f"there is no release {number}; there are: {there_are}")
    return from_manifest(folder_of(settings, number))


def folder_of(settings: Settings, number: int) -> Path:
    """Folder of a release on this machine, fetched from the object store when it is not there.

    Raises:
        NoRelease: There is none of this number.
        DamagedRelease: As with `numbered`.
    """
    folder = settings.paths.release(number)
    if folder.exists() and not (settings.is_server and _is_another(settings, number, folder)):
        return folder
    # aside, so that it appears whole; two who fetch at once do not meet
    aside = settings.paths.create().work / f"release-{number:04d}-{uuid.uuid4().hex}"
    try:
        for file in _sums(_fetch(settings, number, SUMS, aside)):
            # what is missing is told with what is damaged
            with contextlib.suppress(NoSuchObject):
                _fetch(settings, number, file, aside)
        if damages := damages_in(aside):
            raise DamagedRelease(number, damages)
        settings.paths.releases.mkdir(parents=True, exist_ok=True)
        discard(settings, number)
        try:
            aside.rename(folder)
        except OSError:
            # another process had it first
            if not folder.exists():
                raise
    except NoSuchObject as error:
        raise NoRelease(f"there is no release {number}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def discard(settings: Settings, number: int) -> None:
    """Take this machine's copy of a release away, if the object store has another one or none of this number."""
    folder = settings.paths.release(number)
    if settings.is_server and folder.exists() and _is_another(settings, number, folder):
        aside = settings.paths.create().work / f"discarded-{number:04d}-{uuid.uuid4().hex}"
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _is_another(settings: Settings, number: int, folder: Path) -> bool:
    """Whether the object store has other bytes under this number; so it is after a restore to an earlier day."""
    try:
        with stores.releases(settings).open(release_key(number, SUMS)) as file:
            return file.read() != (folder / SUMS).read_bytes()
    except (NoSuchObject, FileNotFoundError):
        return True


def _fetch(settings: Settings, number: int, file: str, into: Path) -> Path:
    target = into / file
    # refuses a name that leads elsewhere
    with stores.releases(settings).open(release_key(number, file)) as source:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as copy:
            shutil.copyfileobj(source, copy, CHUNK)
    target.chmod(0o444)
    return target


def _sums(file: Path) -> dict[str, str]:
    """File → sum, as they are written in a release."""
    lines = (line.partition("  ") for line in file.read_text(encoding="utf-8").splitlines())
    return {file: expected for expected, _, file in lines}


def damages_in(folder: Path) -> list[Damage]:
    """Every file of the release in `folder` that is not as its sum says."""
    damages = []
    for file, expected in _sums(folder / SUMS).items():
        found = sha256_of(folder / file) if (folder / file).is_file() else None
        if found != expected:
            damages.append(Damage(file, expected, found))
    return damages


def sha256_of(file: Path) -> str:
    """Sum of a file's bytes, in lower-case hex."""
    with file.open("rb") as bytes_:
        return hashlib.file_digest(bytes_, "sha256").hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the release in `folder`."""
    told: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return told


def from_manifest(folder: Path) -> Release:
    """The release in `folder`, as its manifest tells it."""
    return _told(read_manifest(folder), folder)


def _told(told: Mapping[str, Any], folder: Path) -> Release:
    return Release(
        number=told["number"],
        released_at=datetime.fromisoformat(told["released_at"]),
        snapshot=told["snapshots"]["foundation"],
        accepted_snapshot=told["snapshots"]["accepted"],
        note=told["note"],
        tables={name: table["rows"] for name, table in told["tables"].items()},
        path=folder,
    )


# --- queries ---


def open_release(settings: Settings, number: int | None = None) -> duckdb.DuckDBPyConnection:
    """A connection whose default database is the release, read-only and cut off from files and network.

    Its configuration is locked: no file, address or extension can be reached from SQL. Instants are shown in UTC.

    Raises:
        NoRelease: There is none of this number, or none at all.
    """
    return _open(settings, {ALIAS: numbered(settings, number)}, use=ALIAS)


def query(settings: Settings, sql: str, number: int | None = None) -> dict[str, Any]:
    """Run one reading statement on a release.

    Returns:
        `{"release": number, "columns": [...], "rows": [[...]]}`, ready for JSON: see `json_value`.

    Raises:
        NoRelease: There is none of this number, or none at all.
        BadQuery: It is not one statement, wants to change something, or DuckDB cannot run it.
    """
    chosen = numbered(settings, number)
    with contextlib.closing(_open(settings, {ALIAS: chosen}, use=ALIAS)) as connection:
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1:
                raise BadQuery(f"expected one statement, found {len(statements)}; leave out what is after the `;`")
            if statements[0].type not in _READABLE:
                found = str(statements[0].type).rpartition(".")[2]
                raise BadQuery(f"expected a statement that reads (SELECT, FROM, WITH, DESCRIBE), found {found}")
            result = connection.execute(statements[0])
            columns = [column[0] for column in result.description or ()]
            rows = [[json_value(value) for value in row] for row in result.fetchall()]
        except duckdb.Error as error:
            raise BadQuery(_explained(error, chosen)) from error
    return {"release": chosen.number, "columns": columns, "rows": rows}


def json_value(value: Any) -> Any:
    """A value of a result as JSON has it.

    Numbers stay numbers; a decimal that a floating-point number does not hold to its last digit becomes text, and so do
    `inf` and `nan`. Days, times and instants are ISO 8601, bytes are hex, everything else is text.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Decimal():
            return float(value) if value.is_finite() and Decimal(repr(float(value))) == value else str(value)
        case date() | time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case dict():
            return {str(key): json_value(inner) for key, inner in value.items()}
        case list() | tuple():
            return [json_value(inner) for inner in value]
        case _:
            return str(value)


def _open(settings: Settings, opened: Mapping[str, Release], *, use: str | None = None) -> duckdb.DuckDBPyConnection:
    work = settings.paths.work / "duckdb"
    work.mkdir(parents=True, exist_ok=True)
    # in memory with the file attached: opened directly, the file could not be open with other settings in this process
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "memory_limit": f"{_MEMORY_MB}MB",
            "temp_directory": str(work),
        },
    )
    try:
        for alias, found in opened.items():
            connection.execute(f"attach {text(str(found.path / DATABASE))} as {alias} (read_only)")
        connection.execute("set timezone = 'UTC'")
        if use:
            connection.execute(f"use {use}")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
    except duckdb.Error:
        connection.close()
        raise
    return connection


def _explained(error: duckdb.Error, chosen: Release) -> str:
    message = str(error)
    if isinstance(error, duckdb.CatalogException) and message.startswith("Catalog Error: Table"):
        # DuckDB proposes its own system tables here
        told = message.partition("\n")[0].partition(" Did you mean")[0]
        return f"{told} Release {chosen.number} has: {', '.join([*chosen.tables, ABOUT])}"
    if "disabled by configuration" in message or "disabled through configuration" in message:
        return f"a query reads the release and nothing else: {message.partition(chr(10))[0]}"
    return message


# --- differences ---


def differences(settings: Settings, before: int, now: int) -> Differences:
    """What is different in release `now`, table by table and indicator by indicator.

    Raises:
        NoRelease: One of the two does not exist.
    """
    old, new = numbered(settings, before), numbered(settings, now)
    keys = [release.manifest["tables"] for release in (old, new)]
    with contextlib.closing(_open(settings, {"old": old, "new": new})) as connection:
        tables = [
            _table_difference(connection, name, tuple(key[name]["key"] if name in key else () for key in keys))
            for name in sorted({*old.tables, *new.tables})
        ]
        indicators = _indicator_differences(connection) if INDICATORS in old.tables and INDICATORS in new.tables else ()
    return Differences(before, now, tuple(t for t in tables if not t.is_equal), tuple(indicators))


def _table_difference(
    connection: duckdb.DuckDBPyConnection, table: str, keys: tuple[Sequence[str], ...]
) -> TableDifference:
    was, is_now = (_columns_of(connection, side, table) for side in ("old", "new"))
    if not was or not is_now:
        rows_before = _count(connection, "old", table) if was else 0
        rows_now = _count(connection, "new", table) if is_now else 0
        return TableDifference(table, rows_before, rows_now, rows_now, rows_before, None, tuple(is_now), tuple(was))
    common = [column for column in is_now if column in was]
    # a type that changed is no difference; what is written is
    spelled = {c: name(c) if was[c] == is_now[c] else f"cast({name(c)} as varchar)" for c in common}
    key = [column for column in keys[0] if column in common]
    said = [column for column in common if column not in WHERE_FROM and column not in key]
    rows_before, rows_now = _count(connection, "old", table), _count(connection, "new", table)
    changed: int | None = None
    if key and list(keys[0]) == list(keys[1]) == key and _is_unique(connection, table, key):
        listed = ", ".join(f"{spelled[c]} as {name(c)}" for c in [*key, *said])
        joined = " and ".join(f"o.{name(c)} is not distinct from n.{name(c)}" for c in key)
        differ = " or ".join(f"o.{name(c)} is distinct from n.{name(c)}" for c in said) or "false"
        both, changed = connection.execute(
            f"select count(*), count(*) filter (where {differ}) from (select {listed} from old.main.{name(table)}) o "
            f"join (select {listed} from new.main.{name(table)}) n on {joined}"
        ).fetchall()[0]
        added, removed = rows_now - both, rows_before - both
    else:
        listed = ", ".join(spelled[c] for c in common if c not in WHERE_FROM)
        added, removed = (
            connection.execute(
                f"select count(*) from (select {listed} from {left}.main.{name(table)} "
                f"except all select {listed} from {right}.main.{name(table)})"
            ).fetchall()[0][0]
            for left, right in (("new", "old"), ("old", "new"))
        )
    gone, fresh = (tuple(c for c in one if c not in other) for one, other in ((was, is_now), (is_now, was)))
    return TableDifference(table, rows_before, rows_now, added, removed, changed, fresh, gone)


def _indicator_differences(connection: duckdb.DuckDBPyConnection) -> list[IndicatorDifference]:
    rows = connection.execute(
        "select indicator, area, period, o.value, n.value, o.missing_reason, n.missing_reason "
        f"from old.main.{INDICATORS} o full join new.main.{INDICATORS} n using (indicator, area, period) "
        "where o.value is distinct from n.value "
        "or cast(o.missing_reason as varchar) is distinct from cast(n.missing_reason as varchar) "
        "order by indicator, area, period"
    ).fetchall()
    return [IndicatorDifference(*row) for row in rows]


def _columns_of(connection: duckdb.DuckDBPyConnection, side: str, table: str) -> dict[str, str]:
    rows = connection.execute(
        f"select column_name, data_type from duckdb_columns() where database_name = {text(side)} "
        f"and schema_name = 'main' and table_name = {text(table)} order by column_index"
    ).fetchall()
    return dict(rows)


def _is_unique(connection: duckdb.DuckDBPyConnection, table: str, key: Sequence[str]) -> bool:
    listed = ", ".join(name(c) for c in key)
    doubles = " union all ".join(
        f"select 1 from {side}.main.{name(table)} group by {listed} having count(*) > 1" for side in ("old", "new")
    )
    return connection.execute(f"{doubles} limit 1").fetchone() is None


def _count(connection: duckdb.DuckDBPyConnection, side: str, table: str) -> int:
    return int(connection.execute(f"select count(*) from {side}.main.{name(table)}").fetchall()[0][0])


def name(identifier: str) -> str:
    """A name as SQL writes it."""
    return '"' + identifier.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"
