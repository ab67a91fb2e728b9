"""Sign-in through a real Keycloak in the server profile: groups give the roles, at the next sign-in others do."""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from portal.app import make_app
from portal.visit import COOKIE
from storage.people import People
from tests.server.support.identities import Keycloak, keycloak
from tests.server.support.installation import Installation
from tests.support.bench import THIRD, WORKS

PORTAL = "http://portal.test"
PASSWORD = secrets.token_hex(12)


def _browser() -> httpx.Client:
    """To browsers this machine itself is as safe as TLS, so cookies that are for TLS alone go there too."""

    def keep(_: httpx.Response) -> None:
        for cookie in made.cookies.jar:
            cookie.secure = False

    made = httpx.Client(timeout=60, event_hooks={"response": [keep]})
    return made


@dataclass
class Visitor:
    """A browser that keeps cookies of the portal and of Keycloak apart."""

    portal: TestClient
    there: httpx.Client = field(default_factory=_browser)

    def sign_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        """From the portal's page to Keycloak's, its form, and back. Returns the portal's answer, or Keycloak's refusal."""
        page = self.there.get(self.asked())
        if page.status_code == 200:
            [action] = re.findall(r'<form[^>]*id="kc-form-login"[^>]*action="([^"]+)"', page.text)
            page = self.there.post(html.unescape(action), data={"username": email, "password": password})
        return self.back(page.headers["location"]) if page.status_code == 302 else page

    def asked(self) -> str:
        """Where the portal sends whoever wants to sign in."""
        answer = self.portal.get("/anmelden/extern")
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])

    def back(self, location: str) -> httpx.Response:
        assert location.startswith(f"{PORTAL}/anmelden/zurueck?")
        return self.portal.get(location)


@dataclass
class Region:
    """An installation of the server profile whose portal trusts a Keycloak."""

    identities: Keycloak
    people: People
    app: object

    def visitor(self) -> Visitor:
        return Visitor(TestClient(self.app, base_url=PORTAL, follow_redirects=False))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def region(installed: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Region]:
    with keycloak(tmp_path_factory.mktemp("identities"), PORTAL) as identities:
        told = {
            "oidc_issuer": identities.issuer,
            "oidc_client_secret": SecretStr(identities.client_secret),
            "portal_url": PORTAL,
        }
        settings = installed.settings().model_copy(update=told)
        app = make_app(settings)
        with TestClient(app):
            people = People(settings.ledger_url)
            yield Region(identities, people, app)
            people.close()


def test_groups_give_the_roles_and_change_them_at_the_next_sign_in(region: Region) -> None:
    email = "kim@example.org"
    user = region.identities.add_user(email, PASSWORD)
    region.identities.join(user, f"/verbund/clerk/{WORKS}")
    visitor = region.visitor()
    assert "/anmelden/extern" in visitor.portal.get("/anmelden").text
    came = visitor.sign_in(email)
    assert (came.status_code, came.headers["location"]) == (303, "/")
    assert visitor.portal.get("/").headers["location"] == f"/pflichten/{WORKS}"
    assert visitor.portal.get(f"/pflichten/{WORKS}").status_code == 200
    assert visitor.portal.get(f"/pflichten/{THIRD}").status_code == 404
    assert visitor.portal.get("/region").status_code == 404
    # promoted to the coordination, and gone from the supplier
    region.identities.leave(user, f"/verbund/clerk/{WORKS}")
    region.identities.join(user, "/verbund/coordinator")
    again = region.visitor()
    again.sign_in(email)
    assert again.portal.get("/region").status_code == 200
    assert again.portal.get(f"/abgeben/{WORKS}").status_code == 404
    # so it is for the session that went on elsewhere
    assert visitor.portal.get(f"/abgeben/{WORKS}").status_code == 404
    told = [act for act in region.people.acts() if act["act"] == "session.begin"]
    assert told[0]["facts"] == {"by": region.identities.issuer, "roles": ["coordinator"]}


def test_who_has_no_group_comes_in_and_may_nothing(region: Region) -> None:
    user = region.identities.add_user("nobody@example.org", PASSWORD)
    # groups of others, of no supplier, of no role
    for group in ("/verbund/lead/no-such-supplier", "/other/coordinator", "/verbund/lead"):
        if group.startswith("/other"):
            region.identities.ask("POST", "/groups", {"name": "other"})
        region.identities.join(user, group)
    visitor = region.visitor()
    assert visitor.sign_in("nobody@example.org").status_code == 303
    assert visitor.portal.get("/").status_code == 200
    for path in ("/region", f"/pflichten/{WORKS}", "/menschen"):
        assert visitor.portal.get(path).status_code == 404


def test_an_address_nobody_verified_opens_nothing(region: Region) -> None:
    user = region.identities.add_user("claims@example.org", PASSWORD, verified=False)
    region.identities.join(user, "/verbund/coordinator")
    visitor = region.visitor()
    answer = visitor.sign_in("claims@example.org")
    assert answer.status_code == 403 and COOKIE not in answer.cookies


def test_whom_the_region_let_in_no_more_stays_out(region: Region) -> None:
    user = region.identities.add_user("left@example.org", PASSWORD)
    region.identities.join(user, "/verbund/engineer")
    assert region.visitor().sign_in("left@example.org").status_code == 303
    assert region.people.disable("left@example.org")
    assert region.visitor().sign_in("left@example.org").status_code == 403


def test_an_answer_that_was_not_asked_for_or_was_used_signs_nobody_in(region: Region) -> None:
    region.identities.add_user("often@example.org", PASSWORD)
    visitor, other = region.visitor(), region.visitor()
    page = visitor.there.get(visitor.asked())
    [action] = re.findall(r'<form[^>]*id="kc-form-login"[^>]*action="([^"]+)"', page.text)
    told = {"username": "often@example.org", "password": PASSWORD}
    location = visitor.there.post(html.unescape(action), data=told).headers["location"]
    # a link with somebody else's answer, sent to a victim
    assert other.portal.get(location).status_code == 403
    forged = location.replace(parse_qs(urlsplit(location).query)["state"][0], "forged")
    assert visitor.portal.get(forged).status_code == 403
    assert visitor.portal.get(location).status_code == 303
    assert visitor.portal.get(location).status_code == 403
    assert visitor.portal.get("/anmelden/zurueck?error=access_denied").status_code == 403


def test_there_is_no_second_way_in(region: Region) -> None:
    visitor = region.visitor()
    assert visitor.portal.post("/anmelden", data={"email": "a@example.org", "password": "x"}).status_code == 404
    token = region.people.invite("a@example.org", "A", "coordinator", by="test")
    assert visitor.portal.get(f"/einladung/{token}").status_code == 404
    wrong = region.visitor().sign_in("kim@example.org", "wrong password")
    assert wrong.status_code == 200 and "kc-form-login" in wrong.text


def test_signing_out_says_that_the_provider_still_knows_one(region: Region) -> None:
    region.identities.add_user("out@example.org", PASSWORD)
    visitor = region.visitor()
    cookie = visitor.sign_in("out@example.org").cookies[COOKIE]
    session = region.people.session(cookie)
    assert session
    assert visitor.portal.post("/abmelden", data={"form": session.form}).headers["location"] == "/abgemeldet"
    page = visitor.portal.get("/abgemeldet").text
    assert f"{region.identities.issuer}/protocol/openid-connect/logout" in page
    assert visitor.portal.get("/").headers["location"] == "/anmelden"
