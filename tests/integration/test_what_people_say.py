"""What people say of figures reaches what is released: why a warning is no mistake, and what is contested."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from quality.desk import Desk
from quality.foundation import build
from quality.judging import work_queue
from quality.release import release
from quality.release_reading import query
from quality.supply import publish_supply
from storage.settings import Settings
from storage.threads import Speaker, Threads, Topic
from tests.support.bench import GOOD, PLAIN, WORKS, written
from tests.support.profiles import settings_for

PERIOD, ROW = GOOD["waste_balance"]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_for(tmp_path_factory.mktemp("said"), PLAIN)


@pytest.fixture(scope="module")
def delivery(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> str:
    file: Path = tmp_path_factory.mktemp("sent") / "a.csv"
    file.write_text(written([{**ROW, "quantity_t": ""}]), encoding="utf-8")
    with contextlib.closing(Desk(settings)) as desk, contextlib.closing(Threads(settings.ledger_url)) as threads:
        made = desk.receive(file, WORKS, "waste_balance", PERIOD, file_name="a.csv", who="test").delivery_id
        work_queue(desk)
        desk.confirm(made, "quantity_stated", who="portal:x", author="X", reason="Die Waage war defekt.")
        lead, coordinator = Speaker("portal:x", "X", "supplier"), Speaker("portal:y", "Y", "coordination")
        threads.open(Topic(WORKS, made, rule="quantity_stated"), "contest", lead, "Das ist kein Fehler.")
        decided = threads.open(Topic(WORKS, figure="K-01/05124000/2024"), "contest", lead, "Zu hoch.")
        threads.say(decided.thread_id, "decide", coordinator, "So ist es.", decision="dismissed")
        threads.open(Topic(WORKS, made), "ask", lead, "Nur eine Frage.")
        publish_supply(desk)
    build(settings)
    release(settings)
    return made


def test_a_row_that_was_warned_of_finds_its_reason(settings: Settings, delivery: str) -> None:
    found = query(
        settings,
        "select b.delivered_line, c.reason, c.number_of_rows from waste_balance b join confirmed_warnings c "
        "on c.delivery_id = b.delivery_id and list_contains(string_split(b.row_warnings, ','), c.rule_id)",
    )
    assert found["rows"] == [[2, "Die Waage war defekt.", 1]]


def test_objections_say_what_is_contested_and_how_it_ended_and_no_more(settings: Settings, delivery: str) -> None:
    found = query(
        settings, "select delivery_id, rule_id, figure, is_open, decision from objections order by objection_id"
    )
    assert found["rows"] == [
        [delivery, "quantity_stated", None, True, None],
        [None, None, "K-01/05124000/2024", False, "dismissed"],
    ]
    columns = query(settings, "select * from objections")["columns"]
    assert not {"text", "who", "author"} & set(columns)
