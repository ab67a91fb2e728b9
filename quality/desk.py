"""The desk: where deliveries are taken in, judged, accepted and answered. Warm, and without Dagster.

Order of every step: bytes into the vault, ledger, receipt 1; then judging; then lake, ledger, receipt 2. Each step may
be repeated after a crash. Who wakes the desk (a folder watch, the command line, an asset) is not its business; the loop
of the judge process is in `quality.judging`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
import math
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

from sqlalchemy.exc import SQLAlchemyError

from quality import calendar
from quality.assign import Assigned
from quality.calendar import OwedSlot
from quality.configuration import Files, Stamp, code_lists_dir, contracts_dir, load_region
from quality.contract import Contract
from quality.errors import NotAgreed, PlatformTrouble, Refused
from quality.judge import ACCEPTED_PROVENANCE, Bench, Judged, Task, judge
from quality.mending import Mends, goes_back
from quality.reading import agreed_at, choose_dialect
from quality.receipt import (
    Sent,
    receipt_document,
    write_arrival,
    write_receipt,
    write_receipt_again,
)  # fmt: skip
from quality.receipts import INBOX, Receipts
from quality.region import RegionPack, Source
from quality.sources import Misconfigured, Problem
from quality.verdict import Finding, RowCounts, Verdict, Versions
from storage import clock, database, lake, locks, stores
from storage.accepted import AcceptedLake, SlotRows
from storage.confirmations import Confirmation, Confirmations
from storage.crash import reached
from storage.ledger.ledger import Arrival, Delivery, DeliveryView, Ledger, ReceiptKind, VerdictRecord
from storage.ledger.states import SERVED, SlotState, state_of
from storage.paths import Slot, parse_delivery_id
from storage.periods import period as read_period
from storage.settings import Settings
from storage.tracing import span
from storage.vault import Kept, Vault, VaultDamaged
from storage.words import Words

log = logging.getLogger("verbund.desk")

#: The rule of a file whose reading ended the process; see `quality.judging`.
KILLED = "file.killed_the_reader"

#: A deadline is extended by no more than this at once.
LONGEST_EXTENSION = timedelta(days=366)


#: For so long a desk need not look whether a word was mapped; whoever judges again because of one looks at once.
WORDS_SECONDS = 1.0


class Desk:
    """Everything a delivery needs, opened as it is needed; one thread, one process.

    Args:
        settings: Where state lies and which region is served.
        who: Name under which verdicts are given in the ledger.
    """

    def __init__(self, settings: Settings, *, who: str = "judge-0") -> None:
        self.settings, self.who = settings, who
        self.home = settings.paths.create()
        if settings.is_server:
            database.prepare(settings)
        self.ledger = Ledger(settings.ledger_url)
        self.ledger.migrate()
        self.confirmations = Confirmations(settings.ledger_url)
        self.words = Words(settings.ledger_url)
        self.vault = Vault(stores.vault(settings))
        self.receipts = Receipts(settings)
        self.turns = locks.Turns(settings)
        # copies of a store's bytes are this desk's own: another one may still read what this one has done with
        self._copies = self.home.work / who
        # several threads of an intake put in
        self._acknowledged: SimpleQueue[tuple[str, datetime]] = SimpleQueue()
        # with the state of its files and words in which it was read
        self._pack: tuple[RegionPack | None, Stamp, int] = None, (), 0
        # the last state of the files without a mistake, and the mistakes of a later one
        self._sound: RegionPack | None = None
        self.pack_mistakes: Sequence[Problem] = ()
        self._reading = threading.Lock()
        self._files = Files([settings.region_dir, contracts_dir(), code_lists_dir()])
        # what is owed by a day, as long as neither pack nor extensions change
        self._owed: dict[date, tuple[RegionPack, Mapping[Slot, date], list[OwedSlot]]] = {}
        self._words_version, self._words_looked = 0, -math.inf

    # --- what the desk works with ---

    @property
    def pack(self) -> RegionPack:
        """The region pack as its files stand now, with the words of the ledger; read again when one of them changed.

        Somebody may be in the middle of editing: where the files hold mistakes, the last state without any goes on to hold
        and `pack_mistakes` tells of them.

        Raises:
            Misconfigured: The pack has mistakes, and this desk has not read one without.
        """
        stamp, version = self._files.stamp(), self._version_of_words()
        if (pack := self._known_pack(stamp, version)) is None:
            # twenty pages that ask at once need not read it twenty times
            with self._reading:
                pack = self._known_pack(stamp, version) or self._read_pack(stamp, version)
        return pack

    def _known_pack(self, stamp: Stamp, version: int) -> RegionPack | None:
        pack, *known = self._pack
        return pack if known == [stamp, version] else None

    def _read_pack(self, stamp: Stamp, version: int) -> RegionPack:
        pack = self._files_pack().with_words(self.words.everything() if version else ())
        if "bench" in self.__dict__:
            self.bench.adopt(pack)
            self.ensure_tables(pack)
        self._pack = pack, stamp, version
        return pack

    def _files_pack(self) -> RegionPack:
        try:
            self._sound, self.pack_mistakes = load_region(self.settings), ()
        except Misconfigured as error:
            if self._sound is None:
                raise
            self.pack_mistakes = error.problems
            log.error("the region pack is used as it was before its files held these mistakes:\n%s", error)
        return self._sound

    def look_for_words(self) -> None:
        """Look at the words of the ledger when the pack is asked for next."""
        self._words_looked = -math.inf

    def _version_of_words(self) -> int:
        if time.monotonic() - self._words_looked < WORDS_SECONDS:
            return self._words_version
        try:
            version = self.words.version()
        except SQLAlchemyError:
            if self._pack[0] is None:
                raise
            # the database is down: what was known goes on to hold
            return self._words_version
        self._words_version, self._words_looked = version, time.monotonic()
        return version

    @cached_property
    def bench(self) -> Bench:
        connection = lake.connect(self.settings, memory_mb=self.settings.judge_memory_mb)
        return Bench(connection, self.pack, self.home.work)

    @cached_property
    def lake(self) -> AcceptedLake:
        return AcceptedLake(self.settings, self.bench.connection)

    def warm_up(self) -> None:
        """Open and import everything now, so that the first delivery waits for nothing."""
        self.home.forget_leftovers()
        self.bench.expectations.validate  # noqa: B018  # the door is built
        self.ensure_tables(self.pack)
        self.bench.connection.execute("create or replace temp table warm as select 1 as one")
        from quality.expectations import Expected

        self.bench.expectations.validate(
            "warm", [Expected("warm", "expect_column_values_to_not_be_null", {"column": "one"})]
        )
        # what a receipt needs: workbooks and the calendar take a second to import
        importlib.import_module("quality.receipt.xlsx")
        calendar.holidays_of(self.pack.region.land)

    def close(self) -> None:
        """Give back connections and files."""
        if "bench" in self.__dict__:
            self.bench.connection.close()
        self.turns.close()
        self.confirmations.close()
        self.words.close()
        self.ledger.close()

    def ensure_tables(self, pack: RegionPack) -> None:
        """Make the accepted tables of every contract; nothing happens where they stand."""
        self.lake.ensure({c.dataset: accepted_columns(c) for c in pack.contracts.values()})

    # --- taking in ---

    def receive(
        self, source: Path | BinaryIO, supplier: str, dataset: str, period: str, *, file_name: str, who: str,
        origin: str = "command", synthetic: bool | None = None, dialect: str | None = None,
    ) -> Delivery:  # fmt: skip
        """Take in a file: vault, ledger, receipt 1. It is judged later, by whoever works the queue.

        `dialect` is chosen by the sender; without it the file tells.

        Raises:
            Refused: There is no such supplier or dataset, the period is none, or the dialect is not agreed for it.
        """
        self._known(supplier, dataset, period, dialect)
        kept = self.vault.keep(source, self.settings.max_file_bytes)
        reached("vault.kept")
        delivery = self.ledger.receive(
            supplier, dataset, period, kept.sha256, kept.size, file_name, origin, who,
            synthetic=self._is_synthetic(supplier, synthetic), dialect=dialect or None,
        )  # fmt: skip
        reached("ledger.received")
        self._acknowledge(delivery)
        self.note_receipts()
        return delivery

    def declare_nothing(
        self, supplier: str, dataset: str, period: str, *, who: str, reason: str, origin: str = "command"
    ) -> Delivery:
        """Take in a signed "nothing to report" for a slot. What was declared lies in the vault like any file.

        Raises:
            Refused: There is no such supplier or dataset, the period is none, or the reason is missing.
        """
        self._known(supplier, dataset, period)
        if not reason.strip():
            raise Refused("a reason why there is nothing to report", "none")
        declared = {"supplier": supplier, "dataset": dataset, "period": period, "who": who, "reason": reason}
        file_name = "nothing_to_report.json"
        with tempfile.TemporaryFile(dir=self.home.work) as file:
            file.write(json.dumps(declared, ensure_ascii=False, sort_keys=True).encode())
            file.seek(0)
            kept = self.vault.keep(file)
        delivery = self.ledger.receive(
            supplier, dataset, period, kept.sha256, kept.size, file_name, origin, who,
            nothing_to_report=True, reason=reason, synthetic=self._is_synthetic(supplier, None),
        )  # fmt: skip
        self._acknowledge(delivery)
        self.note_receipts()
        return delivery

    def take_pulled(
        self, source: Source, slot: Assigned, key: str, version: str, kept: Kept, *, began_ns: int | None = None
    ) -> Delivery | None:
        """Take in what a source gave and the vault has: ledger, receipt 1; call `note_receipts` afterwards.

        A process that dies in between leaves an arrival that the next pull or sweep finishes.

        Args:
            source: Of the region pack.
            slot: What is delivered.
            key: Name and folders at the source.
            version: What tells this state of it from others.
            kept: The bytes.
            began_ns: When they began to be fetched, for the trace.

        Returns:
            The delivery; None when somebody else took in this version of the key meanwhile.

        Raises:
            Refused: The pack has no such supplier or dataset any more.
        """
        self._known(source.supplier, slot.dataset, str(slot.period))
        new = self.ledger.arrive(source.origin, source.supplier, key, version, kept.size, kept.sha256)
        reached("ledger.arrived")
        return self.receive_arrival(new, slot, began_ns=began_ns) if new is not None else None

    def receive_arrival(self, arrival: Arrival, slot: Assigned, *, began_ns: int | None = None) -> Delivery:
        """Take in what arrived as the next attempt of a slot. May be repeated; call `note_receipts` afterwards."""
        name = arrival.key.rsplit("/", 1)[-1]
        origin, who = came_from(arrival)
        delivery = self.ledger.receive(
            arrival.supplier, slot.dataset, str(slot.period), arrival.sha256, arrival.size, name, origin, who,
            synthetic=self._is_synthetic(arrival.supplier, None), arrival_id=arrival.id,
        )  # fmt: skip
        reached("ledger.received")
        with span("intake", delivery.delivery_id, began_ns=began_ns, bytes=delivery.size):
            self._acknowledge(delivery)
        return delivery

    def _acknowledge(self, delivery: Delivery) -> None:
        contract = self.pack.contracts[delivery.dataset]
        state = "received"
        if delivery.duplicate_of:
            state = "duplicate"
        elif delivery.nothing_to_report:
            state = "nothing_to_report"
        document = {
            "delivery": delivery.delivery_id,
            "supplier": delivery.supplier,
            "supplier_name": self.pack.suppliers[delivery.supplier].name,
            "dataset": delivery.dataset,
            "dataset_title": dict(contract.title),
            "period": delivery.period,
            "attempt": delivery.attempt,
            "file_name": delivery.file_name,
            "size": delivery.size,
            "sha256": delivery.sha256,
            "received_at": delivery.received_at.isoformat(),
            "state": state,
            "reason": delivery.reason,
            "duplicate_of": delivery.duplicate_of,
        }
        files = write_arrival(document, self.receipts.folder(delivery.supplier))
        self.receipts.lay(delivery.origin, delivery.supplier, files)
        self._acknowledged.put((delivery.delivery_id, clock.now()))

    def note_receipts(self) -> None:
        """Tell the ledger when the receipts of arrival were there: one commit for a whole sweep, each costs a sync."""
        noted: dict[str, datetime] = {}
        while not self._acknowledged.empty():
            delivery_id, at = self._acknowledged.get()
            noted[delivery_id] = at
        self.ledger.acknowledge(noted, self.who)

    def _known(self, supplier: str, dataset: str, period: str, dialect: str | None = None) -> None:
        pack = self.pack
        if supplier not in pack.suppliers:
            raise Refused(f"a supplier of {pack.region.name} ({', '.join(sorted(pack.suppliers))})", supplier)
        if dataset not in pack.contracts:
            raise Refused(f"a dataset ({', '.join(sorted(pack.contracts))})", dataset)
        try:
            at = read_period(period)
        except ValueError as error:
            raise Refused("a period like 2024, 2024-Q3, 2024-07 or 2024-07-31", period) from error
        if dialect and dialect not in (agreed := agreed_at(pack, supplier, dataset, at)):
            raise NotAgreed(f"a dialect agreed for {supplier}, {dataset} and {period} ({', '.join(agreed)})", dialect)

    def _is_synthetic(self, supplier: str, said: bool | None) -> bool:
        return self.pack.suppliers[supplier].synthetic if said is None else said

    # --- judging ---

    def judge(self, delivery: Delivery) -> Judged:
        """Judge a received delivery from the vault; nothing is stored.

        Raises:
            PlatformTrouble: The work could not be done.
            VaultDamaged: The bytes are not those that were sent.
        """
        self.ensure_tables(self.pack)
        if delivery.nothing_to_report:
            return self._judge(delivery, None)
        judged = None
        try:
            with contextlib.ExitStack() as lent:
                source = lent.enter_context(self.vault.lent(delivery.sha256, self._copies))
                judged = self._judge(delivery, source, self._goes_back(delivery.slot, delivery.attempt, source, lent))
        except VaultDamaged:
            if judged is not None:
                self.bench.forget(judged)
            raise
        return judged

    def _goes_back(self, slot: Slot, attempt: int, source: Path, lent: contextlib.ExitStack) -> Mends | None:
        contract = self.pack.contracts.get(slot.dataset)
        if contract is None:
            return None

        def lend(sha256: str) -> Path:
            return lent.enter_context(self.lent(sha256))

        work = self.home.work
        return goes_back(source, slot, attempt, contract, ledger=self.ledger, lend=lend, work=work)

    @contextlib.contextmanager
    def lent(self, sha256: str) -> Iterator[Path]:
        """Bytes of the vault to look at within a block; a copy that was fetched for it is gone after it.

        Raises:
            VaultDamaged: The bytes are not those that were sent.
        """
        with self.vault.lent(sha256, self._copies) as path:
            try:
                yield path
            finally:
                if path.parent == self._copies:
                    path.unlink(missing_ok=True)

    def _judge(self, delivery: Delivery, source: Path | None, mends: Mends | None = None) -> Judged:
        task = Task(
            delivery.delivery_id, delivery.supplier, delivery.dataset, read_period(delivery.period), delivery.attempt,
            delivery.sha256, delivery.file_name, source, delivery.nothing_to_report, mends, delivery.dialect,
            takes_no_place=self.ledger.attempts(delivery.slot) == 1,
        )  # fmt: skip
        with span("judge", delivery.delivery_id, bytes=delivery.size):
            return judge(
                self.bench,
                task,
                landed_to=self.home.landed(delivery.delivery_id),
                marks_to=self.home.marks(delivery.delivery_id),
            )

    def answer(self, batch: Sequence[Judged], *, tell: bool = True, replay: bool = False) -> dict[str, str]:
        """Store judged deliveries and write their receipts; arguments and answer are those of `store`."""
        states = self.store(batch, tell=tell, replay=replay)
        self.write_receipts([judged for judged in batch if judged.task.delivery in states])
        return states

    def store(self, batch: Sequence[Judged], *, tell: bool = True, replay: bool = False) -> dict[str, str]:
        """Store judged deliveries in one lake transaction and one ledger transaction; their receipts are owed then.

        A batch that fails is tried again one by one; what fails alone is put back and tried later, so that one
        delivery never keeps others from their answer.

        Args:
            batch: Judged deliveries; a slot at most once.
            tell: Put a line for the orchestrator into the outbox.
            replay: The deliveries have verdicts already, and these replace them.

        Returns:
            State of each delivery that has its verdict now.
        """
        if not batch:
            return {}
        try:
            states = self._store(batch, tell=tell, replay=replay)
        except Exception as error:
            # whatever it was, nothing is half done: the lake's transaction is over or undone, and may be repeated
            if len(batch) == 1:
                log.exception("%s is put back: its verdict could not be stored", batch[0].task.delivery)
                self.ledger.defer(batch[0].task.delivery, repr(error), self.who, again_after_seconds=5)
                self._forget(batch[0])
                return {}
            states = {}
            for judged in batch:
                states |= self.store([judged], tell=tell, replay=replay)
            return states
        reached("ledger.recorded")
        return states

    def write_receipts(self, stored: Sequence[Judged]) -> None:
        """Answer those whose deliveries were stored. A receipt that cannot be written now stays owed."""
        if not stored:
            return
        told = []
        for judged in stored:
            try:
                self._tell_supplier(judged)
                told.append(judged.task.delivery)
            except Exception:
                log.exception("%s has no receipt yet; it is owed and written soon", judged.task.delivery)
        try:
            self.ledger.answered(told)
        except SQLAlchemyError:
            log.exception("receipts of %s are out, which the ledger cannot note now", ", ".join(told))

    def _store(self, batch: Sequence[Judged], *, tell: bool, replay: bool) -> dict[str, str]:
        with contextlib.ExitStack() as told, lake.writing(self.settings, "accepted"):
            for judged in batch:
                told.enter_context(span("accept", judged.task.delivery, state=judged.verdict.state, batch=len(batch)))
            slots = {judged.task.delivery: parse_delivery_id(judged.task.delivery).slot for judged in batch}
            newest = self.ledger.newest_accepted(slots.values())
            rows = [
                SlotRows(
                    slots[j.task.delivery], j.task.delivery, j.task.attempt, j.accepted, j.quarantined,
                    replaces=j.verdict.state != "rejected" and j.task.attempt >= newest.get(slots[j.task.delivery], 0),
                    again=True, file=j.file,
                )
                for j in batch
            ]  # fmt: skip
            # somebody may have taken one back while it was judged
            withdrawn = self._withdrawn(slots)
            stored = [r for r in rows if r.replaces and r.delivery not in withdrawn]
            if replay:
                stored += self._emptied(rows, batch)
            if stored:
                reached("lake.before")
                self.lake.replace(stored)
            reached("lake.committed")
            return dict(
                self.ledger.record(
                    [_record(j, replay, self._takes_mended_rows(j.task.dataset)) for j in batch], self.who, tell=tell
                )
            )

    def _withdrawn(self, slots: Mapping[str, Slot]) -> set[str]:
        return {delivery for delivery in slots if state_of(self.ledger.history(delivery)) == "withdrawn"}

    def _emptied(self, rows: Sequence[SlotRows], batch: Sequence[Judged]) -> list[SlotRows]:
        """A replay that rejects the delivery now served takes its rows out again."""
        emptied = []
        for r, judged in zip(rows, batch, strict=True):
            served = self.ledger.accepted_of(r.slot)
            if judged.verdict.state == "rejected" and served is not None and served.delivery_id == r.delivery:
                emptied.append(replace(r, rows=None, quarantined=None, replaces=True, file=None))
        return emptied

    def _tell_supplier(self, judged: Judged) -> None:
        with span("answer", judged.task.delivery):
            delivery = self.ledger.delivery(judged.task.delivery)
            files = write_receipt(judged.verdict, self._sent(delivery, judged), self.receipts.folder(delivery.supplier))
            self.receipts.lay(delivery.origin, delivery.supplier, files)
        reached("receipt.written")
        self._forget(judged)

    def _sent(self, delivery: Delivery, judged: Judged) -> Sent:
        contract = self.pack.contracts.get(delivery.dataset)
        return Sent(
            supplier_name=self.pack.suppliers[delivery.supplier].name,
            dataset_title=contract.title if contract else {},
            file_name=delivery.file_name, sha256=delivery.sha256, size=delivery.size, received_at=delivery.received_at,
            due_on=self.due_on(delivery.slot),
            # mended rows are no workbook of the supplier's that could be marked
            source=None if judged.task.mends else judged.task.source, format=judged.format, landed=judged.landed, marks=judged.marks,
            synthetic=delivery.synthetic, takes_mended_rows=self._takes_mended_rows(delivery.dataset),
            confirmed=self._confirmed(delivery.delivery_id, {f.rule: f.rows for f in judged.verdict.findings}),
        )  # fmt: skip

    def _confirmed(self, delivery_id: str, found: Mapping[str, int]) -> list[dict[str, Any]]:
        """The confirmations that speak of what a verdict found, as a receipt tells them."""
        known = self.confirmations.of(delivery_id)
        return [one.document() for one in known if found.get(one.rule) == one.rows]

    def _takes_mended_rows(self, dataset: str) -> bool:
        contract = self.pack.contracts.get(dataset)
        return contract is not None and contract.partial_correction

    def rejudge(self, delivery_id: str, *, tell: bool = True) -> Judged:
        """Judge a delivery again from the vault and store what comes out: re-run, backfill and replay.

        Raises:
            PlatformTrouble: The work could not be done, or the lake refused it; nothing was changed.
        """
        # a word may be the reason to judge again
        self.look_for_words()
        delivery = self.ledger.delivery(delivery_id)
        judged = self.judge(delivery)
        replay = self.ledger.verdict(delivery_id) is not None
        if delivery_id not in self.answer([judged], tell=tell, replay=replay):
            raise PlatformTrouble("a verdict could not be stored", cause=delivery_id)
        return judged

    def check(
        self, source: Path, supplier: str, dataset: str, period: str, *, file_name: str | None = None,
        dialect: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """The verdict a file would get, with nothing stored; the shape of a receipt.

        Raises:
            Refused: There is no such supplier or dataset, the period is none, or the dialect is not agreed for it.
            PlatformTrouble: The work could not be done.
        """
        self._known(supplier, dataset, period, dialect)
        self.ensure_tables(self.pack)
        with source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        attempt = self.ledger.slot(Slot(supplier, dataset, period)).attempts + 1
        name = file_name or source.name
        with (
            tempfile.TemporaryDirectory(dir=self.home.work, prefix="check-") as folder,
            contextlib.ExitStack() as lent,
        ):
            mends = self._goes_back(Slot(supplier, dataset, period), attempt, source, lent)
            task = Task(
                f"{supplier}--{dataset}--{period}--{attempt:02d}",
                supplier,
                dataset,
                read_period(period),
                attempt,
                sha256,
                name,
                source,
                mends=mends,
                dialect=dialect or None,
            )
            judged = judge(
                self.bench, task, landed_to=Path(folder) / "landed.parquet", marks_to=Path(folder) / "marks.parquet"
            )
            sent = Sent(
                self.pack.suppliers[supplier].name, self.pack.contracts[dataset].title, name, sha256, source.stat().st_size,
                clock.now(), None, source, judged.format, judged.landed, judged.marks,
                takes_mended_rows=self._takes_mended_rows(dataset),
            )  # fmt: skip
            document = receipt_document(judged.verdict, sent, {"json": None, "html": None, "xlsx": None})
            self._forget(judged)
        return document

    # --- what is owed ---

    def owed(self, by: date, *, supplier: str | None = None) -> list[OwedSlot]:
        """Every slot of the region whose period has ended by a day, with deadlines as they were extended, oldest first."""
        pack, extended = self.pack.shared, self.ledger.extensions.granted()
        kept = self._owed.get(by)
        if kept is None or kept[0] is not pack or kept[1] != extended:
            # today and a year ahead is what is looked at all day
            if len(self._owed) > 4:
                self._owed.clear()
            kept = self._owed[by] = (pack, extended, calendar.owed_slots(pack, by, extended))
        return [o for o in kept[2] if supplier in (None, o.slot.supplier)]

    def due_on(self, slot: Slot) -> date | None:
        """Last day of a slot's deadline, as it was extended; None where there is no such contract (any more)."""
        extended, contract = self.ledger.extensions.granted().get(slot), self.pack.contracts.get(slot.dataset)
        if extended is not None or contract is None:
            return extended
        return calendar.due_on(contract, read_period(slot.period), self.pack.region.land)

    def may_extend(self, slot: Slot, until: date) -> bool:
        """Whether a deadline can become this day: later than it is, not past, and not for longer than a year."""
        due, today = self.due_on(slot), clock.now().date()
        return due is not None and max(due, today - timedelta(days=1)) < until <= max(due, today) + LONGEST_EXTENSION

    def standing(
        self, owed: Iterable[OwedSlot], now: datetime, *, supplier: str | None = None
    ) -> dict[Slot, SlotState]:
        """How slots stand that are owed by these deadlines."""
        zone = self.pack.region.zone
        due: dict[Slot, datetime | None] = {o.slot: calendar.due_at(o.due_on, zone) for o in owed}
        return self.ledger.slots(due, now, supplier=supplier)

    # --- what else may happen ---

    def withdraw(self, delivery_id: str, *, who: str, why: str) -> bool:
        """Take a delivery back; if it held its slot, its rows leave the lake and nobody holds the slot.

        Raises:
            UnknownDelivery: There is none of this id.
        """
        slot = parse_delivery_id(delivery_id).slot
        self.ensure_tables(self.pack)
        with lake.writing(self.settings, "accepted"):
            served = self.ledger.accepted_of(slot)
            holds = served is not None and served.delivery_id == delivery_id
            attempt = parse_delivery_id(delivery_id).attempt
            self.lake.replace([SlotRows(slot, delivery_id, attempt, replaces=holds, again=True)])
            reached("lake.withdrawn")
            return self.ledger.withdraw(delivery_id, who, why)

    def confirm(self, delivery_id: str, rule: str, *, who: str, author: str, reason: str) -> Confirmation:
        """Note that a warning was looked at and the figures are right, and tell it on the receipt.

        Args:
            delivery_id: Of a delivery whose rows are served.
            rule: One its verdict warns of.
            who: As the ledger names them.
            author: As people do.
            reason: Why the figures are right.

        Raises:
            UnknownDelivery: There is none of this id.
            Refused: The delivery is not served, or its verdict does not warn of this rule.
            storage.confirmations.NoReason: The reason is missing or too long.
        """
        if (state := self.ledger.delivery(delivery_id).state) not in SERVED:
            raise Refused("a delivery whose figures count", state)
        body = self.ledger.verdict(delivery_id) or {}
        warned = {f["rule"]: int(f["rows"]) for f in body.get("findings", ()) if f["severity"] == "warning"}
        if rule not in warned:
            raise Refused(f"a warning of {delivery_id} ({', '.join(warned) or 'none'})", rule)
        made = self.confirmations.confirm(delivery_id, rule, warned[rule], who=who, author=author, reason=reason)
        try:
            self._tell_confirmed(delivery_id)
        except Exception:
            # it is in the ledger and on the page; the receipt's files tell it when they are written next
            log.exception("the receipt of %s does not tell yet what was confirmed", delivery_id)
        return made

    def confirmed(self, delivery_ids: Iterable[str]) -> dict[str, list[Confirmation]]:
        """What was confirmed of deliveries and still holds for their verdicts, by delivery."""
        known = self.confirmations.of_many(delivery_ids)
        rows = {
            (delivery, finding["rule"]): finding["rows"]
            for delivery, body in self.ledger.verdicts(list(known)).items()
            for finding in body.get("findings", ())
        }
        holding = {
            delivery: [one for one in told if rows.get((delivery, one.rule)) == one.rows]
            for delivery, told in known.items()
        }
        return {delivery: told for delivery, told in holding.items() if told}

    def _tell_confirmed(self, delivery_id: str) -> None:
        """Write page and data of a receipt again with what was confirmed since; its workbook stays."""
        delivery = self.ledger.delivery(delivery_id)
        document = self.receipts.laid(delivery_id)
        if document is None:
            # it is written with what was confirmed as soon as it is
            return
        found = {f["rule"]: f["rows"] for f in document["findings"]}
        document["confirmed"] = self._confirmed(delivery_id, found)
        files = write_receipt_again(document, self._format_of(delivery), self.receipts.folder(delivery.supplier))
        self.receipts.lay(delivery.origin, delivery.supplier, files, with_workbook=False)

    def _format_of(self, delivery: Delivery) -> str | None:
        pack, period = self.pack, read_period(delivery.period)
        mandate = pack.mandate(delivery.supplier, delivery.dataset, period.start, period.end)
        return choose_dialect(pack, mandate, delivery.file_name, delivery.dialect).format.type if mandate else None

    def reject_unread(self, delivery: Delivery, reason: str) -> None:
        """Give a delivery that cannot be judged without killing the judge its verdict."""
        self.answer([self._unread(delivery, reason)])

    def _unread(self, delivery: Delivery, reason: str) -> Judged:
        pack = self.pack
        contract = pack.contracts[delivery.dataset]
        versions = Versions(contract.fingerprint, "-", pack.mappings_version(delivery.supplier))
        finding = Finding(KILLED, "fatal", 0, {"found": reason, "expected": "a file that can be read"})
        verdict = Verdict(
            delivery.delivery_id, delivery.supplier, delivery.dataset, delivery.period, delivery.attempt,
            "rejected", RowCounts(), (finding,), (), versions, clock.now(),
        )  # fmt: skip
        task = Task(
            delivery.delivery_id, delivery.supplier, delivery.dataset, read_period(delivery.period), delivery.attempt,
            delivery.sha256, delivery.file_name, None,
        )  # fmt: skip
        return Judged(task, verdict)

    def write_owed_receipts(self, owed: Collection[tuple[str, ReceiptKind]]) -> int:
        """Write the receipts that a fault kept from being written, as `write_missing_receipts` does.

        Args:
            owed: All or some of what the ledger says is owed.

        Returns:
            How many were written. One that cannot be written stays owed.
        """
        written = 0
        for delivery_id, kind in sorted(owed):
            try:
                written += self._write_if_missing(self.ledger.delivery(delivery_id))
                self.ledger.answered([delivery_id], kind)
            except Exception:
                log.exception("the receipt of %s cannot be written", delivery_id)
        self.note_receipts()
        return written

    def write_missing_receipts(self, deliveries: Iterable[DeliveryView] | None = None) -> int:
        """Look through all deliveries for receipts that are not there, and write them with the verdict of the ledger.

        What was sent is read again from the vault, for the marks of a workbook; they are left out where the delivery
        would be judged differently by now.

        Returns:
            How many were written. One that cannot be written is logged and keeps nobody from working.
        """
        written = 0
        for delivery in self.ledger.deliveries() if deliveries is None else deliveries:
            try:
                written += self._write_if_missing(delivery)
            except Exception:
                log.exception("the receipt of %s cannot be written", delivery.delivery_id)
        self.note_receipts()
        return written

    def _write_if_missing(self, delivery: DeliveryView) -> int:
        folder = self.receipts.folder(delivery.supplier)
        if delivery.verdict_state is None:
            if self.receipts.is_acknowledged(delivery.delivery_id):
                return 0
            self._acknowledge(delivery)
            return 1
        # only a verdict that was given again can be another one than the receipt that lies there
        if delivery.judged_at == delivery.first_judged_at and self.receipts.is_answered(delivery.delivery_id):
            return 0
        laid = self.receipts.laid(delivery.delivery_id)
        body = self.ledger.verdict(delivery.delivery_id) or {}
        if laid is not None and _tells(laid, body):
            return 0
        killed = next((f for f in body.get("findings", ()) if f["rule"] == KILLED), None)
        # what killed its reader must not be read again only to say so
        judged = self._unread(delivery, "-") if killed else self.judge(delivery)
        if not _finds(judged, body):
            judged = replace(judged, marks=None)
        files = write_receipt(judged.verdict, self._sent(delivery, judged), folder, recorded=body)
        self.receipts.lay(delivery.origin, delivery.supplier, files)
        self._forget(judged)
        return 1

    def receipt(self, delivery_id: str) -> dict[str, Any]:
        """What is known of a delivery in the shape of a receipt, with its present state and the places of its files.

        Raises:
            UnknownDelivery: There is none of this id.
        """
        view = self.ledger.delivery(delivery_id)
        body = self.ledger.verdict(delivery_id)
        if body is None and view.duplicate_of:
            body = self.ledger.verdict(view.duplicate_of)
        files = self.receipts.places(delivery_id)
        known = summary_of(view)
        findings = (body or {}).get("findings", [])
        confirmed = self._confirmed(delivery_id, {finding["rule"]: finding["rows"] for finding in findings})
        return {**known, "findings": findings, "changes": (body or {}).get("changes"), "receipt": files, "confirmed": confirmed,
                **{key: value for key, value in (body or {}).items() if key in ("summary", "todo", "versions", "read_as")}}  # fmt: skip

    def _forget(self, judged: Judged) -> None:
        """Drop what judging left behind, and the copy of the bytes where the vault is not of this machine."""
        self.bench.forget(judged)
        source = judged.task.source
        if source is not None and source.parent == self._copies:
            source.unlink(missing_ok=True)


