"""The portal as `verbund up` starts it, with a region that has delivered, and Debian's Chromium in front of it."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, sync_playwright
from pydantic import SecretStr
from starlette.responses import JSONResponse

from portal import texts
from portal.app import make_app
from portal.visit import COOKIE
from quality import foundation, judging
from quality import release as releasing
from quality.desk import Desk
from quality.onboarding import TEMPLATE, newcomer, propose
from quality.supply import publish_supply
from storage import clock
from storage.ledger.states import WAITING
from storage.paths import Slot
from storage.people import People, Person, Role
from storage.proposals import Proposals
from storage.settings import Settings, project_root
from storage.threads import Speaker, Threads, Topic
from verbund.demo import DemoDelivery, demo_deliveries
from verbund.processes import processes

#: What the demo sends that the pages have something to show of; the tests hand in the rest themselves.
SEEDED = ("waste_balance", "population", "municipality_register")
ASKED = Slot("wuppertal-abfall", "green_waste_intake", "2025-06")
LATE = Slot("remscheid-betriebe", "waste_balance", "2025")
PASSWORD = "ein langer satz"
PICTURES = project_root() / "docs" / "pictures"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", action="store_true", help="write the pictures of docs/pictures anew")
    parser.addoption("--stage", type=Path, help="a folder that keeps the region as it begins, for the next run")


def t(key: str, **facts: object) -> str:
    """What a page says, in German."""
    return texts.text(key, "de", **facts)


@dataclass
class Stage:
    """An installation with a portal and a judge that run, and its address."""

    settings: Settings
    address: str
    people: People

    def invitation(self, name: str, role: Role, supplier: str = "") -> str:
        """The path of a link that lets somebody in."""
        token = self.people.invite(f"{name}@example.org", name.replace(".", " ").title(), role, supplier, by="test")
        return f"/einladung/{token}"

    def accepted(self, name: str, role: Role, supplier: str = "") -> Person:
        """Somebody who has followed such a link."""
        return self.people.accept(self.invitation(name, role, supplier).removeprefix("/einladung/"), PASSWORD)

    def cookie(self, role: Role, supplier: str = "") -> dict[str, Any]:
        """A session of somebody with this role, as a browser keeps it."""
        name = "-".join(part for part in ("some", role, supplier) if part)
        known = [person for person in self.people.everybody() if person.email == f"{name}@example.org"]
        person = known[0] if known else self.accepted(name, role, supplier)
        return {"name": COOKIE, "value": self.people.begin(person)[0], "url": self.address}


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stage]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept: Path | None = request.config.getoption("--stage")
    home = (kept or tmp_path_factory.mktemp("stage")) / "home"
    seeded = kept is not None and (kept / "seeded").is_dir()
    if kept and seeded:
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(kept / "seeded", home)
    settings = Settings(home=home, region="bergisch", portal_port=port)
    with started(settings):
        if not seeded:
            seed(settings)
            if kept:
                shutil.copytree(home, kept / "seeded")
        people = People(settings.ledger_url)
        yield Stage(settings, f"http://127.0.0.1:{port}", people)
        people.close()


@contextlib.contextmanager
def started(settings: Settings) -> Iterator[None]:
    """Of what `verbund up` starts, the two that a page needs, until the end of the block."""
    logs = settings.paths.create().logs
    logs.mkdir(parents=True, exist_ok=True)
    wanted = [p for p in processes(settings, host="", port=0, code_port=0, judges=1) if p.name in ("judge-0", "portal")]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for process in wanted:
            with (logs / f"{process.name}.log").open("wb") as log:
                environment = {**os.environ, **process.environment}
                running.append(subprocess.Popen(process.command, env=environment, stdout=log, stderr=log))
        page = f"http://{settings.portal_host}:{settings.portal_port}/anmelden"
        until(lambda: answers(page), f"the portal does not answer, see {logs}/portal.log", running)
        yield
        ended = [process.args for process in running if process.poll() is not None]
        assert not ended, f"ended by themselves: {ended}, see {logs}"
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(30)


@pytest.fixture(scope="session")
def address_with_provider(stage: Stage) -> Iterator[str]:
    """A portal of the same installation whose people a provider of identities knows; that one tells where to sign out, no more."""
    with serving(_tells_where_to_sign_out) as issuer:
        told = {"oidc_issuer": issuer, "oidc_client_secret": SecretStr("a secret of this test")}
        settings = Settings(home=stage.settings.home, region=stage.settings.region, **told)
        with serving(make_app(settings)) as address:
            yield address


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address of an application that answers until the end of the block, beside the tests."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive(), "it does not begin to answer")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


async def _tells_where_to_sign_out(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await JSONResponse({"end_session_endpoint": "https://identities.example.org/out"})(scope, receive, send)


def seed(settings: Settings) -> None:
    """Let part of the demo be sent and judged, build and release."""
    desk = Desk(settings)
    for item in demo_deliveries():
        if item.dataset in SEEDED or Slot(item.supplier, item.dataset, item.period) == ASKED:
            with clock.telling(item.received_at):
                send(desk, item)
    judged(desk)
    threads = Threads(settings.ledger_url)
    about = Topic(ASKED.supplier, f"{ASKED}--01", "values.unknown_code")
    threads.open(about, "contest", Speaker("test", "Rita Leitung", "supplier"), "Das Wort ist neu vereinbart.")
    threads.close()
    told = {"supplier": "forst-remscheid", "name": "Stadtforst Remscheid (Rolle)", "role": "municipal forestry"}
    owed = {"dataset": "waste_balance", "dialect": TEMPLATE, "valid_from": "2026-01-01"}
    proposals = Proposals(settings.ledger_url)
    propose(desk, proposals, newcomer(desk.pack, told, ["05120000"], [owed]), who="test", author="Kai Koordination")
    proposals.close()
    desk.ledger.extensions.ask(LATE, date(2030, 1, 31), "Die Waage wird erst geeicht.", "test")
    publish_supply(desk)
    foundation.build(settings)
    releasing.release(settings, note="Stand der Prüfung, erfundene Zahlen")
    desk.close()


def judged(desk: Desk) -> None:
    """Wait until the judge has nothing left to do."""
    judging.ring(desk.settings)
    until(lambda: not any(view.state in WAITING for view in desk.ledger.deliveries()), "deliveries are not judged")


def send(desk: Desk, item: DemoDelivery) -> None:
    told = (item.supplier, item.dataset, item.period)
    if item.kind == "withdraw":
        judged(desk)
        newest = desk.ledger.deliveries(*told)[-1].delivery_id
        desk.withdraw(newest, who=item.supplier, why=item.story["de"])
    elif item.kind == "nothing_to_report":
        desk.declare_nothing(*told, who=item.supplier, reason=item.story["de"])
    else:
        assert item.content is not None
        desk.receive(
            io.BytesIO(item.content), *told, file_name=item.file_name, who=item.supplier, synthetic=item.synthetic
        )


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def until(
    done: Callable[[], bool], otherwise: str, running: Sequence[subprocess.Popen[bytes]] = (), seconds: float = 240
) -> None:
    """Wait for something; none of the running processes may end meanwhile."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end or any(process.poll() is not None for process in running):
            pytest.fail(otherwise)
        time.sleep(0.2)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "Chromium is not installed; .ci/test-browser installs it"
    # its sandbox does not work for root
    apart = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=apart)
        yield browser
        browser.close()


