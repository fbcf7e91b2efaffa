from __future__ import annotations

import logging

from sidecar.console.bundle import RecentLog, redacted


def test_values_that_may_be_secret_are_hidden_and_their_names_stay() -> None:
    tree = {
        "otlp": {"endpoint": "http://c", "headers": {"authorization": "Bearer hunter2"}},
        "secrets": {"secrets": [{"name": "db", "parameters": {"password": "hunter2"}}]},
    }
    assert redacted(tree) == {
        "otlp": {"endpoint": "http://c", "headers": {"authorization": "***"}},
        "secrets": {"secrets": [{"name": "db", "parameters": {"password": "***"}}]},
    }


def test_the_latest_log_lines_are_kept_and_no_more() -> None:
    recent = RecentLog("sidecar", lines=2)
    for number in range(4):
        recent.emit(logging.makeLogRecord({"msg": f"event{number}", "levelname": "INFO", "name": "x"}))
    lines = recent.text().splitlines()
    assert [line.split('"event": ')[1].split(",")[0] for line in lines] == ['"event2"', '"event3"']
