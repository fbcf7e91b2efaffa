"""One stream as it is being served: where it stands, what its producer has not been told, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import grpc

from sidecar.ingest.accept import OpenStream
from sidecar.ingest.protocol import State
from telemetry_contract.v1 import telemetry_pb2 as pb

MAX_UNTOLD = 256
_BATCH_TAG = pb.PublishRequest.BATCH_FIELD_NUMBER << 3 | 2
_RULE_STATUS = {
    "protocol_version": grpc.StatusCode.FAILED_PRECONDITION,
    "sequence_gap": grpc.StatusCode.FAILED_PRECONDITION,
    "hello_first": grpc.StatusCode.FAILED_PRECONDITION,
    "one_hello": grpc.StatusCode.FAILED_PRECONDITION,
    "after_goodbye": grpc.StatusCode.FAILED_PRECONDITION,
}
"""Statuses of broken rules; INVALID_ARGUMENT where none stands here."""


class RefusedError(Exception):
    """The stream ends with a status."""

    def __init__(self, status: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.rule = text.partition(":")[0] if status in _NAMED else status.name.lower()


_NAMED = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION})


def refuse(rule: str, message: str) -> NoReturn:
    """Ends the stream for a rule that its producer broke.

    Raises:
        RefusedError: always.
    """
    raise RefusedError(_RULE_STATUS.get(rule, grpc.StatusCode.INVALID_ARGUMENT), f"{rule}: {message}")


def draining() -> RefusedError:
    """The end of a stream whose sidecar stops."""
    return RefusedError(grpc.StatusCode.UNAVAILABLE, "the sidecar is draining: connect again")


@dataclass(slots=True)
class Connection:
    """A stream that is being served, and what its producer has not been told yet."""

    state: State = State.NEW
    hello: pb.Hello = field(default_factory=pb.Hello)
    stream: OpenStream | None = None
    rejections: list[pb.Rejection] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    untold: bool = False
    ended: bool = False
    over: asyncio.Future[RefusedError] | None = None

    def tell_soon(self, rejections: Sequence[pb.Rejection] = ()) -> None:
        """There is something to acknowledge or to refuse."""
        self.rejections += rejections
        if len(self.rejections) > MAX_UNTOLD:
            # A producer that does not listen: what it is told gets coarser, and takes no more room.
            self.rejections = merged(self.rejections)
        self.untold = True
        self.news.set()

    def end(self, reason: RefusedError) -> None:
        """Ends the stream from outside."""
        if self.over is not None and not self.over.done():
            self.over.set_result(reason)

    def opened(self) -> OpenStream:
        """The stream behind the connection, after its Hello."""
        if self.stream is None:
            raise RuntimeError("a message before Hello passed the table of the protocol")
        return self.stream


def merged(rejections: Sequence[pb.Rejection]) -> list[pb.Rejection]:
    """One rejection a reason: the first of it, with the count of all."""
    by_reason: dict[str, pb.Rejection] = {}
    for item in rejections:
        found = by_reason.get(item.reason)
        if found is None:
            by_reason[item.reason] = item
        else:
            found.count += item.count
    return list(by_reason.values())


def batch_bytes(raw: bytes) -> bytes | None:
    """The serialized Batch of a PublishRequest that holds nothing else; None where it must be parsed."""
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
