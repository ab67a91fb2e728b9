"""Which slot a file in an inbox belongs to, told from where it lies and what it is called, never from its content.

A folder may say it (`inbox/<supplier>/<dataset>/<period>/file`), or the name (the dialects' `recognise` patterns, a
period in the name). What cannot be told is answered with the ways to say it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from quality.region import RegionPack, Source
from storage.periods import Interval, Period, period

_IN_NAME: dict[Interval, str] = {
    "daily": r"(?<!\d)(20\d\d|19\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?([0-2]\d|3[01])(?!\d)",
    "monthly": r"(?<!\d)(20\d\d|19\d\d)[-_.]?(0[1-9]|1[0-2])(?!\d)",
    "quarterly": r"(?<!\d)(20\d\d|19\d\d)[-_. ]?[Qq]([1-4])(?!\d)",
    "yearly": r"(?<!\d)(20\d\d|19\d\d)(?!\d)",
}


@dataclass(frozen=True)
class Assigned:
    """The slot a file is meant for."""

    dataset: str
    period: Period


@dataclass(frozen=True)
class Unassigned:
    """Why no slot was found; facts of the message `file.unassigned`."""

    missing: str
    owed: tuple[str, ...]


def assign(pack: RegionPack, supplier: str, key: str) -> Assigned | Unassigned:
    """Tell the slot of an object.

    Args:
        pack: The region.
        supplier: Whose inbox it lies in; taken from the place, never from the file.
        key: Path inside that inbox, with `/`.
    """
    owed = tuple(pack.datasets_of(supplier))
    *folders, name = PurePosixPath(key).parts
    said = next((folder for folder in folders if folder in pack.contracts), None)
    told = _period_of_folder(folders)
    if said is None:
        said, told_by_name = _recognised(pack, supplier, name)
        told = told or told_by_name
    if said is None and len(owed) == 1:
        said = owed[0]
    if said is None:
        return Unassigned("dataset", owed)
    found = told or _period_in(name, pack.contracts[said].interval)
    return Assigned(said, found) if found else Unassigned("period", owed)


def name_of(sent: str) -> str:
    """The file's own name of what a sender calls it: programs send whole paths, of Windows too."""
    return sent.replace("\\", "/").rpartition("/")[2]


def assign_named(pack: RegionPack, supplier: str, dataset: str, period: str, name: str) -> Assigned | Unassigned:
    """Tell the slot where a sender says what it is, or leaves it (empty) to the file's name. What is said goes first."""
    return assign(pack, supplier, "/".join(part for part in (dataset, period, name) if part))


def assign_pulled(pack: RegionPack, source: Source, key: str) -> Assigned | Unassigned:
    """Tell the slot of what a source of the region gave under a key: its dataset is known, often its period, too."""
    if source.period is not None:
        return Assigned(source.dataset, period(source.period))
    return assign(pack, source.supplier, f"{source.dataset}/{key}")


def _recognised(pack: RegionPack, supplier: str, name: str) -> tuple[str | None, Period | None]:
    for mandate in pack.mandates:
        if mandate.supplier != supplier:
            continue
        for dialect in (pack.dialects[dialect] for dialect in mandate.dialects):
            if dialect.recognise and (match := re.search(dialect.recognise.file_name, name)):
                text = match.groupdict().get("period")
                interval = pack.contracts[mandate.dataset].interval
                return mandate.dataset, _period_in(text, interval) if text else None
    return None, None


def _period_of_folder(folders: list[str]) -> Period | None:
    for folder in folders:
        try:
            return period(folder)
        except ValueError:
            continue
    return None


def _period_in(name: str, interval: Interval) -> Period | None:
    match = re.search(_IN_NAME[interval], name)
    if match is None:
        return None
    joint = "-Q" if interval == "quarterly" else "-"
    try:
        return period(joint.join(match.groups()))
    except ValueError:
        return None
