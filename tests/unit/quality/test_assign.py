"""Which slot a file is for: told from its place and its name, never guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quality.assign import Assigned, Unassigned, assign
from quality.configuration import code_lists_dir, contracts_dir
from quality.dialect import Recognise
from quality.region import RegionPack, load_pack
from tests.support.bench import HEIRS, PLAIN, THIRD, WORKS


@pytest.fixture(scope="module")
def pack() -> RegionPack:
    loaded = load_pack(PLAIN, contracts_dir(), code_lists_dir())
    known = {
        "plain-waste-balance": r"(?i)bilanz.*?(?P<period>20\d\d)",
        "plain-load-profile": r"(?i)lastgang",
    }
    dialects = {
        name: dialect.model_copy(update={"recognise": Recognise(file_name=known[name])}) if name in known else dialect
        for name, dialect in loaded.dialects.items()
    }
    return replace(loaded, dialects=dialects)


@pytest.mark.parametrize(
    ("supplier", "key", "dataset", "period"),
    [
        # the folders say it
        (WORKS, "waste_balance/2024/egal.csv", "waste_balance", "2024"),
        (WORKS, "2024/waste_balance/egal.csv", "waste_balance", "2024"),
        (WORKS, "load_profile/2025-03/bilanz_2024.csv", "load_profile", "2025-03"),
        # the folder says what, the name says when
        (WORKS, "waste_balance/Export 2023 final(2).xlsx", "waste_balance", "2023"),
        (WORKS, "load_profile/x_202503.csv", "load_profile", "2025-03"),
        (WORKS, "load_profile/x 2025-03 neu.csv", "load_profile", "2025-03"),
        # the name says it
        (WORKS, "Abfallbilanz_2024.csv", "waste_balance", "2024"),
        (WORKS, "unterordner/BILANZ 2024 (Kopie).csv", "waste_balance", "2024"),
        (WORKS, "Lastgang_2025-10.csv", "load_profile", "2025-10"),
        # there is only one thing it can be
        (THIRD, "2024.csv", "waste_balance", "2024"),
        (HEIRS, "eingang_2025_08.csv", "green_waste_intake", "2025-08"),
        (HEIRS, "2025-08/eingang.csv", "green_waste_intake", "2025-08"),
    ],
)
def test_place_and_name_tell_the_slot(pack: RegionPack, supplier: str, key: str, dataset: str, period: str) -> None:
    told = assign(pack, supplier, key)
    assert isinstance(told, Assigned), told
    assert (told.dataset, str(told.period)) == (dataset, period)


@pytest.mark.parametrize(
    ("supplier", "key", "missing"),
    [
        (WORKS, "2024.csv", "dataset"),
        (WORKS, "irgendwas.csv", "dataset"),
        (WORKS, "waste_balance/neu.csv", "period"),
        (WORKS, "Lastgang_2025.csv", "period"),
        (THIRD, "bilanz.csv", "period"),
        (THIRD, "12024567.csv", "period"),
        (HEIRS, "2025-13.csv", "period"),
    ],
)
def test_what_cannot_be_told_says_what_is_missing_and_what_is_owed(
    pack: RegionPack, supplier: str, key: str, missing: str
) -> None:
    told = assign(pack, supplier, key)
    assert isinstance(told, Unassigned), told
    assert told.missing == missing
    assert set(told.owed) == set(pack.datasets_of(supplier))
