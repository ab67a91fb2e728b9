"""Every route, with every role, on what is one's own and what is another's: as the table of rights says, and no route beside it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from httpx import Response
from starlette.routing import Mount

from portal.api.door import API_DOORS, BASE
from portal.rights import OF_PROGRAMS, RIGHTS, may
from portal.visit import DOORS
from storage.proposals import Proposals
from storage.threads import Speaker, Threads, Topic
from storage.tokens import Tokens
from tests.portal.conftest import CAST, Stage
from tests.support.bench import GOOD, THIRD, WORKS, WUPPERTAL, written
from tests.support.released import small_release

PERIOD, ROW = GOOD["waste_balance"]
PROPOSED = {"supplier": {"id": "newcomer", "name": "Newcomer", "role": "utility"}, "mandates": []}
#: What a refusal may be: not signed in, not for you, or there is no such thing.
REFUSED = {303, 403, 404}


@pytest.fixture(scope="module")
def delivery(stage: Stage) -> str:
    """A delivery of the supplier the cast's clerk works for."""
    source = io.BytesIO(written([ROW]).encode())
    threads = Threads(stage.desk.settings.ledger_url)
    threads.open(Topic(WORKS), "ask", Speaker("test", "Test", "supplier"), "?")
    threads.close()
    # one that was withdrawn: to apply it would change the pack of all tests
    proposals = Proposals(stage.desk.settings.ledger_url)
    proposals.decide(
        proposals.add("plain", "newcomer", PROPOSED, [], who="test", author="Test").proposal_id, "withdrawn", who="test"
    )
    proposals.close()
    made = stage.desk.receive(source, WORKS, "waste_balance", PERIOD, file_name="a.csv", who="test").delivery_id
    small_release(stage.desk.settings, own=made)
    return made


