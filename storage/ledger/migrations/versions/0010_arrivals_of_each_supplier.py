"""An arrival is told apart by its supplier too.

Two suppliers may put files of the same name and length, copied with their times: a folder has no other version of them, and the
second one was taken for the first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_BEFORE, _NOW = "uq_arrivals_origin_key_version", "uq_arrivals_origin_supplier_key_version"
_COLUMNS = ("origin", "supplier", "key", "version")
_ALL = "id, origin, supplier, key, version, size, sha256, arrived_at, delivery_id, problem"


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint(_BEFORE, "arrivals", type_="unique")
        op.create_unique_constraint(_NOW, "arrivals", _COLUMNS)
        return
    # SQLite changes no constraint of a table that is there
    for index in ("ix_arrivals_unsettled", "ix_arrivals_origin_supplier"):
        op.drop_index(index, "arrivals")
    op.rename_table("arrivals", "arrivals_before")
    op.create_table(
        "arrivals",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _COLUMNS),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("arrived_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_arrivals"),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.delivery_id"], name="fk_arrivals_delivery_id"),
        sa.UniqueConstraint(*_COLUMNS, name=_NOW),
    )
    op.execute(f"INSERT INTO arrivals ({_ALL}) SELECT {_ALL} FROM arrivals_before")
    op.drop_table("arrivals_before")
    unsettled = sa.text("delivery_id IS NULL AND problem IS NULL")
    op.create_index("ix_arrivals_unsettled", "arrivals", ["id"], sqlite_where=unsettled)
    op.create_index("ix_arrivals_origin_supplier", "arrivals", ["origin", "supplier"])
