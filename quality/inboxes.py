"""Inboxes of suppliers: what lies there and is not known yet is taken in, and answered where it cannot be a delivery.

Folders of this machine, or prefixes of an object store. When to look is decided by `quality.judging` and `quality.intake`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from datetime import datetime

from quality.assign import Assigned, Unassigned, assign, assign_pulled
from quality.desk import Desk, came_from
from quality.mending import answered
from quality.receipt import write_arrival
from quality.receipts import ANSWERS, INBOX, MARKED
from storage import stores
from storage.crash import reached
from storage.ledger.ledger import Arrival
from storage.objects.base import NoSuchObject
from storage.paths import parse_delivery_id
from storage.periods import period as read_period

log = logging.getLogger("verbund.inboxes")

#: A file in an inbox folder is taken once it has not changed for so long; it may still be being written.
SETTLED_SECONDS = 0.3


class Inboxes:
    """The inboxes of the region's suppliers. Threads may take in at once what is of different suppliers."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._store = stores.inboxes(desk.settings)
        # workbooks in folders that are known to be answers of ours, by supplier, key and version
        self._ours: set[tuple[str, str, str]] = set()

    def sweep(self, backlog: int | None = None) -> int:
        """Take in every file in an inbox that is not known yet, and finish arrivals a crash left open.

        Args:
            backlog: Leave a supplier's files where they are while so many of its deliveries wait for their verdict.

        Returns:
            How many files were taken in or answered.
        """
        taken = 0
        try:
            for arrival in self.desk.ledger.unsettled():
                taken += self.settle(arrival)
            taken += self._take_new_files(backlog)
        finally:
            self.desk.note_receipts()
        return taken

    def _take_new_files(self, backlog: int | None) -> int:
        taken = 0
        for supplier in sorted(self.desk.pack.suppliers):
            try:
                taken += self.sweep_of(supplier, backlog)
            except OSError:
                # one inbox that cannot be read keeps nobody else waiting; the next sweep looks again
                log.exception("the inbox of %s could not be looked through", supplier)
        return taken

    def sweep_of(self, supplier: str, backlog: int | None = None) -> int:
        """Take in what is new in one supplier's inbox, every version of it; returns how many files that were.

        Args:
            supplier: Whose inbox.
            backlog: Stop when so many of its deliveries wait for their verdict; the next sweep goes on.
        """
        known, prefix = self.desk.ledger.known(INBOX, supplier), f"{supplier}/"
        found = ((info.key.removeprefix(prefix), info) for info in self._store.versions(prefix))
        new = [(key, info) for key, info in found if (key, info.version) not in known]
        room = len(new) if backlog is None or not new else backlog - self.desk.ledger.backlog(supplier)
        taken = 0
        for key, info in new:
            if taken >= room:
                break
            taken += self.take_in(supplier, key, info.version, modified_at=info.modified_at)
        return taken

    def take_in(self, supplier: str, key: str, version: str, *, modified_at: datetime | None = None) -> int:
        """Take in one version of an object of an inbox: vault, ledger, receipt 1. May be repeated.

        Args:
            supplier: Whose inbox.
            key: Below the supplier's own prefix.
            version: As the store told it.
            modified_at: For stores whose objects may still be being written: since when it has rested.

        Returns:
            1 when something was taken in or answered, else 0.

        Raises:
            storage.objects.base.NoSuchObject: The store has no such version.
        """
        if is_temporary(key) or self._is_ours(supplier, key, version):
            return 0
        whole = self._store.puts_are_whole
        if not whole and modified_at and time.time() - modified_at.timestamp() < SETTLED_SECONDS:
            return 0
        object_key = f"{supplier}/{key}"
        began = time.time_ns()
        try:
            with self._store.open(object_key, version) as file:
                kept = self.desk.vault.keep(file, self.desk.settings.max_file_bytes)
        except NoSuchObject:
            if whole:
                raise
            return 0
        if not whole and self._store.info(object_key).version != version:
            return 0  # still being written; the next sweep meets it whole
        reached("vault.kept")
        new = self.desk.ledger.arrive(INBOX, supplier, key, version, kept.size, kept.sha256)
        reached("ledger.arrived")
        return self.settle(new, began_ns=began) if new is not None else 0

    def _is_ours(self, supplier: str, key: str, version: str) -> bool:
        """Whether an object of an inbox is an answer we laid there; a workbook somebody worked on is none any more."""
        if not key.endswith(MARKED) or self.desk.settings.is_server:
            # into a store's inbox nobody but the supplier puts anything, and answers of other kinds mend nothing
            return key.endswith(ANSWERS)
        if (supplier, key, version) in self._ours:
            return True
        try:
            with self._store.open(f"{supplier}/{key}", version) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # any binary file
        except NoSuchObject:
            return True
        if not self.desk.receipts.were_laid(supplier, found):
            return False
        self._ours.add((supplier, key, version))
        return True

    def settle(self, arrival: Arrival, *, began_ns: int | None = None) -> int:
        """Turn an arrival into a delivery, or answer why it cannot be one.

        Args:
            arrival: What arrived.
            began_ns: When its bytes began to be fetched, for the trace.
        """
        name = arrival.key.rsplit("/", 1)[-1]
        if arrival.supplier not in self.desk.pack.suppliers:
            return 0
        told = self._meant(arrival)
        if told is None:
            return 0
        if isinstance(told, Assigned):
            self.desk.receive_arrival(arrival, told, began_ns=began_ns)
            return 1
        document = {
            "delivery": f"{arrival.supplier}--{arrival.id:08d}",
            "supplier": arrival.supplier,
            "supplier_name": self.desk.pack.suppliers[arrival.supplier].name,
            "file_name": name,
            "size": arrival.size,
            "sha256": arrival.sha256,
            "received_at": arrival.arrived_at.isoformat(),
            "state": "unassigned",
            "reason": f"{told.missing}: {', '.join(told.owed)}",
        }
        files = write_arrival(document, self.desk.receipts.folder(arrival.supplier))
        origin, _ = came_from(arrival)
        self.desk.receipts.lay(origin, arrival.supplier, files)
        self.desk.ledger.settle_arrival(arrival.id, problem="file.unassigned")
        return 1

    def _meant(self, arrival: Arrival) -> Assigned | Unassigned | None:
        """The slot of an arrival; None for one of a source that the pack does not name (any more)."""
        if arrival.origin == INBOX:
            told = assign(self.desk.pack, arrival.supplier, arrival.key.removesuffix(MARKED))
            if arrival.key.endswith(".xlsx") and (answers := self._answers_slot(arrival)):
                return answers
            return told
        source = next((source for source in self.desk.pack.sources if source.origin == arrival.origin), None)
        return assign_pulled(self.desk.pack, source, arrival.key) if source else None

    def _answers_slot(self, arrival: Arrival) -> Assigned | None:
        """The slot a workbook of mended rows says it belongs to, whatever it is called by now."""
        with self.desk.lent(arrival.sha256) as source:
            answer = answered(source, self.desk.home.work)
        base = parse_delivery_id(answer.delivery) if answer else None
        if base is None or base.supplier != arrival.supplier or base.dataset not in self.desk.pack.contracts:
            return None
        return Assigned(base.dataset, read_period(base.period))


def is_temporary(key: str) -> bool:
    """Names under which programs write before they rename: hidden files, lock files of office programs, parts."""
    name = key.rsplit("/", 1)[-1]
    return name.startswith((".", "~$", "~")) or name.endswith((".tmp", ".part", ".filepart", ".crdownload", ".partial"))
