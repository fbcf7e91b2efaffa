"""The trace that an event belongs to (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import re
from contextvars import ContextVar

# A trace context is 16 bytes of trace id, 8 of span id and 1 of flags.
TRACE_BYTES = 25

# Trace context of the running task or thread, as `parse_traceparent` gives it; `emit` stores it with the event.
current_trace: ContextVar[bytes | None] = ContextVar("current_trace", default=None)

# Version ff is forbidden; later versions may append fields behind the flags, version 00 may not.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def parse_traceparent(header: str | None) -> bytes | None:
    """The trace context in a `traceparent` header; None if there is no header or it is invalid.

    A header of a later version is read by its first four fields, as the specification asks.
    """
    match = _TRACEPARENT.fullmatch(header.strip()) if header else None
    if match is None or (match[4] and header is not None and header.strip().startswith("00")):
        return None
    trace_id, span_id = bytes.fromhex(match[1]), bytes.fromhex(match[2])
    return trace_id + span_id + bytes.fromhex(match[3]) if any(trace_id) and any(span_id) else None


def trace_fields() -> dict[str, str]:
    """Trace and span id of the running task for a log line; empty outside a trace."""
    trace = current_trace.get()
    return {} if trace is None else {"trace_id": trace[:16].hex(), "span_id": trace[16:24].hex()}
