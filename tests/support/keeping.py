"""A small installation with a bit of everything, and all that must be the same in it after a loss or a move."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from quality import foundation, release
from quality.desk import Desk
from quality.judging import work_queue
from quality.supply import publish_supply
from storage import dumps, lake, stores
from storage.ledger import opening
from storage.ledger.tables import metadata
from storage.settings import Settings
from tests.support.bench import GOOD, HEIRS, PLAIN, WORKS, written
from tests.support.profiles import objects

BALANCE = GOOD["waste_balance"][1]


def balance(*quantities: str) -> bytes:
    """A waste balance with a waste code for each quantity."""
    codes = ("200301", "200108", "200201")
    return written(
        [BALANCE | {"waste_code": code, "quantity_t": q} for code, q in zip(codes, quantities, strict=False)]
    ).encode()


@contextlib.contextmanager
def desk_of(settings: Settings) -> Iterator[Desk]:
    desk = Desk(settings)
    try:
        yield desk
    finally:
        desk.close()


def deliver(settings: Settings, content: bytes) -> str:
    """Deliver a waste balance the whole way; returns its id."""
    with desk_of(settings) as desk:
        return _deliver(desk, content)


def _deliver(desk: Desk, content: bytes, period: str = "2024", supplier: str = WORKS) -> str:
    made = desk.receive(io.BytesIO(content), supplier, "waste_balance", period, file_name="balance.csv", who="test")
    work_queue(desk)
    return made.delivery_id


def fill(settings: Settings) -> None:
    """A correction, a rejected file, a double, a withdrawal, a word that there is nothing; a foundation and a release."""
    assert settings.region_dir == PLAIN
    with desk_of(settings) as desk:
        _deliver(desk, balance("1,5", "2,5"))
        _deliver(desk, balance("1,5", "3,5", "4"))
        _deliver(desk, balance("1,5", "3,5", "4"))
        _deliver(desk, b"<html>no figures</html>", "2023")
        withdrawn = _deliver(desk, balance("7"), supplier=HEIRS)
        desk.withdraw(withdrawn, who="test", why="sent by mistake")
        desk.declare_nothing(HEIRS, "waste_balance", "2023", who="test", reason="no waste")
        work_queue(desk)
        publish_supply(desk)
    foundation.build(settings)
    release.release(settings, note="the first")


def facts(settings: Settings) -> dict[str, Any]:
    """All that must be the same: each row of the ledger, each snapshot and table of the lakes, each object, each release."""
    engine = opening.open_engine(settings.ledger_url)
    with engine.connect() as connection:
        # a restore of PostgreSQL keeps no order of rows
        ledger = {
            table.name: sorted(map(repr, connection.execute(sa.select(table)))) for table in metadata.sorted_tables
        }
    engine.dispose()
    return {
        "ledger": ledger,
        "lakes": {catalog: _lake(settings, catalog) for catalog in dumps.CATALOGS if lake.exists(settings, catalog)},
        "foundation": foundation.current(settings),
        "vault": sorted(info.key for info in stores.vault(settings).list()),
        "receipts": {key: hashlib.sha256(content).hexdigest() for key, content in objects(stores.receipts(settings))},
        "releases": {
            made.number: (made.manifest, (made.path / "SHA256SUMS").read_text()) for made in release.releases(settings)
        },
        "current release": current.number if (current := release.current(settings)) else None,
        "damaged": [release.verify(settings, made.number) for made in release.releases(settings)],
    }


def _lake(settings: Settings, catalog: lake.CatalogName) -> dict[str, Any]:
    with contextlib.closing(lake.connect(settings)) as connection:
        lake.attach(connection, settings, catalog, read_only=True)
        snapshots = connection.execute(
            f"select snapshot_id, snapshot_time, schema_version, changes from ducklake_snapshots('{catalog}') order by 1"
        ).fetchall()
        tables = connection.execute(
            f"select schema_name, table_name from duckdb_tables() where database_name = '{catalog}' order by all"
        ).fetchall()
        rows = {
            f"{schema}.{table}": connection.execute(f'from {catalog}."{schema}"."{table}" order by all').fetchall()
            for schema, table in tables
        }
        history = {
            number: dumps.row_counts(settings, catalog, number)
            for number, *_ in snapshots[:: max(1, len(snapshots) // 5)]
        }
    return {"snapshots": snapshots, "rows": rows, "history": history}
