"""What people of the portal began to enter by hand."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drafts",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("person_id", "supplier", "dataset", "period")),
        sa.Column("rows", sa.JSON(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("person_id", "supplier", "dataset", "period", name="pk_drafts"),
        sa.ForeignKeyConstraint(["person_id"], ["people.person_id"], name="fk_drafts_person_id"),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.delivery_id"], name="fk_drafts_delivery_id"),
    )
