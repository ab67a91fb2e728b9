"""The same bytes by page, by program, by command and by inbox: the same verdict, the same accepted rows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openpyxl import load_workbook
from typer.testing import CliRunner

from portal.app import make_app
from portal.rights import OF_PROGRAMS
from portal.visit import COOKIE
from quality.desk import Desk
from quality.inboxes import Inboxes
from quality.judging import work_queue
from quality.receipt import receipt_stem
from storage import stores
from storage.people import People
from storage.settings import Settings
from storage.tokens import Tokens
from tests.support.bench import GOOD, PLAIN, WORKS, written
from tests.support.profiles import drop, settings_for
from verbund.cli import app
from verbund.demo import demo_deliveries

DATASET, ROW = "waste_balance", GOOD["waste_balance"][1]
CODES = ("200301", "200108", "200201", "150101", "200102")
#: A verdict and the accepted rows.
Left = tuple[dict[str, Any], list[tuple[Any, ...]]]
pytestmark = pytest.mark.slow


def balance(year: str, *changed: dict[str, str]) -> str:
    """A year's rows, each with a code of its own, the last ones as they are changed."""
    rows = [ROW | {"year": year, "waste_code": code} for code in CODES]
    return written([*rows, *(ROW | {"year": year, "collection_code": "bring"} | change for change in changed)])


@dataclass(frozen=True)
class Sent:
    """A file, what it is delivered as, and the state it must come to."""

    name: str
    period: str
    content: bytes
    state: str
    supplier: str = WORKS
    dataset: str = DATASET


FILES = {
    "good": Sent("balance.csv", "2024", balance("2024").encode(), "accepted"),
    "one row held back": Sent(
        "balance.csv", "2023", balance("2023", {"waste_code": "999999"}).encode(), "partly_accepted"
    ),
    "rejected": Sent("balance.csv", "2022", balance("2022", *[{"quantity_t": "viel"}] * 9).encode(), "rejected"),
    "of another year, in cp1252": Sent("März.csv", "2021", balance("2020", {"waste_code": "Müll"}).encode("cp1252"), "rejected"),
    "no table": Sent("bild.csv", "2019", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "rejected"),
    "empty": Sent("leer.csv", "2018", b"", "rejected"),
}  # fmt: skip
#: What is no text of lines, as the region of the demo has agreed it: supplier, dataset, period, state, rows.
OTHERS = {
    "MSCONS_TL_2025-11_0001.txt": ("remscheid-stadtwerke", "load_profile", "2025-11", "accepted", 2880),
    "Abfallbilanz_Solingen_2023.xlsx": ("solingen-betriebe", "waste_balance", "2023", "accepted", 60),
}


@dataclass
class Home:
    """An installation of its own for each way, so that every one meets the bytes for the first time."""

    settings: Settings
    desk: Desk


def by_page(home: Home, sent: Sent, folder: Path) -> None:
    with TestClient(make_app(home.settings), base_url="http://portal.test", follow_redirects=False) as browser:
        people = People(home.settings.ledger_url)
        invited = people.invite("a@example.org", "A", "clerk", sent.supplier, by="test")
        person = people.accept(invited, "ein langer satz")
        cookie, session = people.begin(person)
        people.close()
        browser.cookies.set(COOKIE, cookie)
        told = {"form": session.form, "dataset": sent.dataset, "period": sent.period}
        file = {"file": (sent.name, sent.content, "text/plain")}
        answer = browser.post(f"/abgeben/{sent.supplier}", data=told, files=file)
        assert answer.status_code == 303, answer.text
    work_queue(home.desk)


def by_program(home: Home, sent: Sent, folder: Path) -> None:
    tokens = Tokens(home.settings.ledger_url)
    token, _ = tokens.make(sent.supplier, "Rechner", OF_PROGRAMS, 1, by="test")
    tokens.close()
    with TestClient(make_app(home.settings)) as program:
        answer = program.post(
            f"/api/v1/suppliers/{sent.supplier}/deliveries",
            params={"dataset": sent.dataset, "period": sent.period, "file_name": sent.name},
            content=sent.content,
            headers={"authorization": f"Bearer {token}", "content-type": "application/octet-stream"},
        )
        assert answer.status_code == 202, answer.text
    work_queue(home.desk)


