from __future__ import annotations

import pytest

from producer.trace import parse_traceparent

HEADER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_traceparent_becomes_25_bytes() -> None:
    trace = parse_traceparent(HEADER)
    assert trace == bytes.fromhex("0af7651916cd43dd8448eb211c80319cb7ad6b716920333101")


def test_a_later_version_is_read_by_its_first_fields() -> None:
    assert parse_traceparent("cc" + HEADER[2:] + "-what-is-this") == parse_traceparent(HEADER)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        HEADER.upper(),
        HEADER + "-more",
        "ff" + HEADER[2:],
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    ],
)
def test_an_invalid_traceparent_is_no_trace(header: str | None) -> None:
    assert parse_traceparent(header) is None
