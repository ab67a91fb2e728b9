"""Where a clerk may start from: what the supplier delivered the last time, in its own words.

Whoever fills in a template or a form gets the lines back that come again (places, kinds, codes) and sees the figures beside
them. Figures themselves are never put in: what nobody changed would pass for this period's.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from quality.contract import Contract
from quality.desk import Desk
from quality.dialect import Dialect
from quality.mending import without_status
from quality.reading import reading_of
from quality.template import Template, write_template
from storage.ledger.records import DeliveryView
from storage.ledger.states import SERVED
from storage.paths import Slot
from storage.periods import Period
from storage.periods import period as read_period
from storage.readers import Unreadable, read
from storage.vault import VaultDamaged

#: Longer tables come out of a system; nobody starts them by hand.
MOST_ROWS = 500


@dataclass(frozen=True)
class Last:
    """What was delivered the last time.

    Attributes:
        delivery: Its id.
        period: For when it was.
        rows: Text by delivered column, without rows that were left out by agreement or held back.
        lines: The same by field, as many as became of them, with what the agreement adds.
        units: The unit in which the lines tell a field.
    """

    delivery: str
    period: str
    rows: Sequence[Mapping[str, str]]
    lines: Sequence[Mapping[str, str]]
    units: Mapping[str, str | None]


def last_delivered(desk: Desk, supplier: str, dataset: str, before: Period) -> Last | None:
    """The newest rows that were accepted for an earlier period; None where there are none, or too many to start from."""
    pack = desk.pack
    contract = pack.contracts.get(dataset)
    if contract is None:
        return None
    views = [
        view
        for view in desk.ledger.deliveries(supplier, dataset)
        if view.state in SERVED and not view.nothing_to_report and read_period(view.period).start < before.start
    ]
    if not views:
        return None
    view = max(views, key=lambda v: (read_period(v.period).start, v.attempt))
    try:
        return _read_again(desk, contract, view)
    except (Unreadable, VaultDamaged):
        # without a start the template is as good
        return None


def template_for(desk: Desk, dataset: str, supplier: str, to: Path | None, period: Period | None = None) -> Template:
    """Write the template of a supplier, started with what it delivered the last time.

    Raises:
        Refused: There is no such dataset or supplier, the supplier does not owe it, or the file exists already.
    """

    def started(at: Period) -> Last | None:
        return last_delivered(desk, supplier, dataset, at)

    def due(at: Period) -> date | None:
        return desk.due_on(Slot(supplier, dataset, str(at)))

    return write_template(desk.pack, dataset, supplier, to, period=period, started=started, due=due)


def _read_again(desk: Desk, contract: Contract, view: DeliveryView) -> Last | None:
    period = read_period(view.period)
    mandate = desk.pack.mandate(view.supplier, view.dataset, period.start, period.end)
    if mandate is None or (view.rows or {}).get("delivered", 0) > 20 * MOST_ROWS:
        return None
    with desk.lent(view.sha256) as source, tempfile.TemporaryDirectory(dir=desk.home.work, prefix="last-") as folder:
        dialect = reading_of(desk.pack, contract, mandate, source, view.file_name, view.dialect).dialect
        landed = without_status(read(source, dialect.layout(), Path(folder) / "landed.parquet", name=view.file_name))
        cells = pl.read_parquet(landed.path).filter(pl.col("ignored_by").is_null())
    if (marks := desk.home.marks(view.delivery_id)).exists():
        # what was held back is nothing to start from; on another machine than the judge's nobody knows
        held = pl.read_parquet(marks).filter(pl.col("row_state") == "quarantined")["delivered_line"]
        cells = cells.filter(~pl.col("delivered_line").is_in(held.implode()))
    cells = cells.select(landed.columns)
    rows = [
        {name: text for name, text in row.items() if text and text.strip() not in dialect.null}
        for row in cells.iter_rows(named=True)
        if not any(re.search(rule.matches, row.get(rule.column) or "") for rule in dialect.ignore)
    ]
    if not rows or len(rows) > MOST_ROWS:
        return None
    return Last(view.delivery_id, view.period, rows, list(_lines(dialect, rows)), _units(contract, dialect))


def _lines(dialect: Dialect, rows: Sequence[Mapping[str, str]]) -> Iterator[dict[str, str]]:
    """Rows by field: what stands in a column of its own, what the agreement says, and a line for each column of a pivot."""
    for row in rows:
        line = {}
        for name, spec in dialect.columns.items():
            told = row.get(spec.sources[0], "") if len(spec.sources) == 1 else ""
            line[name] = told or spec.constant or spec.default or ""
        if dialect.pivot is None:
            yield line
        elif dialect.pivot.columns:
            for source, texts in dialect.pivot.columns.items():
                if row.get(source):
                    yield {**line, **texts, dialect.pivot.value: row[source]}


def _units(contract: Contract, dialect: Dialect) -> dict[str, str | None]:
    told = {name: spec.unit or contract.by_name[name].unit for name, spec in dialect.columns.items()}
    if dialect.pivot:
        told[dialect.pivot.value] = dialect.pivot.unit or contract.by_name[dialect.pivot.value].unit
    return told
