"""The baseline of small deliveries: what one builds first with Dagster, one default run per file with GX on pandas.

A sensor looks at a folder and asks for a run per file; the run (default executor: a process per step) reads the file
with pandas, lets Great Expectations check 13 rules, writes the rows as Parquet and a receipt as JSON. Nothing is made
slow on purpose: the sensor asks to be called every second, two runs go at a time and are started as soon as possible.
Receipts in HTML and XLSX, vault, ledger and lake are not part of it.

Loaded by `dagster._daemon` as a module; the folder comes from the environment.
"""

import importlib
import json
import os
from pathlib import Path
from typing import Any

import dagster as dg

FOLDER = Path(os.environ.get("BENCHMARK_FOLDER", "."))


class OneFile(dg.Config):
    path: str


@dg.op
def judge_file(config: OneFile) -> None:
    """Read, check, keep and answer one file."""
    import great_expectations as gx
    import pandas as pd  # type: ignore[import-untyped]

    gxe: Any = importlib.import_module("great_expectations.expectations")

    path = Path(config.path)
    frame = pd.read_csv(path, sep=";", encoding="cp1252", dtype=str)
    frame["Menge"] = pd.to_numeric(
        frame["Menge"].str.replace(".", "", regex=False).str.replace(",", ".", regex=False), errors="coerce"
    )
    frame["Datum"] = pd.to_datetime(frame["Datum"], format="%d.%m.%Y", errors="coerce")
    context = gx.get_context(mode="ephemeral")
    batch = (
        context.data_sources.add_pandas("files")
        .add_dataframe_asset("delivery")
        .add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": frame})
    )
    gates = ["gate-1-1", "gate-1-2", "gate-1-3", "gate-1-4"]
    suite = gx.ExpectationSuite(
        name="delivery",
        expectations=[
            *(
                gxe.ExpectColumnValuesToNotBeNull(column=column)
                for column in ("Annahmestelle", "AGS", "Datum", "Fraktion", "Menge", "Einheit")
            ),
            gxe.ExpectColumnValuesToBeInSet(column="Annahmestelle", value_set=gates),
            gxe.ExpectColumnValuesToBeInSet(column="Fraktion", value_set=["woody", "soft", "mixed"]),
            gxe.ExpectColumnValuesToBeInSet(column="Einheit", value_set=["t", "kg", "m3"]),
            gxe.ExpectColumnValuesToMatchRegex(column="AGS", regex="^[0-9]{8}$"),
            gxe.ExpectColumnValuesToBeBetween(column="Menge", min_value=0),
            gxe.ExpectColumnValuesToBeBetween(column="Menge", max_value=1_000_000),
            gxe.ExpectCompoundColumnsToBeUnique(column_list=["Annahmestelle", "Datum", "Fraktion", "Einheit"]),
        ],
    )
    result = batch.validate(suite)
    bad = frame["Menge"].isna() | (frame["Menge"] < 0) | ~frame["Annahmestelle"].isin(gates)
    frame[~bad].to_parquet(FOLDER / "accepted" / f"{path.stem}.parquet")
    told = [
        {
            "rule": getattr(one.expectation_config, "type", None),
            "success": one.success,
            "rows": one.result.get("unexpected_count"),
        }
        for one in result.results
    ]
    hidden = FOLDER / "receipts" / f".{path.stem}.tmp"
    hidden.write_text(json.dumps({"accepted": int((~bad).sum()), "findings": told}))
    hidden.rename(FOLDER / "receipts" / f"{path.stem}.json")


@dg.job
def one_delivery() -> None:
    judge_file()


@dg.sensor(job=one_delivery, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def new_files(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """One run per file, its name as the run key."""
    seen = set(json.loads(context.cursor or "[]"))
    found = sorted(path for path in (FOLDER / "inbox").glob("*.csv") if path.name not in seen)
    requests = [
        dg.RunRequest(run_key=path.name, run_config={"ops": {"judge_file": {"config": {"path": str(path)}}}})
        for path in found
    ]
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(sorted(seen | {path.name for path in found})))


defs = dg.Definitions(jobs=[one_delivery], sensors=[new_files])
