"""Conditions and verdicts of the sidecar: decided from facts, by pure functions.

`status_facts` translates what the parts report into `HealthFacts`; `evaluate` turns those into conditions, `track`
adds since when each has been so, and `verdict` answers a probe from the conditions that it asks for. Nothing here
waits for anything or looks at a clock: a probe must never hang on something remote, because the kubelet restarts a
container whose liveness probe gives no answer. So Vault, the collector and the journal's volume are advisory: a
restart would mend none of them, and would end the telemetry and the secrets that still work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pod_runtime.condition import ALIVE, READY, ConditionName
from pod_runtime.config import setting
from pod_runtime.listener.ports import parse_address

Fault = tuple[str, str]
"""Reason and message of a condition that fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """Section `health`: address of the probes, and the limits that their conditions use."""

    # Every interface, unlike the console: the answer holds no secret and changes nothing.
    address: str = setting(
        ":8000", doc="host:port of the probes; the kubelet asks the pod's address, so every interface, IPv6 and IPv4"
    )
    # One: other producers may connect, and no probe waits for them.
    producer: str = setting("broker", doc="id of the producer that /livez/broker and /readyz report on")
    # The kubelet asks once a second at most, so an answer is hardly older than its question.
    interval_s: float = setting(0.25, minimum=0.01, maximum=10, doc="seconds between two evaluations of the conditions")
    # A stalled loop gives no answer at all, or a late one; this limit is for an evaluation that keeps failing.
    stale_s: float = setting(5.0, minimum=0.1, doc="age in seconds at which a cached verdict counts as a failure")
    # Ten heartbeats: one late beat under load must not restart the broker.
    heartbeat_budget_s: float = setting(
        10.0,
        minimum=0.1,
        doc="seconds without a heartbeat after which a producer counts as dead (it sends one a second)",
    )
    reconnect_grace_s: float = setting(
        1.0,
        minimum=0,
        doc="seconds that a producer stays ready after its stream ended: time for its first attempts to reconnect",
    )
    # Long enough to take the pod out of its Service and to answer the requests that it has.
    secrets_margin_s: float = setting(
        30.0,
        minimum=0,
        doc="seconds before a secret's expiry from which the pod is no longer ready; at most 15 % of the secret's life",
    )

    def __post_init__(self) -> None:
        parse_address(self.address)
        # A verdict must outlive its interval by one more: else a single late evaluation fails every probe.
        if self.stale_s < 2 * self.interval_s:
            raise ValueError("stale_s must be at least twice interval_s, or a verdict is stale before the next one")


SHORT_LIFE_SHARE = 0.15


class SidecarCondition(ConditionName):
    """Conditions that the sidecar evaluates; those of a producer keep the names that it sends."""

    LOOP_TURNS = "LoopTurns", "the event loop was at most `health.stale_s` late", "LoopStalled"
    SOCKET_OPEN = "SocketOpen", "producers can connect", "NotListening"
    NOT_DRAINING = "NotDraining", "nobody has told the sidecar to stop", "Draining"
    SECRETS_PUBLISHED = (
        "SecretsPublished",
        "a set of secrets is in the shared directory, or none is configured",
        "NotYet",
    )
    SECRETS_FRESH = (
        "SecretsFresh",
        "no published secret expires within `health.secrets_margin_s`",
        *("NearExpiry", "NotPublished"),
    )
    PRODUCER_ALIVE = (
        "ProducerAlive",
        "the producer `health.producer` sent a heartbeat within `health.heartbeat_budget_s`; its own `Alive` holds",
        *("Goodbye", "HeartbeatMissing", "NeverHeard"),
    )
    PRODUCER_READY = (
        "ProducerReady",
        "it is connected, or was within `health.reconnect_grace_s`, and its conditions hold (advice aside)",
        *("NotAlive", "NotConnected", "NotSaid"),
    )
    VAULT_REACHABLE = "VaultReachable", "the last request to Vault for each purpose went well (advice)"
    SECRETS_ACCEPTED = (
        "SecretsAccepted",
        "a producer has proved the published set, or has time left to (advice)",
        "NotProved",
    )
    READERS_NAMED = (
        "ReadersNamed",
        "`secrets.acknowledged_by` names who may prove or refuse leased secrets, or there are none (advice)",
        "AnyProducer",
    )
    COLLECTOR_REACHABLE = "CollectorReachable", "exports succeed (advice)"
    JOURNAL_WRITABLE = (
        "JournalWritable",
        "the journal takes events and checkpoints (advice)",
        *("CheckpointFailed", "JournalRefuses"),
    )
    VERDICT_FRESH = (
        "VerdictFresh",
        "the conditions were evaluated within `health.stale_s`; stands alone where they were not",
        "StaleVerdict",
    )


