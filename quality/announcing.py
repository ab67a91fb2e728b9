"""What people are told by mail: what arrived, what was said of it, what is due, what is late, and to whom that goes.

Here notices are made; they say what happened to which slot and never a figure. How they are worded is the portal's,
how they go out is in `quality.mailer`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from quality.calendar import OwedSlot
from quality.desk import Desk
from quality.region import RegionPack
from storage.ledger.extensions import Extension
from storage.ledger.states import WAITING, Event, SlotState
from storage.mails import Choice, Mails, Notice
from storage.paths import Slot, parse_delivery_id
from storage.people import OF_SUPPLIER, People, Person
from storage.threads import News, Threads

#: Days before the deadline on which the people of a supplier are reminded, the nearest first.
BEFORE: tuple[tuple[int, str], ...] = ((1, "due_tomorrow"), (7, "due_soon"))
#: Once the people of a supplier heard that a slot is overdue, so long until their deputies hear it, and then until the
#: coordinator does.
TO_DEPUTY, TO_COORDINATOR = timedelta(days=7), timedelta(days=7)
#: What is late for longer is no news; the pages of the region show it.
NO_NEWS_AFTER = timedelta(days=60)
#: Kinds that are only true while the slot is open.
REMINDERS = ("due_soon", "due_tomorrow", "overdue", "overdue_deputy", "overdue_coordinator")
#: When a digest goes out, by the region's clock.
DIGEST_AT = time(7)
#: Events are looked at again for so long: on PostgreSQL one may turn up behind others.
SETTLED_AFTER = timedelta(seconds=60)


def announce(desk: Desk, people: People, mails: Mails, threads: Threads, now: datetime) -> int:
    """Put everything into the outbox that is news since the last time, and take out reminders that came true.

    Nothing that happened before the first time is told.

    Returns:
        How many notices are new.
    """
    told = _Audience(people, mails, desk.pack.shared, now)
    mark = _mark(mails, "events", desk.ledger.newest_event)
    events = desk.ledger.happened_after(mark)
    entry_mark = _mark(mails, "entries", threads.newest_entry)
    said = threads.said_after(entry_mark)
    settled = {
        "events": max((event.id for event in events if event.at <= now - SETTLED_AFTER), default=mark),
        "entries": max((one.number for one in said if one.at <= now - SETTLED_AFTER), default=entry_mark),
    }
    owed = desk.owed(told.today)
    states = desk.standing(owed, now)
    open_ones = [o for o in owed if _is_open(states[o.slot])]
    _forget_done(mails, open_ones)
    notices = [
        *_events(desk, told, events),
        *_due(told, open_ones),
        *_overdue(told, mails, [o for o in open_ones if o.due_on < told.today]),
        *_extensions(desk, told),
        *_said(told, said),
    ]
    moved = settled != {"events": mark, "entries": entry_mark}
    return mails.announce(notices, settled if moved else {})


def _mark(mails: Mails, what: str, newest: Callable[[], int]) -> int:
    """Up to where everything was announced; the first time that is everything there is."""
    mark = mails.announced(what)
    if mark is None:
        mark = newest()
        mails.announce((), {what: mark})
    return mark


@dataclass
class _Audience:
    """Who hears of what, and when."""

    people: People
    mails: Mails
    pack: RegionPack
    now: datetime

    def __post_init__(self) -> None:
        self.choices: Mapping[str, Choice] = self.mails.choices()
        self.of: dict[str, list[Person]] = defaultdict(list)
        self.by_id: dict[str, Person] = {}
        self.coordinators: list[Person] = []
        for person in self.people.everybody():
            self.by_id[person.person_id] = person
            for supplier in {of for role, of in person.roles if role in OF_SUPPLIER}:
                self.of[supplier].append(person)
            if ("coordinator", "") in person.roles:
                self.coordinators.append(person)
        self._local = self.now.astimezone(ZoneInfo(self.pack.region.zone))
        self.today: date = self._local.date()

    def knows(self, slot: Slot) -> bool:
        """Whether the region has this supplier and dataset, and somebody may be told of it."""
        return slot.supplier in self.pack.suppliers and slot.dataset in self.pack.contracts

    def deputies(self, supplier: str) -> list[Person]:
        """Whom the people of a supplier named; its leads where nobody named anybody."""
        own = self.of[supplier]
        named = {choice.deputy_id for person in own if (choice := self.choices.get(person.person_id))}
        found = [person for person in own if person.person_id in named]
        return found or [person for person in own if ("lead", supplier) in person.roles] or own

    def notices(
        self, kind: str, name: str, about: Mapping[str, str], to: Iterable[Person], *, together: bool = False
    ) -> Iterator[Notice]:
        """One notice for each, at once or with the next digest, as each wants; coordinators have digests by default.

        Args:
            kind: What happened.
            name: Tells this happening from others of the kind.
            about: What the words need: the supplier, and what else `storage.mails.Notice` names.
            to: Who hears.
            together: Those made on one day for one person go out in one message.
        """
        for person in to:
            chosen = self.choices.get(person.person_id, Choice()).pace
            daily = chosen == "daily" or (chosen is None and person in self.coordinators)
            at = self._next_digest() if daily else self.now
            bundle = f"digest/{at.date()}" if daily else f"duties/{self.today}" if together else ""
            yield Notice(f"{kind}/{name}/{person.person_id}", person.person_id, kind, about, self.now, bundle, at)

    def _next_digest(self) -> datetime:
        at = datetime.combine(self.today, DIGEST_AT, self._local.tzinfo)
        if at <= self._local:
            at = datetime.combine(self.today + timedelta(days=1), DIGEST_AT, self._local.tzinfo)
        return at


def _is_open(state: SlotState) -> bool:
    """Whether a supplier must still act: nothing is served, and nothing waits for its verdict."""
    return state.served is None and state.state not in WAITING


def _events(desk: Desk, told: _Audience, events: Iterable[Event]) -> Iterator[Notice]:
    for event in events:
        slot = Slot(event.supplier, event.dataset, event.period)
        if event.delivery_id is None or not told.knows(slot):
            continue
        delivery, to = event.delivery_id, told.of[slot.supplier]
        about = _about(slot, delivery=delivery)
        match event.kind:
            case "received":
                yield from told.notices("arrival", delivery, about, to)
            case "duplicate" | "withdrawn":
                yield from told.notices("verdict", str(event.id), {**about, "state": event.kind}, to)
            case "judged":
                state = str(event.facts["state"])
                if not event.facts.get("replay") or state != _before(desk, event):
                    yield from told.notices("verdict", str(event.id), {**about, "state": state}, to)
            case _:
                pass


def _before(desk: Desk, event: Event) -> str | None:
    """What an earlier verdict on the same delivery said."""
    history = desk.ledger.history(str(event.delivery_id))
    earlier = [str(one.facts["state"]) for one in history if one.kind == "judged" and one.id < event.id]
    return earlier[-1] if earlier else None


def _due(told: _Audience, open_ones: Iterable[OwedSlot]) -> Iterator[Notice]:
    for o in open_ones:
        left = (o.due_on - told.today).days
        kind = next((kind for days, kind in BEFORE if 0 <= left <= days), None)
        if kind is not None:
            yield from _reminder(told, kind, o, told.of[o.slot.supplier])


def _overdue(told: _Audience, mails: Mails, late: Collection[OwedSlot]) -> Iterator[Notice]:
    """First the people of the supplier, then their deputies, then the coordinator, each some time after the one before."""
    since = told.now - NO_NEWS_AFTER - TO_DEPUTY - TO_COORDINATOR
    first, second = mails.told("overdue", since), mails.told("overdue_deputy", since)
    for o in late:
        own, key = told.of[o.slot.supplier], (o.slot.supplier, o.slot.dataset, o.slot.period, str(o.due_on))
        if told.today - o.due_on <= NO_NEWS_AFTER:
            yield from _reminder(told, "overdue", o, own)
        heard = first.get(key)
        if heard is not None and heard + TO_DEPUTY <= told.now:
            yield from _reminder(told, "overdue_deputy", o, told.deputies(o.slot.supplier))
        escalated = second.get(key)
        # where a supplier has nobody, the coordinator alone can ask
        nobody = not own and TO_DEPUTY + TO_COORDINATOR <= told.today - o.due_on <= NO_NEWS_AFTER
        if nobody or (escalated is not None and escalated + TO_COORDINATOR <= told.now):
            yield from _reminder(told, "overdue_coordinator", o, told.coordinators)


def _reminder(told: _Audience, kind: str, o: OwedSlot, to: Iterable[Person]) -> Iterator[Notice]:
    return told.notices(kind, f"{o.slot}/{o.due_on}", _about(o.slot, due_on=str(o.due_on)), to, together=True)


def _extensions(desk: Desk, told: _Audience) -> Iterator[Notice]:
    asked = desk.ledger.extensions
    recent: list[tuple[str, Extension, Iterable[Person]]] = [
        ("extension_asked", one, told.coordinators) for one in asked.undecided()
    ]
    recent += [
        ("extension_granted" if one.granted else "extension_refused", one, told.of[one.slot.supplier])
        for one in asked.decided()
        if one.decided_at is not None and one.decided_at > told.now - TO_DEPUTY
    ]
    for kind, one, to in recent:
        if told.knows(one.slot):
            yield from told.notices(kind, str(one.id), _about(one.slot), to)


def _said(told: _Audience, said: Iterable[News]) -> Iterator[Notice]:
    """What one side said, the other hears of."""
    for one in said:
        if one.supplier in told.pack.suppliers:
            to = told.coordinators if one.party == "supplier" else told.of[one.supplier]
            about = _about(parse_delivery_id(one.delivery_id).slot) if one.delivery_id else {"supplier": one.supplier}
            yield from told.notices(f"thread_{one.kind}", str(one.number), {**about, "thread": str(one.thread_id)}, to)


def _about(slot: Slot, **more: str) -> dict[str, str]:
    return {"supplier": slot.supplier, "dataset": slot.dataset, "period": slot.period, **more}


def _forget_done(mails: Mails, open_ones: Iterable[OwedSlot]) -> None:
    """Reminders that wait in the outbox while their slot was delivered, or its deadline was extended, are none any more."""
    still = {(*_parts(o.slot), str(o.due_on)) for o in open_ones}
    mails.drop(
        [
            mail.id
            for mail in mails.waiting(REMINDERS)
            if tuple(mail.facts[name] for name in ("supplier", "dataset", "period", "due_on")) not in still
        ]
    )


def _parts(slot: Slot) -> tuple[str, str, str]:
    return slot.supplier, slot.dataset, slot.period
