from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.health.conditions import SecretsFacts
from sidecar.journal.journal import JournalStatus
from sidecar.secrets.acknowledge import Rejection, Stage
from sidecar.secrets.status import LastError
from sidecar.status_facts import export_facts, journal_fault, producer_facts, secrets_facts
from tests.unit.sidecar.console.sidecar_state import EXPORT, MOMENT, PRODUCER, SECRETS, SIGNAL

SEALED = LastError(name="sealed", message="login: HTTP 503", time=MOMENT, status=503)
DENIED = LastError(name="denied", message="read: HTTP 403", time=MOMENT, status=403)
JOURNAL = JournalStatus(
    bytes_used=0,
    bytes_limit=1,
    segments=1,
    damaged_bytes=0,
    damaged_segments=0,
    torn_bytes=0,
    error="",
    error_since_ns=0,
    checkpoint_ns=0,
    checkpoint_error="",
    replayed_batches=0,
    unreadable_records=0,
)


def test_a_producer_that_never_came_has_no_heartbeat() -> None:
    found = producer_facts("broker", None, None, None)
    assert (found.producer_id, found.connected, found.heartbeat_age_s) == ("broker", False, None)


def test_a_producer_is_told_with_its_conditions() -> None:
    found = producer_facts("broker", PRODUCER, 0.5, 60.0)
    assert (found.connected, found.gone_s, found.heartbeat_age_s) == (True, 0.0, 0.5)
    assert [(item.name, item.ok) for item in found.conditions] == [("Venue", True)]


def test_a_producer_that_went_is_told_with_the_time_since() -> None:
    found = producer_facts("broker", replace(PRODUCER, connected=False), 4.0, 3.5)
    assert (found.connected, found.gone_s) == (False, 3.5)


def test_without_an_agent_no_secret_is_configured() -> None:
    assert secrets_facts(None) == SecretsFacts(configured=False)


def test_all_well_has_no_fault() -> None:
    found = secrets_facts(SECRETS)
    assert (found.generation, found.fault, found.unproved) == (3, None, None)


def test_a_token_that_fails_is_told_before_a_secret_that_does() -> None:
    failing = replace(SECRETS.secrets[0], state="failing", failing_since=MOMENT, last_error=DENIED)
    status = replace(SECRETS, secrets=(failing,))
    assert secrets_facts(status).fault == ("Denied", "read: HTTP 403")
    token = replace(SECRETS.token, state="failing", last_error=SEALED)
    assert secrets_facts(replace(status, token=token)).fault == ("Sealed", "login: HTTP 503")


def test_an_error_that_was_made_good_is_no_fault() -> None:
    healed = replace(SECRETS.secrets[0], state="fresh", failing_since=None, last_error=DENIED)
    token = replace(SECRETS.token, last_error=SEALED)
    assert secrets_facts(replace(SECRETS, secrets=(healed,), token=token)).fault is None


def test_a_rejection_counts_for_the_published_generation_only() -> None:
    rejection = Rejection(
        generation=3, producer_id="broker", secret="database", reason="auth_failed", message="no", time=MOMENT
    )
    status = replace(SECRETS, rejection=rejection)
    assert secrets_facts(status).unproved == ("AuthFailed", "broker: database of generation 3: no")
    assert secrets_facts(replace(status, generation_published=4)).unproved is None


def test_a_set_that_nobody_proved_in_time_is_a_fault_until_somebody_does() -> None:
    status = replace(SECRETS, stage=Stage.TIMED_OUT, generation_acknowledged=2)
    message = "nobody has proved generation 3 in time; the last proved one is 2"
    assert secrets_facts(status).unproved == ("NotProved", message)
    assert secrets_facts(replace(status, stage=Stage.ACKNOWLEDGED)).unproved is None


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        ("unavailable: connection refused", ("Unavailable", "connection refused")),
        ("deadline_exceeded: ", ("DeadlineExceeded", "the collector does not answer")),
    ],
)
def test_a_failing_export_is_named_as_conditions_are(error: str, fault: tuple[str, str]) -> None:
    failing = replace(EXPORT, metrics=replace(SIGNAL, failing_since_ns=1, last_error=error))
    assert export_facts(failing).fault == fault


def test_an_export_that_works_again_is_no_fault() -> None:
    healed = replace(EXPORT, logs=replace(SIGNAL, last_error="unavailable: refused"))
    assert export_facts(healed).fault is None


def test_the_journals_own_fault_goes_before_the_checkpoints() -> None:
    assert journal_fault(JOURNAL) is None
    late = replace(JOURNAL, checkpoint_error="read-only")
    assert journal_fault(late) == ("CheckpointFailed", "read-only")
    assert journal_fault(replace(late, error="full")) == ("JournalRefuses", "full")
