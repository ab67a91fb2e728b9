"""Readers of the published state while deliveries are accepted and the foundation is built again and again.

A reader in a process of its own asks, without pause, the foundation at the published snapshot and the accepted lake:
what it costs, whether anything fails, and whether a state is ever mixed (a mart with other deliveries than the accepted
rows it was published with, or a slot with rows of two attempts). Idle and under load it is the same reader; loads run in two further processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.files import small_file
from benchmarks.measure import Result, Spread, fresh, say
from benchmarks.region import SMALL, depot, home
from quality import foundation
from quality.desk import Desk
from quality.supply import publish_supply
from storage import lake
from storage.settings import Settings, project_root

GOAL = 1.5
YEAR = 2023


def measure(folder: Path, *, quick: bool) -> list[Result]:
    builds, accepts = (3, 15) if quick else (20, 100)
    settings = home(fresh(folder / "verbund"), depots=10)
    desk = Desk(settings)
    desk.warm_up()
    for nth in range(20):
        deliver(desk, nth, attempt=1)
    publish_supply(desk)
    foundation.build(settings, full=True)
    idle_seconds = 10 if quick else 40
    idle = read_while(settings, folder / "idle.json", lambda: time.sleep(idle_seconds))
    waiting = read_while(settings, folder / "busy.json", lambda: busy_work(idle_seconds))
    spent: list[float] = []

    def load() -> None:
        building = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.readers", "build", str(builds)],
            cwd=project_root(),
            env=_environment(settings),
        )
        done = 0
        while building.poll() is None or done < accepts:
            if done < accepts:
                began = time.perf_counter()
                deliver(desk, done % 20, attempt=2 + done // 20)
                spent.append(time.perf_counter() - began)
                done += 1
            time.sleep(0.05)
        if building.returncode:
            raise RuntimeError(f"the builds ended with {building.returncode}")

    loaded = read_while(settings, folder / "loaded.json", load)
    desk.close()
    ratio = loaded["spread"].p95 / idle["spread"].p95
    errors, mixed = loaded["errors"], loaded["mixed"]
    return [
        Result(
            "readers",
            f"queries on foundation and accepted during {builds} builds and {accepts} accepts",
            f"no error, no mixed state, p95 at most {GOAL} × idle",
            f"{len(errors)} errors, {mixed} mixed states, p95 {ratio:.2f} ×",
            None if quick else not errors and not mixed and ratio <= GOAL,
            f"the same reader, nothing else at work: p95 {idle['spread'].p95 * 1000:.0f} ms",
            [
                f"idle: {idle['spread'].told()}, p95 {idle['spread'].p95:.3f} s",
                f"beside two processes that only use up both cores: {waiting['spread'].told()}, p95 {waiting['spread'].p95:.3f} s",
                f"during the loads: {loaded['spread'].told()}, p95 {loaded['spread'].p95:.3f} s, "
                f"{loaded['published']} published states seen",
                f"accepts meanwhile: {Spread(spent).told()}",
                f"looks at which the state of supply was of a moment before the rows: {loaded['lagging']} of "
                f"{len(loaded['spread'].values)} (it is written just before a build, and accepting goes on meanwhile)",
                *(f"error: {error}" for error in errors[:3]),
            ],
            "Reader, build and judge share two cores: two processes that touch no lake at all slow the reader as much, as "
            "the figure beside shows. Nobody waits for a lock. More cores mend it, or a nice value for builds.",
        )
    ]


def deliver(desk: Desk, nth: int, *, attempt: int) -> None:
    period = f"{YEAR}-{nth // 10 + 1:02d}"
    file = desk.home.work / f"gruenabfall_{period}.csv"
    file.write_bytes(small_file(nth % 10 + 1, YEAR, nth // 10 + 1, salt=attempt))
    delivery = desk.receive(file, depot(nth % 10 + 1), SMALL, period, file_name=file.name, who="benchmark")
    desk.answer([desk.judge(delivery)])


def read_while(settings: Settings, told: Path, work: Any) -> dict[str, Any]:
    """Run the reader's process for as long as `work` takes."""
    command = [sys.executable, "-m", "benchmarks.readers", "read", str(told)]
    reader = subprocess.Popen(command, cwd=project_root(), env=_environment(settings))
    try:
        while not told.with_suffix(".ready").exists():
            if reader.poll() is not None:
                raise RuntimeError(f"the reader ended with {reader.returncode}")
            time.sleep(0.1)
        work()
    finally:
        reader.send_signal(signal.SIGTERM)
        reader.wait(60)
    found: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    found["spread"] = Spread(found.pop("seconds"))
    say(f"{told.stem}: {found['spread'].told()}, p95 {found['spread'].p95:.3f} s, {len(found['errors'])} errors")
    return found


