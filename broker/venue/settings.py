"""Settings of the connection to the venue."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from pod_runtime.config import setting

PRACTICE_HOSTS = frozenset({"api-fxpractice.oanda.com", "stream-fxpractice.oanda.com"})
LIVE_HOSTS = frozenset({"api-fxtrade.oanda.com", "stream-fxtrade.oanda.com"})


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueSettings:
    """Address of the venue, and limits on how it is used (OANDA v20, development guide and best practices)."""

    account: str = setting(doc="id of the account to trade, for example 101-004-1234567-001")
    further_accounts: tuple[str, ...] = setting(
        (), doc="ids of more accounts of the same token, each owned, journaled and limited by itself"
    )
    rest_url: str = setting("https://api-fxpractice.oanda.com", doc="scheme and host of the REST API, without /v3")
    stream_url: str = setting("https://stream-fxpractice.oanda.com", doc="scheme and host of the streams, without /v3")
    live_acknowledged: bool = setting(default=False, doc="must be true to trade real money on the live hosts")
    instruments: tuple[str, ...] = setting((), doc="instruments to stream and trade; none means all of the account's")
    sampled_instruments: tuple[str, ...] = setting(
        (), doc="instruments that have gauges of their own; none means the first twenty of `instruments`"
    )
    request_deadline_s: float = setting(
        10.0,
        minimum=0.05,
        doc="seconds to wait for an answer, and as many before it for a turn and a connection; "
        "measured answers take 0.1-0.4 s",
    )
    connections: int = setting(
        8, minimum=1, maximum=100, doc="kept-alive connections that all requests share; opened at 2 a second"
    )
    requests_per_s: float = setting(
        90.0, minimum=1, maximum=120, doc="sustained requests a second; with `burst` at most 100 in any second"
    )
    burst: int = setting(10, minimum=1, maximum=100, doc="requests that may go at once")
    connections_per_s: float = setting(2.0, minimum=0.1, doc="new connections a second; the venue allows 2")
    heartbeat_deadline_s: float = setting(
        10.0, minimum=0.1, doc="seconds of silence after which the broker cuts a stream; heartbeats come every 5 s"
    )
    reconnect_s: float = setting(
        0.5, minimum=0.001, doc="seconds before a stream is opened again; doubles up to 10 s while opening fails"
    )
    healthy_after_s: float = setting(
        60.0, minimum=0, doc="seconds that a stream must live before its backoff starts anew"
    )
    read_attempts: int = setting(4, minimum=1, maximum=10, doc="attempts of a read; a write has one")

    @property
    def accounts(self) -> tuple[str, ...]:
        """All accounts, beginning with `account`."""
        return (self.account, *self.further_accounts)

    @property
    def environment(self) -> str:
        """`practice`, `live`, or `other` for hosts that are not the venue's."""
        host = urlsplit(self.rest_url).hostname
        return "live" if host in LIVE_HOSTS else "practice" if host in PRACTICE_HOSTS else "other"

    def __post_init__(self) -> None:
        if len(set(self.accounts)) < len(self.accounts):
            raise ValueError("further_accounts must differ from account and from each other")
        rest, stream = urlsplit(self.rest_url), urlsplit(self.stream_url)
        if rest.scheme not in {"http", "https"} or stream.scheme not in {"http", "https"}:
            raise ValueError("rest_url and stream_url must start with http:// or https://")
        live = {host in LIVE_HOSTS for host in (rest.hostname, stream.hostname) if host in LIVE_HOSTS | PRACTICE_HOSTS}
        # Live orders judged by practice prices would look right in every log.
        if len(live) > 1:
            raise ValueError("rest_url and stream_url mix the practice and the live environment")
        if live == {True} and not self.live_acknowledged:
            raise ValueError("the live hosts trade real money: set live_acknowledged = true to mean it")
        if live and "http" in {rest.scheme, stream.scheme}:
            raise ValueError("the venue's own hosts take https only")
