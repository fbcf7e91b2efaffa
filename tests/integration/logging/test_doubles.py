"""Doubles that a redelivery across a rollover makes in the real engine, and their removal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tests.integration.logging.test_kibana import send
from tests.integration.telemetry.servers import Engine, collector, collector_binary, engine, fetch
from tools.log_provisioning.provision import STREAMS_STEP, roll_over_steps

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("search-engine")]
PROGRAM = ("-m", "tools.log_provisioning.doubles")
STREAM = "logs-broker.otel-rolled"


def records(*names: str, made_ns: int | None = None) -> list[LogRecord]:
    """Records with the ids that a sidecar gives them."""
    when = time.time_ns() if made_ns is None else made_ns
    return [
        LogRecord(
            event_name="broker.order.transition",
            severity_number=9,  # type: ignore[arg-type] # a number is a member
            time_unix_nano=when,
            attributes=[
                KeyValue(key="elasticsearch.document_id", value=AnyValue(string_value=f"broker/s1/{name}")),
                KeyValue(key="log.record.uid", value=AnyValue(string_value=f"broker/s1/{name}")),
            ],
        )
        for name in names
    ]


def stored(search: Engine) -> list[str]:
    """The ids of all documents, one as often as it is stored, with the number of its backing index."""
    return sorted(
        f"{item['_id'].rpartition('/')[2]}:{item['_index'][-1]}" for item in search.documents("rolled", "broker")
    )


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """After a rollover `first` and `second` were sent again, `late` was sent for the first time, `new` was made."""
    collector_binary()
    place = tmp_path_factory.mktemp("doubles")
    with engine(place) as found:
        found.install_templates()
        with collector(place, found.url) as pipe:
            made = time.time_ns()
            before = records("first", "second", "third", made_ns=made)
            send(pipe.endpoint, "rolled", before)
            found.wait(lambda: len(stored(found)) == 3, "three documents")
            streams = fetch(f"{found.url}/{STREAMS_STEP.path}")
            assert [step.path for step in roll_over_steps(streams)] == [f"{STREAM}/_rollover?lazy"]
            assert fetch(f"{found.url}/{STREAM}/_rollover", method="POST")["rolled_over"]
            send(pipe.endpoint, "rolled", [*before[:2], *records("late", made_ns=made)])
            # An hour ahead: no producer's clock is so wrong, and so it was made after the rollover.
            send(pipe.endpoint, "rolled", records("new", made_ns=made + 3600 * 10**9))
            found.wait(lambda: len(stored(found)) == 7, "seven documents")
        yield found


def run(search: Engine, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    environ = {**os.environ, "ELASTICSEARCH_URL": search.url}
    command = [sys.executable, *PROGRAM, *arguments]
    result = subprocess.run(command, check=False, env=environ, capture_output=True, text=True)
    assert result.stderr == ""
    return result.returncode, [json.loads(line) for line in result.stdout.splitlines()]


def test_a_redelivery_across_a_rollover_is_stored_twice_and_once_again(search: Engine) -> None:
    twice = ["first:1", "first:2", "late:2", "new:2", "second:1", "second:2", "third:1"]
    assert stored(search) == twice
    status, told = run(search, "--report-only")
    assert (status, [(item["doubled"], item["removed"]) for item in told]) == (2, [(2, 0)])
    assert stored(search) == twice

    status, told = run(search)
    assert (status, [(item["stream"], item["removed"]) for item in told]) == (0, [(STREAM, 2)])
    assert stored(search) == ["first:1", "late:2", "new:2", "second:1", "third:1"]
    status, told = run(search)
    assert (status, [item["doubled"] for item in told]) == (0, [0])


def test_texts_are_read_back_as_they_were_written_where_the_engine_stores_logs_its_own_way(search: Engine) -> None:
    """An Enterprise licence makes such streams logsdb since Elasticsearch 9.0, which alone shows 1.1 for 1.10."""
    mode = {"template": {"settings": {"index": {"mode": "logsdb"}}}, "index_patterns": ["exact-*"], "priority": 500}
    composed = {**mode, "composed_of": ["broker-logs@settings"]}
    search.put("_index_template/exact", json.dumps(composed).encode())
    document = {"@timestamp": "2026-11-30T12:00:00Z", "units": "100.0", "price": "1.10"}
    search.put("exact-1/_doc/1?refresh=true", json.dumps(document).encode())
    assert fetch(f"{search.url}/exact-1/_doc/1")["_source"] == document


def test_an_engine_that_does_not_answer_is_said() -> None:
    environ = {**os.environ, "ELASTICSEARCH_URL": "http://127.0.0.1:9", "WAIT_S": "0"}
    result = subprocess.run([sys.executable, *PROGRAM], check=False, env=environ, capture_output=True, text=True)
    assert (result.returncode, "no answer" in result.stderr) == (69, True)
