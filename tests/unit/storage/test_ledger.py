from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.ledger import opening
from storage.ledger import tables as t
from storage.ledger.ledger import (
    ROW_COUNTS,
    Delivery,
    DeliveryView,
    Ledger,
    SourceState,
    UnknownDelivery,
    VerdictRecord,
)
from storage.ledger.states import SERVED, Event
from storage.paths import Slot

MORNING = datetime(2025, 4, 1, 8, tzinfo=UTC)
SLOT = Slot("works-x", "load_profile", "2025-03")

#: Address of a database server's database to run these tests in as well; each test gets a schema of its own.
SERVER = os.environ.get("VERBUND_TEST_DATABASE_URL")


def new_url(kind: str, folder: Path) -> str:
    if kind == "sqlite":
        return f"sqlite:///{folder}/ledger.sqlite"
    assert SERVER is not None
    schema = f"t{uuid.uuid4().hex[:12]}"
    server = sa.create_engine(SERVER)
    with server.begin() as c:
        c.execute(sa.text(f"CREATE SCHEMA {schema}"))
    server.dispose()
    url = sa.make_url(SERVER).update_query_dict({"options": f"-csearch_path={schema}"})
    return url.render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "server"] if SERVER else ["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_url(request.param, tmp_path)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = Ledger(url)
    ledger.migrate()
    yield ledger
    ledger.close()


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def receive(ledger: Ledger, content: str | None = None, slot: Slot = SLOT, **more: Any) -> Delivery:
    content = uuid.uuid4().hex if content is None else content
    arguments = {"file_name": "March.csv", "origin": "inbox", "who": "test", **more}
    return ledger.receive(slot.supplier, slot.dataset, slot.period, sha(content), len(content), **arguments)


def verdict(delivery: Delivery | str, state: str = "accepted", **more: Any) -> VerdictRecord:
    this = delivery if isinstance(delivery, str) else delivery.delivery_id
    rows = dict.fromkeys(ROW_COUNTS, 0) | {"delivered": 3, "accepted": 2, "quarantined": 1}
    values = {"rows": rows, "body": {"delivery": this}, "judged_at": MORNING, **more}
    return VerdictRecord(this, state, contract_version="c1", dialect_version="d1", mapping_version="m1", **values)


def judge(ledger: Ledger, delivery: Delivery, state: str = "accepted", **more: Any) -> str:
    return ledger.record([verdict(delivery, state, **more)], "judge-0")[delivery.delivery_id]


def kinds(ledger: Ledger, target: str | Slot) -> list[str]:
    return [event.kind for event in ledger.history(target)]


def states(ledger: Ledger) -> dict[int, str]:
    return {view.attempt: view.state for view in ledger.deliveries()}


def waiting(ledger: Ledger, judge: str = "judge-0", **more: Any) -> list[str]:
    return [delivery.delivery_id for delivery in ledger.waiting(judge, **more)]


# --- opening ---


def test_the_tables_are_what_the_migrations_make(ledger: Ledger) -> None:
    with ledger._engine.connect() as c:
        assert compare_metadata(MigrationContext.configure(c), t.metadata) == []


def test_rows_are_read_in_the_order_of_the_fields() -> None:
    assert [column.name for column in t.deliveries.c] == [field.name for field in fields(Delivery)]
    added = [field.name for field in fields(DeliveryView)][len(t.deliveries.c) :]
    versions = ["contract_version", "dialect_version", "mapping_version"]
    firsts = ["acknowledged_at", "first_verdict_state", "first_judged_at", "first_accepted_at"]
    assert added == ["state", "verdict_state", "judged_at", "rows", *versions, *firsts]
    assert [column.name for column in t.events.c] == [field.name for field in fields(Event)]


def test_the_head_we_look_for_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(Path(opening.__file__).parent / "migrations")).get_current_head() == t.HEAD


def test_migrating_again_changes_nothing(ledger: Ledger) -> None:
    receive(ledger)
    ledger.migrate()
    assert len(ledger.deliveries()) == 1


def test_opening_a_ledger_does_not_load_the_migrations(url: str) -> None:
    Ledger(url).migrate()
    code = f"import sys; from storage.ledger.ledger import Ledger; Ledger({url!r}).migrate(); print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_ledger_of_a_later_verbund_is_left_alone(ledger: Ledger) -> None:
    with ledger._writing.begin() as c:
        c.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(opening.LedgerTooNew, match="9999"):
        ledger.migrate()


def test_a_ledger_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="several processes"):
        Ledger("sqlite://")


@pytest.mark.parametrize("change", ["UPDATE events SET who = 'nobody'", "DELETE FROM events"])
def test_what_happened_can_be_neither_changed_nor_taken_away(ledger: Ledger, change: str) -> None:
    receive(ledger)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), ledger._writing.begin() as c:
        c.execute(sa.text(change))
    assert kinds(ledger, SLOT) == ["received"]


def test_a_promise_survives_a_power_cut(tmp_path: Path) -> None:
    ledger = Ledger(new_url("sqlite", tmp_path))
    with ledger._engine.connect() as c:
        assert c.exec_driver_sql("PRAGMA synchronous").scalar() == 2, "FULL: every commit reaches the disk"
        assert c.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


