"""Conditions of both processes: names and reasons from the code, meanings from here, neither without the other."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sidecar.health.conditions import PROBES
from tools.reference.markdown import code, made, table

ROOT = Path(__file__).resolve().parents[2]
SIDECAR = {
    "LoopTurns": "the event loop was at most `health.stale_s` late",
    "SocketOpen": "producers can connect",
    "NotDraining": "nobody has told the sidecar to stop",
    "SecretsPublished": "a set of secrets is in the shared directory, or none is configured",
    "SecretsFresh": "no published secret expires within `health.secrets_margin_s`",
    "ProducerAlive": "the producer `health.producer` sent a heartbeat within `health.heartbeat_budget_s`",
    "ProducerReady": "connected, or was within `health.reconnect_grace_s`, and its conditions hold (advice aside)",
    "VaultReachable": "the last request to Vault for each purpose went well (advice)",
    "SecretsAccepted": "a producer has proved the published set, or has time left to (advice)",
    "CollectorReachable": "exports succeed (advice)",
    "JournalWritable": "the journal takes events and checkpoints (advice)",
    "VerdictFresh": "the conditions were evaluated within `health.stale_s`; stands alone where they were not",
}
BROKER = {
    "Credentials": "a generation of secrets was proved and is in use (a refused one: `Rejected` and the reason)",
    "VenueToken": "the venue takes the token that is in use",
    "Serving": "the order API takes requests",
    "Ownership": "this process trades the account (advice where a standby is ready: `orders.standby`)",
    "Journal": "the order journal is open and takes intents",
    "Venue": "books and venue were brought together after the account was taken",
    "Prices": "the price stream is alive and has brought prices",
    "Transactions": "the transaction stream is alive",
    "Trading": "trading is neither halted nor reducing (advice)",
    "Outcomes": "no order is `unknown` (advice)",
    "History": "the history database takes rows (advice)",
    "TelemetrySpool": "events are kept in the spool, and there is room for all of them (advice)",
}
COMPUTED = frozenset({"Prices", "Transactions"})
"""Names that are no constant where they are set: those of the streams."""
COMPUTED_REASONS: Mapping[str, tuple[str, ...]] = {
    "ProducerAlive": ("NeverHeard", "Goodbye", "HeartbeatMissing"),
    "SecretsPublished": ("NotYet",),
    "SecretsAccepted": ("NotProved",),
    "JournalWritable": ("JournalRefuses", "CheckpointFailed"),
    "Credentials": (
        "Missing",
        "Malformed",
        "WrongAccount",
        "Unauthorized",
        "VenueUnavailable",
        "DatabaseUnavailable",
    ),
    "Serving": ("Draining",),
    "Ownership": ("NotOwner", "Lost"),
    "Journal": ("JournalFailed",),
    "Prices": ("StreamDown", "NoPrices"),
    "Transactions": ("StreamDown",),
    "Trading": ("Halted", "Reducing"),
    "Outcomes": ("OutcomeUnknown",),
    "History": ("Starting",),
    "TelemetrySpool": ("VolumeFailing", "SpoolFull"),
}
"""Reasons that reach their condition through a variable; each is a text in the code, which is checked."""
HEAD = """# Conditions

