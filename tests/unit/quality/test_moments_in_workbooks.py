"""Moments in workbooks: real time cells, and the midnight that a workbook shows as a date."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import openpyxl
import polars as pl

from quality.configuration import contracts_dir
from quality.contract import load_contracts
from quality.conversion import instants_sql, lay_out
from quality.dialect import Dialect
from storage.periods import period
from storage.readers import read


def test_time_cells_keep_their_time_of_day(tmp_path: Path) -> None:
    import duckdb

    contract = next(c for c in load_contracts(contracts_dir()).values() if any(f.type == "timestamp" for f in c.fields))
    stamp = next(f.name for f in contract.fields if f.type == "timestamp")
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in (["Beginn"], [datetime(2025, 7, 1, 0, 0)], [datetime(2025, 7, 1, 0, 15)]):
        book.active.append(row)
    book.save(tmp_path / "times.xlsx")
    dialect = Dialect.model_validate(
        {"id": "times", "dataset": contract.dataset, "format": {"type": "xlsx"}, "dates": ["%d.%m.%Y"],
         "times": ["%d.%m.%Y %H:%M"], "columns": {stamp: "Beginn"}}
    )  # fmt: skip
    spec = dialect.format.model_copy(update={"dates": dialect.dates[0]})
    landed = read(tmp_path / "times.xlsx", spec, tmp_path / "landed.parquet", name="times.xlsx")
    layout = lay_out(contract, dialect, landed, file_name="times.xlsx", period=period("2025-07"))
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        con.execute(f"create view landed as select * from read_parquet('{landed.path}')")
        con.execute(f"create view text_rows as {layout.raw_sql}")
        instants = con.execute(f"select instant from ({instants_sql(contract, dialect, layout)}) order by 1").fetchall()

    midnight = datetime(2025, 6, 30, 22, 0, tzinfo=UTC)
    assert [row[0].astimezone(UTC) for row in instants] == [midnight, midnight.replace(minute=15)]
    assert pl.read_parquet(landed.path)["Beginn"].to_list() == ["01.07.2025", "2025-07-01T00:15:00"]