# --- arriving ---


def test_an_object_arrives_once_per_version(ledger: Ledger) -> None:
    first = ledger.arrive("inbox", "works-x", "works-x/a.csv", "1", 3, sha("a"))
    assert first is not None
    assert ledger.arrive("inbox", "works-x", "works-x/a.csv", "1", 3, sha("a")) is None
    assert ledger.arrive("inbox", "works-x", "works-x/a.csv", "2", 3, sha("a")) is not None
    assert ledger.known("inbox", "works-x") == {("works-x/a.csv", "1"), ("works-x/a.csv", "2")}
    assert ledger.known("inbox", "works-y") == set()


def test_the_same_file_of_two_suppliers_arrives_twice(ledger: Ledger) -> None:
    """A folder tells versions apart by time and length: copies of one template that keep their times look the same."""
    assert ledger.arrive("inbox", "works-x", "a.csv", "1", 3, sha("a")) is not None
    assert ledger.arrive("inbox", "works-y", "a.csv", "1", 3, sha("a")) is not None
    assert ledger.known("inbox", "works-y") == {("a.csv", "1")}


def test_arrivals_of_an_older_ledger_are_kept(url: str) -> None:
    ledger = Ledger(url)
    config = Config()
    config.set_main_option("script_location", str(Path(opening.__file__).parent / "migrations"))
    with ledger._writing.begin() as c:
        config.attributes["connection"] = c
        command.upgrade(config, "0009")
        c.execute(t.arrivals.insert().values(
            origin="inbox", supplier="works-x", key="a.csv", version="1", size=3, sha256=sha("a"), arrived_at=MORNING
        ))  # fmt: skip
    ledger.migrate()
    [kept] = ledger.unsettled()
    assert (kept.supplier, kept.key, kept.arrived_at) == ("works-x", "a.csv", MORNING)
    assert ledger.arrive("inbox", "works-x", "a.csv", "1", 3, sha("a")) is None
    newer = ledger.arrive("inbox", "works-y", "a.csv", "1", 3, sha("a"))
    assert newer is not None and newer.id > kept.id
    with ledger._engine.connect() as c:
        assert compare_metadata(MigrationContext.configure(c), t.metadata) == []
        if c.dialect.name == "sqlite":
            [indexed] = c.exec_driver_sql(
                "select sql from sqlite_master where name = 'ix_arrivals_unsettled'"
            ).fetchall()
            assert "WHERE" in indexed[0]


def test_an_arrival_stays_open_until_somebody_settled_it(ledger: Ledger) -> None:
    one, two = (ledger.arrive("inbox", "works-x", key, "1", 3, sha("a")) for key in ("one", "two"))
    assert one is not None
    assert two is not None
    assert ledger.unsettled() == [one, two]
    ledger.settle_arrival(one.id, problem="no slot in the file's name")
    receive(ledger, arrival_id=two.id)
    assert ledger.unsettled() == []
    with pytest.raises(ValueError, match="or by a problem"):
        ledger.settle_arrival(one.id)


def test_receiving_an_arrival_twice_is_one_delivery(ledger: Ledger) -> None:
    arrival = ledger.arrive("inbox", "works-x", "a", "1", 3, sha("a"))
    assert arrival is not None
    first = receive(ledger, "a", arrival_id=arrival.id)
    assert receive(ledger, "a", arrival_id=arrival.id) == first
    assert len(ledger.deliveries()) == 1


@pytest.mark.parametrize("name", ["Müll.csv", os.fsdecode(b"M\xfcll.csv"), "a\ud800b", "=1+1", "a\nb", "𝄞", "%C3"])
def test_a_file_may_be_called_anything(ledger: Ledger, name: str) -> None:
    arrival = ledger.arrive("inbox", name, f"works-x/{name}", "1", 3, sha("a"))
    assert arrival is not None
    shown = receive(ledger, file_name=name, reason=name, who=name).file_name
    assert shown.isprintable()
    shown.encode()
    if name != "a\ud800b":
        assert ledger.known("inbox", name) == {(f"works-x/{name}", "1")}, "the key must still open the file"
    assert ledger.arrive("inbox", name, f"works-x/{name}", "1", 3, sha("a")) is None


# --- receiving ---


def test_attempts_of_a_slot_are_numbered(ledger: Ledger) -> None:
    other = Slot("works-x", "load_profile", "2025-04")
    received = [receive(ledger), receive(ledger), receive(ledger, slot=other), receive(ledger)]
    assert [d.attempt for d in received] == [1, 2, 1, 3]
    assert received[3].delivery_id == "works-x--load_profile--2025-03--03"
    view = ledger.delivery(received[0].delivery_id)
    assert isinstance(view, DeliveryView)
    assert view.state == "received"
    assert (view.rows, view.judged_at) == (None, None)


