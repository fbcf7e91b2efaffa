"""OpenTelemetry's current span as the trace of events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context

from producer.trace import current_trace


@contextmanager
def trace_of(context: Context | None) -> Iterator[None]:
    """The span of `context`, or of the moment, is the trace of what is emitted in the block."""
    span = trace.get_current_span(context).get_span_context()
    if not span.is_valid:
        yield
        return
    packed = span.trace_id.to_bytes(16) + span.span_id.to_bytes(8) + bytes([int(span.trace_flags) & 0xFF])
    token = current_trace.set(packed)
    try:
        yield
    finally:
        current_trace.reset(token)
