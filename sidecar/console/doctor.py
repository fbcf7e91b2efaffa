"""What is wrong, by what it shows, and what to do next: a pure function of the status document.

Each check looks at one fault and gives its findings; a fault that another one explains is left out by `diagnose`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A fault (constant name), what shows it, and the next command; `explains` are faults that follow from it."""

    fault: str
    evidence: str
    next: str
    explains: tuple[str, ...] = ()


Check = Callable[[Document], Iterator[Finding]]

BACKLOG_LARGE = 10_000
JOURNAL_SHARE = 0.8
EXPIRY_SOON_S = 60.0


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


# What Vault answered, by the agent's name for it: the finding and what to do.
_VAULT = {
    "unreachable": (
        "vault_unreachable",
        "try: curl -sS $VAULT_ADDR/v1/sys/health; check name, route and network policy",
    ),
    "connection": (
        "vault_unreachable",
        "try: curl -sS $VAULT_ADDR/v1/sys/health; check name, route and network policy",
    ),
    "timeout": ("vault_slow", "try: time curl -sS $VAULT_ADDR/v1/sys/health; is the server overloaded?"),
    "tls": (
        "vault_certificate",
        "compare the server's chain with secrets.ca_cert: openssl s_client -connect HOST:PORT -CAfile FILE",
    ),
    "redirect": (
        "vault_redirects",
        "set secrets.address to the active node or the load balancer: redirects are refused",
    ),
    "sealed": ("vault_sealed", "unseal it: bao operator unseal (or see why auto-unseal fails: bao status)"),
    "server": ("vault_fails", "read the server's own log; bao status"),
    "rate_limited": ("vault_rate_limited", "raise the quota, or secrets.poll_interval_s"),
    "denied": ("vault_denies", "compare the policy with k8s/vault/policies: bao token capabilities PATH"),
    "invalid": ("vault_refuses", "check the role, the mount and the audience: bao read auth/kubernetes/role/ROLE"),
    "not_found": ("secret_missing", "see whether it is there: bao kv metadata get PATH; check mount and path"),
    "credential_unreadable": (
        "login_file_unreadable",
        "check that the file of secrets.auth is mounted, and its mode",
    ),
    "unexpected_answer": ("secret_unexpected", "check `source` of the secret: the engine answers in another shape"),
    "not_renderable": ("secret_not_renderable", "check the file's keys and template against the secret's fields"),
    "volume_unusable": (
        "secret_volume",
        "check secrets.directory and secrets.lease_journal: mounted, writable, memory-backed",
    ),
    "publication_failed": ("publication_failed", "check room and mode of secrets.directory: df -h DIR; ls -ld DIR"),
}


def _vault_finding(who: str, mishap: Document) -> Finding:
    fault, todo = _VAULT.get(mishap["name"], ("secrets_failing", "read the sidecar's log: grep secrets."))
    code = f" (HTTP {mishap['status']})" if mishap.get("status") else ""
    return Finding(
        fault=fault, evidence=f"{who}: {mishap['message']}{code}", next=todo, explains=("secrets_unpublished",)
    )


def _secrets_faults(status: Document) -> Iterator[Finding]:
    """The token first: without it every secret fails for the same reason."""
    secrets = status["secrets"]
    if not secrets["configured"]:
        return
    if secrets["mishap"]:
        yield _vault_finding("publication", secrets["mishap"])
    token = secrets["token"]
    if token["state"] != "valid" and token["mishap"]:
        yield _vault_finding("login" if token["state"] == "none" else "token", token["mishap"])
        return
    for secret in secrets["secrets"]:
        if secret["mishap"] and secret["state"] in {"failing", "waiting"}:
            yield _vault_finding(f"secret {secret['name']}", secret["mishap"])


def _secrets_unpublished(status: Document) -> Iterator[Finding]:
    secrets = status["secrets"]
    if secrets["configured"] and not secrets["generation"]:
        waiting = [item["name"] for item in secrets["secrets"] if item["state"] == "waiting"]
        yield Finding(
            fault="secrets_unpublished",
            evidence=f"no set is published; waiting for {', '.join(waiting) or 'the first login'}",
            next="sidecar secrets; a set is published once every secret has been read",
        )


def _secret_expiry(status: Document) -> Iterator[Finding]:
    for secret in status["secrets"]["secrets"]:
        left = secret["expires_in_s"]
        if left is not None and left < EXPIRY_SOON_S:
            when = f"expires in {left:.0f} s" if left > 0 else f"expired {-left:.0f} s ago"
            yield Finding(
                fault="secret_expiring" if left > 0 else "secret_expired",
                evidence=f"{secret['name']} {when}",
                next=f"sidecar rotate {secret['name']}; if that fails, see what `sidecar secrets` says of Vault",
            )


