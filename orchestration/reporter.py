"""The reporter: tells Dagster what the judge did, from the ledger's outbox, in short recorded runs.

A process of its own with low priority, so that a slow or stopped Dagster delays no receipt. At most 25 deliveries are
told in one run, a slot once: what is reported without a run fails for the second check of a partition. There is one
reporter per home, held by a lock. Each step may be repeated after a kill: a finished run names the outbox lines it told.
Embedded, a run's lines are in the event log whole or not at all; in PostgreSQL Dagster commits each by itself, so what an
unfinished run told is told again.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg
from dagster._core.events import AssetObservationData, DagsterEvent, StepMaterializationData

from orchestration import slots
from orchestration.event_log import can_hold_together, one_transaction
from orchestration.instance import end_dead_runs, open_instance
from orchestration.marks import mark_refused
from orchestration.report import Report, judged_key, report_of
from quality.desk import Desk
from storage import locks
from storage.crash import reached
from storage.ledger.ledger import OutboxEntry
from storage.paths import parse_delivery_id
from storage.priority import BACKGROUND, give_way
from storage.settings import Settings
from storage.tracing import span

log = logging.getLogger("verbund.reporter")

BATCH = 25
#: How long a batch gathers: a run costs as much as two deliveries.
GATHER_SECONDS = 1.0
IDLE_SECONDS = 0.3
TIDY_SECONDS = 30.0
_LOCK = "reporter"
_OUTBOX = "verbund/outbox"
#: Set in Dagster's storage once it knows what the ledger knows.
_KNOWN = "verbund/ledger_known_since"
_ALL = 1_000_000


@dg.op(description="Never runs by itself: the reporter records here what the judge decided.")
def record_verdicts() -> None:
    """Stands for the reporter's work in the runs it records."""
    raise dg.Failure("verdicts are recorded by the reporter; materialize a slot of `judged` to judge it again")


@dg.job(name="deliveries_judged", description="What the judge decided, as told by the reporter: one run per batch.")
def deliveries_judged() -> None:
    """One step, recorded by the reporter."""
    record_verdicts()


def run(settings: Settings, stop: threading.Event | None = None) -> None:
    """Tell Dagster until `stop` is set; waits while another reporter of this home runs."""
    stop = stop or threading.Event()
    while not stop.is_set():
        try:
            with contextlib.suppress(locks.Busy), locks.holding(settings, _LOCK, timeout=1.0):
                _serve(settings, stop)
        except Exception:
            if not settings.is_server:
                raise
            log.exception("Dagster cannot be told now; trying again")
            stop.wait(1.0)


def _serve(settings: Settings, stop: threading.Event) -> None:
    with opened(settings) as reporter:
        reporter.recover()
        tidied = time.monotonic()
        while not stop.is_set():
            try:
                if reporter.report_waiting(gather=stop):
                    continue
                if time.monotonic() - tidied > TIDY_SECONDS:
                    reporter.tidy()
                    tidied = time.monotonic()
            except Exception:
                # Dagster's storage may be away for a while; the outbox waits
                log.exception("Dagster could not be told; trying again")
                stop.wait(2.0)
                with contextlib.suppress(Exception):
                    reporter.recover()
            stop.wait(IDLE_SECONDS)


