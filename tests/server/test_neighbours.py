"""One supplier's poison changes nothing for the others: judges and intake on real servers, verdicts and rows compared."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from quality import intake, judging
from quality.desk import Desk
from quality.judge import Judged
from storage import database, lake, stores
from storage.arrivals import Arrivals
from storage.ledger.ledger import Ledger
from storage.settings import Settings
from tests.server.support.servers import wait_for
from tests.support.bench import GOOD, PLAIN, SOLINGEN, THIRD, WORKS, written
from tests.support.poison import KINDS, poison
from tests.support.profiles import settings_on

WASTE = GOOD["waste_balance"][1]
YEARS = [str(year) for year in range(2010, 2022)]
POISONS = 2 * len(KINDS)


@contextmanager
def working(settings: Settings) -> Iterator[None]:
    """An intake and a judge, until the end of the block."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=intake.run, args=(settings,), kwargs={"stop": stop}),
        threading.Thread(target=judging.run, args=(settings,), kwargs={"stop": stop}),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def put(settings: Settings, key: str, content: bytes) -> None:
    stores.inboxes(settings).put(key, io.BytesIO(content))


def outcome(settings: Settings, supplier: str) -> tuple[list[tuple[str, str]], list[tuple[object, ...]]]:
    """States of a supplier's deliveries, and its accepted rows."""
    ledger = Ledger(settings.ledger_url)
    states = sorted((view.delivery_id, view.state) for view in ledger.deliveries() if view.supplier == supplier)
    ledger.close()
    connection = lake.connect(settings)
    lake.attach(connection, settings, "accepted", read_only=True)
    rows = connection.execute(
        "select * from accepted.waste_balance where supplier_id = ? order by all", [supplier]
    ).fetchall()
    connection.close()
    return states, rows


def judged(settings: Settings, supplier: str, number: int) -> bool:
    ledger = Ledger(settings.ledger_url)
    views = [view for view in ledger.deliveries() if view.supplier == supplier]
    ledger.close()
    return len(views) == number and all(view.verdict_state for view in views)


@pytest.fixture(scope="module")
def ends(servers: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Settings]:
    """Two installations with the same deliveries of one supplier, in one of them beside another one's poison."""
    return {poisoned: worked(servers, tmp_path_factory.mktemp("home"), poisoned) for poisoned in (False, True)}


def worked(servers: Mapping[str, str], home: Path, poisoned: bool) -> Settings:
    settings = settings_on(servers, home, PLAIN, sweep_seconds=1)
    Desk(settings).close()
    with working(settings):
        for nth, year in enumerate(YEARS):
            for number in range(nth * POISONS // len(YEARS), (nth + 1) * POISONS // len(YEARS)) if poisoned else ():
                ending, content = poison(number)
                put(settings, f"{THIRD}/waste_balance/{2000 + number % 9}/{number}{ending}", content)
            good = written([{**WASTE, "area_code": SOLINGEN if nth % 2 else WASTE["area_code"], "year": year}])
            put(settings, f"{WORKS}/waste_balance/{year}/balance.csv", good.encode())
        assert wait_for(lambda: judged(settings, WORKS, len(YEARS)), 120)
        assert wait_for(lambda: judged(settings, THIRD, POISONS if poisoned else 0), 300)
    return settings


def test_poison_of_one_supplier_changes_nothing_for_another(ends: Mapping[bool, Settings]) -> None:
    calm = outcome(ends[False], WORKS)
    assert outcome(ends[True], WORKS) == calm
    assert len(calm[0]) == len(calm[1]) == len(YEARS)


def test_every_file_of_poison_has_a_verdict_and_no_row_of_it_is_accepted(ends: Mapping[bool, Settings]) -> None:
    states, rows = outcome(ends[True], THIRD)
    assert len(states) == POISONS
    assert {state for _, state in states} == {"rejected"}
    assert rows == []


def test_a_receiver_of_before_is_made_anew(servers: Mapping[str, str], tmp_path: Path) -> None:
    settings = settings_on(servers, tmp_path, PLAIN)
    with psycopg.connect(database.conninfo(settings)) as connection:
        connection.execute("alter table intake.arrival drop column supplier")
    database.prepare(settings)
    told = Arrivals(settings)
    assert told.waiting([WORKS]) == []
    told.close()


@pytest.mark.parametrize("slash", ["%2F", "/"])
def test_events_are_taken_supplier_by_supplier_however_the_store_writes_its_keys(
    servers: Mapping[str, str], tmp_path: Path, slash: str
) -> None:
    settings = settings_on(servers, tmp_path, PLAIN)
    keys = [f"inbox/{WORKS}/{nth}.csv" for nth in range(300)] + [f"inbox/{THIRD}/late.csv"]
    with psycopg.connect(database.conninfo(settings)) as connection, connection.cursor() as cursor:
        cursor.execute("delete from intake.arrival")
        cursor.executemany(
            "insert into intake.arrival (bucket, key) values ('verbund', %s)",
            [(key.replace("/", slash),) for key in keys],
        )
    told = Arrivals(settings)
    assert f"inbox/{THIRD}/late.csv" in [one.key for one in told.waiting()[:2]]
    assert [one.key for one in told.waiting([WORKS])] == [f"inbox/{THIRD}/late.csv"]
    told.close()


def test_a_supplier_is_one_judges_until_its_answer_is_out(servers: Mapping[str, str], tmp_path: Path) -> None:
    settings = settings_on(servers, tmp_path, PLAIN)
    first, second = (Desk(settings, who=f"judge-{nth}") for nth in range(2))

    def receive(year: str) -> None:
        content = written([{**WASTE, "year": year}]).encode()
        second.receive(io.BytesIO(content), WORKS, "waste_balance", year, file_name="a.csv", who="test")

    meanwhile: list[int] = []
    tell = first._tell_supplier

    def telling(judged: Judged) -> None:
        # the verdict is recorded and its receipt being written, when the supplier's next file comes
        if not meanwhile:
            receive(YEARS[1])
            meanwhile.append(judging.work_queue(second))
        tell(judged)

    first._tell_supplier = telling  # type: ignore[method-assign]  # to look in between
    receive(YEARS[0])
    assert judging.work_queue(first) == 2
    assert meanwhile == [0]
    assert first.turns.take(WORKS) and not second.turns.take(WORKS)
    first.close()
    assert second.turns.take(WORKS), "whoever dies or ends holds nothing"
    second.close()
