"""What is wrong, by what it shows, and what to do next: a pure function of the status document."""

from __future__ import annotations

from sidecar.console.doctor.events import EVENTS
from sidecar.console.doctor.finding import Check, Document, Finding
from sidecar.console.doctor.processes import PROCESSES
from sidecar.console.doctor.secrets import SECRETS

CHECKS: tuple[Check, ...] = (*PROCESSES, *SECRETS, *EVENTS)


def diagnose(status: Document) -> list[Finding]:
    """Every fault that the document shows, causes before what they explain; empty where all is well."""
    found = [finding for check in CHECKS for finding in check(status)]
    explained = {name for finding in found for name in finding.explains}
    return [finding for finding in found if finding.fault not in explained]


def unreachable(url: str, reason: str) -> Finding:
    """The finding where no document is to be had."""
    return Finding(
        fault="sidecar_unreachable",
        evidence=f"{url} does not answer: {reason}",
        next="see whether it runs (ps, kubectl get pod) and read the end of its log; is the console's address right?",
    )
