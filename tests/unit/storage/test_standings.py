"""Slots at hand stand as their whole history says, whenever one looks and in whatever order events become visible."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.ledger import standings
from storage.ledger.standings import Standings
from storage.ledger.states import Event, slot_state
from storage.paths import Slot, delivery_id

START = datetime(2025, 4, 1, 8, tzinfo=UTC)
SLOTS = [Slot("works-x", "load_profile", f"2025-0{month}") for month in (1, 2)]


def event(number: int, slot: Slot, attempt: int, kind: str, **facts: object) -> Event:
    this = delivery_id(slot.supplier, slot.dataset, slot.period, attempt)
    at = START + timedelta(minutes=number)
    return Event(number, at, kind, slot.supplier, slot.dataset, slot.period, this, "test", None, facts)


def story() -> list[Event]:
    """Two slots: one accepted, then rejected anew; one with nothing to report that is taken back."""
    one, two = SLOTS
    told = [
        (one, 1, "received", {}), (two, 1, "received", {"nothing_to_report": True}), (one, 1, "judging", {"begins": 1}),
        (one, 1, "judged", {"state": "accepted"}), (two, 1, "judged", {"state": "accepted"}), (one, 2, "received", {}),
        (one, 2, "judged", {"state": "rejected"}), (two, 1, "withdrawn", {}), (one, 3, "received", {}),
        (one, 3, "judged", {"state": "partly_accepted"}), (one, 1, "superseded", {}),
    ]  # fmt: skip
    return [event(number, slot, attempt, kind, **facts) for number, (slot, attempt, kind, facts) in enumerate(told, 1)]


@given(looks=st.lists(st.integers(0, 11), min_size=1, max_size=6), in_order=st.booleans())
def test_whenever_one_looks_slots_stand_as_their_history_says(looks: list[int], in_order: bool) -> None:
    events, visible = story(), 0
    kept = Standings(lambda after: [e for e in events[:visible] if e.id > after], in_order=in_order)
    for visible in sorted(looks):
        folded = kept.now()
        for slot in SLOTS:
            own = [e for e in events[:visible] if e.period == slot.period]
            assert (folded[slot].state() if slot in folded else slot_state([])) == slot_state(own)


def test_an_event_that_becomes_visible_after_a_later_one_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(standings.time, "monotonic", lambda: clock[0])
    one, two = event(1, SLOTS[0], 1, "received"), event(2, SLOTS[1], 1, "received")
    visible = [two]
    kept = Standings(lambda after: [e for e in visible if e.id > after], in_order=False)
    assert set(kept.now()) == {SLOTS[1]}
    visible = [one, two]
    clock[0] = standings.SETTLED_SECONDS / 2
    assert set(kept.now()) == set(SLOTS)
    clock[0] = 3 * standings.SETTLED_SECONDS
    assert set(kept.now()) == set(SLOTS)


def test_what_is_settled_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    events = story()

    def read(after: int) -> list[Event]:
        asked.append(after)
        return [e for e in events if e.id > after]

    kept = Standings(read, in_order=True)
    before = kept.now()
    assert kept.now() == before
    assert asked == [0, len(events)]
    clock = [0.0]
    monkeypatch.setattr(standings.time, "monotonic", lambda: clock[0])
    asked.clear()
    kept = Standings(read, in_order=False)
    for _ in range(3):
        assert kept.now() == before
        clock[0] += standings.SETTLED_SECONDS + 1
    # the first look may have missed one that was under way; a minute later none can be
    assert asked == [0, 0, len(events)]


def test_what_was_handed_out_does_not_change_afterwards() -> None:
    events, visible = story(), 1
    kept = Standings(lambda after: [e for e in events[:visible] if e.id > after], in_order=True)
    first = kept.now()
    visible = len(events)
    kept.now()
    assert first[SLOTS[0]].state().state == "received"