@dataclass
class Somebody:
    """A person at a browser of their own; what the browser complains about is kept."""

    page: Page
    address: str
    pictures: bool
    complaints: list[str] = field(default_factory=list)

    def hear(self, said: ConsoleMessage) -> None:
        # that a form with a mistake is answered by 422 is meant; a style that is not there is not
        where = said.location.get("url", "")
        refused = said.text.startswith("Failed to load resource") and "/static/" not in where
        # whoever takes a picture writes a style into the page
        pictured = self.pictures and "inline style" in said.text
        if said.type == "error" and not refused and not pictured:
            self.complaints.append(f"{where}: {said.text}")

    def open(self, path: str) -> None:
        self.page.goto(self.address + path)

    def accept(self, invitation: str, password: str = PASSWORD) -> None:
        """Follow an invitation and choose a password."""
        self.open(invitation)
        self.page.get_by_label(t("person.password"), exact=True).fill(password)
        self.page.get_by_label(t("person.password_again")).fill(password)
        self.press(t("invited.do"))

    def hand_in(self, file: Path, *, dataset: str = "", period: str = "") -> None:
        """From whatever page there is: the menu, the form, the file."""
        self.page.get_by_role("banner").get_by_role("link", name=t("hand_in.title")).click()
        self.page.get_by_label(t("hand_in.file"), exact=True).set_input_files(file)
        if dataset:
            self.page.get_by_label(t("duties.what")).select_option(dataset)
        if period:
            self.page.get_by_label(t("duties.period")).fill(period)
        self.press(t("hand_in.do"))

    def press(self, button: str) -> None:
        self.page.get_by_role("main").get_by_role("button", name=button).click()

    def verdict(self) -> str:
        """Wait until the page shows it by itself; gives the first sentence."""
        page = self.page
        page.get_by_role("heading", name=t("verdict.rows"), exact=True).wait_for()
        return page.locator("#verdict .kern-alert").first.inner_text()

    def download(self, link: str, into: Path) -> Path:
        """A file of the page, as it lands on disk."""
        with self.page.expect_download() as begun:
            self.page.get_by_role("link", name=link).click()
        path = into / begun.value.suggested_filename
        begun.value.save_as(path)
        return path

    def picture(self, name: str, at: Locator | None = None) -> None:
        """A picture for the handbook, where pictures are asked for: from the top of the page, or from a place on it."""
        if self.pictures:
            PICTURES.mkdir(exist_ok=True)
            where = at.bounding_box() if at else None
            self.page.evaluate("top => window.scrollTo(0, top)", where["y"] - 20 if where else 0)
            self.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")


@pytest.fixture
def somebody(chromium: Browser, stage: Stage, request: pytest.FixtureRequest) -> Iterator[Callable[..., Somebody]]:
    """Makes browsers with no cookies; at the end of a test none may have complained of a page."""
    opened: list[tuple[BrowserContext, Somebody]] = []

    def made(**more: Any) -> Somebody:
        told: dict[str, Any] = {"locale": "de-DE", "viewport": {"width": 1000, "height": 900}, **more}
        context = chromium.new_context(**told)
        context.set_default_timeout(60_000)
        person = Somebody(context.new_page(), stage.address, bool(request.config.getoption("--screenshots")))
        # a page that breaks its own policy, or a script that fails, says so on the console
        person.page.on("console", person.hear)
        person.page.on("pageerror", lambda error: person.complaints.append(str(error)))
        opened.append((context, person))
        return person

    yield made
    complaints = [complaint for _, person in opened for complaint in person.complaints]
    for context, _ in opened:
        context.close()
    assert not complaints


@pytest.fixture(scope="session")
def sent() -> Callable[[str], bytes]:
    """A file of the demo by its name."""
    files = {item.file_name: item.content for item in demo_deliveries()}

    def found(name: str) -> bytes:
        content = files[name]
        assert content is not None
        return content

    return found


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bytes], Path]:
    """Writes a file as a clerk has it on disk."""

    def written(name: str, content: bytes) -> Path:
        path = tmp_path_factory.mktemp("clerk") / name
        path.write_bytes(content)
        return path

    return written
