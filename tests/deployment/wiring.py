"""Faults that schemas do not see: ports that nobody listens on, containers without limits, misplaced probes."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator

from tests.deployment.rendering import Manifest, containers, pod_templates

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
OWNERS = {"/startupz": "sidecar", "/livez": "sidecar", "/livez/broker": "broker", "/readyz": "broker"}
"""The container that a restart, or a removal from the endpoints, is to reach."""
BACK_OFF_CAP_S = 360


def wiring_faults(manifests: tuple[Manifest, ...]) -> list[str]:
    """Every fault, by where it stands."""
    found: list[str] = []
    templates = dict(pod_templates(manifests))
    for where, template in templates.items():
        found += [f"{where}: {fault}" for fault in _pod_faults(template)]
    for service in (item for item in manifests if item["kind"] == "Service"):
        found += [f"Service/{service['metadata']['name']}: {fault}" for fault in _service_faults(service, templates)]
    for monitor in (item for item in manifests if item["kind"] in ("ServiceMonitor", "PodMonitor")):
        where = f"{monitor['kind']}/{monitor['metadata']['name']}"
        found += [f"{where}: {fault}" for fault in _monitor_faults(monitor, manifests, templates)]
    return found


def _pod_faults(template: Manifest) -> Iterator[str]:
    ports = {port["containerPort"] for item in containers(template) for port in item.get("ports", ())}
    for container in containers(template):
        name = container["name"]
        for kind in ("requests", "limits"):
            if {"cpu", "memory"} - set(container.get("resources", {}).get(kind, {})):
                yield f"{name} has not both cpu and memory among its {kind}"
        for probe in (item for item in PROBES if item in container):
            get = container[probe]["httpGet"]
            if get["port"] not in ports:
                yield f"{name}: {probe} asks port {get['port']}, on which nobody listens"
            if (owner := OWNERS.get(get["path"], name)) != name:
                yield f"{name}: {probe} asks {get['path']}, which is about {owner}"
    yield from _grace_faults(template)


def _grace_faults(template: Manifest) -> Iterator[str]:
    spec = template["spec"]
    for container in spec["containers"]:
        probe = container.get("livenessProbe")
        about = probe is not None and probe["httpGet"]["path"] == "/livez/broker"
        if about and probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3) <= BACK_OFF_CAP_S:
            yield f"{container['name']}: a sidecar that is away for its longest back-off kills it"
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if sleep and spec.get("terminationGracePeriodSeconds", 30) <= sleep:
            yield f"{container['name']}: preStop takes the whole grace period"


def _service_faults(service: Manifest, templates: dict[str, Manifest]) -> Iterator[str]:
    wanted = service["spec"]["selector"].items()
    selected = [item for item in templates.values() if wanted <= item.get("metadata", {}).get("labels", {}).items()]
    if not selected:
        yield "selects no pod"
    for template in selected:
        ports = {port["containerPort"] for item in containers(template) for port in item.get("ports", ())}
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"sends to port {port['targetPort']}, on which nobody listens"


def _monitor_faults(
    monitor: Manifest, manifests: tuple[Manifest, ...], templates: dict[str, Manifest]
) -> Iterator[str]:
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    if monitor["kind"] == "PodMonitor":
        pods = [item for item in templates.values() if wanted <= item.get("metadata", {}).get("labels", {}).items()]
        listening = [{port["containerPort"] for item in containers(pod) for port in item["ports"]} for pod in pods]
        asked = {item["portNumber"] for item in monitor["spec"]["podMetricsEndpoints"]}
    else:
        services = [item for item in manifests if item["kind"] == "Service" and _is_labelled(item, wanted)]
        listening = [{port["name"] for port in item["spec"]["ports"]} for item in services]
        asked = {item["port"] for item in monitor["spec"]["endpoints"]}
        yield from _scheme_faults(monitor, services)
    if len(listening) != 1:
        yield f"selects {len(listening)} of what it is to scrape, not one"
    for ports in listening:
        yield from (f"asks port {port}, which is not there" for port in sorted(asked - ports, key=str))


def _is_labelled(manifest: Manifest, wanted: ItemsView[str, str]) -> bool:
    found: dict[str, str] = manifest["metadata"].get("labels", {})
    return wanted <= found.items()


def _scheme_faults(monitor: Manifest, services: list[Manifest]) -> Iterator[str]:
    protocols = {
        port["name"]: port.get("appProtocol", "http") for service in services for port in service["spec"]["ports"]
    }
    for item in monitor["spec"]["endpoints"]:
        scheme = item.get("scheme", "http")
        if scheme != protocols.get(item["port"], scheme):
            yield f"asks port {item['port']} by {scheme}"
        if scheme == "https" and ("ca" not in item["tlsConfig"] or item["tlsConfig"].get("insecureSkipVerify")):
            yield f"asks port {item['port']} without proof of who answers"
