"""Admission of a stream: its Hello, the names of its peer and the open streams decide. Pure: time is an argument.

One live session speaks for a producer id. A second one is refused while the first is heard; one that fell silent for
`telemetry.heartbeat_timeout_s` loses its place, so a restarted program waits no longer for the half-dead stream of its
predecessor. The loser's stream is ended with ALREADY_EXISTS; if its process lives and connects again, the same rule
refuses it. A stream of recovery speaks for no live session, and no live session may be recovered.

Over TCP the names in the peer's certificate say which ids it may use. Over the Unix socket nothing does: gRPC for
Python tells of such a peer neither user nor process. `ServicerContext.peer()` is `unix:`, `auth_context()` says
`insecure`, and `grpc.local_server_credentials` asserts no more than that it is local. The mode of the socket's
directory says who may connect, and `telemetry.allowed_producers` which ids those may use.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import grpc

from sidecar.ingest.protocol import StreamRefusedError
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb

Names = Collection[str] | None
"""Subject alternative names of a peer's certificate; None without one, over the Unix socket."""


@dataclass(slots=True)
class StreamClaim:
    """The session that an open stream speaks for. `heard_s` is its last message, by a clock that nobody sets."""

    producer_id: str
    session_id: str
    recovery: bool = False
    heard_s: float = 0.0
    left: bool = False
    """True after its Goodbye: it speaks for nobody, and still takes room."""


def check_admission(
    hello: pb.Hello, names: Names, claims: Iterable[StreamClaim], settings: TelemetrySettings, now_s: float
) -> list[StreamClaim]:
    """Admit a Hello beside the claims of the open streams; return those that it takes the place of.

    Raises StreamRefusedError: the id may not be used, is in use, or there are too many streams.
    """
    producer_id = hello.producer_id
    _check_id(producer_id, names, settings)
    every = list(claims)
    # Its own older stream does not count: a producer that reconnects must not be locked out by itself.
    others = {claim.producer_id for claim in every} - {producer_id}
    if len(others) >= settings.max_producers:
        text = f"{len(others)} producers are connected, telemetry.max_producers allows no more"
        raise StreamRefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
    own = [claim for claim in every if claim.producer_id == producer_id]
    replaced = [claim for claim in own if claim.session_id == hello.session_id or _competes(claim, hello)]
    for claim in replaced:
        age_s = now_s - claim.heard_s
        if _competes(claim, hello) and age_s < settings.heartbeat_timeout_s:
            text = (
                f"session_alive: {producer_id} is connected with session {claim.session_id[:64]}, heard {age_s:.1f} s "
                "ago: a producer id has one process; end the other one or give this one an id of its own"
            )
            raise StreamRefusedError(grpc.StatusCode.ALREADY_EXISTS, text, "session_alive")
    if len(own) - len(replaced) >= settings.max_streams:
        text = f"{producer_id} has {len(own)} streams, telemetry.max_streams allows no more"
        raise StreamRefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, "too_many_streams")
    return replaced


def _check_id(producer_id: str, names: Names, settings: TelemetrySettings) -> None:
    allowed = settings.allowed_producers
    if allowed and producer_id not in allowed:
        text = f"producer {producer_id[:64]!r} is not among telemetry.allowed_producers"
        raise StreamRefusedError(grpc.StatusCode.PERMISSION_DENIED, text)
    if names is not None and producer_id not in names:
        text = f"the certificate does not name {producer_id[:64]!r}: its subject alternative names must have the id"
        raise StreamRefusedError(grpc.StatusCode.PERMISSION_DENIED, text, "certificate_name")


def _competes(claim: StreamClaim, hello: pb.Hello) -> bool:
    """True if the claim's process would have to be dead for the Hello to be right."""
    if claim.recovery or claim.left:
        return False
    # A new stream of the same session is its process again, after a broken connection that we have not noticed.
    return (claim.session_id == hello.session_id) == hello.recovery


def peer_names(auth_context: Mapping[str, Iterable[bytes]]) -> Names:
    """Names in the certificate of a peer; None for one that showed none, which only the Unix socket lets in."""
    # https://grpc.github.io/grpc/core/md_doc_server_side_auth.html names the properties of a TLS peer.
    if b"insecure" in auth_context.get("transport_security_type", (b"insecure",)):
        return None
    return {name.decode(errors="replace") for name in auth_context.get("x509_subject_alternative_name", ())}
