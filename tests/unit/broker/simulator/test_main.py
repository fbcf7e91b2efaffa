from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from broker.simulator.faults import KINDS

COMMAND = [sys.executable, "-m", "broker.simulator"]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=30, check=False)


def test_a_bad_command_line_ends_with_every_fault() -> None:
    ended = run("--account", "me", "--instruments", "XXX_YYY", "--balance", "much", "--speed", "0")

    assert ended.returncode == 78
    assert len(ended.stderr.splitlines()) == 4


@pytest.mark.parametrize("text", ["{", '[{"kind": "earthquake"}]', '{"kind": "html"}', "[1]"])
def test_a_bad_schedule_of_faults_ends_it(tmp_path: Path, text: str) -> None:
    schedule = tmp_path / "faults.json"
    schedule.write_text(text)

    ended = run("--faults", str(schedule))

    assert ended.returncode == 78
    assert str(schedule) in ended.stderr


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        ended = run("--port", str(port))

    assert ended.returncode == 69
    assert str(port) in ended.stderr


def test_it_says_where_it_listens_and_ends_on_a_signal(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    with subprocess.Popen([*COMMAND, "--token-file", str(token)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        rest = process.stdout.read()
        status = process.wait(timeout=30)

    found = json.loads(line)
    assert found["event"] == "listening"
    assert found["rest"] != found["stream"]
    assert status == 0
    assert "secret" not in line + rest


def test_a_schedule_of_faults_is_kept(tmp_path: Path) -> None:
    schedule = tmp_path / "faults.json"
    schedule.write_text('[{"kind": "html", "path": "/accounts"}, {"kind": "rate_limited", "after_s": 3600}]')
    with subprocess.Popen([*COMMAND, "--faults", str(schedule)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        host, _, port = json.loads(process.stdout.readline())["rest"].partition(":")
        statuses = []
        for _ in range(2):
            asked = http.client.HTTPConnection(host, int(port), timeout=10)
            asked.request("GET", "/v3/accounts", headers={"Authorization": "Bearer simulator-token"})
            statuses.append(asked.getresponse().status)
            asked.close()
        process.terminate()
        process.wait(timeout=30)

    assert statuses == [503, 200]


def test_help_names_every_kind_of_fault() -> None:
    shown = run("--help")

    assert shown.returncode == 0
    assert [kind for kind in KINDS if f"\n  {kind} " not in shown.stdout] == []
