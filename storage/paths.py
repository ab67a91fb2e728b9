"""Names and places: the one module that builds ids, keys and paths, and refuses what must not become one.

Whatever is written or read under `VERBUND_HOME` gets its path here. What lies in a file is known where it is written.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from storage.periods import period as read_period

_SUPPLIER = re.compile(r"[a-z0-9][a-z0-9-]{2,40}")
_DATASET = re.compile(r"[a-z][a-z0-9_]{2,60}")
_ATTEMPT = re.compile(r"[0-9]{2,6}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BETWEEN = "--"


def checked_supplier(text: str) -> str:
    """The text itself, if it can be a supplier's id.

    Raises:
        ValueError: It is none.
    """
    return _checked(text, _SUPPLIER, "a supplier id", "3 to 41 of a-z, 0-9 and '-', not beginning with '-'")


def checked_dataset(text: str) -> str:
    """The text itself, if it can be a dataset's name.

    Raises:
        ValueError: It is none.
    """
    return _checked(text, _DATASET, "a dataset name", "3 to 61 of a-z, 0-9 and '_', beginning with a letter")


def checked_sha256(text: str) -> str:
    """The text itself, if it is a sha256 in lower-case hex.

    Raises:
        ValueError: It is none.
    """
    return _checked(text, _SHA256, "a sha256", "64 lower-case hex digits")


@dataclass(frozen=True, order=True)
class Slot:
    """What is owed once: a supplier, a dataset and a period. Written `stadtwerke-x--meter_readings--2025-03`.

    Raises:
        ValueError: One of the three is not allowed as a name.
    """

    supplier: str
    dataset: str
    period: str

    def __post_init__(self) -> None:
        checked_supplier(self.supplier)
        checked_dataset(self.dataset)
        read_period(self.period)

    def __str__(self) -> str:
        return _BETWEEN.join((self.supplier, self.dataset, self.period))


class DeliveryName(NamedTuple):
    """The four parts of a delivery's id."""

    supplier: str
    dataset: str
    period: str
    attempt: int

    @property
    def slot(self) -> Slot:
        return Slot(self.supplier, self.dataset, self.period)


def delivery_id(supplier: str, dataset: str, period: str, attempt: int) -> str:
    """Name a delivery: `stadtwerke-x--meter_readings--2025-03--02`.

    Raises:
        ValueError: A part is not allowed as a name, or the attempt is not 1 or more.
    """
    if not 1 <= attempt <= 999_999:
        raise ValueError(f"attempt {attempt} is not between 1 and 999999")
    return f"{Slot(supplier, dataset, period)}{_BETWEEN}{attempt:02d}"


def parse_delivery_id(text: str) -> DeliveryName:
    """Take a delivery's id apart.

    Raises:
        ValueError: The text is not what `delivery_id` writes.
    """
    # a supplier id may hold "--" itself, the three parts behind it cannot
    parts = text.rsplit(_BETWEEN, 3)
    if len(parts) == 4 and _ATTEMPT.fullmatch(parts[3]):
        name = DeliveryName(parts[0], parts[1], parts[2], int(parts[3]))
        if delivery_id(*name) == text:
            return name
    raise ValueError(f"{text!r} is not a delivery id; they look like 'supplier--dataset--2025-03--02'")


def parse_slot(text: str) -> Slot:
    """Take a slot's name apart.

    Raises:
        ValueError: The text is not what `str(slot)` writes.
    """
    parts = text.rsplit(_BETWEEN, 2)
    if len(parts) != 3:
        raise ValueError(f"{text!r} is not a slot; they look like 'supplier--dataset--2025-03'")
    return Slot(*parts)


def vault_key(sha256: str) -> str:
    """Key of an object in the vault.

    One level of 256 folders: with two, nearly every delivery of the first years would make a folder of its own, which
    must reach the disk as well (16 ms instead of 8 for a small file).
    """
    return f"sha256/{checked_sha256(sha256)[:2]}/{sha256}"


def release_key(number: int, file: str) -> str:
    """Key of a file of a release, and its path below the folder of all releases: `0007/manifest.json`.

    Raises:
        ValueError: The number is not 1 or more.
    """
    if number < 1:
        raise ValueError(f"release {number} is not 1 or more")
    return f"{number:04d}/{file}"


