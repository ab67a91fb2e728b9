"""Whoever reads the lake while deliveries are accepted sees whole slots of one moment, and never an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import lake
from storage.settings import Settings
from tests.support.bench import GOOD, TestBench, written

pytestmark = pytest.mark.slow
WASTE = GOOD["waste_balance"][1]
YEARS = ("2020", "2022")
CODES = ("200301", "200108", "200201", "150101", "150102")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[TestBench]:
    made = TestBench(tmp_path / "home")
    yield made
    made.close()


def accept_all_years(bench: TestBench, attempt: int) -> None:
    """One batch that replaces the slot of every year with five rows of the same quantity."""
    batch = []
    for year in YEARS:
        rows = [WASTE | {"year": year, "waste_code": code, "quantity_t": str(attempt)} for code in CODES]
        file = bench.file(written(rows))
        delivery = bench.desk.receive(file, "plain-works", "waste_balance", year, file_name="f.csv", who="test")
        batch.append(bench.desk.judge(delivery))
    assert set(bench.desk.answer(batch).values()) == {"accepted"}


def test_readers_see_no_error_and_no_mixed_state_during_a_hundred_accepts(bench: TestBench) -> None:
    accept_all_years(bench, 1)
    stop, errors = threading.Event(), list[BaseException]()
    seen: list[list[tuple[Any, ...]]] = []

    def read(settings: Settings) -> None:
        query = (
            "select period, min(attempt), max(attempt), count(*), min(quantity_t), max(quantity_t) "
            "from accepted.waste_balance group by period order by period"
        )
        try:
            with lake.connect(settings, threads=1) as connection:
                lake.attach(connection, settings, "accepted", read_only=True)
                while not stop.is_set():
                    seen.append(connection.execute(query).fetchall())
        except BaseException as error:
            errors.append(error)

    readers = [threading.Thread(target=read, args=(bench.settings,)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for attempt in range(2, 52):
        accept_all_years(bench, attempt)
    stop.set()
    for reader in readers:
        reader.join(60)
    assert errors == []
    assert len(seen) > 50
    for slots in seen:
        attempts = {row[1] for row in slots}
        # the two slots of a batch change in one transaction, and a slot's rows are all of one attempt
        assert len(attempts) == 1
        (attempt,) = attempts
        assert slots == [(year, attempt, attempt, len(CODES), attempt, attempt) for year in YEARS]
    assert len({slots[0][1] for slots in seen}) > 5
