"""Sending the demo the real way, and telling what came of it: who delivered, what was wrong, what the region now knows.

Files are put into the inboxes and found by the sweep, as a utility's would be; only the clock is told the day of the
story. What was sent in an earlier run is not sent again.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from quality import foundation, judging
from quality import release as releasing
from quality.desk import Desk, summary_of
from quality.inboxes import Inboxes
from quality.supply import publish_supply
from storage import clock
from storage.ledger.ledger import DeliveryView
from storage.paths import Slot
from storage.settings import Settings
from verbund.demo import DemoDelivery, demo_deliveries
from verbund.output import WRONG_USE, err, fail, out, progress, say_json, state_text, table

#: The indicator the story ends with.
SHOWN = "K-02"


def run_demo(settings: Settings, *, as_json: bool = False) -> None:
    """Send what the demo has not sent yet, build, release, and tell the story."""
    if settings.is_server:
        fail(
            "the demo is for the embedded profile: what a server's locked vault holds stays there for years. `verbund migrate "
            "--to server` carries a demo home over to servers that are for trying",
            WRONG_USE,
            as_json=as_json,
        )
    if settings.region_dir.name != "bergisch":
        fail(f"expected the region bergisch, which has a demo, found {settings.region}", WRONG_USE, as_json=as_json)
    desk = Desk(settings)
    script = demo_deliveries()
    with judging.holding(settings, wait_seconds=30) as held:
        if not held:
            fail(
                "a judge is running in this home; end `verbund up` first, or choose another --home",
                WRONG_USE,
                as_json=as_json,
            )
        with progress("starting the judge", quiet=as_json):
            desk.warm_up()
        sent = _send_all(desk, script, quiet=as_json)
    with progress("building the foundation", quiet=as_json):
        publish_supply(desk)
        built = foundation.build(settings)
    with progress("freezing a release", quiet=as_json):
        made = releasing.release(settings, note="demo of the bergisch region, synthetic figures")
    with progress("telling Dagster", quiet=as_json):
        # imported here: Dagster takes seconds, and a home that is refused needs none of it
        from orchestration.reporter import report_all

        told = report_all(settings)
    views = desk.ledger.deliveries()
    if as_json:
        say_json(
            {
                "home": str(settings.home),
                "sent": sent,
                "told_to_dagster": told,
                "deliveries": [summary_of(view) for view in views],
                "states": dict(Counter(view.state for view in views)),
                "build": {"models": len(built.models), "tests": len(built.tests), "seconds": built.seconds},
                "release": {"number": made.number, "tables": dict(made.tables), "path": str(made.path)},
            }
        )
        return
    _tell(desk, script, views, sent, made)


def _send_all(desk: Desk, script: Sequence[DemoDelivery], *, quiet: bool) -> int:
    """Send in the order of the story; returns how many were new."""
    known = Counter((v.slot, v.sha256, v.nothing_to_report) for v in desk.ledger.deliveries())
    withdrawn = {
        event.delivery_id
        for v in desk.ledger.deliveries()
        for event in desk.ledger.history(v.delivery_id)
        if event.kind == "withdrawn"
    }
    sent = 0
    for number, item in enumerate(script, start=1):
        with clock.telling(item.received_at):
            is_new = _send(desk, item, known, bool(withdrawn))
            if is_new:
                judging.work_queue(desk)
        sent += is_new
        if is_new and not quiet:
            err.print(
                f"[{number:2}/{len(script)}] {item.received_at:%Y-%m-%d} {item.supplier}: {item.file_name}",
                markup=False,
                highlight=False,
            )
    return sent


def _send(desk: Desk, item: DemoDelivery, known: Counter[Any], withdrawals_done: bool) -> bool:
    slot = Slot(item.supplier, item.dataset, item.period)
    if item.kind == "withdraw":
        if withdrawals_done:
            return False
        latest = desk.ledger.deliveries(item.supplier, item.dataset, item.period)[-1]
        return desk.withdraw(latest.delivery_id, who=item.supplier, why=item.story["de"])
    if item.kind == "nothing_to_report":
        if any(key[0] == slot and key[2] for key in known):
            return False
        desk.declare_nothing(item.supplier, item.dataset, item.period, who=item.supplier, reason=item.story["de"])
        return True
    assert item.content is not None
    key = (slot, hashlib.sha256(item.content).hexdigest(), False)
    if known[key] > 0:
        known[key] -= 1
        return False
    if item.synthetic != desk.pack.suppliers[item.supplier].synthetic:
        # official and invented figures of one supplier are told apart by delivery; an inbox cannot say which is which
        desk.receive(
            io.BytesIO(item.content), item.supplier, item.dataset, item.period, file_name=item.file_name, who=item.supplier,
            synthetic=item.synthetic,
        )  # fmt: skip
        return True
    folder = desk.home.inbox(item.supplier) / item.dataset / item.period
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / item.file_name
    file.write_bytes(item.content)
    _rest(file, item)
    Inboxes(desk).sweep()
    return True


def _rest(file: Any, item: DemoDelivery) -> None:
    """Let the file look as old as the story says, so that it counts as written to its end."""
    at = (item.received_at - timedelta(minutes=1)).timestamp()
    os.utime(file, (at, at))


# --- the story ---


def _tell(
    desk: Desk, script: Sequence[DemoDelivery], views: Sequence[DeliveryView], sent: int, made: releasing.Release
) -> None:
    pack = desk.pack
    out.print(
        f"\n[bold]{pack.region.name}[/bold]: a demonstration. Every figure of its utilities is [bold]synthetic[/bold]."
    )
    if sent == 0:
        out.print("Nothing new: all deliveries of the demo were here before.")
    out.print("\n[bold]Who delivered, and what became of it[/bold]")
    counted: dict[tuple[str, str], Counter[str]] = {}
    for view in views:
        counted.setdefault((view.supplier, view.dataset), Counter())[view.state] += 1
    table(
        ["supplier", "dataset", "deliveries", "states"],
        [
            [s, d, sum(states.values()), ", ".join(f"{n} {state_text(name)}" for name, n in sorted(states.items()))]
            for (s, d), states in sorted(counted.items())
        ],
    )
    out.print("\n[bold]What was wrong, and how it was noticed[/bold]")
    table(
        ["supplier", "period", "special about it", "what happened"],
        [[i.supplier, i.period, i.trap, i.story["en"]] for i in script if i.trap],
    )
    _tell_indicator(desk, made)
    _tell_places(desk, views, made)


def _tell_indicator(desk: Desk, made: releasing.Release) -> None:
    names = {a.area_code: a.name for a in desk.pack.region.areas}
    answer = releasing.query(
        desk.settings,
        f"select area, period, value, unit, missing_reason, estimated_share from indicators where indicator = '{SHOWN}' order by area, period",
        made.number,
    )
    rows: list[Mapping[str, Any]] = [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]
    periods = sorted({row["period"] for row in rows})
    cells = {(row["area"], row["period"]): row for row in rows}
    unit = next((row["unit"] for row in rows if row["unit"]), "")
    out.print(
        f"\n[bold]What the region now knows[/bold]: {SHOWN}, residual waste per head in {unit} (synthetic; a gap says why it is one)"
    )
    areas = [*names, desk.pack.region.id]
    lines = []
    for area in areas:
        line = [names.get(area, desk.pack.region.name)]
        for period in periods:
            row = cells.get((area, period))
            line.append(
                ""
                if row is None
                else f"{float(row['value']):.1f}"
                if row["value"] is not None
                else f"– ({row['missing_reason']})"
            )
        lines.append(line)
    table(["area", *periods], lines)


def _tell_places(desk: Desk, views: Sequence[DeliveryView], made: releasing.Release) -> None:
    shown = next(
        (v for v in views if v.state == "partly_accepted"), next((v for v in views if v.state == "rejected"), views[0])
    )
    files = desk.receipts.places(shown.delivery_id)
    rows = sum(made.tables.values())
    out.print("\n[bold]Where to look[/bold]")
    out.print(f"  a receipt      {files['html']}", markup=False)
    if files["xlsx"]:
        out.print(f"  what to mend   {files['xlsx']}", markup=False)
    out.print(f"  the release    {made.path}   ({len(made.tables)} tables, {rows} rows)", markup=False)
    out.print(
        "  ask it         .venv/bin/verbund query \"select * from data_supply where state <> 'accepted'\"", markup=False
    )
    out.print(f"  one story      .venv/bin/verbund history {shown.slot}", markup=False)
    out.print("  Dagster        .venv/bin/verbund up, then open the address it prints", markup=False)
