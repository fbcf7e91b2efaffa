"""Forks, for real: each test runs a program that emits and forks in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from producer.spool.recovery import orphaned_sessions
from sidecar.pipeline import TelemetryPipeline
from tests.unit.sidecar.batches import TIME_NS
from tests.unit.sidecar.served_pipeline import pipeline_settings, served

FORKS = int(os.environ.get("FORKS", "30"))
"""Forks of the longest test; `make soak` sets a thousand."""

PRELUDE = """
import json, logging, multiprocessing, os, signal, sys, threading, time
from pathlib import Path
from producer import LOG_EVENTS, Catalogue, Emitter, EmittingHandler, Producer, ProducerSettings
from producer.stdlib_logging import LINE_TYPES

PLACE = Path(sys.argv[1])

def settings(producer_id="shop"):
    return ProducerSettings(
        producer_id=producer_id, spool_directory=PLACE / "spool", socket=PLACE / "run" / "t.sock", drain_s=0.1
    )

def emit(made, count, text="line"):
    for number in range(count):
        made.emit(LINE_TYPES[1]("shop", f"{text} {number}", None, None))

def tell(ledger):
    dropped = {f"{event}/{reason}": count for (event, reason), count in ledger.dropped.items()}
    told = {"emitted": ledger.emitted, "held": ledger.held, "acked": ledger.acknowledged}
    print(json.dumps({**told, "dropped": dropped}))

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def ran(place: Path, program: str) -> Any:
    """The last line that the program printed; it must end well within the deadline."""
    command = [sys.executable, "-c", PRELUDE + program, str(place)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def events_left(place: Path) -> list[int]:
    """Numbers of events in the sessions that ended processes left."""
    found = orphaned_sessions(place / "spool", "")
    counts = [session.queue.held for session in found]
    for session in found:
        session.release()
    return counts


def test_a_child_that_closes_its_copy_costs_the_parent_nothing(tmp_path: Path) -> None:
    program = """
made = Emitter(settings(), catalogue=Catalogue(LOG_EVENTS))
emit(made, 1)
pid = os.fork()
if not pid:
    emit(made, 3)
    made.close()
    os._exit(0)
code = ended(pid)
emit(made, 200)
assert code == 0
tell(made.ledger())
made.close()
"""
    assert ran(tmp_path, program) == {"emitted": 204, "held": 201, "acked": 0, "dropped": {"/forked": 3}}
    assert events_left(tmp_path) == [201]


def test_a_child_that_ends_in_order_costs_the_parent_nothing(tmp_path: Path) -> None:
    program = """
with Producer(settings(), Catalogue(LOG_EVENTS)) as made:
    emit(made, 10)
    pid = os.fork()
    if not pid:
        emit(made, 1)
        sys.exit(0)
    assert ended(pid) == 0
    emit(made, 200)
tell(made.ledger())
"""
    assert ran(tmp_path, program) == {"emitted": 211, "held": 210, "acked": 0, "dropped": {"/forked": 1}}
    assert events_left(tmp_path) == [210]


def test_a_child_counts_what_it_refuses_in_its_own_ledger_too(tmp_path: Path) -> None:
    program = """
made = Emitter(settings(), catalogue=Catalogue(LOG_EVENTS))
emit(made, 5)
pid = os.fork()
if not pid:
    emit(made, 3)
    tell(made.ledger())
    sys.stdout.flush()
    os._exit(0)
ended(pid)
made.close()
"""
    assert ran(tmp_path, program) == {"emitted": 3, "held": 0, "acked": 0, "dropped": {"log.info/forked": 3}}


def test_a_pool_of_forked_workers_that_log_costs_the_parent_nothing(tmp_path: Path) -> None:
    program = """
def work(number):
    logging.getLogger("worker").warning("line %s", number)

logging.getLogger().setLevel(logging.INFO)
with Producer(settings(), Catalogue(LOG_EVENTS)) as made:
    logging.getLogger("shop").addHandler(EmittingHandler(made.emit))
    logging.getLogger("worker").addHandler(EmittingHandler(made.emit))
    log = logging.getLogger("shop")
    for number in range(100):
        log.info("line %s", number)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(work, range(80))
        for number in range(200):
            log.info("line %s", number)
        pool.close()
        pool.join()
tell(made.ledger())
"""
    assert ran(tmp_path, program) == {"emitted": 380, "held": 300, "acked": 0, "dropped": {"/forked": 80}}
    assert events_left(tmp_path) == [300]


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_child_with_a_producer_of_its_own_has_a_session_of_its_own(tmp_path: Path, method: str) -> None:
    program = f"""
def work(place):
    with Producer(settings(), Catalogue(LOG_EVENTS)) as made:
        emit(made, 7)

if __name__ == "__main__":
    # A module that the fork server's child can import: `python -c` has none.
    sys.modules["__main__"].__spec__ = None
    with Producer(settings(), Catalogue(LOG_EVENTS)) as made:
        emit(made, 5)
        context = multiprocessing.get_context({method!r})
        child = context.Process(target=work, args=(str(PLACE),))
        child.start()
        child.join()
        assert child.exitcode == 0
        emit(made, 5)
    tell(made.ledger())
"""
    (tmp_path / "program.py").write_text(PRELUDE + program)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout.splitlines()[-1])["held"] == 10
    assert sorted(events_left(tmp_path)) == [7, 10]


