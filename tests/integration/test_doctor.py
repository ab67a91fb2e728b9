"""The doctor asks those who stand outside as the platform would: the mail server and the provider of identities."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from quality.doctor import Diagnosis, examine
from storage.settings import Settings
from tests.server.support.servers import free_port
from tests.support.bench import PLAIN
from tests.support.profiles import settings_for


def answer(settings: Settings, what: str) -> Diagnosis:
    """The doctor's answer to one question; all others must be well."""
    answers = {one.what: one for one in examine(settings)}
    assert all(one.well for one in answers.values() if one.what != what), answers
    return answers[what]


@contextmanager
def provider(**told: Any) -> Iterator[str]:
    """An address at which something says of itself what is told; `issuer` may contain it as `{address}`."""

    class Says(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/realm/.well-known/openid-configuration"
            said = {key: str(value).format(address=address) for key, value in told.items()}
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_: Any) -> None:
            """Nothing: what was asked is no news."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Says)
    address = f"http://127.0.0.1:{server.server_port}/realm"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_installation_that_names_nobody_outside_is_sound(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, PLAIN)
    assert str(settings.paths.outbox) in answer(settings, "mails can leave").found
    assert answer(settings, "people can sign in").well


def test_a_mail_server_is_asked_and_gets_no_mail(tmp_path: Path) -> None:
    port = free_port()
    settings = settings_for(tmp_path, PLAIN, smtp_host="127.0.0.1", smtp_port=port, smtp_security="none")
    away = answer(settings, "mails can leave")
    assert not away.well and "VERBUND_SMTP" in away.remedy
    taken: list[Any] = []

    class Box:
        async def handle_DATA(self, *told: Any) -> str:
            taken.append(told)
            return "250 taken"

    controller = Controller(Box(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        there = answer(settings, "mails can leave")
    finally:
        controller.stop()
    assert there.well and str(port) in there.found and not taken


@pytest.mark.parametrize(("says", "well"), [("{address}", True), ("https://somebody.example", False)])
def test_a_provider_must_be_the_one_it_is_taken_for(tmp_path: Path, says: str, well: bool) -> None:
    with provider(issuer=says) as address:
        settings = settings_for(tmp_path, PLAIN, oidc_issuer=address, oidc_client_secret="only for this test")
        assert answer(settings, "people can sign in").well is well


def test_a_provider_that_does_not_answer_is_told(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}/realm"
    settings = settings_for(tmp_path, PLAIN, oidc_issuer=address, oidc_client_secret="only for this test")
    away = answer(settings, "people can sign in")
    assert not away.well and "VERBUND_OIDC_ISSUER" in away.remedy