def by_command(home: Home, sent: Sent, folder: Path) -> None:
    file = folder / sent.name
    file.write_bytes(sent.content)
    slot = ["--supplier", sent.supplier, "--dataset", sent.dataset, "--period", sent.period]
    said = CliRunner().invoke(app, ["deliver", str(file), *slot, "--json"], env=home.settings.environment())
    assert json.loads(said.stdout)["delivery"], said.output


def by_inbox(home: Home, sent: Sent, folder: Path) -> None:
    drop(home.settings, f"{sent.supplier}/{sent.dataset}/{sent.period}/{sent.name}", sent.content)
    assert Inboxes(home.desk).sweep() == 1
    work_queue(home.desk)


WAYS: dict[str, Callable[[Home, Sent, Path], None]] = {
    "page": by_page, "program": by_program, "command": by_command, "inbox": by_inbox,
}  # fmt: skip


@contextmanager
def homes_in(folder: Path, region: str | Path) -> Iterator[dict[str, Home]]:
    made = {way: settings_for(folder / way, region) for way in WAYS}
    homes = {way: Home(settings, Desk(settings)) for way, settings in made.items()}
    yield homes
    for home in homes.values():
        home.desk.close()


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Home]]:
    with homes_in(tmp_path_factory.mktemp("ways"), PLAIN) as homes:
        yield homes


@pytest.fixture(scope="module")
def homes_of_the_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Home]]:
    with homes_in(tmp_path_factory.mktemp("demo"), "bergisch") as homes:
        yield homes


def left_by(home: Home, sent: Sent) -> Left:
    """Verdict and accepted rows, without what differs between any two: times."""
    view = home.desk.ledger.deliveries(sent.supplier, sent.dataset, sent.period)[-1]
    verdict = dict(home.desk.ledger.verdict(view.delivery_id) or {})
    for time in ("judged_at", "received_at"):
        del verdict[time]
    home.desk.ensure_tables(home.desk.pack)
    rows = home.desk.bench.connection.execute(
        f"select * from accepted.{sent.dataset} where period = ? order by all", [sent.period]
    ).fetchall()
    return verdict, rows


def left_by_all(homes: dict[str, Home], sent: Sent, folder: Path) -> Left:
    """What every way leaves of a file, which must be the same."""
    left = {}
    for way, deliver in WAYS.items():
        deliver(homes[way], sent, folder)
        left[way] = left_by(homes[way], sent)
    for way, found in left.items():
        assert found == left["inbox"], way
    return left["inbox"]


@pytest.mark.parametrize("sent", FILES.values(), ids=[name.replace(" ", "_") for name in FILES])
def test_the_same_bytes_get_the_same_verdict_and_rows_on_every_way(
    homes: dict[str, Home], tmp_path: Path, sent: Sent
) -> None:
    verdict, rows = left_by_all(homes, sent, tmp_path)
    assert verdict["state"] == sent.state, verdict
    assert bool(rows) == (sent.state != "rejected")


@pytest.mark.parametrize("name", OTHERS)
def test_so_do_messages_of_the_energy_market_and_workbooks(
    homes_of_the_demo: dict[str, Home], tmp_path: Path, name: str
) -> None:
    supplier, dataset, period, state, rows = OTHERS[name]
    [content] = [item.content for item in demo_deliveries() if item.file_name == name]
    assert content is not None
    verdict, left = left_by_all(homes_of_the_demo, Sent(name, period, content, state, supplier, dataset), tmp_path)
    assert (verdict["state"], len(left)) == (state, rows), verdict


def test_a_mended_workbook_goes_back_on_every_way(homes: dict[str, Home], tmp_path: Path) -> None:
    faulty = balance("2017", {"waste_code": "999999"}).encode()
    for home in homes.values():
        by_inbox(home, Sent("balance.csv", "2017", faulty, "partly_accepted"), tmp_path)
    [view] = homes["inbox"].desk.ledger.deliveries(WORKS, DATASET, "2017")
    with stores.receipts(homes["inbox"].settings).open(f"{WORKS}/{receipt_stem(view.delivery_id)}.xlsx") as file:
        workbook = load_workbook(io.BytesIO(file.read()))
    sheet = workbook["Zu korrigieren"]
    [cell] = [cell for row in sheet.iter_rows() for cell in row if cell.value == "999999"]
    cell.value = "200307"
    mended = io.BytesIO()
    workbook.save(mended)
    sent = Sent("zurück.xlsx", "2017", mended.getvalue(), "accepted")
    verdict, rows = left_by_all(homes, sent, tmp_path)
    assert (verdict["state"], len(rows)) == ("accepted", len(CODES) + 1), verdict
