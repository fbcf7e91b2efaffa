"""Dashboard: what is published, when it expires, what Vault answers."""

from __future__ import annotations

from tools.grafana.panel import Panel, Rows, latest, rate, rise

SECRETS_BOARD: Rows = {
    "Lives": [
        Panel(
            title="Until expiry",
            description="Seconds that each published secret still lives.",
            unit="s",
            queries=[latest("sidecar_secrets_seconds_to_expiry", "secret", how="min")],
        ),
        Panel(
            title="Vault token",
            description="Seconds that the sidecar's own token still lives.",
            unit="s",
            queries=[latest("sidecar_secrets_token_seconds_to_expiry", "pod", how="min")],
        ),
    ],
    "Rotation": [
        Panel(
            title="Generation",
            description="Published, and proved by use; they differ only while a rotation is under way.",
            unit="none",
            queries=[
                latest("sidecar_secrets_generation_published", "pod", name="published"),
                latest("sidecar_secrets_generation_acknowledged", "pod", name="proved"),
            ],
        ),
        Panel(
            title="Reads by reason",
            description="Why secrets were read: how often in an interval of the graph.",
            unit="none",
            queries=[rise("sidecar_secrets_reads_total", "reason")],
        ),
        Panel(
            title="Leases held",
            description="By Vault's count for us; those that await retirement are on top of one a secret.",
            unit="none",
            queries=[
                latest("sidecar_secrets_leases", "pod", name="held"),
                latest("sidecar_secrets_awaiting_retirement", "pod", name="awaiting retirement"),
            ],
        ),
        Panel(
            title="Requests to Vault",
            description="By outcome, a second.",
            unit="reqps",
            queries=[rate("sidecar_secrets_requests_total", "outcome")],
        ),
    ],
}