{made}
A condition has a name, whether it holds, a constant reason, a sentence for people, and since when. Besides the
listed reasons there are those of errors, by the error's own name. An advisory condition makes nothing unready.
"""

TOLD = """Told with each heartbeat; `ProducerReady` rests on them. `GET /v1/admin/conditions` lists them under the
names that the sidecar has (`/readyz?verbose`, `status`, `doctor`). Of several accounts each has its own:
`Ownership:` and the account's id.
"""


class UnexplainedError(LookupError):
    """A condition has no meaning here, or a meaning has no condition."""


def page() -> str:
    """The page.

    Raises:
        UnexplainedError: names in the code and here differ.
    """
    sidecar, broker = _sidecar_reasons(), _broker_reasons()
    _compare(sidecar, SIDECAR, frozenset())
    _compare(broker, BROKER, COMPUTED)
    _compare_reasons()
    probes = [(code(f"/{probe}"), ", ".join(map(code, names))) for probe, names in PROBES.items()]
    parts = (
        HEAD.format(made=made("the code")),
        "## Probes\n",
        table(("probe", "asks for"), probes),
        "## Of the sidecar\n",
        _listed(SIDECAR, sidecar),
        "## Of the broker\n",
        TOLD,
        _listed(BROKER, broker),
    )
    return "\n".join(parts)


def _listed(meanings: Mapping[str, str], reasons: Mapping[str, Iterable[str]]) -> str:
    rows = [
        (code(name), text, ", ".join(map(code, sorted({*reasons.get(name, ()), *COMPUTED_REASONS.get(name, ())}))))
        for name, text in meanings.items()
    ]
    return table(("condition", "holds while", "reasons where it does not"), rows)


def _compare(found: Mapping[str, object], known: Mapping[str, object], computed: frozenset[str]) -> None:
    if different := found.keys() ^ (known.keys() - computed):
        raise UnexplainedError(f"conditions differ between code and page: {', '.join(sorted(different))}")


def _compare_reasons() -> None:
    source = "".join(
        path.read_text(encoding="utf-8")
        for name in ("broker", "producer", "sidecar")
        for path in (ROOT / name).rglob("*.py")
    )
    gone = {reason for reasons in COMPUTED_REASONS.values() for reason in reasons if f'"{reason}"' not in source}
    if gone:
        raise UnexplainedError(f"no condition has these reasons any more: {', '.join(sorted(gone))}")


def _sidecar_reasons() -> dict[str, set[str]]:
    """From the calls that make a `Condition`, and the names that `_fault_free` is given."""
    found: dict[str, set[str]] = defaultdict(set)
    for call in _calls(ROOT / "sidecar" / "health" / "conditions.py"):
        words = {item.arg: item.value for item in call.keywords}
        name = words.get("name") or next(iter(call.args), None)
        if _called(call) in {"Condition", "_fault_free"} and isinstance(name, ast.Constant):
            found[str(name.value)].update(_constant(words.get("reason")))
    return {name: reasons - {"NoSecrets"} for name, reasons in found.items()}


def _broker_reasons() -> dict[str, set[str]]:
    """From the calls of `conditions.set`, and the one that the telemetry stream makes."""
    found: dict[str, set[str]] = defaultdict(set)
    modules = {
        path: _texts(path)
        for path in sorted(path for name in ("broker", "producer") for path in (ROOT / name).rglob("*.py"))
    }
    everywhere = {name: text for constants in modules.values() for name, text in constants.items()}
    for path, own in modules.items():
        constants = {**everywhere, **own}  # a module's own names, then those that it may import
        for call in _calls(path):
            words = {item.arg: item.value for item in call.keywords}
            if _called(call) == "set" and "ok" in words and call.args:
                for name in _constant(call.args[0], constants):
                    found[name].update(_constant(words.get("reason"), constants))
            elif _called(call) == "Condition" and path.parent.name == "stream":
                for name in _constant(words.get("name"), constants):
                    found[name].update(_constant(words.get("reason"), constants))
    return {name: reasons - {"Ready"} for name, reasons in found.items()}


def _calls(path: Path) -> Iterator[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _constant(node: ast.expr | None, constants: Mapping[str, str] | None = None) -> set[str]:
    """The texts that an expression can be: one, either side of a conditional, or a module's constant."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.IfExp):
        return _constant(node.body, constants) | _constant(node.orelse, constants)
    if isinstance(node, ast.Name) and constants is not None and node.id in constants:
        return {constants[node.id]}
    return set()


def _texts(path: Path) -> dict[str, str]:
    """A module's constants that are texts."""
    found: dict[str, str] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                found.update(_pairs(target, statement.value))
    return found


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, str]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for inner, item in zip(target.elts, value.elts, strict=True):
            yield from _pairs(inner, item)
    elif isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield target.id, value.value
