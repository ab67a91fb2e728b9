"""Where receipts lie: written on this machine, laid where their supplier looks, and found again.

What stands in them is made by `quality.receipt`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from quality.receipt import ReceiptFiles, receipt_stem
from storage import stores
from storage.objects.base import NoSuchObject
from storage.paths import parse_delivery_id
from storage.settings import Settings

#: What the origin of a delivery from an inbox begins with; its key follows after a colon.
INBOX = "inbox"
#: Endings of what we lay beside a supplier's file; such files are never taken as deliveries.
ANSWERS = (".eingang.html", ".eingang.json", ".quittung.html", ".quittung.json", ".quittung.xlsx")
#: The one of them that people mend and send back under its name.
MARKED = ".quittung.xlsx"


class Receipts:
    """The receipts of one installation; many threads may lay some."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._home = settings, settings.paths
        self._store = stores.receipts(settings)

    def folder(self, supplier: str) -> Path:
        """Where this machine writes a supplier's receipts."""
        return self._home.receipts(supplier)

    def lay(self, origin: str, supplier: str, files: ReceiptFiles, *, with_workbook: bool = True) -> None:
        """Lay an answer where its supplier looks.

        In a folder that is beside the file, under its name. In an object store it is the supplier's own prefix of
        receipts, there also under the name of the file: of its own inbox a supplier can read nothing. Without `with_workbook`
        the workbook that lies there stays.
        """
        kind, _, key = origin.partition(":")
        came_by_inbox = kind == INBOX and bool(key)
        if self._settings.is_server:
            if files.xlsx is None and with_workbook:
                # an earlier verdict on the same delivery may have left one behind
                self._store.delete(f"{supplier}/{files.json.with_suffix('.xlsx').name}")
            # the JSON last: where it is, the receipt is whole
            for file in (files.xlsx, files.html, files.json):
                if file is not None:
                    self._store.put(f"{supplier}/{file.name}", file)
        for file in (files.html, files.xlsx) if came_by_inbox else ():
            if file is None:
                continue
            ending = "".join(file.suffixes[-2:])
            if self._settings.is_server:
                self._store.put(f"{supplier}/{key}{ending}", file)
                continue
            beside = self._home.inbox(supplier) / key
            if beside.parent.is_dir():
                if file == files.xlsx:
                    with self._home.laid_beside(supplier).open("a", encoding="ascii") as laid:
                        laid.write(hashlib.sha256(file.read_bytes()).hexdigest() + "\n")
                fresh = beside.with_name(f".{beside.name}{ending}.tmp")
                shutil.copyfile(file, fresh)
                fresh.replace(beside.with_name(f"{beside.name}{ending}"))

    def were_laid(self, supplier: str, sha256: str) -> bool:
        """Whether a workbook of these bytes was laid beside a file of this supplier."""
        laid = self._home.laid_beside(supplier)
        if laid.exists() and sha256 in laid.read_text(encoding="ascii").split():
            return True
        # laid there by a Verbund that did not note it yet
        known = (receipt.read_bytes() for receipt in self.folder(supplier).glob(f"*{MARKED}"))
        return sha256 in {hashlib.sha256(content).hexdigest() for content in known}

    def is_acknowledged(self, delivery_id: str) -> bool:
        """Whether the receipt of a delivery's arrival lies there."""
        return self._store.exists(f"{parse_delivery_id(delivery_id).supplier}/{delivery_id}.eingang.json")

    def is_answered(self, delivery_id: str) -> bool:
        """Whether the receipt with a delivery's verdict lies there; what it says is not read."""
        return self._store.exists(_key(delivery_id))

    def laid(self, delivery_id: str) -> dict[str, Any] | None:
        """What the receipt with a delivery's verdict says as it lies there; None where there is none."""
        try:
            with self._store.open(_key(delivery_id)) as file:
                found: dict[str, Any] = json.load(file)
        except NoSuchObject:
            return None
        return found

    def places(self, delivery_id: str) -> dict[str, str | None]:
        """Places of a delivery's receipt; before the verdict, of the receipt of its arrival.

        Files of this machine, or `s3://` addresses where another machine of the server profile wrote it.
        """
        supplier = parse_delivery_id(delivery_id).supplier
        folder = self.folder(supplier)
        stems = [folder / receipt_stem(delivery_id), folder / f"{delivery_id}.eingang"]
        places: dict[str, str | None] = {}
        for ending in ("json", "html", "xlsx"):
            found = [stem.with_name(f"{stem.name}.{ending}") for stem in stems]
            places[ending] = next((str(path) for path in found if path.exists()), None)
            if places[ending] is None and self._settings.is_server:
                keys = [f"{supplier}/{path.name}" for path in found]
                stored = next((key for key in keys if self._store.exists(key)), None)
                places[ending] = f"s3://{self._settings.s3_bucket}/receipts/{stored}" if stored else None
        return places


def _key(delivery_id: str) -> str:
    return f"{parse_delivery_id(delivery_id).supplier}/{receipt_stem(delivery_id)}.json"
