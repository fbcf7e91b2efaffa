"""The broker's parts, built by hand from a configuration."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from broker.account_wiring import Access, EveryAccount, Shard, account_share, build_shard
from broker.api.application import VERSION, build_application
from broker.api.context import Surface
from broker.api.forwarding.peer import Peer
from broker.api.http.server import ApiServer, build_server
from broker.api.http.tls import new_context
from broker.api.in_flight import InFlight
from broker.api.process_metrics import Carriage, ProcessMetrics, metrics_route
from broker.config import Config
from broker.credentials.proof import CredentialNeeds
from broker.credentials.watcher import CredentialWatcher
from broker.events.catalogue import CATALOGUE
from broker.history.database import Database
from broker.order_wiring import utc_now
from broker.orders.conditions import Conditions
from broker.orders.model.ids import RANDOM_BITS, auto_client_order_id
from broker.orders.ownership.lease import MARGIN_SHARE
from broker.venue.rest.connection_pool import VenueConnections
from producer.emitter import Emitter
from producer.health import Condition
from producer.stream.client import TelemetryStream

SERVING = "Serving"


@dataclass(slots=True, kw_only=True)
class Parts:
    """Everything that runs in the process; `app` starts and ends it."""

    config: Config
    conditions: Conditions
    emitter: Emitter
    stream: TelemetryStream
    database: Database
    connections: VenueConnections
    credentials: CredentialWatcher
    shards: Sequence[Shard]
    surfaces: Sequence[Surface]
    """Of the shards, in their order; callers, quotas, what is in flight and the end are common to them."""
    server: ApiServer

    @property
    def surface(self) -> Surface:
        """The first account's, for what is common."""
        return self.surfaces[0]

    def health(self) -> Sequence[Condition]:
        """Every condition of the process."""
        return health(self.conditions, self.shards)

    def close(self) -> None:
        """Closes the spools."""
        self.emitter.close()
        for shard in self.shards:
            if shard.stream is not None:
                shard.emitter.close()


def health(own: Conditions, shards: Sequence[Shard]) -> list[Condition]:
    """The process's conditions with those of its accounts."""
    found = {item.name: item for item in own.all()}
    found |= {item.name: item for shard in shards for item in shard.health()}
    return list(found.values())


def carriages(emitter: Emitter, stream: TelemetryStream, shards: Sequence[Shard]) -> list[Carriage]:
    """How each emitter of the process stands: its own, and those of accounts that have theirs."""
    own = [(shard.emitter, shard.stream) for shard in shards if shard.stream is not None]
    return [Carriage(ledger=item.ledger(), connected=way.connected) for item, way in ((emitter, stream), *own)]


def build(config: Config, address: str = "") -> Parts:
    """The parts; nothing runs yet, but the telemetry spools are open. `close` them.

    `address` is where the accounts' other brokers reach the order API.

    Raises:
        OSError: a spool's directory cannot be used.
    """
    resource = {"service.name": "broker", "service.version": VERSION}
    emitter = Emitter(config.telemetry, catalogue=CATALOGUE, resource=resource)
    conditions = Conditions(utc_now)
    shards: list[Shard] = []
    stream = TelemetryStream(emitter, config.telemetry, lambda: health(conditions, shards))
    tls = new_context() if config.api.tls == "required" else None
    database = Database(config.history)
    credentials = _credentials(
        config, shards, database, tls=tls, conditions=conditions, emitter=emitter, stream=stream
    )
    # A request is delivered within the gap between two owners of the account, or not at all.
    delivery_s = 2 * MARGIN_SHARE * config.orders.lease_s
    connections = VenueConnections(config.venue, emitter.emit, delivery_s=delivery_s)
    access = Access(token=credentials.venue_token, on_unauthorized=credentials.refused, address=address)
    share = account_share(config)
    for account in config.venue.accounts:
        common = (conditions, emitter, resource)
        shards.append(
            build_shard(
                config, account, access=access, database=database, connections=connections, share=share, common=common
            )
        )
    surfaces = _surfaces(config, shards, credentials, conditions=conditions, emitter=emitter)
    application = build_application(*surfaces)
    application.include_router(metrics_route(ProcessMetrics(VERSION, lambda: carriages(emitter, stream, shards))))
    return Parts(
        config=config,
        conditions=conditions,
        emitter=emitter,
        stream=stream,
        database=database,
        connections=connections,
        credentials=credentials,
        shards=shards,
        surfaces=surfaces,
        server=build_server(application, config.api, tls),
    )


def _surfaces(
    config: Config,
    shards: Sequence[Shard],
    credentials: CredentialWatcher,
    *,
    conditions: Conditions,
    emitter: Emitter,
) -> list[Surface]:
    def told(shard: Shard) -> list[Condition]:
        return [*conditions.all(), *shard.own_health()] if shard.name else health(conditions, [shard])

    first, *others = shards
    surface = Surface(
        settings=config.api,
        history_rows=config.history.export_rows,
        account=first.account,
        desk=first.desk,
        archive=first.archive,
        keys=credentials.api_keys,
        in_flight=InFlight(),
        emit=emitter.emit,
        new_id=new_id,
        conditions=lambda: told(first),
        peer=Peer(config.api, credentials.certificate),
        forwards=config.orders.standby == "forward",
    )
    return [surface] + [
        surface.sibling(item.account, item.desk, item.archive, partial(told, item)) for item in others
    ]


def _credentials(
    config: Config,
    shards: Sequence[Shard],
    database: Database,
    *,
    tls: ssl.SSLContext | None,
    conditions: Conditions,
    emitter: Emitter,
    stream: TelemetryStream,
) -> CredentialWatcher:
    return CredentialWatcher(
        config.credentials,
        CredentialNeeds(
            accounts=config.venue.accounts,
            needs_tls=tls is not None,
            asks_peers=config.orders.standby == "forward",
        ),
        venue=EveryAccount(lambda: [shard.venue for shard in shards]),
        database=database,
        tls=tls,
        conditions=conditions,
        emit=emitter.emit,
        announce=stream,
        clock=utc_now,
    )


def new_id() -> str:
    """A client order id for a caller that gives none."""
    return auto_client_order_id(utc_now(), secrets.randbits(RANDOM_BITS))