def test_the_same_bytes_again_are_a_duplicate_and_not_judged(ledger: Ledger) -> None:
    first, second, third = receive(ledger, "a"), receive(ledger, "a"), receive(ledger, "a")
    assert (first.duplicate_of, second.duplicate_of, third.duplicate_of) == (None, first.delivery_id, first.delivery_id)
    assert states(ledger) == {1: "received", 2: "duplicate", 3: "duplicate"}
    assert waiting(ledger) == [first.delivery_id]


def test_going_back_to_earlier_bytes_is_no_duplicate(ledger: Ledger) -> None:
    for content in ("a", "b", "a"):
        judge(ledger, receive(ledger, content))
    assert states(ledger) == {1: "superseded", 2: "superseded", 3: "accepted"}


def test_withdrawn_bytes_may_be_sent_again(ledger: Ledger) -> None:
    first = receive(ledger, "a")
    judge(ledger, first)
    receive(ledger, "a")
    ledger.withdraw(first.delivery_id, "test", "wrong year")
    again = receive(ledger, "a")
    assert again.duplicate_of is None
    assert judge(ledger, again) == "accepted"


def test_the_same_bytes_for_another_slot_are_no_duplicate(ledger: Ledger) -> None:
    receive(ledger, "a")
    assert receive(ledger, "a", slot=Slot("works-x", "load_profile", "2025-04")).duplicate_of is None


@pytest.mark.parametrize("bad", [{"supplier": "../x"}, {"dataset": "x;drop"}, {"period": "today"}, {"sha256": "x"}])
def test_names_that_are_none_are_refused_and_nothing_is_written(ledger: Ledger, bad: dict[str, str]) -> None:
    good = {"supplier": "works-x", "dataset": "load_profile", "period": "2025", "sha256": sha("a")}
    with pytest.raises(ValueError):
        ledger.receive(**good | bad, size=1, file_name="a", origin="inbox", who="test")  # type: ignore[arg-type]
    assert ledger.deliveries() == []


def test_nothing_to_report_holds_its_slot_like_an_accepted_delivery(ledger: Ledger) -> None:
    first = receive(ledger)
    judge(ledger, first)
    nothing = ledger.receive(
        supplier="works-x",
        dataset="load_profile",
        period="2025-03",
        sha256="",
        size=0,
        file_name="",
        origin="portal",
        who="anna",
        nothing_to_report=True,
        reason="site closed",
    )
    assert waiting(ledger) == [nothing.delivery_id]
    assert judge(ledger, nothing, rows=dict.fromkeys(ROW_COUNTS, 0)) == "nothing_to_report"
    assert states(ledger) == {1: "superseded", 2: "nothing_to_report"}
    served = ledger.accepted_of(SLOT)
    assert served is not None
    assert (served.verdict_state, served.reason) == ("nothing_to_report", "site closed")


# --- waiting and beginning ---


def test_work_is_handed_out_in_turns_of_suppliers_oldest_first(ledger: Ledger) -> None:
    def send(supplier: str, month: int, minute: int) -> str:
        slot = Slot(supplier, "load_profile", f"2025-{month:02d}")
        return receive(ledger, slot=slot, at=MORNING + timedelta(minutes=minute)).delivery_id

    loud = [send("works-loud", month, month) for month in range(1, 6)]
    quiet = [send("works-quiet", month, 10 + month) for month in (2, 1)]
    assert waiting(ledger) == [loud[0], quiet[1], loud[1], quiet[0], *loud[2:]]
    assert waiting(ledger, limit=3) == [loud[0], quiet[1], loud[1]]


def test_a_supplier_is_worked_by_one_judge_at_a_time(ledger: Ledger) -> None:
    loud = [receive(ledger, slot=Slot("works-loud", "load_profile", f"2025-0{n}")).delivery_id for n in (1, 2)]
    ledger.begin(loud[:1], "judge-0")
    assert waiting(ledger, judge="judge-1") == [], "its other file waits for the judge who has the first"
    assert waiting(ledger, judge="judge-0") == loud
    quiet = receive(ledger, slot=Slot("works-quiet", "load_profile", "2025-01")).delivery_id
    assert waiting(ledger, judge="judge-1") == [quiet]
    ledger.defer(loud[0], "the store is down", "judge-0", again_after_seconds=60)
    assert waiting(ledger, judge="judge-1") == [loud[1], quiet], "what rests is in nobody's hands"


def test_of_a_slot_only_the_oldest_attempt_is_handed_out(ledger: Ledger) -> None:
    first, second = receive(ledger), receive(ledger)
    assert waiting(ledger) == [first.delivery_id]
    ledger.begin([first.delivery_id], "judge-1")
    assert waiting(ledger) == [], "the second attempt waits for the first, whoever has it"
    judge(ledger, first)
    assert waiting(ledger) == [second.delivery_id]


def test_every_supplier_belongs_to_exactly_one_shard(ledger: Ledger) -> None:
    sent = {receive(ledger, slot=Slot(f"works-{n}", "load_profile", "2025")).delivery_id for n in range(12)}
    shards = [set(waiting(ledger, shard=(part, 3))) for part in range(3)]
    assert set.union(*shards) == sent
    assert sum(map(len, shards)) == len(sent)


