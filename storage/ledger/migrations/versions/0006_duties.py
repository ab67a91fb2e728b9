"""Deadlines that were extended, and mails: what is to be told to whom, how each wants to hear it, and addresses of calendars."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "extensions",
        _id(),
        *_texts("supplier", "dataset", "period", "asked_by"),
        _time("asked_at"),
        sa.Column("until", sa.Date(), nullable=False),
        *_texts("reason"),
        sa.Column("granted", sa.Boolean(), nullable=True),
        _text("decided_by"),
        _time("decided_at", nullable=True),
        _text("answer"),
        sa.PrimaryKeyConstraint("id", name="pk_extensions"),
    )
    op.create_index(
        "ix_extensions_undecided", "extensions", ["supplier", "dataset", "period"], unique=True,
        sqlite_where=sa.text("granted IS NULL"), postgresql_where=sa.text("granted IS NULL"),
    )  # fmt: skip
    op.create_table(
        "mails",
        _id(),
        *_texts("key", "person_id", "kind"),
        sa.Column("facts", sa.JSON(), nullable=False),
        _time("created_at"),
        *_texts("bundle"),
        _text("message_id"),
        _time("next_at"),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        _time("sent_at", nullable=True),
        _time("failed_at", nullable=True),
        _text("problem"),
        sa.PrimaryKeyConstraint("id", name="pk_mails"),
        sa.UniqueConstraint("key", name="uq_mails_key"),
        sa.ForeignKeyConstraint(["person_id"], ["people.person_id"], name="fk_mails_person_id"),
    )
    op.create_index(
        "ix_mails_unsent", "mails", ["next_at"],
        sqlite_where=sa.text("sent_at IS NULL"), postgresql_where=sa.text("sent_at IS NULL"),
    )  # fmt: skip
    op.create_table(
        "mail_choices",
        *_texts("person_id", "pace"),
        _text("deputy_id"),
        sa.PrimaryKeyConstraint("person_id", name="pk_mail_choices"),
        sa.ForeignKeyConstraint(["person_id"], ["people.person_id"], name="fk_mail_choices_person_id"),
        sa.ForeignKeyConstraint(["deputy_id"], ["people.person_id"], name="fk_mail_choices_deputy_id"),
    )
    op.create_table(
        "announced",
        *_texts("what"),
        sa.Column("up_to", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("what", name="pk_announced"),
    )
    op.create_table(
        "feeds",
        *_texts("person_id", "token"),
        _time("made_at"),
        sa.PrimaryKeyConstraint("person_id", name="pk_feeds"),
        sa.UniqueConstraint("token", name="uq_feeds_token"),
        sa.ForeignKeyConstraint(["person_id"], ["people.person_id"], name="fk_feeds_person_id"),
    )


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=True)


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=True)


def _time(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
