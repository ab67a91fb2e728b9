"""A real Keycloak, started by the command the operators' page names, and what an administrator does there."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from storage.settings import project_root
from tests.server.support.servers import free_port

START = project_root() / "infra" / "keycloak" / "start"


@dataclass
class Keycloak:
    """Its realm `verbund`, as an administrator sees it."""

    url: str
    client_secret: str
    _admin: httpx.Client = field(repr=False)
    _password: str = field(repr=False)

    @property
    def issuer(self) -> str:
        return f"{self.url}/realms/verbund"

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        told = {"client_id": "admin-cli", "grant_type": "password", "username": "admin", "password": self._password}
        token = self._admin.post("/realms/master/protocol/openid-connect/token", data=told).json()["access_token"]
        answer = self._admin.request(
            method, f"/admin/realms/verbund{path}", json=body, headers={"Authorization": f"Bearer {token}"}
        )
        answer.raise_for_status()
        return answer

    def add_user(self, email: str, password: str, *, verified: bool = True) -> str:
        """A user with a password that stays. Returns the user's id."""
        made = self.ask(
            "POST",
            "/users",
            {
                "username": email, "email": email, "emailVerified": verified, "enabled": True, "firstName": "Kim",
                "lastName": "Muster", "credentials": [{"type": "password", "value": password, "temporary": False}],
            },
        )  # fmt: skip
        return made.headers["location"].rpartition("/")[2]

    def group(self, path: str) -> str:
        """A group, made where it is not there. Returns its id."""
        above, _, name = path.rpartition("/")
        if above.strip("/"):
            try:
                return str(self.ask("GET", f"/group-by-path{path}").json()["id"])
            except httpx.HTTPStatusError:
                self.ask("POST", f"/groups/{self.group(above)}/children", {"name": name})
        return str(self.ask("GET", f"/group-by-path{path}").json()["id"])

    def join(self, user: str, path: str) -> None:
        self.ask("PUT", f"/users/{user}/groups/{self.group(path)}")

    def leave(self, user: str, path: str) -> None:
        self.ask("DELETE", f"/users/{user}/groups/{self.group(path)}")

    def end_sessions(self, user: str) -> None:
        self.ask("POST", f"/users/{user}/logout")


@contextmanager
def keycloak(folder: Path, portal_url: str) -> Iterator[Keycloak]:
    """Start it and wait until it answers."""
    port, password, secret = free_port(), secrets.token_hex(16), secrets.token_hex(16)
    environment = {
        **os.environ, "KEYCLOAK_FOLDER": str(folder / "keycloak"), "KEYCLOAK_PORT": str(port), "VERBUND_PORTAL_URL": portal_url,
        "VERBUND_OIDC_CLIENT_SECRET": secret, "KC_BOOTSTRAP_ADMIN_PASSWORD": password,
        # small, and quick to start
        "JAVA_OPTS_APPEND": "-Xmx512m -XX:TieredStopAtLevel=1",
    }  # fmt: skip
    told = folder / "keycloak.log"
    with told.open("wb") as log:
        running = subprocess.Popen([START], env=environment, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=60) as admin:
            until = time.monotonic() + 240
            while True:
                try:
                    if admin.get("/realms/verbund/.well-known/openid-configuration").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                assert running.poll() is None and time.monotonic() < until, told.read_text()[-4000:]
                time.sleep(0.5)
            yield Keycloak(url, secret, admin, password)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
