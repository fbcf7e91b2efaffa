"""The broker's parts, built by hand from a configuration."""

from __future__ import annotations

import random
import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from broker.api.application import VERSION, build_application
from broker.api.in_flight import InFlight
from broker.api.peer import Peer
from broker.api.server import ApiServer, build_server
from broker.api.surface import Surface
from broker.api.tls import new_context
from broker.config import Config
from broker.credentials import Credentials
from broker.health import Condition
from broker.history.archive import Archive
from broker.history.backfill import Backfill
from broker.history.database import Database
from broker.history.source import JournalSource
from broker.history.writer import Writer
from broker.orders.conditions import Conditions
from broker.orders.desk import Desk
from broker.orders.identity import order_id
from broker.telemetry.emitter import Emitter
from broker.telemetry.stream import TelemetryStream
from broker.venue.rest import VenueRest

SERVING = "serving"


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(UTC)


@dataclass(slots=True, kw_only=True)
class Parts:
    """Everything that runs in the process; `app` starts and ends it."""

    config: Config
    conditions: Conditions
    emitter: Emitter
    stream: TelemetryStream
    database: Database
    venue: VenueRest
    credentials: Credentials
    desk: Desk
    writer: Writer
    backfill: Backfill
    surface: Surface
    server: ApiServer

    def health(self) -> Sequence[Condition]:
        """Every condition of the process."""
        return health(self.conditions, self.desk)


def health(own: Conditions, desk: Desk) -> list[Condition]:
    """The desk's conditions with the others'."""
    return [*own.all(), *desk.conditions()]


def build(config: Config, address: str = "") -> Parts:
    """The parts; nothing runs yet, but the telemetry spool is open. Close `emitter`.

    `address` is where the account's other brokers reach the order API.

    Raises:
        OSError: the spool's directory cannot be used.
    """
    emitter = Emitter(config.telemetry, resource={"service.name": "broker", "service.version": VERSION})
    conditions = Conditions(utc_now)
    stream = TelemetryStream(emitter, config.telemetry, lambda: health(conditions, desk))
    tls = new_context() if config.api.tls == "required" else None
    database = Database(config.history)
    venue = VenueRest(
        config.venue,
        token=lambda: credentials.venue_token(),  # noqa: PLW0108 - it does not exist yet
        emit=emitter.emit,
        chance=random.random,
        on_unauthorized=lambda token: credentials.refused(token),  # noqa: PLW0108 - as above
    )
    credentials = _credentials(
        config, venue, database, tls=tls, conditions=conditions, emitter=emitter, stream=stream
    )
    desk = Desk(
        config.orders,
        config.venue,
        venue=venue,
        token=credentials.venue_token,
        emit=emitter.emit,
        clock=utc_now,
        chance=random.random,
        on_unauthorized=credentials.refused,
        address=address,
    )
    account = config.venue.account
    writer = Writer(
        config.history,
        database,
        JournalSource(desk, config.orders.directory / account),
        account=account,
        conditions=conditions,
        emit=emitter.emit,
        chance=random.random,
    )
    surface = Surface(
        settings=config.api,
        history_rows=config.history.export_rows,
        account=account,
        desk=desk,
        archive=Archive(database, account),
        keys=credentials.api_keys,
        in_flight=InFlight(),
        emit=emitter.emit,
        new_id=new_id,
        conditions=lambda: health(conditions, desk),
        peer=Peer(config.api, credentials.certificate),
        forwards=config.orders.standby == "forward",
    )
    return Parts(
        config=config,
        conditions=conditions,
        emitter=emitter,
        stream=stream,
        database=database,
        venue=venue,
        credentials=credentials,
        desk=desk,
        writer=writer,
        backfill=Backfill(database, venue, account=account, chance=random.random),
        surface=surface,
        server=build_server(build_application(surface), config.api, tls),
    )


def _credentials(
    config: Config,
    venue: VenueRest,
    database: Database,
    *,
    tls: ssl.SSLContext | None,
    conditions: Conditions,
    emitter: Emitter,
    stream: TelemetryStream,
) -> Credentials:
    return Credentials(
        config.credentials,
        account=config.venue.account,
        needs_tls=tls is not None,
        venue=venue,
        database=database,
        tls=tls,
        asks_peers=config.orders.standby == "forward",
        conditions=conditions,
        emit=emitter.emit,
        announce=stream,
        clock=utc_now,
    )


def new_id() -> str:
    """A client order id for a caller that gives none."""
    return "auto-" + order_id(int(utc_now().timestamp() * 1000), secrets.randbits(80))
