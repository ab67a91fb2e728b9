from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.paths import Home, Slot, delivery_id, parse_delivery_id, parse_slot, vault_key
from storage.settings import Settings, project_root

SUPPLIERS = st.from_regex(r"[a-z0-9][a-z0-9-]{2,40}", fullmatch=True)
DATASETS = st.from_regex(r"[a-z][a-z0-9_]{2,60}", fullmatch=True)
PERIODS = st.sampled_from(["2024", "2024-Q3", "2024-07", "2024-07-31"])
ATTEMPTS = st.integers(1, 999_999)

HOSTILE = ["", "ab", "..", "../etc", "a/b", "Stadt", "stadt\n", "stadt\0", "-stadt", "städte", "a" * 42, " abc", "a.b"]


def test_a_delivery_id_spells_its_origin() -> None:
    assert delivery_id("stadtwerke-x", "load_profile", "2025-03", 2) == "stadtwerke-x--load_profile--2025-03--02"


@given(SUPPLIERS, DATASETS, PERIODS, ATTEMPTS)
def test_a_delivery_id_is_taken_apart_into_what_it_was_made_of(
    supplier: str, dataset: str, period: str, attempt: int
) -> None:
    name = parse_delivery_id(delivery_id(supplier, dataset, period, attempt))
    assert name == (supplier, dataset, period, attempt)
    assert parse_slot(str(name.slot)) == name.slot == Slot(supplier, dataset, period)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_supplier_id_never_becomes_a_path(text: str, tmp_path: Path) -> None:
    for build in (Home(tmp_path).inbox, Home(tmp_path).receipts, lambda s: delivery_id(s, "load_profile", "2025", 1)):
        with pytest.raises(ValueError):
            build(text)


@pytest.mark.parametrize("text", [*(text for text in HOSTILE if len(text) < 42), "load-profile", "1load", "a" * 62])
def test_what_is_no_dataset_name_never_becomes_a_path(text: str) -> None:
    with pytest.raises(ValueError):
        delivery_id("stadtwerke-x", text, "2025", 1)


@pytest.mark.parametrize(
    "text",
    [
        "stadtwerke-x--load_profile--2025-03--2",
        "stadtwerke-x--load_profile--2025-03--002",
        "stadtwerke-x--load_profile--2025-03--00",
        "stadtwerke-x--load_profile--2025-03--02\n",
        "stadtwerke-x--load_profile--2025-13--02",
        "stadtwerke-x--load_profile--2025-03",
        "../x--load_profile--2025-03--02",
        "stadtwerke-x--load_profile--2025-03--٠٢",
    ],
)
def test_only_what_we_wrote_is_read_as_a_delivery_id(text: str) -> None:
    with pytest.raises(ValueError):
        parse_delivery_id(text)


def test_a_landed_path_spells_the_delivery(tmp_path: Path) -> None:
    home, delivery = Home(tmp_path), "stadtwerke-x--load_profile--2025-03--02"
    folder = tmp_path / "landed/dataset=load_profile/supplier=stadtwerke-x/period=2025-03"
    assert home.landed(delivery) == folder / "attempt=02.parquet"
    assert home.marks(delivery) == folder / "attempt=02.marks.parquet"


def test_a_vault_key_is_made_of_a_sha256_and_nothing_else() -> None:
    assert vault_key("ab12" + "0" * 60) == "sha256/ab/ab12" + "0" * 60
    for text in ("", "../" + "0" * 61, "AB" + "0" * 62):
        with pytest.raises(ValueError):
            vault_key(text)


def test_making_the_folders_of_a_home_may_be_repeated(tmp_path: Path) -> None:
    assert Home(tmp_path / "x").create().create().vault.is_dir()


def test_settings_mean_the_same_place_wherever_a_process_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VERBUND_HOME", "state")
    settings = Settings()
    monkeypatch.chdir("/")
    assert settings.home == tmp_path / "state"
    assert settings.ledger_url == f"sqlite:///{tmp_path}/state/ledger.sqlite"


def test_a_region_is_a_folder_or_the_name_of_a_pack(tmp_path: Path) -> None:
    packs = sorted(path.name for path in (project_root() / "regions").iterdir() if path.is_dir())
    assert Settings(region=packs[0]).region_dir == project_root() / "regions" / packs[0]
    assert Settings(region=str(tmp_path)).region_dir == tmp_path


def test_what_killed_processes_left_is_removed_and_what_is_worked_on_is_not(tmp_path: Path) -> None:
    home = Home(tmp_path).create()
    for name in ("typed_a_1.parquet", "typed_b_1.parquet", "upload-a", "upload-b", "code_words-a.parquet"):
        (home.work / name).touch()
    for name in ("check-a", "check-b"):
        (home.work / name).mkdir()
        (home.work / name / "sent").touch()
    for old in ("typed_a_1.parquet", "upload-a", "check-a", "code_words-a.parquet"):
        os.utime(home.work / old, (0, 0))
    assert home.forget_leftovers() == 3
    left = {"typed_b_1.parquet", "upload-b", "check-b", "code_words-a.parquet"}
    assert {path.name for path in home.work.iterdir()} == left
