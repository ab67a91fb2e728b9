"""A small delivery with its verdict, and ways to build others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from quality.receipt import Sent
from quality.verdict import Changes, Example, Finding, RowCounts, Verdict, Versions

DELIVERY = "nordwerke--meter_readings--2025-03--02"
MARKS = {
    "delivered_line": pl.Int64,
    "delivered_sheet": pl.String,
    "column": pl.String,
    "rule": pl.String,
    "severity": pl.String,
    "value": pl.String,
    "row_state": pl.String,
}
FINDINGS = (
    Finding("reading_plausible", "warning", 1, {"kind": "expect_column_values_to_be_between", "columns": ["Stand"]},
            (Example(12, None, "Stand", "99999"),)),
    Finding("values.not_a_number", "error", 1, {"columns": ["Stand"]},
            (Example(11, None, "Stand", "k. A.", {"de": "eine Zahl wie 1,5", "en": "a number like 1,5"}, ("0,5",)),)),
    Finding("file.encoding_differs", "info", 0, {"agreed": "windows-1252", "found": "UTF-8"}),
)  # fmt: skip


def verdict_of(findings: Sequence[Finding] = FINDINGS, **fields: Any) -> Verdict:
    """A partly accepted delivery of five rows, or what `fields` make of it."""
    given: dict[str, Any] = {
        "delivery": DELIVERY,
        "supplier": "nordwerke",
        "dataset": "meter_readings",
        "period": "2025-03",
        "attempt": 2,
        "state": "partly_accepted",
        "rows": RowCounts(5, 2, 1, 1, 1),
        "findings": tuple(findings),
        "outcomes": (),
        "versions": Versions("a1b2c3d4e5f6", "0011aa22bb33", "99ff88ee77dd"),
        "judged_at": datetime(2025, 4, 1, 9, 15, 2, tzinfo=UTC),
        "changes": Changes(1, 2, 3, {"reading_kwh": (0.1, 0.3), "people": (None, 4.0)}),
    }
    return Verdict(**given | fields)


def sent_of(
    folder: Path,
    rows: dict[str, list[Any]] | None = None,
    marks: list[dict[str, Any]] | None = None,
    sheet: str | None = None,
    first_line: int = 10,
    ignored: dict[int, str] | None = None,
    **fields: Any,
) -> Sent:
    """What a receipt knows beside the verdict; `rows` are delivered cells by column, `marks` the broken places.

    Parquet files go into `folder`.
    """
    cells = rows or {
        "Zähler": ["0049", "0050", "0051", "0052", "Summe"],
        "Stand": ["1,5", "k. A.", "99999", "-5,2", "9"],
    }
    count = len(next(iter(cells.values())))
    lines = list(range(first_line, first_line + count))
    landed = pl.DataFrame(
        {
            "delivered_row": list(range(1, count + 1)),
            "delivered_line": lines,
            "delivered_sheet": [sheet] * count,
            "ignored_by": [(ignored or {}).get(line) for line in lines],
        },
        schema={"delivered_row": pl.Int64, "delivered_line": pl.Int64, "delivered_sheet": pl.String, "ignored_by": pl.String},
    ).with_columns(*(pl.Series(name, values, pl.String) for name, values in cells.items()))  # fmt: skip
    landed.write_parquet(folder / "landed.parquet")
    places = [mark(11, "Stand", value="k. A."), mark(12, "Stand", "reading_plausible", "99999", held=False)]
    given = places if marks is None else marks
    pl.DataFrame([{"delivered_sheet": sheet} | place for place in given], schema=MARKS).write_parquet(
        folder / "marks.parquet"
    )
    known: dict[str, Any] = {
        "supplier_name": "Nordwerke",
        "dataset_title": {"de": "Zählerstände", "en": "Meter readings"},
        "file_name": "März 2025.csv",
        "sha256": "5d0c" * 16,
        "size": 4564,
        "received_at": datetime(2025, 4, 1, 9, 15, tzinfo=UTC),
        "due_on": date(2025, 4, 10),
        "source": None,
        "format": "csv",
        "landed": folder / "landed.parquet",
        "marks": folder / "marks.parquet",
    }
    return Sent(**known | fields)


def mark(
    line: int, column: str | None, rule: str = "values.not_a_number", value: str | None = None, *, held: bool = True
) -> dict[str, Any]:
    """One broken place."""
    return {
        "delivered_line": line,
        "column": column,
        "rule": rule,
        "severity": "error" if held else "warning",
        "value": value,
        "row_state": "quarantined" if held else "accepted_with_warning",
    }
