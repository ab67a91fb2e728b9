"""The ledger as it began: arrivals, deliveries, events that nobody can change, verdicts, queue, outbox, sources."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SLOT = ("supplier", "dataset", "period")


def upgrade() -> None:
    op.create_table(
        "deliveries",
        *_texts("delivery_id", *SLOT),
        *_numbers("attempt"),
        *_texts("sha256"),
        *_numbers("size"),
        *_texts("file_name", "origin"),
        _time("received_at"),
        *_texts("who"),
        _yes_no("nothing_to_report"),
        _maybe("reason"),
        _yes_no("synthetic"),
        _maybe("duplicate_of"),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_deliveries"),
        sa.UniqueConstraint(*SLOT, "attempt", name="uq_deliveries_supplier_dataset_period_attempt"),
    )
    op.create_table(
        "arrivals",
        _id(),
        *_texts("origin", "supplier", "key", "version"),
        *_numbers("size"),
        *_texts("sha256"),
        _time("arrived_at"),
        _maybe("delivery_id"),
        _maybe("problem"),
        sa.PrimaryKeyConstraint("id", name="pk_arrivals"),
        _of_a_delivery("arrivals"),
        sa.UniqueConstraint("origin", "key", "version", name="uq_arrivals_origin_key_version"),
    )
    unsettled = sa.text("delivery_id IS NULL AND problem IS NULL")
    op.create_index("ix_arrivals_unsettled", "arrivals", ["id"], sqlite_where=unsettled, postgresql_where=unsettled)
    op.create_index("ix_arrivals_origin_supplier", "arrivals", ["origin", "supplier"])
    op.create_table(
        "events",
        _id(),
        _time("at"),
        *_texts("kind", *SLOT),
        _maybe("delivery_id"),
        *_texts("who"),
        _maybe("why"),
        _json("facts"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        _of_a_delivery("events"),
    )
    op.create_index("ix_events_delivery_id", "events", ["delivery_id"])
    op.create_index("ix_events_supplier_dataset_period", "events", SLOT)
    op.create_table(
        "verdicts",
        _id(),
        *_texts("delivery_id"),
        _time("judged_at"),
        *_texts("state"),
        *_numbers("delivered", "accepted", "accepted_with_warning", "quarantined", "ignored_by_rule"),
        *_texts("contract_version", "dialect_version", "mapping_version"),
        _json("body"),
        _yes_no("replay"),
        sa.PrimaryKeyConstraint("id", name="pk_verdicts"),
        _of_a_delivery("verdicts"),
    )
    op.create_index("ix_verdicts_delivery_id", "verdicts", ["delivery_id"])
    op.create_table(
        "queue",
        *_texts("delivery_id", *SLOT),
        *_numbers("attempt", "shard"),
        _time("received_at"),
        *_numbers("begins"),
        _time("lease_until", nullable=True),
        _maybe("leased_by"),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_queue"),
        _of_a_delivery("queue"),
    )
    op.create_table(
        "outbox",
        _id(),
        *_texts("delivery_id", "kind"),
        _json("body"),
        _time("created_at"),
        _time("reported_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        _of_a_delivery("outbox"),
    )
    unreported = sa.text("reported_at IS NULL")
    op.create_index("ix_outbox_unreported", "outbox", ["id"], sqlite_where=unreported, postgresql_where=unreported)
    op.create_table(
        "sources",
        *_texts("source_id"),
        _maybe("etag"),
        _maybe("last_modified"),
        _time("fetched_at"),
        _maybe("sha256"),
        sa.PrimaryKeyConstraint("source_id", name="pk_sources"),
    )
    _forbid_changing("events")


def _forbid_changing(table: str) -> None:
    """From here on rows of the table can be added and read, not changed and not taken away."""
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


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=True)


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _maybe(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=True)


def _numbers(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _time(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _yes_no(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _json(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=False)


def _of_a_delivery(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.delivery_id"], name=f"fk_{table}_delivery_id")