PROBES: Mapping[str, tuple[SidecarCondition, ...]] = {
    # Only the event loop: restarting the sidecar mends a stall of its own, and nothing else that can fail.
    "livez": (SidecarCondition.LOOP_TURNS,),
    # A probe of the broker's container, answered here: the sidecar knows if heartbeats come, and a broker whose event
    # loop has stalled could not answer for itself.
    "livez/broker": (SidecarCondition.PRODUCER_ALIVE,),
    "readyz": (
        SidecarCondition.SECRETS_PUBLISHED,
        SidecarCondition.SECRETS_FRESH,
        SidecarCondition.PRODUCER_ALIVE,
        SidecarCondition.PRODUCER_READY,
        SidecarCondition.NOT_DRAINING,
    ),
    # Never the producer: it waits for this probe before it starts, and each would wait for the other.
    "startupz": (SidecarCondition.SOCKET_OPEN, SidecarCondition.SECRETS_PUBLISHED),
}
"""Conditions that must hold for each probe to pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCondition:
    """One named statement of health. `since_ns` is when `ok` or `reason` last changed, Unix nanoseconds."""

    name: str
    """A `SidecarCondition`, or the name that a producer gave."""
    ok: bool
    reason: str = READY
    message: str = ""
    since_ns: int = 0
    advisory: bool = False
    """True for information that no probe asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFacts:
    """Expiry of one published secret."""

    name: str
    expires_in_s: float | None = None
    """None for a secret that does not expire."""
    lasts_s: float | None = None
    """Its whole life, from one renewal to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsFacts:
    """State of the secrets: the published generation, and what is wrong."""

    configured: bool = True
    generation: int = 0
    """Number of the published generation; 0 before the first."""
    secrets: tuple[SecretFacts, ...] = ()
    fault: Fault | None = None
    """Reason and message of the last failed request to Vault, until one for the same purpose succeeds."""
    unproved: Fault | None = None
    """Reason and message if producers refused the published generation or did not prove it in time."""
    is_anyone_heard: bool = False
    """True if any producer's word has a lease revoked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerFacts:
    """State of the producer that the probes report on."""

    producer_id: str
    connected: bool = False
    gone_s: float = 0.0
    """Seconds since its stream ended; 0 while it is connected."""
    heartbeat_age_s: float | None = None
    """None before its first heartbeat."""
    goodbye: str = ""
    """Reason of its orderly end; empty while it runs."""
    has_spoken: bool = True
    """True once it has sent its conditions on this connection."""
    conditions: tuple[HealthCondition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFacts:
    """State of the export to the collector."""

    enabled: bool = True
    fault: Fault | None = None
    """Reason and message while exports fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthFacts:
    """Input of `evaluate`: the state of every part at one moment."""

    now_ns: int
    loop_lag_s: float = 0.0
    draining: bool = False
    socket_open: bool = False
    journal_fault: Fault | None = None
    secrets: SecretsFacts = SecretsFacts()
    producer: ProducerFacts = ProducerFacts(producer_id="")
    export: ExportFacts = ExportFacts()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeVerdict:
    """Answer of a probe, with the conditions that it rests on."""

    probe: str
    ok: bool
    conditions: tuple[HealthCondition, ...]


def evaluate(facts: HealthFacts, settings: HealthSettings) -> tuple[HealthCondition, ...]:
    """Evaluate every condition of the sidecar; `track` sets their `since_ns`."""
    late, secrets, names = facts.loop_lag_s, facts.secrets, SidecarCondition
    stalled = ("LoopStalled", f"the event loop stood still for {late:.1f} s") if late > settings.stale_s else None
    anyone = ("AnyProducer", "any producer may have a leased secret revoked: name the readers in acknowledged_by")
    closed = ("NotListening", "the telemetry socket is not open (the journal is read first)")
    return (
        _condition(names.LOOP_TURNS, stalled, f"last turn {1000 * late:.0f} ms late"),
        _condition(names.SOCKET_OPEN, None if facts.socket_open else closed, "producers can connect"),
        _condition(names.NOT_DRAINING, ("Draining", "the sidecar was told to stop") if facts.draining else None),
        _secrets_published(secrets),
        _secrets_fresh(secrets, settings),
        _producer_alive(facts.producer, settings),
        _producer_ready(facts.producer, settings),
        _condition(names.VAULT_REACHABLE, secrets.fault if secrets.configured else None, advisory=True),
        _condition(names.SECRETS_ACCEPTED, secrets.unproved, advisory=True),
        _condition(names.READERS_NAMED, anyone if secrets.is_anyone_heard else None, advisory=True),
        _condition(names.COLLECTOR_REACHABLE, facts.export.fault if facts.export.enabled else None, advisory=True),
        _condition(names.JOURNAL_WRITABLE, facts.journal_fault, advisory=True),
    )


def track(
    previous: Iterable[HealthCondition], found: Iterable[HealthCondition], now_ns: int
) -> tuple[HealthCondition, ...]:
    """Set `since_ns` of each condition, kept from `previous` while neither `ok` nor `reason` changes."""
    before = {(item.name, item.ok, item.reason): item.since_ns for item in previous}
    return tuple(replace(item, since_ns=before.get((item.name, item.ok, item.reason), now_ns)) for item in found)


def verdict(probe: str, conditions: Sequence[HealthCondition]) -> ProbeVerdict:
    """Answer a probe of `PROBES`; a condition that was never evaluated does not hold."""
    # Fails closed: before the first evaluation no probe passes.
    named = {item.name: item for item in conditions}
    unknown = "nothing has been evaluated yet"
    chosen = tuple(
        named.get(name, HealthCondition(name=name, ok=False, reason="NotEvaluated", message=unknown))
        for name in PROBES[probe]
    )
    return ProbeVerdict(probe=probe, ok=all(item.ok for item in chosen), conditions=chosen)


def stale_verdict(probe: str, age_s: float) -> ProbeVerdict:
    """Answer a probe after the last evaluation has become older than `health.stale_s`."""
    message = f"conditions were last evaluated {age_s:.1f} s ago"
    condition = _condition(SidecarCondition.VERDICT_FRESH, ("StaleVerdict", message))
    return ProbeVerdict(probe=probe, ok=False, conditions=(condition,))


def _condition(
    name: SidecarCondition, fault: Fault | None, message: str = "", *, advisory: bool = False
) -> HealthCondition:
    """Make a condition that fails for `fault`, or without one holds with `message`."""
    if fault is None:
        return HealthCondition(name=name, ok=True, message=message, advisory=advisory)
    return HealthCondition(name=name, ok=False, reason=fault[0], message=fault[1], advisory=advisory)


def _secrets_published(secrets: SecretsFacts) -> HealthCondition:
    name = SidecarCondition.SECRETS_PUBLISHED
    if not secrets.configured:
        return HealthCondition(name=name, ok=True, reason="NoSecrets", message="no secret is configured")
    if secrets.generation:
        return _condition(name, None, f"generation {secrets.generation} is published")
    # The fault of Vault is the reason, so that a pod which never becomes ready says why in its own probe.
    return _condition(name, secrets.fault or ("NotYet", "the first login is under way"))


def _secrets_fresh(secrets: SecretsFacts, settings: HealthSettings) -> HealthCondition:
    name = SidecarCondition.SECRETS_FRESH
    if secrets.configured and not secrets.generation:
        return _condition(name, ("NotPublished", "there are none yet"))
    expiring = sorted((item.expires_in_s, item.name) for item in secrets.secrets if item.expires_in_s is not None)
    # Not ready before the expiry, not after it: requests on their way still have valid credentials.
    lives = {item.name: item.lasts_s for item in secrets.secrets}
    margin_s = settings.secrets_margin_s
    late = [
        f"{secret} {_remaining(left)}" for left, secret in expiring if left <= expiry_margin_s(margin_s, lives[secret])
    ]
    well = f"next expiry: {expiring[0][1]} {_remaining(expiring[0][0])}" if expiring else "none expires"
    return _condition(name, ("NearExpiry", ", ".join(late)) if late else None, well)


def expiry_margin_s(margin_s: float, lasts_s: float | None) -> float:
    """Seconds before the expiry of a secret from which it is told as near, for a life of `lasts_s`."""
    # A renewal comes when 30 to 40 % of the life are left: a secret of a minute must not be late in each of its lives.
    return margin_s if lasts_s is None else min(margin_s, SHORT_LIFE_SHARE * lasts_s)


def _remaining(seconds: float) -> str:
    return f"expires in {seconds:.0f} s" if seconds > 0 else f"expired {-seconds:.0f} s ago"


def _producer_alive(producer: ProducerFacts, settings: HealthSettings) -> HealthCondition:
    fault, age = _silence(producer, settings), producer.heartbeat_age_s
    well = "" if age is None else f"{producer.producer_id}: last heartbeat {age:.1f} s ago"
    return _condition(SidecarCondition.PRODUCER_ALIVE, fault, well)


def _silence(producer: ProducerFacts, settings: HealthSettings) -> Fault | None:
    """Return reason and message if the producer does not count as alive, None if it does."""
    name, age, budget_s = producer.producer_id, producer.heartbeat_age_s, settings.heartbeat_budget_s
    if age is None:
        return "NeverHeard", f"{name} has not sent a heartbeat since the sidecar started"
    # Before the age: a producer that said goodbye sends no more heartbeats, and that is no fault of its loop.
    if producer.goodbye:
        return "Goodbye", f"{name} ended in order ({producer.goodbye})"
    if age > budget_s:
        state = "is connected but silent" if producer.connected else "is not connected"
        return "HeartbeatMissing", f"{name} {state}: last heartbeat {age:.0f} s ago, budget {budget_s:.0f} s"
    # Those of a former process say nothing about one that has just connected.
    said = (item for item in producer.conditions if producer.has_spoken and item.name == ALIVE and not item.ok)
    return next(((item.reason, f"{name}: {item.message}") for item in said), None)


def _producer_ready(producer: ProducerFacts, settings: HealthSettings) -> HealthCondition:
    well = f"{len(producer.conditions)} conditions of {producer.producer_id} hold"
    return _condition(SidecarCondition.PRODUCER_READY, _unready(producer, settings), well)


def _unready(producer: ProducerFacts, settings: HealthSettings) -> Fault | None:
    producer_id = producer.producer_id
    if _silence(producer, settings) is not None:
        return "NotAlive", f"{producer_id} is not alive"
    # A stream may break while the broker is well, and it connects again at once. The grace keeps the pod in its
    # Service meanwhile: without it each reconnection would be a short outage of the order API.
    if not producer.connected and producer.gone_s > settings.reconnect_grace_s:
        return "NotConnected", f"{producer_id} is not connected: its stream ended {producer.gone_s:.1f} s ago"
    # Conditions come with heartbeats. Before the first one an empty list would read as "nothing fails".
    if not producer.has_spoken:
        return "NotSaid", f"{producer_id} has connected and not yet said how it is"
    # The reason of the first one becomes ours: "ProducerReady: StreamDown" names the cause in one line.
    failing = [item for item in producer.conditions if not item.ok and not item.advisory]
    if failing:
        return failing[0].reason, "; ".join(f"{item.name}: {item.reason}: {item.message}" for item in failing)
    return None
