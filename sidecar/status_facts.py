"""Translation of the parts' status to the facts that health is judged by. Pure."""

from __future__ import annotations

from sidecar.export.status import ExportStatus
from sidecar.health.conditions import ExportFacts, HealthCondition, ProducerFacts, SecretFacts, SecretsFacts
from sidecar.ingest.producers import ProducerStatus
from sidecar.journal.journal import JournalStatus
from sidecar.secrets.acknowledge import Stage
from sidecar.secrets.status import LastError, SecretsStatus


def producer_facts(
    producer_id: str, status: ProducerStatus | None, heartbeat_age_s: float | None, connection_age_s: float | None
) -> ProducerFacts:
    """Facts of the producer; `status` is None before it has ever connected.

    `connection_age_s`: seconds since it connected or left.
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
    """Facts of the secrets; `status` is None without an agent, where no secret is configured."""
    if status is None:
        return SecretsFacts(configured=False)
    last_error = _last_error(status)
    return SecretsFacts(
        generation=status.generation_published,
        secrets=tuple(
            SecretFacts(name=item.name, expires_in_s=item.expires_in_s, lasts_s=item.lasts_s) for item in status.secrets
        ),
        fault=None if last_error is None else (_camel(last_error.name), last_error.message),
        unproved=_unproved(status),
        is_anyone_heard=status.is_anyone_heard,
    )


def _unproved(status: SecretsStatus) -> tuple[str, str] | None:
    """Reason and message where no producer uses the published set: one refused it, or none proved it in time."""
    rejection, generation = status.rejection, status.generation_published
    # A rejection of an older generation was answered by publishing a newer one.
    if rejection is not None and rejection.generation == generation:
        message = f"{rejection.producer_id}: {rejection.secret or 'the set'} of generation {generation}: "
        return _camel(rejection.reason), message + rejection.message
    if status.stage is Stage.TIMED_OUT:
        last = status.generation_acknowledged or "none"
        return "NotProved", f"nobody has proved generation {generation} in time; the last proved one is {last}"
    return None


def _last_error(status: SecretsStatus) -> LastError | None:
    """The fault to tell of, None where there is none."""
    # The earliest stage first, for it explains the others: without a token nothing is read, and nothing published.
    if status.token.state != "valid" and status.token.last_error is not None:
        return status.token.last_error
    faults = (item.last_error for item in status.secrets if item.failing_since is not None or item.state == "waiting")
    return next((item for item in faults if item is not None), status.last_error)


def export_facts(status: ExportStatus) -> ExportFacts:
    """Facts of the export: its fault, while the collector does not accept what is sent."""
    # Logs first: they wait in the journal until the collector accepts them, and metrics do not.
    failing = next((item for item in (status.logs, status.metrics) if item.failing_since_ns), None)
    fault = None
    if failing is not None:
        reason, _, message = failing.last_error.partition(": ")
        fault = (_camel(reason), message or "the collector does not answer")
    return ExportFacts(enabled=bool(status.endpoint), fault=fault)


def journal_fault(status: JournalStatus) -> tuple[str, str] | None:
    """Reason and message while the journal rejects events or the checkpoint cannot be written."""
    if status.error:
        return "JournalRefuses", status.error
    return ("CheckpointFailed", status.checkpoint_error) if status.checkpoint_error else None


def _camel(reason: str) -> str:
    """A reason in snake_case or UPPER_CASE in the CamelCase of conditions; a CamelCase one stays."""
    if reason and reason.isalnum() and reason != reason.lower() and reason != reason.upper():
        return reason
    return "".join(word.capitalize() for word in reason.lower().split("_")) or "Unavailable"
