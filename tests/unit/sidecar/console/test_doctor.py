from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from sidecar.console.doctor import diagnose, unreachable
from sidecar.export.status import ExportStatus
from sidecar.ingest.producers import ProducerCondition, ProducerLedger
from sidecar.metrics.ledger import EventLedger, LogLedger
from sidecar.secrets.acknowledge import Rejection, Stage
from sidecar.secrets.status import LastError, SecretsStatus, SecretStatus, TokenStatus
from tests.unit.sidecar.console.sidecar_state import (
    EXPORT,
    JOURNAL,
    LEDGER,
    MOMENT,
    NOW_NS,
    NS,
    PRODUCER,
    SECRETS,
    SIGNAL,
    status,
)

Change = dict[str, Any]


def faults(**changes: Any) -> list[str]:
    return [item.fault for item in diagnose(status(**changes))]


def mishap(name: str, code: int = 0) -> LastError:
    return LastError(name=name, message="read secret/data/broker/venue: refused", time=MOMENT, status=code)


def no_token(name: str, code: int = 0) -> SecretsStatus:
    waiting = SecretStatus(name="venue", source="kv", state="waiting")
    token = replace(SECRETS.token, state="none", last_error=mishap(name, code))
    return replace(SECRETS, generation_published=0, token=token, secrets=(waiting,))


def failing_token(name: str, code: int = 0) -> TokenStatus:
    return replace(SECRETS.token, state="failing", last_error=mishap(name, code))


def failing_secret(name: str, code: int = 0) -> SecretsStatus:
    failing = replace(SECRETS.secrets[0], state="failing", failing_since=MOMENT, last_error=mishap(name, code))
    return replace(SECRETS, secrets=(failing, SECRETS.secrets[1]))


def failing_export(error: str) -> ExportStatus:
    return replace(EXPORT, logs=replace(SIGNAL, failing_since_ns=NOW_NS - 60 * NS, last_error=error))


def rejected_secret() -> SecretsStatus:
    rejection = Rejection(
        generation=3,
        producer_id="broker",
        secret="database",
        reason="authentication_failed",
        message="password refused",
        time=MOMENT,
    )
    return replace(SECRETS, stage=Stage.REJECTED, rejection=rejection)


def condition(*, advisory: bool) -> Any:
    failing = ProducerCondition(
        name="Venue", ok=False, reason="TokenRefused", message="401", since_ns=NOW_NS, advisory=advisory
    )
    return replace(PRODUCER, conditions=(failing,))


def database(expires_in_s: float) -> SecretsStatus:
    return replace(SECRETS, secrets=(SECRETS.secrets[0], replace(SECRETS.secrets[1], expires_in_s=expires_in_s)))


