"""People of the portal and what they did: invitations, passwords, sessions, roles, acts.

Kept in the database of the ledger. What a role may do is decided in `portal.rights`; nothing here knows of pages. Secrets
that are handed out (links, cookies) are kept as sha256 only, passwords as argon2.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from storage import clock
from storage.ledger import tables as t
from storage.ledger.opening import Store

Role = Literal["clerk", "lead", "coordinator", "engineer", "observer"]
ROLES: tuple[Role, ...] = get_args(Role)
#: Roles somebody has for one supplier.
OF_SUPPLIER: frozenset[str] = frozenset({"clerk", "lead"})
INVITED_FOR = timedelta(days=14)
#: A session ends after so long without a look, and after so long in any case.
IDLE, LONGEST = timedelta(hours=2), timedelta(hours=12)
SHORTEST_PASSWORD = 12
#: So many failures from one address, and for one account from one address, end trying for a while. Never for an account
#: alone: anybody could lock anybody out.
PER_ADDRESS, PER_ACCOUNT, FAILURES_COUNT_FOR = 50, 5, timedelta(minutes=15)

#: What somebody's name in ledger and acts begins with.
PORTAL = "portal:"

_hasher = PasswordHasher()


class NotInvited(LookupError):
    """The link was never made, was used, or is too old."""


class WeakPassword(ValueError):
    """The password is too short, or is part of what everybody knows of the person."""


class TooManyTries(Exception):
    """Somebody there failed too often; trying again makes sense `again_at`."""

    def __init__(self, again_at: datetime) -> None:
        self.again_at = again_at
        super().__init__(f"too many tries; again at {again_at:%H:%M} UTC")


@dataclass(frozen=True)
class Person:
    """Somebody who may sign in. `roles` are pairs of role and supplier, the latter empty for the whole region."""

    person_id: str
    email: str
    name: str
    language: str
    roles: frozenset[tuple[str, str]]

    @property
    def who(self) -> str:
        """As ledger and acts name this person."""
        return PORTAL + self.email


@dataclass(frozen=True)
class Session:
    """Somebody signed in. `form` must come back with every form."""

    person: Person
    form: str


@dataclass(frozen=True)
class Invitation:
    """What a link is for."""

    email: str
    name: str
    role: str
    supplier: str
    invited_by: str


class People(Store):
    """Everybody of one installation. Many threads and processes may use it at once."""

    # --- coming in ---

    def invite(self, email: str, name: str, role: Role, supplier: str = "", *, by: str) -> str:
        """Make a link's secret for somebody; who has an account gets the role with it.

        Raises:
            ValueError: The address is none, or the role needs a supplier or may have none.
        """
        if role not in ROLES:
            raise ValueError(f"expected a role of {', '.join(ROLES)}, found {role!r}")
        if bool(supplier) != (role in OF_SUPPLIER):
            raise ValueError(f"the role {role} " + ("needs a supplier" if role in OF_SUPPLIER else "is for the region"))
        token, now = secrets.token_urlsafe(32), clock.now()
        row = {
            "token": _digest(token), "email": _address(email), "name": name.strip(), "role": role, "supplier": supplier,
            "invited_by": by, "created_at": now, "expires_at": now + INVITED_FOR, "used_at": None,
        }  # fmt: skip
        with self._write() as c:
            c.execute(sa.insert(t.invitations), row)
        return token

    def invitation(self, token: str) -> Invitation:
        """What a link is for.

        Raises:
            NotInvited: It cannot be used.
        """
        with self._engine.connect() as c:
            return _invitation(c, token)

    def accept(self, token: str, password: str) -> Person:
        """Use a link: the account is made, or gets the new role and password.

        Raises:
            NotInvited: The link cannot be used.
            WeakPassword: Nothing was changed.
        """
        hashed = None
        with self._engine.connect() as c:
            invited = _invitation(c, token)
        _check_password(password, invited)
        hashed = _hasher.hash(password)
        with self._write() as c:
            invited = _invitation(c, token, lock=True)
            now = clock.now()
            c.execute(sa.update(t.invitations).where(t.invitations.c.token == _digest(token)).values(used_at=now))
            row = c.execute(sa.select(t.people).where(t.people.c.email == invited.email)).one_or_none()
            person_id = row.person_id if row else uuid.uuid4().hex
            if row is None:
                c.execute(
                    sa.insert(t.people),
                    {"person_id": person_id, "email": invited.email, "name": invited.name, "language": "de",
                     "password": hashed, "created_at": now, "disabled_at": None},
                )  # fmt: skip
            else:
                own = t.people.c.person_id == person_id
                c.execute(sa.update(t.people).where(own).values(password=hashed, disabled_at=None))
                # whoever had the old password is out
                c.execute(sa.delete(t.sessions).where(t.sessions.c.person_id == person_id))
            r = t.roles.c
            has = (r.person_id == person_id) & (r.role == invited.role) & (r.supplier == invited.supplier)
            if c.execute(sa.select(r.role).where(has)).one_or_none() is None:
                c.execute(
                    sa.insert(t.roles),
                    {"person_id": person_id, "role": invited.role, "supplier": invited.supplier, "given_at": now,
                     "given_by": invited.invited_by},
                )  # fmt: skip
            return _person(c, person_id)

    def sign_in(self, email: str, password: str, address: str) -> tuple[str, Session] | None:
        """A new session and its cookie, None where address or password are wrong.

        Raises:
            TooManyTries: Nothing was looked at.
        """
        email = email.strip().casefold()
        self._may_try(email, address)
        with self._engine.connect() as c:
            row = c.execute(sa.select(t.people).where(t.people.c.email == email)).one_or_none()
        usable = row is not None and row.password is not None and row.disabled_at is None
        # as long as for somebody who is there
        right = _verified(row.password if row is not None and usable else _NOBODY, password) and usable
        now = clock.now()
        with self._write() as c:
            c.execute(sa.insert(t.sign_ins), {"at": now, "email": email[:320], "address": address, "succeeded": right})
            c.execute(sa.delete(t.sign_ins).where(t.sign_ins.c.at < now - 2 * FAILURES_COUNT_FOR))
            if not right or row is None:
                return None
            return self._begin(c, row.person_id, now)

    def begin(self, person: Person) -> tuple[str, Session]:
        """A session for somebody whose identity was proved elsewhere, and its cookie."""
        with self._write() as c:
            return self._begin(c, person.person_id, clock.now())

    def sign_in_by_provider(
        self, email: str, name: str, roles: Collection[tuple[Role, str]], provider: str
    ) -> tuple[str, Session] | None:
        """A new session for somebody the region's provider of identities vouches for; None where they were let in no more.

        Args:
            email: Their address, verified by the provider.
            name: As they are called there.
            roles: All they have from now on, for sessions that go on elsewhere too.
            provider: Who vouches, for the record.

        Raises:
            ValueError: The address is none.
        """
        email, now = _address(email), clock.now()
        with self._write() as c:
            row = c.execute(sa.select(t.people).where(t.people.c.email == email)).one_or_none()
            if row is not None and row.disabled_at is not None:
                return None
            person_id = row.person_id if row else uuid.uuid4().hex
            if row is None:
                c.execute(
                    sa.insert(t.people),
                    {"person_id": person_id, "email": email, "name": name, "language": "de", "password": None,
                     "created_at": now, "disabled_at": None},
                )  # fmt: skip
            else:
                c.execute(sa.update(t.people).where(t.people.c.person_id == person_id).values(name=name))
            had = t.roles.c.person_id == person_id
            known = {(r.role, r.supplier): r for r in c.execute(sa.select(t.roles).where(had))}
            for role, supplier in known.keys() - set(roles):
                c.execute(sa.delete(t.roles).where(had & (t.roles.c.role == role) & (t.roles.c.supplier == supplier)))
            for role, supplier in set(roles) - known.keys():
                c.execute(
                    sa.insert(t.roles),
                    {"person_id": person_id, "role": role, "supplier": supplier, "given_at": now, "given_by": provider},
                )  # fmt: skip
            return self._begin(c, person_id, now)

    def session(self, cookie: str) -> Session | None:
        """Who is signed in with this cookie, None where nobody is any more."""
        now, own = clock.now(), t.sessions.c.token == _digest(cookie)
        with self._engine.connect() as c:
            row = c.execute(sa.select(t.sessions).where(own)).one_or_none()
            if row is None or row.expires_at <= now or row.seen_at + IDLE <= now:
                return None
            found = Session(_person(c, row.person_id), row.form)
        if now - row.seen_at > timedelta(minutes=1):
            with self._write() as c:
                c.execute(sa.update(t.sessions).where(own).values(seen_at=now))
        return found

    def sign_out(self, cookie: str) -> None:
        """End one session."""
        with self._write() as c:
            c.execute(sa.delete(t.sessions).where(t.sessions.c.token == _digest(cookie)))

    def disable(self, email: str) -> bool:
        """Let somebody in no more and end all sessions; whether there was anybody."""
        with self._write() as c:
            row = c.execute(sa.select(t.people.c.person_id).where(t.people.c.email == _address(email))).one_or_none()
            if row is None:
                return False
            c.execute(sa.update(t.people).where(t.people.c.person_id == row.person_id).values(disabled_at=clock.now()))
            c.execute(sa.delete(t.sessions).where(t.sessions.c.person_id == row.person_id))
            return True

    def speak(self, person: Person, language: str) -> None:
        """Keep the language somebody wants to read."""
        own = t.people.c.person_id == person.person_id
        with self._write() as c:
            c.execute(sa.update(t.people).where(own).values(language=language))

    def everybody(self) -> list[Person]:
        """All who may sign in, by address."""
        with self._engine.connect() as c:
            ids = c.execute(
                sa.select(t.people.c.person_id).where(t.people.c.disabled_at.is_(None)).order_by(t.people.c.email)
            )
            return [_person(c, row.person_id) for row in ids.all()]

    def who(self, name: str) -> Person | None:
        """Whom ledger and acts name so; None where that is nobody who may sign in (any more)."""
        own, email = t.people.c, name.removeprefix(PORTAL)
        with self._engine.connect() as c:
            chosen = sa.select(own.person_id).where(own.email == email, own.disabled_at.is_(None))
            row = c.execute(chosen).one_or_none() if name.startswith(PORTAL) else None
            return _person(c, row.person_id) if row else None

    # --- calendars that programs ask for ---

    def renew_feed(self, person: Person) -> str:
        """A new secret for the address of somebody's calendar; the one before is worth nothing any more."""
        token, own = secrets.token_urlsafe(32), t.feeds.c.person_id == person.person_id
        with self._write() as c:
            c.execute(sa.delete(t.feeds).where(own))
            row = {"person_id": person.person_id, "token": _digest(token), "made_at": clock.now()}
            c.execute(sa.insert(t.feeds), row)
        return token

    def feed_made_at(self, person: Person) -> datetime | None:
        """Since when somebody has an address of a calendar; None for none."""
        with self._engine.connect() as c:
            made = sa.select(t.feeds.c.made_at).where(t.feeds.c.person_id == person.person_id)
            return c.execute(made).scalar_one_or_none()

    def of_feed(self, token: str) -> Person | None:
        """Whose calendar this is; None where it is nobody's (any more)."""
        f, own = t.feeds.c, t.people.c
        chosen = sa.select(f.person_id).join(t.people, own.person_id == f.person_id)
        with self._engine.connect() as c:
            row = c.execute(chosen.where(f.token == _digest(token), own.disabled_at.is_(None))).one_or_none()
            return _person(c, row.person_id) if row else None

    # --- what was done ---

    def note(self, who: str, act: str, on: str = "", *, address: str = "", **facts: Any) -> None:
        """Write down what somebody did."""
        row = {"at": clock.now(), "who": who, "act": act, "object": on, "address": address, "facts": facts}
        with self._write() as c:
            c.execute(sa.insert(t.acts), row)

    def acts(
        self, limit: int = 200, *, before: int | None = None, after: int | None = None, who: str = "", act: str = ""
    ) -> list[Mapping[str, Any]]:
        """The newest first.

        Args:
            limit: At most so many.
            before: Of those that are older than the act of this id, the newest.
            after: Of those that are newer than the act of this id, the oldest.
            who: Part of the name of whoever did it.
            act: What was done.
        """
        own = t.acts.c
        chosen = sa.select(t.acts).limit(limit)
        if who:
            chosen = chosen.where(sa.func.lower(own.who).contains(who.casefold(), autoescape=True))
        if act:
            chosen = chosen.where(own.act == act)
        if after is not None:
            chosen = chosen.where(own.id > after).order_by(own.id)
        else:
            chosen = chosen.where(own.id < before if before is not None else sa.true()).order_by(own.id.desc())
        with self._engine.connect() as c:
            found = [dict(row._mapping) for row in c.execute(chosen)]
        return sorted(found, key=lambda row: -int(row["id"]))

    def kinds_of_acts(self) -> list[str]:
        """What was done at all."""
        with self._engine.connect() as c:
            return list(c.execute(sa.select(t.acts.c.act).distinct().order_by(t.acts.c.act)).scalars())

    def _may_try(self, email: str, address: str) -> None:
        s = t.sign_ins.c
        since = clock.now() - FAILURES_COUNT_FOR
        failed = (s.address == address) & (s.at > since) & s.succeeded.is_(False)
        with self._engine.connect() as c:
            for mine, most in ((failed, PER_ADDRESS), (failed & (s.email == email[:320]), PER_ACCOUNT)):
                number, oldest = c.execute(
                    sa.select(sa.func.count(), sa.func.min(s.at, type_=t.UtcTime())).where(mine)
                ).one()._tuple()  # fmt: skip
                if number >= most and oldest is not None:
                    raise TooManyTries(oldest + FAILURES_COUNT_FOR)

    def _begin(self, c: sa.Connection, person_id: str, now: datetime) -> tuple[str, Session]:
        cookie, form = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        c.execute(sa.delete(t.sessions).where(t.sessions.c.expires_at <= now))
        c.execute(
            sa.insert(t.sessions),
            {"token": _digest(cookie), "person_id": person_id, "form": form, "created_at": now, "seen_at": now,
             "expires_at": now + LONGEST},
        )  # fmt: skip
        return cookie, Session(_person(c, person_id), form)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _address(email: str) -> str:
    cleaned = email.strip().casefold()
    name, at, host = cleaned.rpartition("@")
    if not (name and at and host) or any(c.isspace() or not c.isprintable() for c in cleaned) or len(cleaned) > 320:
        raise ValueError(f"expected an e-mail address, found {email!r}")
    return cleaned