@dataclass(frozen=True)
class Home:
    """All places under one `VERBUND_HOME`. Nothing is created by asking for a path; `create` makes the folders."""

    root: Path

    def create(self) -> Home:
        """Make the folders everyone needs; safe to repeat."""
        for folder in (self.inboxes, self.vault, self.lake, self.locks, self.work, self.logs, self.dagster):
            folder.mkdir(parents=True, exist_ok=True)
        return self

    # --- what suppliers see ---

    @property
    def inboxes(self) -> Path:
        return self.root / "inbox"

    def inbox(self, supplier: str) -> Path:
        """Folder into which one supplier puts files."""
        return self.inboxes / checked_supplier(supplier)

    def receipts(self, supplier: str) -> Path:
        """Folder of everything one supplier was answered."""
        return self.root / "receipts" / checked_supplier(supplier)

    def laid_beside(self, supplier: str) -> Path:
        """Sums of the workbooks that were laid beside files of this supplier's inbox, a line each."""
        return self.receipts(supplier) / ".beside.sha256"

    # --- bytes and rows ---

    @property
    def vault(self) -> Path:
        return self.root / "vault"

    def landed(self, delivery: str) -> Path:
        """Parquet of a delivery's text cells."""
        supplier, dataset, period, attempt = parse_delivery_id(delivery)
        return (
            self.root
            / "landed"
            / f"dataset={dataset}"
            / f"supplier={supplier}"
            / f"period={period}"
            / f"attempt={attempt:02d}.parquet"
        )

    def marks(self, delivery: str) -> Path:
        """Parquet of the state and findings of each landed row, beside `landed`."""
        return self.landed(delivery).with_suffix(".marks.parquet")

    # --- lakes and releases ---

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def accepted_catalog(self) -> Path:
        return self.lake / "accepted.sqlite"

    @property
    def accepted_data(self) -> Path:
        return self.lake / "accepted"

    def accepted_file(self, delivery: str, name: str) -> Path:
        """Place of a file that becomes a data file of an accepted table as it is.

        The lake takes `supplier_id`, `period`, `delivery_id` and `attempt` from the folders, so the file needs no columns
        that say the same in every row.
        """
        supplier, dataset, period, attempt = parse_delivery_id(delivery)
        table = self.accepted_data / "main" / dataset
        slot = table / f"supplier_id={supplier}" / f"period={period}"
        return slot / f"delivery_id={delivery}" / f"attempt={attempt}" / f"{name}.parquet"

    @property
    def foundation_catalog(self) -> Path:
        return self.lake / "foundation.sqlite"

    @property
    def foundation_data(self) -> Path:
        return self.lake / "foundation"

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    def release(self, number: int) -> Path:
        """Folder of one release: `releases/0007`."""
        return (self.releases / release_key(number, "any")).parent

    # --- the platform's own ---

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.sqlite"

    @property
    def dagster(self) -> Path:
        return self.root / "dagster"

    @property
    def dbt(self) -> Path:
        """dbt's target and logs."""
        return self.root / "dbt"

    @property
    def outbox(self) -> Path:
        """Mails as files, where no mail server is named."""
        return self.root / "outbox"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    def lock(self, name: str) -> Path:
        """Lock file of what may be done by one process at a time: `accepted`, `foundation`, `judge-0`, …"""
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", name):
            raise ValueError(f"{name!r} is not the name of a lock")
        return self.locks / f"{name}.lock"

    @property
    def work(self) -> Path:
        """Temporary files; may be emptied whenever nothing runs. On the same file system as the rest."""
        return self.root / "work"

    def forget_leftovers(self, older_than: timedelta = timedelta(days=1)) -> int:
        """Remove what processes that were killed left in `work`: rows, uploads, checks. Returns how many there were."""
        limit, removed = time.time() - older_than.total_seconds(), 0
        for pattern in ("typed_*.parquet", "upload-*", "check-*"):
            for path in self.work.glob(pattern):
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < limit:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
                        removed += 1
        return removed


def _checked(text: str, shape: re.Pattern[str], kind: str, rule: str) -> str:
    # fullmatch, because `$` would let a trailing line feed through
    if not isinstance(text, str) or not shape.fullmatch(text):
        raise ValueError(f"{text!r} is not {kind}: {rule}")
    return text
