"""What a file seems to be, told from its content, its name and what our own forms say."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from quality import forms
from quality.configuration import load_region
from quality.recognition import recognise
from quality.template import write_template
from storage.periods import period as read_period
from storage.settings import Settings
from tests.support.bench import GOOD, PLAIN, WORKS, written

PACK = load_region(Settings(region=str(PLAIN)))


def told(tmp_path: Path, content: str | bytes, name: str = "export.csv", **said: str) -> tuple[str, str]:
    file = tmp_path / "sent"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    proposal = recognise(PACK, WORKS, file, name, tmp_path, **said)
    assert not proposal.dataset or proposal.reasons or said, "a proposal says why"
    return proposal.dataset, proposal.period


@pytest.mark.parametrize("dataset", sorted(GOOD))
def test_every_dataset_is_told_from_its_columns_and_its_rows(tmp_path: Path, dataset: str) -> None:
    period, row = GOOD[dataset]
    found = told(tmp_path, written([row]))
    assert found[0] == dataset
    # where no field for it is named or filled, only a name can tell the period
    assert found[1] == (period if row.get(PACK.contracts[dataset].period_field or "") else "")


def test_the_content_goes_before_the_name_and_says_so(tmp_path: Path) -> None:
    _, row = GOOD["waste_balance"]
    file = tmp_path / "sent"
    file.write_text(written([{**row, "year": "2021"}] * 3 + [row]))
    proposal = recognise(PACK, WORKS, file, "Bilanz_2019.csv", tmp_path, dataset="waste_balance")
    assert proposal.period == "2021"
    assert any("2019" in reason["de"] for reason in proposal.reasons)
    assert (proposal.dataset, proposal.dialect) == ("waste_balance", "plain-waste-balance")


def test_rows_of_many_periods_tell_none(tmp_path: Path) -> None:
    _, row = GOOD["waste_balance"]
    rows = [{**row, "year": str(year)} for year in range(2010, 2020)]
    assert told(tmp_path, written(rows)) == ("waste_balance", "")


def test_our_own_forms_are_told_whatever_they_are_called(tmp_path: Path) -> None:
    contract = PACK.contracts["waste_balance"]
    made = write_template(
        PACK, "waste_balance", WORKS, tmp_path / "v.xlsx", today=date(2026, 2, 2), period=read_period("2022")
    )
    assert told(tmp_path, made.path.read_bytes(), "Mappe1.xlsx") == ("waste_balance", "2022")
    table = forms.written_table(contract, [{"year": "2022"}])
    assert told(tmp_path, table, "x.csv") == ("waste_balance", "2022")


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 500, b"PK\x03\x04broken", b"%PDF-1.7", "a;b\n1;2\n".encode("utf-16"), b'"' * 3000]
)
def test_what_is_nothing_we_know_is_proposed_as_nothing(tmp_path: Path, content: bytes) -> None:
    assert told(tmp_path, content, "irgendwas.bin") == ("", "")
