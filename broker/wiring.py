"""The broker's parts, built by hand from a configuration."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from broker.account_wiring import Access, EveryAccount, Shard, build_shard, spread_of, utc_now
from broker.api.application import build_application
from broker.api.context import AccountApi, ApiContext
from broker.api.forwarding.peer import Peer
from broker.api.http.server import ApiServer, build_server
from broker.api.http.tls import new_server_context
from broker.api.process_metrics import ProcessMetrics, metrics_route
from broker.config import Config
from broker.credentials.watcher import Credentials
from broker.events.catalogue import CATALOGUE
from broker.history.database import Database
from broker.orders.conditions import Conditions
from broker.orders.model.ids import order_id
from pod_runtime.version import VERSION
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
    credentials: Credentials
    shards: Sequence[Shard]
    api: ApiContext
    server: ApiServer

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
    tls = new_server_context() if config.api.tls == "required" else None
    database = Database(config.history)
    credentials = _credentials(
        config, shards, database, tls=tls, conditions=conditions, emitter=emitter, stream=stream
    )
    access = Access(token=credentials.venue_token, on_unauthorized=credentials.refused, address=address)
    spread = spread_of(config)
    for account in config.venue.accounts:
        beside = shards[0].venue if shards else None
        common = (conditions, emitter, resource)
        shards.append(
            build_shard(
                config, account, access=access, database=database, beside=beside, spread=spread, common=common
            )
        )
    api = _api(config, shards, credentials, conditions=conditions, emitter=emitter)
    application = build_application(api)
    own = [(shard.emitter, shard.stream) for shard in shards if shard.stream is not None]
    application.include_router(metrics_route(ProcessMetrics(VERSION, [(emitter, stream), *own])))
    return Parts(
        config=config,
        conditions=conditions,
        emitter=emitter,
        stream=stream,
        database=database,
        credentials=credentials,
        shards=shards,
        api=api,
        server=build_server(application, config.api, tls),
    )


def _api(
    config: Config, shards: Sequence[Shard], credentials: Credentials, *, conditions: Conditions, emitter: Emitter
) -> ApiContext:
    def health_of(shard: Shard) -> list[Condition]:
        return [*conditions.all(), *shard.own_health()] if shard.name else health(conditions, [shard])

    accounts = {
        shard.account: AccountApi(
            id=shard.account, orders=shard.desk, archive=shard.archive, conditions=partial(health_of, shard)
        )
        for shard in shards
    }
    return ApiContext(
        settings=config.api,
        accounts=accounts,
        keys=credentials,
        peer=Peer(config.api, credentials),
        forwards_writes=config.orders.standby == "forward",
        export_rows=config.history.export_rows,
        emit=emitter.emit,
        new_client_order_id=new_client_order_id,
    )


def _credentials(
    config: Config,
    shards: Sequence[Shard],
    database: Database,
    *,
    tls: ssl.SSLContext | None,
    conditions: Conditions,
    emitter: Emitter,
    stream: TelemetryStream,
) -> Credentials:
    return Credentials(
        config.credentials,
        accounts=config.venue.accounts,
        needs_tls=tls is not None,
        venue=EveryAccount(lambda: [shard.venue for shard in shards]),
        database=database,
        tls=tls,
        asks_peers=config.orders.standby == "forward",
        conditions=conditions,
        emit=emitter.emit,
        announce=stream,
        clock=utc_now,
    )


def new_client_order_id() -> str:
    """A client order id for a caller that gives none."""
    return "auto-" + order_id(int(utc_now().timestamp() * 1000), secrets.randbits(80))
