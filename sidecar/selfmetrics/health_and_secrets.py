"""Health and secrets as the sidecar's own metrics: names and where each figure comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sidecar.health.conditions import PROBES, HealthCondition, verdict
from sidecar.secrets.status import SecretsStatus, SecretStatus
from sidecar.selfmetrics.measure import Measure, Reading, alone, counter, each, gauge

Conditions = Callable[[], Sequence[HealthCondition]]
Status = Callable[[], SecretsStatus]


def health_measures(conditions: Conditions) -> list[Measure]:
    """Each condition and each probe: 1 where it holds, 0 where not."""

    def held() -> list[Reading]:
        return each("condition", ((item.name, int(item.ok)) for item in conditions()))

    def passed() -> list[Reading]:
        now = conditions()
        return each("probe", ((probe, int(verdict(probe, now).ok)) for probe in PROBES))

    return [
        gauge("sidecar.condition", "", "Whether a condition of the sidecar holds", held),
        gauge("sidecar.probe", "", "Whether a probe passes", passed),
    ]


def secrets_measures(status: Status) -> list[Measure]:
    """Generations, lives, requests and leases; never a value."""
    return [*_generation_measures(status), *_life_measures(status), *_vault_measures(status)]


def _generation_measures(status: Status) -> list[Measure]:
    def one(pick: Callable[[SecretsStatus], float]) -> Callable[[], list[Reading]]:
        return lambda: alone(pick(status()))

    def counted(name: str, description: str) -> Measure:
        return counter(f"sidecar.secrets.{name}", "", description, one(lambda s: s.counters.get(name, 0)))

    return [
        gauge(
            "sidecar.secrets.generation.published",
            "",
            "Generation of the published set; 0 before the first",
            one(lambda s: s.generation_published),
        ),
        gauge(
            "sidecar.secrets.generation.acknowledged",
            "",
            "Latest generation that was proved by use",
            one(lambda s: s.generation_acknowledged),
        ),
        counted("publications", "Sets that were published"),
        counted("acknowledgements", "Sets that were proved by use"),
        counted("rejections", "Sets that a producer could not use"),
        counted("timeouts", "Sets that nobody proved in time"),
        counted("retirements", "Sets whose older credentials were given back"),
    ]


def _life_measures(status: Status) -> list[Measure]:
    def secrets(pick: Callable[[SecretStatus], float | None]) -> Callable[[], list[Reading]]:
        return lambda: each("secret", ((item.name, pick(item)) for item in status().secrets))

    def reads() -> list[Reading]:
        return [
            ({"secret": item.name, "reason": reason}, count)
            for item in status().secrets
            for reason, count in item.reads.items()
        ]

    def token(left: float | None) -> list[Reading]:
        return [] if left is None else alone(left)

    return [
        gauge(
            "sidecar.secrets.seconds_to_expiry",
            "",
            "Until a published secret expires; absent for one that does not",
            secrets(lambda item: item.expires_in_s),
        ),
        gauge(
            "sidecar.secrets.seconds_to_max_ttl",
            "",
            "Until a lease cannot be renewed any more; absent while that is not known",
            secrets(lambda item: item.ends_in_s),
        ),
        gauge(
            "sidecar.secrets.last_success",
            "s",
            "When a secret was last read, renewed or looked at with success, seconds since the epoch",
            secrets(lambda item: item.last_success.timestamp() if item.last_success else None),
        ),
        gauge(
            "sidecar.secrets.failing",
            "",
            "Whether a secret cannot be read or renewed",
            secrets(lambda item: int(item.failing_since is not None)),
        ),
        counter("sidecar.secrets.reads", "{read}", "Reads of a secret, by why it was read", reads),
        gauge(
            "sidecar.secrets.token.seconds_to_expiry",
            "",
            "Until our Vault token expires",
            lambda: token(status().token.expires_in_s),
        ),
        gauge(
            "sidecar.secrets.token.seconds_to_max_ttl",
            "",
            "Until our Vault token cannot be renewed any more; absent while that is not known",
            lambda: token(status().token.ends_in_s),
        ),
    ]


def _vault_measures(status: Status) -> list[Measure]:
    def requests() -> list[Reading]:
        return [
            ({"operation": operation, "outcome": outcome}, count)
            for (operation, outcome), count in status().requests.items()
        ]

    def logins() -> list[Reading]:
        return each("reason", status().token.logins.items())

    def held(name: str) -> Callable[[], list[Reading]]:
        return lambda: alone(getattr(status(), name))

    return [
        counter("sidecar.secrets.requests", "{request}", "Requests to Vault, by outcome", requests),
        counter("sidecar.secrets.logins", "{login}", "Logins to Vault, by why", logins),
        gauge("sidecar.secrets.leases", "{lease}", "Leases that Vault holds for us", held("leases")),
        gauge("sidecar.secrets.sessions", "{token}", "Tokens that Vault holds for us", held("sessions")),
        gauge(
            "sidecar.secrets.awaiting_retirement",
            "{lease}",
            "Leases to be given back once their successors are proved",
            held("awaiting_retirement"),
        ),
    ]