def accepted_columns(contract: Contract) -> list[tuple[str, str]]:
    """Columns of a dataset's accepted table: the contract's fields, then where each row came from."""
    return [(f.name, f.physical) for f in contract.fields] + list(ACCEPTED_PROVENANCE)


def summary_of(view: DeliveryView) -> dict[str, Any]:
    """A delivery in the shape of `verbund deliveries`: a receipt without findings, with its times."""
    rows = dict(view.rows) if view.rows else asdict(RowCounts())
    return {
        "delivery": view.delivery_id, "supplier": view.supplier, "dataset": view.dataset, "period": view.period,
        "attempt": view.attempt, "sha256": view.sha256, "state": view.state, "rows": rows,
        "received_at": view.received_at.isoformat(), "judged_at": view.judged_at.isoformat() if view.judged_at else None,
        "file_name": view.file_name, "synthetic": view.synthetic,
        "duplicate_of": view.duplicate_of, "reason": view.reason,
    }  # fmt: skip


def _tells(receipt: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether a receipt is that of the recorded verdict."""
    return all(receipt.get(name) == body.get(name) for name in ("state", "rows", "findings", "judged_at"))


def _finds(judged: Judged, body: Mapping[str, Any]) -> bool:
    """Whether a judgement comes to the recorded verdict, with the same rules broken by as many rows."""
    found = {(finding.rule, finding.severity, finding.rows) for finding in judged.verdict.findings}
    recorded = {(finding["rule"], finding["severity"], finding["rows"]) for finding in body.get("findings", ())}
    return (judged.verdict.state, asdict(judged.verdict.rows), found) == (body.get("state"), body.get("rows"), recorded)


def _record(judged: Judged, replay: bool, takes_mended_rows: bool) -> VerdictRecord:
    verdict = judged.verdict
    body = receipt_document(verdict, _bare_sent(judged, takes_mended_rows), {"json": None, "html": None, "xlsx": None})
    body["outcomes"] = [asdict(outcome) for outcome in verdict.outcomes]
    return VerdictRecord(
        verdict.delivery, verdict.state, asdict(verdict.rows), verdict.versions.contract, verdict.versions.dialect,
        verdict.versions.mappings, body, verdict.judged_at, replay,
    )  # fmt: skip


def came_from(arrival: Arrival) -> tuple[str, str]:
    """Origin and sender of an arrival, as a delivery tells them."""
    return (f"{INBOX}:{arrival.key}", arrival.supplier) if arrival.origin == INBOX else (arrival.origin, arrival.origin)


def _bare_sent(judged: Judged, takes_mended_rows: bool) -> Sent:
    task = judged.task
    return Sent(
        "", {}, task.file_name, task.sha256, 0, judged.verdict.judged_at, None, None, None, None, None,
        takes_mended_rows=takes_mended_rows,
    )  # fmt: skip
