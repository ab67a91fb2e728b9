"""The interface for programs: handing in, checking first, what became of it, and what happens to calls that try something."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import Response
from sqlalchemy.exc import OperationalError

from portal.api import routes
from portal.api.door import API_DOORS, BASE
from portal.rights import OF_PROGRAMS
from quality import checking, judging
from quality.judging import work_queue
from storage.objects.base import StoreDown
from storage.tokens import Tokens
from tests.portal.conftest import Stage
from tests.support.bench import GOOD, THIRD, WORKS, written

PERIOD, ROW = GOOD["waste_balance"]
DELIVERIES, CHECKS = (f"{BASE}/suppliers/{WORKS}/{what}" for what in ("deliveries", "checks"))


class Program:
    """A program that shows its token."""

    def __init__(self, stage: Stage, supplier: str = WORKS) -> None:
        tokens = Tokens(stage.desk.settings.ledger_url)
        token, self.known = tokens.make(supplier, "Rechner", OF_PROGRAMS, 1, by="test")
        tokens.close()
        self.stage, self.headers = stage, {"authorization": f"Bearer {token}"}

    def get(self, path: str, **params: Any) -> Response:
        return self.stage.browser().get(path, headers=self.headers, params=params)

    def send(
        self, content: Any, path: str = DELIVERIES, headers: dict[str, str] | None = None, **params: str
    ) -> Response:
        told = {"file_name": "a.csv", "dataset": "waste_balance", **params}
        return self.stage.browser().post(path, content=content, headers=self.headers | (headers or {}), params=told)


@pytest.fixture(scope="module")
def program(stage: Stage) -> Program:
    return Program(stage)


def balance(year: str, **change: str) -> bytes:
    return written([{**ROW, "year": year, **change}]).encode()


def is_problem(answer: Response, code: int, kind: str) -> bool:
    told = answer.json()
    said = (answer.status_code, told["type"], told["status"]) == (code, f"urn:verbund:problem:{kind}", code)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return said and bool(told["title"] and told["detail"])


def test_a_program_hands_in_asks_and_reads_the_receipt(stage: Stage, program: Program) -> None:
    content = balance("2024", waste_code="999999") + balance("2024").partition(b"\n")[2]
    taken = program.send(content, period="2024", sha256=hashlib.sha256(content).hexdigest())
    assert taken.status_code == 202, taken.text
    assert taken.json()["waiting"] is True and taken.json()["sha256"] == hashlib.sha256(content).hexdigest()
    at = taken.headers["location"]
    assert program.get(at).json()["state"] == "received"
    work_queue(stage.desk)
    told = program.get(at).json()
    assert told["state"] == "partly_accepted" and told["waiting"] is False
    [finding] = [finding for finding in told["findings"] if finding["rule"] == "values.unknown_code"]
    assert finding["message"]["de"] and finding["remedy"]["en"] and finding["examples"][0]["value"] == "999999"
    for ending, path in told["receipt"].items():
        assert path == f"{at}/receipt.{ending}" and program.get(path).status_code == 200
    assert json.loads(program.get(told["receipt"]["json"]).content)["state"] == "partly_accepted"
    assert str(stage.desk.settings.home) not in json.dumps(told)
    assert told["delivery"] in {one["delivery"] for one in program.get(DELIVERIES, dataset="waste_balance").json()}
    assert ("delivery.hand_in", program.known.who) in {(act["act"], act["who"]) for act in stage.people.acts()}


def test_what_is_owed_is_listed_with_its_state(program: Program) -> None:
    owed = program.get(f"{BASE}/suppliers/{WORKS}/duties").json()
    assert {"dataset", "title", "period", "due_on", "is_extended", "state", "newest"} == set(owed[0])
    assert owed == sorted(owed, key=lambda duty: duty["due_on"])


def test_the_same_bytes_again_are_a_duplicate(stage: Stage, program: Program) -> None:
    first = program.send(balance("2015"), period="2015").json()
    again = program.send(balance("2015"), period="2015").json()
    assert (again["state"], again["duplicate_of"]) == ("duplicate", first["delivery"])


def test_what_is_no_text_in_a_name_breaks_no_answer(stage: Stage, program: Program) -> None:
    content = io.BytesIO(balance("2014"))
    taken = stage.desk.receive(content, WORKS, "waste_balance", "2014", file_name="m\udce4rz.csv", who="test")
    assert program.get(f"{BASE}/deliveries/{taken.delivery_id}").json()["file_name"] == "m\ufffdrz.csv"
    assert program.get(DELIVERIES).status_code == 200


def test_a_list_has_the_newest_first_and_no_more_than_was_asked_for(program: Program) -> None:
    every = program.get(DELIVERIES).json()
    assert len(every) > 1
    assert program.get(DELIVERIES, limit=1).json() == every[:1]
    assert [one["received_at"] for one in every] == sorted((one["received_at"] for one in every), reverse=True)
    assert is_problem(program.get(DELIVERIES, limit=0), 422, "not_understood")


# --- what a call lies about ---


@pytest.mark.parametrize(
    "kind",
    ["text/html", "application/json", "image/png", "application/x-www-form-urlencoded", "x", "text/csv; charset=\xff"],
)
def test_what_a_call_says_of_its_kind_counts_for_nothing(stage: Stage, program: Program, kind: str) -> None:
    content = balance("2013") + kind.encode("latin-1")
    taken = program.send(content, headers={"content-type": kind.encode("latin-1")}, period="2013")  # type: ignore[dict-item]
    assert taken.status_code == 202 and taken.json()["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("headers", "kind"),
    [({"content-type": "multipart/form-data; boundary=x"}, "a_form"), ({"content-encoding": "gzip"}, "packed")],
    ids=lambda part: str(part),
)
def test_bytes_with_something_around_them_are_refused(program: Program, headers: dict[str, str], kind: str) -> None:
    assert is_problem(program.send(balance("2012"), headers=headers, period="2012"), 415, kind)
    assert program.get(DELIVERIES, period="2012").json() == []


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "..\\..\\boot.ini",
        "/etc/shadow",
        "C:\\Daten\\a.csv",
        "a\0b.csv",
        "=1+1.csv",
        "<b>.csv",
        "ä" * 80,
    ],
)
def test_a_path_in_a_name_leads_nowhere(stage: Stage, program: Program, name: str) -> None:
    taken = program.send(balance("2011") + name.encode(), period="2011", file_name=name)
    assert taken.status_code == 202
    told = taken.json()["file_name"]
    assert (
        "/" not in told
        and "\\" not in told
        and told == name.replace("\\", "/").rpartition("/")[2].replace("\0", "\ufffd")
    )


@pytest.mark.parametrize("name", ["/", "..", "a/..", "C:\\", "."])
def test_a_name_that_is_none_is_asked_for(program: Program, name: str) -> None:
    assert is_problem(program.send(balance("2011"), period="2011", file_name=name), 422, "no_file_name")


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"dataset": "no_such"}, "no_such_dataset"),
        ({"dataset": "../etc"}, "not_understood"),
        ({"period": "2024-02-31"}, "no_such_period"),
        ({"period": "9999-12-31"}, "no_such_period"),
        ({"period": "0000"}, "no_such_period"),
        ({}, "no_period"),
        ({"period": "2024", "sha256": "0" * 64}, "other_bytes"),
        ({"period": "2024", "sha256": "xyz"}, "not_understood"),
        ({"period": "2024", "file_name": ""}, "not_understood"),
        ({"period": "2024", "file_name": "x" * 256}, "not_understood"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused_and_nothing_is_kept(
    stage: Stage, program: Program, told: dict[str, str], kind: str
) -> None:
    before = program.get(DELIVERIES).json()
    assert is_problem(program.send(b"never kept", **told), 422, kind)
    assert program.get(DELIVERIES).json() == before
    assert not stage.desk.vault.has(hashlib.sha256(b"never kept").hexdigest())


@pytest.mark.parametrize(
    "path",
    ["deliveries/..%2f..%2fetc", "deliveries/a--b", "deliveries/%00", "deliveries/plain-works--waste_balance--9999-12-31--01",
     "deliveries/plain-works--waste_balance--2024--01%0d%0aX: y", "suppliers/..%2fplain-works/duties", "suppliers/%00/duties", "nowhere"],
)  # fmt: skip
def test_forged_ids_lead_nowhere(program: Program, path: str) -> None:
    assert is_problem(program.get(f"{BASE}/{path}"), 404, "not_there")


@pytest.mark.parametrize("ending", ["exe", "json%00", "..%2f..%2fledger.db"])
def test_only_files_of_receipts_are_handed_out(program: Program, ending: str) -> None:
    path = f"{BASE}/deliveries/plain-works--waste_balance--2024--01/receipt.{ending}"
    assert program.get(path).status_code in (404, 422)


def test_a_call_of_the_wrong_kind_is_told_so(program: Program, stage: Stage) -> None:
    answer = stage.browser().delete(DELIVERIES, headers=program.headers)
    assert is_problem(answer, 405, "no_such_way")


def test_problems_are_told_in_the_language_that_was_asked_for(stage: Stage) -> None:
    browser = stage.browser()
    german, english = (browser.get(DELIVERIES, headers={"accept-language": tongue}).json() for tongue in ("de", "en"))
    assert german["title"] == "Der Aufruf zeigt keinen Zugang." and english["title"] == "The call shows no token."


# --- how much at once ---


def in_parts(content: bytes) -> Iterator[bytes]:
    for begin in range(0, len(content), 7):
        yield content[begin : begin + 7]


def test_a_file_comes_in_parts_without_its_length(program: Program) -> None:
    content = balance("2010")
    taken = program.send(in_parts(content), period="2010")
    assert taken.json()["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("in_one", [True, False])
def test_more_than_the_platform_takes_is_refused_while_it_comes(
    stage: Stage, program: Program, monkeypatch: pytest.MonkeyPatch, in_one: bool
) -> None:
    desk = stage.services.desk
    monkeypatch.setattr(desk, "settings", desk.settings.model_copy(update={"max_file_bytes": 10}))
    content = balance("2009")
    assert is_problem(program.send(content if in_one else in_parts(content), period="2009"), 413, "too_large")
    assert list(stage.desk.home.work.glob("upload-*")) == []


def test_who_sends_a_flood_is_told_to_wait(stage: Stage, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "BACKLOG", 0)
    answer = program.send(balance("2008"), period="2008")
    assert is_problem(answer, 429, "too_many_waiting") and answer.headers["retry-after"]
    monkeypatch.setattr(judging, "BACKLOG", 300)
    monkeypatch.setattr(routes, "UPLOADS_AT_ONCE", 0)
    assert is_problem(program.send(balance("2008"), period="2008"), 429, "too_many_at_once")


# --- checking first ---


def test_a_file_is_checked_with_the_verdict_it_would_get_and_nothing_is_stored(stage: Stage, program: Program) -> None:
    content = balance("2007", waste_code="999999")
    before = program.get(DELIVERIES).json()
    told = program.send(content, CHECKS, period="2007").json()
    assert program.get(DELIVERIES).json() == before
    assert not stage.desk.vault.has(hashlib.sha256(content).hexdigest())
    taken = program.send(content, period="2007")
    work_queue(stage.desk)
    given = program.get(taken.headers["location"]).json()
    same = (
        "supplier",
        "dataset",
        "period",
        "state",
        "rows",
        "findings",
        "changes",
        "summary",
        "todo",
        "versions",
        "sha256",
    )
    assert {name: told[name] for name in same} == {name: given[name] for name in same}


class Busy:
    """Stands for checks that cannot be done now."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def check(self, *args: object, **more: object) -> dict[str, object]:
        raise self._error


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (checking.CheckBusy("x"), 429, "checks_busy"),
        (checking.CannotCheck("x"), 422, "cannot_check"),
        (checking.PlatformTrouble("x", cause="y"), 503, "trouble"),
    ],
    ids=lambda part: str(part),
)
def test_a_check_that_cannot_be_done_says_why(
    stage: Stage, program: Program, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, kind: str
) -> None:
    monkeypatch.setattr(stage.services, "checks", Busy(error))
    assert is_problem(program.send(balance("2006"), CHECKS, period="2006"), code, kind)


