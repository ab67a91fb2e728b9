"""What pages and calls work with: opened once for an installation, shared by all visits, closed with the portal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from fastapi import Request

from portal.following import Following
from portal.provider import Provider
from portal.rights import may
from portal.uploads import Uploads
from quality.checking import Checks
from quality.desk import Desk
from quality.lineage import Lineage
from quality.scorecard import Troubles
from storage.drafts import Drafts
from storage.mails import Mails
from storage.people import PORTAL, People
from storage.proposals import Proposals
from storage.settings import Settings
from storage.threads import Threads
from storage.tokens import Token, Tokens
from storage.waiting import WaitingRoom


@dataclass
class Services:
    """All of it. Many threads may use it at once.

    Attributes:
        desk: Where deliveries are taken in and answered.
        checks: Where files are looked at first.
        people: Who may come in, and what they did.
        provider: Who says who people are; None where they have passwords here.
        tokens: What programs show.
        uploads: Large files that are on their way.
        waiting: Files that somebody chose and has not said yet what they are.
        drafts: Tables somebody began to enter.
        threads: Questions and objections.
        mails: What is told by mail.
        lineage: Figures of the newest release and where they come from.
        troubles: Which rules are broken most, counted once for all visits.
        following: Who waits for a verdict.
    """

    desk: Desk
    checks: Checks
    people: People
    provider: Provider | None
    tokens: Tokens
    uploads: Uploads
    waiting: WaitingRoom
    drafts: Drafts
    threads: Threads
    mails: Mails
    proposals: Proposals
    lineage: Lineage
    troubles: Troubles
    following: Following

    def vouched(self, token: Token) -> bool:
        """Whether who made a token may still make it; one ends with its maker's right, and is good again with it.

        What an operator made stands without anybody.
        """
        by = token.created_by
        return not by.startswith(PORTAL) or may(self.people.who(by), "tokens.make", token.supplier)


@contextmanager
def opened(settings: Settings) -> Iterator[Services]:
    """Open everything, and close it again."""
    with ExitStack() as stack:
        desk = stack.enter_context(closing(Desk(settings, who="portal")))
        url = settings.ledger_url
        yield Services(
            desk=desk,
            checks=stack.enter_context(closing(Checks(settings))),
            people=stack.enter_context(closing(People(url))),
            provider=Provider(settings) if settings.oidc_issuer else None,
            tokens=stack.enter_context(closing(Tokens(url))),
            uploads=Uploads(settings.paths.work / "uploads"),
            waiting=WaitingRoom(settings),
            drafts=stack.enter_context(closing(Drafts(url))),
            threads=stack.enter_context(closing(Threads(url))),
            mails=stack.enter_context(closing(Mails(url))),
            proposals=stack.enter_context(closing(Proposals(url))),
            lineage=Lineage(settings),
            troubles=Troubles(desk.ledger),
            following=Following(desk.ledger),
        )


def services_of(request: Request) -> Services:
    """Those of the portal that was asked."""
    services: Services = request.app.state.services
    return services