def test_what_one_judge_has_in_hand_no_other_takes(ledger: Ledger) -> None:
    this = receive(ledger).delivery_id
    assert ledger.begin([this], "judge-0") == {this: 1}
    assert ledger.begin([this], "judge-1") == {}
    assert ledger.waiting("judge-1") == []
    assert waiting(ledger) == [this], "a judge that comes up again finds what it had"


def test_a_lease_that_ran_out_frees_the_work(ledger: Ledger) -> None:
    this = receive(ledger).delivery_id
    ledger.begin([this], "judge-0", lease_seconds=-1)
    assert ledger.begin([this], "judge-1") == {this: 2}
    ledger.renew([this], "judge-0", lease_seconds=-1)
    assert ledger.waiting("judge-0") == [], "a lease is renewed by its holder only"
    ledger.renew([this], "judge-1", lease_seconds=-1)
    assert [d.delivery_id for d in ledger.waiting("judge-0")] == [this]


def test_a_file_that_killed_the_judge_twice_is_recognised(ledger: Ledger) -> None:
    this = receive(ledger).delivery_id
    assert [ledger.begin([this], "judge-0")[this] for _ in range(3)] == [1, 2, 3]
    assert ledger.delivery(this).state == "judging"


def test_a_platform_failure_gives_work_back_and_does_not_count(ledger: Ledger) -> None:
    this = receive(ledger).delivery_id
    for _ in range(5):
        assert ledger.begin([this], "judge-0") == {this: 1}
        ledger.defer(this, "object store is down")
    assert ledger.delivery(this).state == "received"
    ledger.begin([this], "judge-0")
    ledger.defer(this, "object store is down", again_after_seconds=60)
    assert waiting(ledger) == [], "not even the one who gave it back"
    assert ledger.history(this)[-1].why == "object store is down"


def test_what_is_judged_or_withdrawn_cannot_be_begun(ledger: Ledger) -> None:
    one, two = receive(ledger), receive(ledger)
    judge(ledger, one)
    ledger.withdraw(two.delivery_id, "test", "mistake")
    assert ledger.begin([one.delivery_id, two.delivery_id, "works-x--load_profile--1999--01"], "judge-0") == {}
    ledger.defer(one.delivery_id, "late")
    assert states(ledger) == {1: "accepted", 2: "withdrawn"}


# --- verdicts ---


def test_a_verdict_ends_the_waiting_and_is_told_once(ledger: Ledger) -> None:
    delivery = receive(ledger)
    ledger.begin([delivery.delivery_id], "judge-0")
    assert judge(ledger, delivery, "partly_accepted") == "partly_accepted"
    assert judge(ledger, delivery, "rejected") == "partly_accepted", "a second verdict is no replay: passed over"
    view = ledger.delivery(delivery.delivery_id)
    assert (view.state, view.judged_at, view.contract_version) == ("partly_accepted", MORNING, "c1")
    assert view.rows == {
        "delivered": 3,
        "accepted": 2,
        "accepted_with_warning": 0,
        "quarantined": 1,
        "ignored_by_rule": 0,
    }
    assert ledger.verdict(delivery.delivery_id) == {"delivery": delivery.delivery_id}
    assert waiting(ledger) == []
    assert [(e.delivery_id, e.kind, e.body["state"]) for e in ledger.unreported()] == [
        (delivery.delivery_id, "judged", "partly_accepted")
    ]
    assert kinds(ledger, delivery.delivery_id) == ["received", "judging", "judged"]


def test_rows_that_do_not_add_up_are_never_recorded() -> None:
    with pytest.raises(ValueError, match="reconcile"):
        verdict("x", rows=dict.fromkeys(ROW_COUNTS, 1))
    with pytest.raises(ValueError, match="reconcile"):
        verdict("x", rows={"delivered": 0})
    with pytest.raises(ValueError, match="not a verdict"):
        verdict("x", "superseded")


def test_one_unknown_delivery_spoils_the_whole_record(ledger: Ledger) -> None:
    delivery = receive(ledger)
    with pytest.raises(UnknownDelivery, match="1999"):
        ledger.record([verdict(delivery), verdict("works-x--load_profile--1999--01")], "judge-0")
    assert ledger.delivery(delivery.delivery_id).state == "received"
    assert ledger.verdict(delivery.delivery_id) is None


def test_a_newer_accepted_attempt_takes_the_slot(ledger: Ledger) -> None:
    one, two = receive(ledger), receive(ledger)
    judge(ledger, one)
    judge(ledger, two, "accepted_with_warnings")
    assert states(ledger) == {1: "superseded", 2: "accepted_with_warnings"}
    assert ledger.history(one.delivery_id)[-1].facts == {"by": two.delivery_id}


def test_a_rejected_attempt_leaves_the_slot_served(ledger: Ledger) -> None:
    one, two = receive(ledger), receive(ledger)
    judge(ledger, one)
    judge(ledger, two, "rejected")
    served = ledger.accepted_of(SLOT)
    assert served is not None
    assert served.attempt == 1
    assert ledger.slot(SLOT).state == "stale"


