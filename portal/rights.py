"""Which role may do which act on whose object: the one table every route is held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from storage.people import OF_SUPPLIER, Person
from storage.tokens import Token

Act = Literal[
    "page.open",
    "session.begin",
    "session.end",
    "invitation.accept",
    "duties.see",
    "delivery.hand_in",
    "thread.see",
    "thread.ask",
    "thread.answer",
    "thread.contest",
    "thread.decide",
    "threads.see_all",
    "word.map",
    "word.see",
    "warning.confirm",
    "delivery.upload",
    "delivery.check",
    "entry.write",
    "template.get",
    "delivery.declare_nothing",
    "extension.ask",
    "extension.decide",
    "settings.own",
    "calendar.feed",
    "mails.see",
    "mails.again",
    "delivery.see",
    "region.see",
    "scores.see",
    "onboarding.see",
    "onboarding.propose",
    "onboarding.apply",
    "people.see",
    "people.invite",
    "acts.see",
    "tokens.see",
    "tokens.see_all",
    "tokens.make",
    "tokens.revoke",
    "api.describe",
    "figures.see",
    "figure.see",
    "figure.see_owner",
    "rows.see",
    "open.see",
]


@dataclass(frozen=True)
class Right:
    """Who may do something.

    Attributes:
        own: Roles of a supplier that may, on what is that supplier's.
        region: Roles of the region that may, on whatever there is.
        everybody: Also who is not signed in.
        signed_in: Whoever is signed in.
        programs: A supplier's program, on what is that supplier's, where its token was made for it.
    """

    own: frozenset[str] = frozenset()
    region: frozenset[str] = frozenset()
    everybody: bool = False
    signed_in: bool = False
    programs: bool = False


_SUPPLIERS = frozenset({"clerk", "lead"})
_LEADS = frozenset({"lead"})
_STEERING = frozenset({"coordinator", "engineer"})
RIGHTS: Mapping[Act, Right] = {
    "page.open": Right(everybody=True),
    "session.begin": Right(everybody=True),
    "session.end": Right(signed_in=True),
    "invitation.accept": Right(everybody=True),
    "duties.see": Right(own=_SUPPLIERS, region=_STEERING, programs=True),
    "delivery.hand_in": Right(own=_SUPPLIERS, programs=True),
    "delivery.check": Right(own=_SUPPLIERS, programs=True),
    "entry.write": Right(own=_SUPPLIERS),
    "template.get": Right(own=_SUPPLIERS, region=_STEERING),
    # into a place of one's own, before it is said whose delivery it will be
    "delivery.upload": Right(own=_SUPPLIERS),
    "delivery.declare_nothing": Right(own=_LEADS),
    "extension.ask": Right(own=_SUPPLIERS),
    "extension.decide": Right(region=frozenset({"coordinator"})),
    "settings.own": Right(signed_in=True),
    "mails.see": Right(region=frozenset({"coordinator"})),
    "mails.again": Right(region=frozenset({"coordinator"})),
    # whose it is, the secret in the address tells
    "calendar.feed": Right(everybody=True),
    "delivery.see": Right(own=_SUPPLIERS, region=_STEERING, programs=True),
    "region.see": Right(region=_STEERING | {"observer"}),
    # eye level: who delivers sees how well everybody does
    "scores.see": Right(signed_in=True),
    # what a supplier's deliveries became; a figure by itself is seen by whom its access level names
    "figures.see": Right(own=_SUPPLIERS, region=_STEERING),
    "figure.see": Right(signed_in=True),
    "figure.see_owner": Right(own=_SUPPLIERS, region=frozenset({"engineer"})),
    "rows.see": Right(own=_SUPPLIERS, region=_STEERING),
    "open.see": Right(everybody=True),
    "onboarding.see": Right(region=_STEERING),
    "onboarding.propose": Right(region=_STEERING),
    # who answers for the region pack writes into it
    "onboarding.apply": Right(region=frozenset({"engineer"})),
    "people.see": Right(region=frozenset({"coordinator"})),
    "people.invite": Right(region=frozenset({"coordinator"})),
    "acts.see": Right(region=frozenset({"coordinator"})),
    "thread.see": Right(own=_SUPPLIERS, region=_STEERING),
    "thread.ask": Right(own=_SUPPLIERS, region=_STEERING),
    "thread.answer": Right(own=_SUPPLIERS, region=_STEERING),
    "thread.contest": Right(own=_LEADS),
    "thread.decide": Right(region=frozenset({"coordinator"})),
    "threads.see_all": Right(region=_STEERING),
    # who may let people in for a supplier may let its programs in
    "tokens.see": Right(own=_LEADS, region=frozenset({"coordinator"})),
    "tokens.see_all": Right(region=frozenset({"coordinator"})),
    "tokens.make": Right(own=_LEADS, region=frozenset({"coordinator"})),
    "tokens.revoke": Right(own=_LEADS, region=frozenset({"coordinator"})),
    "api.describe": Right(everybody=True),
    # whose figures they are says that they are right
    "warning.confirm": Right(own=_SUPPLIERS),
    "word.see": Right(own=_SUPPLIERS, region=_STEERING),
    "word.map": Right(own=_LEADS, region=_STEERING),
}
#: What a token can be made for.
OF_PROGRAMS: tuple[Act, ...] = tuple(act for act, right in RIGHTS.items() if right.programs)


def may(person: Person | Token | None, act: Act, supplier: str | None = None) -> bool:
    """Whether somebody may do this.

    Args:
        person: Who is signed in, if anybody, or the token a program showed.
        act: What is to be done.
        supplier: Whose object it is; None asks whether the person may on any object at all.
    """
    right = RIGHTS[act]
    if right.everybody:
        return True
    if isinstance(person, Token):
        return right.programs and act in person.acts and supplier in (person.supplier, None)
    if right.signed_in and person is not None:
        return True
    if person is None:
        return False
    for role, of in person.roles:
        if role in OF_SUPPLIER:
            if role in right.own and supplier in (of, None):
                return True
        elif role in right.region:
            return True
    return False