def test_a_producer_that_was_made_before_the_fork_cannot_be_entered_in_the_child(tmp_path: Path) -> None:
    program = """
made = Producer(settings(), Catalogue(LOG_EVENTS))
pid = os.fork()
if not pid:
    try:
        made.__enter__()
    except RuntimeError as error:
        print(json.dumps(str(error)), flush=True)
    os._exit(0)
ended(pid)
made.emitter.close()
"""
    assert ran(tmp_path, program) == "this Producer was made before the fork: make one in the child"


def test_a_child_that_outlives_its_parent_does_not_keep_the_session_from_a_successor(tmp_path: Path) -> None:
    program = """
made = Emitter(settings(), catalogue=Catalogue(LOG_EVENTS))
emit(made, 4)
pid = os.fork()
if not pid:
    os.close(1)
    os.close(2)
    signal.pause()
print(json.dumps(pid), flush=True)
os._exit(0)
"""
    child = ran(tmp_path, program)
    try:
        assert events_left(tmp_path) == [4]
    finally:
        os.kill(child, 9)


def test_a_child_emits_though_a_thread_of_the_parent_held_every_lock(tmp_path: Path) -> None:
    program = """
from producer.otel import install
front = install("shop", socket=settings().socket, spool_directory=settings().spool_directory, observe_s=60)
from opentelemetry import metrics
counter = metrics.get_meter("shop").create_counter("jobs")
made = front._producer.emitter
held, done = threading.Event(), threading.Event()

def hold():
    with made.spool.queue.lock, made._declaring, front._meters._lock, front._meters._budget.lock:
        held.set()
        done.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
pid = os.fork()
if not pid:
    counter.add(1, {"who": "child"})
    logging.getLogger("child").warning("line")
    metrics.get_meter("other").create_counter("other").add(1)
    front.close()
    dropped = front.ledger().dropped
    print(json.dumps([dropped[name, "forked"] for name in ("jobs", "other")]), flush=True)
    sys.exit(0)
assert ended(pid) == 0
done.set()
thread.join()
front._producer._stream._settings = settings()
"""
    assert ran(tmp_path, program) == [1, 1]


async def test_forks_under_load_lose_no_event(tmp_path: Path) -> None:
    program = f"""
stop = threading.Event()

def work(made, counts, place):
    while not stop.is_set():
        emit(made, 20)
        counts[place] += 20
        time.sleep(0.001)

with Producer(settings(), Catalogue(LOG_EVENTS)) as made:
    counts = [0, 0]
    threads = [threading.Thread(target=work, args=(made, counts, place)) for place in range(2)]
    for thread in threads:
        thread.start()
    for number in range({FORKS}):
        pid = os.fork()
        if not pid:
            emit(made, 2)
            made.emitter.close() if number % 3 == 0 else None
            sys.exit(0) if number % 2 else os._exit(0)
        assert ended(pid) == 0, number
    stop.set()
    for thread in threads:
        thread.join()
    until = time.monotonic() + 60
    while made.ledger().held and time.monotonic() < until:
        time.sleep(0.05)
assert made.ledger().emitted == sum(counts) + 2 * {FORKS}
tell(made.ledger())
"""
    pipeline = TelemetryPipeline(settings=pipeline_settings(tmp_path), clock=lambda: TIME_NS)
    await pipeline.open()
    async with served(pipeline), asyncio.timeout(600):
        command = [sys.executable, "-c", PRELUDE + program, str(tmp_path)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        told, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    ledger = json.loads(told.splitlines()[-1])
    assert ledger["dropped"] == {"/forked": 2 * FORKS}
    assert (ledger["held"], ledger["acked"]) == (0, ledger["emitted"] - 2 * FORKS)
    assert pipeline.ledger().producers["shop"].counted == ledger["acked"]
    await pipeline.close()


APPLICATION = """
import os
from contextlib import asynccontextmanager
from pathlib import Path
from producer import LOG_EVENTS, Catalogue, Producer, ProducerSettings
from producer.stdlib_logging import LINE_TYPES

PLACE = Path(os.environ["PLACE"])

async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    settings = ProducerSettings(
        producer_id=f"web-{os.getpid()}", spool_directory=PLACE / "spool", socket=PLACE / "t.sock", drain_s=0.1
    )
    with Producer(settings, Catalogue(LOG_EVENTS)) as made:
        await receive()
        made.emit(LINE_TYPES[1]("web", "begun", None, None))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        made.emit(LINE_TYPES[1]("web", "ended", None, None))
    await send({"type": "lifespan.shutdown.complete"})
"""


async def test_each_worker_of_uvicorn_has_a_session_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    command = [sys.executable, "-m", "uvicorn", "application:app", "--workers", "2", "--port", "0"]
    environ = {**os.environ, "PLACE": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=quiet, stderr=quiet)
    async with asyncio.timeout(120):
        while len(list((tmp_path / "spool").glob("*/*.spool"))) < 2:
            await asyncio.sleep(0.05)
        process.terminate()
        await process.wait()
    assert events_left(tmp_path) == [2, 2]
