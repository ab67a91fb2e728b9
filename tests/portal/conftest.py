"""A portal over a region pack of the tests, and somebody of every role who is signed in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from portal.app import make_app
from portal.services import Services
from portal.visit import COOKIE
from quality.desk import Desk
from storage.people import People, Role
from storage.settings import Settings
from tests.support.bench import PLAIN, THIRD, WORKS
from tests.support.profiles import settings_for

#: Everybody who may come: role and supplier.
CAST: dict[str, tuple[Role, str]] = {
    "clerk": ("clerk", WORKS), "lead": ("lead", WORKS), "foreign clerk": ("clerk", THIRD), "foreign lead": ("lead", THIRD),
    "coordinator": ("coordinator", ""), "engineer": ("engineer", ""), "observer": ("observer", ""),
}  # fmt: skip


@dataclass
class Somebody:
    """A browser, signed in or not."""

    client: TestClient
    form: str = ""

    def post(self, path: str, **data: str) -> Response:
        return self.client.post(path, data={"form": self.form, **data})


@dataclass
class Stage:
    """The portal and its people."""

    desk: Desk
    people: People
    client: TestClient

    @property
    def app(self) -> FastAPI:
        """What answers."""
        assert isinstance(self.client.app, FastAPI)
        return self.client.app

    @property
    def services(self) -> Services:
        """What it works with, to be put out of order."""
        services: Services = self.app.state.services
        return services

    def browser(self) -> TestClient:
        """A new one, with no cookies."""
        return TestClient(self.client.app, base_url="http://portal.test", follow_redirects=False)

    def signed_in(self, name: str) -> Somebody:
        """Somebody of the cast."""
        role, supplier = CAST[name]
        email = f"{name.replace(' ', '.')}@example.org"
        known = [person for person in self.people.everybody() if person.email == email]
        if known:
            person = known[0]
        else:
            token = self.people.invite(email, name, role, supplier, by="test")
            person = self.people.accept(token, "ein langer satz")
        cookie, session = self.people.begin(person)
        browser = self.browser()
        browser.cookies.set(COOKIE, cookie)
        return Somebody(browser, session.form)


@contextmanager
def stage_over(settings: Settings) -> Iterator[Stage]:
    """The portal over a home of its own."""
    desk = Desk(settings)
    with TestClient(make_app(settings)) as client:
        people = People(settings.ledger_url)
        yield Stage(desk, people, client)
        people.close()
    desk.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage_over(settings_for(tmp_path_factory.mktemp("portal"), PLAIN)) as made:
        yield made
