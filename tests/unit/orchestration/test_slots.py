"""Slots as partitions and rules as checks: names that go both ways."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from orchestration.defs.deliveries.assets import check_specs
from orchestration.slots import check_name, offer, offered, partition_of, slot_of
from quality.configuration import load_region
from quality.region import RegionPack
from quality.rules import rule_ids
from storage.paths import Slot
from storage.settings import Settings


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> RegionPack:
    return load_region(Settings(home=tmp_path_factory.mktemp("home"), region="bergisch"))


@pytest.mark.parametrize("period", ["2024", "2024-Q3", "2024-07", "2024-07-31"])
def test_a_partition_names_its_slot_and_a_slot_its_partition(period: str) -> None:
    slot = Slot("some--supplier", "some_dataset", period)
    assert slot_of("some_dataset", str(partition_of(slot))) == slot


def test_every_rule_of_every_contract_is_a_check_with_its_reason(pack: RegionPack) -> None:
    for contract in pack.contracts.values():
        specs = {spec.name: spec for spec in check_specs(contract)}
        for rule, _, because in rule_ids(contract):
            spec = specs[check_name(rule)]
            assert spec.description
            assert spec.description == (because.get("en") or spec.description)
            assert spec.partitions_def is not None


def test_no_two_rules_share_a_check_and_every_name_is_allowed(pack: RegionPack) -> None:
    for contract in pack.contracts.values():
        names = [spec.name for spec in check_specs(contract)]
        assert len(names) == len(set(names))
        assert all(re.fullmatch(r"[A-Za-z0-9_]+", name) for name in names)


def test_periods_are_offered_from_the_regions_first_day_and_for_what_came_from_before(pack: RegionPack) -> None:
    dataset, contract = next((d, c) for d, c in pack.contracts.items() if c.interval == "yearly")
    supplier = next(m.supplier for m in pack.mandates if m.dataset == dataset)
    suppliers, periods = offered(pack, [Slot(supplier, dataset, "2019")], date(2025, 6, 1))[dataset]
    assert periods == ["2019", "2023", "2024", "2025"]
    assert set(suppliers) == {m.supplier for m in pack.mandates if m.dataset == contract.dataset}


def test_a_supplier_without_a_mandate_is_shown_once_it_delivered(pack: RegionPack) -> None:
    dataset = next(iter(pack.contracts))
    stranger = next(s for s in pack.suppliers if not pack.mandates_of(s, dataset))
    suppliers, _ = offered(pack, [Slot(stranger, dataset, "2024")], date(2025, 6, 1))[dataset]
    assert suppliers[-1] == stranger


def test_the_grid_stays_in_order_when_an_early_period_arrives_late(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        assert offer(instance, {"some_dataset": (["b", "a"], ["2023", "2024"])}) == 4
        assert offer(instance, {"some_dataset": (["b", "a"], ["2023", "2024"])}) == 0
        assert offer(instance, {"some_dataset": (["b", "a"], ["2019", "2023", "2024"])}) == 1
        assert list(instance.get_dynamic_partitions("some_dataset_periods")) == ["2019", "2023", "2024"]
        assert list(instance.get_dynamic_partitions("some_dataset_suppliers")) == ["b", "a"]
