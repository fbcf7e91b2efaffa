"""Faults of the two processes: the sidecar itself and the producer beside it."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.console.doctor.finding import Check, Document, Finding


def _condition(status: Document, name: str) -> Document | None:
    return next((item for item in status["health"]["conditions"] if item["name"] == name and not item["ok"]), None)


def _loop(status: Document) -> Iterator[Finding]:
    if item := _condition(status, "LoopTurns"):
        yield Finding(
            fault="loop_stalled",
            evidence=item["message"],
            next="raise the CPU limit; see throttling: nr_throttled in cpu.stat",
        )


def _socket(status: Document) -> Iterator[Finding]:
    if item := _condition(status, "SocketOpen"):
        yield Finding(
            fault="socket_not_open",
            evidence=item["message"],
            next="wait for the replay of the journal; it is bounded by telemetry.checkpoint_bytes",
            explains=("producer_never_seen", "producer_gone"),
        )


def _draining(status: Document) -> Iterator[Finding]:
    if item := _condition(status, "NotDraining"):
        yield Finding(
            fault="draining",
            evidence=f"{item['message']} (since {item['since']})",
            next="nothing: it ends when producers have gone, or the grace period has",
            explains=("producer_never_seen", "producer_gone", "producer_ended"),
        )


def _producers(status: Document) -> Iterator[Finding]:
    if item := _condition(status, "ProducerAlive"):
        yield _SILENCE[item["reason"]](item["message"])
    elif (item := _condition(status, "ProducerReady")) and item["reason"] == "NotConnected":
        yield _silent(item["message"])


def _never_seen(message: str) -> Finding:
    return Finding(
        fault="producer_never_seen",
        evidence=message,
        next="does it run, with telemetry.socket mounted? check health.producer and the mode of the directory",
    )


def _ended(message: str) -> Finding:
    return Finding(fault="producer_ended", evidence=message, next="see why it was stopped, and start it again")


def _silent(message: str) -> Finding:
    if "silent" in message:
        todo = "its event loop has stalled or it is stopped: look at its CPU and its stack (py-spy dump --pid PID)"
        return Finding(fault="producer_silent", evidence=message, next=todo)
    todo = "see whether it runs and why it ended: kubectl logs --previous, exit code"
    return Finding(fault="producer_gone", evidence=message, next=todo)


_SILENCE = {"NeverHeard": _never_seen, "Goodbye": _ended, "HeartbeatMissing": _silent}


def _producer_conditions(status: Document) -> Iterator[Finding]:
    for producer in status["producers"]:
        failing = [item for item in producer["conditions"] if not item["ok"]] if producer["connected"] else []
        for fault, advisory in (("producer_not_ready", False), ("producer_advises", True)):
            if told := [item for item in failing if item["advisory"] == advisory]:
                yield Finding(
                    fault=fault,
                    evidence=f"{producer['id']}: " + "; ".join(map(_said, told)),
                    next=f"read the log of {producer['id']} from {min(item['since'] for item in told)} on",
                )


def _said(item: Document) -> str:
    return f"{item['name']}: {item['reason']}: {item['message']}"


PROCESSES: tuple[Check, ...] = (_loop, _draining, _socket, _producers, _producer_conditions)
