"""Spans of the way of a delivery, for OpenTelemetry; nothing is loaded or sent where no collector is named.

Set `OTEL_EXPORTER_OTLP_ENDPOINT` (the standard's own variable) and every process tells its part. Several processes work
on one delivery and hand each other nothing but its id, so the trace's id is made from that.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext, Tracer

#: The standard's variables that name a collector.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@contextmanager
def span(
    name: str, delivery: str | None = None, *, began_ns: int | None = None, **attributes: str | int | float | bool
) -> Iterator[None]:
    """Tell how long the block took; what it raises is told, and raised.

    Args:
        name: Of the step: `vault.keep`, `judge`, `lake.accept`.
        delivery: Whose way this is a part of; without it the span belongs to the one around it.
        began_ns: When the work began, where that was before the block (Unix time).
        attributes: Numbers, ids and states. Never cells, names of persons or secrets.
    """
    if not any(os.environ.get(name) for name in ENDPOINTS):
        yield
        return
    from opentelemetry import trace

    around = trace.set_span_in_context(trace.NonRecordingSpan(_root(delivery))) if delivery else None
    told = {f"verbund.{key}": value for key, value in attributes.items()}
    if delivery:
        told["verbund.delivery"] = delivery
    # an error's text may hold what a supplier sent; its class is enough to find it in the log
    with _tracer().start_as_current_span(
        name,
        context=around,
        start_time=began_ns,
        attributes=told,
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        try:
            yield
        except BaseException as error:
            made.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def trace_id(delivery: str) -> int:
    """Number of the trace that all spans of a delivery belong to."""
    return int.from_bytes(hashlib.sha256(delivery.encode()).digest()[:16])


def _root(delivery: str) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    digest = hashlib.sha256(delivery.encode()).digest()
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(trace_id(delivery), int.from_bytes(digest[16:24]), is_remote=True, trace_flags=sampled)


@functools.cache
def _tracer() -> Tracer:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "verbund"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    atexit.register(provider.shutdown)
    return provider.get_tracer("verbund")
