"""The observer process: shows the metrics of the installation and sends the heartbeat.

It takes no part in the way of a delivery; without it nothing stops but the watching.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from quality import heartbeat
from quality.metrics import Installation
from storage.settings import Settings

log = logging.getLogger("verbund.observer")

#: A port that is taken is tried again after so long.
RETRY_SECONDS = 15.0


class Sent(Collector):
    """How many heartbeats left this process, and how many could not."""

    def __init__(self) -> None:
        self.sent, self.failed = 0, 0

    def collect(self) -> list[Metric]:
        """Both, since this process began."""
        told = GaugeMetricFamily("verbund_heartbeats_sent", "Heartbeats put by this observer.", value=self.sent)
        failed = GaugeMetricFamily("verbund_heartbeats_failed", "Those that could not be put.", value=self.failed)
        return [told, failed]


def run(settings: Settings, *, stop: threading.Event) -> None:
    """Serve `/metrics` where the settings say and send heartbeats until `stop` is set."""
    settings.paths.create()
    registry, installation, sent = CollectorRegistry(), Installation(settings), Sent()
    registry.register(installation)
    registry.register(sent)
    with contextlib.ExitStack() as at_end:
        at_end.callback(installation.close)
        serves, serve_at, beat_at = not settings.metrics_port, 0.0, 0.0
        while not stop.is_set():
            now = time.monotonic()
            if not serves and now >= serve_at:
                serves, serve_at = _serve(settings, registry, at_end), now + RETRY_SECONDS
            if settings.heartbeat_minutes and now >= beat_at:
                beat_at = now + settings.heartbeat_minutes * 60
                _send(settings, sent)
            stop.wait(0.5)


def _serve(settings: Settings, registry: CollectorRegistry, at_end: contextlib.ExitStack) -> bool:
    host, port = settings.metrics_host, settings.metrics_port
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        # somebody else has the port: no reason to end, and with it to have the whole platform stopped
        log.error("no metrics at %s:%s (VERBUND_METRICS_PORT): %s; trying again", host, port, error)
        return False
    at_end.callback(thread.join)
    at_end.callback(server.shutdown)
    return True


def _send(settings: Settings, sent: Sent) -> None:
    try:
        heartbeat.send(settings)
        sent.sent += 1
    except Exception:
        # that it does not arrive is what the alert tells; here is why
        log.exception("the heartbeat could not be sent")
        sent.failed += 1
