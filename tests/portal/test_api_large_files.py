"""A large file by program: it costs no memory, and one that breaks off leaves nothing behind."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from portal.rights import OF_PROGRAMS
from quality.desk import Desk
from storage.tokens import Tokens
from tests.support.bench import GOOD, PLAIN, WORKS
from tests.support.portals import portal_process, resident
from tests.support.profiles import settings_for

MIB = 1 << 20
LARGE = 256 * MIB


@pytest.mark.slow
def test_a_large_file_costs_no_memory_and_one_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, PLAIN)
    desk = Desk(settings)
    tokens = Tokens(settings.ledger_url)
    token, _ = tokens.make(WORKS, "Rechner", OF_PROGRAMS, 1, by="test")
    tokens.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    block, digest = os.urandom(MIB), hashlib.sha256()
    program = httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {token}"}, timeout=240,
        params={"file_name": "a.csv", "dataset": "waste_balance", "period": GOOD["waste_balance"][0]},
    )  # fmt: skip
    path = f"/api/v1/suppliers/{WORKS}/deliveries"
    with portal_process(settings, port) as pid:
        program.get(path).raise_for_status()
        before, most = resident(pid), 0

        def parts(broken_at: int | None = None) -> Iterator[bytes]:
            nonlocal most
            for at in range(0, LARGE, MIB):
                if at == broken_at:
                    raise ConnectionError("the cable was pulled")
                part = at.to_bytes(8) + block[8:]
                if broken_at is None:
                    digest.update(part)
                most = max(most, resident(pid))
                yield part

        with pytest.raises(ConnectionError):
            program.post(path, content=parts(broken_at=LARGE // 2), headers={"content-length": str(LARGE)})
        until = time.monotonic() + 60
        while list(settings.paths.work.glob("upload-*")):
            assert time.monotonic() < until
            time.sleep(0.1)
        assert desk.ledger.deliveries() == []
        taken = program.post(path, content=parts())
        assert taken.status_code == 202 and taken.json()["sha256"] == digest.hexdigest()
        assert max(most, resident(pid)) - before < 64 * MIB
    assert list(settings.paths.work.glob("upload-*")) == []
    desk.close()
