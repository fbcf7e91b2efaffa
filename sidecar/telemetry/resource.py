"""Resource attributes by OpenTelemetry's semantic conventions: the pod's own, and those of each producer.

https://opentelemetry.io/docs/specs/semconv/resource/ ; the pod's facts come from the downward API, as
environment variables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import unquote

SERVICE_NAME = "broker-sidecar"

_FROM_ENVIRONMENT = {
    "k8s.pod.name": ("POD_NAME", "K8S_POD_NAME"),
    "k8s.pod.uid": ("POD_UID", "K8S_POD_UID"),
    "k8s.pod.ip": ("POD_IP", "K8S_POD_IP"),
    "k8s.namespace.name": ("POD_NAMESPACE", "K8S_NAMESPACE_NAME"),
    "k8s.node.name": ("NODE_NAME", "K8S_NODE_NAME"),
    "k8s.deployment.name": ("K8S_DEPLOYMENT_NAME",),
    "k8s.statefulset.name": ("K8S_STATEFULSET_NAME",),
    "k8s.cluster.name": ("K8S_CLUSTER_NAME",),
    "deployment.environment.name": ("DEPLOYMENT_ENVIRONMENT_NAME",),
}

# Beginnings of attributes of the sidecar's own process, which would be untrue of a producer.
_OF_ONE_PROCESS = ("service.name", "service.version", "telemetry.", "process.")


def own_resource(environ: Mapping[str, str], *, version: str, instance_id: str) -> dict[str, str]:
    """The sidecar's resource. OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME override what is found.

    `instance_id` is the checkpoint's, so that a restart is the same instance. A list of attributes that cannot be read
    is left out as a whole, as OpenTelemetry's specification of resources asks.
    """
    found = {"service.name": SERVICE_NAME, "service.version": version}
    for attribute, names in _FROM_ENVIRONMENT.items():
        if value := next((environ[name] for name in names if environ.get(name)), ""):
            found[attribute] = value
    if "k8s.namespace.name" in found:
        found["service.namespace"] = found["k8s.namespace.name"]
    # The pod before the checkpoint: a volume may move to another pod.
    found["service.instance.id"] = found.get("k8s.pod.uid", instance_id)
    with suppress(ValueError):
        found.update(parse_attributes(environ.get("OTEL_RESOURCE_ATTRIBUTES", "")))
    if environ.get("OTEL_SERVICE_NAME"):
        found["service.name"] = environ["OTEL_SERVICE_NAME"]
    return found


def parse_attributes(text: str) -> dict[str, str]:
    """Read comma-separated key=value, percent-encoded (W3C baggage), as OpenTelemetry's variables have it.

    Raises ValueError: an entry has no key or no `=`.
    """
    found = {}
    for number, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
        key, equals, value = entry.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"entry {number} is not key=value")
        found[key.strip()] = unquote(value.strip())
    return found


def producer_resource(
    own: Mapping[str, str],
    producer_id: str,
    announced: Sequence[tuple[str, str]],
    routing: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Resource of a producer's metrics and logs: its announced attributes, overridden by those of the pod.

    The service's name and version are the producer's, by default its id; `routing` (data_stream.*) is for logs.
    """
    shared = {key: value for key, value in own.items() if not key.startswith(_OF_ONE_PROCESS)}
    return {"service.name": producer_id, **dict(announced), **shared, **(routing or {})}