@pytest.mark.parametrize("together", [True, False], ids=["one_batch", "one_by_one"])
def test_a_late_verdict_on_an_old_attempt_never_takes_the_slot(ledger: Ledger, together: bool) -> None:
    one, two, three = receive(ledger), receive(ledger), receive(ledger)
    records = [verdict(one), verdict(three), verdict(two)]
    batches = [records] if together else [[record] for record in records]
    for batch in batches:
        now = ledger.record(batch, "judge-0")
    assert now[two.delivery_id] == "superseded", "the caller learns that its rows must go"
    assert states(ledger) == {1: "superseded", 2: "superseded", 3: "accepted"}
    assert ledger.newest_accepted([SLOT]) == {SLOT: 3}


def test_a_replay_changes_the_verdict_and_keeps_the_earlier_one(ledger: Ledger) -> None:
    delivery = receive(ledger)
    judge(ledger, delivery, "rejected")
    assert judge(ledger, delivery, replay=True, body={"second": 2}) == "accepted"
    assert ledger.verdict(delivery.delivery_id) == {"second": 2}
    judged = [e.facts for e in ledger.history(delivery.delivery_id) if e.kind == "judged"]
    assert [(facts["state"], facts["replay"]) for facts in judged] == [("rejected", False), ("accepted", True)]


def test_a_replay_leaves_the_first_verdict_and_its_time(ledger: Ledger) -> None:
    delivery = receive(ledger)
    judge(ledger, delivery, "rejected")
    for hours, state in ((1, "partly_accepted"), (2, "accepted")):
        judge(ledger, delivery, state, replay=True, judged_at=MORNING + timedelta(hours=hours))
    view = ledger.delivery(delivery.delivery_id)
    assert (view.verdict_state, view.judged_at) == ("accepted", MORNING + timedelta(hours=2))
    assert (view.first_verdict_state, view.first_judged_at) == ("rejected", MORNING)
    assert view.first_accepted_at == MORNING + timedelta(hours=1)


def test_the_receipt_of_arrival_is_dated_by_the_first_time_it_was_told(ledger: Ledger) -> None:
    one, two = receive(ledger), receive(ledger)
    ledger.acknowledge({one.delivery_id: MORNING}, "judge-0")
    ledger.acknowledge({one.delivery_id: MORNING + timedelta(hours=1)}, "judge-0")
    ledger.acknowledge({}, "judge-0")
    assert {d.delivery_id: d.acknowledged_at for d in ledger.deliveries()} == {
        one.delivery_id: MORNING,
        two.delivery_id: None,
    }


def test_a_replay_of_a_superseded_attempt_leaves_it_superseded(ledger: Ledger) -> None:
    one, two = receive(ledger), receive(ledger)
    judge(ledger, one)
    judge(ledger, two)
    assert judge(ledger, one, replay=True) == "superseded"
    assert judge(ledger, two, replay=True) == "accepted"
    assert states(ledger) == {1: "superseded", 2: "accepted"}


def test_who_tells_the_orchestrator_itself_needs_no_outbox(ledger: Ledger) -> None:
    ledger.record([verdict(receive(ledger))], "dagster", tell=False)
    assert ledger.unreported() == []


def test_figures_and_texts_no_database_takes_do_not_stop_a_verdict(ledger: Ledger) -> None:
    delivery = receive(ledger)
    judge(ledger, delivery, body={"sum": float("nan"), "text": "a\0b\ud800", "deep": [{"x": float("inf")}, (1.5,)]})
    body = ledger.verdict(delivery.delivery_id)
    assert body == {"sum": None, "text": "a\0b\ud800", "deep": [{"x": None}, [1.5]]}


def test_the_last_verdicts_of_many_are_asked_for_at_once(ledger: Ledger) -> None:
    one, two, three = receive(ledger), receive(ledger), receive(ledger)
    judge(ledger, one, "rejected", body={"number": 1})
    judge(ledger, one, replay=True, body={"number": 2})
    judge(ledger, two, body={"number": 3})
    asked = [delivery.delivery_id for delivery in (one, two, three)]
    assert ledger.verdicts(asked) == {asked[0]: {"number": 2}, asked[1]: {"number": 3}}


# --- withdrawing, overdue ---


def test_a_slot_whose_delivery_is_withdrawn_is_served_by_nobody(ledger: Ledger) -> None:
    one, two = receive(ledger), receive(ledger)
    judge(ledger, one)
    judge(ledger, two)
    assert ledger.withdraw(two.delivery_id, "anna", "wrong meter")
    assert not ledger.withdraw(two.delivery_id, "anna", "wrong meter")
    assert ledger.accepted_of(SLOT) is None
    assert states(ledger) == {1: "superseded", 2: "withdrawn"}
    last = ledger.history(SLOT)[-1]
    assert (last.kind, last.who, last.why) == ("withdrawn", "anna", "wrong meter")
    told = []
    while batch := ledger.unreported():
        told += [(entry.delivery_id, entry.kind) for entry in batch]
        ledger.reported(entry.id for entry in batch)
    assert told == [(one.delivery_id, "judged"), (two.delivery_id, "judged"), (two.delivery_id, "withdrawn")]