def _check_password(password: str, of: Invitation) -> None:
    if len(password) < SHORTEST_PASSWORD:
        raise WeakPassword(f"at least {SHORTEST_PASSWORD} characters")
    known = [of.email, of.email.partition("@")[0], of.name, of.supplier]
    if password.casefold() in {text.casefold() for text in known} or len(set(password)) < 5:
        raise WeakPassword("not the own name or address, and not one character again and again")


def _verified(hashed: str, password: str) -> bool:
    try:
        return _hasher.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def _invitation(c: sa.Connection, token: str, *, lock: bool = False) -> Invitation:
    wanted = sa.select(t.invitations).where(t.invitations.c.token == _digest(token))
    row = c.execute(wanted.with_for_update() if lock else wanted).one_or_none()
    if row is None or row.used_at is not None or row.expires_at <= clock.now():
        raise NotInvited("this link was used, is too old, or never was")
    return Invitation(row.email, row.name, row.role, row.supplier, row.invited_by)


def _person(c: sa.Connection, person_id: str) -> Person:
    row = c.execute(sa.select(t.people).where(t.people.c.person_id == person_id)).one()
    held = c.execute(sa.select(t.roles.c.role, t.roles.c.supplier).where(t.roles.c.person_id == person_id)).all()
    return Person(row.person_id, row.email, row.name, row.language, frozenset((r.role, r.supplier) for r in held))


#: What the password of somebody who is not there is compared with.
_NOBODY = _hasher.hash(secrets.token_hex(16))
