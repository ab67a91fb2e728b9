"""The life of deliveries from arrival to what readers are served: corrections, disorder, doubles, withdrawals, hand-overs."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from quality import judging
from quality.calendar import due_at, owed_slots
from quality.errors import Refused
from quality.inboxes import Inboxes
from quality.judge import Judged
from quality.judging import work_queue
from quality.replay import candidates, replay
from quality.supply import publish_supply
from storage import stores
from storage.ledger.ledger import Delivery
from storage.paths import Slot
from tests.support.bench import GOOD, HEIRS, PLAIN, SOLINGEN, THIRD, WORKS, TestBench, written
from tests.support.profiles import drop

WASTE = GOOD["waste_balance"][1]
SLOT = Slot(WORKS, "waste_balance", "2024")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBench]:
    made = TestBench(tmp_path_factory.mktemp("home"))
    made.desk.warm_up()
    yield made
    made.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[TestBench]:
    made = TestBench(tmp_path / "home")
    yield made
    made.close()


def balance(*quantities: str | None, year: str = "2024") -> str:
    """A waste balance with a row for each quantity, one waste code each; None leaves the row out."""
    codes = ("200301", "200108", "200201", "150101")
    return written(
        [
            WASTE | {"year": year, "waste_code": code, "quantity_t": quantity}
            for code, quantity in zip(codes, quantities, strict=False)
            if quantity is not None
        ]
    )


def receive(bench: TestBench, content: str, period: str = "2024", supplier: str = WORKS) -> str:
    file = bench.file(content)
    return bench.desk.receive(file, supplier, "waste_balance", period, file_name=file.name, who="test").delivery_id


def served(bench: TestBench, period: str = "2024", supplier: str = WORKS) -> list[tuple[Any, ...]]:
    return bench.rows(
        "select attempt, waste_code, cast(quantity_t as double) from accepted.waste_balance "
        f"where supplier_id = '{supplier}' and period = '{period}' order by delivered_line"
    )


def states(bench: TestBench, slot: Slot = SLOT) -> list[str]:
    views = bench.desk.ledger.deliveries(slot.supplier, slot.dataset, slot.period)
    return [view.state for view in sorted(views, key=lambda view: view.attempt)]


def receipt_of(bench: TestBench, delivery: str) -> dict[str, Any]:
    written_to = bench.desk.receipts.places(delivery)["json"]
    assert written_to is not None
    document: dict[str, Any] = json.loads(Path(written_to).read_text())
    return document


def lose_receipts(bench: TestBench, delivery: str) -> None:
    for file in bench.desk.home.receipts(WORKS).glob(f"{delivery}.*"):
        file.unlink()
        stores.receipts(bench.desk.settings).delete(f"{WORKS}/{file.name}")


def test_a_correction_replaces_its_slot_and_says_what_changed(bench: TestBench) -> None:
    first = receive(bench, balance("100", "20", "3"))
    work_queue(bench.desk)
    before = bench.desk.lake.snapshot()
    second = receive(bench, balance("100", "25", None, "7"))
    work_queue(bench.desk)
    assert states(bench) == ["superseded", "accepted"]
    assert served(bench) == [(2, "200301", 100), (2, "200108", 25), (2, "150101", 7)]
    document = bench.desk.receipt(second)
    assert {name: document["changes"][name] for name in ("added", "removed", "changed")} == {
        "added": 1, "removed": 1, "changed": 1,
    }  # fmt: skip
    told = [(e.delivery_id, e.kind) for e in bench.desk.ledger.history(str(SLOT))]
    assert told == [
        (first, "received"), (first, "acknowledged"), (first, "judging"), (first, "judged"),
        (second, "received"), (second, "acknowledged"), (second, "judging"), (second, "judged"), (first, "superseded"),
    ]  # fmt: skip
    # the version before stays readable in history, and its bytes in the vault
    earlier = (
        f"select sum(quantity_t) from accepted.waste_balance at (version => {before}) where supplier_id = '{WORKS}'"
    )
    assert bench.rows(earlier) == [(123,)]
    assert bench.desk.vault.fetch(
        bench.desk.ledger.delivery(first).sha256, bench.desk.home.work
    ).read_text() == balance("100", "20", "3")


def test_what_was_held_back_is_told_of_the_served_version_only(bench: TestBench) -> None:
    held = "select delivery_id, delivered_line from accepted.quarantine order by all"
    first = receive(bench, balance("100", "x"))
    receive(bench, balance("1", "y", year="2023"), "2023")
    receive(bench, written([WASTE | {"area_code": SOLINGEN}, WASTE | {"waste_code": "z"}]), supplier=THIRD)
    work_queue(bench.desk)
    before = bench.desk.lake.snapshot()
    others = [row for row in bench.rows(held) if row[0] != first]
    assert len(others) == 2
    assert (first, 3) in bench.rows(held)
    receive(bench, "<html>session expired</html>")
    work_queue(bench.desk)
    assert (first, 3) in bench.rows(held), "a rejected correction takes nobody's place"
    second = receive(bench, balance("100", "20", "-1"))
    work_queue(bench.desk)
    assert [row for row in bench.rows(held) if row not in others] == [(second, 4)]
    bench.desk.declare_nothing(WORKS, "waste_balance", "2024", who="anna", reason="delivered by mistake")
    work_queue(bench.desk)
    assert bench.rows(held) == others
    earlier = f"select delivered_line from accepted.quarantine at (version => {before}) where delivery_id = '{first}'"
    assert bench.rows(earlier) == [(3,)]


@pytest.mark.parametrize("order", [(1, 3, 2), (3, 1, 2), (3, 2, 1), (2, 1, 3)])
def test_the_newest_attempt_is_served_in_whatever_order_they_finish(bench: TestBench, order: tuple[int, ...]) -> None:
    names = {n: receive(bench, balance(str(n))) for n in (1, 2, 3)}
    for n in order:
        judged = bench.desk.judge(bench.desk.ledger.delivery(names[n]))
        bench.desk.answer([judged])
    assert states(bench) == ["superseded", "superseded", "accepted"]
    assert served(bench) == [(3, "200301", 3)]
    assert bench.desk.ledger.slot(SLOT).served == names[3]


def test_an_old_attempt_that_finishes_late_leaves_no_quarantine_of_its_own(bench: TestBench) -> None:
    old, new = receive(bench, balance("1", "x")), receive(bench, balance("2", "3"))
    late = bench.desk.judge(bench.desk.ledger.delivery(old))
    work_queue(bench.desk)  # takes the oldest first; both are judged here
    bench.desk.answer([late])
    assert served(bench) == [(2, "200301", 2), (2, "200108", 3)]
    assert bench.desk.ledger.slot(SLOT).served == new
    assert bench.rows("select count(*) from accepted.quarantine where attempt = 2") == [(0,)]


def test_the_same_bytes_twice_are_a_duplicate_with_a_receipt_and_nothing_is_judged(bench: TestBench) -> None:
    first, second = receive(bench, balance("1")), receive(bench, balance("1"))
    assert work_queue(bench.desk) == 1
    assert states(bench) == ["accepted", "duplicate"]
    assert bench.desk.receipt(second)["duplicate_of"] == first
    assert receipt_of(bench, second)["state"] == "duplicate"
    assert served(bench) == [(1, "200301", 1)]
    # the same bytes after another version are a correction back, not a duplicate
    third, fourth = receive(bench, balance("2")), receive(bench, balance("1"))
    work_queue(bench.desk)
    assert states(bench) == ["superseded", "duplicate", "superseded", "accepted"]
    assert served(bench) == [(4, "200301", 1)]
    assert {third, fourth} == {f"{SLOT}--03", f"{SLOT}--04"}


def test_a_withdrawn_delivery_leaves_nobody_serving_and_may_come_again(bench: TestBench) -> None:
    delivery = receive(bench, balance("1", "x", "2"))
    work_queue(bench.desk)
    assert states(bench) == ["partly_accepted"]
    assert bench.desk.withdraw(delivery, who="test", why="wrong year")
    assert not bench.desk.withdraw(delivery, who="test", why="again")
    assert states(bench) == ["withdrawn"]
    assert served(bench) == []
    assert bench.rows("select count(*) from accepted.quarantine") == [(0,)]
    assert bench.desk.ledger.slot(SLOT).state == "missing"
    last = bench.desk.ledger.history(delivery)[-1]
    assert (last.kind, last.why, last.who) == ("withdrawn", "wrong year", "test")
    again = receive(bench, balance("1", "x", "2"))
    work_queue(bench.desk)
    assert states(bench) == ["withdrawn", "partly_accepted"]
    assert [row[0] for row in served(bench)] == [2, 2]
    assert again == f"{SLOT}--02"


def test_what_is_withdrawn_while_it_is_judged_is_never_served(bench: TestBench) -> None:
    delivery = receive(bench, balance("1"))
    judged = bench.desk.judge(bench.desk.ledger.delivery(delivery))
    bench.desk.withdraw(delivery, who="test", why="stop")
    bench.desk.answer([judged])
    assert states(bench) == ["withdrawn"]
    assert served(bench) == []


def test_nothing_to_report_is_neither_missing_nor_zero(bench: TestBench) -> None:
    with pytest.raises(Refused, match="reason"):
        bench.desk.declare_nothing(WORKS, "waste_balance", "2024", who="test", reason=" ")
    receive(bench, balance("5", year="2023"), "2023")
    declared = bench.desk.declare_nothing(WORKS, "waste_balance", "2024", who="anna", reason="closed all year")
    work_queue(bench.desk)
    assert states(bench) == ["nothing_to_report"]
    slot = bench.desk.ledger.slot(SLOT)
    assert (slot.state, slot.served) == ("nothing_to_report", declared.delivery_id)
    assert served(bench) == []
    assert served(bench, "2023") != []
    assert receipt_of(bench, declared.delivery_id)["state"] == "nothing_to_report"
    assert bench.desk.receipt(declared.delivery_id)["reason"] == "closed all year"
    # declared again is a duplicate; figures after all replace the declaration
    bench.desk.declare_nothing(WORKS, "waste_balance", "2024", who="anna", reason="closed all year")
    receive(bench, balance("5"))
    work_queue(bench.desk)
    assert states(bench) == ["superseded", "duplicate", "accepted"]
    assert served(bench) == [(3, "200301", 5)]


def test_nothing_to_report_after_figures_takes_the_figures_out(bench: TestBench) -> None:
    receive(bench, balance("5", "x"))
    work_queue(bench.desk)
    bench.desk.declare_nothing(WORKS, "waste_balance", "2024", who="anna", reason="delivered by mistake")
    work_queue(bench.desk)
    assert states(bench) == ["superseded", "nothing_to_report"]
    assert served(bench) == []


def test_a_rejected_correction_leaves_the_old_version_served_and_marked_stale(bench: TestBench) -> None:
    good = receive(bench, balance("1"))
    work_queue(bench.desk)
    bad = receive(bench, "<html>session expired</html>")
    slot = bench.desk.ledger.slot(SLOT)
    assert slot.stale_since is not None
    work_queue(bench.desk)
    slot = bench.desk.ledger.slot(SLOT)
    assert (slot.state, slot.served, slot.newest) == ("stale", good, bad)
    assert slot.stale_since == bench.desk.ledger.delivery(bad).received_at
    assert served(bench) == [(1, "200301", 1)]
    publish_supply(bench.desk)
    told = "select state, served_attempt, stale_since is not null from accepted.supply_slots where period = '2024'"
    assert bench.rows(f"{told} and supplier_id = '{WORKS}' and dataset = 'waste_balance'") == [("rejected", 1, True)]
    receive(bench, balance("2"))
    work_queue(bench.desk)
    slot = bench.desk.ledger.slot(SLOT)
    assert (slot.state, slot.stale_since) == ("accepted", None)
    assert states(bench) == ["superseded", "rejected", "accepted"]


def test_a_slot_handed_over_inside_a_month_is_owed_by_both_and_later_ones_by_the_heir(bench: TestBench) -> None:
    owed = {
        (o.slot.supplier, o.slot.period)
        for o in owed_slots(bench.desk.pack, datetime(2025, 10, 1, tzinfo=UTC).date())
        if o.slot.dataset == "green_waste_intake" and o.slot.period >= "2025-06"
    }
    assert owed == {(WORKS, "2025-06"), (WORKS, "2025-07"), (HEIRS, "2025-07"), (HEIRS, "2025-08"), (HEIRS, "2025-09")}
    good = GOOD["green_waste_intake"][1]

    def deliver(supplier: str, period: str) -> str:
        days = [good | {"intake_date": f"{period}-{day:02d}"} for day in (3, 20)]
        judged = bench.deliver(written(days), "green_waste_intake", period, supplier=supplier)
        assert judged is not None
        return judged.verdict.state

    assert [deliver(WORKS, p) for p in ("2025-06", "2025-07", "2025-08")] == ["accepted", "accepted", "rejected"]
    assert [deliver(HEIRS, p) for p in ("2025-06", "2025-07", "2025-08")] == ["rejected", "accepted", "accepted"]
    rows = bench.rows("select supplier_id, period, count(*) from accepted.green_waste_intake group by all order by all")
    assert rows == [(HEIRS, "2025-07", 2), (HEIRS, "2025-08", 2), (WORKS, "2025-06", 2), (WORKS, "2025-07", 2)]


def test_one_slot_never_touches_another(bench: TestBench) -> None:
    receive(bench, balance("1", year="2023"), "2023")
    third = written([WASTE | {"area_code": SOLINGEN}])
    receive(bench, third, supplier=THIRD)
    receive(bench, balance("2"))
    work_queue(bench.desk)
    before = bench.accepted("waste_balance")
    receive(bench, balance("3", "4"))
    work_queue(bench.desk)
    after = bench.accepted("waste_balance")
    assert [row for row in after if row not in before] == [row for row in after if row[8:10] == ("2024", f"{SLOT}--02")]
    assert len(after) == 4


def test_an_overdue_slot_is_told_once_and_ends_with_its_delivery(bench: TestBench) -> None:
    owed = next(o for o in owed_slots(bench.desk.pack, datetime(2025, 6, 1, tzinfo=UTC).date()) if o.slot == SLOT)
    due = due_at(owed.due_on, bench.desk.pack.region.zone)
    assert bench.desk.ledger.overdue(SLOT, due)
    assert not bench.desk.ledger.overdue(SLOT, due)
    assert bench.desk.ledger.slot(SLOT).state == "overdue"
    receive(bench, balance("1"))
    work_queue(bench.desk)
    assert bench.desk.ledger.slot(SLOT).state == "accepted"


def test_a_sweep_notes_when_each_receipt_of_arrival_was_there(bench: TestBench) -> None:
    for year in ("2022", "2023"):
        drop(bench.settings, f"{WORKS}/waste_balance/{year}/balance.csv", balance("1", year=year))
    assert Inboxes(bench.desk).sweep() == 2
    views = bench.desk.ledger.deliveries()
    assert len(views) == 2
    assert all(view.acknowledged_at and view.acknowledged_at >= view.received_at for view in views)


def test_a_check_gives_the_verdict_of_a_delivery_and_stores_nothing(bench: TestBench) -> None:
    file = bench.file(balance("1", "x", "2"))
    document = bench.desk.check(file, WORKS, "waste_balance", "2024")
    assert bench.desk.ledger.deliveries() == []
    assert served(bench) == []
    assert list(stores.vault(bench.settings).list()) == []
    delivery = receive(bench, balance("1", "x", "2"))
    work_queue(bench.desk)
    real = bench.desk.receipt(delivery)
    for name in ("delivery", "supplier", "dataset", "period", "attempt", "sha256", "state", "rows"):
        assert document[name] == real[name], name
    assert [f["rule"] for f in document["findings"]] == [f["rule"] for f in real["findings"]]


def test_every_delivery_of_a_batch_with_two_attempts_of_one_slot_is_answered(bench: TestBench) -> None:
    names = [receive(bench, balance(str(n))) for n in range(1, 6)]
    others = [receive(bench, balance("9", year=str(year)), str(year)) for year in range(2015, 2020)]
    assert work_queue(bench.desk) == 10
    assert states(bench) == ["superseded"] * 4 + ["accepted"]
    for delivery in names + others:
        assert receipt_of(bench, delivery)["delivery"] == delivery
    assert len(bench.accepted("waste_balance")) == 6


def test_a_replay_says_what_would_change_before_it_does_it(tmp_path: Path) -> None:
    pack = Path(shutil.copytree(PLAIN, tmp_path / "pack"))
    bench = TestBench(tmp_path / "home", pack)
    delivery = receive(bench, written([WASTE, WASTE | {"waste_code": "Sperriges"}, WASTE | {"waste_code": "200201"}]))
    work_queue(bench.desk)
    assert states(bench) == ["partly_accepted"]
    assert candidates(bench.desk) == []
    with (pack / "mappings.csv").open("a") as mappings:
        mappings.write("avv,*,Sperriges,200307,1900-01-01,9999-12-31,tests,2025-01-01\n")
    chosen = candidates(bench.desk)
    assert [view.delivery_id for view in chosen] == [delivery]
    (would,) = replay(bench.desk, chosen, dry_run=True)
    assert (would.state_before, would.state_after, would.differs) == ("partly_accepted", "accepted", True)
    assert states(bench) == ["partly_accepted"]
    assert len(served(bench)) == 2
    (done,) = replay(bench.desk, chosen, dry_run=False)
    assert done == would
    assert states(bench) == ["accepted"]
    assert [row[1] for row in served(bench)] == ["200301", "200307", "200201"]
    assert bench.rows("select count(*) from accepted.quarantine") == [(0,)]
    publish_supply(bench.desk)
    told = "select first_verdict, state, first_judged_at < judged_at, acknowledged_at >= received_at, acknowledged_at < first_judged_at"
    assert bench.rows(f"{told} from accepted.supply_deliveries") == [("partly_accepted", "accepted", True, True, True)]
    slots = "select first_state, state, first_accepted_at < judged_at from accepted.supply_slots where attempts > 0"
    assert bench.rows(slots) == [("partly_accepted", "accepted", True)]
    assert candidates(bench.desk) == []
    assert done.versions_before["mappings"] != done.versions_after["mappings"]
    bench.close()


def test_a_replay_of_a_superseded_or_withdrawn_delivery_never_comes_back_to_life(bench: TestBench) -> None:
    old, new = receive(bench, balance("1")), receive(bench, balance("2"))
    work_queue(bench.desk)
    bench.desk.rejudge(old)
    assert served(bench) == [(2, "200301", 2)]
    assert states(bench) == ["superseded", "accepted"]
    bench.desk.withdraw(new, who="test", why="gone")
    bench.desk.rejudge(new)
    assert served(bench) == []
    assert states(bench) == ["superseded", "withdrawn"]


def test_a_change_is_judged_against_what_was_served_then_and_says_so(bench: TestBench) -> None:
    rule = "quantity_changed_by_less_than_a_third"
    later = receive(bench, balance("200"))
    work_queue(bench.desk)
    receive(bench, balance("100", year="2023"), "2023")
    work_queue(bench.desk)
    assert rule not in {f["rule"] for f in bench.desk.receipt(later)["findings"]}, "there was nothing to compare with"
    bench.desk.rejudge(later)
    (told,) = [f["message"] for f in bench.desk.receipt(later)["findings"] if f["rule"] == rule]
    assert "Verglichen wurde mit 2023, so wie es bei der Prüfung vorlag." in told["de"]
    assert "Compared with 2023 as it was when this was judged." in told["en"]


# --- any order, any repetition ---

VERSIONS = [balance("1"), balance("2", "3"), balance("4", None, "x"), "kaputt", balance("5", "6")]


def outcome(bench: TestBench, year: str) -> tuple[Any, ...]:
    """What is served for the year, and the state of each attempt, without times."""
    slot = Slot(WORKS, "waste_balance", year)
    held = bench.rows(f"select attempt, rules, cells from accepted.quarantine where period = '{year}' order by all")
    return served(bench, year), states(bench, slot), held, bench.desk.ledger.slot(slot).served


#: No year follows another one, so that none is compared with it.
_years = iter(range(2010, 2400, 2))


@settings(
    max_examples=8, deadline=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(which=st.lists(st.integers(0, len(VERSIONS) - 1), min_size=2, max_size=4, unique=True), seed=st.integers())
def test_any_order_and_repetition_of_judging_ends_in_the_same_tables(
    shared: TestBench, which: list[int], seed: int
) -> None:
    """The attempts of a slot are judged in their order in one year, and in disorder with repetitions in another."""

    def delivered(year: str) -> list[str]:
        texts = [VERSIONS[n].replace(";2024;", f";{year};") for n in which]
        return [receive(shared, text, year) for text in texts]

    calm, wild = str(next(_years)), str(next(_years))
    for delivery in delivered(calm):
        shared.desk.answer([shared.desk.judge(shared.desk.ledger.delivery(delivery))])
    chance = random.Random(seed)
    names = delivered(wild)
    order = names + chance.choices(names, k=2)
    chance.shuffle(order)
    waiting: list[Judged] = []
    for delivery in order:
        waiting.append(shared.desk.judge(shared.desk.ledger.delivery(delivery)))
        if chance.random() < 0.6:
            shared.desk.answer([waiting.pop(chance.randrange(len(waiting)))])
    for judged in waiting:
        shared.desk.answer([judged])
    rows, told, held, holder = outcome(shared, calm)
    rows_wild, told_wild, held_wild, holder_wild = outcome(shared, wild)
    assert rows_wild == rows
    assert told_wild == told
    holds = rows[0][0] if rows else None
    assert [h for h in held_wild if h[0] == holds] == [(a, r, c.replace(calm, wild)) for a, r, c in held if a == holds]
    assert (holder_wild or "").replace(wild, calm) == (holder or "")


# --- one delivery never keeps others ---


def test_a_mistake_of_ours_that_one_file_brings_out_ends_in_a_verdict_and_others_go_on(
    bench: TestBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quality import judging

    strange, normal = receive(bench, balance("1")), receive(bench, balance("2", year="2023"), "2023")
    original = bench.desk.judge

    def stumbles(delivery: Any) -> Judged:
        if delivery.delivery_id == strange:
            raise ZeroDivisionError("a case nobody thought of")
        return original(delivery)

    monkeypatch.setattr(bench.desk, "judge", stumbles)
    monkeypatch.setattr(judging, "_judge_apart", lambda desk, delivery: desk.reject_unread(delivery, "exit code 1"))
    work_queue(bench.desk)
    assert bench.desk.ledger.delivery(normal).state == "accepted"
    assert bench.desk.ledger.delivery(strange).state == "rejected"
    assert [f["rule"] for f in bench.desk.receipt(strange)["findings"]] == ["file.killed_the_reader"]


def test_what_cannot_be_stored_is_put_back_alone_and_the_reason_is_told(
    bench: TestBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [receive(bench, balance("1", year=year), year) for year in ("2020", "2022", "2024")]
    original = bench.desk.lake.replace

    def refuses(slots: Any) -> Any:
        if any(slot.delivery == names[1] for slot in slots):
            raise OSError("no space left")
        return original(slots)

    monkeypatch.setattr(bench.desk.lake, "replace", refuses)
    work_queue(bench.desk)
    assert [bench.desk.ledger.delivery(name).state for name in names] == ["accepted", "received", "accepted"]
    last = bench.desk.ledger.history(names[1])[-1]
    assert last.kind == "deferred"
    assert "no space left" in (last.why or "")
    monkeypatch.undo()
    bench.desk.answer([bench.desk.judge(bench.desk.ledger.delivery(names[1]))])
    assert bench.desk.ledger.delivery(names[1]).state == "accepted"


def test_receipts_that_were_lost_are_written_again_as_they_were(bench: TestBench) -> None:
    receive(bench, balance("1", "2"))
    work_queue(bench.desk)
    second = receive(bench, balance("1", "3"))
    unjudged = receive(bench, balance("1", year="2020"), "2020")
    work_queue(bench.desk)
    before = receipt_of(bench, second)
    for lost in (second, unjudged):
        lose_receipts(bench, lost)
    assert bench.desk.write_missing_receipts() == 2
    assert receipt_of(bench, second) == before
    assert bench.desk.write_missing_receipts() == 0


@pytest.fixture
def changing(tmp_path: Path) -> Iterator[tuple[TestBench, Callable[[], None]]]:
    """A desk whose region learns a word afterwards, so that `CHANGED` is judged differently."""
    pack = Path(shutil.copytree(PLAIN, tmp_path / "pack"))
    made = TestBench(tmp_path / "home", pack)

    def learn() -> None:
        with (pack / "mappings.csv").open("a") as mappings:
            mappings.write("avv,*,Sperriges,200307,1900-01-01,9999-12-31,tests,2025-01-01\n")

    yield made, learn
    made.close()


CHANGED = written([WASTE, WASTE | {"waste_code": "Sperriges"}, WASTE | {"waste_code": "200201"}])


def test_a_lost_receipt_tells_the_recorded_verdict_also_where_it_would_be_another_by_now(
    changing: tuple[TestBench, Callable[[], None]],
) -> None:
    bench, learn = changing
    delivery = receive(bench, CHANGED)
    work_queue(bench.desk)
    before = receipt_of(bench, delivery)
    assert before["state"] == "partly_accepted"
    page, workbook = (Path(bench.desk.receipts.places(delivery)[kind] or "") for kind in ("html", "xlsx"))
    shown = page.read_text()
    learn()
    lose_receipts(bench, delivery)
    assert bench.desk.write_missing_receipts() == 1
    after = receipt_of(bench, delivery)
    assert after.pop("receipt") == before.pop("receipt") | {"xlsx": None}, "what is marked now are other rows"
    assert after == before
    assert page.read_text().count("Sperriges") == shown.count("Sperriges") > 0
    assert not workbook.exists()
    assert states(bench) == ["partly_accepted"]


def test_a_receipt_that_missed_its_replay_is_written_anew(changing: tuple[TestBench, Callable[[], None]]) -> None:
    bench, learn = changing
    delivery = receive(bench, CHANGED)
    work_queue(bench.desk)
    file = Path(bench.desk.receipts.places(delivery)["json"] or "")
    old = file.read_text()
    learn()
    bench.desk.rejudge(delivery)
    new = file.read_text()
    assert (json.loads(old)["state"], json.loads(new)["state"]) == ("partly_accepted", "accepted")
    assert bench.desk.write_missing_receipts() == 0
    file.write_text(old)
    stores.receipts(bench.desk.settings).put(f"{WORKS}/{file.name}", file)
    assert bench.desk.write_missing_receipts() == 1
    assert file.read_text() == new
    assert bench.desk.write_missing_receipts() == 0


def test_a_receipt_that_could_not_be_put_is_owed_and_written_without_a_restart(
    bench: TestBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = receive(bench, balance("1", "x"))

    def down(*_: Any) -> None:
        raise OSError("the store is down")

    with monkeypatch.context() as broken:
        broken.setattr(bench.desk.receipts, "lay", down)
        work_queue(bench.desk)
    assert states(bench) == ["partly_accepted"]
    assert bench.desk.ledger.owed_receipts() == {(delivery, "verdict")}
    # another queue may take hours; what is owed is looked for between its batches
    receive(bench, written([WASTE | {"area_code": SOLINGEN}]), supplier=THIRD)
    for year in ("2021", "2022"):
        receive(bench, written([WASTE | {"year": year}]), period=year)
    monkeypatch.setattr(judging, "OWED_SECONDS", 0.0)
    monkeypatch.setattr(bench.desk, "settings", bench.desk.settings.model_copy(update={"batch_seconds": 0.0}))
    work_queue(bench.desk, between=judging._Rounds(bench.desk).go_on)
    assert bench.desk.ledger.owed_receipts() == set()
    assert receipt_of(bench, delivery)["state"] == "partly_accepted"


def test_thousands_of_owed_receipts_keep_nobody_waiting(bench: TestBench, monkeypatch: pytest.MonkeyPatch) -> None:
    for year in ("2021", "2022", "2023"):
        receive(bench, written([WASTE | {"year": year}]), period=year)
    with monkeypatch.context() as broken:
        broken.setattr(bench.desk, "_tell_supplier", lambda *_: 1 / 0)
        work_queue(bench.desk)
    assert len(bench.desk.ledger.owed_receipts()) == 3
    monkeypatch.setattr(judging, "OWED_TURN_SECONDS", 0.0001)
    rounds, left = judging._Rounds(bench.desk), []
    for _ in range(3):
        rounds.go_on()
        left.append(len(bench.desk.ledger.owed_receipts()))
    assert left == [2, 1, 0]


def test_a_file_that_may_take_long_is_begun_with_nobody_elses_answer_in_hand(
    bench: TestBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = receive(bench, balance("1"))
    long = receive(bench, written([WASTE | {"area_code": SOLINGEN}]), supplier=THIRD)
    pace, seen = judging.Pace(), dict[str, str]()
    monkeypatch.setattr(pace, "is_slow", lambda delivery: delivery.supplier == THIRD)
    judge_one = bench.desk.judge

    def watched(delivery: Delivery) -> Judged:
        seen[delivery.delivery_id] = bench.desk.ledger.delivery(quick).state
        return judge_one(delivery)

    monkeypatch.setattr(bench.desk, "judge", watched)
    work_queue(bench.desk, pace=pace)
    assert seen == {quick: "judging", long: "accepted"}


def verdicts_by_each_receipt(bench: TestBench, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Work the queue; how many verdicts were there each time a receipt was begun."""
    tell, judged_by_then = bench.desk._tell_supplier, list[int]()

    def telling(judged: Judged) -> None:
        judged_by_then.append(sum(view.verdict_state is not None for view in bench.desk.ledger.deliveries()))
        tell(judged)

    monkeypatch.setattr(bench.desk, "_tell_supplier", telling)
    work_queue(bench.desk)
    return judged_by_then


