"""BI while loading: eight readers of the released tables, in PostgreSQL and in the DuckDB file, during deliveries and releases.

Suppliers put files, an intake and two judges take them in, and releases are built, frozen and published: first one in half a
minute, already many times what a region needs, then, to see the worst, one after the other without a pause. Each reader asks,
in one transaction, which release it is and whether every table has the rows that this release says; then the same of the
DuckDB file. Idle and under load they are the same readers; each is a process of its own, as BI tools are, and rests between
two looks, as people before a dashboard do. Needs what `.ci/servers` installs.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.measure import Result, Spread, fresh, say
from benchmarks.readers import busy_work
from benchmarks.region import SMALL, write_region
from benchmarks.server_deliveries import FIRST_YEAR, put, wait_for_receipts
from quality import foundation
from quality.desk import Desk
from quality.release import query, release
from quality.serving import KEPT
from quality.supply import publish_supply
from storage import database
from storage.priority import BACKGROUND, give_way
from storage.settings import Settings, project_root
from tests.faults.harness import Installation, installation

GOAL = 1.5
READERS, DEPOTS = 8, 10
#: Between two looks of one reader.
REST_SECONDS = 0.5
#: Between two files, and between the beginnings of two releases: steadily, and without a pause.
STEADY, NO_PAUSE = (6.0, 30.0), (1.0, 0.0)
LOOKS = {
    "rows": f"select count(*) from {{0}}{SMALL}",
    "by month": f"select supplier_id, date_trunc('month', intake_date), sum(quantity_t) from {{0}}{SMALL} group by 1, 2",
    "indicators": "select count(*) from {0}indicators",
    "supply": "select count(*) from {0}data_supply",
}
TABLES = {"rows": SMALL, "indicators": "indicators", "supply": "data_supply"}


@dataclass
class Seen:
    """What one reader saw: seconds of each look, what failed, looks at more than one release, releases."""

    seconds: list[float] = field(default_factory=list)
    first_seconds: list[float] = field(default_factory=list)
    """Of those, the looks that met a release for the first time."""
    errors: list[str] = field(default_factory=list)
    mixed: int = 0
    releases: set[int] = field(default_factory=set)


def measure(folder: Path, *, quick: bool) -> list[Result]:
    deliveries, releases = (10, 2) if quick else (50, 10)
    with installation(fresh(folder / "verbund"), write_region(folder / "region", DEPOTS)) as to:
        wait_for_receipts(to, [put_attempt(to, nth, 0) for nth in range(deliveries)])
        # as many as stay in the database
        build_and_release(to.settings, KEPT)
        idle_seconds = 10.0 if quick else 60.0
        idle = read_while(to.settings, folder / "idle.json", lambda: time.sleep(idle_seconds))
        busy = read_while(to.settings, folder / "busy.json", lambda: busy_work(idle_seconds))
        steady = read_while(to.settings, folder / "steady.json", lambda: load(to, deliveries, releases, 1, STEADY))
        dense = read_while(to.settings, folder / "no_pause.json", lambda: load(to, deliveries, releases, 2, NO_PAUSE))
    places = (("postgresql", "schema `bi` of PostgreSQL"), ("file", "DuckDB file"))
    loads = (("one release in half a minute", steady, GOAL), ("releases without a pause", dense, None))
    found = []
    for (where, what), (how, loaded, goal) in itertools.product(places, loads):
        calm, beside, during = (seen[where] for seen in (idle, busy, loaded))
        ratio = during["spread"].p95 / calm["spread"].p95
        errors, mixed = during["errors"], during["mixed"]
        found.append(
            Result(
                "bi_readers",
                f"{READERS} readers of the {what} during {deliveries} deliveries and {releases} releases, {how}",
                f"no error, no mixed state{f', p95 at most {goal} × idle' if goal else ''}",
                f"{len(errors)} errors, {mixed} mixed states, p95 {ratio:.2f} ×",
                None if quick else not errors and not mixed and (goal is None or ratio <= goal),
                f"the same readers, nothing else at work: p95 {calm['spread'].p95 * 1000:.0f} ms",
                [
                    f"idle: {calm['spread'].told('s', 3)}",
                    f"beside two processes that only use up both cores: {beside['spread'].told('s', 3)}, "
                    f"p95 {beside['spread'].p95 * 1000:.0f} ms",
                    f"during the loads: {during['spread'].told('s', 3)}, p95 {during['spread'].p95 * 1000:.0f} ms, "
                    f"{during['releases']} releases seen",
                    f"of these the first looks at a release: {Spread(during['first_seconds']).told('s', 3)}",
                    *(f"error: {error}" for error in errors[:3]),
                ],
                "Readers, store, database, intake, judges and builds share two cores: two processes that touch no data slow "
                "the readers as the figure beside shows. No reader waits for a lock. More cores mend it.",
            )
        )
    return found


def put_attempt(to: Installation, nth: int, attempt: int) -> str:
    """Put the n-th slot's file; every attempt has as many rows as the one it takes the place of."""
    return put(to, nth % DEPOTS + 1, FIRST_YEAR, nth // DEPOTS + 1, salt=attempt)


def load(to: Installation, deliveries: int, releases: int, attempt: int, pace: tuple[float, float]) -> None:
    """Put files and release, side by side, one every so many seconds each."""
    between_files, between_releases = pace
    # at the priority the platform's builds run with (infra/systemd/verbund-dagster-launcher.service)
    building = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bi_readers", "release", str(releases), str(between_releases)],
        cwd=project_root(),
        env={**os.environ, **to.settings.environment()},
        start_new_session=True,
    )
    give_way(BACKGROUND, building.pid)
    waiting: list[str] = []
    while building.poll() is None or len(waiting) < deliveries:
        if len(waiting) < deliveries:
            waiting.append(put_attempt(to, len(waiting), attempt))
        time.sleep(between_files)
    if building.returncode:
        raise RuntimeError(f"the releases ended with {building.returncode}")
    wait_for_receipts(to, waiting)


