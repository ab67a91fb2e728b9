"""Changes of the region pack that somebody proposed in the portal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_SAID = ("id", "at", "who", "author", "region", "supplier", "says", "files")


def upgrade() -> None:
    identifier = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "pack_proposals",
        sa.Column("id", identifier, nullable=False, autoincrement=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("who", "author", "region", "supplier")),
        sa.Column("says", sa.JSON(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_pack_proposals"),
    )
    _forbid_rewriting()


def _forbid_rewriting() -> None:
    """What was proposed stays as it was; only the decision is still open."""
    said = ", ".join(_SAID)
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION pack_proposals_are_final() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'pack_proposals are append-only'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER pack_proposals_are_final BEFORE UPDATE OF {said} OR DELETE OR TRUNCATE ON pack_proposals "
            "FOR EACH STATEMENT EXECUTE FUNCTION pack_proposals_are_final()"
        )
        return
    for change in (f"UPDATE OF {said}", "DELETE"):
        op.execute(
            f"CREATE TRIGGER pack_proposals_are_final_{change[:6].lower()} BEFORE {change} ON pack_proposals "
            "BEGIN SELECT RAISE(ABORT, 'pack_proposals are append-only'); END"
        )
