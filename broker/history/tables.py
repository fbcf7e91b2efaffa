"""The tables of the history. Migrations make them; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator


class Amount(TypeDecorator[Decimal]):
    """A decimal, digit for digit: NUMERIC in PostgreSQL, text in SQLite, whose numbers are floats."""

    impl = sa.Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """The column's type in a dialect."""
        return dialect.type_descriptor(sa.Text() if dialect.name == "sqlite" else sa.Numeric())

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> Any:
        """The value that goes to the database."""
        return format(value, "f") if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Decimal | None:  # noqa: ARG002 - SQLAlchemy's signature
        """The value that came from the database."""
        return None if value is None else Decimal(value)


class Moment(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite's texts have no zone and sort as they stand."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """The value that goes to the database."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002 - as above
        """The value that came from the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = sa.MetaData()

# `document` has the whole object: a new field of an order or of the venue's needs no migration. The other columns are
# those that queries select by. There are no foreign keys, as backfill and journals bring their rows in any order.

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("client", sa.String(64), nullable=False),
    sa.Column("client_order_id", sa.String(160), nullable=False),
    sa.Column("instrument", sa.String(40), nullable=False),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("side", sa.String(8), nullable=False),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("reason", sa.String(200)),
    sa.Column("units", Amount, nullable=False),
    sa.Column("filled_units", Amount, nullable=False),
    sa.Column("average_price", Amount),
    sa.Column("venue_order_id", sa.String(64)),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Index("orders_created", "created_at", "id"),
    sa.Index("orders_client_order_id", "client", "client_order_id"),
)

fills = sa.Table(
    "fills",
    metadata,
    sa.Column("account", sa.String(64), primary_key=True),
    sa.Column("transaction_id", sa.String(64), primary_key=True),
    sa.Column("order_id", sa.String(64), primary_key=True),
    sa.Column("instrument", sa.String(40), nullable=False),
    sa.Column("side", sa.String(8), nullable=False),
    sa.Column("units", Amount, nullable=False),
    sa.Column("price", Amount, nullable=False),
    sa.Column("profit", Amount, nullable=False),
    sa.Column("half_spread_cost", Amount, nullable=False),
    sa.Column("time", Moment, nullable=False),
    # Databases keep times to the microsecond; this one has the venue's nine digits, in nanoseconds since 1970. As the
    # columns behind it, it is NULL in rows of versions before 0.2.
    sa.Column("time_ns", sa.BigInteger),
    sa.Column("commission", Amount),
    sa.Column("financing", Amount),
    sa.Column("guaranteed_fee", Amount),
    sa.Column("trades", sa.Text),
    sa.Index("fills_time", "time", "transaction_id"),
    sa.Index("fills_order", "order_id"),
)

transactions = sa.Table(
    "transactions",
    metadata,
    sa.Column("account", sa.String(64), primary_key=True),
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("type", sa.String(64), nullable=False),
    sa.Column("instrument", sa.String(40)),
    sa.Column("time", Moment),
    sa.Column("document", sa.Text, nullable=False),
)

progress = sa.Table(
    "progress",
    metadata,
    sa.Column("source", sa.String(64), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
)
"""Position up to which each journal (one a volume) is in the history, and up to which each account has no gap."""
