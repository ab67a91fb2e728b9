"""The ways a mail leaves: a server that speaks SMTP, or a folder of `.eml` files where none is named."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Protocol

from storage.settings import Settings

#: A server that says nothing for so long is away.
PATIENCE_SECONDS = 30.0


class ServerAway(Exception):
    """The mail server cannot be reached or lets nobody in: no message can go out now."""


class NotNow(Exception):
    """The server did not take this message; it may later."""


class NotAtAll(Exception):
    """The server refuses this message or its address for good."""


class Transport(Protocol):
    """A way out for messages."""

    def send(self, message: EmailMessage) -> None:
        """Hand one message over.

        Raises:
            ServerAway: Nothing was handed over, and nothing else can be.
            NotNow: This message may be tried later.
            NotAtAll: This message need not be tried again.
        """


class OutboxFolder:
    """Messages as files, each once whatever is repeated."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def send(self, message: EmailMessage) -> None:
        """Write a message; see `Transport`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = str(message["Message-ID"]).strip("<>").partition("@")[0]
        fresh = self.folder / f".{name}.tmp"
        fresh.write_bytes(message.as_bytes(policy=SMTP))
        fresh.replace(self.folder / f"{name}.eml")


class SmtpServer:
    """A mail server, connected to when there is something to send; one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: smtplib.SMTP | None = None

    def send(self, message: EmailMessage) -> None:
        """Send a message; see `Transport`."""
        connection = self._connected()
        try:
            connection.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            [(code, said), *_] = error.recipients.values()
            raise (NotAtAll if code >= 500 else NotNow)(_said(code, said)) from error
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            raise (NotAtAll if error.smtp_code >= 500 else NotNow)(_said(error.smtp_code, error.smtp_error)) from error
        except smtplib.SMTPNotSupportedError as error:
            raise NotAtAll(str(error)) from error
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            raise ServerAway(str(error)) from error

    def greet(self) -> None:
        """Connect, look at the certificate and sign in as for a message, and send none.

        Raises:
            ServerAway: It cannot be reached, is not trusted, or lets nobody in.
        """
        self._connected()

    def close(self) -> None:
        """End the connection, whatever state it is in."""
        if self._connection is not None:
            try:
                self._connection.quit()
            except (OSError, smtplib.SMTPException):
                self._connection.close()
            self._connection = None

    def _connected(self) -> smtplib.SMTP:
        if self._connection is None:
            try:
                self._connection = self._connect()
            except (OSError, smtplib.SMTPException) as error:
                self.close()
                raise ServerAway(str(error)) from error
        return self._connection

    def _connect(self) -> smtplib.SMTP:
        told = self._settings
        assert told.smtp_host is not None
        trusted = ssl.create_default_context(cafile=told.smtp_ca_file)
        if told.smtp_security == "tls":
            made: smtplib.SMTP = smtplib.SMTP_SSL(
                told.smtp_host, told.smtp_port, timeout=PATIENCE_SECONDS, context=trusted
            )
        else:
            made = smtplib.SMTP(told.smtp_host, told.smtp_port, timeout=PATIENCE_SECONDS)
        self._connection = made
        if told.smtp_security == "starttls":
            made.starttls(context=trusted)
        if told.smtp_user and told.smtp_password:
            made.login(told.smtp_user, told.smtp_password.get_secret_value())
        return made


@contextmanager
def way_out(settings: Settings) -> Iterator[Transport]:
    """The way the settings name."""
    if settings.smtp_host is None:
        yield OutboxFolder(settings.paths.outbox)
        return
    server = SmtpServer(settings)
    try:
        yield server
    finally:
        server.close()


def _said(code: int, said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return f"{code} {text}"[:500]
