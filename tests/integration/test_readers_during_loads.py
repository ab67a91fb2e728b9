"""Readers go on while others write: no error and no mixed state on the release and on the lakes, whatever is loaded.

Every delivery holds four rows of 2,000 t in all, but shares them out in a way of its own, so that rows of two attempts
together, or an indicator beside the rows of another build, do not add up.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

from quality import foundation
from quality.foundation import Current
from quality.release import query, releases
from storage import lake
from storage.settings import Settings

SUPPLIER, DATASET, AREA = "wuppertal-abfall", "waste_balance", "05124000"
YEARS = [str(year) for year in range(2021, 2026)]
# `benchmarks.readers` does the same with a hundred accepts and twenty builds; `.ci/run` has half an hour for everything
ACCEPTS, BUILDS, BUILDS_PER_RELEASE = (20, 4, 2) if os.environ.get("VERBUND_TEST_SHORT") else (40, 8, 4)
ROWS, TONNES, GENERATED = 4, 2000, 1000

#: One line per slot, from `accepted.main.` as well as from the foundation and a release.
SLOTS = (
    "select period, count(*), cast(sum(quantity_t) as bigint), count(distinct delivery_id), count(distinct attempt), "
    "max(attempt), cast(sum(quantity_t) filter (flow_code = 'treated' and treatment_code = 'R3') as bigint) "
    "from {0}waste_balance group by period order by period"
)
INDICATORS = (
    "select period, cast(numerator as bigint), cast(denominator as bigint) from {0}indicators "
    f"where indicator in ('K-04', 'K-05') and area = '{AREA}' and period in {tuple(YEARS)} order by period"
)


class Said(NamedTuple):
    """What a slot looked like to a reader; `recycled` tells the attempts of a slot apart."""

    period: str
    rows: int
    tonnes: int
    deliveries: int
    attempts: int
    attempt: int
    recycled: int


def recycled(period: str, attempt: int) -> int:
    """Tonnes of bio-waste that this attempt states, another number for each."""
    return 20 * attempt + YEARS.index(period)


def waste_file(period: str, attempt: int) -> bytes:
    """Four rows: generated and treated, of residual waste and of bio-waste."""
    bio = recycled(period, attempt)
    rows = [
        (flow, *waste, how if flow == "treated" else "none")
        for flow in ("generated", "treated")
        for *waste, how in (("200301", GENERATED - bio, "D10"), ("200108", bio, "R3"))
    ]
    lines = ["AGS;Jahr;AVV;Mengenstrom;Erfassung;Verfahren;Menge [t]"]
    lines += [f"{AREA};{period};{code};{flow};kerbside;{how};{tonnes},0" for flow, code, tonnes, how in rows]
    return "\n".join([*lines, ""]).encode("cp1252")


# --- the writers, each a process of its own ---


def accepts(settings: Settings, seeded: Event, ready: Event, built: Semaphore) -> None:
    """One attempt for each slot, then many more, never far ahead of the builds.

    Odd attempts are accepted one by one, the slots of an even one all in one batch.
    """
    from quality.desk import Desk
    from quality.judging import work_queue

    desk = Desk(settings)
    for attempt in range(1, ACCEPTS // len(YEARS) + 2):
        if attempt > 2:
            assert built.acquire(timeout=200)
        batch = []
        for period in YEARS:
            content = BytesIO(waste_file(period, attempt))
            name = f"abfallbilanz_{period}.csv"
            delivery = desk.receive(content, SUPPLIER, DATASET, period, file_name=name, who="test")
            if attempt % 2:
                work_queue(desk)
            else:
                batch.append(desk.judge(delivery))
        # a batch of the queue ends after half a second; this one is whole on the slowest machine, too
        desk.answer(batch)
        if attempt == 1:
            seeded.set()
            assert ready.wait(200)
    assert Counter(view.state for view in desk.ledger.deliveries()) == {
        "accepted": len(YEARS),
        "superseded": ACCEPTS,
    }
    desk.close()


def builds(settings: Settings, seeded: Event, ready: Event, built: Semaphore) -> None:
    """The whole foundation and a release, then builds of one branch, with a release after every fourth."""
    from quality.desk import Desk
    from quality.release import release
    from quality.supply import publish_supply

    assert seeded.wait(200)
    desk = Desk(settings, who="builder")
    publish_supply(desk)
    foundation.build(settings)
    release(settings)
    ready.set()
    for number in range(1, BUILDS + 1):
        publish_supply(desk)
        done = foundation.build(settings, foundation.select_for(DATASET))
        assert not done.full
        built.release()
        if number % BUILDS_PER_RELEASE == 0:
            release(settings)
    desk.close()


def _writer(work: Callable[..., None], home: Path, *told: Event | Semaphore) -> None:
    """Leave behind why it failed, where it did."""
    try:
        work(Settings(home=home, region="bergisch"), *told)
    except BaseException:
        (home / f"{work.__name__}.failed").write_text(traceback.format_exc(), encoding="utf-8")
        raise


# --- the reader ---


@contextlib.contextmanager
def reading(settings: Settings, catalog: lake.CatalogName, snapshot: int | None) -> Iterator[duckdb.DuckDBPyConnection]:
    with contextlib.closing(lake.connect(settings, threads=1)) as connection:
        lake.attach(connection, settings, catalog, read_only=True, snapshot=snapshot)
        yield connection


def whole(rows: list[Any]) -> dict[str, int]:
    """Attempt of every slot, after seeing that each slot holds one attempt, whole, and each batch came as one."""
    said = [Said(*row) for row in rows]
    assert [slot.period for slot in said] == YEARS
    for slot in said:
        expected = Said(
            slot.period, ROWS, TONNES, deliveries=1, attempts=1, attempt=slot.attempt,
            recycled=recycled(slot.period, slot.attempt),
        )  # fmt: skip
        assert slot == expected
    newest = max(slot.attempt for slot in said)
    if newest % 2 == 0:
        assert {slot.attempt for slot in said} == {newest}, "the slots of a batch change in one transaction"
    return {slot.period: slot.attempt for slot in said}


def agree(indicators: list[Any], attempts: dict[str, int]) -> None:
    """Indicators speak of the rows beside them."""
    assert [tuple(row) for row in indicators] == [
        (period, recycled(period, attempts[period]), GENERATED) for period in YEARS for _ in ("K-04", "K-05")
    ]


def look(settings: Settings, open_reader: duckdb.DuckDBPyConnection) -> tuple[int, Current, tuple[int, ...]]:
    """One round of every way to read. Returns the release, the state of the foundation and the attempts just accepted."""
    answer = query(settings, SLOTS.format(""))
    beside = query(settings, INDICATORS.format(""), answer["release"])
    agree(beside["rows"], whole(answer["rows"]))

    state = foundation.current(settings)
    assert state is not None
    with reading(settings, "foundation", state.foundation) as connection:
        built = whole(connection.execute(SLOTS.format("foundation.main.")).fetchall())
        agree(connection.execute(INDICATORS.format("foundation.main.")).fetchall(), built)
    with reading(settings, "accepted", state.accepted) as connection:
        assert whole(connection.execute(SLOTS.format("accepted.main.")).fetchall()) == built

    with reading(settings, "accepted", None) as connection:
        newest = whole(connection.execute(SLOTS.format("accepted.main.")).fetchall())
    assert all(newest[period] >= built[period] for period in YEARS)
    kept_open = whole(open_reader.execute(SLOTS.format("accepted.main.")).fetchall())
    assert all(kept_open[period] >= newest[period] for period in YEARS)
    return answer["release"], state, tuple(kept_open.values())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_readers_meet_no_error_and_no_mixed_state_during_builds_and_accepts(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", region="bergisch")
    settings.paths.create()
    process = multiprocessing.get_context("spawn")
    seeded, ready, built = process.Event(), process.Event(), process.Semaphore(0)
    writers = [
        process.Process(target=_writer, args=(work, settings.home, seeded, ready, built), daemon=True)
        for work in (accepts, builds)
    ]
    seen: list[tuple[int, Current, tuple[int, ...]]] = []
    began = time.monotonic()
    try:
        for writer in writers:
            writer.start()
        while not ready.wait(0.2):
            assert all(writer.is_alive() for writer in writers), failures(settings)
            assert time.monotonic() - began < 300, "the writers never got ready"
        with reading(settings, "accepted", None) as open_reader:
            while {writer.exitcode for writer in writers} in ({None}, {None, 0}) and time.monotonic() - began < 800:
                seen.append(look(settings, open_reader))
                for _ in range(4):
                    # leave the writers a core: what they do is what is looked at
                    time.sleep(0.15)
                    whole(open_reader.execute(SLOTS.format("accepted.main.")).fetchall())
            seen.append(look(settings, open_reader))
        for writer in writers:
            writer.join(1)
    finally:
        for writer in writers:
            writer.kill()
    assert [writer.exitcode for writer in writers] == [0, 0], failures(settings)

    numbers, states, attempts = (Counter(column) for column in zip(*seen, strict=True))
    # the reader was there while things changed, and met many states in between
    assert len(releases(settings)) == 1 + BUILDS // BUILDS_PER_RELEASE
    assert len(numbers) > 2
    assert len(states) > BUILDS // 3
    assert len(attempts) > ACCEPTS // 10
    assert seen[-1][2] == (ACCEPTS // len(YEARS) + 1,) * len(YEARS)


def failures(settings: Settings) -> str:
    """What the writers that failed left behind."""
    return "\n".join(file.read_text(encoding="utf-8") for file in settings.home.glob("*.failed"))
