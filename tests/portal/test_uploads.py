"""Large files part by part: what breaks off goes on, nobody reaches another's, and the portal's memory stays small."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from portal.uploads import OPEN_UPLOADS
from portal.visit import COOKIE
from quality.desk import Desk
from quality.judging import work_queue
from storage.people import People
from tests.portal.conftest import Somebody, Stage
from tests.support.bench import GOOD, PLAIN, WORKS, written
from tests.support.portals import portal_process, resident
from tests.support.profiles import settings_for

PERIOD, ROW = GOOD["waste_balance"]
BYTES = "application/offset+octet-stream"
GIB = 1 << 30


def begin(somebody: Somebody, length: int) -> str:
    answer = somebody.client.post("/hochladen", headers={"X-Form": somebody.form, "Upload-Length": str(length)})
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"])


def send(somebody: Somebody, path: str, offset: int, content: bytes, **headers: str) -> httpx.Response:
    told = {"X-Form": somebody.form, "Upload-Offset": str(offset), "Content-Type": BYTES, **headers}
    return somebody.client.patch(path, content=content, headers=told)


def offset_of(somebody: Somebody, path: str) -> int:
    answer = somebody.client.head(path, headers={"X-Form": somebody.form})
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


def hand_in(somebody: Somebody, path: str, name: str = "b.csv", **told: str) -> httpx.Response:
    data = {"form": somebody.form, "upload": path.rpartition("/")[2], "upload_name": name, **told}
    return somebody.client.post(f"/abgeben/{WORKS}", data=data)


def test_a_file_sent_in_parts_is_handed_in_as_if_it_came_at_once(stage: Stage) -> None:
    clerk, content = stage.signed_in("clerk"), written([ROW]).encode()
    path = begin(clerk, len(content))
    for start in range(0, len(content), 20):
        answer = send(clerk, path, start, content[start : start + 20])
        assert answer.status_code == 204
    assert offset_of(clerk, path) == len(content)
    page = hand_in(clerk, path, dataset="waste_balance", period=PERIOD).headers["location"]
    work_queue(stage.desk)
    document = stage.desk.receipt(page.rpartition("/")[2])
    assert document["state"] == "accepted"
    assert document["sha256"] == hashlib.sha256(content).hexdigest()
    # it is in the vault now, and nowhere else
    assert clerk.client.head(path, headers={"X-Form": clerk.form}).status_code == 404


def test_bytes_that_do_not_go_on_where_ours_end_are_refused(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    path = begin(clerk, 10)
    assert send(clerk, path, 0, b"12345").status_code == 204
    assert send(clerk, path, 0, b"12345").status_code == 409
    assert send(clerk, path, 6, b"7").status_code == 409
    # more than was announced
    assert send(clerk, path, 5, b"6789012").status_code == 409
    assert offset_of(clerk, path) == 5
    assert send(clerk, path, 5, b"67890", **{"Content-Type": "text/csv"}).status_code == 415
    # handed in before it is whole
    assert hand_in(clerk, path, dataset="waste_balance", period=PERIOD).status_code == 422
    assert clerk.client.delete(path, headers={"X-Form": clerk.form}).status_code == 204
    assert send(clerk, path, 5, b"67890").status_code == 404


def test_nobody_reaches_an_upload_of_another_person(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    path = begin(clerk, 5)
    send(clerk, path, 0, b"12345")
    for name in ("lead", "foreign clerk"):
        other = stage.signed_in(name)
        assert other.client.head(path, headers={"X-Form": other.form}).status_code == 404
        assert send(other, path, 5, b"").status_code == 404
        assert other.client.delete(path, headers={"X-Form": other.form}).status_code == 404
    lead = stage.signed_in("lead")
    assert hand_in(lead, path, dataset="waste_balance", period=PERIOD).status_code == 422
    for forged in ("..", "%2e%2e", "..%2f..%2fledger.sqlite", "x" * 32 + "-5"):
        assert send(clerk, f"/hochladen/{forged}", 0, b"x").status_code in (404, 405)
    clerk.client.delete(path, headers={"X-Form": clerk.form})


def test_a_page_of_another_site_begins_nothing(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    for headers in ({}, {"X-Form": "wrong"}, {"X-Form": clerk.form, "Origin": "http://evil.example"}):
        answer = clerk.client.post("/hochladen", headers={"Upload-Length": "5", **headers})
        assert answer.status_code == 403


def test_who_begins_without_end_is_stopped(stage: Stage) -> None:
    lead = stage.signed_in("lead")
    headers = {"X-Form": lead.form, "Upload-Length": "5"}
    begun = [begin(lead, 5) for _ in range(OPEN_UPLOADS)]
    assert lead.client.post("/hochladen", headers=headers).status_code == 429
    too_long = str(stage.desk.settings.max_file_bytes + 1)
    assert lead.client.post("/hochladen", headers={**headers, "Upload-Length": too_long}).status_code == 413
    # what is a day old makes room
    folder = next(stage.desk.settings.paths.work.glob(f"uploads/*/{begun[0].rpartition('/')[2]}"))
    os.utime(folder, (time.time() - 90_000, time.time() - 90_000))
    begun[0] = begin(lead, 5)
    for path in begun:
        lead.client.delete(path, headers={"X-Form": lead.form})


def test_a_gibibyte_broken_at_half_by_a_killed_portal_goes_on_and_costs_no_memory(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, PLAIN)
    Desk(settings).close()
    people = People(settings.ledger_url)
    person = people.accept(people.invite("a@example.org", "A", "clerk", WORKS, by="test"), "ein langer satz")
    cookie, session = people.begin(person)
    people.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # no two parts are the same, and none needs a generator's time
    block = os.urandom(1 << 20)
    digest = hashlib.sha256()

    def parts(start: int, stop: int, broken_at: int | None = None) -> Iterator[bytes]:
        for at in range(start, stop, len(block)):
            if broken_at is not None and at >= broken_at:
                raise ConnectionError("the cable was pulled")
            yield at.to_bytes(8) + block[8:]

    for part in parts(0, GIB):
        digest.update(part)
    browser = httpx.Client(base_url=f"http://127.0.0.1:{port}", cookies={COOKIE: cookie}, timeout=120)
    form = {"X-Form": session.form}
    with portal_process(settings, port):
        path = browser.post("/hochladen", headers={**form, "Upload-Length": str(GIB)}).headers["location"]
        told = {**form, "Upload-Offset": "0", "Content-Type": BYTES, "Content-Length": str(GIB)}
        with pytest.raises(ConnectionError):
            browser.patch(path, content=parts(0, GIB, broken_at=GIB // 2), headers=told)
    with portal_process(settings, port) as pid:
        offset = int(browser.head(path, headers=form).headers["upload-offset"])
        # all that left us, but what lay in buffers of the network
        assert GIB // 2 - (32 << 20) < offset <= GIB // 2
        before, most = resident(pid), 0
        block_start = offset - offset % len(block)
        rest = parts(block_start, GIB)
        first = next(rest)[offset - block_start :]

        def watched() -> Iterator[bytes]:
            nonlocal most
            yield first
            for part in rest:
                most = max(most, resident(pid))
                yield part

        told = {**form, "Upload-Offset": str(offset), "Content-Type": BYTES, "Content-Length": str(GIB - offset)}
        answer = browser.patch(path, content=watched(), headers=told)
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(GIB))
        sent = {
            "form": session.form, "upload": path.rpartition("/")[2], "upload_name": "big.csv", "dataset": "waste_balance",
            "period": PERIOD,
        }  # fmt: skip
        page = browser.post(f"/abgeben/{WORKS}", data=sent)
        assert page.status_code == 303, page.text
        most = max(most, resident(pid))
        assert most - before < 64 << 20
        desk = Desk(settings)
        work_queue(desk)
        desk.close()
        receipt = browser.get(f"{page.headers['location']}/quittung.json").json()
        assert receipt["sha256"] == digest.hexdigest()
