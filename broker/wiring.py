"""Builds the components of the broker, by hand, from its configuration."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from broker.account_wiring import AccountComponents, SharedComponents, account_share, build_account
from broker.api.application import build_application
from broker.api.context import AccountApi, ApiContext
from broker.api.forwarding.peer import Peer
from broker.api.http.server import ApiServer, build_server
from broker.api.http.tls import new_server_context
from broker.api.process_metrics import ProcessMetrics, metrics_route
from broker.config import BrokerConfig
from broker.credentials.proof import CredentialNeeds
from broker.credentials.watcher import CredentialWatcher
from broker.events import CATALOGUE
from broker.history.database import Database
from broker.order_wiring import utc_now
from broker.orders.conditions import BrokerCondition, Conditions
from broker.orders.model.ids import RANDOM_BITS, auto_client_order_id
from broker.orders.ownership.lease import MARGIN_SHARE
from broker.venue.rest.client import VenueRest
from broker.venue.rest.connection_pool import VenueConnections
from pod_runtime import VERSION
from producer.emitter import Emitter
from producer.health import Condition
from producer.stream.client import TelemetryStream


@dataclass(slots=True, kw_only=True)
class BrokerComponents:
    """Everything that runs in the process; `app` starts and ends it."""

    shared: SharedComponents
    stream: TelemetryStream
    credentials: CredentialWatcher
    accounts: Sequence[AccountComponents]
    api: ApiContext
    server: ApiServer

    def health(self) -> Sequence[Condition]:
        """Every condition of the process."""
        return health(self.shared.conditions, self.accounts)

    def close(self) -> None:
        """Close the spools."""
        self.shared.emitter.close()
        for account in self.accounts:
            if account.stream is not None:
                account.emitter.close()


def health(own: Conditions, accounts: Sequence[AccountComponents]) -> list[Condition]:
    """The process's conditions with those of its accounts."""
    found = {item.name: item for item in own.all()}
    found |= {item.name: item for account in accounts for item in account.health()}
    return list(found.values())


def build(config: BrokerConfig, address: str = "") -> BrokerComponents:
    """The components; nothing runs yet, but the telemetry spools are open: close them.

    `address` is where other brokers reach our order API.

    Raises:
        OSError: a spool's directory cannot be used.
    """
    resource = {"service.name": "broker", "service.version": VERSION}
    emitter = Emitter(
        config.telemetry, catalogue=CATALOGUE, resource=resource, constant_labels=config.telemetry.constant_labels
    )
    conditions = Conditions(utc_now)
    # Filled below: the telemetry stream and the credentials exist before the accounts that they ask.
    accounts: list[AccountComponents] = []
    venues: list[VenueRest] = []
    stream = TelemetryStream(emitter, config.telemetry, lambda: health(conditions, accounts))
    # Without a certificate yet: the first generation of secrets brings it, before the process is ready.
    tls = new_server_context() if config.api.tls == "required" else None
    database = Database(config.history)
    forwards = config.orders.standby == "forward"
    credentials = CredentialWatcher(
        config.credentials,
        CredentialNeeds(accounts=config.venue.accounts, needs_tls=tls is not None, asks_peers=forwards),
        venues=venues,
        database=database,
        tls=tls,
        conditions=conditions,
        emit=emitter.emit,
        announce=stream.control,
        clock=utc_now,
    )
    # A request is delivered within the gap between two owners of the account, or not at all.
    delivery_s = 2 * MARGIN_SHARE * config.orders.lease_s
    shared = SharedComponents(
        config=config,
        conditions=conditions,
        emitter=emitter,
        resource=resource,
        database=database,
        connections=VenueConnections(config.venue, emitter.emit, delivery_s=delivery_s),
        tokens=credentials,
        share=account_share(config),
        address=address,
    )
    for account in config.venue.accounts:
        accounts.append(build_account(shared, account))
        venues.append(accounts[-1].venue)
    api = _api(shared, accounts, credentials)
    application = build_application(api)
    own = [(account.emitter, account.stream) for account in accounts if account.stream is not None]
    application.include_router(metrics_route(ProcessMetrics(VERSION, [(emitter, stream), *own])))
    return BrokerComponents(
        shared=shared,
        stream=stream,
        credentials=credentials,
        accounts=accounts,
        api=api,
        server=build_server(
            application,
            config.api,
            tls,
            refused=api.refused,
            emit=emitter.emit,
            report=partial(_report_accepting, conditions, api),
        ),
    )


def _report_accepting(conditions: Conditions, api: ApiContext, fault: str | None) -> None:
    """Tell the broker's health that connections cannot be accepted (`fault`), or can be again (None)."""
    if not api.drain.is_set():
        reason = "Ready" if fault is None else "NoDescriptors"
        conditions.set(BrokerCondition.SERVING, ok=fault is None, reason=reason, message=fault or "")


def _api(shared: SharedComponents, accounts: Sequence[AccountComponents], credentials: CredentialWatcher) -> ApiContext:
    config, conditions = shared.config, shared.conditions

    def health_of(account: AccountComponents) -> list[Condition]:
        return [*conditions.all(), *account.own_health()] if account.name else health(conditions, [account])

    return ApiContext(
        settings=config.api,
        accounts={
            item.account: AccountApi(
                id=item.account,
                orders=item.orders,
                archive=item.archive,
                market=item.market,
                conditions=partial(health_of, item),
            )
            for item in accounts
        },
        keys=credentials,
        peer=Peer(config.api, credentials),
        forwards_writes=config.orders.standby == "forward",
        export_rows=config.history.export_rows,
        emit=shared.emitter.emit,
        new_client_order_id=lambda: auto_client_order_id(utc_now(), secrets.randbits(RANDOM_BITS)),
    )
