"""One more delivery when thousands are accepted, beside the same when a hundred are.

The slots are filled the way a busy judge fills them, ten deliveries to a lake transaction, each with its lines in the
ledger; only reading and judging are left out. What is timed is the whole way of one more delivery on a warm desk.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.files import small_file
from benchmarks.measure import Result, Spread, fresh, say
from benchmarks.region import SMALL, area, depot, home
from quality.desk import Desk
from storage import lake
from storage.accepted import SlotRows
from storage.ledger.ledger import VerdictRecord
from storage.maintenance import maintain
from storage.paths import Slot

DEPOTS = 100
BATCH = 10
FIRST_YEAR = 1990
ROWS = 297
GOAL = 1.2


def measure(folder: Path, *, quick: bool) -> list[Result]:
    few, many, samples = (100, 400, 8) if quick else (100, 10_000, 25)
    desk = Desk(home(fresh(folder / "verbund"), depots=DEPOTS))
    desk.warm_up()
    began = time.perf_counter()
    fill(desk, 0, few)
    one_more(desk, 5, FIRST_YEAR - 30)
    with_few = one_more(desk, samples, FIRST_YEAR - 20)
    say(f"with {few} accepted: {told(with_few)}")
    fill(desk, few, many)
    say(f"{many:,} slots are there after {time.perf_counter() - began:.0f} s")
    with_many = one_more(desk, samples, FIRST_YEAR - 10)
    say(f"with {many:,} accepted: {told(with_many)}")
    began = time.perf_counter()
    tidied = maintain(desk.settings, "accepted", keep=set(), keep_days=400)
    spent = time.perf_counter() - began
    tidy = one_more(desk, samples, FIRST_YEAR - 5)
    desk.close()
    ratio, tidy_ratio = (one[1].median / with_few[1].median for one in (with_many, tidy))
    return [
        Result(
            "many_slots",
            f"one more small delivery when {many:,} are accepted",
            f"at most {GOAL} × the cost when {few} are",
            f"{ratio:.2f} × as it is, {tidy_ratio:.2f} × after the weekly maintenance",
            None if quick else ratio <= GOAL,
            f"the same desk with {few} accepted: {told(with_few)}",
            [
                "the ratios are of processor time, which other work on the machine disturbs less",
                f"with {many:,} accepted, never tidied: {told(with_many)}",
                f"after maintenance ({tidied['files_before']:,} → {tidied['files_after']:,} files, {spent:.0f} s): {told(tidy)}",
            ],
            MISSED,
        )
    ]


MISSED = (
    "The catalog looks through the statistics of every data file of a table to find those of a slot; their number grows "
    "with every commit until maintenance merges them. Running it nightly instead of weekly mends what it mends."
)


def told(spent: tuple[Spread, Spread]) -> str:
    wall, processor = spent
    return f"{wall.told('ms', 0)}, processor {processor.told('ms', 0)}"


def fill(desk: Desk, begin: int, end: int, *, year: int = FIRST_YEAR) -> None:
    """Accept made-up rows for the slots numbered from `begin` to `end`, the first of them in January of `year`."""
    con = desk.bench.connection
    contract = desk.pack.contracts[SMALL]
    for start in range(begin, end, BATCH):
        rows, records = [], []
        for nth in range(start, min(start + BATCH, end)):
            supplier, month = nth % DEPOTS + 1, nth // DEPOTS
            slot = Slot(depot(supplier), SMALL, f"{year + month // 12}-{month % 12 + 1:02d}")
            delivery = desk.ledger.receive(
                slot.supplier,
                SMALL,
                slot.period,
                f"{nth:064x}",
                20_000,
                f"gruenabfall_{slot.period}.csv",
                "benchmark",
                "benchmark",
            )
            con.execute(
                f"""
                create or replace temp table filled_{nth - start} as select
                    'gate-{supplier}-' || (i % 4 + 1) as site_id, '{area(supplier)}' as area_code,
                    date '{slot.period}-01' + cast(i // 12 as integer) as intake_date,
                    ['woody', 'soft', 'mixed'][i // 4 % 3 + 1] as fraction_code,
                    cast(hash(i + {nth}) % 9000 as decimal(18, 6)) as quantity, 'kg' as unit_code, false as is_estimated,
                    '{slot.supplier}' as supplier_id, '{slot.period}' as period, '{delivery.delivery_id}' as delivery_id,
                    cast(1 as integer) as attempt, i + 2 as delivered_line, cast(null as varchar) as delivered_sheet,
                    cast(null as varchar) as row_warnings
                from range({ROWS}) r(i)
                """
            )
            rows.append(SlotRows(slot, delivery.delivery_id, 1, f"filled_{nth - start}"))
            counts = dict.fromkeys(("delivered", "accepted"), ROWS) | dict.fromkeys(
                ("accepted_with_warning", "quarantined", "ignored_by_rule"), 0
            )
            body: dict[str, object] = {"findings": [], "changes": None, "state": "accepted"}
            fingerprint, now = contract.fingerprint, datetime.now(UTC)
            records.append(VerdictRecord(delivery.delivery_id, "accepted", counts, fingerprint, "-", "-", body, now))
        desk.ensure_tables(desk.pack)
        with lake.writing(desk.settings, "accepted"):
            desk.lake.replace(rows)
            desk.ledger.record(records, desk.who)
        # as if their receipts lay there: nobody writes ten thousand while something is measured
        made = [record.delivery_id for record in records]
        desk.ledger.acknowledge(dict.fromkeys(made, datetime.now(UTC)), desk.who)
        desk.ledger.answered(made)


def one_more(desk: Desk, samples: int, year: int) -> tuple[Spread, Spread]:
    """Milliseconds of the whole way of one more delivery, each for a slot of its own: by the clock, and of processor."""
    spent: tuple[list[float], list[float]] = ([], [])
    for nth in range(samples):
        period = f"{year + nth // 12}-{nth % 12 + 1:02d}"
        file = desk.home.work / f"gruenabfall_{period}.csv"
        file.write_bytes(small_file(1, year + nth // 12, nth % 12 + 1))
        began, used = time.perf_counter(), time.process_time()
        delivery = desk.receive(file, depot(1), SMALL, period, file_name=file.name, who="benchmark")
        desk.answer([desk.judge(delivery)])
        spent[0].append((time.perf_counter() - began) * 1000)
        spent[1].append((time.process_time() - used) * 1000)
    return Spread(spent[0]), Spread(spent[1])
