from __future__ import annotations

import json

import pytest

from broker.api.http.json_body import decode_json
from tests.unit.broker.api.conftest import Client

ORDER = b'{"instrument":"EUR_USD","side":"buy","type":"market","units":"1"'


@pytest.mark.parametrize("raw", [ORDER + b',"units":"2"}', ORDER + b',"stop_loss":{"price":"1","price":"2"}}'])
@pytest.mark.parametrize("target", ["/v1/orders", "/v1/orders/test"])
async def test_repeated_name_is_refused_in_every_object(api: Client, raw: bytes, target: str) -> None:
    answer = await api("POST", target, raw=raw)

    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert "is there twice" in answer.json()["errors"][0]["message"]
    assert api.orders.placed == []


def test_same_name_in_two_objects_is_no_repetition() -> None:
    assert decode_json(b'{"a":{"a":1},"b":[{"a":1},{"a":2}]}') == {"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}


@pytest.mark.parametrize("raw", [b"", b"{", b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}'])
def test_what_is_no_json_of_single_names_has_one_kind_of_error(raw: bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        decode_json(raw)
