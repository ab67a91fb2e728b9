"""Checking first in a process of its own: the same verdict, and a reader that dies or never ends costs one check only."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from quality.checking import CannotCheck, CheckBusy, Checks
from quality.desk import Desk
from quality.errors import PlatformTrouble, Refused
from tests.support.bench import GOOD, PLAIN, THIRD, WORKS, written
from tests.support.profiles import settings_for

DATASET, (PERIOD, ROW) = "waste_balance", GOOD["waste_balance"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(settings_for(tmp_path_factory.mktemp("checking"), PLAIN))
    yield desk
    desk.close()


@pytest.fixture(scope="module")
def checks(desk: Desk) -> Iterator[Checks]:
    checks = Checks(desk.settings)
    yield checks
    checks.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "a.csv"
    file.write_text(written([ROW, ROW | {"waste_code": "999999"}]), encoding="utf-8")
    return file


def test_the_verdict_is_that_of_the_desk(desk: Desk, checks: Checks, file: Path) -> None:
    mine, other = (c.check(file, WORKS, DATASET, PERIOD, file_name="a.csv") for c in (desk, checks))
    for time in ("judged_at", "received_at"):
        mine.pop(time), other.pop(time)
    assert mine == other
    assert desk.ledger.deliveries() == [] and not desk.vault.has(mine["sha256"])


def test_what_is_no_slot_is_refused_with_the_desks_words(checks: Checks, file: Path) -> None:
    with pytest.raises(Refused, match="expected a dataset"):
        checks.check(file, WORKS, "no_such", PERIOD, file_name="a.csv")


def test_a_file_that_cannot_be_opened_is_trouble_and_others_go_on(checks: Checks, file: Path) -> None:
    with pytest.raises(PlatformTrouble):
        checks.check(file.with_name("gone.csv"), WORKS, DATASET, PERIOD, file_name="a.csv")
    assert checks.check(file, WORKS, DATASET, PERIOD, file_name="a.csv")["state"]


def test_a_reader_that_dies_ends_its_check_and_the_next_one_is_answered(checks: Checks, file: Path) -> None:
    pipe = file.with_name("never.csv")
    os.mkfifo(pipe)  # a reader of it waits for ever
    found: list[CannotCheck] = []

    def ask() -> None:
        try:
            checks.check(pipe, WORKS, DATASET, PERIOD, file_name="a.csv")
        except CannotCheck as error:
            found.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(CheckBusy):
        while True:
            checks.check(file, WORKS, DATASET, PERIOD, file_name="a.csv")
    [reader] = [process for process in multiprocessing.active_children() if process.name == "check"]
    reader.kill()
    asking.join()
    assert [type(error) for error in found] == [CannotCheck]
    assert checks.check(file, THIRD, DATASET, PERIOD, file_name="a.csv")["state"]


def test_a_check_that_never_ends_is_ended(checks: Checks, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = file.with_name("never.csv")
    os.mkfifo(pipe)
    assert checks.check(file, WORKS, DATASET, PERIOD, file_name="a.csv")["state"]
    with monkeypatch.context() as impatient, pytest.raises(CannotCheck):
        impatient.setattr(checks, "_seconds", 0.5)
        checks.check(pipe, WORKS, DATASET, PERIOD, file_name="a.csv")
    assert [process for process in multiprocessing.active_children() if process.name == "check"] == []
