"""Faults that the doctor knows: one table of their meaning, the remedy and the command to type next.

The page, `sidecar doctor` and docs/console.md say the same because all of them have it from here. SUBJECT stands for
the thing that a finding is about; other words in capitals are the reader's own. On one machine, commands do without
the part before `--`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class KnownFault(NamedTuple):
    """Row of the table; its key is the name, a constant for programs."""

    meaning: str
    next: str
    """Remedy, for people."""
    command: str
    """Command that shows more of it, or mends it."""
    explains: tuple[str, ...] = ()
    """Faults that follow from this one: they are not told beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Fault that a status document shows, with the evidence."""

    fault: str
    """Key of `FAULTS`."""
    evidence: str
    subject: str = ""

    @property
    def next(self) -> str:
        """Remedy, with the subject in it."""
        return FAULTS[self.fault].next.replace("SUBJECT", self.subject)

    @property
    def command(self) -> str:
        """Command to type next, with the subject in it."""
        return FAULTS[self.fault].command.replace("SUBJECT", self.subject)

    def json(self) -> dict[str, str]:
        """Convert to the JSON of the status document and of `sidecar doctor --json`."""
        return {"fault": self.fault, "evidence": self.evidence, "next": self.next, "command": self.command}


# Commands that several faults share. /sys/health needs no token, and tells sealed, standby and active apart.
_HEALTH = "curl -sS $VAULT_ADDR/v1/sys/health"
_LOG = "kubectl logs POD -c sidecar --tail 100"
_PRODUCER_LOG = "kubectl logs POD -c broker --tail 100"
_JOURNAL = "df -h /var/lib/sidecar"

FAULTS: Mapping[str, KnownFault] = {
    # ---- the sidecar itself
    "sidecar_unreachable": KnownFault(
        "the console does not answer",
        "see whether it runs (ps, kubectl get pod) and read the end of its log; is the console's address right?",
        "kubectl get pod POD -o wide; kubectl logs POD -c sidecar --previous --tail 50",
    ),
    "loop_stalled": KnownFault(
        "the event loop stood still",
        "raise the CPU limit; see throttling: nr_throttled in cpu.stat",
        "kubectl exec POD -c sidecar -- cat /sys/fs/cgroup/cpu.stat",
    ),
    "draining": KnownFault(
        "the sidecar was told to stop",
        "nothing: it ends when producers have gone, or the grace period has",
        "kubectl get pod POD --watch",
        explains=("producer_never_seen", "producer_gone", "producer_ended"),
    ),
    "socket_not_open": KnownFault(
        "the journal is still being read",
        "wait for the replay of the journal; it is bounded by telemetry.checkpoint_bytes",
        "sidecar status --watch",
        explains=("producer_never_seen", "producer_gone"),
    ),
    # ---- the producer beside it
    "producer_never_seen": KnownFault(
        "no heartbeat since the start",
        "does it run, with telemetry.socket mounted? check health.producer and the mode of the directory",
        "kubectl get pod POD; kubectl logs POD -c broker --tail 100",
    ),
    "producer_silent": KnownFault(
        "connected, and no heartbeat within the budget",
        "its event loop has stalled or it is stopped: look at its CPU and its stack (py-spy dump --pid PID)",
        "kubectl exec POD -c broker -- cat /proc/1/status /proc/1/wchan",
    ),
    "producer_gone": KnownFault(
        "no longer connected",
        "see whether it runs and why it ended: kubectl logs --previous, exit code",
        "kubectl logs POD -c broker --previous --tail 100",
    ),
    "producer_ended": KnownFault(
        "it said goodbye", "see why it was stopped, and start it again", "kubectl describe pod POD"
    ),
    "producer_not_ready": KnownFault(
        "one of its conditions does not hold", "read the log of SUBJECT on", _PRODUCER_LOG
    ),
    "producer_advises": KnownFault(
        "one of its advisory conditions does not hold",
        "read the log of SUBJECT on",
        _PRODUCER_LOG,
    ),
    # ---- Vault; while it is away, a set that was never published is only a consequence
    "vault_unreachable": KnownFault(
        "no connection to Vault",
        "try: curl -sS $VAULT_ADDR/v1/sys/health; check name, route and network policy",
        _HEALTH,
        explains=("secrets_unpublished",),
    ),
    "vault_slow": KnownFault(
        "no answer within the deadline",
        "try: time curl -sS $VAULT_ADDR/v1/sys/health; is the server overloaded?",
        "time curl -sS $VAULT_ADDR/v1/sys/health",
        explains=("secrets_unpublished",),
    ),
    "vault_certificate": KnownFault(
        "its certificate is not by `secrets.ca_cert`",
        "compare the server's chain with secrets.ca_cert: openssl s_client -connect HOST:PORT -CAfile FILE",
        "openssl s_client -connect HOST:8200 -CAfile /etc/vault/ca.crt </dev/null",
        explains=("secrets_unpublished",),
    ),
    "vault_redirects": KnownFault(
        "it answers with a redirect, which is refused",
        "set secrets.address to the active node or the load balancer: redirects are refused",
        "curl -sSi $VAULT_ADDR/v1/sys/leader",
        explains=("secrets_unpublished",),
    ),
    "vault_sealed": KnownFault(
        "it is sealed",
        "unseal it: bao operator unseal (or see why auto-unseal fails: bao status)",
        "bao status; bao operator unseal",
        explains=("secrets_unpublished",),
    ),
    "vault_fails": KnownFault(
        "it answers with a fault of its own",
        "read the server's own log; bao status",
        "bao status; kubectl logs -n vault vault-0 --tail 100",
        explains=("secrets_unpublished",),
    ),
    "vault_rate_limited": KnownFault(
        "it asks for fewer requests",
        "raise the quota, or secrets.poll_interval_s",
        "bao read sys/quotas/rate-limit/NAME",
        explains=("secrets_unpublished",),
    ),
    "vault_denies": KnownFault(
        "the policy does not allow a request",
        "compare the policy with k8s/vault/policies: bao token capabilities PATH",
        "bao token capabilities PATH",
        explains=("secrets_unpublished",),
    ),
    "vault_refuses": KnownFault(
        "a request or login is refused as invalid",
        "check the role, the mount and the audience: bao read auth/kubernetes/role/ROLE",
        "bao read auth/kubernetes/role/broker",
        explains=("secrets_unpublished",),
    ),
    "login_file_unreadable": KnownFault(
        "the file to log in with cannot be read",
        "check that the file of secrets.auth is mounted, and its mode",
        "kubectl exec POD -c sidecar -- ls -lL /run/vault",
        explains=("secrets_unpublished",),
    ),
    "secret_id_spent": KnownFault(
        "the secret id, or what wraps it, was used before and works no more",
        "write a new one into secrets.auth.secret_id_file: bao write -f auth/approle/role/ROLE/secret-id",
        "bao write -f auth/approle/role/ROLE/secret-id",
        explains=("secrets_unpublished",),
    ),
    "secret_missing": KnownFault(
        "there is nothing at a secret's path",
        "see whether it is there: bao kv metadata get PATH; check mount and path",
        "bao kv metadata get -mount=secret PATH",
        explains=("secrets_unpublished",),
    ),
    "secret_unexpected": KnownFault(
        "the engine answers in another shape",
        "check `source` of the secret: the engine answers in another shape",
        "bao secrets list",
        explains=("secrets_unpublished",),
    ),
    "secret_not_renderable": KnownFault(
        "a file's keys or template do not fit the secret",
        "check the file's keys and template against the secret's fields",
        "sidecar --check-config",
        explains=("secrets_unpublished",),
    ),
    "secrets_failing": KnownFault(
        "a secret fails for a reason that is not in this table",
        "read the sidecar's log: grep secrets.",
        _LOG,
        explains=("secrets_unpublished",),
    ),
    "secret_volume": KnownFault(
        "a directory of secrets cannot be used",
        "check secrets.directory and secrets.lease_journal: mounted, writable, memory-backed",
        "kubectl exec POD -c sidecar -- sh -c 'df -h /run/secrets/broker; ls -ld /run/secrets/broker'",
        explains=("secrets_unpublished",),
    ),
    "publication_failed": KnownFault(
        "a set could not be written",
        "check room and mode of secrets.directory: df -h DIR; ls -ld DIR",
        "kubectl exec POD -c sidecar -- df -h /run/secrets/broker",
        explains=("secrets_unpublished",),
    ),
    # ---- published secrets
    "secrets_unpublished": KnownFault(
        "no set is published yet",
        "sidecar secrets; a set is published once every secret has been read",
        "sidecar secrets",
    ),
    "secret_expiring": KnownFault(
        "a secret expires within a minute",
        "sidecar rotate SUBJECT; if that fails, see what `sidecar secrets` says of Vault",
        "sidecar rotate SUBJECT",
    ),
    "secret_expired": KnownFault(
        "a published secret has expired",
        "sidecar rotate SUBJECT; if that fails, see what `sidecar secrets` says of Vault",
        "sidecar rotate SUBJECT",
    ),
    "secret_rejected": KnownFault(
        "a producer could not use the published set",
        "mend the secret at its source, then: sidecar rotate SUBJECT",
        "sidecar rotate SUBJECT",
        explains=("secret_unacknowledged",),
    ),
    "secret_unacknowledged": KnownFault(
        "nobody has proved the published set in time",
        "does the producer mount secrets.directory, and watch it? read its log for the generation",
        "kubectl logs POD -c broker --tail 500 | grep generation",
    ),
    # ---- the way of the events
    "journal_refuses": KnownFault(
        "the volume is full or read-only",
        "df -h and mount: the volume of telemetry.journal_directory is full or read-only; it recovers alone",
        _JOURNAL,
    ),
    "checkpoint_failed": KnownFault(
        "the metrics' state could not be written",
        "df -h: the checkpoint needs room; until then a restart replays more",
        _JOURNAL,
    ),
    "journal_filling": KnownFault(
        "more than 80 % of the journal is used",
        "mend the export, or raise telemetry.journal_bytes",
        "sidecar status --watch",
    ),
    "journal_damaged": KnownFault(
        "segments were set aside, or records could not be read",
        "keep the *.damaged files for a look; check the volume (dmesg, fsck)",
        "ls -l /var/lib/sidecar/*.damaged",
    ),
    "collector_away": KnownFault(
        "exports fail",
        "see whether the collector runs and is reachable; nothing is lost while the journal has room",
        "kubectl get pod,endpoints -A -l app.kubernetes.io/name=otel-collector",
        explains=("export_behind",),
    ),
    "collector_refuses": KnownFault(
        "the collector does not accept our credentials",
        "check otlp.headers_file and the client certificate",
        "sidecar --check-config",
        explains=("export_behind",),
    ),
    "export_off": KnownFault(
        "no collector is configured",
        "set otlp.endpoint or OTEL_EXPORTER_OTLP_ENDPOINT, or scrape /metrics only",
        "sidecar --check-config",
        explains=("export_behind",),
    ),
    "export_behind": KnownFault(
        "more than 10 000 log records wait",
        "the collector is slow: raise otlp.requests_in_flight, or look at the collector's queue",
        "sidecar status --watch",
    ),
    "records_rejected": KnownFault(
        "the collector refused data for good",
        "read the kept records in the directory `rejected` beside the journal, and the collector's log",
        "ls -l /var/lib/sidecar/rejected",
    ),
    "records_dropped": KnownFault(
        "log records went, for the journal was full",
        "mend the export first; then raise telemetry.journal_bytes",
        _JOURNAL,
    ),
    "events_rejected": KnownFault(
        "a producer's events break the contract",
        "read the producer's log: each rejection is told with its rule; are both sides of one release?",
        _LOG,
    ),
    "producer_drops": KnownFault(
        "a producer dropped events",
        "its spool was full or its volume fails: raise its spool, see why events were not acknowledged",
        "sidecar status --json",
    ),
    "ledger_unbalanced": KnownFault(
        "an event is in no place or in two",
        "take the diagnostics bundle and report it: this is a bug",
        "curl -sSO -J http://127.0.0.1:8090/api/diagnostics",
    ),
}