def _secret_rejected(status: Document) -> Iterator[Finding]:
    rejection = status["secrets"].get("rejection")
    if rejection and rejection["generation"] == status["secrets"]["generation"]:
        what = rejection["secret"] or "the set"
        yield Finding(
            fault="secret_rejected",
            evidence=f"{rejection['producer']} could not use {what} of generation {rejection['generation']}: "
            f"{rejection['reason']}: {rejection['message']}",
            next=f"mend the secret at its source, then: sidecar rotate {rejection['secret']}".rstrip(),
            explains=("secret_unacknowledged",),
        )


def _secret_unacknowledged(status: Document) -> Iterator[Finding]:
    secrets = status["secrets"]
    if secrets.get("stage") == "timed_out":
        yield Finding(
            fault="secret_unacknowledged",
            evidence=f"nobody has proved generation {secrets['generation']}; the last proved one is "
            f"{secrets['acknowledged'] or 'none'}",
            next="does the producer mount secrets.directory, and watch it? read its log for the generation",
        )


def _condition(status: Document, name: str) -> Document | None:
    return next((item for item in status["health"]["conditions"] if item["name"] == name and not item["ok"]), None)


def _loop(status: Document) -> Iterator[Finding]:
    if item := _condition(status, "LoopTurns"):
        yield Finding(
            fault="loop_stalled",
            evidence=item["message"],
            next="raise the CPU limit; see throttling: nr_throttled in cpu.stat",
        )


def _socket(status: Document) -> Iterator[Finding]:
    if item := _condition(status, "SocketOpen"):
        yield Finding(
            fault="socket_not_open",
            evidence=item["message"],
            next="wait for the replay of the journal; it is bounded by telemetry.checkpoint_bytes",
            explains=("producer_never_seen", "producer_gone"),
        )


def _draining(status: Document) -> Iterator[Finding]:
    if item := _condition(status, "NotDraining"):
        yield Finding(
            fault="draining",
            evidence=f"{item['message']} (since {item['since']})",
            next="nothing: it ends when producers have gone, or the grace period has",
            explains=("producer_never_seen", "producer_gone", "producer_ended"),
        )


def _producers(status: Document) -> Iterator[Finding]:
    if item := _condition(status, "ProducerAlive"):
        yield _SILENCE[item["reason"]](item["message"])


def _never_seen(message: str) -> Finding:
    return Finding(
        fault="producer_never_seen",
        evidence=message,
        next="does it run, with telemetry.socket mounted? check health.producer and the mode of the directory",
    )


def _ended(message: str) -> Finding:
    return Finding(fault="producer_ended", evidence=message, next="see why it was stopped, and start it again")


def _silent(message: str) -> Finding:
    if "silent" in message:
        todo = "its event loop has stalled or it is stopped: look at its CPU and its stack (py-spy dump --pid PID)"
        return Finding(fault="producer_silent", evidence=message, next=todo)
    todo = "see whether it runs and why it ended: kubectl logs --previous, exit code"
    return Finding(fault="producer_gone", evidence=message, next=todo)


_SILENCE = {"NeverHeard": _never_seen, "Goodbye": _ended, "HeartbeatMissing": _silent}


def _producer_conditions(status: Document) -> Iterator[Finding]:
    for producer in status["producers"]:
        for item in producer["conditions"] if producer["connected"] else ():
            if not item["ok"]:
                yield Finding(
                    fault="producer_advises" if item["advisory"] else "producer_not_ready",
                    evidence=f"{producer['id']}: {item['name']}: {item['reason']}: {item['message']}",
                    next=f"read the log of {producer['id']} from {item['since']} on",
                )


def _collector(status: Document) -> Iterator[Finding]:
    for signal in ("logs", "metrics"):
        export = status["export"][signal]
        if export["failing_since"]:
            refused = export["last_error"].split(":")[0] in {"unauthenticated", "permission_denied", "headers_file"}
            yield Finding(
                fault="collector_refuses" if refused else "collector_away",
                evidence=f"{signal} to {status['export']['endpoint']} fail since {export['failing_since']}: "
                f"{export['last_error']}",
                next="check otlp.headers_file and the client certificate"
                if refused
                else "see whether the collector runs and is reachable; nothing is lost while the journal has room",
                explains=("export_behind",),
            )
            return


def _export_off(status: Document) -> Iterator[Finding]:
    if not status["export"]["endpoint"]:
        yield Finding(
            fault="export_off",
            evidence=f"otlp.endpoint is empty; {status['ledger']['logs']['queued']} log records wait",
            next="set otlp.endpoint or OTEL_EXPORTER_OTLP_ENDPOINT, or scrape /metrics only",
            explains=("export_behind",),
        )