@pytest.mark.parametrize(("waits_seconds", "verdicts_before"), [(60.0, [2, 2]), (0.0, [1, 2])])
def test_receipts_stand_back_behind_the_verdicts_of_others_but_not_for_long(
    bench: TestBench, monkeypatch: pytest.MonkeyPatch, waits_seconds: float, verdicts_before: list[int]
) -> None:
    receive(bench, balance("1"))
    receive(bench, written([WASTE | {"area_code": SOLINGEN}]), supplier=THIRD)
    monkeypatch.setattr(judging, "RECEIPT_WAITS_SECONDS", waits_seconds)
    monkeypatch.setattr(bench.desk, "settings", bench.desk.settings.model_copy(update={"batch_seconds": 0.0}))
    assert verdicts_by_each_receipt(bench, monkeypatch) == verdicts_before


def test_a_round_of_turns_ends_with_its_receipts_before_anybody_has_a_second_turn(
    bench: TestBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for year in ("2021", "2022"):
        receive(bench, written([WASTE | {"year": year}]), period=year)
    receive(bench, written([WASTE | {"area_code": SOLINGEN}]), supplier=THIRD)
    assert verdicts_by_each_receipt(bench, monkeypatch) == [2, 2, 3]


def test_of_a_flood_only_so_much_is_taken_in_at_once_and_the_others_are_all_taken_in(bench: TestBench) -> None:
    for year in range(2015, 2022):
        drop(bench.settings, f"{WORKS}/waste_balance/{year}/balance.csv", written([WASTE | {"year": str(year)}]))
    drop(bench.settings, f"{THIRD}/waste_balance/2024/balance.csv", written([WASTE | {"area_code": SOLINGEN}]))
    taken = []
    for _ in range(4):
        Inboxes(bench.desk).sweep(backlog=3)
        taken.append([bench.desk.ledger.backlog(supplier) for supplier in (WORKS, THIRD)])
        work_queue(bench.desk)
    assert taken == [[3, 1], [3, 0], [1, 0], [0, 0]]
    assert {view.state for view in bench.desk.ledger.deliveries()} == {"accepted"}
