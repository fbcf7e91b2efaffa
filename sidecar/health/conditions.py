"""Facts become named conditions, conditions become verdicts: pure functions, nothing remote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sidecar.health.settings import HealthSettings

PROBES: Mapping[str, tuple[str, ...]] = {
    "livez": ("LoopTurns",),
    "livez/broker": ("ProducerAlive",),
    "readyz": ("SecretsPublished", "SecretsFresh", "ProducerAlive", "ProducerReady", "NotDraining"),
    # Never the producer: it waits for this probe before it starts, and each would wait for the other.
    "startupz": ("SocketOpen", "SecretsPublished"),
}
"""Which conditions must hold for which probe."""

READY = "Ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One named statement of health. `since_ns` is when `ok` or `reason` last changed, Unix nanoseconds."""

    name: str
    ok: bool
    reason: str = READY
    message: str = ""
    since_ns: int = 0
    advisory: bool = False
    """Information for people: no probe asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFacts:
    """What is known of one published secret."""

    name: str
    expires_in_s: float | None = None
    """None: it does not expire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsFacts:
    """What the secrets' agent knows."""

    configured: bool = True
    generation: int = 0
    """The published one; 0 before the first."""
    secrets: tuple[SecretFacts, ...] = ()
    fault: tuple[str, str] | None = None
    """Reason and message of what Vault last refused, where it has not been made good."""
    unproved: tuple[str, str] | None = None
    """Reason and message, where the published generation was refused or not proved in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerFacts:
    """What is known of the producer that the probes speak of."""

    producer_id: str
    connected: bool = False
    gone_s: float = 0.0
    """Seconds since its stream ended; 0 while it is connected."""
    heartbeat_age_s: float | None = None
    """None: it never sent one."""
    goodbye: str = ""
    """The reason of an orderly end; empty while there is none."""
    has_spoken: bool = True
    """Whether it has said its conditions since it connected."""
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFacts:
    """How the exporter fares."""

    enabled: bool = True
    fault: tuple[str, str] | None = None
    """Reason and message, while the collector does not take what is sent."""
    queued: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that health is judged by, at one moment."""

    now_ns: int
    loop_lag_s: float = 0.0
    draining: bool = False
    socket_open: bool = False
    journal_fault: tuple[str, str] | None = None
    secrets: SecretsFacts = SecretsFacts()
    producer: ProducerFacts = ProducerFacts(producer_id="")
    export: ExportFacts = ExportFacts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A probe's answer, with the conditions that it rests on."""

    probe: str
    ok: bool
    conditions: tuple[Condition, ...]


def evaluate(facts: Facts, settings: HealthSettings) -> tuple[Condition, ...]:
    """Every condition of the sidecar, `since_ns` still to be set by `track`."""
    return (
        _loop_turns(facts, settings),
        _socket_open(facts),
        _not_draining(facts),
        _secrets_published(facts.secrets),
        _secrets_fresh(facts.secrets, settings),
        _producer_alive(facts.producer, settings),
        _producer_ready(facts.producer, settings),
        _fault_free("VaultReachable", facts.secrets.fault if facts.secrets.configured else None),
        _fault_free("SecretsAccepted", facts.secrets.unproved),
        _fault_free("CollectorReachable", facts.export.fault if facts.export.enabled else None),
        _fault_free("JournalWritable", facts.journal_fault),
    )


def track(previous: Iterable[Condition], found: Iterable[Condition], now_ns: int) -> tuple[Condition, ...]:
    """Conditions with their beginning: kept while neither `ok` nor `reason` changes."""
    before = {item.name: item for item in previous}
    return tuple(replace(item, since_ns=_since(before.get(item.name), item, now_ns)) for item in found)


def _since(before: Condition | None, item: Condition, now_ns: int) -> int:
    same = before is not None and (before.ok, before.reason) == (item.ok, item.reason)
    return before.since_ns if before is not None and same else now_ns


def verdict(probe: str, conditions: Sequence[Condition]) -> Verdict:
    """The answer of a probe of `PROBES`; a condition that nobody evaluated does not hold."""
    named = {item.name: item for item in conditions}
    unknown = "nothing has been evaluated yet"
    chosen = tuple(
        named.get(name, Condition(name=name, ok=False, reason="NotEvaluated", message=unknown))
        for name in PROBES[probe]
    )
    return Verdict(probe=probe, ok=all(item.ok for item in chosen), conditions=chosen)


def stale_verdict(probe: str, age_s: float) -> Verdict:
    """The answer of a probe when the last evaluation is too old to be believed."""
    message = f"conditions were last evaluated {age_s:.1f} s ago"
    condition = Condition(name="VerdictFresh", ok=False, reason="StaleVerdict", message=message)
    return Verdict(probe=probe, ok=False, conditions=(condition,))