SEEDED: list[tuple[str, Change]] = [
    ("loop_stalled", {"changed": {"loop_lag_s": 8.0}}),
    ("draining", {"changed": {"draining": True}}),
    ("socket_not_open", {"changed": {"socket_open": False}, "producer": None}),
    ("vault_unreachable", {"secrets": no_token("unreachable")}),
    ("vault_slow", {"secrets": no_token("timeout")}),
    ("vault_certificate", {"secrets": no_token("tls")}),
    ("vault_redirects", {"secrets": no_token("redirect", 307)}),
    ("vault_sealed", {"secrets": no_token("sealed", 503)}),
    ("vault_fails", {"secrets": no_token("server", 500)}),
    ("vault_refuses", {"secrets": no_token("invalid", 400)}),
    ("login_file_unreadable", {"secrets": no_token("credential_unreadable")}),
    ("vault_hidden", {"secrets": failing_secret("foreign_answer", 403)}),
    ("vault_lags", {"secrets": failing_secret("stale_answer")}),
    ("vault_denies", {"secrets": failing_secret("denied", 403)}),
    ("vault_rate_limited", {"secrets": failing_secret("rate_limited", 429)}),
    ("secret_id_spent", {"secrets": replace(SECRETS, token=failing_token("secret_id_spent"))}),
    ("role_locked", {"secrets": no_token("role_locked")}),
    ("token_use_limited", {"secrets": no_token("token_use_limited")}),
    ("token_not_replaced", {"secrets": replace(SECRETS, token=failing_token("token_not_replaced"))}),
    ("secret_missing", {"secrets": failing_secret("not_found", 404)}),
    ("secret_deleted", {"secrets": failing_secret("version_deleted")}),
    ("secret_unexpected", {"secrets": failing_secret("unexpected_answer")}),
    ("secret_not_renderable", {"secrets": failing_secret("not_renderable")}),
    ("secrets_failing", {"secrets": failing_secret("something_new")}),
    ("secret_volume", {"secrets": replace(SECRETS, generation_published=0, last_error=mishap("volume_unusable"))}),
    ("publication_failed", {"secrets": replace(SECRETS, last_error=mishap("publication_failed"))}),
    ("secrets_unpublished", {"secrets": replace(SECRETS, generation_published=0, stage=None)}),
    ("secret_expiring", {"secrets": database(40.0)}),
    ("secret_expired", {"secrets": database(-3.0)}),
    ("secret_rejected", {"secrets": rejected_secret()}),
    ("secret_unacknowledged", {"secrets": replace(SECRETS, stage=Stage.TIMED_OUT, generation_acknowledged=2)}),
    ("readers_unnamed", {"secrets": replace(SECRETS, is_anyone_heard=True)}),
    ("producer_never_seen", {"producer": None}),
    ("producer_ended", {"producer": replace(PRODUCER, connected=False, goodbye="sigterm")}),
    ("producer_gone", {"producer": replace(PRODUCER, connected=False, last_heartbeat_ns=NOW_NS - 20 * NS)}),
    ("producer_gone", {"producer": replace(PRODUCER, connected=False, changed_ns=NOW_NS - 2 * NS)}),
    ("producer_silent", {"producer": replace(PRODUCER, last_heartbeat_ns=NOW_NS - 20 * NS)}),
    ("producer_not_ready", {"producer": condition(advisory=False)}),
    ("producer_advises", {"producer": condition(advisory=True)}),
    ("producer_drops", {"producer": replace(PRODUCER, ledger=ProducerLedger(dropped=(("a.b", "spool_full", 4),)))}),
    ("journal_refuses", {"journal": replace(JOURNAL, error="[Errno 28] No space left on device")}),
    ("checkpoint_failed", {"journal": replace(JOURNAL, checkpoint_error="[Errno 30] Read-only file system")}),
    ("journal_filling", {"journal": replace(JOURNAL, bytes_used=80_001)}),
    ("journal_damaged", {"journal": replace(JOURNAL, damaged_segments=1, damaged_bytes=77)}),
    ("journal_damaged", {"journal": replace(JOURNAL, unreadable_records=2)}),
    ("collector_away", {"export": failing_export("unavailable: connection refused")}),
    ("collector_refuses", {"export": failing_export("unauthenticated: no token")}),
    ("export_off", {"export": replace(EXPORT, endpoint="")}),
    ("export_behind", {"ledger": replace(LEDGER, logs=LogLedger(accepted=10_099, exported=88, queued=10_011))}),
    (
        "records_rejected",
        {
            "ledger": replace(
                LEDGER, logs=LogLedger(accepted=90, exported=87, queued=2, rejected=Counter({"invalid": 1}))
            )
        },
    ),
    (
        "records_dropped",
        {
            "ledger": replace(
                LEDGER, logs=LogLedger(accepted=90, exported=88, dropped=Counter({("journal_full", "a.b"): 2}))
            )
        },
    ),
    (
        "events_rejected",
        {
            "ledger": replace(
                LEDGER, events=EventLedger(received=100, counted=99, rejected=Counter({"column_length": 1}))
            )
        },
    ),
    ("ledger_unbalanced", {"ledger": replace(LEDGER, events=EventLedger(received=100, counted=99))}),
]


def test_nothing_is_found_where_all_is_well() -> None:
    assert faults() == []


def test_without_secrets_nothing_is_missed() -> None:
    assert faults(secrets=None) == []


@pytest.mark.parametrize(("fault", "changes"), SEEDED, ids=[name for name, _ in SEEDED])
def test_each_seeded_fault_is_found_and_only_it(fault: str, changes: Change) -> None:
    assert faults(**changes) == [fault]


def test_log_records_that_nobody_wants_are_not_lost() -> None:
    logs = LogLedger(accepted=90, dropped=Counter({("not_exported", "a.b"): 90}))
    found = status(export=replace(EXPORT, endpoint=""), ledger=replace(LEDGER, logs=logs))
    assert [item.fault for item in diagnose(found)] == ["export_off"]
    assert found.flow.out.lost == 0


def test_every_finding_has_its_evidence_and_what_to_do() -> None:
    for _, changes in SEEDED:
        for finding in diagnose(status(**changes)):
            assert finding.evidence
            assert finding.next


