"""Conditions of both processes, from the enumerations that name them."""

from __future__ import annotations

from collections.abc import Iterable

from broker.orders.conditions import BrokerCondition
from pod_runtime.condition import ConditionName
from producer.health import EmitterCondition
from sidecar.health.conditions import PROBES, SidecarCondition
from tools.reference.markdown import code, made, table

HEAD = """# Conditions

{made}
A condition has a name, whether it holds, a constant reason, a sentence for people, and since when. Besides the
listed reasons there are those of errors, by the error's own name. An advisory condition makes nothing unready.
"""
SENT_BY_THE_BROKER = """The broker sends them with each heartbeat, and `ProducerReady` rests on them.
`GET /v1/admin/conditions` lists them under the names that the sidecar shows (`/readyz?verbose`, `status`, `doctor`).
A broker with several accounts has one for each: `Ownership:` and the account's id.
"""


def page() -> str:
    """Write the page."""
    probes = [(code(f"/{probe}"), ", ".join(map(code, names))) for probe, names in PROBES.items()]
    parts = (
        HEAD.format(made=made("the enumerations in the code")),
        "## Probes\n",
        table(("probe", "asks for"), probes),
        "## Of the sidecar\n",
        _listed(SidecarCondition),
        "## Of the broker\n",
        SENT_BY_THE_BROKER,
        _listed([*BrokerCondition, *EmitterCondition]),
    )
    return "\n".join(parts)


def _listed(conditions: Iterable[ConditionName]) -> str:
    rows = [(code(item), item.meaning, ", ".join(map(code, sorted(item.reasons)))) for item in conditions]
    return table(("condition", "holds while", "reasons where it does not"), rows)
