"""How slots stand, kept at hand: what was folded once is not read again, so that a page costs what is new and no more.

What an event means is in `states`; here is only which events were counted. Nothing is stored.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from storage.ledger.states import Event, SlotFold
from storage.paths import Slot

#: On PostgreSQL an event may be committed after one with a higher id. Nothing of ours takes so long.
SETTLED_SECONDS = 60.0


@dataclass
class Standings:
    """What the events of all slots came to. Many threads may ask at once.

    Attributes:
        read: Every event with a higher id than this, in the order of ids.
        in_order: Whether events become visible in the order of their ids, as with one writer at a time.
    """

    read: Callable[[int], Iterable[Event]]
    in_order: bool
    _settled: dict[Slot, SlotFold] = field(default_factory=dict)
    _settled_to: int = 0
    #: When (by this machine's steady clock) up to which id was seen, oldest first.
    _looks: list[tuple[float, int]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> Mapping[Slot, SlotFold]:
        """Every slot anything happened to; not to be changed by the caller."""
        with self._lock:
            fresh = list(self.read(self._settled_to))
            settle_to = self._may_settle_to(fresh)
            known: dict[Slot, SlotFold] = {}
            # those at hand are in other threads' hands as well, so they are replaced and never changed
            for event in fresh:
                slot = Slot(event.supplier, event.dataset, event.period)
                if event.id > settle_to and self._settled_to < settle_to:
                    self._keep(known, settle_to)
                    known = {}
                if slot not in known:
                    known[slot] = self._settled[slot].copy() if slot in self._settled else SlotFold()
                known[slot].add(event)
            if settle_to > self._settled_to:
                self._keep(known, settle_to)
            return {**self._settled, **known}

    def _keep(self, known: Mapping[Slot, SlotFold], settle_to: int) -> None:
        self._settled.update(known)
        self._settled_to = settle_to

    def _may_settle_to(self, fresh: list[Event]) -> int:
        newest = fresh[-1].id if fresh else self._settled_to
        if self.in_order:
            return newest
        at = time.monotonic()
        self._looks.append((at, newest))
        old = [seen for when, seen in self._looks if when <= at - SETTLED_SECONDS]
        self._looks = [(when, seen) for when, seen in self._looks if when > at - SETTLED_SECONDS]
        return max([self._settled_to, *old])
