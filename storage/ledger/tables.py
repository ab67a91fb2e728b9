"""How the ledger is kept: tables for SQLite and PostgreSQL alike.

A change here needs a migration beside it, and its revision as `HEAD`; a test compares both. Events are append-only,
enforced by triggers in the migrations, so that no code of ours can rewrite what happened.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

#: Revision of the newest migration. Kept here, too, because importing Alembic to ask costs 0.2 s at every start.
HEAD = "0010"

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite keeps no zone, so it is taken off on the way in and put on again on the way out."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class OutsideText(TypeDecorator[str]):
    """Text from outside, kept to the last byte.

    File names need not be UTF-8; Python hands their odd bytes on as lone surrogates, which no database takes. They are
    kept as characters of the last private plane and come back as what they were.
    """

    impl = sa.Text()
    cache_ok = True
    _IN: ClassVar = {0xDC00 + byte: 0x10FE00 + byte for byte in range(0x80, 0x100)} | {0: "\N{REPLACEMENT CHARACTER}"}
    _OUT: ClassVar = {0x10FE00 + byte: 0xDC00 + byte for byte in range(0x80, 0x100)}

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        if value is None or value.isascii():
            return value if value is None else value.replace("\0", "\N{REPLACEMENT CHARACTER}")
        # surrogates that stand for no byte cannot come back, and must not stop a delivery either
        return value.translate(self._IN).encode("utf-8", "replace").decode("utf-8")

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return value if value is None or value.isascii() else value.translate(self._OUT)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)


def _name(name: str, *more: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), *more, nullable=options.pop("nullable", False), **options)


def _time(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, UtcTime(), nullable=nullable)


def _number(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _yes_no(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _delivery(nullable: bool = False, **options: Any) -> sa.Column[Any]:
    return _name("delivery_id", sa.ForeignKey("deliveries.delivery_id"), nullable=nullable, **options)


def _outside(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, OutsideText(), nullable=nullable)


#: Every object that ever appeared at a place we look at, once per version.
arrivals = sa.Table(
    "arrivals",
    metadata,
    _id(),
    _name("origin"),
    _outside("supplier"),
    _outside("key"),
    _name("version"),
    _number("size"),
    _name("sha256"),
    _time("arrived_at"),
    _delivery(nullable=True),
    _outside("problem", nullable=True),
    sa.UniqueConstraint("origin", "supplier", "key", "version"),
)
sa.Index(
    "ix_arrivals_unsettled",
    arrivals.c.id,
    sqlite_where=arrivals.c.delivery_id.is_(None) & arrivals.c.problem.is_(None),
    postgresql_where=arrivals.c.delivery_id.is_(None) & arrivals.c.problem.is_(None),
)
sa.Index("ix_arrivals_origin_supplier", arrivals.c.origin, arrivals.c.supplier)

#: What is known of a delivery when it comes in. A row never changes; what happens to it later is an event.
deliveries = sa.Table(
    "deliveries",
    metadata,
    _name("delivery_id", primary_key=True),
    _name("supplier"),
    _name("dataset"),
    _name("period"),
    _number("attempt"),
    _name("sha256"),
    _number("size"),
    _outside("file_name"),
    _name("origin"),
    _time("received_at"),
    _outside("who"),
    _yes_no("nothing_to_report"),
    _outside("reason", nullable=True),
    _yes_no("synthetic"),
    _name("duplicate_of", nullable=True),
    _name("dialect", nullable=True),
    sa.UniqueConstraint("supplier", "dataset", "period", "attempt"),
)

events = sa.Table(
    "events",
    metadata,
    _id(),
    _time("at"),
    _name("kind"),
    _name("supplier"),
    _name("dataset"),
    _name("period"),
    _delivery(nullable=True),
    _outside("who"),
    _outside("why", nullable=True),
    sa.Column("facts", sa.JSON(), nullable=False),
)
sa.Index("ix_events_delivery_id", events.c.delivery_id)
sa.Index("ix_events_supplier_dataset_period", events.c.supplier, events.c.dataset, events.c.period)

verdicts = sa.Table(
    "verdicts",
    metadata,
    _id(),
    _delivery(),
    _time("judged_at"),
    _name("state"),
    _number("delivered"),
    _number("accepted"),
    _number("accepted_with_warning"),
    _number("quarantined"),
    _number("ignored_by_rule"),
    _name("contract_version"),
    _name("dialect_version"),
    _name("mapping_version"),
    sa.Column("body", sa.JSON(), nullable=False),
    _yes_no("replay"),
)
sa.Index("ix_verdicts_delivery_id", verdicts.c.delivery_id)

#: What is received and not judged: a projection of the events that makes asking for work cheap. `Ledger.rebuild_queue`
#: makes it anew.
queue = sa.Table(
    "queue",
    metadata,
    _delivery(primary_key=True),
    _name("supplier"),
    _name("dataset"),
    _name("period"),
    _number("attempt"),
    _number("shard"),
    _time("received_at"),
    _number("begins"),
    _time("lease_until", nullable=True),
    _outside("leased_by", nullable=True),
)

#: Receipts that are still to be written: of the arrival or of the verdict, from then until its files are out.
owed_receipts = sa.Table("owed_receipts", metadata, _delivery(primary_key=True), _name("kind", primary_key=True))

#: What the orchestrator has not been told yet.
outbox = sa.Table(
    "outbox",
    metadata,
    _id(),
    _delivery(),
    _name("kind"),
    sa.Column("body", sa.JSON(), nullable=False),
    _time("created_at"),
    _time("reported_at", nullable=True),
)
sa.Index(
    "ix_outbox_unreported",
    outbox.c.id,
    sqlite_where=outbox.c.reported_at.is_(None),
    postgresql_where=outbox.c.reported_at.is_(None),
)

#: What was last fetched from an address that is asked again and again.
sources = sa.Table(
    "sources",
    metadata,
    _name("source_id", primary_key=True),
    _outside("etag", nullable=True),
    _outside("last_modified", nullable=True),
    _time("fetched_at"),
    _name("sha256", nullable=True),
)

# --- what people say about figures ---

#: Questions and objections: what each is about and whose it is. What is said in it are its entries.
threads = sa.Table(
    "threads",
    metadata,
    _id(),
    _time("opened_at"),
    _name("supplier"),
    _name("kind"),
    _delivery(nullable=True),
    _name("rule", nullable=True),
    _outside("figure", nullable=True),
)
sa.Index("ix_threads_supplier", threads.c.supplier)
sa.Index("ix_threads_delivery_id", threads.c.delivery_id)

#: What was said, by whom, and until when the next word is due. Nobody can change it.
thread_entries = sa.Table(
    "thread_entries",
    metadata,
    _id(),
    sa.Column("thread_id", sa.BigInteger(), sa.ForeignKey("threads.id"), nullable=False),
    _time("at"),
    _name("kind"),
    _name("party"),
    _outside("who"),
    _outside("author"),
    _outside("text"),
    _name("decision", nullable=True),
    _time("due_at", nullable=True),
)
sa.Index("ix_thread_entries_thread_id", thread_entries.c.thread_id)

#: Warnings that somebody looked at and found right, and why. Nobody can change it; the newest counts.
confirmations = sa.Table(
    "confirmations",
    metadata,
    _id(),
    _delivery(),
    _name("rule"),
    _number("rows"),
    _time("at"),
    _outside("who"),
    _outside("author"),
    _outside("reason"),
)
sa.Index("ix_confirmations_delivery_id", confirmations.c.delivery_id)

#: Words of suppliers and the codes they stand for, beside those of the region pack; without a code the word stands for
#: nothing any more. Nobody can change it; of a list, a supplier and a word the newest counts.
word_mappings = sa.Table(
    "word_mappings",
    metadata,
    _id(),
    _name("list"),
    _name("supplier"),
    _outside("word"),
    _name("code", nullable=True),
    _time("at"),
    _outside("who"),
    _outside("author"),
    _outside("reason"),
    _delivery(nullable=True),
)

#: Deliveries that are to be judged again although they have their verdict.
owed_replays = sa.Table("owed_replays", metadata, _delivery(primary_key=True), _number("begins"), _time("wanted_at"))

# --- people of the portal ---

#: Who may sign in. `password` is argon2's own text, null until one was chosen.
people = sa.Table(
    "people",
    metadata,
    _name("person_id", primary_key=True),
    _name("email"),
    _name("name"),
    _name("language"),
    _name("password", nullable=True),
    _time("created_at"),
    _time("disabled_at", nullable=True),
    sa.UniqueConstraint("email"),
)

#: What somebody is, and for which supplier; `supplier` is empty where the role is for the whole region.
roles = sa.Table(
    "roles",
    metadata,
    _name("person_id", sa.ForeignKey("people.person_id"), primary_key=True),
    _name("role", primary_key=True),
    _name("supplier", primary_key=True),
    _time("given_at"),
    _name("given_by"),
)

#: Links that let somebody in once. Of the link's secret only the sha256 is kept.
invitations = sa.Table(
    "invitations",
    metadata,
    _name("token", primary_key=True),
    _name("email"),
    _name("name"),
    _name("role"),
    _name("supplier"),
    _name("invited_by"),
    _time("created_at"),
    _time("expires_at"),
    _time("used_at", nullable=True),
)

#: Who is signed in. Of the cookie only the sha256 is kept; `form` is what every form of the session must send back.
sessions = sa.Table(
    "sessions",
    metadata,
    _name("token", primary_key=True),
    _name("person_id", sa.ForeignKey("people.person_id")),
    _name("form"),
    _time("created_at"),
    _time("seen_at"),
    _time("expires_at"),
)

#: By what a supplier's programs come in: of the token only the sha256 is kept, `acts` is what it may do.
api_tokens = sa.Table(
    "api_tokens",
    metadata,
    _name("token_id", primary_key=True),
    _name("token", unique=True),
    _name("supplier"),
    _outside("name"),
    sa.Column("acts", sa.JSON(), nullable=False),
    _outside("created_by"),
    _time("created_at"),
    _time("expires_at"),
    _time("used_at", nullable=True),
    _time("revoked_at", nullable=True),
)
sa.Index("ix_api_tokens_supplier", api_tokens.c.supplier)

#: Tries to sign in, for as long as they count.
sign_ins = sa.Table(
    "sign_ins",
    metadata,
    _id(),
    _time("at"),
    _outside("email"),
    _outside("address"),
    _yes_no("succeeded"),
)
sa.Index("ix_sign_ins_address_at", sign_ins.c.address, sign_ins.c.at)

#: What was done through the portal: who, when, what, on what, from where. Nobody can change it.
acts = sa.Table(
    "acts",
    metadata,
    _id(),
    _time("at"),
    _outside("who"),
    _name("act"),
    _outside("object"),
    _outside("address"),
    sa.Column("facts", sa.JSON(), nullable=False),
)
sa.Index("ix_acts_at", acts.c.at)

# --- duties: deadlines that were extended, and what is told by mail ---

#: Deadlines that suppliers asked to have extended. `granted` is null until somebody decided; one such a slot at a time.
extensions = sa.Table(
    "extensions",
    metadata,
    _id(),
    _name("supplier"),
    _name("dataset"),
    _name("period"),
    _outside("asked_by"),
    _time("asked_at"),
    sa.Column("until", sa.Date(), nullable=False),
    _outside("reason"),
    sa.Column("granted", sa.Boolean(), nullable=True),
    _outside("decided_by", nullable=True),
    _time("decided_at", nullable=True),
    _outside("answer", nullable=True),
)
sa.Index(
    "ix_extensions_undecided",
    extensions.c.supplier,
    extensions.c.dataset,
    extensions.c.period,
    unique=True,
    sqlite_where=extensions.c.granted.is_(None),
    postgresql_where=extensions.c.granted.is_(None),
)

#: What is to be told to somebody by mail, once per `key`. Mails of one `message_id` are one message; those of one person
#: and `bundle` get the same, an empty bundle is a message of its own.
mails = sa.Table(
    "mails",
    metadata,
    _id(),
    _name("key"),
    _name("person_id", sa.ForeignKey("people.person_id")),
    _name("kind"),
    sa.Column("facts", sa.JSON(), nullable=False),
    _time("created_at"),
    _name("bundle"),
    _name("message_id", nullable=True),
    _time("next_at"),
    _number("tries"),
    _time("sent_at", nullable=True),
    _time("failed_at", nullable=True),
    _outside("problem", nullable=True),
    sa.UniqueConstraint("key"),
)
sa.Index(
    "ix_mails_unsent",
    mails.c.next_at,
    sqlite_where=mails.c.sent_at.is_(None),
    postgresql_where=mails.c.sent_at.is_(None),
)

#: How somebody wants to hear, and who hears in their place when a deadline has passed for a while.
mail_choices = sa.Table(
    "mail_choices",
    metadata,
    _name("person_id", sa.ForeignKey("people.person_id"), primary_key=True),
    _name("pace"),
    _name("deputy_id", sa.ForeignKey("people.person_id"), nullable=True),
)

#: Up to which event everything was announced.
announced = sa.Table("announced", metadata, _name("what", primary_key=True), _number("up_to"))

#: Addresses of calendars that programs ask without signing in. Of the secret only the sha256 is kept.
feeds = sa.Table(
    "feeds",
    metadata,
    _name("person_id", sa.ForeignKey("people.person_id"), primary_key=True),
    _name("token"),
    _time("made_at"),
    sa.UniqueConstraint("token"),
)

#: Tables that somebody began to enter by hand, until they are handed in or thrown away.
drafts = sa.Table(
    "drafts",
    metadata,
    _name("person_id", sa.ForeignKey("people.person_id"), primary_key=True),
    _name("supplier", primary_key=True),
    _name("dataset", primary_key=True),
    _name("period", primary_key=True),
    sa.Column("rows", sa.JSON(), nullable=False),
    _time("saved_at"),
    _delivery(nullable=True),
)

# --- the region pack ---

#: Changes of the region pack that somebody proposed: `files` as they were and as they would be. What was proposed cannot be
#: changed; `decision` is null until it was applied or withdrawn.
pack_proposals = sa.Table(
    "pack_proposals",
    metadata,
    _id(),
    _time("at"),
    _outside("who"),
    _outside("author"),
    _name("region"),
    _name("supplier"),
    sa.Column("says", sa.JSON(), nullable=False),
    sa.Column("files", sa.JSON(), nullable=False),
    _name("decision", nullable=True),
    _time("decided_at", nullable=True),
    _outside("decided_by", nullable=True),
)