def routes_of(routes: Iterable[object]) -> Iterator[APIRoute]:
    """Every route of an application, those of its routers among them."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif (router := getattr(route, "original_router", None)) is not None:
            yield from routes_of(router.routes)
        else:
            assert isinstance(route, Mount), route


def test_no_route_is_outside_the_table(stage: Stage) -> None:
    routes = {(method, route.path) for route in routes_of(stage.app.routes) for method in route.methods}
    assert routes == set(DOORS) | {(method, f"{BASE}{path}") for method, path in API_DOORS}
    assert set(DOORS.values()) | set(API_DOORS.values()) <= set(RIGHTS)


def path_of(path: str, delivery: str) -> str:
    told = {
        "{supplier}": WORKS,
        "{dataset}": "waste_balance",
        "{delivery}": delivery,
        "{ending}": "json",
        "{token}": "none",
        "{thread}": "1",
        "{number}": "0",
        "{proposal}": "1",
    }
    told |= {"{indicator}": "K-02", "{area}": WUPPERTAL, "{period}": "2024", "{line}": "2", "{kind}": "csv"}
    told |= {"{table}": "open_indicators"}
    for blank, value in told.items():
        path = path.replace(blank, value)
    return path


def ask(client: TestClient, form: str, method: str, path: str) -> Response:
    """Ask as a page of ours does."""
    if not path.startswith("/hochladen"):
        return client.get(path) if method == "GET" else client.post(path, data={"form": form})
    told = {
        "X-Form": form,
        "Upload-Length": "5",
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
    }
    begun = client.post("/hochladen", headers=told)
    if method == "POST":
        return begun
    # who may begin none has none
    own = begun.headers.get("location") if begun.status_code == 201 else None
    answer = client.request(method, own or path, headers=told)
    if own and method != "DELETE":
        client.delete(own, headers=told)
    return answer


@pytest.mark.parametrize("name", [*CAST, "nobody"])
@pytest.mark.parametrize(("method", "path"), sorted(DOORS), ids=lambda part: part)
def test_a_route_lets_in_whom_the_table_names(stage: Stage, delivery: str, name: str, method: str, path: str) -> None:
    act, is_about_works = DOORS[method, path], "{supplier}" in path or "{delivery}" in path
    somebody = None if name == "nobody" else stage.signed_in(name)
    client = somebody.client if somebody else stage.browser()
    person = None
    if somebody:
        role, supplier = CAST[name]
        [person] = [p for p in stage.people.everybody() if (role, supplier) in p.roles]
    allowed = may(person, act, WORKS if is_about_works else None)
    answer = ask(client, somebody.form if somebody else "", method, path_of(path, delivery))
    let_in = answer.status_code != 404 and not (answer.status_code == 303 and answer.headers["location"] == "/anmelden")
    if path in (
        "/",
        "/abmelden",
        "/anmelden",
        "/anmelden/extern",
        "/anmelden/zurueck",
        "/abgemeldet",
        "/einladung/{token}",
    ) or path.endswith("quittung.{ending}"):
        # these lead to the way in by themselves, or to a page that says there is nothing
        assert answer.status_code < 500
        if not allowed:
            assert answer.status_code in REFUSED
        return
    assert let_in == allowed, (answer.status_code, answer.headers.get("location"))


#: Programs that may call: whose token, and what it was made for; None shows no token.
PROGRAMS: dict[str, tuple[str, tuple[str, ...]] | None] = {
    **{f"own, {act}": (WORKS, (act,)) for act in OF_PROGRAMS},
    "own, all": (WORKS, OF_PROGRAMS),
    "foreign, all": (THIRD, OF_PROGRAMS),
    "nobody": None,
}


@pytest.fixture(scope="module")
def shown(stage: Stage) -> dict[str, str]:
    """The token of each program."""
    tokens = Tokens(stage.desk.settings.ledger_url)
    made = {
        name: tokens.make(program[0], name, program[1], 1, by="test")[0]
        for name, program in PROGRAMS.items()
        if program
    }
    tokens.close()
    return made


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(("method", "path"), sorted(API_DOORS), ids=lambda part: part)
def test_a_route_lets_in_the_programs_the_table_names(
    stage: Stage, delivery: str, shown: dict[str, str], name: str, method: str, path: str
) -> None:
    act, program = API_DOORS[method, path], PROGRAMS[name]
    asked = BASE + path_of(path, delivery)
    headers = {"authorization": f"Bearer {shown[name]}"} if name in shown else {}
    # a file without a name: whoever is let in is told so, and nothing is judged
    answer = stage.browser().request(method, asked, headers=headers, params={"file_name": "/"})
    right = RIGHTS[act]
    if right.everybody:
        assert answer.status_code == 200
    elif program is None:
        assert answer.status_code == 401
    elif program[0] != WORKS:
        assert answer.status_code == 404
    elif right.programs and act in program[1]:
        # its receipt is not there before the verdict
        assert answer.status_code in ((404,) if path.endswith("{ending}") else (200, 422)), answer.text
    else:
        assert answer.status_code == 403


@pytest.mark.parametrize("name", CAST)
@pytest.mark.parametrize(("method", "path"), sorted(API_DOORS), ids=lambda part: part)
def test_a_session_opens_no_route_for_programs(stage: Stage, delivery: str, name: str, method: str, path: str) -> None:
    answer = stage.signed_in(name).client.request(method, BASE + path_of(path, delivery), params={"file_name": "a"})
    assert answer.status_code == (200 if RIGHTS[API_DOORS[method, path]].everybody else 401)


def test_a_foreign_program_cannot_tell_another_ones_delivery_from_none(
    stage: Stage, delivery: str, shown: dict[str, str]
) -> None:
    headers = {"authorization": f"Bearer {shown['foreign, all']}"}
    there, nowhere = (
        stage.browser().get(f"{BASE}/deliveries/{d}", headers=headers) for d in (delivery, delivery[:-2] + "77")
    )
    assert (there.status_code, there.text) == (nowhere.status_code, nowhere.text)
    assert there.status_code == 404


def test_who_is_refused_cannot_tell_another_ones_delivery_from_none(stage: Stage, delivery: str) -> None:
    stranger = stage.signed_in("foreign lead").client
    there, nowhere = (stranger.get(f"/lieferung/{d}") for d in (delivery, delivery[:-2] + "77"))
    assert (there.status_code, there.text) == (nowhere.status_code, nowhere.text)
    assert there.status_code == 404


@pytest.mark.parametrize("forged", ["..%2f..%2fetc", "a--b", "%00", "plain-works--waste_balance--2024--01%0d%0aX: y"])
def test_forged_ids_lead_nowhere(stage: Stage, forged: str) -> None:
    clerk = stage.signed_in("clerk").client
    assert clerk.get(f"/lieferung/{forged}").status_code in (404, 422)
    assert clerk.get(f"/lieferung/{forged}/quittung.json").status_code in (404, 422)
