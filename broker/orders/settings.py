"""Settings of the order path: the journal, ownership, waits, and limits on what may be sent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from pod_runtime.config import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskLimits:
    """Pre-trade limits on entries; 0 is no limit. The account's count all clients, a client's only its own orders.

    Positions are the account's: a client's limits add its own working orders to them.
    """

    units: Decimal = setting(Decimal(0), minimum=0, doc="largest order, in units")
    notional: Decimal = setting(Decimal(0), minimum=0, doc="largest order, in the account's currency")
    open_orders: int = setting(1000, minimum=0, doc="orders that rest or will rest; the venue's own limit is 1000")
    orders_per_s: float = setting(0.0, minimum=0, doc="sustained new orders a second")
    order_burst: int = setting(100, minimum=1, doc="new orders that may come at once, under `orders_per_s`")
    position_units: Decimal = setting(
        Decimal(0), minimum=0, doc="largest net position of an instrument, in units; what rests or is on its way counts"
    )
    gross_exposure: Decimal = setting(
        Decimal(0),
        minimum=0,
        doc="largest worth of all positions together, long and short, in the account's currency; what rests or is on "
        "its way counts",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSettings:
    """Settings of the order path of every account."""

    directory: Path = setting(
        Path("/var/lib/broker/orders"), doc="directory of the order journal and the ownership lease"
    )
    owner: str = setting(
        "broker", doc="name of the deployment that trades the account; part of the client ids at the venue"
    )
    account: RiskLimits = setting(RiskLimits(), doc="limits over all clients")
    clients: dict[str, RiskLimits] = setting({}, doc="limits by API key id, besides the account's")
    price_collar_ratio: Decimal = setting(
        Decimal("0.05"),
        minimum=0,
        maximum=1,
        doc="largest distance of a limit, stop or bound from the market, as a ratio; 0 disables the check",
    )
    protection_collar_ratio: Decimal = setting(
        Decimal("0.2"),
        minimum=0,
        maximum=1,
        doc="largest distance of an attached stop or target from the order's price or the market, as a ratio; "
        "0 disables the check",
    )
    margin_check: bool = setting(
        True, doc="false: entries are sent without regard to the margin in the last summary; the venue decides then"
    )
    price_age_s: float = setting(
        0.0,
        minimum=0,
        doc="age of a price beyond which a market order is refused even on a live stream; 0 disables the check: "
        "a quiet market is not a stale price",
    )
    daily_loss: Decimal = setting(
        Decimal(0),
        minimum=0,
        doc="loss of a UTC day without transfers, in account currency, beyond which only exits are sent; 0 is no limit",
    )
    duplicate_window_s: float = setting(
        0.0,
        minimum=0,
        doc="seconds in which a client's second order of the same content is refused; 0 disables the check",
    )
    answer_wait_s: float = setting(
        2.0, minimum=0, doc="seconds that a caller waits for the first scans of the venue's log after a lost answer"
    )
    absence_horizon_s: float = setting(
        60.0, minimum=0.1, doc="seconds of scans after which an order that is not found is presumed absent"
    )
    absence_scans: int = setting(
        4, minimum=2, doc="whole scans that must not find the order, besides the horizon, before it is presumed absent"
    )
    circuit_failures: int = setting(
        5, minimum=1, doc="submissions in a row without an answer after which orders that add exposure are denied"
    )
    circuit_pause_s: float = setting(5.0, minimum=0, doc="seconds that they are denied before one order may try")
    drain_s: float = setting(
        20.0, minimum=0, doc="seconds to wait for orders in flight at the end; shorter than the pod's grace period"
    )
    sample_s: float = setting(5.0, minimum=0.1, doc="seconds between samples of the gauges and reads of the account")
    reconcile_s: float = setting(300.0, minimum=1, doc="seconds between comparisons with the venue")
    ownership: str = setting(
        "file",
        choices=("file", "cluster"),
        doc="place of the ownership lease: file on one machine, cluster for a Lease object of the namespace",
    )
    colour_file: Path | None = setting(
        None, doc="downwardAPI file of the pod's labels: only the active colour may own the account; none: any may"
    )
    colour_label: str = setting("broker.role/colour", doc="label in that file whose value `active` lets us trade")
    standby: str = setting(
        "refuse",
        choices=("refuse", "forward"),
        doc="answer to an order at a broker that does not own the account: refuse answers 409 with the owner's "
        "address, forward passes the order to the owner",
    )
    standby_ready: bool = setting(
        False,
        doc="true: a broker that does not own the account is ready although it refuses orders; one that forwards is",
    )
    replicas: int = setting(
        1,
        minimum=1,
        doc="processes that share the accounts: each takes accounts over replicas, rounded up, and no more at first",
    )
    orphan_s: float = setting(
        10.0,
        minimum=0,
        doc="seconds without a sign of an account's owner after which a process that has its share takes it as well, "
        "once the lease has ended",
    )
    lease_s: float = setting(10.0, minimum=0.5, doc="seconds that the ownership lease lasts without renewal")
    read_back_transactions: int = setting(
        5000, minimum=0, doc="transactions read back from the venue's log when the journal is empty"
    )
    segment_bytes: int = setting(64 << 20, minimum=1 << 12, doc="size at which the journal begins the next segment")
    keep_bytes: int = setting(
        2 << 30,
        minimum=1 << 16,
        doc="largest size of one account's segments that the history has not read yet: the volume needs it for each",
    )
    remember_s: float = setting(
        86400.0,
        minimum=60,
        doc="seconds that a finished order is kept in memory, so that its client order id is recognised",
    )
    remember_orders: int = setting(
        50_000, minimum=1, doc="finished orders kept in memory; older ones are in the history"
    )

    @property
    def serves_standby(self) -> bool:
        """True if a process without the account is ready all the same."""
        return self.standby_ready or self.standby == "forward"

    def __post_init__(self) -> None:
        if not self.owner or not all(part.isalnum() or part in "-_" for part in self.owner) or len(self.owner) > 60:  # noqa: PLR2004 - with epoch and id below the venue's 128
            raise ValueError("owner must be 1 to 60 letters, digits, - or _")
