"""Words by which a supplier's programs come in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_tokens",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("token_id", "token", "supplier", "name")),
        sa.Column("acts", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in ("created_at", "expires_at")),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=True) for name in ("used_at", "revoked_at")),
        sa.PrimaryKeyConstraint("token_id", name="pk_api_tokens"),
        sa.UniqueConstraint("token", name="uq_api_tokens_token"),
    )
    op.create_index("ix_api_tokens_supplier", "api_tokens", ["supplier"])
