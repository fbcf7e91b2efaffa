"""What the parts say of themselves, as the facts that health is judged by: pure translations."""

from __future__ import annotations

from sidecar.export.status import ExportStatus
from sidecar.health.conditions import ExportFacts, HealthCondition, ProducerFacts, SecretFacts, SecretsFacts
from sidecar.ingest.producers import ProducerStatus
from sidecar.journal.status import JournalStatus
from sidecar.secrets.rotation import Stage
from sidecar.secrets.status import Mishap, SecretsStatus


def producer_facts(
    producer_id: str, status: ProducerStatus | None, heartbeat_age_s: float | None, connection_age_s: float | None
) -> ProducerFacts:
    """What is known of the producer; `status` is None while it has never connected.

    `connection_age_s`: seconds since it connected or went.
    """
    if status is None:
        return ProducerFacts(producer_id=producer_id)
    return ProducerFacts(
        producer_id=producer_id,
        connected=status.connected,
        gone_s=0.0 if status.connected else connection_age_s or 0.0,
        heartbeat_age_s=heartbeat_age_s,
        goodbye=status.goodbye,
        has_spoken=status.has_spoken,
        conditions=tuple(
            HealthCondition(
                name=item.name, ok=item.ok, reason=item.reason, message=item.message, advisory=item.advisory
            )
            for item in status.conditions
        ),
    )


def secrets_facts(status: SecretsStatus | None) -> SecretsFacts:
    """What the agent knows; None where there is no agent, for no secret is configured."""
    if status is None:
        return SecretsFacts(configured=False)
    mishap = _mishap(status)
    return SecretsFacts(
        generation=status.generation_published,
        secrets=tuple(SecretFacts(name=item.name, expires_in_s=item.expires_in_s) for item in status.secrets),
        fault=None if mishap is None else (_camel(mishap.name), mishap.message),
        unproved=_unproved(status),
    )


def _unproved(status: SecretsStatus) -> tuple[str, str] | None:
    """Why the published set is not in use: refused, or nobody has proved it in time."""
    rejection, generation = status.rejection, status.generation_published
    if rejection is not None and rejection.generation == generation:
        message = f"{rejection.producer_id}: {rejection.secret or 'the set'} of generation {generation}: "
        return _camel(rejection.reason), message + rejection.message
    if status.stage is Stage.TIMED_OUT:
        last = status.generation_acknowledged or "none"
        return "NotProved", f"nobody has proved generation {generation} in time; the last proved one is {last}"
    return None


def _mishap(status: SecretsStatus) -> Mishap | None:
    """What is wrong now, the earliest stage first: without a token nothing is read, and then nothing published."""
    if status.token.state != "valid" and status.token.mishap is not None:
        return status.token.mishap
    failing = (item.mishap for item in status.secrets if item.failing_since is not None or item.state == "waiting")
    return next((item for item in failing if item is not None), status.mishap)


def export_facts(status: ExportStatus, queued: int) -> ExportFacts:
    """Whether the collector takes what is sent; logs speak first, for they are kept until it does."""
    failing = next((item for item in (status.logs, status.metrics) if item.failing_since_ns), None)
    fault = None
    if failing is not None:
        reason, _, message = failing.last_error.partition(": ")
        fault = (_camel(reason), message or "the collector does not answer")
    return ExportFacts(enabled=bool(status.endpoint), fault=fault, queued=queued)


def journal_fault(status: JournalStatus) -> tuple[str, str] | None:
    """Why the journal takes nothing, or its checkpoint cannot be written; None while both go well."""
    if status.error:
        return "JournalRefuses", status.error
    return ("CheckpointFailed", status.checkpoint_error) if status.checkpoint_error else None


def _camel(reason: str) -> str:
    """A reason in snake_case or UPPER_CASE as conditions have it: CamelCase; one that is so already stays."""
    if reason and reason.isalnum() and reason != reason.lower() and reason != reason.upper():
        return reason
    return "".join(word.capitalize() for word in reason.lower().split("_")) or "Unavailable"