def build_and_release(settings: Settings, times: int, every: float = 0.0) -> None:
    """Build and release, again and again; the next one begins `every` seconds after the one before did, or at its end."""
    desk = Desk(settings, who="benchmark")
    for _ in range(times):
        began = time.perf_counter()
        publish_supply(desk)
        if foundation.current(settings) is None:
            foundation.build(settings, full=True)
        else:
            foundation.build(settings, foundation.select_for(SMALL))
        built = time.perf_counter()
        made = release(settings, force=True)
        say(f"release {made.number}: built in {built - began:.1f} s, released in {time.perf_counter() - built:.1f} s")
        time.sleep(max(0.0, began + every - time.perf_counter()))
    desk.close()


def read_while(settings: Settings, told: Path, work: Callable[[], object]) -> dict[str, dict[str, Any]]:
    """Run the readers' process for as long as `work` takes."""
    command = [sys.executable, "-m", "benchmarks.bi_readers", "read", str(told)]
    readers = subprocess.Popen(command, cwd=project_root(), env={**os.environ, **settings.environment()})
    try:
        while not told.with_suffix(".ready").exists():
            if readers.poll() is not None:
                raise RuntimeError(f"the readers ended with {readers.returncode}")
            time.sleep(0.1)
        work()
    finally:
        readers.send_signal(signal.SIGTERM)
        readers.wait(60)
    found: dict[str, dict[str, Any]] = json.loads(told.read_text(encoding="utf-8"))
    for where, seen in found.items():
        seen["spread"] = Spread(seen.pop("seconds"))
        say(
            f"{told.stem}, {where}: {seen['spread'].told('s', 3)}, p95 {seen['spread'].p95:.3f} s, {len(seen['errors'])} errors"
        )
    return found


