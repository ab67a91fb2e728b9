"""Slots as partitions: supplier × period of a dataset. The one place that knows how a slot is written in Dagster.

Both dimensions are dynamic (docs/decisions/0012-slots-as-partitions.md): a new year, a new supplier of the region pack or
a file for a period nobody expected needs no reload of the code location.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date

import dagster as dg

from quality.region import RegionPack
from storage.paths import Slot
from storage.periods import period as read_period
from storage.periods import periods_between

SUPPLIER, PERIOD = "supplier", "period"


def slots_of(dataset: str) -> dg.MultiPartitionsDefinition:
    """Partitions of a dataset: every supplier × every period offered."""
    return dg.MultiPartitionsDefinition(
        {
            SUPPLIER: dg.DynamicPartitionsDefinition(name=f"{dataset}_suppliers"),
            PERIOD: dg.DynamicPartitionsDefinition(name=f"{dataset}_periods"),
        }
    )


def partition_of(slot: Slot) -> dg.MultiPartitionKey:
    """The partition key of a slot; `slot_of` is its inverse."""
    return dg.MultiPartitionKey({SUPPLIER: slot.supplier, PERIOD: slot.period})


def slot_of(dataset: str, partition_key: str) -> Slot:
    """The slot of a partition key of this dataset.

    Raises:
        ValueError: The key is not one that `partition_of` writes.
    """
    keys = slots_of(dataset).get_partition_key_from_str(partition_key).keys_by_dimension
    return Slot(keys[SUPPLIER], dataset, keys[PERIOD])


def check_name(rule_id: str) -> str:
    """A rule's id as the name of a check: `values.missing` → `values__missing`."""
    return re.sub(r"[^A-Za-z0-9_]", "_", rule_id.replace(".", "__"))


def offered(pack: RegionPack, delivered: Iterable[Slot], today: date) -> dict[str, tuple[list[str], list[str]]]:
    """Suppliers and periods of each dataset, in the order the grid shows them.

    Suppliers with a mandate, in the order of the pack, periods from the region's first day until today, and whatever
    was delivered beyond that.
    """
    more: dict[str, set[Slot]] = defaultdict(set)
    for slot in delivered:
        more[slot.dataset].add(slot)
    result = {}
    for dataset, contract in pack.contracts.items():
        mandated = [m.supplier for m in pack.mandates if m.dataset == dataset]
        suppliers = list(dict.fromkeys([*mandated, *sorted(slot.supplier for slot in more[dataset])]))
        periods = set(periods_between(pack.region.starts_on, today, contract.interval))
        periods |= {read_period(slot.period) for slot in more[dataset]}
        result[dataset] = (suppliers, [str(p) for p in sorted(periods)])
    return result


def offer(instance: dg.DagsterInstance, wanted: Mapping[str, tuple[list[str], list[str]]]) -> int:
    """Make the partitions known to Dagster, each dimension in order; returns how many keys were new."""
    new = 0
    for dataset, dimensions in wanted.items():
        for name, keys in zip((f"{dataset}_suppliers", f"{dataset}_periods"), dimensions, strict=True):
            known = list(instance.get_dynamic_partitions(name))
            missing = [key for key in keys if key not in known]
            if not missing:
                continue
            new += len(missing)
            if known and keys.index(missing[0]) < len(known):
                # Dagster shows them in the order they were added; what was reported for a key stays
                for key in known:
                    instance.delete_dynamic_partition(name, key)
                missing = [*keys, *(key for key in known if key not in keys)]
            instance.add_dynamic_partitions(name, missing)
    return new
