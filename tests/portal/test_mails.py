"""Mails: what is told to whom and when, that a server that is away loses and doubles nothing, and that no figure leaves."""

from __future__ import annotations

import email
import io
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword

from portal import texts
from portal.letters import letter
from quality import announcing, mailer
from quality.desk import Desk
from quality.judging import work_queue
from storage import locks
from storage.mailing import ServerAway, way_out
from storage.mails import Mails
from storage.paths import Slot
from storage.people import People
from storage.settings import Settings
from storage.threads import Speaker, Threads, Topic
from tests.portal.conftest import Stage
from tests.support.bench import GOOD, PLAIN, WORKS, written
from tests.support.profiles import settings_for

PERIOD, ROW = GOOD["waste_balance"]
#: Every kind of notice there are words for.
WORDED = {key.removeprefix("mail.subject.") for key in texts.keys("de") if key.startswith("mail.subject.")} - {"many"}
#: What no mail may say: a figure of the file, its name, its sum.
QUANTITY, FILE_NAME = "98.765,4", "Geheime_Zahlen_4711.csv"


class Mailbox:
    """What a mail server took, by address; refuses addresses at `refused.example`."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []

    async def handle_RCPT(
        self, server: SMTP, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.endswith("@refused.example"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Envelope) -> str:
        content = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        parsed = email.message_from_bytes(content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        self.messages.append(parsed)
        return "250 taken"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def desk(tmp_path: Path, port: int) -> Iterator[Desk]:
    settings = settings_for(
        tmp_path / "home", PLAIN, smtp_host="127.0.0.1", smtp_port=port, smtp_security="none",
        portal_url="https://portal.example.org",
    )  # fmt: skip
    made = Desk(settings)
    people = People(settings.ledger_url)
    for name, role, of in (
        ("clerk@works.example", "clerk", WORKS), ("lead@works.example", "lead", WORKS),
        ("office@region.example", "coordinator", ""), ("else@third.example", "clerk", "plain-third"),
    ):  # fmt: skip
        people.accept(people.invite(name, name.partition("@")[0], role, of, by="test"), "ein langer satz")  # type: ignore[arg-type]
    people.close()
    # nothing of before is told
    mails = Mails(settings.ledger_url)
    mails.announce((), {"events": 0, "entries": 0})
    mails.close()
    yield made
    made.close()


@pytest.fixture
def server(port: int) -> Iterator[tuple[Controller, Mailbox]]:
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    yield controller, box
    if controller.server is not None:
        controller.stop()


def deliver(desk: Desk, *, good: bool = True) -> str:
    row = {**ROW, "quantity_t": QUANTITY} if good else {**ROW, "quantity_t": QUANTITY, "waste_code": "999999"}
    source = io.BytesIO(written([row]).encode())
    delivery = desk.receive(source, WORKS, "waste_balance", PERIOD, file_name=FILE_NAME, who="test")
    work_queue(desk)
    return delivery.delivery_id


def subjects(box: Mailbox, address: str) -> list[str]:
    return [str(message["Subject"]) for message in box.messages if message["To"] == address]


def body(message: EmailMessage) -> str:
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def test_a_mail_server_that_is_away_for_an_hour_loses_nothing_and_doubles_nothing(
    desk: Desk, server: tuple[Controller, Mailbox]
) -> None:
    controller, box = server
    began = datetime.now(UTC)
    deliver(desk)
    tries = []
    for minute in range(60):
        tries.append(mailer.once(desk, letter, now=began + timedelta(minutes=minute)))
        if minute == 30:
            deliver(desk, good=False)
    assert sum(run.sent for run in tries) == 0 and sum(run.given_up for run in tries) == 0
    assert 5 <= sum(1 for run in tries if run.put_off) <= 20, "tried again and again, and not all the time"
    controller.start()
    for minute in range(60, 240):
        mailer.once(desk, letter, now=began + timedelta(minutes=minute))
    ids = Counter(str(message["Message-ID"]) for message in box.messages)
    assert ids and set(ids.values()) == {1}
    arrivals = [s for s in subjects(box, "clerk@works.example") if "angekommen" in s]
    verdicts = [s for s in subjects(box, "clerk@works.example") if "Ergebnis" in s]
    assert (len(arrivals), len(verdicts)) == (2, 2)
    assert not [s for s in subjects(box, "else@third.example") if "angekommen" in s or "Ergebnis" in s]
    mails = Mails(desk.settings.ledger_url)
    assert not mails.troubled()
    mails.close()


def test_a_mailer_that_dies_right_after_the_servers_yes_repeats_that_one_message_under_its_id(
    desk: Desk, server: tuple[Controller, Mailbox]
) -> None:
    controller, box = server
    controller.start()
    deliver(desk)
    command = [sys.executable, "-m", "verbund.cli", "mail", "--json"]
    told = {**os.environ, **desk.settings.environment()}
    killed = subprocess.run(command, env={**told, "VERBUND_CRASH_AT": "mailer.sent:2"}, check=False)
    assert killed.returncode == -9
    assert len(box.messages) == 2
    said = subprocess.run(command, env=told, check=True, capture_output=True, text=True)
    assert json.loads(said.stdout)["sent"] == len(box.messages) - 2
    ids = Counter(str(message["Message-ID"]) for message in box.messages)
    assert sorted(ids.values()) == [1] * (len(ids) - 1) + [2]


def test_two_mailers_never_send_at_once(desk: Desk) -> None:
    with locks.holding(desk.settings, "mailer", timeout=1), pytest.raises(locks.Busy):
        mailer.once(desk, letter)


def test_no_mail_says_a_figure(desk: Desk, server: tuple[Controller, Mailbox]) -> None:
    controller, box = server
    controller.start()
    began = datetime.now(UTC)
    ids = [deliver(desk), deliver(desk, good=False)]
    threads, clerk = Threads(desk.settings.ledger_url), Speaker("portal:clerk", "Kim 4711", "supplier")
    coordinator = Speaker("portal:office", "Konrad", "coordination")
    for topic in (Topic(WORKS, ids[0]), Topic(WORKS, figure="K-01/4711/2024")):
        asked_about = threads.open(topic, "ask", clerk, "Woher kommen die 4711 t?")
        threads.say(asked_about.thread_id, "answer", coordinator, "Aus Zeile 815.")
        threads.say(asked_about.thread_id, "contest", clerk, "Es waren 4711 t.")
        threads.say(asked_about.thread_id, "decide", coordinator, "Es bleibt bei 815 t.", decision="dismissed")
    threads.close()
    desk.ledger.extensions.ask(Slot(WORKS, "population", "2023"), began.date(), "4711 Gründe", "test")
    asked = desk.ledger.extensions.ask(Slot(WORKS, "population", "2024"), began.date(), "4711 Gründe", "test")
    desk.ledger.extensions.decide(asked.id, granted=False, who="test", answer="815 Gegengründe")
    for day in range(40):
        mailer.once(desk, letter, now=began + timedelta(days=day))
    everything = "\n".join(body(message) for message in box.messages)
    told = {kind for kind in WORDED if kind_words(kind).partition(" Stand:")[0] in everything}
    assert told >= WORDED - {"due_soon", "due_tomorrow", "extension_granted"}
    # what one side says, the other hears of, and nobody else
    heard = [m["To"] for m in box.messages for kind in ("ask", "contest") if kind_words(f"thread_{kind}") in body(m)]
    assert set(heard) == {"office@region.example"}
    for message in box.messages:
        text = f"{message['Subject']}\n{body(message)}"
        for hidden in (QUANTITY, "98765", FILE_NAME, "4711", "815", *(desk.ledger.delivery(i).sha256 for i in ids)):
            assert hidden not in text
        # what is left without links and the names of periods has no digit at all
        words = re.sub(r"https://\S+|\b20\d\d(-(0[1-9]|1[0-2]|Q[1-4]))?\b", "", text)
        assert not re.search(r"\d", words), words
        assert "https://portal.example.org/" in text


def test_late_duties_go_to_the_suppliers_people_then_to_the_deputy_then_to_the_coordinator(
    desk: Desk, server: tuple[Controller, Mailbox]
) -> None:
    controller, box = server
    controller.start()
    people, mails = People(desk.settings.ledger_url), Mails(desk.settings.ledger_url)
    by_name = {person.email: person for person in people.everybody()}
    mails.choose(by_name["clerk@works.example"].person_id, "at_once", by_name["lead@works.example"].person_id)
    due = desk.due_on(Slot(WORKS, "waste_balance", PERIOD))
    assert due is not None
    noon = datetime(due.year, due.month, due.day, 12, tzinfo=UTC)
    heard: dict[tuple[str, str], int] = {}
    for day in range(-9, 30):
        mailer.once(desk, letter, now=noon + timedelta(days=day))
        for message in box.messages:
            for text in body(message).split("\n\n"):
                if "/pflichten/" in text and f"waste_balance {PERIOD}" in text.replace("Abfallbilanz", "waste_balance"):
                    for kind in announcing.REMINDERS:
                        if kind_words(kind) in text:
                            heard.setdefault((kind, str(message["To"])), day)
        box.messages.clear()
    assert heard["due_soon", "clerk@works.example"] == -7
    assert heard["due_tomorrow", "clerk@works.example"] == -1
    assert heard["overdue", "clerk@works.example"] == heard["overdue", "lead@works.example"] == 1
    assert heard["overdue_deputy", "lead@works.example"] == 8
    assert ("overdue_deputy", "clerk@works.example") not in heard
    # coordinators have a digest in the morning
    assert heard["overdue_coordinator", "office@region.example"] == 16
    assert {who for kind, who in heard if kind == "overdue_coordinator"} == {"office@region.example"}
    people.close()
    mails.close()


def kind_words(kind: str) -> str:
    return texts.text(f"mail.{kind}", "de", state="")


def test_a_reminder_that_waits_is_forgotten_once_the_slot_was_delivered(
    desk: Desk, server: tuple[Controller, Mailbox]
) -> None:
    controller, box = server
    due = desk.due_on(Slot(WORKS, "waste_balance", PERIOD))
    assert due is not None
    late = datetime(due.year, due.month, due.day, 12, tzinfo=UTC) + timedelta(days=2)
    mailer.once(desk, letter, now=late)
    deliver(desk)
    controller.start()
    for minute in range(1, 200, 5):
        mailer.once(desk, letter, now=late + timedelta(minutes=minute))
    told = "\n".join(body(message) for message in box.messages if message["To"] == "clerk@works.example")
    assert f"Abfallbilanz {PERIOD}" not in "\n".join(part for part in told.split("\n\n") if "verstrichen" in part)


def test_a_digest_is_one_message_in_the_morning(desk: Desk, server: tuple[Controller, Mailbox]) -> None:
    controller, box = server
    controller.start()
    people, mails = People(desk.settings.ledger_url), Mails(desk.settings.ledger_url)
    [clerk] = [person for person in people.everybody() if person.email == "clerk@works.example"]
    mails.choose(clerk.person_id, "daily", None)
    began = datetime.now(UTC)
    deliver(desk)
    deliver(desk, good=False)
    mailer.once(desk, letter, now=began)
    assert not subjects(box, clerk.email) and subjects(box, "lead@works.example")
    mailer.once(desk, letter, now=began + timedelta(hours=25))
    [message] = [m for m in box.messages if m["To"] == clerk.email and "Frist" not in str(m["Subject"])][:1]
    assert message["Subject"] == "Verbund: Neues zu Ihren Pflichten"
    assert body(message).count("/lieferung/") == 4
    people.close()
    mails.close()


def test_an_address_the_server_refuses_is_given_up_shown_and_tried_again_when_asked(
    desk: Desk, server: tuple[Controller, Mailbox]
) -> None:
    controller, box = server
    controller.start()
    people, mails = People(desk.settings.ledger_url), Mails(desk.settings.ledger_url)
    people.accept(people.invite("gone@refused.example", "Gone", "clerk", WORKS, by="test"), "ein langer satz")
    # at ten, so that the digests of seven o'clock are not among what comes two hours later
    began = (datetime.now(UTC) + timedelta(days=1)).replace(hour=10)
    deliver(desk)
    sent = mailer.once(desk, letter, now=began)
    assert sent.given_up >= 2 and sent.put_off == 0 and sent.sent > 0
    stuck = mails.troubled()
    assert {mail.problem for mail in stuck} == {"550 no such mailbox"}
    before = len(box.messages)
    mailer.once(desk, letter, now=began + timedelta(hours=2))
    assert len(box.messages) == before, "what was given up is not tried by itself"
    assert mails.again(str(stuck[0].message_id), began + timedelta(hours=3))
    assert mailer.once(desk, letter, now=began + timedelta(hours=3)).given_up == 1
    people.close()
    mails.close()


def test_without_a_mail_server_messages_lie_in_a_folder_once_each(stage: Stage) -> None:
    stage.signed_in("clerk")
    mailer.once(stage.desk, letter)
    deliver(stage.desk)
    mailer.once(stage.desk, letter)
    mailer.once(stage.desk, letter)
    files = sorted(stage.desk.settings.paths.outbox.glob("*.eml"))
    parsed = [email.message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]
    assert Counter("angekommen" in str(m["Subject"]) for m in parsed)[True] == 1
    assert all(m["Auto-Submitted"] == "auto-generated" for m in parsed)


def test_the_coordinator_sees_what_is_stuck_and_sends_it_again(stage: Stage) -> None:
    mails = Mails(stage.desk.settings.ledger_url)
    stage.signed_in("clerk")
    coordinator = stage.signed_in("coordinator")
    assert "Keine Nachricht ist hängen geblieben" in coordinator.client.get("/nachrichten").text
    mailer.once(stage.desk, letter)
    source = io.BytesIO(written([{**ROW, "year": "2022"}]).encode())
    stage.desk.receive(source, WORKS, "waste_balance", "2022", file_name="a.csv", who="test")
    now = datetime.now(UTC)
    threads = Threads(stage.desk.settings.ledger_url)
    announcing.announce(stage.desk, stage.people, mails, threads, now)
    threads.close()
    [(message, _), *_] = mails.due(now)
    mails.give_up(message, now, "550 <script>")
    shown = coordinator.client.get("/nachrichten").text
    assert "550 &lt;script&gt;" in shown and "clerk@example.org" in shown
    answer = coordinator.client.post("/nachrichten", data={"form": coordinator.form, "message": message})
    assert answer.status_code == 303
    assert not mails.troubled()
    assert message in {due for due, _ in mails.due(datetime.now(UTC))}
    mails.close()


def test_everybody_chooses_when_to_hear_and_a_deputy_among_colleagues(stage: Stage) -> None:
    stage.signed_in("lead")
    clerk = stage.signed_in("clerk")
    ids = {person.email: person.person_id for person in stage.people.everybody()}
    stage.signed_in("foreign lead")
    shown = clerk.client.get("/einstellungen").text
    assert ids["lead@example.org"] in shown and "foreign" not in shown
    told = {"form": clerk.form, "pace": "daily", "deputy": ids["lead@example.org"], "language": "en"}
    assert "gespeichert" in clerk.client.post("/einstellungen", data=told).text
    mails = Mails(stage.desk.settings.ledger_url)
    chosen = mails.choices()[ids["clerk@example.org"]]
    assert (chosen.pace, chosen.deputy_id) == ("daily", ids["lead@example.org"])
    assert "In which language" in clerk.client.get("/einstellungen").text
    assert "Choose" in clerk.client.post("/einstellungen", data={**told, "language": "xx"}).text
    clerk.client.post("/einstellungen", data={**told, "language": "de"})
    mails.close()
    [stranger] = [p.person_id for p in stage.people.everybody() if p.email == "foreign.lead@example.org"]
    for wrong in ({"pace": "never"}, {"deputy": stranger}):
        assert clerk.client.post("/einstellungen", data={**told, **wrong}).status_code == 422


# --- the line to the server ---


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """Key and self-signed certificate of a mail server."""
    key, file = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    told = ["-keyout", str(key), "-out", str(file), "-days", "2", "-subj", f"/CN={host}"]
    subprocess.run([*command, *told, "-addext", f"subjectAltName=DNS:{host}"], check=True, capture_output=True)
    return key, file


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
@pytest.mark.parametrize(
    ("change", "problem"),
    [({}, None), ({"smtp_ca_file": None}, "certificate"), ({"smtp_password": "wrong"}, "535")],
    ids=["as agreed", "a certificate nobody knows", "a wrong password"],
)
def test_nothing_is_sent_to_a_server_that_is_not_trusted_or_lets_nobody_in(
    tmp_path: Path, port: int, change: dict[str, Any], problem: str | None
) -> None:
    key, file = certificate(tmp_path, "localhost")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file, key)

    def lets_in(server: SMTP, session: Any, envelope: Envelope, mechanism: str, told: LoginPassword) -> AuthResult:
        return AuthResult(success=(told.login, told.password) == (b"verbund", b"a secret"), handled=False)

    box = Mailbox()
    controller = Controller(
        box, hostname="localhost", port=port, tls_context=tls, require_starttls=True, authenticator=lets_in,
        auth_required=True,
    )  # fmt: skip
    controller.start()
    told = {
        "smtp_host": "localhost", "smtp_port": port, "smtp_ca_file": file, "smtp_user": "verbund",
        "smtp_password": "a secret", **change,
    }  # fmt: skip
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "verbund@localhost", "a@works.example", "Test"
    message.set_content("Test")
    try:
        with way_out(Settings(home=tmp_path / "home", **told)) as out:
            if problem is None:
                out.send(message)
            else:
                with pytest.raises(ServerAway, match=problem):
                    out.send(message)
    finally:
        controller.stop()
    assert len(box.messages) == (problem is None)


def test_a_password_is_never_sent_in_the_open(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="TLS only"):
        Settings(home=tmp_path, smtp_host="h", smtp_user="u", smtp_password="p", smtp_security="none")  # type: ignore[arg-type]
