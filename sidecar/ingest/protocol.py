"""Rules of a stream as a table: for each state and kind of message the next state, or the broken rule.

Pure: no socket, no clock. `service.py` acts on the messages that the table lets through.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import NoReturn

import grpc

from sidecar.ingest.validate import ContractFault
from telemetry_contract.v1 import telemetry_pb2 as pb


class StreamState(Enum):
    """Progress of a stream: before Hello, after it, after Goodbye."""

    NEW = auto()
    OPEN = auto()
    LEFT = auto()


_NO_HELLO = ContractFault("hello_first", "the first message must be Hello")
_SECOND_HELLO = ContractFault("one_hello", "a stream has one Hello: open another stream for another session")
_AFTER_GOODBYE = ContractFault("after_goodbye", "nothing follows Goodbye: close the stream")

UNKNOWN = "unknown"
"""Kind of a message that this version does not know: ignored and counted, in every state."""

KINDS = ("hello", "define", "batch", "heartbeat", "secrets_applied", "secrets_rejected", "goodbye")

TABLE: Mapping[tuple[StreamState, str], StreamState | ContractFault] = {
    **{(StreamState.NEW, kind): _NO_HELLO for kind in KINDS},
    (StreamState.NEW, "hello"): StreamState.OPEN,
    **{(StreamState.OPEN, kind): StreamState.OPEN for kind in KINDS},
    (StreamState.OPEN, "hello"): _SECOND_HELLO,
    (StreamState.OPEN, "goodbye"): StreamState.LEFT,
    **{(StreamState.LEFT, kind): _AFTER_GOODBYE for kind in KINDS},
    **{(state, UNKNOWN): state for state in StreamState},
}
"""State after a message of a kind, or the rule that it breaks."""

_PRECONDITIONS = frozenset({"protocol_version", "sequence_gap", "hello_first", "one_hello", "after_goodbye"})
"""Rules about the state of the stream; a broken rule about the message itself is INVALID_ARGUMENT."""

_BATCH_TAG = pb.PublishRequest.BATCH_FIELD_NUMBER << 3 | 2


class StreamRefusedError(Exception):
    """The sidecar ends the stream with a status; `rule` is the name by which it is counted."""

    def __init__(self, status: grpc.StatusCode, text: str, rule: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.rule = rule or status.name.lower()


def refuse(rule: str, message: str) -> NoReturn:
    """End the stream for a rule that its producer broke: raises `StreamRefusedError`."""
    code = grpc.StatusCode.FAILED_PRECONDITION if rule in _PRECONDITIONS else grpc.StatusCode.INVALID_ARGUMENT
    raise StreamRefusedError(code, f"{rule}: {message}", rule)


def batch_bytes(raw: bytes) -> bytes | None:
    """Serialized Batch of a PublishRequest that holds nothing else; None if the request must be parsed.

    The journal stores these bytes as they came, so a batch is parsed once and never serialized again.
    """
    if not raw or raw[0] != _BATCH_TAG:
        return None
    length = shift = 0
    for place in range(1, min(6, len(raw))):
        byte = raw[place]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - a varint's last byte
            return raw[place + 1 :] if length == len(raw) - place - 1 else None
        shift += 7
    return None
