"""The portal with thousands of deliveries in the ledger: how quickly pages answer, and a file's way to its verdict on the page.

The portal and the judge are processes as `verbund up` starts them; browsers are HTTP clients beside them. The deliveries are
made up as in `benchmarks.many_slots`; foundation and release are built from them in the usual way.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.files import small_file
from benchmarks.judge_process import judging
from benchmarks.many_slots import DEPOTS, fill
from benchmarks.measure import Result, Spread, fresh, say
from benchmarks.region import SMALL, area, depot, home
from portal.visit import COOKIE
from quality import foundation
from quality.desk import Desk
from quality.release import release
from quality.supply import publish_supply
from storage.maintenance import maintain
from storage.people import People, Role
from storage.settings import Settings, project_root

#: From here on a depot owes a file a month; a hundred depots owe ten thousand in eight years and four months.
FIRST_YEAR = 2018
AT_ONCE = 20
#: As many as cores.
JUDGES = 2
PAGES_GOAL, MEDIAN_GOAL, P95_GOAL = 0.3, 2.0, 5.0


def measure(folder: Path, *, quick: bool) -> list[Result]:
    deliveries, rounds, uploads = (200, 3, 1) if quick else (10_000, 40, 5)
    settings = home(fresh(folder / "verbund"), depots=DEPOTS)
    region = settings.region_dir / "region.yml"
    owed = [
        f"starts_on: {FIRST_YEAR}-01-01" if line.startswith("starts_on:") else line
        for line in region.read_text().splitlines()
    ]
    region.write_text("\n".join([*owed, ""]), encoding="utf-8")
    began = time.perf_counter()
    desk = Desk(settings)
    fill(desk, 0, deliveries, year=FIRST_YEAR)
    # as the weekly maintenance leaves it: such a number comes in years, not in an hour
    maintain(settings, "accepted", keep=set(), keep_days=400)
    publish_supply(desk)
    foundation.build(settings)
    release(settings)
    desk.close()
    say(f"{deliveries:,} deliveries, foundation and release are there after {time.perf_counter() - began:.0f} s")
    with portal(settings) as address:
        quickly = pages(settings, address, rounds)
        with judging(settings, JUDGES):
            verdicts = hand_in(settings, address, uploads)
    everything = Spread([spent for path, spread in quickly.items() if path != _STATIC for spent in spread.values])
    slowest = sorted((path for path in quickly if path != _STATIC), key=lambda path: -quickly[path].p95)
    return [
        Result(
            "portal_pages",
            f"{len(slowest)} pages of the portal, {deliveries:,} deliveries in the ledger",
            f"p95 at most {PAGES_GOAL * 1000:.0f} ms",
            f"p95 {everything.p95 * 1000:.0f} ms, of the slowest page {quickly[slowest[0]].p95 * 1000:.0f} ms",
            None if quick else quickly[slowest[0]].p95 <= PAGES_GOAL,
            f"a file the portal serves as it is: {_told(quickly[_STATIC])}",
            [f"{path}: {_told(quickly[path])}" for path in slowest],
            "The page that is slowest asks for more of the ledger than it shows.",
        ),
        Result(
            "portal_pages",
            f"upload → verdict on the page, {AT_ONCE} suppliers at once, one file of 300 rows each, {JUDGES} judges",
            f"p50 at most {MEDIAN_GOAL:.0f} s, p95 at most {P95_GOAL:.0f} s",
            f"p50 {verdicts.median:.2f} s, p95 {verdicts.p95:.2f} s",
            None if quick else verdicts.median <= MEDIAN_GOAL and verdicts.p95 <= P95_GOAL,
            "nothing: there is no page in the default way",
            [f"{len(verdicts.values)} files in {uploads} rounds: {verdicts.told()}",
             "a page asks as a browser's does and is answered when its delivery goes on"],
            "Portal, judges and the twenty share two cores: a file of 300 rows with mistakes takes some 0.35 s of one, all ways together.",
        ),
    ]  # fmt: skip


#: What a page without a verdict asks for next, a twentieth of a second after it is there.
_GOES_ON = re.compile(r'hx-get="(/lieferung/[^"]+/weiter\?gesehen=(?:queued|judging))"')
_STATIC = "/static/own/verbund.css"


def _told(spread: Spread) -> str:
    return f"{Spread([1000 * value for value in spread.values]).told('ms', 0)}, p95 {spread.p95 * 1000:.0f} ms"


@contextmanager
def portal(settings: Settings) -> Iterator[str]:
    """The portal of a home in a process of its own; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = {
        "VERBUND_HOME": str(settings.home),
        "VERBUND_REGION": str(settings.region_dir),
        "VERBUND_PORTAL_PORT": str(port),
    }
    log = (settings.paths.logs / "portal.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "verbund.cli", "portal"],
        cwd=project_root(),
        env={**os.environ, **told},
        stdout=log,
        stderr=log,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"{address}/anmelden", timeout=30)
                break
            except httpx.TransportError:
                if time.monotonic() > until or process.poll() is not None:
                    raise
                time.sleep(0.2)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def browser(settings: Settings, address: str, role: Role, supplier: str = "") -> tuple[httpx.Client, str]:
    """Somebody of this role who is signed in, and the word of their session's forms."""
    people = People(settings.ledger_url)
    email = f"{role}-{supplier or 'region'}@example.org"
    person = people.accept(people.invite(email, role, role, supplier, by="benchmark"), "ein langer satz fuer messungen")
    cookie, session = people.begin(person)
    people.close()
    return httpx.Client(base_url=address, cookies={COOKIE: cookie}, timeout=60), session.form


