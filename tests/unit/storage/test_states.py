from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.ledger.states import (
    DELIVERY_STATES,
    KINDS,
    VERDICT_STATES,
    DeliveryState,
    Event,
    ImpossibleHistory,
    slot_state,
    state_of,
    states_of,
)

MORNING = datetime(2025, 4, 1, 8, tzinfo=UTC)


def history(*steps: str | tuple[str, Mapping[str, Any]], attempt: int = 1, first_id: int = 1) -> list[Event]:
    """Events of one delivery: `received`, `accepted` (a `judged` event with that state), … one minute apart."""
    events = []
    for number, step in enumerate(steps, start=first_id):
        kind, facts = (step, {}) if isinstance(step, str) else step
        if kind in VERDICT_STATES:
            kind, facts = "judged", {"state": kind}
        delivery = None if kind == "overdue" else f"works-x--load_profile--2025-03--{attempt:02d}"
        at = MORNING + timedelta(minutes=number)
        events.append(Event(number, at, kind, "works-x", "load_profile", "2025-03", delivery, "test", None, facts))
    return events


NOTHING = ("received", {"nothing_to_report": True})


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        (["received"], "received"),
        (["received", "judging"], "judging"),
        (["received", "judging", "judging"], "judging"),
        (["received", "judging", "deferred"], "received"),
        *((["received", "judging", verdict], verdict) for verdict in VERDICT_STATES),
        (["received", "accepted"], "accepted"),
        (["received", "judging", "accepted", "superseded"], "superseded"),
        (["received", "judging", "rejected", "superseded"], "rejected"),
        (["received", "judging", "rejected", "accepted"], "accepted"),
        (["received", "accepted", "judging"], "accepted"),
        (["received", "accepted", "judging", "deferred"], "accepted"),
        (["received", "accepted", "superseded", "accepted", "superseded"], "superseded"),
        (["received", "accepted", "rejected"], "rejected"),
        (["received", "judging", "acknowledged"], "judging"),
        (["received", "accepted", "acknowledged"], "accepted"),
        (["received", "duplicate"], "duplicate"),
        (["received", "duplicate", "judging", "accepted"], "duplicate"),
        (["received", "duplicate", "withdrawn"], "withdrawn"),
        (["received", "withdrawn"], "withdrawn"),
        (["received", "judging", "withdrawn", "accepted"], "withdrawn"),
        (["received", "accepted", "superseded", "withdrawn", "superseded"], "withdrawn"),
        ([NOTHING], "received"),
        ([NOTHING, "judging", "accepted"], "nothing_to_report"),
        ([NOTHING, "judging", "rejected"], "rejected"),
        ([NOTHING, "accepted", "superseded"], "superseded"),
        ([NOTHING, "accepted", "withdrawn"], "withdrawn"),
    ],
)
def test_a_delivery_is_in_the_state_its_events_say(steps: list[Any], state: DeliveryState) -> None:
    assert state_of(history(*steps)) == state


@pytest.mark.parametrize(
    "steps",
    [
        [],
        ["judging"],
        ["accepted", "received"],
        ["received", "received"],
        ["received", "lost"],
        ["received", "overdue"],
    ],
)
def test_a_history_that_cannot_have_happened_is_refused(steps: list[str]) -> None:
    with pytest.raises(ImpossibleHistory):
        state_of(history(*steps))


@pytest.mark.parametrize("state", [None, "", "good", "superseded"])
def test_a_verdict_nobody_knows_is_refused(state: str | None) -> None:
    with pytest.raises(ImpossibleHistory, match="not a verdict"):
        state_of(history("received", ("judged", {"state": state})))


def test_events_of_two_deliveries_are_not_one_history() -> None:
    with pytest.raises(ImpossibleHistory, match="one delivery"):
        state_of(history("received", "judging") + history("judging", attempt=2, first_id=3))


STEPS = st.lists(
    st.sampled_from([kind for kind in KINDS if kind not in ("received", "overdue", "judged")] + ["judged"])
)


