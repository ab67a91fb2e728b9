"""What an installation tells of itself: metrics from the ledger, the heartbeat, and spans for whoever collects them."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from quality import heartbeat, observer
from quality.desk import Desk
from quality.inboxes import Inboxes
from quality.judging import work_queue
from quality.metrics import Installation
from quality.receipt import receipt_stem
from quality.supply import publish_supply
from storage import stores
from storage.settings import Settings, project_root
from storage.tracing import trace_id
from tests.server.support.servers import free_port
from tests.support.bench import GOOD, PLAIN, THIRD, WORKS, TestBench, written
from tests.support.profiles import ON_SERVERS, settings_for

Told = dict[tuple[str, tuple[tuple[str, str], ...]], float]
PERIOD, ROW = GOOD["waste_balance"]


def told(settings: Settings) -> Told:
    """Every sample, by name and labels."""
    installation = Installation(settings)
    try:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for metric in installation.collect()
            for sample in metric.samples
        }
    finally:
        installation.close()


def value(of: Told, name: str, **labels: str) -> float:
    return of[name, tuple(sorted(labels.items()))]


def test_counters_are_what_the_ledger_says_whoever_observes(tmp_path: Path) -> None:
    bench = TestBench(tmp_path)
    bench.deliver(written([ROW]), "waste_balance", PERIOD)
    bench.deliver(written([ROW]), "waste_balance", PERIOD)
    bench.deliver("no table", "waste_balance", "2023")
    bench.desk.receive(bench.file(written([ROW])), THIRD, "waste_balance", PERIOD, file_name="late.csv", who="test")
    first, second = told(bench.settings), told(bench.settings)
    stable = [key for key in first if key[0].endswith(("_total", "_bucket", "_count", "_sum"))]
    assert {key: first[key] for key in stable} == {key: second[key] for key in stable}
    assert value(first, "verbund_deliveries_total", supplier=WORKS, dataset="waste_balance") == 3
    assert value(first, "verbund_verdicts_total", dataset="waste_balance", state="accepted") == 1
    assert value(first, "verbund_verdicts_total", dataset="waste_balance", state="rejected") == 1
    assert value(first, "verbund_rows_total", dataset="waste_balance", state="accepted") == 1
    assert value(first, "verbund_time_to_verdict_seconds_count", dataset="waste_balance") == 2
    assert value(first, "verbund_time_to_verdict_seconds_bucket", dataset="waste_balance", le="+Inf") == 2
    assert 0 < value(first, "verbund_time_to_verdict_seconds_sum", dataset="waste_balance") < 600
    assert value(first, "verbund_queue_waiting") == 1
    assert value(first, "verbund_queue_deliveries_by_supplier", supplier=THIRD) == 1
    assert 0 <= value(first, "verbund_queue_oldest_seconds") < 600
    assert value(first, "verbund_outbox_waiting") == 2
    assert {value(first, f"verbund_mails_{name}") for name in ("waiting", "stuck", "given_up")} == {0}
    assert value(first, "verbund_lake_snapshots", catalog="accepted") >= 2
    assert value(first, "verbund_disk_free_bytes") > 0
    assert all(up == 1 for (name, _), up in first.items() if name == "verbund_source_up")


def test_an_observer_goes_on_counting_where_it_stopped(tmp_path: Path) -> None:
    bench = TestBench(tmp_path)
    installation = Installation(bench.settings)
    seen = []
    for year in ("2021", "2022", "2023"):
        bench.deliver(written([{**ROW, "year": year}]), "waste_balance", year)
        samples = {s.name: s.value for m in installation.collect() for s in m.samples if s.labels.get("dataset")}
        seen.append(samples["verbund_verdicts_total"])
    installation.close()
    assert seen == [1, 2, 3]


def test_what_cannot_be_asked_hides_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = TestBench(tmp_path)
    bench.deliver(written([ROW]), "waste_balance", PERIOD)

    def down(*_: object) -> None:
        raise OSError("not now")

    monkeypatch.setattr("storage.figures.Figures.lake", down)
    seen = told(bench.settings)
    assert value(seen, "verbund_source_up", source="lake") == 0
    assert value(seen, "verbund_source_up", source="ledger") == 1
    assert value(seen, "verbund_verdicts_total", dataset="waste_balance", state="accepted") == 1


@pytest.fixture
def beating(tmp_path: Path) -> Iterator[Desk]:
    """A desk of a region in which the platform sends itself a heartbeat."""
    desk = Desk(settings_for(tmp_path, PLAIN, heartbeat_minutes=20))
    desk.ensure_tables(desk.pack)
    yield desk
    desk.close()


def go_through(desk: Desk) -> None:
    """Take in and judge what lies in the inboxes."""
    deadline = time.monotonic() + 20
    while not Inboxes(desk).sweep():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    work_queue(desk)


def test_a_heartbeat_counts_when_it_has_verdict_and_receipt(beating: Desk) -> None:
    settings = beating.settings
    assert value(told(settings), "verbund_heartbeat_timestamp_seconds") == 0
    heartbeat.send(settings)
    assert value(told(settings), "verbund_heartbeat_timestamp_seconds") == 0
    go_through(beating)
    (first,) = beating.ledger.deliveries()
    assert (first.supplier, first.state) == (heartbeat.SUPPLIER, "accepted")
    assert value(told(settings), "verbund_heartbeat_timestamp_seconds") == first.received_at.timestamp()
    heartbeat.send(settings)
    go_through(beating)
    newest = max(beating.ledger.deliveries(), key=lambda view: view.attempt)
    assert newest.attempt == 2
    assert value(told(settings), "verbund_heartbeat_timestamp_seconds") == newest.received_at.timestamp()
    stores.receipts(settings).delete(f"{heartbeat.SUPPLIER}/{receipt_stem(newest.delivery_id)}.json")
    assert value(told(settings), "verbund_heartbeat_timestamp_seconds") == 0


def test_a_heartbeat_is_no_part_of_what_the_region_shares(beating: Desk) -> None:
    heartbeat.send(beating.settings)
    go_through(beating)
    publish_supply(beating)
    query = beating.bench.connection.execute
    for table in ("supply_slots", "supply_deliveries", "region_suppliers", "region_mandates"):
        found = query(f"select count(*) from accepted.{table} where supplier_id = '{heartbeat.SUPPLIER}'").fetchone()
        assert found == (0,), table
    assert query("select count(*) from accepted.supply_findings").fetchone() == (0,)
    assert query(f"select count(*) from accepted.{heartbeat.DATASET}").fetchone() == (1,)


def test_a_region_without_heartbeat_does_not_know_of_it(tmp_path: Path) -> None:
    desk = Desk(settings_for(tmp_path, PLAIN))
    assert heartbeat.SUPPLIER not in desk.pack.suppliers
    assert heartbeat.DATASET not in desk.pack.contracts
    desk.close()


def test_the_observer_sends_heartbeats_and_shows_metrics_over_http(beating: Desk) -> None:
    port, stop = free_port(), threading.Event()
    settings = beating.settings.model_copy(update={"metrics_port": port})
    watching = threading.Thread(target=observer.run, args=(settings,), kwargs={"stop": stop})
    watching.start()
    try:
        go_through(beating)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            text = answer.read().decode()
    finally:
        stop.set()
        watching.join(20)
    assert not watching.is_alive()
    found = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
    assert found["verbund_heartbeats_sent"] == 1
    assert time.time() - found["verbund_heartbeat_timestamp_seconds"] < 120


def test_a_port_that_is_taken_keeps_no_heartbeat_from_being_sent(beating: Desk) -> None:
    stop = threading.Event()
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as taken:
        settings = beating.settings.model_copy(update={"metrics_port": taken.server_port})
        watching = threading.Thread(target=observer.run, args=(settings,), kwargs={"stop": stop})
        watching.start()
        go_through(beating)
        stop.set()
        watching.join(20)
    assert [view.supplier for view in beating.ledger.deliveries()] == [heartbeat.SUPPLIER]


def test_alerts_and_panels_speak_of_metrics_there_are_and_the_operators_page_of_every_alert(beating: Desk) -> None:
    infra = project_root() / "infra"
    rules = [
        rule
        for group in yaml.safe_load((infra / "prometheus/alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    ]
    dashboard = json.loads((infra / "grafana/verbund.json").read_text())
    asked = [rule["expr"] for rule in rules]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    heartbeat.send(beating.settings)
    go_through(beating)
    settings = beating.settings.model_copy(update={"backup_dir": beating.settings.home})
    # only there after a release
    known = {name for name, _ in told(settings)} | {"verbund_release", "verbund_release_timestamp_seconds"}
    # only there while something waits
    known.add("verbund_queue_deliveries_by_supplier")
    for expression in asked:
        for name in re.findall(r"verbund_\w+", expression):
            assert name in known, f"{name} in {expression}"
    page = (project_root() / "docs/operators.md").read_text()
    assert [rule["alert"] for rule in rules if f"`{rule['alert']}`" not in page] == []


@pytest.mark.skipif(ON_SERVERS, reason="spans are the same on both profiles; the command is quicker on folders")
def test_the_spans_of_a_delivery_make_one_trace(tmp_path: Path) -> None:
    taken: list[bytes] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    file = tmp_path / "balance.csv"
    file.write_text(written([ROW]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        environment = {
            **os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
            "VERBUND_HOME": str(tmp_path / "home"), "VERBUND_REGION": str(PLAIN),
        }  # fmt: skip
        command = [sys.executable, "-m", "verbund.cli", "deliver", str(file), "--supplier", WORKS, "--dataset",
                   "waste_balance", "--period", PERIOD, "--json"]  # fmt: skip
        said = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=120)
        collector.shutdown()
    delivery = json.loads(said.stdout)["delivery"]
    requests = [ExportTraceServiceRequest.FromString(body) for body in taken]
    spans = [s for r in requests for of in r.resource_spans for scope in of.scope_spans for s in scope.spans]
    assert {"judge", "accept", "answer"} <= {span.name for span in spans}
    assert {int.from_bytes(span.trace_id) for span in spans} == {trace_id(delivery)}
    assert all(b"200301" not in body and b"1.234,5" not in body for body in taken)
