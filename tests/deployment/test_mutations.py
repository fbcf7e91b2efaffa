from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from tests.deployment.rendering import OVERLAYS, Manifest, only, rendered
from tests.deployment.wiring import wiring_faults


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_overlays_are_wired_well(overlay: str) -> None:
    assert wiring_faults(rendered(overlay)) == []


def broker(manifests: tuple[Manifest, ...]) -> Manifest:
    return dict(only(manifests, "Deployment", "broker")["spec"]["template"]["spec"])


def wrong_service_port(manifests: tuple[Manifest, ...]) -> None:
    only(manifests, "Service", "broker")["spec"]["ports"][0]["targetPort"] = 8081


def wrong_selector(manifests: tuple[Manifest, ...]) -> None:
    only(manifests, "Service", "broker")["spec"]["selector"] = {"app.kubernetes.io/name": "brokers"}


def wrong_probe_port(manifests: tuple[Manifest, ...]) -> None:
    broker(manifests)["containers"][0]["livenessProbe"]["httpGet"]["port"] = 8001


def missing_limit(manifests: tuple[Manifest, ...]) -> None:
    del broker(manifests)["initContainers"][0]["resources"]["limits"]["memory"]


def missing_resources(manifests: tuple[Manifest, ...]) -> None:
    del broker(manifests)["containers"][0]["resources"]


def brokers_liveness_on_the_sidecar(manifests: tuple[Manifest, ...]) -> None:
    spec = broker(manifests)
    spec["initContainers"][0]["livenessProbe"] = spec["containers"][0].pop("livenessProbe")


def startup_that_waits_for_the_broker(manifests: tuple[Manifest, ...]) -> None:
    broker(manifests)["initContainers"][0]["startupProbe"]["httpGet"]["path"] = "/readyz"


def impatient_liveness(manifests: tuple[Manifest, ...]) -> None:
    broker(manifests)["containers"][0]["livenessProbe"]["failureThreshold"] = 3


def grace_that_pre_stop_uses_up(manifests: tuple[Manifest, ...]) -> None:
    only(manifests, "Deployment", "broker")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 10


def api_monitor(manifests: tuple[Manifest, ...]) -> Manifest:
    return dict(only(manifests, "ServiceMonitor", "broker-api")["spec"])


def monitor_of_every_service(manifests: tuple[Manifest, ...]) -> None:
    api_monitor(manifests)["selector"]["matchLabels"] = {"app.kubernetes.io/part-of": "broker-sidecar"}


def monitor_of_no_service(manifests: tuple[Manifest, ...]) -> None:
    del only(manifests, "Service", "broker-pods")["metadata"]["labels"]["app.kubernetes.io/component"]


def monitor_of_another_port(manifests: tuple[Manifest, ...]) -> None:
    api_monitor(manifests)["endpoints"][0]["port"] = "api"


def monitor_in_the_clear(manifests: tuple[Manifest, ...]) -> None:
    del api_monitor(manifests)["endpoints"][0]["scheme"]


def monitor_that_trusts_anybody(manifests: tuple[Manifest, ...]) -> None:
    api_monitor(manifests)["endpoints"][0]["tlsConfig"] = {"insecureSkipVerify": True}


def pod_monitor_of_another_port(manifests: tuple[Manifest, ...]) -> None:
    only(manifests, "PodMonitor", "broker-sidecar")["spec"]["podMetricsEndpoints"][0]["portNumber"] = 9465


@pytest.mark.parametrize(
    ("mutate", "fault"),
    [
        (wrong_service_port, "Service/broker: sends to port 8081"),
        (wrong_selector, "Service/broker: selects no pod"),
        (wrong_probe_port, "livenessProbe asks port 8001"),
        (missing_limit, "sidecar has not both cpu and memory among its limits"),
        (missing_resources, "broker has not both cpu and memory among its requests"),
        (brokers_liveness_on_the_sidecar, "sidecar: livenessProbe asks /livez/broker, which is about broker"),
        (startup_that_waits_for_the_broker, "sidecar: startupProbe asks /readyz, which is about broker"),
        (impatient_liveness, "a sidecar that is away for its longest back-off kills it"),
        (grace_that_pre_stop_uses_up, "preStop takes the whole grace period"),
        (monitor_of_every_service, "ServiceMonitor/broker-api: selects 2 of what it is to scrape, not one"),
        (monitor_of_no_service, "ServiceMonitor/broker-api: selects 0 of what it is to scrape, not one"),
        (monitor_of_another_port, "ServiceMonitor/broker-api: asks port api, which is not there"),
        (monitor_in_the_clear, "ServiceMonitor/broker-api: asks port https by http"),
        (monitor_that_trusts_anybody, "ServiceMonitor/broker-api: asks port https without proof of who answers"),
        (pod_monitor_of_another_port, "PodMonitor/broker-sidecar: asks port 9465, which is not there"),
    ],
)
def test_a_mutation_is_caught(mutate: Callable[[tuple[Manifest, ...]], None], fault: str) -> None:
    manifests = copy.deepcopy(rendered("production"))
    mutate(manifests)
    assert any(fault in found for found in wiring_faults(manifests))