def test_a_verdict_that_comes_after_the_withdrawal_changes_nothing(ledger: Ledger) -> None:
    delivery = receive(ledger)
    ledger.begin([delivery.delivery_id], "judge-0")
    ledger.withdraw(delivery.delivery_id, "anna", "wrong file")
    assert judge(ledger, delivery) == "withdrawn", "the caller learns that its rows must go"
    assert ledger.accepted_of(SLOT) is None
    assert ledger.verdict(delivery.delivery_id) is None
    assert waiting(ledger) == []


def test_withdrawing_what_nobody_delivered_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(UnknownDelivery):
        ledger.withdraw("works-x--load_profile--2025-03--01", "anna", "?")
    with pytest.raises(UnknownDelivery):
        ledger.delivery("works-x--load_profile--2025-03--01")


def test_a_slot_becomes_overdue_once_per_deadline(ledger: Ledger) -> None:
    assert [ledger.overdue(SLOT, MORNING), ledger.overdue(SLOT, MORNING)] == [True, False]
    assert ledger.overdue(SLOT, MORNING + timedelta(days=7)), "a new deadline is news"
    assert kinds(ledger, str(SLOT)) == ["overdue", "overdue"]
    assert ledger.slot(SLOT).state == "overdue"


def test_all_slots_stand_as_each_alone(ledger: Ledger) -> None:
    judge(ledger, receive(ledger))
    owed, other = Slot("works-y", "load_profile", "2025-03"), Slot("works-z", "load_profile", "2025-03")
    receive(ledger, slot=other)
    now = MORNING + timedelta(days=1)
    slots = ledger.slots({owed: MORNING, SLOT: MORNING}, now)
    assert {slot: standing.state for slot, standing in slots.items()} == {
        SLOT: "accepted",
        owed: "overdue",
        other: "received",
    }
    assert slots[SLOT] == ledger.slot(SLOT, due=MORNING, now=now)


# --- telling ---


def test_the_outbox_hands_out_a_slot_once_at_a_time(ledger: Ledger) -> None:
    other = Slot("works-y", "load_profile", "2025-03")
    one, two, three = receive(ledger), receive(ledger), receive(ledger, slot=other)
    ledger.record([verdict(one), verdict(two), verdict(three)], "judge-0")
    batch = ledger.unreported()
    assert [entry.delivery_id for entry in batch] == [one.delivery_id, three.delivery_id]
    assert [entry.slot for entry in batch] == [SLOT, other]
    assert ledger.unreported(limit=1) == batch[:1]
    ledger.reported(entry.id for entry in batch)
    ledger.reported(entry.id for entry in batch)
    assert [entry.delivery_id for entry in ledger.unreported()] == [two.delivery_id]


def test_a_source_is_remembered_as_it_was_fetched_last(ledger: Ledger) -> None:
    assert ledger.source_state("weather") is None
    for etag in ('"1"', '"2"'):
        ledger.keep_source_state(SourceState("weather", etag, None, MORNING, sha("a")))
    assert ledger.source_state("weather") == SourceState("weather", '"2"', None, MORNING, sha("a"))


# --- asking ---


def test_deliveries_are_found_by_each_of_their_parts(ledger: Ledger) -> None:
    slots = [SLOT, Slot("works-y", "load_profile", "2025-03"), Slot("works-x", "green_waste", "2025")]
    for number, slot in enumerate(slots):
        judge(ledger, receive(ledger, slot=slot, at=MORNING + timedelta(minutes=number)), "rejected")
    receive(ledger, at=MORNING + timedelta(hours=1))
    assert [d.slot for d in ledger.deliveries()] == [*slots, SLOT]
    assert [d.slot for d in ledger.deliveries(supplier="works-x")] == [SLOT, slots[2], SLOT]
    assert [d.slot for d in ledger.deliveries(dataset="green_waste")] == [slots[2]]
    assert [d.attempt for d in ledger.deliveries("works-x", "load_profile", "2025-03")] == [1, 2]
    assert [d.attempt for d in ledger.deliveries(state="received")] == [2]
    assert ledger.deliveries(state="rejected")[0].rows is not None


def test_history_wants_a_delivery_or_a_slot(ledger: Ledger) -> None:
    with pytest.raises(ValueError):
        ledger.history("works-x")


def test_asking_about_ten_thousand_deliveries_takes_few_questions(ledger: Ledger) -> None:
    for number in range(30):
        judge(ledger, receive(ledger, slot=Slot(f"works-{number}", "load_profile", "2025")))
    asked: list[str] = []
    sa.event.listen(ledger._engine, "before_cursor_execute", lambda c, cursor, statement, *_: asked.append(statement))
    assert len(ledger.deliveries()) == 30
    assert len([statement for statement in asked if statement.startswith("SELECT")]) == 3


# --- repair ---


