"""What people say about figures: questions and objections, confirmed warnings, words and their codes, and what is judged again."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "threads",
        _id(),
        _time("opened_at"),
        *_texts("supplier", "kind"),
        *_texts("delivery_id", "rule", "figure", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_threads"),
        _of_delivery("threads"),
    )
    op.create_index("ix_threads_supplier", "threads", ["supplier"])
    op.create_index("ix_threads_delivery_id", "threads", ["delivery_id"])
    op.create_table(
        "thread_entries",
        _id(),
        sa.Column("thread_id", sa.BigInteger(), nullable=False),
        _time("at"),
        *_texts("kind", "party", "who", "author", "text"),
        *_texts("decision", nullable=True),
        _time("due_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_thread_entries"),
        sa.ForeignKeyConstraint(["thread_id"], ["threads.id"], name="fk_thread_entries_thread_id"),
    )
    op.create_index("ix_thread_entries_thread_id", "thread_entries", ["thread_id"])
    op.create_table(
        "confirmations",
        _id(),
        *_texts("delivery_id", "rule"),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        _time("at"),
        *_texts("who", "author", "reason"),
        sa.PrimaryKeyConstraint("id", name="pk_confirmations"),
        _of_delivery("confirmations"),
    )
    op.create_index("ix_confirmations_delivery_id", "confirmations", ["delivery_id"])
    op.create_table(
        "word_mappings",
        _id(),
        *_texts("list", "supplier", "word"),
        *_texts("code", nullable=True),
        _time("at"),
        *_texts("who", "author", "reason"),
        *_texts("delivery_id", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_word_mappings"),
        _of_delivery("word_mappings"),
    )
    op.create_table(
        "owed_replays",
        *_texts("delivery_id"),
        sa.Column("begins", sa.BigInteger(), nullable=False),
        _time("wanted_at"),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_owed_replays"),
        _of_delivery("owed_replays"),
    )
    for table in ("threads", "thread_entries", "confirmations", "word_mappings"):
        _forbid_changing(table)


def _forbid_changing(table: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            f"CREATE FUNCTION {table}_are_final() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{table} are append-only'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_are_final BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_are_final()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_are_final_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} are append-only'); END"
        )


def _of_delivery(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.delivery_id"], name=f"fk_{table}_delivery_id")


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=True)


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _time(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