def pages(settings: Settings, address: str, rounds: int) -> dict[str, Spread]:
    """Seconds of each page, asked in turn; the first round is not counted."""
    clerk, _ = browser(settings, address, "lead", depot(1))
    coordinator, _ = browser(settings, address, "coordinator")
    period = f"{FIRST_YEAR}-01"
    delivery, figure = f"{depot(1)}--{SMALL}--{period}--01", f"K-11/{area(1)}/{period}"
    asked = [
        *((clerk, path) for path in (
            f"/pflichten/{depot(1)}", f"/abgeben/{depot(1)}", f"/lieferung/{delivery}", f"/lieferung/{delivery}/zahlen",
            f"/zahlen/{depot(1)}", f"/zahl/{figure}", f"/fragen/{depot(1)}",
        )),
        *((coordinator, path) for path in (
            "/region", "/region/offen", "/zeugnisse", "/staende", "/menschen", "/verlauf", "/fragen", "/fristen",
        )),
        *((httpx.Client(base_url=address, timeout=60), path) for path in ("/offen", f"/offen/gebiet/{area(1)}", "/offen/daten/csv/open_indicators")),
        (clerk, _STATIC),
    ]  # fmt: skip
    spent: dict[str, list[float]] = {path: [] for _, path in asked}
    for nth in range(rounds + 1):
        for client, path in asked:
            began = time.perf_counter()
            answer = client.get(path)
            ended = time.perf_counter()
            answer.raise_for_status()
            if nth:
                spent[path].append(ended - began)
    return {path: Spread(values) for path, values in spent.items()}


def hand_in(settings: Settings, address: str, rounds: int) -> Spread:
    """Seconds from handing in to the verdict on the page, for suppliers who begin in the same moment."""
    people = [browser(settings, address, "clerk", depot(nth)) for nth in range(1, AT_ONCE + 1)]
    spent: list[float] = []
    failed: list[Exception] = []
    together = threading.Barrier(AT_ONCE)

    def one(nth: int) -> None:
        client, form = people[nth - 1]
        try:
            # the first round warms
            for month in range(1, rounds + 2):
                period = f"{FIRST_YEAR - 1}-{month:02d}"
                name = f"gruenabfall_{period}.csv"
                content = small_file(nth, FIRST_YEAR - 1, month)
                together.wait(300)
                began = time.perf_counter()
                answer = client.post(f"/abgeben/{depot(nth)}", data={"form": form}, files={"file": (name, content)})
                if answer.status_code != 303:
                    raise RuntimeError(f"{depot(nth)} was answered {answer.status_code}")
                page = client.get(answer.headers["location"]).text
                while goes_on := _GOES_ON.search(page):
                    if time.perf_counter() - began > 300:
                        raise TimeoutError(f"no verdict on {answer.headers['location']}")
                    time.sleep(0.05)
                    page = client.get(goes_on[1]).text
                if month > 1:
                    spent.append(time.perf_counter() - began)
        except Exception as error:
            # whatever it was, it is raised below, where all threads are done
            failed.append(error)
            together.abort()

    threads = [threading.Thread(target=one, args=(nth,)) for nth in range(1, AT_ONCE + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return Spread(spent)
