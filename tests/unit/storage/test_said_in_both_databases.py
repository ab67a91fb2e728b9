"""Threads, confirmations, words and owed replays as the database keeps them, in both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage import clock
from storage.confirmations import Confirmations, NoReason
from storage.ledger.ledger import Ledger
from storage.proposals import Change, Proposals
from storage.threads import DECIDE_WITHIN, OutOfOrder, Speaker, Thread, Threads, Topic, UnknownThread, Unsaid, standing
from storage.words import BadWord, Words
from tests.unit.storage.test_ledger import SERVER, new_url, receive

LEAD, OFFICE = Speaker("portal:l", "Lea", "supplier"), Speaker("portal:k", "Kai", "coordination")


@pytest.fixture(params=["sqlite", "server"] if SERVER else ["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    made = new_url(request.param, tmp_path)
    with closing(Ledger(made)) as ledger:
        ledger.migrate()
    return made


@pytest.fixture
def threads(url: str) -> Iterator[Threads]:
    with closing(Threads(url)) as made:
        yield made


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with closing(Ledger(url)) as made:
        yield made


def contested(threads: Threads) -> Thread:
    return threads.open(Topic("works-x"), "contest", LEAD, "Nein.")


def test_an_objection_waits_for_the_coordination_until_it_decides(threads: Threads) -> None:
    thread = contested(threads)
    assert (thread.state, thread.waits_for, thread.due_at) == (
        "contested",
        "coordination",
        thread.opened_at + DECIDE_WITHIN,
    )
    thread = threads.say(thread.thread_id, "answer", LEAD, "Noch etwas.")
    assert (thread.state, thread.waits_for) == ("contested", "coordination"), "an answer does not end it"
    thread = threads.say(thread.thread_id, "decide", OFFICE, "Doch.", decision="partly")
    assert (thread.state, thread.waits_for, thread.due_at, thread.decision) == ("decided", None, None, "partly")


def test_a_question_goes_to_and_fro(threads: Threads) -> None:
    thread = threads.open(Topic("works-x"), "ask", OFFICE, "Warum?")
    assert thread.waits_for == "supplier"
    with pytest.raises(OutOfOrder):
        threads.say(thread.thread_id, "answer", OFFICE, "Darum.")
    thread = threads.say(thread.thread_id, "answer", LEAD, "Darum.")
    assert (thread.state, thread.is_open, thread.waits_for) == ("answered", False, None)
    assert threads.say(thread.thread_id, "ask", LEAD, "Und?").waits_for == "coordination"


def test_of_two_who_decide_at_once_one_does(threads: Threads) -> None:
    thread, refused = contested(threads), []

    def decide(name: str) -> None:
        try:
            threads.say(thread.thread_id, "decide", Speaker(name, name, "coordination"), "So.", decision="upheld")
        except OutOfOrder:
            refused.append(name)

    both = [threading.Thread(target=decide, args=(name,)) for name in ("a", "b")]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(refused) == 1 and len(threads.thread(thread.thread_id).entries) == 2


def test_what_cannot_be_said_leaves_nothing(threads: Threads) -> None:
    for text, due in (("", None), ("x", clock.now() - timedelta(days=1)), ("x", clock.now() + timedelta(days=181))):
        with pytest.raises(Unsaid):
            threads.open(Topic("works-x"), "ask", LEAD, text, due)
    with pytest.raises(OutOfOrder):
        threads.open(Topic("works-x"), "contest", OFFICE, "Nein.")
    with pytest.raises(UnknownThread):
        threads.say(77, "ask", LEAD, "?")
    assert threads.everything() == []


def test_how_objections_go_is_open_ones_and_the_middle_of_days_to_a_decision(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, opened = clock.now(), [contested(threads) for _ in range(4)]
    for thread, days in zip(opened, (2, 4, 9), strict=False):
        monkeypatch.setattr(clock, "now", lambda days=days: begun + timedelta(days=days))
        threads.say(thread.thread_id, "decide", OFFICE, "So.", decision="upheld")
    threads.open(Topic("works-x"), "ask", LEAD, "?")
    found = standing(threads.everything())
    assert (found.contested, found.decided, round(found.median_days or 0)) == (1, 3, 4)


def test_threads_are_found_by_what_they_are_about(threads: Threads, ledger: Ledger) -> None:
    delivery = receive(ledger).delivery_id
    supplier = delivery.partition("--")[0]
    one = threads.open(Topic(supplier, delivery, rule="a.rule"), "contest", LEAD, "x")
    other = threads.open(Topic("works-y", figure="K-01/a/2024"), "contest", LEAD, "x")
    for found, expected in (
        (threads.of_delivery(delivery), one), (threads.of_deliveries([delivery]), one), (threads.of_supplier("works-y"), other),
        (threads.on_figure("K-01/a/2024"), other),
    ):  # fmt: skip
        assert found == [expected]
    assert threads.contested_figures() == {"K-01/a/2024"} and threads.of_deliveries([]) == []


def test_the_newest_confirmation_of_a_rule_counts(url: str, ledger: Ledger) -> None:
    delivery = receive(ledger).delivery_id
    with closing(Confirmations(url)) as confirmations:
        for reason in ("first", " second "):
            confirmations.confirm(delivery, "a.rule", 3, who="w", author="W", reason=reason)
        confirmations.confirm(delivery, "b.rule", 1, who="w", author="W", reason="other")
        assert [(one.rule, one.reason) for one in confirmations.of(delivery)] == [
            ("a.rule", "second"),
            ("b.rule", "other"),
        ]
        with pytest.raises(NoReason):
            confirmations.confirm(delivery, "a.rule", 3, who="w", author="W", reason=" ")


def test_every_line_about_a_word_is_kept_in_order(url: str) -> None:
    odd = "Gr\u00fcn\udce4 'x'"  # a byte that is no text comes back as it was
    with closing(Words(url)) as words:
        assert words.version() == 0
        first = words.map("avv", "works-x", odd, "200201", who="w", author="W", reason="so")
        second = words.map("avv", "works-x", odd, None, who="w", author="W", reason="doch nicht")
        assert words.everything() == [first, second] and words.version() == second.word_id
        assert first.word == odd
        with pytest.raises(BadWord):
            words.map("avv", "works-x", " ", "200201", who="w", author="W", reason="so")


def test_what_is_to_be_judged_again_is_wanted_once_and_counted(ledger: Ledger) -> None:
    delivery = receive(ledger).delivery_id
    ledger.owe_replays([delivery, delivery])
    ledger.owe_replays([delivery])
    assert ledger.owed_replays() == [delivery]
    assert [ledger.begin_replay(delivery) for _ in range(2)] == [1, 2]
    ledger.defer_replay(delivery)
    assert ledger.begin_replay(delivery) == 2
    ledger.end_replay(delivery)
    assert (ledger.owed_replays(), ledger.begin_replay(delivery)) == ([], 0)


@pytest.mark.parametrize("table", ["threads", "thread_entries", "confirmations", "word_mappings", "pack_proposals"])
def test_nothing_that_was_said_can_be_changed(url: str, threads: Threads, ledger: Ledger, table: str) -> None:
    contested(threads)
    delivery = receive(ledger).delivery_id
    with closing(Confirmations(url)) as confirmations, closing(Words(url)) as words:
        confirmations.confirm(delivery, "a.rule", 3, who="w", author="W", reason="so")
        words.map("avv", "works-x", "Wort", "200201", who="w", author="W", reason="so")
    with closing(Proposals(url)) as proposals:
        file = Change("suppliers.yml", "a: ä\n", "a: ö\n")
        made = proposals.add("plain", "works-y", {"supplier": {"id": "works-y"}}, [file], who="w", author="W")
        assert proposals.get(made.proposal_id) == made == proposals.newest("plain")[0] and made.files == [file]
    for change in (f"delete from {table}", f"update {table} set id = 77"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), threads._writing.begin() as c:
            c.execute(sa.text(change))


def test_of_two_decisions_on_a_proposal_one_counts(url: str) -> None:
    with closing(Proposals(url)) as proposals:
        made = proposals.add("plain", "works-y", {}, [], who="w", author="W")
        assert proposals.decide(made.proposal_id, "applied", who="e")
        assert not proposals.decide(made.proposal_id, "withdrawn", who="k")
        found = proposals.get(made.proposal_id)
        assert found is not None and (found.decision, found.decided_by) == ("applied", "e")
        assert proposals.get(made.proposal_id + 1) is None