@pytest.mark.parametrize(
    "error", [StoreDown("x", "y"), OperationalError("x", {}, Exception("y"))], ids=["store", "database"]
)
def test_a_program_is_told_to_try_again_when_store_or_database_are_away(
    stage: Stage, program: Program, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def away(*args: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(stage.services.desk, "receive", away)
    answer = program.send(balance("2005"), period="2005")
    assert is_problem(answer, 503, "trouble") and answer.headers["retry-after"]
    clerk = stage.signed_in("clerk")
    told = {"form": clerk.form, "dataset": "waste_balance", "period": "2005"}
    page = clerk.client.post(f"/abgeben/{WORKS}", data=told, files={"file": ("a.csv", balance("2005"))})
    assert page.status_code == 503 and "Versuchen Sie es in einer Minute" in page.text


def test_a_token_of_a_supplier_the_region_does_not_know_any_more_opens_nothing(stage: Stage) -> None:
    gone = Program(stage, "plain-gone")
    assert is_problem(gone.get(f"{BASE}/suppliers/plain-gone/duties"), 404, "not_there")
    assert is_problem(gone.get(f"{BASE}/suppliers/{THIRD}/duties"), 404, "not_there")


def test_the_description_names_every_route_and_every_refusal(stage: Stage) -> None:
    told = stage.browser().get(f"{BASE}/openapi.json").json()
    described = {(method.upper(), path) for path, ways in told["paths"].items() for method in ways}
    assert described == {(m, f"{BASE}{path}") for m, path in API_DOORS if path != "/openapi.json"}
    for ways in told["paths"].values():
        for way in ways.values():
            assert {"401", "403", "404", "422"} <= set(way["responses"]) and way["security"] == [{"token": []}]
    assert "Problem" in told["components"]["schemas"]