def test_a_lost_queue_is_made_again_from_the_events(ledger: Ledger) -> None:
    receive(ledger, "a")
    receive(ledger, "a")
    other = [receive(ledger, slot=Slot(f"works-{n}", "load_profile", "2025")) for n in range(4)]
    ledger.begin([other[0].delivery_id], "judge-0", lease_seconds=-1)
    ledger.begin([d.delivery_id for d in other], "judge-0")
    ledger.defer(other[3].delivery_id, "store is down")
    judge(ledger, other[1])
    ledger.withdraw(other[2].delivery_id, "test", "mistake")

    def content() -> set[tuple[Any, ...]]:
        with ledger._engine.connect() as c:
            q = t.queue.c
            columns = (q.delivery_id, q.supplier, q.dataset, q.period, q.attempt, q.shard, q.received_at, q.begins)
            return {tuple(row) for row in c.execute(sa.select(*columns))}

    before = content()
    with ledger._writing.begin() as c:
        c.execute(sa.delete(t.queue))
    assert waiting(ledger) == []
    assert ledger.rebuild_queue() == 3
    assert content() == before
    assert ledger.begin([other[0].delivery_id], "judge-9") == {other[0].delivery_id: 3}


# --- many at once, and dying in between ---


def receive_many(url: str, worker: int) -> None:
    ledger = Ledger(url)
    ledger.migrate()
    for number in range(10):
        receive(ledger, f"{worker}-{number}")


def test_processes_that_receive_for_one_slot_number_without_gap_or_double(url: str) -> None:
    # nobody migrated yet: the first openings race as well
    workers = [multiprocessing.get_context("spawn").Process(target=receive_many, args=(url, n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    assert sorted(d.attempt for d in Ledger(url).deliveries()) == list(range(1, 41))


def begin_all(url: str, ids: list[str], who: str, taken: Any) -> None:
    taken.put(sorted(Ledger(url).begin(ids, who)))


def test_of_two_judges_that_reach_for_one_delivery_one_gets_it(ledger: Ledger, url: str) -> None:
    ids = [receive(ledger, slot=Slot(f"works-{n}", "load_profile", "2025")).delivery_id for n in range(20)]
    spawn = multiprocessing.get_context("spawn")
    taken = spawn.Queue()
    workers = [spawn.Process(target=begin_all, args=(url, ids, f"judge-{n}", taken)) for n in range(2)]
    for worker in workers:
        worker.start()
    hands = [taken.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(hands[0] + hands[1]) == sorted(ids)


KILLED = """
import os, signal, sys
import sqlalchemy as sa
from storage.ledger import ledger as module
from tests_helper import receive, verdict, SLOT

ledger = module.Ledger(sys.argv[1])
step = int(sys.argv[2])
seen = 0

def die(c, cursor, statement, *_):
    global seen
    if statement.startswith(("INSERT", "UPDATE", "DELETE")):
        seen += 1
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)

sa.event.listen(ledger._engine, "after_cursor_execute", die)
if sys.argv[3] == "receive":
    arrival = ledger.unsettled()[0]
    receive(ledger, "b", arrival_id=arrival.id)
else:
    ledger.record([verdict(d) for d in ledger.deliveries(state="received")], "judge-0")
"""


@pytest.mark.parametrize("action", ["receive", "record"])
def test_a_process_killed_in_the_middle_leaves_nothing_half(tmp_path: Path, action: str) -> None:
    """Kill after every single statement of the transaction; the repeated work then ends as if undisturbed."""
    url = new_url("sqlite", tmp_path)
    ledger = Ledger(url)
    ledger.migrate()
    one, two = receive(ledger, "a"), receive(ledger, slot=Slot("works-y", "load_profile", "2025"))
    judge(ledger, one)
    if action == "receive":
        assert ledger.arrive("inbox", "works-x", "b", "1", 1, sha("b")) is not None
    else:
        receive(ledger, "b")

    def everything() -> list[Any]:
        with sqlite3.connect(tmp_path / "ledger.sqlite") as c:
            return [c.execute(f"SELECT * FROM {table}").fetchall() for table in t.metadata.tables]

    before, script = everything(), tmp_path / "killed.py"
    script.write_text(KILLED.replace("tests_helper", Path(__file__).stem))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    for step in range(1, 20):
        command = [sys.executable, str(script), url, str(step), action]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert everything() == before
    assert step >= 4, "it was killed at several points"
    assert len(ledger.deliveries()) == 3
    assert ledger.unsettled() == []
    expected = {"receive": {1: "accepted", 2: "received"}, "record": {1: "superseded", 2: "accepted"}}[action]
    assert {d.attempt: d.state for d in ledger.deliveries("works-x")} == expected
    assert ledger.delivery(two.delivery_id).state == ("received" if action == "receive" else "accepted")


def test_a_reader_is_not_kept_waiting_by_a_writer(tmp_path: Path) -> None:
    ledger = Ledger(new_url("sqlite", tmp_path))
    ledger.migrate()
    receive(ledger)
    with ledger._write() as c:
        c.execute(sa.delete(t.queue))
        begun = time.monotonic()
        assert len(ledger.deliveries()) == 1
        assert len(waiting(ledger)) == 1, "and sees what was before"
        assert time.monotonic() - begun < 5


# --- what always holds ---

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["receive", "receive", "record", "record", "replay", "withdraw", "begin", "defer", "rebuild"]),
        st.integers(0, 3),
        st.sampled_from(["accepted", "accepted_with_warnings", "partly_accepted", "rejected"]),
    ),
    max_size=14,
)


@given(ACTIONS)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_in_whatever_order_a_slot_has_one_truth(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int, str]]
) -> None:
    ledger = Ledger(new_url("sqlite", tmp_path_factory.mktemp("ledger")))
    ledger.migrate()
    try:
        for action, number, state in actions:
            held = ledger.accepted_of(SLOT)
            act(ledger, action, number, state)
            check(ledger, held, replayed=action == "replay")
    finally:
        ledger.close()