def _loop_turns(facts: Facts, settings: HealthSettings) -> Condition:
    late = facts.loop_lag_s
    if late > settings.stale_s:
        message = f"the event loop stood still for {late:.1f} s"
        return Condition(name="LoopTurns", ok=False, reason="LoopStalled", message=message)
    return Condition(name="LoopTurns", ok=True, message=f"last turn {1000 * late:.0f} ms late")


def _socket_open(facts: Facts) -> Condition:
    if facts.socket_open:
        return Condition(name="SocketOpen", ok=True, message="producers can connect")
    return Condition(
        name="SocketOpen",
        ok=False,
        reason="NotListening",
        message="the telemetry socket is not open (the journal is read first)",
    )


def _not_draining(facts: Facts) -> Condition:
    if facts.draining:
        return Condition(name="NotDraining", ok=False, reason="Draining", message="the sidecar was told to stop")
    return Condition(name="NotDraining", ok=True)


def _secrets_published(secrets: SecretsFacts) -> Condition:
    if not secrets.configured:
        return Condition(name="SecretsPublished", ok=True, reason="NoSecrets", message="no secret is configured")
    if secrets.generation:
        return Condition(name="SecretsPublished", ok=True, message=f"generation {secrets.generation} is published")
    reason, message = secrets.fault or ("NotYet", "the first login is under way")
    return Condition(name="SecretsPublished", ok=False, reason=reason, message=message)


def _secrets_fresh(secrets: SecretsFacts, settings: HealthSettings) -> Condition:
    if secrets.configured and not secrets.generation:
        return Condition(name="SecretsFresh", ok=False, reason="NotPublished", message="there are none yet")
    expiring = sorted((item.expires_in_s, item.name) for item in secrets.secrets if item.expires_in_s is not None)
    late = [f"{name} {_remaining(left)}" for left, name in expiring if left <= settings.secrets_margin_s]
    if late:
        return Condition(name="SecretsFresh", ok=False, reason="NearExpiry", message=", ".join(late))
    message = f"next expiry: {expiring[0][1]} {_remaining(expiring[0][0])}" if expiring else "none expires"
    return Condition(name="SecretsFresh", ok=True, message=message)


def _remaining(seconds: float) -> str:
    return f"expires in {seconds:.0f} s" if seconds > 0 else f"expired {-seconds:.0f} s ago"


def _producer_alive(producer: ProducerFacts, settings: HealthSettings) -> Condition:
    fault = _silence(producer, settings)
    if fault is not None:
        return Condition(name="ProducerAlive", ok=False, reason=fault[0], message=fault[1])
    message = f"{producer.producer_id}: last heartbeat {producer.heartbeat_age_s:.1f} s ago"
    return Condition(name="ProducerAlive", ok=True, message=message)


def _silence(producer: ProducerFacts, settings: HealthSettings) -> tuple[str, str] | None:
    """Why a producer does not count as alive, or None where it does."""
    name, age = producer.producer_id, producer.heartbeat_age_s
    if age is None:
        return "NeverHeard", f"{name} has not sent a heartbeat since the sidecar started"
    if producer.goodbye:
        return "Goodbye", f"{name} ended in order ({producer.goodbye})"
    if age > settings.heartbeat_budget_s:
        state = "is connected but silent" if producer.connected else "is not connected"
        return (
            "HeartbeatMissing",
            f"{name} {state}: last heartbeat {age:.0f} s ago, budget {settings.heartbeat_budget_s:.0f} s",
        )
    return None


def _producer_ready(producer: ProducerFacts, settings: HealthSettings) -> Condition:
    if _silence(producer, settings) is not None:
        message = f"{producer.producer_id} is not alive"
        return Condition(name="ProducerReady", ok=False, reason="NotAlive", message=message)
    if not producer.connected and producer.gone_s > settings.reconnect_grace_s:
        message = f"{producer.producer_id} is not connected: its stream ended {producer.gone_s:.1f} s ago"
        return Condition(name="ProducerReady", ok=False, reason="NotConnected", message=message)
    if not producer.has_spoken:
        message = f"{producer.producer_id} has connected and not yet said how it is"
        return Condition(name="ProducerReady", ok=False, reason="NotSaid", message=message)
    failing = [item for item in producer.conditions if not item.ok and not item.advisory]
    if failing:
        message = "; ".join(f"{item.name}: {item.reason}: {item.message}" for item in failing)
        return Condition(name="ProducerReady", ok=False, reason=failing[0].reason, message=message)
    message = f"{len(producer.conditions)} conditions of {producer.producer_id} hold"
    return Condition(name="ProducerReady", ok=True, message=message)


def _fault_free(name: str, fault: tuple[str, str] | None) -> Condition:
    if fault is None:
        return Condition(name=name, ok=True, advisory=True)
    return Condition(name=name, ok=False, reason=fault[0], message=fault[1], advisory=True)