def _export_behind(status: Document) -> Iterator[Finding]:
    queued = status["ledger"]["logs"]["queued"]
    if queued > BACKLOG_LARGE:
        yield Finding(
            fault="export_behind",
            evidence=f"{queued} log records wait; {status['flow']['out']['rate']:.0f}/s leave, "
            f"{status['flow']['in']['rate']:.0f}/s come",
            next="the collector is slow: raise otlp.requests_in_flight, or look at the collector's queue",
        )


def _export_rejected(status: Document) -> Iterator[Finding]:
    rejected = {**status["ledger"]["logs"]["rejected"], **status["export"]["metrics"]["rejected"]}
    if rejected:
        yield Finding(
            fault="records_rejected",
            evidence=f"the collector refused for good: {_counts(rejected)}",
            next="read the kept records in the directory `rejected` beside the journal, and the collector's log",
        )


def _logs_dropped(status: Document) -> Iterator[Finding]:
    if dropped := status["ledger"]["logs"]["dropped"]:
        yield Finding(
            fault="records_dropped",
            evidence=f"the journal was full: {_counts(dropped)}",
            next="mend the export first; then raise telemetry.journal_bytes",
        )


def _journal_refuses(status: Document) -> Iterator[Finding]:
    if error := status["journal"].get("error"):
        yield Finding(
            fault="journal_refuses",
            evidence=error,
            next="df -h and mount: the volume of telemetry.journal_directory is full or read-only; it recovers alone",
        )


def _checkpoint(status: Document) -> Iterator[Finding]:
    if error := status["journal"].get("checkpoint_error"):
        yield Finding(
            fault="checkpoint_failed",
            evidence=error,
            next="df -h: the checkpoint needs room; until then a restart replays more",
        )


def _journal_full(status: Document) -> Iterator[Finding]:
    used, limit = status["journal"].get("bytes_used", 0), status["journal"].get("bytes_limit", 0)
    if limit and used > JOURNAL_SHARE * limit:
        yield Finding(
            fault="journal_filling",
            evidence=f"{used} of {limit} bytes; when full the oldest log records go",
            next="mend the export, or raise telemetry.journal_bytes",
        )


def _journal_damaged(status: Document) -> Iterator[Finding]:
    if damaged := status["journal"].get("damaged_segments"):
        yield Finding(
            fault="journal_damaged",
            evidence=f"{damaged} segments were set aside, {status['journal']['damaged_bytes']} bytes",
            next="keep the *.damaged files for a look; check the volume (dmesg, fsck)",
        )


def _events_rejected(status: Document) -> Iterator[Finding]:
    if rejected := status["ledger"]["rejected"]:
        yield Finding(
            fault="events_rejected",
            evidence=f"events that break the contract: {_counts(rejected)}",
            next="read the producer's log: each rejection is told with its rule; are both sides of one release?",
        )


def _producer_drops(status: Document) -> Iterator[Finding]:
    for producer in status["producers"]:
        if producer["ledger"] and producer["ledger"]["dropped"]:
            drops = [f"{item['event']} {item['count']} ({item['reason']})" for item in producer["ledger"]["dropped"]]
            yield Finding(
                fault="producer_drops",
                evidence=f"{producer['id']} dropped: {', '.join(drops)}",
                next="its spool was full or its volume fails: raise its spool, see why events were not acknowledged",
            )


def _ledger(status: Document) -> Iterator[Finding]:
    ledger = status["ledger"]
    if not ledger["balanced"] or not ledger["logs"]["balanced"]:
        yield Finding(
            fault="ledger_unbalanced",
            evidence=f"received {ledger['received']}, counted {ledger['counted']}; logs accepted "
            f"{ledger['logs']['accepted']}, exported {ledger['logs']['exported']}, queued {ledger['logs']['queued']}",
            next="take the diagnostics bundle and report it: this is a bug",
        )


def _counts(table: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(table.items()))


CHECKS: tuple[Check, ...] = (
    _loop,
    _draining,
    _socket,
    _secrets_faults,
    _secrets_unpublished,
    _secret_expiry,
    _secret_rejected,
    _secret_unacknowledged,
    _producers,
    _producer_conditions,
    _journal_refuses,
    _checkpoint,
    _journal_full,
    _journal_damaged,
    _logs_dropped,
    _collector,
    _export_off,
    _export_behind,
    _export_rejected,
    _events_rejected,
    _producer_drops,
    _ledger,
)
