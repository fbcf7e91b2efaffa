"""Doctor: finds faults in a status document. Pure, so it gives the same answer on the page and in the command.

Each function below looks at one part of the document and yields a finding for each fault that it shows. A fault that
explains another hides it (`KnownFault.explains`): a sealed Vault is told, and not also that nothing is published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sidecar.console.document import ConditionSection, ErrorSection, SecretsSection, StatusDocument, period
from sidecar.console.faults import FAULTS, Finding
from sidecar.export.log_queue import NOT_EXPORTED
from sidecar.health.conditions import SidecarCondition, expiry_margin_s

# A secret is renewed long before; at a minute something has failed for a while, and there is still time to act.
EXPIRY_SOON_S = 60.0
# Both are limits of the page, too, where the queue and the bar of the journal turn amber.
LONG_QUEUE = 10_000
JOURNAL_SHARE = 0.8

VAULT_FAULTS = {error: name for name, fault in FAULTS.items() for error in fault.errors}
"""Fault for each error that the secrets agent names; `secrets_failing` for any other."""


def diagnose(status: StatusDocument, cli: str = "") -> list[Finding]:
    """Return every fault that the document shows, causes before their consequences.

    `cli` is the command of Vault that the reader has, `vault` or `bao`; empty for that of the server's kind.
    """
    checks = (_sidecar, _producers, _vault, _secrets, _journal, _export, _ledger)
    found = [finding for check in checks for finding in check(status)]
    explained = {name for finding in found for name in FAULTS[finding.fault].explains}
    named = cli or status.secrets.token.cli or "bao"
    return [replace(finding, cli=named) for finding in found if finding.fault not in explained]


def unreachable(url: str, reason: str) -> Finding:
    """Return the finding for a sidecar that gives no document."""
    return Finding(fault="sidecar_unreachable", evidence=f"{url} does not answer: {reason}")


def _failing(status: StatusDocument, name: SidecarCondition) -> ConditionSection | None:
    return next((item for item in status.health.conditions if item.name == name and not item.ok), None)


def _sidecar(status: StatusDocument) -> Iterator[Finding]:
    if item := _failing(status, SidecarCondition.LOOP_TURNS):
        yield Finding(fault="loop_stalled", evidence=item.message)
    if item := _failing(status, SidecarCondition.NOT_DRAINING):
        yield Finding(fault="draining", evidence=f"{item.message} (since {item.since})")
    if item := _failing(status, SidecarCondition.SOCKET_OPEN):
        yield Finding(fault="socket_not_open", evidence=item.message)


def _producers(status: StatusDocument) -> Iterator[Finding]:
    if item := _failing(status, SidecarCondition.PRODUCER_ALIVE):
        # One reason, two causes: a connected producer that is silent hangs, one that is not connected is gone.
        away = "producer_silent" if "silent" in item.message else "producer_gone"
        fault = {"NeverHeard": "producer_never_seen", "Goodbye": "producer_ended"}.get(item.reason, away)
        yield Finding(fault=fault, evidence=item.message)
    elif (item := _failing(status, SidecarCondition.PRODUCER_READY)) and item.reason == "NotConnected":
        yield Finding(fault="producer_gone", evidence=item.message)
    for producer in status.producers:
        failing = [item for item in producer.conditions if not item.ok] if producer.connected else []
        for fault, advisory in (("producer_not_ready", False), ("producer_advises", True)):
            if told := [item for item in failing if item.advisory == advisory]:
                said = "; ".join(f"{item.name}: {item.reason}: {item.message}" for item in told)
                since = min(item.since or "" for item in told)
                subject = f"{producer.producer_id} from {since}"
                yield Finding(fault=fault, evidence=f"{producer.producer_id}: {said}", subject=subject)


def _vault(status: StatusDocument) -> Iterator[Finding]:
    secrets, token = status.secrets, status.secrets.token
    if secrets.last_error:
        yield _vault_finding("publication", secrets.last_error, secrets)
    # The token first, and then nothing else: without it every secret fails for the same reason.
    if token.state != "valid" and token.last_error:
        yield _vault_finding("login" if token.state == "none" else "token", token.last_error, secrets)
        return
    for secret in secrets.secrets:
        if secret.last_error and secret.state in {"failing", "waiting"}:
            yield _vault_finding(f"secret {secret.name}", secret.last_error, secrets)


def _vault_finding(purpose: str, error: ErrorSection, secrets: SecretsSection) -> Finding:
    code = f" (HTTP {error.status})" if error.status else ""
    evidence = f"{purpose}: {error.message}{code}{_remaining_life(secrets)}"
    return Finding(fault=VAULT_FAULTS.get(error.name, "secrets_failing"), evidence=evidence)


def _remaining_life(secrets: SecretsSection) -> str:
    """Say how long the producer can go on with the published secrets if Vault stays away."""
    if not secrets.generation:
        return ""
    ends = [(item.expires_in_s, item.name) for item in secrets.secrets if item.expires_in_s is not None]
    if not ends:
        return "; what is published does not expire"
    left, name = min(ends)
    if left <= 0:
        return f"; {name}, which is published, has expired"
    return f"; what is published lasts {period(left)} ({name} expires first)"


def _secrets(status: StatusDocument) -> Iterator[Finding]:
    secrets = status.secrets
    if item := _failing(status, SidecarCondition.READERS_NAMED):
        yield Finding(fault="readers_unnamed", evidence=item.message)
    if secrets.configured and not secrets.generation:
        waiting = [item.name for item in secrets.secrets if item.state == "waiting"]
        evidence = f"no set is published; waiting for {', '.join(waiting) or 'the first login'}"
        yield Finding(fault="secrets_unpublished", evidence=evidence)
    for secret in secrets.secrets:
        left = secret.expires_in_s
        if left is not None and left < expiry_margin_s(EXPIRY_SOON_S, secret.lasts_s):
            fault, when = ("secret_expiring", "expires in") if left > 0 else ("secret_expired", "expired")
            evidence = f"{secret.name} {when} {abs(left):.0f} s{'' if left > 0 else ' ago'}"
            yield Finding(fault=fault, evidence=evidence, subject=secret.name)
    rejection = secrets.rejection
    # An older generation that was refused is of no interest once another is published.
    if rejection and rejection.generation == secrets.generation:
        evidence = (
            f"{rejection.producer_id} could not use {rejection.secret or 'the set'} of generation "
            f"{rejection.generation}: {rejection.reason}: {rejection.message}"
        )
        yield Finding(fault="secret_rejected", evidence=evidence, subject=rejection.secret or "--all")
    if secrets.stage == "timed_out":
        last = secrets.acknowledged or "none"
        evidence = f"nobody has proved generation {secrets.generation}; the last proved one is {last}"
        yield Finding(fault="secret_unacknowledged", evidence=evidence)


def _journal(status: StatusDocument) -> Iterator[Finding]:
    journal = status.journal
    if journal.error:
        yield Finding(fault="journal_refuses", evidence=journal.error)
    if journal.checkpoint_error:
        yield Finding(fault="checkpoint_failed", evidence=journal.checkpoint_error)
    if journal.bytes_limit and journal.bytes_used > JOURNAL_SHARE * journal.bytes_limit:
        evidence = f"{journal.bytes_used} of {journal.bytes_limit} bytes; when full the oldest log records go"
        yield Finding(fault="journal_filling", evidence=evidence)
    if journal.damaged_segments or journal.unreadable_records:
        evidence = (
            f"{journal.damaged_segments} segments were set aside, {journal.damaged_bytes} bytes; "
            f"{journal.unreadable_records} records say nothing"
        )
        yield Finding(fault="journal_damaged", evidence=evidence)


def _export(status: StatusDocument) -> Iterator[Finding]:
    logs, export = status.ledger.logs, status.export
    if dropped := {reason: count for reason, count in logs.dropped.items() if reason != NOT_EXPORTED}:
        yield Finding(fault="records_dropped", evidence=f"the journal was full: {_counts(dropped)}")
    for signal, state in (("logs", export.logs), ("metrics", export.metrics)):
        if state.failing_since:
            refused = state.last_error.split(":")[0] in {"unauthenticated", "permission_denied", "headers_file"}
            evidence = f"{signal} to {export.endpoint} fail since {state.failing_since}: {state.last_error}"
            # Once: both signals go to one collector, and logs are asked first because they wait for it.
            yield Finding(fault="collector_refuses" if refused else "collector_away", evidence=evidence)
            break
    if not export.endpoint:
        evidence = f"otlp.endpoint is empty; {logs.accepted} log records are not kept"
        yield Finding(fault="export_off", evidence=evidence)
    if logs.queued > LONG_QUEUE:
        flow = status.flow
        evidence = f"{logs.queued} log records wait; {flow.out.rate:.0f}/s leave, {flow.in_.rate:.0f}/s come"
        yield Finding(fault="export_behind", evidence=evidence)
    if rejected := {**logs.rejected, **export.metrics.rejected}:
        yield Finding(fault="records_rejected", evidence=f"the collector refused for good: {_counts(rejected)}")


def _ledger(status: StatusDocument) -> Iterator[Finding]:
    ledger, logs = status.ledger, status.ledger.logs
    if ledger.rejected:
        yield Finding(fault="events_rejected", evidence=f"events that break the contract: {_counts(ledger.rejected)}")
    for producer in status.producers:
        if producer.ledger and producer.ledger.dropped:
            drops = ", ".join(f"{item.event} {item.count} ({item.reason})" for item in producer.ledger.dropped)
            yield Finding(fault="producer_drops", evidence=f"{producer.producer_id} dropped: {drops}")
    if not ledger.balanced or not logs.balanced:
        evidence = (
            f"received {ledger.received}, counted {ledger.counted}; logs accepted {logs.accepted}, "
            f"exported {logs.exported}, queued {logs.queued}"
        )
        yield Finding(fault="ledger_unbalanced", evidence=evidence)


def _counts(table: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(table.items()))