@given(STEPS, st.sampled_from(VERDICT_STATES), st.booleans(), st.randoms())
def test_the_order_in_which_events_are_read_changes_nothing(
    steps: list[str], verdict: str, nothing: bool, random: Any
) -> None:
    first = ("received", {"nothing_to_report": nothing})
    events = history(first, *(verdict if step == "judged" else step for step in steps))
    shuffled = random.sample(events, len(events))
    assert state_of(shuffled) == state_of(events) in DELIVERY_STATES
    assert slot_state(shuffled) == slot_state(events)


@given(STEPS)
def test_what_was_withdrawn_stays_withdrawn(steps: list[str]) -> None:
    later = ["accepted" if step == "judged" else step for step in steps]
    assert state_of(history("received", "withdrawn", *later)) == "withdrawn"


def test_events_of_a_slot_alone_are_no_delivery() -> None:
    events = history("overdue") + history("received", first_id=2)
    assert states_of(events) == {"works-x--load_profile--2025-03--01": "received"}


# --- slots ---


def test_a_slot_without_deliveries_is_missing_until_it_is_due() -> None:
    due = MORNING
    assert slot_state([], due=due, now=due).state == "missing"
    assert slot_state([], due=due, now=due + timedelta(seconds=1)).state == "overdue"
    assert slot_state([]).state == "missing"
    assert slot_state(history("overdue")).state == "overdue"


def test_a_deadline_without_a_clock_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="together"):
        slot_state([], due=MORNING)


@pytest.mark.parametrize("verdict", VERDICT_STATES)
def test_a_slot_with_one_attempt_stands_as_that_attempt(verdict: str) -> None:
    slot = slot_state(history("received", verdict))
    assert slot.state == verdict
    assert (slot.served is None, slot.attempts, slot.stale_since) == (verdict == "rejected", 1, None)


def test_a_rejected_slot_can_be_overdue_as_well() -> None:
    slot = slot_state(history("received", "rejected"), due=MORNING, now=MORNING + timedelta(days=1))
    assert (slot.state, slot.is_overdue) == ("rejected", True)


def test_an_accepted_slot_is_not_overdue() -> None:
    slot = slot_state(history("overdue") + history("received", "accepted", first_id=2))
    assert (slot.state, slot.is_overdue) == ("accepted", False)


@pytest.mark.parametrize("later", [["received"], ["received", "judging"], ["received", "rejected"]])
def test_a_slot_is_stale_while_a_newer_attempt_is_not_accepted(later: list[str]) -> None:
    events = history("received", "accepted") + history(*later, attempt=2, first_id=3)
    slot = slot_state(events + history("received", "rejected", attempt=3, first_id=6))
    assert slot.state == "stale"
    assert slot.served is not None
    assert slot.served.endswith("--01")
    assert slot.newest is not None
    assert slot.newest.endswith("--03")
    assert slot.stale_since == MORNING + timedelta(minutes=3), "stale since the oldest newer attempt"
    assert slot.attempts == 3


@pytest.mark.parametrize("later", [["received", "duplicate"], ["received", "rejected", "withdrawn"]])
def test_duplicates_and_withdrawn_attempts_make_nothing_stale(later: list[str]) -> None:
    slot = slot_state(history("received", "accepted") + history(*later, attempt=2, first_id=3))
    assert (slot.state, slot.stale_since, slot.attempts) == ("accepted", None, 2)


def test_an_older_attempt_that_was_rejected_makes_nothing_stale() -> None:
    slot = slot_state(history("received", "rejected") + history("received", "accepted", attempt=2, first_id=3))
    assert (slot.state, slot.stale_since) == ("accepted", None)


def test_a_slot_whose_delivery_was_withdrawn_is_served_by_nobody() -> None:
    events = history("received", "accepted", "superseded")
    events += history("received", "accepted", "withdrawn", attempt=2, first_id=4)
    slot = slot_state(events, due=MORNING, now=MORNING + timedelta(days=1))
    assert (slot.state, slot.served, slot.newest, slot.is_overdue) == ("overdue", None, None, True)
