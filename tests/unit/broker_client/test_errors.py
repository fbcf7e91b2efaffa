from __future__ import annotations

import json

import pytest

from broker_client import errors
from broker_client.errors import error_of


def problem(name: str, **more: object) -> bytes:
    return json.dumps(
        {"type": f"urn:broker:problem:{name}", "title": "", "status": 0, "detail": "Too big.", **more}
    ).encode()


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (400, "bad-request", errors.InvalidRequestError),
        (401, "no-key", errors.NotPermittedError),
        (403, "not-owner", errors.NotPermittedError),
        (404, "unknown-order", errors.NotFoundError),
        (409, "client-order-id-conflict", errors.ConflictError),
        (422, "invalid-request", errors.InvalidRequestError),
        (422, "order-denied", errors.OrderRefusedError),
        (422, "order-rejected", errors.OrderRefusedError),
        (429, "too-many-requests", errors.TooManyRequestsError),
        (503, "draining", errors.UnavailableError),
        (500, "internal", errors.OrderApiError),
    ],
)
def test_each_problem_is_an_exception_of_its_own(status: int, name: str, kind: type[Exception]) -> None:
    found = error_of(status, None, problem(name))
    assert (type(found), found.status, found.kind) == (kind, status, name)


def test_an_error_says_the_reason_the_fields_and_the_key_to_send_again() -> None:
    body = problem("invalid-request", reason="X", errors=[{"field": "units", "message": "is below 0"}])
    found = error_of(422, "7", body, "key-1")
    assert found.problem is not None
    assert found.problem.errors is not None
    assert (found.reason, found.problem.errors[0].field) == ("X", "units")
    assert (found.retry_after_s, found.idempotency_key) == (7.0, "key-1")
    assert str(found) == "422 Too big."


def test_a_proxys_page_is_an_error_by_its_status() -> None:
    found = error_of(502, "Wed, 21 Oct 2026 07:28:00 GMT", b"<html>\xff bad gateway")
    assert (type(found), found.problem, found.kind, found.reason, found.order) == (
        errors.UnavailableError,
        None,
        None,
        None,
        None,
    )
    assert found.retry_after_s is None
