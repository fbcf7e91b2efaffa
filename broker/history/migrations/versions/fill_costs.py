"""Costs, trades and nanoseconds of fills."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from broker.history.tables import Amount

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the columns. Without a default, so that no row is written: a table may have millions."""
    for name in ("commission", "financing", "guaranteed_fee"):
        op.add_column("fills", sa.Column(name, Amount))
    op.add_column("fills", sa.Column("trades", sa.Text))
    op.add_column("fills", sa.Column("time_ns", sa.BigInteger))


def downgrade() -> None:
    """Removes them."""
    for name in ("time_ns", "trades", "guaranteed_fee", "financing", "commission"):
        op.drop_column("fills", name)
