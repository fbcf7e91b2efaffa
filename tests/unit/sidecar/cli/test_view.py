from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from sidecar.cli import view
from sidecar.console.faults import Finding
from sidecar.ingest.producers import ProducerLedger
from sidecar.secrets.acknowledge import Rejection
from tests.unit.sidecar.console.sidecar_state import MOMENT, PRODUCER, SECRETS, status


def lines(shown: view.View) -> list[str]:
    return list(view.plain_lines(shown))


def test_a_healthy_status_lists_its_conditions_producers_and_flow() -> None:
    found = lines(view.status_view(status()))
    assert found[0] == "All is well for 30 s (since 2023-11-14T22:12:50.000Z)"
    assert "ok\tProducerReady\tReady\t30 s\t1 conditions of broker hold" in found
    assert found[-3:] == [
        "ok\tbroker\tconnected\t\theartbeat 0.5 s ago, secrets of generation 3",
        "-\tevents in\t50.0/s\t\t2 held, 0 lost",
        "-\tlog records out\t44.0/s\t\t2 queued, 0 lost",
    ]


def test_a_status_that_is_not_ready_lists_only_what_fails_and_is_not_well() -> None:
    shown = view.status_view(status(changed={"draining": True}))
    assert not shown.well
    assert lines(shown)[:2] == [
        "Not ready for 30 s (since 2023-11-14T22:12:50.000Z)",
        "fault\tNotDraining\tDraining\t30 s\tthe sidecar was told to stop",
    ]


def test_losses_are_told_with_their_reasons() -> None:
    ledger = ProducerLedger(emitted=3, dropped=(("a", "spool_full", 3),))
    found = lines(view.status_view(status(producer=replace(PRODUCER, ledger=ledger))))
    assert "fault\tevents in\t50.0/s\t\t0 held, 3 lost (spool_full 3)" in found


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"connected": False}, "fault\tbroker\taway"),
        ({"connected": False, "goodbye": "sigterm"}, "fault\tbroker\tended: sigterm"),
    ],
)
def test_a_producer_that_is_gone_says_how(change: dict[str, Any], state: str) -> None:
    found = lines(view.status_view(status(producer=replace(PRODUCER, **change))))
    assert any(line.startswith(state) for line in found)


def test_secrets_are_listed_with_their_life_and_no_value() -> None:
    assert lines(view.secrets_view(status())) == [
        "Generation 3, acknowledged 3",
        "ok\tvenue\tkv 3\tfresh\tdoes not expire\t",
        "ok\tdatabase\tleased\tfresh\t10 min left\t",
        "ok\ttoken\tapprole\tvalid\t20 min left\t",
    ]


def test_a_token_that_fails_makes_secrets_not_well() -> None:
    token = replace(SECRETS.token, state="failing")
    assert not view.secrets_view(status(secrets=replace(SECRETS, token=token))).well


def test_a_refused_secret_is_listed_with_who_refused_it() -> None:
    rejection = Rejection(
        generation=3, producer_id="broker", secret="database", reason="auth_failed", message="no", time=MOMENT
    )
    shown = view.secrets_view(status(secrets=replace(SECRETS, rejection=rejection)))
    assert not shown.well
    assert lines(shown)[-1] == "fault\tdatabase\tbroker\trefused\t\tauth_failed: no"


FINDING = Finding(fault="vault_sealed", evidence="login: 503")


def test_findings_are_shown_with_evidence_and_what_to_do() -> None:
    assert lines(view.findings_view([FINDING])) == [
        "1 fault",
        f"fault\tvault_sealed\tlogin: 503\t{FINDING.next}\tbao status; bao operator unseal",
    ]
    assert lines(view.findings_view([])) == ["No fault found"]


def test_a_finding_for_a_program_has_what_a_person_sees() -> None:
    assert FINDING.json() == {
        "fault": "vault_sealed",
        "evidence": "login: 503",
        "next": "unseal it: bao operator unseal (or see why auto-unseal fails: bao status)",
        "command": "bao status; bao operator unseal",
    }


def test_an_event_is_one_line() -> None:
    event = {"time": "t", "producer": "p", "name": "a.b", "attributes": {"x": 1, "y": "z"}}
    assert view.event_line(event) == "t p a.b x=1 y=z"


def test_markup_in_a_message_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    target = io.StringIO()
    terminal = Console(file=target, force_terminal=True, width=120, no_color=True)
    monkeypatch.setattr(view, "Console", lambda **_: terminal)
    with view.writer() as write:
        write(view.findings_view([replace(FINDING, evidence="[red]odd[/red] [link=x]")]))
    assert "[red]odd[/red] [link=x]" in target.getvalue()


def test_on_a_terminal_a_finding_ends_with_its_command_on_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    target = io.StringIO()
    terminal = Console(file=target, force_terminal=True, width=60, no_color=True)
    monkeypatch.setattr(view, "Console", lambda **_: terminal)
    with view.writer() as write:
        write(view.findings_view([FINDING]))
    shown = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", target.getvalue()).splitlines()]
    assert shown == [
        "1 fault",
        "",
        "✕ vault_sealed",
        "  login: 503",
        "  unseal it: bao operator unseal (or see why auto-unseal",
        "  fails: bao status)",
        "  $ bao status; bao operator unseal",
    ]


def test_an_event_on_a_terminal_reads_as_the_line_does_without_its_date() -> None:
    event = {"time": "2026-01-02T03:04:05.678Z", "producer": "p", "name": "a.b", "attributes": {"x": 0.1234567891}}
    assert view.event_text(event).plain == "03:04:05.678 p a.b x=0.123457"
