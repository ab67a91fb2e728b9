"""A home with deliveries, as the judge leaves it, for tests of what Dagster is told."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import dagster as dg
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from orchestration.slots import partition_of, slots_of
from quality.desk import Desk
from quality.judging import work_queue
from storage.ledger.ledger import Delivery
from storage.paths import Slot
from storage.settings import Settings
from tests.support.profiles import settings_for

SUPPLIER, DATASET = "wuppertal-abfall", "waste_balance"
HEADER = "AGS;Jahr;AVV;Mengenstrom;Erfassung;Verfahren;Menge [t]"


def settings_of(home: Path) -> Settings:
    """Settings of a home of the bergisch region."""
    return settings_for(home)


def waste_file(period: str, *, tonnes: str = "1.234,5", header: str = HEADER, area: str = "05124000") -> bytes:
    """A small delivery; with another header it is rejected, with another area its row is held back."""
    rows = [
        f"{area};{period};200301;generated;kerbside;none;{tonnes}",
        f"05124000;{period};200307;generated;kerbside;none;12,0",
    ]
    return "\n".join([header, *rows, ""]).encode("cp1252")


def bad_file() -> bytes:
    """Something that is no waste balance at all."""
    return b"Kunde;Betrag\n1;2\n"


def send(desk: Desk, period: str, content: bytes, *, supplier: str = SUPPLIER, dataset: str = DATASET) -> Delivery:
    """Deliver and judge."""
    name = f"abfallbilanz_{period}.csv"
    delivery = desk.receive(BytesIO(content), supplier, dataset, period, file_name=name, who="test")
    work_queue(desk)
    return delivery


def grid(
    instance: dg.DagsterInstance, key: dg.AssetKey, supplier: str = SUPPLIER, dataset: str = DATASET
) -> dict[str, str]:
    """Period → green or red, as the page of an asset paints it, for one supplier."""
    cache = get_and_update_asset_status_cache_value(instance, key, slots_of(dataset))
    if cache is None:
        return {}
    found: dict[str, str] = {}
    for colour, subset in (
        ("green", cache.serialized_materialized_partition_subset),
        ("red", cache.serialized_failed_partition_subset),
    ):
        for period in instance.get_dynamic_partitions(f"{dataset}_periods"):
            if subset and f'"{partition_of(Slot(supplier, dataset, period))}"' in subset:
                found[period] = colour
    return found