class Reporter:
    """Tells one instance what the outbox of one ledger holds. The caller makes sure there is only one."""

    def __init__(self, desk: Desk, instance: dg.DagsterInstance) -> None:
        self.desk, self.instance = desk, instance

    def recover(self) -> None:
        """Finish what a killed reporter left: tick off what its last runs told, end what it left open.

        Where Dagster's storage is new, but this ledger was told of before, every slot is told again.
        """
        ledger, instance = self.desk.ledger, self.instance
        storage = instance.daemon_cursor_storage
        if not storage.get_cursor_values({_KNOWN}):
            waiting = {entry.slot for entry in ledger.unreported(_ALL)}
            if any(view.verdict_state and view.slot not in waiting for view in ledger.deliveries()):
                self.tell_again()
            storage.set_cursor_values({_KNOWN: datetime.now(UTC).isoformat()})
        recent = instance.get_runs(dg.RunsFilter(job_name=deliveries_judged.name), limit=20)
        for run in recent:
            told = [int(number) for number in run.tags.get(_OUTBOX, "").split(",") if number]
            if not run.is_finished and self._told(run.run_id, told):
                self._end(run, dg.DagsterEventType.RUN_SUCCESS)
                ledger.reported(told)
            elif not run.is_finished:
                instance.report_run_failed(run, "the reporter was ended while telling; what it told is told again")
            elif run.is_success:
                ledger.reported(told)
        self.tidy()

    def tidy(self) -> None:
        """End runs of dead processes and offer the periods that began meanwhile."""
        end_dead_runs(self.instance)
        self.offer()

    def offer(self) -> int:
        """Make every slot of the region and of the ledger a partition; returns how many keys were new."""
        delivered = {delivery.slot for delivery in self.desk.ledger.deliveries()}
        return slots.offer(self.instance, slots.offered(self.desk.pack, delivered, datetime.now(UTC).date()))

    def report_waiting(self, *, gather: threading.Event | None = None) -> int:
        """Tell one batch of what waits; returns how many lines were told.

        Args:
            gather: Waits a moment for more before telling; set, it does not wait.
        """
        ledger = self.desk.ledger
        batch = ledger.unreported(BATCH)
        if gather is not None and 0 < len(batch) < BATCH:
            gather.wait(GATHER_SECONDS)
            batch = ledger.unreported(BATCH)
        if batch:
            with contextlib.ExitStack() as told:
                for entry in batch:
                    told.enter_context(span("report", entry.delivery_id, batch=len(batch)))
                self._record(batch)
            reached("report.run_done")
            ledger.reported([entry.id for entry in batch])
            reached("report.ticked")
        return len(batch)

    def tell_again(self) -> int:
        """Tell how every slot stands: first who is served, then a newer attempt that is not."""
        ledger = self.desk.ledger
        began = datetime.now(UTC)
        states = ledger.slots({}, datetime.now(UTC))
        served = [state.served for state in states.values() if state.served]
        newer = [s.newest for s in states.values() if s.newest and s.newest != s.served]
        withdrawn = [slot for slot, state in states.items() if state.newest is None and state.attempts]
        told = 0
        for some in (served, newer):
            lines = [_line(delivery) for delivery in some if ledger.verdict(delivery) is not None]
            for start in range(0, len(lines), BATCH):
                self._record(lines[start : start + BATCH])
            told += len(lines)
        for slot in withdrawn:
            views = ledger.deliveries(slot.supplier, slot.dataset, slot.period)
            last = [view for view in views if view.state == "withdrawn"]
            if last:
                self._record([_line(last[-1].delivery_id, "withdrawn")])
                told += 1
        while waiting := [entry.id for entry in ledger.unreported(_ALL) if entry.created_at < began]:
            ledger.reported(waiting)
        return told

    def _record(self, batch: Sequence[OutboxEntry]) -> None:
        instance = self.instance
        reports = [(entry, report_of(self.desk, entry.delivery_id, may_empty=_may_empty(entry))) for entry in batch]
        self._offer_new(reports)
        tags = {_OUTBOX: ",".join(str(entry.id) for entry in batch if entry.id), "verbund/deliveries": str(len(batch))}
        run = instance.create_run_for_job(deliveries_judged, tags=tags)
        self._end(run, dg.DagsterEventType.RUN_START)
        reached("report.begun")
        with one_transaction(instance, run.run_id):
            for entry, report in reports:
                for event in events_of(entry, report):
                    instance.report_dagster_event(event, run.run_id)
            mark_refused(instance, [report for _, report in reports if report.refused])
        reached("report.told")
        self._end(run, dg.DagsterEventType.RUN_SUCCESS)

    def _offer_new(self, reports: Sequence[tuple[OutboxEntry, Report]]) -> None:
        for _, report in reports:
            slot = report.slot
            known = (
                self.instance.has_dynamic_partition(f"{slot.dataset}_suppliers", slot.supplier)
                and self.instance.has_dynamic_partition(f"{slot.dataset}_periods", slot.period)
            )  # fmt: skip
            if not known:
                self.offer()
                return

    def _told(self, run_id: str, numbers: Sequence[int]) -> bool:
        """Whether the lines of an unfinished run are in the event log, all of them."""
        if not can_hold_together(self.instance.event_log_storage):
            return False
        for entry in self.desk.ledger.unreported(1000):
            if entry.id in numbers and entry.kind == "judged":
                wanted = dg.AssetRecordsFilter(
                    judged_key(entry.dataset), asset_partitions=[slots.partition_of(entry.slot)]
                )
                records = self.instance.fetch_materializations(wanted, limit=1).records
                return bool(records) and records[0].run_id == run_id
        return False

    def _end(self, run: dg.DagsterRun, kind: dg.DagsterEventType) -> None:
        event = DagsterEvent(event_type_value=kind.value, job_name=run.job_name)
        self.instance.report_dagster_event(event, run.run_id)