def act(ledger: Ledger, action: str, number: int, state: str) -> None:
    if action == "receive":
        receive(ledger, f"content {number}", nothing_to_report=number == 3)
        return
    known = ledger.deliveries()
    if not known:
        return
    chosen = known[number % len(known)]
    match action:
        case "record" | "replay":
            judge(ledger, chosen, state, replay=action == "replay")
        case "withdraw":
            ledger.withdraw(chosen.delivery_id, "test", "mistake")
        case "begin":
            ledger.begin([chosen.delivery_id], "judge-0")
        case "defer":
            ledger.defer(chosen.delivery_id, "store is down")
        case "rebuild":
            ledger.rebuild_queue()


def check(ledger: Ledger, held_before: DeliveryView | None, replayed: bool) -> None:
    views = ledger.deliveries()
    served = [view for view in views if view.state in SERVED]
    assert len(served) <= 1
    holder = ledger.accepted_of(SLOT)
    assert [holder] == served if served else holder is None
    if served:
        accepted_ever = [v.attempt for v in views if v.state in {*SERVED, "superseded"}]
        assert served[0].attempt == max(accepted_ever)
    if held_before and holder and not replayed:
        assert holder.attempt >= held_before.attempt, "an older attempt took the slot from a newer one"
    with ledger._engine.connect() as c:
        queued: set[str] = set(c.execute(sa.select(t.queue.c.delivery_id)).scalars())
    assert queued == {view.delivery_id for view in views if view.state in ("received", "judging")}
    assert [view.attempt for view in views] == list(range(1, len(views) + 1))
    standing = ledger.slot(SLOT)
    assert standing.served == (holder.delivery_id if holder else None)
    assert standing.attempts == len(views)
    outcomes = [entry for entry in ledger.history(SLOT) if entry.kind in ("judged", "withdrawn")]
    with ledger._engine.connect() as c:
        assert c.execute(sa.select(sa.func.count()).select_from(t.outbox)).scalar() == len(outcomes)


def test_a_receipt_is_owed_from_receipt_or_verdict_until_it_is_out(ledger: Ledger) -> None:
    delivery = receive(ledger)
    this = delivery.delivery_id
    assert ledger.owed_receipts() == {(this, "arrival")}
    ledger.record([verdict(delivery)], "judge-0")
    assert ledger.owed_receipts() == {(this, "arrival"), (this, "verdict")}
    ledger.acknowledge({this: MORNING}, "desk")
    ledger.answered([this])
    assert ledger.owed_receipts() == set()
    # a replay owes it anew, however often
    for _ in range(2):
        ledger.record([verdict(delivery, "rejected", replay=True)], "replay")
    assert ledger.owed_receipts() == {(this, "verdict")}


def test_progress_tells_how_far_a_delivery_is_on_its_way(ledger: Ledger) -> None:
    delivery, other = receive(ledger), receive(ledger, slot=Slot("other-works", SLOT.dataset, SLOT.period))
    this = delivery.delivery_id
    assert ledger.progress([this, other.delivery_id]) == {this: "queued", other.delivery_id: "queued"}
    ledger.begin([this], "judge-0")
    assert ledger.progress([this, other.delivery_id]) == {this: "judging", other.delivery_id: "queued"}
    # who had it in hand is gone
    ledger.begin([this], "judge-0", lease_seconds=-1)
    assert ledger.progress([this]) == {this: "queued"}
    ledger.begin([this], "judge-0")
    ledger.record([verdict(delivery)], "judge-0")
    assert ledger.progress([this]) == {this: "writing"}
    ledger.acknowledge({this: MORNING}, "desk")
    ledger.answered([this])
    assert ledger.progress([this]) == {this: "done"}
    ledger.owe_replays([this])
    assert ledger.progress([this]) == {this: "again"}


def test_attempts_are_all_deliveries_of_a_slot_whatever_became_of_them(ledger: Ledger) -> None:
    assert ledger.attempts(SLOT) == 0
    for count in (1, 2):
        delivery = receive(ledger)
        ledger.record([verdict(delivery, "rejected")], "judge-0")
        assert ledger.attempts(SLOT) == count
    receive(ledger, slot=Slot("other-works", SLOT.dataset, SLOT.period))
    assert ledger.attempts(SLOT) == 2
