"""The history as Parquet, encoded while it is sent: a row group in memory, never the file.

The encoder is arrow-rs (through arro3): 34 MB of image, where pyarrow takes 166 MB and polars 175 MB. It pulls its
rows and pushes its bytes, so it has a thread of its own. `ParquetEncoder.write` and that thread take turns over two
queues, which never hold more than two items: a slow client slows the encoder down, and the encoder the database.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import IO, Any, Self, cast

import sqlalchemy as sa
from arro3.core import DataType, Field, Schema
from arro3.io import read_json, write_parquet
from pydantic import BaseModel

from broker.api.schemas.history import Block, values_of
from broker.history.tables import Amount, Moment

ROW_GROUP = 10_000
# The widest decimal that DuckDB and Spark read; an order's units may have 24 digits before the point.
DIGITS, PLACES = 38, 14
JOIN_S = 5.0
"""Longest wait for the thread to end; it needs the time of one block."""
_STEP = Decimal(1).scaleb(-PLACES)
_EXACT = Context(prec=DIGITS, rounding=ROUND_HALF_EVEN)


class AbandonedError(Exception):
    """The export ended before the file was whole: its client disconnected, or the process ends."""


def schema_of(columns: Mapping[str, sa.Column[Any]]) -> Schema:
    """Arrow's schema for `columns`, by their names in the file."""
    return Schema([Field(name, _type(column), nullable=bool(column.nullable)) for name, column in columns.items()])


def _type(column: sa.Column[Any]) -> DataType:
    if isinstance(column.type, Amount):
        return DataType.decimal128(DIGITS, PLACES)
    if isinstance(column.type, Moment):
        return DataType.timestamp("ns", tz="UTC")
    return DataType.int64() if isinstance(column.type, sa.BigInteger) else DataType.string()


def lines(block: Block, columns: Mapping[str, sa.Column[Any]]) -> bytes:
    """Rows as the encoder reads them: a JSON object a line, numbers and times as exact texts."""
    rows = ({name: _plain(value) for name, value in values_of(columns, row).items()} for row in block)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value.quantize(_STEP, context=_EXACT), "f")
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    return value.isoformat() if isinstance(value, datetime) else value


class ParquetEncoder:
    """Turns blocks of lines into the bytes of the file. `with` it: leaving before `finish` abandons the file."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._source, self._sink = _Source(self), _Sink()
        self._blocks: SimpleQueue[bytes | AbandonedError | None] = SimpleQueue()
        self._made: SimpleQueue[bytes | BaseException] = SimpleQueue()
        self._thread = Thread(target=self._run, name="parquet", daemon=True)

    def __enter__(self) -> Self:
        # A daemon thread alone would not do: at the interpreter's end it may be inside the library.
        atexit.register(self._abandon)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        atexit.unregister(self._abandon)
        self._abandon()

    def _abandon(self) -> None:
        # The thread must end before the interpreter does, which would unwind it through the library: an abort.
        self._blocks.put(AbandonedError("the export was given up"))
        self._thread.join(JOIN_S)

    def write(self, block: bytes) -> bytes:
        """Take rows; the bytes of the file since the last call. Blocks while earlier rows are encoded."""
        made = self._take()
        self._blocks.put(block)
        return made

    def finish(self) -> bytes:
        """The rest of the file."""
        made = self._take()
        self._blocks.put(None)
        made += self._take()
        self._thread.join()
        return made

    def _take(self) -> bytes:
        made = self._made.get()
        if isinstance(made, BaseException):
            raise made
        return made

    def next_block(self) -> bytes | None:
        """Hand over the bytes so far and wait for rows; None is their end. The encoder's thread calls it."""
        self._made.put(self._sink.take())
        block = self._blocks.get()
        if isinstance(block, AbandonedError):
            raise block
        return block

    def _run(self) -> None:
        try:
            rows = read_json(cast("IO[bytes]", self._source), self._schema, batch_size=1000)
            write_parquet(rows, cast("IO[bytes]", self._sink), compression="zstd(3)", max_row_group_size=ROW_GROUP)
            self._made.put(self._sink.take())
        except BaseException as error:  # noqa: BLE001 - `_take` raises it in the caller
            self._made.put(error)


class _Source(io.RawIOBase):
    """The rows, as a file that the library reads."""

    def __init__(self, encoder: ParquetEncoder) -> None:
        self._encoder = encoder
        self._left: memoryview = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._left and not self._ended:
            block = self._encoder.next_block()
            self._ended = block is None
            self._left = memoryview(block or b"")
        size = len(self._left) if size < 0 else size
        found, self._left = self._left[:size], self._left[size:]
        return bytes(found)


class _Sink(io.BytesIO):
    """The bytes that the library has written and nobody has taken yet."""

    def take(self) -> bytes:
        made = self.getvalue()
        self.seek(0)
        self.truncate()
        return made


async def parquet(
    columns: Mapping[str, sa.Column[Any]], first: Block, rest: AsyncIterator[Block]
) -> AsyncIterator[bytes]:
    """The file in parts, encoded beside the event loop."""
    with ParquetEncoder(schema_of(columns)) as encoder:
        yield await asyncio.to_thread(_encode, encoder, first, columns)
        async for block in rest:
            if made := await asyncio.to_thread(_encode, encoder, block, columns):
                yield made
        yield await asyncio.to_thread(encoder.finish)


def _encode(encoder: ParquetEncoder, block: Block, columns: Mapping[str, sa.Column[Any]]) -> bytes:
    return encoder.write(lines(block, columns))
