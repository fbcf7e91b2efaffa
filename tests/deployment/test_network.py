from __future__ import annotations

import pytest

from tests.deployment.network import Peer, is_allowed
from tests.deployment.rendering import rendered

NAME = "app.kubernetes.io/name"
BROKER = Peer(namespace="broker", labels={NAME: "broker"})
COLLECTOR = Peer(namespace="broker", labels={NAME: "otel-collector"})
PROMETHEUS = Peer(namespace="monitoring", labels={NAME: "prometheus"})
GRAFANA = Peer(namespace="monitoring", labels={NAME: "grafana"})
VAULT = Peer(namespace="vault", labels={NAME: "vault"})
POSTGRESQL = Peer(namespace="databases", labels={NAME: "postgresql"})
ELASTICSEARCH = Peer(namespace="logging", labels={NAME: "elasticsearch"})
DNS = Peer(namespace="kube-system", labels={"k8s-app": "kube-dns"})
INGRESS = Peer(namespace="ingress-nginx", labels={NAME: "ingress-nginx"})
TRADER = Peer(namespace="broker", labels={"broker.access/orders": "true"})
TRADING = Peer(namespace="trading", labels={NAME: "algo"}, namespace_labels={"broker.access/orders": "true"})
STRANGER = Peer(namespace="default", labels={NAME: "shell"})
NEIGHBOUR = Peer(namespace="broker", labels={NAME: "debug"})
OANDA = Peer(address="104.18.34.254")
OANDA_BY_IPV6 = Peer(address="2606:4700::6812:22fe")
API_SERVER = Peer(address="10.96.0.1")
# Of AWS, its containers, Azure, Alibaba, and by IPv6 of AWS and Google.
METADATA = [
    Peer(address=address)
    for address in (
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::a9fe:a9fe",
    )
]

ALLOWED = [
    (TRADER, BROKER, 8080, "TCP"),
    (TRADING, BROKER, 8080, "TCP"),
    (INGRESS, BROKER, 8080, "TCP"),
    (BROKER, BROKER, 8080, "TCP"),
    (PROMETHEUS, BROKER, 9464, "TCP"),
    (PROMETHEUS, BROKER, 8080, "TCP"),
    (PROMETHEUS, COLLECTOR, 8888, "TCP"),
    (BROKER, COLLECTOR, 4317, "TCP"),
    (BROKER, VAULT, 8200, "TCP"),
    (BROKER, POSTGRESQL, 5432, "TCP"),
    (BROKER, DNS, 53, "UDP"),
    (BROKER, DNS, 53, "TCP"),
    (COLLECTOR, DNS, 53, "UDP"),
    (BROKER, OANDA, 443, "TCP"),
    (BROKER, OANDA_BY_IPV6, 443, "TCP"),
    (BROKER, API_SERVER, 443, "TCP"),
    (BROKER, API_SERVER, 6443, "TCP"),
    (COLLECTOR, ELASTICSEARCH, 9200, "TCP"),
]
DENIED = [
    (STRANGER, BROKER, 8080, "TCP"),
    (NEIGHBOUR, BROKER, 8080, "TCP"),
    (GRAFANA, BROKER, 9464, "TCP"),
    (TRADER, BROKER, 9464, "TCP"),
    (GRAFANA, BROKER, 8080, "TCP"),
    (PROMETHEUS, BROKER, 8090, "TCP"),
    (STRANGER, COLLECTOR, 4317, "TCP"),
    (BROKER, ELASTICSEARCH, 9200, "TCP"),
    *((BROKER, service, port, "TCP") for service in METADATA for port in (80, 443, 6443)),
    (BROKER, OANDA, 80, "TCP"),
    (BROKER, OANDA, 6443, "TCP"),
    (BROKER, API_SERVER, 8200, "TCP"),
    (COLLECTOR, OANDA, 443, "TCP"),
    (COLLECTOR, VAULT, 8200, "TCP"),
    (NEIGHBOUR, OANDA, 443, "TCP"),
]


def policies() -> list[dict[str, object]]:
    return [item for item in rendered("production") if item["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(("source", "target", "port", "protocol"), ALLOWED)
def test_a_named_flow_passes(source: Peer, target: Peer, port: int, protocol: str) -> None:
    assert is_allowed(policies(), source, target, port, protocol)


@pytest.mark.parametrize(("source", "target", "port", "protocol"), DENIED)
def test_any_other_flow_is_denied(source: Peer, target: Peer, port: int, protocol: str) -> None:
    assert not is_allowed(policies(), source, target, port, protocol)
