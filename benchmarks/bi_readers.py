"""BI while loading: eight readers of the released tables, in PostgreSQL and in the DuckDB file, during deliveries and releases.

Suppliers put files, an intake and two judges take them in, and release after release is built, frozen and published. Each
reader asks, in one transaction, which release it is and whether every table has the rows that this release says; then the
same of the DuckDB file. Idle and under load they are the same readers; they run in a process of their own and rest between
two looks, as people before a dashboard do. Needs what `.ci/servers` installs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
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
LOOKS = {
    "rows": f"select count(*) from {{0}}{SMALL}",
    "by month": f"select supplier_id, date_trunc('month', intake_date), sum(quantity_t) from {{0}}{SMALL} group by 1, 2",
    "indicators": "select count(*) from {0}indicators",
    "supply": "select count(*) from {0}data_supply",
}
TABLES = {"rows": SMALL, "indicators": "indicators", "supply": "data_supply"}


def measure(folder: Path, *, quick: bool) -> list[Result]:
    deliveries, releases = (10, 2) if quick else (50, 10)
    with installation(fresh(folder / "verbund"), write_region(folder / "region", DEPOTS)) as to:
        wait_for_receipts(to, [put_attempt(to, nth, 0) for nth in range(deliveries)])
        # as many as stay in the database
        build_and_release(to.settings, KEPT)
        idle_seconds = 10.0 if quick else 60.0
        idle = read_while(to.settings, folder / "idle.json", lambda: time.sleep(idle_seconds))
        busy = read_while(to.settings, folder / "busy.json", lambda: busy_work(idle_seconds))
        loaded = read_while(to.settings, folder / "loaded.json", lambda: load(to, deliveries, releases))
    found = []
    for where, what in (("postgresql", "schema `bi` of PostgreSQL"), ("file", "DuckDB file")):
        calm, beside, during = (seen[where] for seen in (idle, busy, loaded))
        ratio = during["spread"].p95 / calm["spread"].p95
        errors, mixed = during["errors"], during["mixed"]
        found.append(
            Result(
                "bi_readers",
                f"{READERS} readers of the {what} during {deliveries} deliveries and {releases} releases",
                f"no error, no mixed state, p95 at most {GOAL} × idle",
                f"{len(errors)} errors, {mixed} mixed states, p95 {ratio:.2f} ×",
                None if quick else not errors and not mixed and ratio <= GOAL,
                f"the same readers, nothing else at work: p95 {calm['spread'].p95 * 1000:.0f} ms",
                [
                    f"idle: {calm['spread'].told('s', 3)}",
                    f"beside two processes that only use up both cores: {beside['spread'].told('s', 3)}, "
                    f"p95 {beside['spread'].p95 * 1000:.0f} ms",
                    f"during the loads: {during['spread'].told('s', 3)}, p95 {during['spread'].p95 * 1000:.0f} ms, "
                    f"{during['releases']} releases seen",
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


def load(to: Installation, deliveries: int, releases: int) -> None:
    """Put files and release, side by side."""
    # at the priority the platform's builds run with (infra/systemd/verbund-dagster-launcher.service)
    building = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bi_readers", "release", str(releases)],
        cwd=project_root(),
        env={**os.environ, **to.settings.environment()},
        start_new_session=True,
    )
    give_way(BACKGROUND, building.pid)
    waiting = []
    while building.poll() is None or len(waiting) < deliveries:
        if len(waiting) < deliveries:
            waiting.append(put_attempt(to, len(waiting), 1))
        time.sleep(1)
    if building.returncode:
        raise RuntimeError(f"the releases ended with {building.returncode}")
    wait_for_receipts(to, waiting)


def build_and_release(settings: Settings, times: int) -> None:
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
    stop = threading.Event()
    # an event is not to be set from a handler: this thread may be in the midst of waiting for it
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    looks = {"postgresql": look_at_the_database, "file": look_at_the_file}
    seen: dict[str, dict[str, Any]] = {
        where: {"seconds": [], "errors": [], "mixed": 0, "releases": set()} for where in looks
    }

    def reader(nth: int) -> None:
        stop.wait(REST_SECONDS * nth / READERS)
        with psycopg.connect(database.conninfo(settings)) as connection:
            while not stop.is_set():
                for where, look in looks.items():
                    began = time.perf_counter()
                    try:
                        number, is_whole = look(settings, connection)
                        seen[where]["mixed"] += not is_whole
                        seen[where]["releases"].add(number)
                    except Exception as error:
                        # whatever it is: a reader saw it
                        seen[where]["errors"].append(f"{type(error).__name__}: {error}")
                    seen[where]["seconds"].append(time.perf_counter() - began)
                    stop.wait(REST_SECONDS)

    readers = [threading.Thread(target=reader, args=(nth,)) for nth in range(READERS)]
    for one in readers:
        one.start()
    stop.wait(3)
    # the first looks pay for imports and connections
    for found in seen.values():
        found["seconds"].clear()
    told.with_suffix(".ready").touch()
    while not stopped:
        time.sleep(0.1)
    stop.set()
    for one in readers:
        one.join()
    for found in seen.values():
        found["releases"] = len(found["releases"])
    told.write_text(json.dumps(seen), encoding="utf-8")


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


def main(arguments: Sequence[str]) -> None:
    """The processes of this benchmark: `read FILE`, `release TIMES`."""
    settings = Settings()
    if arguments[0] == "read":
        read(settings, Path(arguments[1]))
        return
    build_and_release(settings, int(arguments[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
