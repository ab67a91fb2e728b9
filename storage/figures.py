"""What ledger, lake and disk say of a running installation in numbers, cheap enough to be asked every few seconds.

Only reads. What the numbers are called outside is in `quality.metrics`.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import sqlalchemy as sa

from storage import clock, lake
from storage.lake import CatalogName
from storage.ledger import opening
from storage.ledger import tables as t
from storage.ledger.tables import UtcTime
from storage.settings import Settings

#: An event may be committed after one with a higher number; after so long none does any more.
_SETTLED = timedelta(minutes=5)
CATALOGS: tuple[CatalogName, ...] = ("accepted", "foundation")


@dataclass
class Tally:
    """Counts over all events there ever were. Times to verdict are in seconds, from arrival to the first verdict.

    Attributes:
        received: Deliveries by supplier and dataset.
        verdicts: First verdicts by dataset and state.
        rows: Rows by dataset and row count (`accepted`, `quarantined`, …), of first verdicts.
        seconds: Times to verdict, by dataset.
        newest: Arrival of the newest delivery that holds or held its slot, by dataset, and its id.
    """

    received: Counter[tuple[str, str]] = field(default_factory=Counter)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: dict[str, Histogram] = field(default_factory=dict)
    newest: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    _open: dict[str, datetime] = field(default_factory=dict)

    def add(self, event: sa.Row[Any]) -> None:
        """Count one event; events come in the order of their numbers."""
        if event.kind == "received":
            self.received[event.supplier, event.dataset] += 1
            self._open[event.delivery_id] = event.at
        elif event.kind in ("duplicate", "withdrawn"):
            self._open.pop(event.delivery_id, None)
        elif event.kind == "judged" and (received := self._open.pop(event.delivery_id, None)) is not None:
            state = event.facts["state"]
            self.verdicts[event.dataset, state] += 1
            for name, number in event.facts["rows"].items():
                if name != "delivered":
                    self.rows[event.dataset, name] += number
            self.seconds.setdefault(event.dataset, Histogram()).add((event.at - received).total_seconds())
            if state != "rejected" and (event.dataset not in self.newest or self.newest[event.dataset][0] < received):
                self.newest[event.dataset] = (received, event.delivery_id)


@dataclass
class Histogram:
    """How many values were at most each bound, how many there were, and their sum."""

    BOUNDS: ClassVar = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
    counts: list[int] = field(default_factory=lambda: [0] * len(Histogram.BOUNDS))
    number: int = 0
    total: float = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.number += 1
        self.total += value
        for place, bound in enumerate(self.BOUNDS):
            self.counts[place] += value <= bound


@dataclass(frozen=True)
class Waiting:
    """What waits: how many, and since when the oldest does."""

    number: int
    oldest: datetime | None


@dataclass(frozen=True)
class LakeFigures:
    """One catalog: snapshots kept, and the data files of the newest one."""

    snapshots: int
    files: int
    bytes: int


@dataclass(frozen=True)
class MailFigures:
    """Notices that wait, those of them that were tried in vain, and those given up until somebody asks for them."""

    waiting: int
    stuck: int
    given_up: int


class Figures:
    """The numbers of one installation; remembers what it has counted. One thread.

    Args:
        settings: Where state lies.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = opening.open_engine(settings.ledger_url)
        self._settled, self._until = Tally(), 0

    def tally(self) -> Tally:
        """Counts as of now."""
        e = t.events.c
        limit = clock.now() - _SETTLED
        columns = (e.id, e.at, e.kind, e.supplier, e.dataset, e.delivery_id, e.facts)
        wanted = sa.select(*columns).where(e.id > self._until, e.delivery_id.is_not(None)).order_by(e.id)
        told: Tally | None = None
        with self._engine.connect() as c:
            for event in c.execution_options(yield_per=5000).execute(wanted):
                if told is None and event.at >= limit:
                    told = copy.deepcopy(self._settled)
                if told is not None:
                    told.add(event)
                    continue
                self._settled.add(event)
                self._until = event.id
        return told or self._settled

    def queue(self) -> Waiting:
        """Deliveries without a verdict."""
        return self._waiting(sa.select(sa.func.count(), sa.func.min(t.queue.c.received_at, type_=UtcTime())))

    def queued_by_supplier(self) -> dict[str, int]:
        """Deliveries without a verdict, by supplier: who floods?"""
        with self._engine.connect() as c:
            rows = c.execute(sa.select(t.queue.c.supplier, sa.func.count()).group_by(t.queue.c.supplier))
            return {row[0]: row[1] for row in rows}

    def begun_most(self) -> int:
        """How often the delivery that was begun most has been begun: more than twice means it kills its judge."""
        with self._engine.connect() as c:
            return c.execute(sa.select(sa.func.max(t.queue.c.begins))).scalar() or 0

    def outbox(self) -> Waiting:
        """What Dagster has not been told yet."""
        o = t.outbox.c
        columns = (sa.func.count(), sa.func.min(o.created_at, type_=UtcTime()))
        return self._waiting(sa.select(*columns).where(o.reported_at.is_(None)))

    def mails(self) -> MailFigures:
        """Notices that did not go out by mail yet."""
        m = t.mails.c
        tried = sa.func.count(sa.case((sa.and_(m.tries > 0, m.failed_at.is_(None)), 1)))
        chosen = sa.select(sa.func.count(), tried, sa.func.count(m.failed_at)).where(m.sent_at.is_(None))
        with self._engine.connect() as c:
            every, stuck, given_up = c.execute(chosen).one()._tuple()
        return MailFigures(every - given_up, stuck, given_up)

    def told(self) -> Waiting:
        """Events of the object store that nobody has worked off; nothing where there is no such store."""
        if not self._settings.is_server:
            return Waiting(0, None)
        return self._waiting(sa.text("select count(*), min(seen_at) from intake.arrival where done_at is null"))

    def bad_events(self) -> int:
        """Events of the object store that could not be read, since the beginning."""
        if not self._settings.is_server:
            return 0
        with self._engine.connect() as c:
            return c.execute(sa.text("select count(*) from intake.bad_event")).scalar() or 0

    def database_bytes(self) -> int:
        """Size of the ledger's database; everything of the server profile that is in PostgreSQL."""
        if not self._settings.is_server:
            file = self._settings.paths.ledger
            return file.stat().st_size if file.exists() else 0
        with self._engine.connect() as c:
            return c.execute(sa.text("select pg_database_size(current_database())")).scalar() or 0

    def disk(self) -> tuple[int, int]:
        """Bytes free and in all, where the home lies."""
        usage = shutil.disk_usage(self._settings.paths.root)
        return usage.free, usage.total

    def lake(self, catalog: CatalogName) -> LakeFigures | None:
        """One catalog of the lake, None where it was never made."""
        with self._catalog(catalog) as (c, schema):
            if not sa.inspect(c).has_table("ducklake_snapshot", schema=schema):
                return None
            dot = f"{schema}." if schema else ""
            snapshots = c.execute(sa.text(f"select count(*) from {dot}ducklake_snapshot")).scalar()
            live = f"from {dot}ducklake_data_file where end_snapshot is null"
            files = c.execute(sa.text(f"select count(*), coalesce(sum(file_size_bytes), 0) {live}")).one()
        return LakeFigures(int(snapshots or 0), int(files[0]), int(files[1]))

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _waiting(self, statement: sa.Executable) -> Waiting:
        with self._engine.connect() as c:
            number, oldest = c.execute(statement).one()._tuple()
        return Waiting(int(number), oldest.astimezone(UTC) if oldest else None)

    @contextlib.contextmanager
    def _catalog(self, catalog: CatalogName) -> Iterator[tuple[sa.Connection, str | None]]:
        if self._settings.is_server:
            with self._engine.connect() as c:
                yield c, lake.catalog_schema(catalog)
            return
        address = lake.catalog_address(self._settings, catalog).removeprefix("sqlite:")
        # a catalog that was never made is not made by looking
        engine = sa.create_engine(
            f"sqlite:///file:{address}?mode=ro&uri=true" if lake.exists(self._settings, catalog) else "sqlite://"
        )
        try:
            with engine.connect() as c:
                yield c, None
        finally:
            engine.dispose()
