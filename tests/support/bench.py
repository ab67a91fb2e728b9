"""A desk over a region pack of the tests, and short ways to write a delivery, judge it and look at what it left."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from quality.desk import Desk
from quality.judge import Judged, Task, judge
from quality.verdict import Finding
from storage.paths import Slot, delivery_id
from storage.periods import period as read_period
from tests.support.profiles import settings_for

PACKS = Path(__file__).parents[1] / "packs"
PLAIN = PACKS / "plain"
WORKS, HEIRS, THIRD = "plain-works", "plain-heirs", "plain-third"
WUPPERTAL, SOLINGEN = "05124000", "05122000"

Row = Mapping[str, Any]

#: One row of each dataset that breaks no rule, and the period it belongs to, as the plain dialects write it.
GOOD: dict[str, tuple[str, dict[str, str]]] = {
    "waste_balance": (
        "2024",
        {
            "area_code": WUPPERTAL, "year": "2024", "waste_code": "200301", "flow_code": "generated",
            "collection_code": "kerbside", "treatment_code": "none", "quantity_t": "1.234,5",
        },
    ),
    "green_waste_intake": (
        "2025-05",
        {
            "site_id": "gate", "area_code": WUPPERTAL, "intake_date": "2025-05-02", "fraction_code": "woody",
            "quantity": "12,5", "unit_code": "t", "is_estimated": "nein",
        },
    ),
    "green_waste_treatment": (
        "2025-05",
        {
            "plant_id": "plant", "month_date": "2025-05-01", "flow_code": "input", "source_area_code": WUPPERTAL,
            "product_code": "woody", "treatment_code": "R3", "quantity_t": "100",
        },
    ),
    "load_profile": (
        "2025-05",
        {
            "metering_point_id": "DE0000004210300000000000000000101", "obis_code": "1-1:1.29.0",
            "interval_start_at": "2025-05-02T00:00:00+02:00", "energy_kwh": "1,5", "status_code": "220",
        },
    ),
    "population": (
        "2024",
        {
            "area_code": WUPPERTAL, "key_date": "2024-12-31", "population": "350.000", "population_male": "170000",
            "area_ha": "16.839,5",
        },
    ),
    "municipality_register": (
        "2024",
        {
            "area_code": WUPPERTAL, "association_code": "0000", "area_name": "Probestadt", "type_code": "61",
            "postcode": "42269", "as_of_date": "2024-12-31",
        },
    ),
    "all_kinds": (
        "2025-03",
        {
            "item_id": "a", "part_id": "1", "area_code": WUPPERTAL, "measured_on": "2025-03-12", "read_at": "",
            "amount": "5", "high": "4", "low": "2", "pieces": "1", "is_open": "ja", "unit_code": "kg", "side": "",
            "word": "abc",
        },
    ),
}  # fmt: skip


def written(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """Rows as a CSV with `;`; a cell with a mark of its own is quoted."""
    names = list(columns or rows[0])
    lines = [names, *([str(row.get(name, "") or "") for name in names] for row in rows)]
    return "".join(";".join(_cell(cell) for cell in line) + "\n" for line in lines)


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ';"\n\r') else text


class TestBench:
    """A warm desk in a home of its own, for many judgements; nothing it judges is stored unless `deliver` is used."""

    __test__ = False

    def __init__(self, home: Path, region: Path = PLAIN) -> None:
        self.settings = settings_for(home, region)
        self.desk = Desk(self.settings)
        self.desk.ensure_tables(self.desk.pack)
        self._files = itertools.count(1)

    def file(self, content: str | bytes, name: str | None = None) -> Path:
        """The content as a file, in a folder of its own."""
        folder = self.settings.home / "sent" / str(next(self._files))
        folder.mkdir(parents=True)
        path = folder / (name or "file.csv")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    @contextlib.contextmanager
    def judged(
        self, content: str | bytes | Path, dataset: str, period: str, *, supplier: str = WORKS, file_name: str = "file.csv",
    ) -> Iterator[Judged]:  # fmt: skip
        """Judge without storing; the relations of the verdict are there until the end of the block."""
        source = content if isinstance(content, Path) else self.file(content, file_name)
        attempt = self.desk.ledger.slot(Slot(supplier, dataset, period)).attempts + 1
        task = Task(
            delivery_id(supplier, dataset, period, attempt), supplier, dataset, read_period(period), attempt,
            "0" * 64, source.name, source,
        )  # fmt: skip
        folder = source.parent if not isinstance(content, Path) else self.file(b"").parent
        judged = judge(
            self.desk.bench, task, landed_to=folder / "landed.parquet", marks_to=folder / "landed.marks.parquet"
        )
        try:
            yield judged
        finally:
            self.desk.bench.forget(judged)

    def deliver(
        self, content: str | bytes | Path, dataset: str, period: str, *, supplier: str = WORKS,
        file_name: str = "file.csv",
    ) -> Judged | None:  # fmt: skip
        """Deliver the whole way; None for a duplicate."""
        source = content if isinstance(content, Path) else self.file(content, file_name)
        delivery = self.desk.receive(source, supplier, dataset, period, file_name=source.name, who="test")
        if delivery.duplicate_of:
            return None
        judged = self.desk.judge(delivery)
        self.desk.answer([judged])
        return judged

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query on the desk's own connection gives."""
        return self.desk.bench.connection.execute(query).fetchall()

    def accepted(self, dataset: str, columns: str = "*") -> list[tuple[Any, ...]]:
        """Accepted rows of a dataset, in the order of slot and line."""
        return self.rows(f"select {columns} from accepted.{dataset} order by supplier_id, period, delivered_line")

    def close(self) -> None:
        self.desk.close()


def found(findings: Iterable[Finding], rule: str) -> Finding | None:
    """The finding of a rule, if there is one."""
    return next((finding for finding in findings if finding.rule == rule), None)
