from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import pytest
from msgspec.structs import replace

from broker.api.schemas.history import _csv_cell, row_view
from broker.domain import OrderStatus, Protection
from broker.history.archive import TRANSACTIONS
from broker.history.rows import transaction_row
from tests.unit.broker.api.conftest import Client, fill_history
from tests.unit.broker.history.fake_journal import make_order
from tests.unit.broker.history.test_rows import EXIT


async def test_csv_has_all_rows_and_no_formula(api: Client) -> None:
    await fill_history(api, *(replace(make_order(number), reason="=HYPERLINK(1)") for number in range(1, 4)))
    answer = await api("GET", "/v1/history/orders?format=csv&limit=1")

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="orders.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert [row["client_order_id"] for row in rows] == ["c-3", "c-2", "c-1"]
    assert {row["reason"] for row in rows} == {"'=HYPERLINK(1)"}


async def test_csv_has_what_was_asked_with_attached_orders_as_json(api: Client) -> None:
    fields = {"price": Decimal("1.09"), "take_profit": Protection(price=Decimal("1.12")), "trade_id": "4"}
    await fill_history(api, make_order(1, OrderStatus.PENDING, **fields))
    answer = await api("GET", "/v1/history/orders?format=csv")

    (row,) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert (row["price"], row["trade_id"], row["remaining_units"], row["stop_loss"]) == ("1.09", "4", "100.50", "")
    assert json.loads(row["take_profit"])["price"] == "1.12"


async def test_csv_has_costs_trades_and_nine_digits_of_a_fill(api: Client) -> None:
    await fill_history(api, replace(make_order(1), fills=(EXIT,)))
    answer = await api("GET", "/v1/history/fills?format=csv")

    (row,) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert (row["commission"], row["financing"], row["guaranteed_fee"]) == ("0.06", "-0.0012", "0.03")
    assert row["time"] == "2026-01-05T10:00:00.123456789Z"
    assert json.loads(row["trades"])[0]["effect"] == "closed"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-01-05T10:00:00.123456789Z", "2026-01-05T10:00:00.123456789Z"),
        ("1767607200.123456789", "2026-01-05T10:00:00.123456789Z"),
        ("soon", None),
    ],
)
def test_transaction_shows_all_digits_of_its_time_in_either_form(text: str, shown: str | None) -> None:
    row = transaction_row({"id": "7", "type": "X", "time": text}, "101")
    assert row_view(TRANSACTIONS, row)["time"] == shown


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


@pytest.mark.parametrize(
    "text",
    ["-1+1", "-2+HYPERLINK(1)", "+1+1", "=1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1", "\uff1d1", "-1\n"],
)
def test_csv_text_that_a_spreadsheet_may_run_gets_an_apostrophe(text: str) -> None:
    assert _csv_cell(text) == "'" + text


@pytest.mark.parametrize("value", ["-1", "+2", "-0.0012", "1e-9", "-1.5E+3", "", "c-1", "a=1", "1-1", None, -1, True])
def test_csv_number_and_plain_text_stay_as_they_are(value: object) -> None:
    assert _csv_cell(value) == value
