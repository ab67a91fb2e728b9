"""The mailer process: announces what is news and sends what is due, again and again until it is out.

One at a time in an installation. It takes no part in the way of a delivery; without it nothing stops but the telling.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import urlsplit

from quality.announcing import announce
from quality.desk import Desk
from storage import clock, locks
from storage.crash import reached
from storage.mailing import NotAtAll, NotNow, ServerAway, Transport, way_out
from storage.mails import Mail, Mails
from storage.people import People, Person
from storage.settings import Settings
from storage.threads import Threads

log = logging.getLogger("verbund.mailer")

#: How often is looked for news.
EVERY_SECONDS = 20.0
#: A message is tried again after a minute, then twice as long each time, at most an hour; given up after five days.
FIRST_PAUSE, LONGEST_PAUSE, GIVEN_UP_AFTER = timedelta(minutes=1), timedelta(hours=1), timedelta(days=5)


@dataclass(frozen=True)
class Letter:
    """The words of a message."""

    subject: str
    text: str


#: Puts notices to one person into words.
Write = Callable[[Desk, Person, Sequence[Mail]], Letter]


@dataclass(frozen=True)
class Sent:
    """What one run came to: new notices, messages that went out, that wait for another try, that were given up."""

    announced: int = 0
    sent: int = 0
    put_off: int = 0
    given_up: int = 0


def run(settings: Settings, write: Write, *, stop: threading.Event) -> None:
    """Announce and send until `stop` is set."""
    desk: Desk | None = None
    while not stop.is_set():
        try:
            desk = desk or Desk(settings, who="mailer")
            once(desk, write)
        except locks.Busy:
            log.info("another mailer is at work")
        except Exception:
            # whatever it was, the outbox is in the ledger, and the next look goes on from there
            log.exception("nothing could be sent now")
        stop.wait(EVERY_SECONDS)
    if desk is not None:
        desk.close()


def once(desk: Desk, write: Write, *, now: datetime | None = None) -> Sent:
    """Announce what is news and send what is due.

    Raises:
        storage.locks.Busy: Somebody else is at it.
    """
    now, settings = now or clock.now(), desk.settings
    people, mails, threads = People(settings.ledger_url), Mails(settings.ledger_url), Threads(settings.ledger_url)
    try:
        with locks.holding(settings, "mailer", timeout=1), way_out(settings) as out:
            new = announce(desk, people, mails, threads, now)
            sent, put_off, given_up = _send(desk, people, mails, out, write, now)
    finally:
        people.close()
        mails.close()
        threads.close()
    return Sent(new, sent, put_off, given_up)


def _send(
    desk: Desk, people: People, mails: Mails, out: Transport, write: Write, now: datetime
) -> tuple[int, int, int]:
    known = {person.person_id: person for person in people.everybody()}
    sent = put_off = given_up = 0
    away: str | None = None
    for message_id, told in mails.due(now):
        person = known.get(told[0].person_id)
        try:
            if person is None:
                raise NotAtAll("the account is closed")
            if away is not None:
                raise NotNow(away)
            out.send(_message(desk, person, message_id, write(desk, person, told), now))
        except NotAtAll as error:
            mails.give_up(message_id, now, str(error))
            given_up += 1
        except (NotNow, ServerAway) as error:
            if isinstance(error, ServerAway):
                # one wait for an answer is enough for all of them
                away = str(error)
                log.warning("the mail server is away: %s", away)
            if now - told[0].created_at > GIVEN_UP_AFTER:
                mails.give_up(message_id, now, str(error))
                given_up += 1
            else:
                mails.put_off(message_id, now + _pause(told[0].tries), str(error))
                put_off += 1
        else:
            reached("mailer.sent")
            mails.sent(message_id, now)
            sent += 1
    return sent, put_off, given_up


def _pause(tries: int) -> timedelta:
    """How long after so many tries before this one."""
    return min(FIRST_PAUSE * (1 << min(tries, 10)), LONGEST_PAUSE)


def _message(desk: Desk, person: Person, message_id: str, letter: Letter, now: datetime) -> EmailMessage:
    settings, message = desk.settings, EmailMessage()
    host = urlsplit(settings.portal_address).hostname or "localhost"
    message["Subject"] = letter.subject
    message["From"] = settings.mail_from
    message["To"] = person.email
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{message_id}@{host}>"
    # no answers of machines to a machine
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text, cte="quoted-printable")
    return message
