"""Orders, fills, transactions, progress."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from broker.history.tables import Amount, Moment

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "orders",
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
    )
    op.create_index("orders_created", "orders", ["created_at", "id"])
    op.create_index("orders_client_order_id", "orders", ["client", "client_order_id"])
    op.create_table(
        "fills",
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
    )
    op.create_index("fills_time", "fills", ["time", "transaction_id"])
    op.create_index("fills_order", "fills", ["order_id"])
    op.create_table(
        "transactions",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("instrument", sa.String(40)),
        sa.Column("time", Moment),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "progress",
        sa.Column("source", sa.String(64), primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Removes them."""
    for name in ("progress", "transactions", "fills", "orders"):
        op.drop_table(name)
