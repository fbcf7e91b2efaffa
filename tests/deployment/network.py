"""NetworkPolicies as a function: whether a flow between two pods is allowed (networking.k8s.io/v1)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

Manifest = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A pod, or an address outside where `address` is set."""

    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    address: str = ""
    namespace_labels: dict[str, str] = field(default_factory=dict)


def is_allowed(policies: list[Manifest], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Both ends must allow it: what no policy selects is open."""
    return _end(policies, "Egress", source, target, (port, protocol)) and _end(
        policies, "Ingress", target, source, (port, protocol)
    )


def _end(policies: list[Manifest], direction: str, here: Peer, there: Peer, service: tuple[int, str]) -> bool:
    selecting = [
        policy["spec"]
        for policy in policies
        if not here.address
        and policy["metadata"]["namespace"] == here.namespace
        and direction in policy["spec"]["policyTypes"]
        and _matches(policy["spec"]["podSelector"], here.labels)
    ]
    if not selecting:
        return True
    side = "to" if direction == "Egress" else "from"
    return any(
        _port(rule, *service) and _peers(rule.get(side), here, there)
        for spec in selecting
        for rule in spec.get(direction.lower(), ())
    )


def _port(rule: Manifest, port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return ports is None or any((item["protocol"], item["port"]) == (protocol, port) for item in ports)


def _peers(items: list[Manifest] | None, here: Peer, there: Peer) -> bool:
    return items is None or any(_peer(item, here, there) for item in items)


def _peer(item: Manifest, here: Peer, there: Peer) -> bool:
    if "ipBlock" in item:
        return bool(there.address) and _in_block(item["ipBlock"], there.address)
    if there.address:
        return False
    if "namespaceSelector" in item:
        in_namespace = _matches(
            item["namespaceSelector"], {"kubernetes.io/metadata.name": there.namespace, **there.namespace_labels}
        )
    else:
        in_namespace = there.namespace == here.namespace
    return in_namespace and _matches(item.get("podSelector", {}), there.labels)


def _in_block(block: Manifest, address: str) -> bool:
    found = ipaddress.ip_address(address)
    return found in ipaddress.ip_network(block["cidr"]) and not any(
        found in ipaddress.ip_network(item) for item in block.get("except", ())
    )


def _matches(selector: Manifest, labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, f"a selector that this function does not know: {selector}"
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()
