"""The next command for each fault that the doctor knows: what to type, where `Finding.next` says what to look for.

SUBJECT is put in; other words in capitals are the reader's own. On one machine, commands do
without what stands before `--`.
"""

from __future__ import annotations

from collections.abc import Mapping

_HEALTH = "curl -sS $VAULT_ADDR/v1/sys/health"
_LOG = "kubectl logs POD -c sidecar --tail 100"
_PRODUCER_LOG = "kubectl logs POD -c broker --tail 100"
_JOURNAL = "df -h /var/lib/sidecar"

COMMANDS: Mapping[str, str] = {
    "sidecar_unreachable": "kubectl get pod POD -o wide; kubectl logs POD -c sidecar --previous --tail 50",
    "loop_stalled": "kubectl exec POD -c sidecar -- cat /sys/fs/cgroup/cpu.stat",
    "draining": "kubectl get pod POD --watch",
    "socket_not_open": "sidecar status --watch",
    "producer_never_seen": "kubectl get pod POD; " + _PRODUCER_LOG,
    "producer_silent": "kubectl exec POD -c broker -- cat /proc/1/status /proc/1/wchan",
    "producer_gone": "kubectl logs POD -c broker --previous --tail 100",
    "producer_ended": "kubectl describe pod POD",
    "producer_not_ready": _PRODUCER_LOG,
    "producer_advises": _PRODUCER_LOG,
    "vault_unreachable": _HEALTH,
    "vault_slow": "time " + _HEALTH,
    "vault_certificate": "openssl s_client -connect HOST:8200 -CAfile /etc/vault/ca.crt </dev/null",
    "vault_redirects": "curl -sSi $VAULT_ADDR/v1/sys/leader",
    "vault_sealed": "bao status; bao operator unseal",
    "vault_fails": "bao status; kubectl logs -n vault vault-0 --tail 100",
    "vault_rate_limited": "bao read sys/quotas/rate-limit/NAME",
    "vault_denies": "bao token capabilities PATH",
    "vault_refuses": "bao read auth/kubernetes/role/broker",
    "login_file_unreadable": "kubectl exec POD -c sidecar -- ls -lL /run/vault",
    "secret_id_spent": "bao write -f auth/approle/role/ROLE/secret-id",
    "secret_missing": "bao kv metadata get -mount=secret PATH",
    "secret_unexpected": "bao secrets list",
    "secret_not_renderable": "sidecar --check-config",
    "secrets_failing": _LOG,
    "secret_volume": "kubectl exec POD -c sidecar -- sh -c 'df -h /run/secrets/broker; ls -ld /run/secrets/broker'",
    "publication_failed": "kubectl exec POD -c sidecar -- df -h /run/secrets/broker",
    "secrets_unpublished": "sidecar secrets",
    "secret_expiring": "sidecar rotate SUBJECT",
    "secret_expired": "sidecar rotate SUBJECT",
    "secret_rejected": "sidecar rotate SUBJECT",
    "secret_unacknowledged": "kubectl logs POD -c broker --tail 500 | grep generation",
    "journal_refuses": _JOURNAL,
    "checkpoint_failed": _JOURNAL,
    "journal_filling": "sidecar status --watch",
    "journal_damaged": "ls -l /var/lib/sidecar/*.damaged",
    "collector_away": "kubectl get pod,endpoints -A -l app.kubernetes.io/name=otel-collector",
    "collector_refuses": "sidecar --check-config",
    "export_off": "sidecar --check-config",
    "export_behind": "sidecar status --watch",
    "records_rejected": "ls -l /var/lib/sidecar/rejected",
    "records_dropped": _JOURNAL,
    "events_rejected": _LOG,
    "producer_drops": "sidecar status --json",
    "ledger_unbalanced": "curl -sSO -J http://127.0.0.1:8090/api/diagnostics",
}