def busy_work(seconds: float) -> None:
    """Two processes that use up a core each and touch nothing."""
    code = f"import time\nuntil = time.time() + {seconds}\nwhile time.time() < until: sum(range(10000))"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    for process in processes:
        process.wait()


def read(settings: Settings, told: Path) -> None:
    """Be the reader until SIGTERM; writes what it saw."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    seconds, errors, mixed, lagging, published = [], [], 0, 0, set()
    while not stopped:
        began = time.perf_counter()
        try:
            state = foundation.current(settings)
            if state is None:
                raise RuntimeError("nothing is published")
            is_mixed, is_lagging = look(settings, state)
            mixed, lagging = mixed + is_mixed, lagging + is_lagging
            published.add((state.foundation, state.accepted))
        except Exception as error:
            # whatever it is: a reader saw it
            errors.append(f"{type(error).__name__}: {error}")
        seconds.append(time.perf_counter() - began)
        told.with_suffix(".ready").touch()
    # the first look pays for imports
    seen = {"seconds": seconds[1:], "errors": errors, "mixed": mixed, "lagging": lagging, "published": len(published)}
    told.write_text(json.dumps(seen), encoding="utf-8")


def look(settings: Settings, state: foundation.Current) -> tuple[bool, bool]:
    """Open both catalogs as published and ask them.

    Returns:
        Whether mart and accepted rows do not belong together, and whether the state of supply is of a moment before.
    """
    with contextlib.closing(lake.connect(settings, threads=1, memory_mb=256)) as connection:
        lake.attach(connection, settings, "foundation", read_only=True, snapshot=state.foundation)
        lake.attach(connection, settings, "accepted", read_only=True, snapshot=state.accepted)

        def slots(sql: str) -> set[tuple[Any, ...]]:
            return set(connection.execute(sql).fetchall())

        mart = slots(f"select distinct supplier_id, delivery_id, attempt from foundation.main.{SMALL}")
        rows = slots(f"select distinct supplier_id, delivery_id, attempt from accepted.{SMALL}")
        supply = slots(
            "select supplier_id, served_delivery_id, served_attempt from foundation.main.data_supply "
            f"where dataset = '{SMALL}' and served_delivery_id is not null"
        )
    one_attempt_each = len({delivery.rsplit("--", 1)[0] for _, delivery, _ in mart}) == len(mart)
    return mart != rows or not one_attempt_each, supply != rows


def _environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, "VERBUND_HOME": str(settings.home), "VERBUND_REGION": str(settings.region_dir)}


def main(arguments: Sequence[str]) -> None:
    """The processes of this benchmark: `read FILE`, `build TIMES`."""
    settings = Settings()
    if arguments[0] == "read":
        read(settings, Path(arguments[1]))
        return
    desk = Desk(settings, who="benchmark-builds")
    for _ in range(int(arguments[1])):
        publish_supply(desk)
        foundation.build(settings, foundation.select_for(SMALL))
    desk.close()


if __name__ == "__main__":
    main(sys.argv[1:])
