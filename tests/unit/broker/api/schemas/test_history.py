from __future__ import annotations

import csv
import io

import pytest
from msgspec.structs import replace

from tests.unit.broker.api.conftest import Client, fill_history
from tests.unit.broker.history.fake_journal import make_order


async def test_csv_has_all_rows_and_no_formula(api: Client) -> None:
    await fill_history(api, *(replace(make_order(number), reason="=HYPERLINK(1)") for number in range(1, 4)))
    answer = await api("GET", "/v1/history/orders?format=csv&limit=1")

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="orders.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert [row["client_order_id"] for row in rows] == ["c-3", "c-2", "c-1"]
    assert {row["reason"] for row in rows} == {"'=HYPERLINK(1)"}


MEDIA_TYPE = "application/vnd.apache.parquet"


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [
        ("", "*/*", "application/json"),
        ("", MEDIA_TYPE, MEDIA_TYPE),
        ("", "text/html, Text/CSV;q=0.9, */*", "text/csv; charset=utf-8"),
        ("?format=csv", MEDIA_TYPE, "text/csv; charset=utf-8"),
        ("?format=json", "text/csv", "application/json"),
    ],
)
async def test_form_is_the_querys_or_the_first_that_is_accepted(
    api: Client, query: str, accept: str, expected: str
) -> None:
    answer = await api("GET", f"/v1/history/fills{query}", headers={"accept": accept})

    assert answer.headers["content-type"] == expected


async def test_unknown_form_is_named(api: Client) -> None:
    answer = await api("GET", "/v1/history/fills?format=xlsx")

    assert (answer.status, [item["field"] for item in answer.json()["errors"]]) == (422, ["format"])


async def test_database_that_is_away_is_an_answer_of_its_own(api: Client) -> None:
    await api.database.close()
    answer = await api("GET", "/v1/history/fills?format=parquet")

    assert (answer.status, answer.problem) == (503, "history-unavailable")
