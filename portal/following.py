"""Whoever looks at a page waits for their delivery here; one question to the ledger is asked for all of them."""

from __future__ import annotations

import time
from asyncio import Lock, sleep
from collections import Counter
from collections.abc import Mapping

from fastapi.concurrency import run_in_threadpool

from storage.ledger.ledger import Ledger, Step

#: A page is answered after this time at the latest, with what there is; it asks again.
LONGEST_SECONDS = 5.0
#: How old an answer of the ledger may be.
FRESH_SECONDS = 0.1
#: A judge that has a delivery in hand mostly gives the verdict within this time; so short a step is not worth a page.
MOMENT_SECONDS = 0.7


class Following:
    """The deliveries that pages wait for, and how far they are. For one event loop.

    Args:
        ledger: Who knows.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._asking = ledger, Lock()
        self._followed: Counter[str] = Counter()
        self._known: Mapping[str, Step] = {}
        self._asked = 0.0

    async def beyond(self, delivery_id: str, seen: str, seconds: float = LONGEST_SECONDS) -> None:
        """Return as soon as a delivery has left the step that somebody sees, or when the time is over."""
        self._followed[delivery_id] += 1
        try:
            if await self._left(delivery_id, seen, seconds) == "judging" != seen:
                await self._left(delivery_id, "judging", MOMENT_SECONDS)
        finally:
            self._followed[delivery_id] -= 1
            if not self._followed[delivery_id]:
                del self._followed[delivery_id]

    async def _left(self, delivery_id: str, seen: str, seconds: float) -> Step:
        until = time.monotonic() + seconds
        while (step := await self._step(delivery_id)) == seen and time.monotonic() < until:
            await sleep(FRESH_SECONDS)
        return step

    async def _step(self, delivery_id: str) -> Step:
        async with self._asking:
            if delivery_id not in self._known or time.monotonic() - self._asked >= FRESH_SECONDS:
                self._known = await run_in_threadpool(self._ledger.progress, list(self._followed))
                self._asked = time.monotonic()
            return self._known[delivery_id]