def read(settings: Settings, told: Path) -> None:
    """Be the readers until SIGTERM; writes what they saw."""
    processes = multiprocessing.get_context("fork")
    warm, stop, answers = processes.Event(), processes.Event(), processes.SimpleQueue()
    # an event is not to be set from a handler: this thread may be in the midst of waiting for it
    stopped: list[int] = []
    readers = [processes.Process(target=reader, args=(settings, nth, warm, stop, answers)) for nth in range(READERS)]
    for one in readers:
        one.start()
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    time.sleep(5)
    warm.set()
    told.with_suffix(".ready").touch()
    while not stopped:
        time.sleep(0.1)
    stop.set()
    seen = [answers.get() for _ in readers]
    for one in readers:
        one.join()
    told.write_text(
        json.dumps({where: _together([one[where] for one in seen]) for where in LOOKED_AT}), encoding="utf-8"
    )


def _together(seen: Sequence[Seen]) -> dict[str, Any]:
    return {
        "seconds": [second for one in seen for second in one.seconds],
        "first_seconds": [second for one in seen for second in one.first_seconds],
        "errors": [error for one in seen for error in one.errors],
        "mixed": sum(one.mixed for one in seen),
        "releases": len(set().union(*(one.releases for one in seen))),
    }


def reader(settings: Settings, nth: int, warm: Event, stop: Event, answers: SimpleQueue[dict[str, Seen]]) -> None:
    """One reader, a process of its own as every BI tool is; the first looks, which pay for imports, are not counted."""
    seen = {where: Seen() for where in LOOKED_AT}
    stop.wait(REST_SECONDS * nth / READERS)
    with psycopg.connect(database.conninfo(settings)) as connection:
        while not stop.is_set():
            for where, look in LOOKED_AT.items():
                counts, one = warm.is_set(), seen[where]
                began = time.perf_counter()
                try:
                    number, is_whole = look(settings, connection)
                    is_new = number not in one.releases
                    one.mixed += not is_whole
                    one.releases.add(number)
                except Exception as error:
                    # whatever it is: a reader saw it
                    is_new = False
                    one.errors.append(f"{type(error).__name__}: {error}")
                if counts:
                    one.seconds.append(time.perf_counter() - began)
                    one.first_seconds += one.seconds[-1:] * is_new
                stop.wait(REST_SECONDS)
    answers.put(seen)


def look_at_the_database(settings: Settings, connection: psycopg.Connection[Any]) -> tuple[int, bool]:
    """One transaction over all tables. Returns the release, and whether all of it was of that release."""
    with connection.transaction():
        before = connection.execute("select number, tables from bi.release").fetchall()
        counted = {name: connection.execute(sql.format("bi.")).fetchall() for name, sql in LOOKS.items()}  # type: ignore[arg-type]
        after = connection.execute("select number, tables from bi.release").fetchall()
    [(number, tables)] = before
    return number, before == after and all(counted[name] == [(tables[table],)] for name, table in TABLES.items())


def look_at_the_file(settings: Settings, _: object) -> tuple[int, bool]:
    """The same of the release as a file, opened for this look."""
    counts = ", ".join(f"({LOOKS[name].format('')})" for name in TABLES)
    answer = query(
        settings,
        f"select (select number from release), {counts}, (select count(*) from ({LOOKS['by month'].format('')}))",
    )
    number, *found = answer["rows"][0][:-1]
    tables = json.loads((settings.paths.release(number) / "manifest.json").read_text(encoding="utf-8"))["tables"]
    return number, number == answer["release"] and found == [tables[table]["rows"] for table in TABLES.values()]


LOOKED_AT = {"postgresql": look_at_the_database, "file": look_at_the_file}


def main(arguments: Sequence[str]) -> None:
    """The processes of this benchmark: `read FILE`, `release TIMES SECONDS`."""
    settings = Settings()
    if arguments[0] == "read":
        read(settings, Path(arguments[1]))
        return
    build_and_release(settings, int(arguments[1]), float(arguments[2]))


if __name__ == "__main__":
    main(sys.argv[1:])
