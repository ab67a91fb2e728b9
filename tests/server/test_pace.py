"""One key's thousands of files wait a little each at the store's front; other keys and other requests do not."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator

import pytest

from tests.server.support.door import Door
from tests.server.support.servers import Haproxy, Minio

PACE, SENT = 10, 60


@pytest.fixture
def door(minio: Minio) -> Iterator[Door]:
    with Haproxy(minio, pace=PACE) as front:
        yield Door(front.address, ssl.create_default_context(cafile=str(front.ca_file)))


def seconds(door: Door, key: str, method: str, path: str) -> float:
    """How long an answer takes; that the store knows none of these keys makes no difference."""
    began = time.monotonic()
    assert door.signed(key, "no secret of anybody", method, path).status == 403
    return time.monotonic() - began


def test_who_puts_much_waits_and_nobody_else_does(door: Door) -> None:
    spent = [seconds(door, "flood", "PUT", f"/some/inbox/flood/{number}.csv") for number in range(SENT)]
    # two milliseconds for each that is too many: 1 + 2 + … + 50 of them, less what has left the ten seconds
    assert sum(spent) > 1.5
    assert min(spent[-3:]) > 0.08
    assert min(seconds(door, "other", "PUT", "/some/inbox/other/1.csv") for _ in range(3)) < 0.08
    assert min(seconds(door, "flood", "GET", "/some/receipts/flood/1.html") for _ in range(3)) < 0.08
    assert min(seconds(door, "flood", "PUT", f"/some/%69nbox/flood/{number}.csv") for number in range(3)) > 0.08