def _line(delivery: str, kind: str = "judged") -> OutboxEntry:
    """A line as the outbox would hold it, for what was told before."""
    slot = parse_delivery_id(delivery).slot
    return OutboxEntry(0, delivery, kind, {}, datetime.now(UTC), slot.supplier, slot.dataset, slot.period)


def _may_empty(entry: OutboxEntry) -> bool:
    return entry.kind == "withdrawn" or bool(entry.body.get("replay"))


def events_of(entry: OutboxEntry, report: Report) -> Iterator[DagsterEvent]:
    """A line of the outbox as events of a recorded run."""
    name, step = deliveries_judged.name, record_verdicts.name
    if entry.kind == "withdrawn":
        facts = {"delivery": entry.delivery_id, "withdrawn": str(entry.body.get("why", ""))}
        seen = dg.AssetObservation(judged_key(entry.dataset), partition=report.partition, metadata=facts)
        yield DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_OBSERVATION.value, job_name=name, step_key=step,
            event_specific_data=AssetObservationData(seen),
        )  # fmt: skip
    judged = [] if entry.kind == "withdrawn" else [report.judged()]
    for materialization in (*judged, *report.accepted()):
        yield DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
            job_name=name,
            step_key=step,
            event_specific_data=StepMaterializationData(materialization, []),
        )
    if entry.kind == "withdrawn":
        return
    for told in report.checks():
        evaluation = dg.AssetCheckEvaluation(**told, partition=report.partition)
        yield DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value, job_name=name, step_key=step,
            event_specific_data=evaluation,
        )  # fmt: skip


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Reporter]:
    """A reporter on the ledger and the Dagster instance of a home."""
    desk = Desk(settings, who="reporter")
    try:
        with open_instance(settings) as instance:
            yield Reporter(desk, instance)
    finally:
        desk.close()


def report_all(settings: Settings) -> int:
    """Tell Dagster everything that waits, now; returns how many lines were told."""
    lines = 0
    with locks.holding(settings, _LOCK, timeout=60), opened(settings) as reporter:
        reporter.recover()
        while told := reporter.report_waiting():
            lines += told
    return lines


def tell_again(settings: Settings) -> int:
    """Tell Dagster how every slot stands now, after its own storage was lost; returns how often it was told.

    What waits in the outbox is told with it. A reporter does this by itself when it meets an empty storage.

    Raises:
        storage.locks.Busy: A reporter of this home runs; end it first.
    """
    with locks.holding(settings, _LOCK, timeout=60), opened(settings) as reporter:
        return reporter.tell_again()


def main() -> None:
    """Be the reporter of the home the environment names, until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    give_way(BACKGROUND)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(Settings(), stop)


if __name__ == "__main__":
    main()