EVIDENCE: list[tuple[Change, str]] = [
    ({"secrets": no_token("sealed", 503)}, "login: read secret/data/broker/venue: refused (HTTP 503)"),
    (
        {"secrets": failing_secret("denied", 403)},
        (
            "secret venue: read secret/data/broker/venue: refused (HTTP 403); "
            "what is published lasts 10 min (database expires first)"
        ),
    ),
    (
        {"secrets": rejected_secret()},
        "broker could not use database of generation 3: authentication_failed: password refused",
    ),
    ({"producer": condition(advisory=False)}, "broker: Venue: TokenRefused: 401"),
    ({"secrets": database(40.0)}, "database expires in 40 s"),
    (
        {"producer": replace(PRODUCER, ledger=ProducerLedger(dropped=(("a.b", "spool_full", 4),)))},
        "broker dropped: a.b 4 (spool_full)",
    ),
]


@pytest.mark.parametrize(
    ("left", "lasting"),
    [
        (None, "what is published does not expire"),
        (-4.0, "database, which is published, has expired"),
        (119.9, "what is published lasts 119 s (database expires first)"),
        (3 * 3600 + 59.0, "what is published lasts 3 h 0 min (database expires first)"),
    ],
)
def test_while_vault_is_away_it_says_how_long_the_producer_can_go_on(left: float | None, lasting: str) -> None:
    secrets = replace(
        SECRETS,
        token=replace(SECRETS.token, state="none", last_error=mishap("unreachable")),
        secrets=(SECRETS.secrets[0], replace(SECRETS.secrets[1], expires_in_s=left)),
    )
    assert diagnose(status(secrets=secrets))[0].evidence.endswith(f"; {lasting}")


@pytest.mark.parametrize(("changes", "evidence"), EVIDENCE)
def test_the_evidence_is_what_the_sidecar_saw(changes: Change, evidence: str) -> None:
    assert diagnose(status(**changes))[0].evidence == evidence


@pytest.mark.parametrize(
    ("here", "server", "named"),
    [("", "", "bao"), ("", "vault", "vault"), ("", "bao", "bao"), ("vault", "bao", "vault"), ("bao", "vault", "bao")],
)
def test_commands_name_what_the_reader_has_or_else_what_the_server_is(here: str, server: str, named: str) -> None:
    secrets = failing_secret("denied", 403)
    secrets = replace(secrets, token=replace(secrets.token, cli=server))
    (found,) = diagnose(status(secrets=secrets), here)
    assert found.command == f"{named} token capabilities PATH"
    assert f"{named} token capabilities" in found.next


def test_a_secret_of_a_short_life_is_told_late_in_it() -> None:
    short = replace(SECRETS.secrets[1], expires_in_s=20.0, lasts_s=60.0)
    assert faults(secrets=replace(SECRETS, secrets=(short,))) == []
    late = replace(SECRETS, secrets=(replace(short, expires_in_s=8.0),))
    assert faults(secrets=late) == ["secret_expiring"]


def test_a_cause_hides_what_it_explains() -> None:
    found = faults(secrets=no_token("sealed", 503), export=failing_export("unavailable: x"))
    assert found == ["vault_sealed", "collector_away"]


def test_independent_faults_are_all_found() -> None:
    secrets = replace(rejected_secret(), secrets=(replace(SECRETS.secrets[1], expires_in_s=5.0),))
    assert set(faults(secrets=secrets, journal=replace(JOURNAL, error="full"))) == {
        "secret_rejected",
        "secret_expiring",
        "journal_refuses",
    }


def test_no_answer_is_a_finding_too() -> None:
    finding = unreachable("http://127.0.0.1:8090", "refused")
    assert (finding.fault, finding.evidence) == (
        "sidecar_unreachable",
        "http://127.0.0.1:8090 does not answer: refused",
    )


def test_a_producers_conditions_are_one_finding_each_for_what_fails_and_what_it_advises() -> None:
    def failing(name: str, advisory: bool, since_ns: int) -> ProducerCondition:
        return ProducerCondition(name=name, ok=False, reason="Down", message="x", since_ns=since_ns, advisory=advisory)

    conditions = (
        failing("outcomes", True, NOW_NS),
        failing("prices", False, NOW_NS),
        failing("orders", False, NOW_NS - NS),
    )
    found = diagnose(status(producer=replace(PRODUCER, conditions=conditions)))
    assert [(item.fault, item.evidence) for item in found] == [
        ("producer_not_ready", "broker: prices: Down: x; orders: Down: x"),
        ("producer_advises", "broker: outcomes: Down: x"),
    ]
    assert found[0].next == "read the log of broker from 2023-11-14T22:13:19.000Z on"


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({"secrets": rejected_secret()}, "sidecar rotate database"),
        ({"secrets": database(40.0)}, "sidecar rotate database"),
    ],
)
def test_the_command_names_the_secret(changes: Change, command: str) -> None:
    assert [item.command for item in diagnose(status(**changes))] == [command]
