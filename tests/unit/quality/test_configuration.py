"""When the files that configure changed: an edit, a new file and one that went are all seen, whatever the clock says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from quality.configuration import Files, Stamp

LONG_AGO = 1_600_000_000


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "pack" / "dialects"
    folder.mkdir(parents=True)
    (folder / "one.yml").write_text("one")
    (folder.parent / "read.me").write_text("no configuration")
    return folder.parent


def rested(pack: Path) -> None:
    """As if nothing had changed for years."""
    for path in (pack, *pack.rglob("*")):
        os.utime(path, (LONG_AGO, LONG_AGO))


def edited(pack: Path) -> None:
    (pack / "dialects" / "one.yml").write_text("two")


def added(pack: Path) -> None:
    (pack / "dialects" / "two.yml").write_text("")


def removed(pack: Path) -> None:
    (pack / "dialects" / "one.yml").unlink()


def added_in_a_new_folder(pack: Path) -> None:
    (pack / "contracts").mkdir()
    (pack / "contracts" / "two.csv").write_text("")


@pytest.mark.parametrize("change", [edited, added, removed, added_in_a_new_folder])
@pytest.mark.parametrize("settled", [True, False])
def test_every_change_gives_another_stamp(pack: Path, settled: bool, change: Callable[[Path], None]) -> None:
    if settled:
        rested(pack)
    files = Files([pack])
    before = files.stamp()
    assert files.stamp() == before and [Path(file).name for file, _ in before] == ["one.yml"]
    change(pack)
    assert files.stamp() != before


def test_folders_that_rest_are_not_listed_again(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rested(pack)
    files = Files([pack])
    before = files.stamp()

    def listed(self: Path, pattern: str) -> Stamp:
        raise AssertionError(f"{self} is listed again")

    monkeypatch.setattr(Path, "rglob", listed)
    assert files.stamp() == before


def test_a_folder_that_is_not_there_holds_nothing_until_it_is(tmp_path: Path) -> None:
    files = Files([tmp_path / "pack"])
    assert files.stamp() == ()
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "region.yml").write_text("")
    assert len(files.stamp()) == 1
