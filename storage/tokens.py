"""Tokens by which a supplier's programs come in: made, looked up, revoked.

Kept in the database of the ledger beside the people, of the token only its sha256. A token is one supplier's, may do what
it was made for and nothing else, and ends by itself. What an act means is `portal.rights`'.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from storage import clock
from storage.ledger import tables as t
from storage.ledger.opening import Store
from storage.paths import checked_supplier

#: What every token begins with, so that those who look for secrets in the open know it.
PREFIX = "verbund_"
#: Longer than a year nobody remembers where a token lies.
LONGEST_DAYS = 366
#: More than anybody keeps in order.
MOST_PER_SUPPLIER = 50
LONGEST_NAME = 80


class TooManyTokens(ValueError):
    """The supplier has as many as may be valid at once."""


class TokenRefused(LookupError):
    """A token that lets nobody in.

    Attributes: `since` is when it ended, None where there never was such a token; `revoked` tells that somebody ended it.
    """

    def __init__(self, since: datetime | None = None, *, revoked: bool = False) -> None:
        self.since, self.revoked = since, revoked
        super().__init__("there is no such token" if since is None else f"it ended at {since:%Y-%m-%d %H:%M} UTC")


@dataclass(frozen=True)
class Token:
    """What is known of a token; the token itself is not."""

    token_id: str
    supplier: str
    name: str
    acts: frozenset[str]
    created_by: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None

    @property
    def who(self) -> str:
        """As ledger and acts name the program that has it."""
        return f"api:{self.supplier}:{self.token_id}"

    @property
    def ended_at(self) -> datetime | None:
        """Since when it lets nobody in, None while it does."""
        if self.revoked_at is not None:
            return self.revoked_at
        return self.expires_at if self.expires_at <= clock.now() else None


class Tokens(Store):
    """The tokens of one installation. Many threads and processes may use it at once."""

    def make(self, supplier: str, name: str, acts: Collection[str], days: int, *, by: str) -> tuple[str, Token]:
        """A new token, which is told here and never again, and what is kept of it.

        Args:
            supplier: Whose.
            name: What it is for, for people.
            acts: What it may do.
            days: For how long.
            by: Who makes it.

        Raises:
            ValueError: There is no name, nothing it may do, or the time is no number of days up to a year.
            TooManyTokens: Nothing was made.
        """
        name = " ".join(name.split())
        if not name or len(name) > LONGEST_NAME or not acts or not 1 <= days <= LONGEST_DAYS:
            raise ValueError(f"a token needs a name, something it may do, and an end within {LONGEST_DAYS} days")
        token, now = PREFIX + secrets.token_urlsafe(32), clock.now()
        made = Token(
            secrets.token_hex(6), checked_supplier(supplier), name, frozenset(acts), by, now, now + timedelta(days=days),
            None, None,
        )  # fmt: skip
        row = {
            "token_id": made.token_id, "token": _digest(token), "supplier": supplier, "name": name, "acts": sorted(acts),
            "created_by": by, "created_at": now, "expires_at": made.expires_at,
        }  # fmt: skip
        own = t.api_tokens.c
        valid = (own.supplier == supplier) & own.revoked_at.is_(None) & (own.expires_at > now)
        with self._write() as c:
            if c.execute(sa.select(sa.func.count()).where(valid)).scalar_one() >= MOST_PER_SUPPLIER:
                raise TooManyTokens(f"{supplier} has {MOST_PER_SUPPLIER} tokens; revoke one that nobody needs")
            c.execute(sa.insert(t.api_tokens), row)
        return token, made

    def use(self, token: str) -> Token:
        """What somebody who shows this token may do.

        Raises:
            TokenRefused: It lets nobody in (any more).
        """
        own, now = t.api_tokens.c.token == _digest(token), clock.now()
        with self._engine.connect() as c:
            row = c.execute(sa.select(t.api_tokens).where(own)).one_or_none()
        if row is None:
            raise TokenRefused
        found = _token(row)
        if (ended := found.ended_at) is not None:
            raise TokenRefused(ended, revoked=found.revoked_at is not None)
        if found.used_at is None or now - found.used_at > timedelta(minutes=1):
            with self._write() as c:
                c.execute(sa.update(t.api_tokens).where(own).values(used_at=now))
        return found

    def revoke(self, supplier: str, token_id: str) -> bool:
        """End a token of a supplier at once; whether there was one to end."""
        own = t.api_tokens.c
        these = (own.supplier == supplier) & (own.token_id == token_id) & own.revoked_at.is_(None)
        with self._write() as c:
            return c.execute(sa.update(t.api_tokens).where(these).values(revoked_at=clock.now())).rowcount == 1

    def of(self, supplier: str) -> list[Token]:
        """All tokens of a supplier, the newest first; also those that ended."""
        chosen = sa.select(t.api_tokens).where(t.api_tokens.c.supplier == supplier)
        with self._engine.connect() as c:
            return [_token(row) for row in c.execute(chosen.order_by(t.api_tokens.c.created_at.desc()))]


def _digest(token: str) -> str:
    # surrogates of a header that is no text
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _token(row: sa.Row[Any]) -> Token:
    told: dict[str, Any] = dict(row._mapping)
    del told["token"]
    return Token(**{**told, "acts": frozenset(told["acts"])})
