"""What time it is. One place, so that a story of the past can be told with the times it happened at."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

_told: tuple[datetime, float] | None = None


def now() -> datetime:
    """The present, in UTC; inside `telling` the time of the story."""
    if _told is None:
        return datetime.now(UTC)
    began, started = _told
    return began + timedelta(seconds=time.monotonic() - started)


@contextmanager
def telling(at: datetime) -> Iterator[None]:
    """Let it be `at` when this begins; the clock runs on from there. Holds for the whole process, for demos and tests."""
    global _told
    before = _told
    _told = (at.astimezone(UTC), time.monotonic())
    try:
        yield
    finally:
        _told = before
