"""Settings of the order API."""

from __future__ import annotations

from dataclasses import dataclass

from pod_runtime.config import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Address of the order API, and the limits on its callers."""

    host: str = setting("", doc="address to listen on; empty: every interface, IPv6 and IPv4")
    port: int = setting(8080, minimum=0, maximum=65535, doc="port to listen on; 0 takes a free one")
    tls: str = setting(
        "required",
        choices=("required", "off"),
        doc="required is HTTPS with tls.crt and tls.key of the secret volume, off is plain HTTP; never guessed",
    )
    address: str = setting(
        "",
        doc="host at which the account's other brokers reach this one; empty is the host that it listens on, or the "
        "machine's name if it listens on every interface",
    )
    peer_name: str = setting("", doc="name in the certificates of the other brokers; empty is the host that is asked")
    request_bytes: int = setting(65536, minimum=1024, doc="largest body of a request; an order takes about 300 bytes")
    deadline_s: float = setting(
        30.0, minimum=0.1, doc="seconds until a request without an answer gets 504; longer than the venue's deadline"
    )
    requests_per_s: float = setting(100.0, minimum=0.1, doc="sustained requests a second of one API key")
    request_burst: int = setting(200, minimum=1, doc="requests that one API key may send at once")
    event_streams: int = setting(64, minimum=1, doc="event streams that may be open at once")
    # Longer than the 60 s for which load balancers usually keep theirs: one that sends a request on a connection
    # which we are closing answers 502, and the caller does not know if the order was taken.
    keep_alive_s: int = setting(75, minimum=1, doc="seconds that a connection is kept between two requests")
    connections: int = setting(
        1000,
        minimum=1,
        doc="open connections, at most the limit of file descriptors less 200; beyond it the oldest that never showed "
        "a key is closed for a new one, or else the new one",
    )
    connections_per_address: int = setting(
        500, minimum=1, doc="open connections of one address (IPv6: of one /64) that have not shown a key yet"
    )
    connections_per_s: float = setting(
        100.0,
        minimum=0.1,
        doc="sustained new connections a second from all addresses together, but for those from which a good key came "
        "within ten minutes; `connections` may come at once",
    )
    connections_per_s_per_address: float = setting(
        20.0, minimum=0.1, doc="the same for one address (IPv6: one /64); `connections_per_address` may come at once"
    )
    receive_s: float = setting(
        10.0, minimum=0.1, doc="seconds for a TLS handshake, for the head of a request, and for its body"
    )
    head_bytes: int = setting(
        32768, minimum=1024, maximum=262144, doc="largest head of a request: request line and headers; else 431"
    )
    head_fields: int = setting(100, minimum=10, maximum=10000, doc="most headers of a request; else 431")
    wrong_keys_per_min: float = setting(
        60.0, minimum=1, doc="requests a minute with an unknown key, of one address; the next ones get 429"
    )
    drain_s: float = setting(5.0, minimum=0.1, doc="seconds for the answers under way when the server ends")

    def url_of(self, broker: str) -> str:
        """Base URL of another broker at `host:port`."""
        # By our own setting and not by theirs: a broker with TLS must never send a caller's key in plain text.
        return f"{'https' if self.tls == 'required' else 'http'}://{broker}"
