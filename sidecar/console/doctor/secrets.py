"""Faults of the secrets' way: Vault, the shared volume, the producer that uses them."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.console.cli.period import period
from sidecar.console.doctor.finding import Check, Document, Finding

EXPIRY_SOON_S = 60.0

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
    "secret_id_spent": (
        "secret_id_spent",
        "write a new one into secrets.auth.secret_id_file: bao write -f auth/approle/role/ROLE/secret-id",
    ),
    "unexpected_answer": ("secret_unexpected", "check `source` of the secret: the engine answers in another shape"),
    "not_renderable": ("secret_not_renderable", "check the file's keys and template against the secret's fields"),
    "volume_unusable": (
        "secret_volume",
        "check secrets.directory and secrets.lease_journal: mounted, writable, memory-backed",
    ),
    "publication_failed": ("publication_failed", "check room and mode of secrets.directory: df -h DIR; ls -ld DIR"),
}


def _vault_finding(who: str, mishap: Document, secrets: Document) -> Finding:
    fault, todo = _VAULT.get(mishap["name"], ("secrets_failing", "read the sidecar's log: grep secrets."))
    code = f" (HTTP {mishap['status']})" if mishap.get("status") else ""
    evidence = f"{who}: {mishap['message']}{code}{_lasting(secrets)}"
    return Finding(fault=fault, evidence=evidence, next=todo, explains=("secrets_unpublished",))


def _lasting(secrets: Document) -> str:
    """How long the producer can go on with what is published, if nothing more is to be had from Vault."""
    if not secrets["generation"]:
        return ""
    ends = [(item["expires_in_s"], item["name"]) for item in secrets["secrets"] if item["expires_in_s"] is not None]
    if not ends:
        return "; what is published does not expire"
    left, name = min(ends)
    return f"; what is published lasts {period(left)} ({name} expires first)"


def _secrets_faults(status: Document) -> Iterator[Finding]:
    """The token first: without it every secret fails for the same reason."""
    secrets = status["secrets"]
    if not secrets["configured"]:
        return
    if secrets["mishap"]:
        yield _vault_finding("publication", secrets["mishap"], secrets)
    token = secrets["token"]
    if token["state"] != "valid" and token["mishap"]:
        yield _vault_finding("login" if token["state"] == "none" else "token", token["mishap"], secrets)
        return
    for secret in secrets["secrets"]:
        if secret["mishap"] and secret["state"] in {"failing", "waiting"}:
            yield _vault_finding(f"secret {secret['name']}", secret["mishap"], secrets)


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
                about=secret["name"],
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
            about=rejection["secret"] or "--all",
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


SECRETS: tuple[Check, ...] = (
    _secrets_faults,
    _secrets_unpublished,
    _secret_expiry,
    _secret_rejected,
    _secret_unacknowledged,
)
