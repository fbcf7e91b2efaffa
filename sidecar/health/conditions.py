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

from pod_runtime.condition import READY, ConditionName
from sidecar.health.settings import HealthSettings


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
        "the producer `health.producer` sent a heartbeat within `health.heartbeat_budget_s`",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsFacts:
    """State of the secrets: the published generation, and what is wrong."""

    configured: bool = True
    generation: int = 0
    """Number of the published generation; 0 before the first."""
    secrets: tuple[SecretFacts, ...] = ()
    fault: tuple[str, str] | None = None
    """Reason and message of the last failed request to Vault, until one for the same purpose succeeds."""
    unproved: tuple[str, str] | None = None
    """Reason and message if producers refused the published generation or did not prove it in time."""


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
    fault: tuple[str, str] | None = None
    """Reason and message while exports fail."""
    queued: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthFacts:
    """Input of `evaluate`: the state of every part at one moment."""

    now_ns: int
    loop_lag_s: float = 0.0
    draining: bool = False
    socket_open: bool = False
    journal_fault: tuple[str, str] | None = None
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
    return (
        _loop_turns(facts, settings),
        _socket_open(facts),
        _not_draining(facts),
        _secrets_published(facts.secrets),
        _secrets_fresh(facts.secrets, settings),
        _producer_alive(facts.producer, settings),
        _producer_ready(facts.producer, settings),
        _advice(SidecarCondition.VAULT_REACHABLE, facts.secrets.fault if facts.secrets.configured else None),
        _advice(SidecarCondition.SECRETS_ACCEPTED, facts.secrets.unproved),
        _advice(SidecarCondition.COLLECTOR_REACHABLE, facts.export.fault if facts.export.enabled else None),
        _advice(SidecarCondition.JOURNAL_WRITABLE, facts.journal_fault),
    )


def track(
    previous: Iterable[HealthCondition], found: Iterable[HealthCondition], now_ns: int
) -> tuple[HealthCondition, ...]:
    """Set `since_ns` of each condition, kept from `previous` while neither `ok` nor `reason` changes."""
    before = {item.name: item for item in previous}
    return tuple(replace(item, since_ns=_since(before.get(item.name), item, now_ns)) for item in found)


def _since(before: HealthCondition | None, item: HealthCondition, now_ns: int) -> int:
    same = before is not None and (before.ok, before.reason) == (item.ok, item.reason)
    return before.since_ns if before is not None and same else now_ns


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
    condition = _fails(SidecarCondition.VERDICT_FRESH, "StaleVerdict", message)
    return ProbeVerdict(probe=probe, ok=False, conditions=(condition,))


def _holds(
    name: SidecarCondition, message: str = "", *, reason: str = READY, advisory: bool = False
) -> HealthCondition:
    return HealthCondition(name=name, ok=True, reason=reason, message=message, advisory=advisory)


def _fails(name: SidecarCondition, reason: str, message: str, *, advisory: bool = False) -> HealthCondition:
    return HealthCondition(name=name, ok=False, reason=reason, message=message, advisory=advisory)


def _loop_turns(facts: HealthFacts, settings: HealthSettings) -> HealthCondition:
    late = facts.loop_lag_s
    if late > settings.stale_s:
        return _fails(SidecarCondition.LOOP_TURNS, "LoopStalled", f"the event loop stood still for {late:.1f} s")
    return _holds(SidecarCondition.LOOP_TURNS, f"last turn {1000 * late:.0f} ms late")


def _socket_open(facts: HealthFacts) -> HealthCondition:
    if facts.socket_open:
        return _holds(SidecarCondition.SOCKET_OPEN, "producers can connect")
    message = "the telemetry socket is not open (the journal is read first)"
    return _fails(SidecarCondition.SOCKET_OPEN, "NotListening", message)


def _not_draining(facts: HealthFacts) -> HealthCondition:
    if facts.draining:
        return _fails(SidecarCondition.NOT_DRAINING, "Draining", "the sidecar was told to stop")
    return _holds(SidecarCondition.NOT_DRAINING)


def _secrets_published(secrets: SecretsFacts) -> HealthCondition:
    name = SidecarCondition.SECRETS_PUBLISHED
    if not secrets.configured:
        return _holds(name, "no secret is configured", reason="NoSecrets")
    if secrets.generation:
        return _holds(name, f"generation {secrets.generation} is published")
    # The fault of Vault is the reason, so that a pod which never becomes ready says why in its own probe.
    return _fails(name, *(secrets.fault or ("NotYet", "the first login is under way")))


def _secrets_fresh(secrets: SecretsFacts, settings: HealthSettings) -> HealthCondition:
    name = SidecarCondition.SECRETS_FRESH
    if secrets.configured and not secrets.generation:
        return _fails(name, "NotPublished", "there are none yet")
    expiring = sorted((item.expires_in_s, item.name) for item in secrets.secrets if item.expires_in_s is not None)
    # Not ready before the expiry, not after it: requests on their way still have valid credentials.
    late = [f"{secret} {_remaining(left)}" for left, secret in expiring if left <= settings.secrets_margin_s]
    if late:
        return _fails(name, "NearExpiry", ", ".join(late))
    return _holds(name, f"next expiry: {expiring[0][1]} {_remaining(expiring[0][0])}" if expiring else "none expires")


def _remaining(seconds: float) -> str:
    return f"expires in {seconds:.0f} s" if seconds > 0 else f"expired {-seconds:.0f} s ago"


def _producer_alive(producer: ProducerFacts, settings: HealthSettings) -> HealthCondition:
    fault = _silence(producer, settings)
    if fault is not None:
        return _fails(SidecarCondition.PRODUCER_ALIVE, *fault)
    message = f"{producer.producer_id}: last heartbeat {producer.heartbeat_age_s:.1f} s ago"
    return _holds(SidecarCondition.PRODUCER_ALIVE, message)


def _silence(producer: ProducerFacts, settings: HealthSettings) -> tuple[str, str] | None:
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
    return None


def _producer_ready(producer: ProducerFacts, settings: HealthSettings) -> HealthCondition:
    name, producer_id = SidecarCondition.PRODUCER_READY, producer.producer_id
    if _silence(producer, settings) is not None:
        return _fails(name, "NotAlive", f"{producer_id} is not alive")
    # A stream may break while the broker is well, and it connects again at once. The grace keeps the pod in its
    # Service meanwhile: without it each reconnection would be a short outage of the order API.
    if not producer.connected and producer.gone_s > settings.reconnect_grace_s:
        message = f"{producer_id} is not connected: its stream ended {producer.gone_s:.1f} s ago"
        return _fails(name, "NotConnected", message)
    # Conditions come with heartbeats. Before the first one an empty list would read as "nothing fails".
    if not producer.has_spoken:
        return _fails(name, "NotSaid", f"{producer_id} has connected and not yet said how it is")
    # The reason of the first one becomes ours: "ProducerReady: StreamDown" names the cause in one line.
    failing = [item for item in producer.conditions if not item.ok and not item.advisory]
    if failing:
        message = "; ".join(f"{item.name}: {item.reason}: {item.message}" for item in failing)
        return _fails(name, failing[0].reason, message)
    return _holds(name, f"{len(producer.conditions)} conditions of {producer_id} hold")


def _advice(name: SidecarCondition, fault: tuple[str, str] | None) -> HealthCondition:
    return _holds(name, advisory=True) if fault is None else _fails(name, *fault, advisory=True)
