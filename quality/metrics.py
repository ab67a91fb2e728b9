"""The metrics of an installation, as Prometheus reads them: names, units, and where each number comes from.

Counters are what the ledger says, so they survive every process; nothing is counted here. What each alert made of them
means stands in `docs/operators.md`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from quality import backup, heartbeat
from quality import release as releasing
from quality.receipt import receipt_stem
from storage import stores
from storage.figures import CATALOGS, Figures, Histogram, Tally, Waiting
from storage.settings import Settings

log = logging.getLogger("verbund.observer")


class Installation(Collector):
    """All metrics of an installation. A source that cannot be asked is left out and told by `verbund_source_up`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._figures = Figures(settings)
        # the newest heartbeat whose receipt was seen: it need not be looked for again
        self._answered: tuple[datetime, str] | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not reach for databases."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Ask everything once."""
        up = GaugeMetricFamily("verbund_source_up", "1 where the source of metrics could be asked.", labels=["source"])
        sources: dict[str, Callable[[], Iterable[Metric]]] = {
            "ledger": self._ledger, "lake": self._lake, "database": self._database, "store": self._store,
            "machine": self._machine,
        }  # fmt: skip
        for source, ask in sources.items():
            try:
                yield from list(ask())
                up.add_metric([source], 1)
            except Exception as error:  # whatever is down must not hide the rest
                log.warning("no metrics of the %s: %s: %s", source, type(error).__name__, error)
                up.add_metric([source], 0)
        yield up

    def close(self) -> None:
        """Give the connections back."""
        self._figures.close()

    def _ledger(self) -> Iterator[Metric]:
        tally = self._figures.tally()
        received = CounterMetricFamily("verbund_deliveries", "Deliveries received.", labels=["supplier", "dataset"])
        for (supplier, dataset), number in sorted(tally.received.items()):
            received.add_metric([supplier, dataset], number)
        yield received
        verdicts = CounterMetricFamily("verbund_verdicts", "First verdicts given.", labels=["dataset", "state"])
        for (dataset, state), number in sorted(tally.verdicts.items()):
            verdicts.add_metric([dataset, state], number)
        yield verdicts
        rows = CounterMetricFamily("verbund_rows", "Rows by what became of them.", labels=["dataset", "state"])
        for (dataset, state), number in sorted(tally.rows.items()):
            rows.add_metric([dataset, state], number)
        yield rows
        seconds = HistogramMetricFamily(
            "verbund_time_to_verdict_seconds", "From a delivery's arrival to its first verdict.", labels=["dataset"]
        )
        for dataset, histogram in sorted(tally.seconds.items()):
            seconds.add_metric([dataset], _buckets(histogram), histogram.total)
        yield seconds
        yield from _waits("verbund_queue", "deliveries without a verdict", self._figures.queue())
        by = GaugeMetricFamily(
            "verbund_queue_deliveries_by_supplier", "Deliveries without a verdict.", labels=["supplier"]
        )
        for supplier, number in sorted(self._figures.queued_by_supplier().items()):
            by.add_metric([supplier], number)
        yield by
        yield GaugeMetricFamily(
            "verbund_queue_begins_max", "How often the waiting delivery that was begun most has been begun.",
            value=self._figures.begun_most(),
        )  # fmt: skip
        yield from _waits("verbund_outbox", "deliveries Dagster has not been told of", self._figures.outbox())
        yield from _waits("verbund_arrivals", "events of the object store nobody worked off", self._figures.told())
        yield CounterMetricFamily(
            "verbund_bad_events", "Events of the object store that could not be read.", value=self._figures.bad_events()
        )
        mails = self._figures.mails()
        yield GaugeMetricFamily("verbund_mails_waiting", "Notices that are to be sent by mail.", value=mails.waiting)
        yield GaugeMetricFamily("verbund_mails_stuck", "Those of them that were tried in vain.", value=mails.stuck)
        yield GaugeMetricFamily(
            "verbund_mails_given_up",
            "Notices that are tried no more until somebody asks for them.",
            value=mails.given_up,
        )
        yield from self._heartbeat(tally)

    def _heartbeat(self, tally: Tally) -> Iterator[Metric]:
        """The newest heartbeat with verdict and receipt; only there where heartbeats are sent."""
        if not self._settings.heartbeat_minutes:
            return
        newest = tally.newest.get(heartbeat.DATASET)
        if newest is not None and newest != self._answered:
            stem = receipt_stem(newest[1])
            if stores.receipts(self._settings).exists(f"{heartbeat.SUPPLIER}/{stem}.json"):
                self._answered = newest
        yield GaugeMetricFamily(
            "verbund_heartbeat_timestamp_seconds", "When the newest heartbeat arrived that got verdict and receipt; 0: none.",
            value=self._answered[0].timestamp() if self._answered else 0,
        )  # fmt: skip
        yield GaugeMetricFamily(
            "verbund_heartbeat_period_seconds", "How often a heartbeat is sent.", value=self._settings.heartbeat_minutes * 60
        )  # fmt: skip

    def _lake(self) -> Iterator[Metric]:
        snapshots = GaugeMetricFamily("verbund_lake_snapshots", "Snapshots kept.", labels=["catalog"])
        files = GaugeMetricFamily("verbund_lake_files", "Data files of the newest snapshot.", labels=["catalog"])
        size = GaugeMetricFamily("verbund_lake_bytes", "Bytes in these files.", labels=["catalog"])
        for catalog in CATALOGS:
            if (found := self._figures.lake(catalog)) is not None:
                snapshots.add_metric([catalog], found.snapshots)
                files.add_metric([catalog], found.files)
                size.add_metric([catalog], found.bytes)
        yield from (snapshots, files, size)

    def _database(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "verbund_database_bytes", "Size of the database with the ledger.", value=self._figures.database_bytes()
        )

    def _store(self) -> Iterator[Metric]:
        began = time.perf_counter()
        release = releasing.current(self._settings)
        yield GaugeMetricFamily(
            "verbund_store_seconds", "How long the object store took to say which release is served.",
            value=time.perf_counter() - began,
        )  # fmt: skip
        if release is not None:
            yield GaugeMetricFamily("verbund_release", "Number of the release readers are given.", value=release.number)
            at = release.released_at.timestamp()
            yield GaugeMetricFamily("verbund_release_timestamp_seconds", "When it was made.", value=at)

    def _machine(self) -> Iterator[Metric]:
        free, total = self._figures.disk()
        yield GaugeMetricFamily("verbund_disk_free_bytes", "Free where the home lies.", value=free)
        yield GaugeMetricFamily("verbund_disk_bytes", "Size of the disk where the home lies.", value=total)
        if (folder := self._settings.backup_dir) is not None:
            newest = max(backup.points(folder), default=None)
            yield GaugeMetricFamily(
                "verbund_backup_timestamp_seconds", "Moment of the newest point in the folder of backups; 0: none.",
                value=backup.moment(newest).timestamp() if newest else 0,
            )  # fmt: skip


def _waits(name: str, what: str, waiting: Waiting) -> Iterator[Metric]:
    """How many wait, and how long the oldest has."""
    yield GaugeMetricFamily(f"{name}_waiting", f"How many {what}.", value=waiting.number)
    age = (datetime.now(UTC) - waiting.oldest).total_seconds() if waiting.oldest else 0
    yield GaugeMetricFamily(f"{name}_oldest_seconds", f"Age of the oldest of the {what}.", value=max(0, age))


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [str(bound) for bound in Histogram.BOUNDS]
    return [*zip(bounds, map(float, histogram.counts), strict=True), ("+Inf", float(histogram.number))]
