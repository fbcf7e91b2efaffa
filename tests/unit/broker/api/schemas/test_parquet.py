from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.api.schemas.parquet import ROW_GROUP, ParquetEncoder, lines, parquet, schema_of
from broker.history import tables
from tests.unit.broker.api.conftest import Client, fill_history
from tests.unit.broker.history.fake_journal import make_order, make_transaction

MEDIA_TYPE = "application/vnd.apache.parquet"


FILLS = tables.fills.c
COLUMNS = {"id": FILLS.transaction_id, "instrument": FILLS.instrument, "units": FILLS.units, "time": FILLS.time}


AT = datetime(2026, 1, 5, 10, 0, 1, 123456, tzinfo=UTC)


def row(number: int, **changed: Any) -> dict[str, Any]:
    return {"transaction_id": str(number), "instrument": "EUR_USD", "units": Decimal(number), "time": AT, **changed}


async def blocks(*items: list[dict[str, Any]]) -> AsyncIterator[list[dict[str, Any]]]:
    for item in items:
        yield item


async def written(*items: list[dict[str, Any]]) -> pa.Table:
    parts = [part async for part in parquet(COLUMNS, [], blocks(*items))]
    return pq.read_table(io.BytesIO(b"".join(parts)))


async def test_orders_read_back_as_they_are(api: Client) -> None:
    await fill_history(api, make_order(1), replace(make_order(2), reason='say "né"\n'))
    answer = await api("GET", "/v1/history/orders?format=parquet&limit=1")

    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.headers["content-disposition"] == 'attachment; filename="orders.parquet"'
    table = pq.read_table(io.BytesIO(answer.content))
    assert table.column_names == [
        "id", "client", "client_order_id", "instrument", "type", "side", "status", "reason", "units", "filled_units",
        "average_price", "venue_order_id", "created_at", "updated_at", "time_in_force", "expires_at",
        "remaining_units", "price", "price_bound", "distance", "position_fill", "trigger_condition", "trade_id",
        "take_profit", "stop_loss", "trailing_stop", "tag", "comment",
    ]  # fmt: skip
    assert table["client_order_id"].to_pylist() == ["c-2", "c-1"]
    assert table["reason"].to_pylist() == ['say "né"\n', None]
    assert table["units"].to_pylist() == [Decimal("100.50"), Decimal("100.50")]
    assert table["created_at"].to_pylist()[1] == datetime(2026, 1, 5, 10, 0, 1, tzinfo=UTC)
    assert table.schema.field("units").type == pa.decimal128(38, 14)
    assert table.schema.field("created_at").type == pa.timestamp("ns", tz="UTC")
    assert [item.name for item in table.schema if item.nullable] == [
        "reason", "average_price", "venue_order_id", "expires_at", "price", "price_bound", "distance", "trade_id",
        "take_profit", "stop_loss", "trailing_stop", "tag", "comment",
    ]  # fmt: skip


async def test_transactions_have_the_venues_own_text(api: Client) -> None:
    await fill_history(api)
    answer = await api("GET", "/v1/history/transactions?format=parquet")

    table = pq.read_table(io.BytesIO(answer.content))
    assert (table["id"].to_pylist(), table["type"].to_pylist()) == ([7], ["DAILY_FINANCING"])
    assert [json.loads(text) for text in table["transaction"].to_pylist()] == [make_transaction(7)]
    assert table["time"].cast(pa.int64()).to_pylist() == [1767607200123456789], "all nine digits"


async def test_no_rows_are_a_file_with_columns(api: Client) -> None:
    answer = await api("GET", "/v1/history/fills?format=parquet&instrument=GBP_USD")

    table = pq.read_table(io.BytesIO(answer.content))
    assert (table.num_rows, table.num_columns) == (0, 13)


async def test_a_full_row_group_is_sent_before_the_rest_is_read() -> None:
    with ParquetEncoder(schema_of(COLUMNS)) as encoder:
        encoder.write(lines([row(number) for number in range(ROW_GROUP + 1000)], COLUMNS))
        early = encoder.write(lines([row(0)], COLUMNS))
        rest = encoder.finish()

    assert len(early) > 1000
    assert pq.read_metadata(io.BytesIO(early + rest)).num_row_groups == 2


async def test_more_places_than_the_column_has_are_rounded() -> None:
    table = await written([row(1, units=Decimal("0.000000000000005")), row(2, units=Decimal(123456789012345678901234))])

    assert table["units"].to_pylist() == [Decimal(0), Decimal(123456789012345678901234)]


@given(text=st.text(st.characters(exclude_categories=["Cs"])), units=st.decimals(-(10**24) + 1, 10**24 - 1, places=14))
async def test_any_text_and_number_read_back_equal(text: str, units: Decimal) -> None:
    table = await written([row(1, instrument=text, units=units)], [row(2)])

    assert table["instrument"].to_pylist() == [text, "EUR_USD"]
    assert table["units"].to_pylist()[0] == units


async def test_a_fault_of_the_encoder_ends_the_file() -> None:
    with pytest.raises(Exception, match="not-a-time"):
        await written([row(1, time="not-a-time")])


def test_a_process_may_end_in_the_middle_of_an_export() -> None:
    program = """
from broker.api.schemas.parquet import ParquetEncoder, lines, schema_of
from broker.history import tables
columns = {"id": tables.fills.c.transaction_id}
encoder = ParquetEncoder(schema_of(columns)).__enter__()
encoder.write(lines([{"transaction_id": "1"}], columns))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")


async def test_a_reader_that_leaves_ends_the_encoder() -> None:
    made = parquet(COLUMNS, [row(1)], blocks([row(2)], [row(3)]))
    await anext(made)
    (encoding,) = [item for item in threading.enumerate() if item.name == "parquet"]
    assert isinstance(made, AsyncGenerator)
    await made.aclose()
    encoding.join(60)

    assert not encoding.is_alive()
