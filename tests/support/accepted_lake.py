"""A small catalog `accepted`, as the judge leaves it: every dataset's table, the state of supply and the region."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from quality.contract import load_contracts
from storage import lake
from storage.settings import Settings, project_root

#: Columns every accepted row carries behind the fields of its contract.
PROVENANCE = {
    "supplier_id": "varchar",
    "period": "varchar",
    "delivery_id": "varchar",
    "attempt": "integer",
    "delivered_line": "bigint",
    "delivered_sheet": "varchar",
    "row_warnings": "varchar",
}
PLATFORM: dict[str, dict[str, str]] = {
    "served_slots": {
        "supplier_id": "varchar", "dataset": "varchar", "period": "varchar", "attempt": "integer",
        "delivery_id": "varchar", "rows": "bigint", "accepted_at": "timestamptz",
    },
    "supply_slots": {
        "supplier_id": "varchar", "dataset": "varchar", "period": "varchar", "period_start_date": "date",
        "period_end_date": "date", "due_on": "date", "state": "varchar", "attempts": "integer",
        "first_state": "varchar", "received_at": "timestamptz", "judged_at": "timestamptz",
        "first_received_at": "timestamptz", "first_accepted_at": "timestamptz", "served_delivery_id": "varchar",
        "served_attempt": "integer", "stale_since": "timestamptz", "is_owed": "boolean",
    },
    "supply_deliveries": {
        "delivery_id": "varchar", "supplier_id": "varchar", "dataset": "varchar", "period": "varchar",
        "attempt": "integer", "state": "varchar", "first_verdict": "varchar", "file_name": "varchar",
        "sha256": "varchar", "received_at": "timestamptz", "acknowledged_at": "timestamptz",
        "judged_at": "timestamptz", "first_judged_at": "timestamptz", "delivered": "bigint",
        "accepted": "bigint", "accepted_with_warning": "bigint", "quarantined": "bigint", "ignored_by_rule": "bigint",
    },
    "supply_findings": {"delivery_id": "varchar", "rule": "varchar", "severity": "varchar", "rows": "bigint"},
    "supply_confirmations": {
        "delivery_id": "varchar", "supplier_id": "varchar", "dataset": "varchar", "period": "varchar", "rule": "varchar",
        "rows": "bigint", "reason": "varchar", "confirmed_at": "timestamptz",
    },
    "supply_objections": {
        "thread_id": "bigint", "supplier_id": "varchar", "delivery_id": "varchar", "rule": "varchar", "figure": "varchar",
        "state": "varchar", "decision": "varchar", "opened_at": "timestamptz", "due_at": "timestamptz",
        "decided_at": "timestamptz",
    },
    "region_areas": {
        "region_id": "varchar", "area_code": "varchar", "area_name": "varchar", "land": "varchar", "nuts": "varchar",
    },
    "region_suppliers": {
        "supplier_id": "varchar", "supplier_name": "varchar", "role": "varchar", "area_code": "varchar",
        "is_synthetic": "boolean",
    },
    "region_mandates": {
        "supplier_id": "varchar", "dataset": "varchar", "area_prefix": "varchar", "valid_from_date": "date",
        "valid_until_date": "date", "is_optional": "boolean",
    },
    "region_sites": {
        "site_id": "varchar", "kind": "varchar", "site_name": "varchar", "area_code": "varchar",
        "valid_from_date": "date", "valid_to_date": "date",
    },
    "region_codes": {
        "list_id": "varchar", "code": "varchar", "name_de": "varchar", "name_en": "varchar",
        "valid_from_date": "date", "valid_to_date": "date",
    },
}  # fmt: skip

Row = Mapping[str, Any]


def tables() -> dict[str, dict[str, str]]:
    """Every table of the catalog with its columns and their types."""
    datasets = {
        contract.dataset: {field.name: field.physical for field in contract.fields} | PROVENANCE
        for contract in load_contracts(project_root() / "quality" / "contracts").values()
    }
    return datasets | PLATFORM


def write(settings: Settings, rows: Mapping[str, Sequence[Row]]) -> None:
    """Replace the whole content of the catalog in one transaction; tables not named become empty.

    Args:
        settings: Where the catalog lies.
        rows: Table → rows; a column left out of a row is null.
    """
    known = tables()
    settings.paths.create()
    with contextlib.closing(lake.connect(settings)) as connection:
        lake.attach(connection, settings, "accepted")
        connection.execute("begin")
        for table, columns in known.items():
            spelled = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            connection.execute(f"create table if not exists accepted.main.{table} ({spelled})")
            connection.execute(f"delete from accepted.main.{table}")
            for row in rows.get(table, ()):
                assert set(row) <= set(columns), f"{table} has no column {set(row) - set(columns)}"
                marks = ", ".join("?" for _ in row)
                connection.execute(
                    f"insert into accepted.main.{table} ({', '.join(row)}) values ({marks})", list(row.values())
                )
        connection.execute("commit")


def read(settings: Settings, query: str, *, snapshot: int | None = None) -> list[tuple[Any, ...]]:
    """Rows of a query on the catalog `foundation`, attached as readers attach it."""
    with contextlib.closing(lake.connect(settings)) as connection:
        lake.attach(connection, settings, "foundation", read_only=True, snapshot=snapshot)
        connection.execute("use foundation.main")
        return connection.execute(query).fetchall()
