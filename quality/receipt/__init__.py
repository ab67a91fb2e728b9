"""What a supplier gets back: a receipt at arrival, and a receipt with the verdict, as JSON, HTML and XLSX.

Here is the door and what goes in; one module per form lies beside it. The words come from `quality.messages`, the
outcome from `quality.verdict`. Everything shown was sent by someone else and is hostile until it is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from quality.receipt.files import safe_stem, write_text
from quality.verdict import Verdict

#: What a receipt document tells of the verdict; the rest is about what was sent.
TOLD = ("state", "rows", "findings", "changes", "summary", "todo", "judged_at", "versions", "read_as")


@dataclass(frozen=True)
class Sent:
    """What the receipt must know beside the verdict.

    Attributes:
        supplier_name: The supplier's name for people.
        dataset_title: The dataset's title, `{"de": …, "en": …}`.
        file_name: The file's name as sent; shown, never used as a path.
        sha256: Of the bytes as sent.
        size: Of the bytes as sent, in bytes.
        received_at: When the bytes were safe, UTC.
        due_on: Last day of the slot's calendar, where there is one.
        source: The bytes as sent (local file), to mark the supplier's own workbook.
        format: `csv`, `xlsx`, `mscons` or `fixed_width`.
        landed: Parquet: `delivered_row`, `delivered_line`, `delivered_sheet`, `ignored_by`, then text cells under the
            delivered column names.
        marks: Parquet, one line per broken place: `delivered_line` BIGINT, `delivered_sheet` VARCHAR, `column` VARCHAR
            (the sender's column name, or null for the whole row), `rule`, `severity`, `value`, `row_state` VARCHAR
            (`quarantined` or `accepted_with_warning`).
        synthetic: Figures invented for a demonstration; every form of the receipt says so.
        takes_mended_rows: The workbook of rows to mend may be sent back as it is.
        confirmed: Warnings that somebody found right: `rule`, `rows`, `reason`, `author`, `at`.
    """

    supplier_name: str
    dataset_title: Mapping[str, str]
    file_name: str
    sha256: str
    size: int
    received_at: datetime
    due_on: date | None
    source: Path | None
    format: str | None
    landed: Path | None
    marks: Path | None
    synthetic: bool = False
    takes_mended_rows: bool = False
    confirmed: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class ReceiptFiles:
    """Where the forms of one receipt were written; no workbook where there is nothing to mend."""

    json: Path
    html: Path
    xlsx: Path | None


def receipt_document(verdict: Verdict, sent: Sent, files: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    """The receipt as plain data, ready for JSON: the interface that suppliers' scripts build on.

    Args:
        verdict: What became of the delivery.
        sent: What is known beside it.
        files: Names under `receipt`; by default the names `write_receipt` gives, with a workbook where there are marks.

    Returns:
        `delivery, supplier, dataset, period, attempt, sha256, state, rows, findings, changes, receipt`, then what may
        grow: `summary`, `todo`, `supplier_name`, `dataset_title`, `file_name`, `size`, `received_at`, `due_on`,
        `judged_at`, `versions`, `read_as`, `synthetic`, `confirmed`. Findings come worst first.
    """
    from quality.receipt.json import document

    if files is None:
        stem = receipt_stem(verdict.delivery)
        workbook = f"{stem}.xlsx" if sent.marks is not None and sent.marks.exists() else None
        files = {"json": f"{stem}.json", "html": f"{stem}.html", "xlsx": workbook}
    return document(verdict, sent, files)


def write_receipt(
    verdict: Verdict, sent: Sent, folder: Path, *, recorded: Mapping[str, Any] | None = None
) -> ReceiptFiles:
    """Write the receipt of a verdict into `folder` as `<delivery>.quittung.json`, `.html` and, if of use, `.xlsx`.

    Every file appears whole or not at all, and writing again replaces it. The JSON is written last: where it is, the
    others are. A delivery in which no place is marked gets no workbook.

    Args:
        verdict: What became of the delivery; its findings explain the marks of a workbook.
        sent: What is known beside it.
        folder: Where the supplier's receipts lie.
        recorded: The receipt document as the ledger keeps it: what it tells of the verdict (`TOLD`) is told.
    """
    from quality.receipt import html, json, xlsx

    stem = folder / receipt_stem(verdict.delivery)
    page, data, workbook = (stem.with_name(f"{stem.name}.{ending}") for ending in ("html", "json", "xlsx"))
    folder.mkdir(parents=True, exist_ok=True)
    document = receipt_document(verdict, sent)
    document |= {name: recorded[name] for name in TOLD if name in recorded} if recorded else {}
    written = xlsx.write(document, verdict, sent, workbook)
    if written is None:
        # an earlier verdict on the same delivery may have left one behind
        workbook.unlink(missing_ok=True)
        document["receipt"]["xlsx"] = None
    write_text(page, html.receipt(document, line_word=json.line_word(sent.format)))
    write_text(data, json.dumps(document))
    return ReceiptFiles(data, page, written)


def write_receipt_again(document: Mapping[str, Any], format_name: str | None, folder: Path) -> ReceiptFiles:
    """Write page and data of a receipt from its own document; the workbook is left as it is.

    Args:
        document: As `receipt_document` gives it.
        format_name: Of the file that was sent, as in `Sent.format`.
        folder: Where the supplier's receipts lie.
    """
    from quality.receipt import html, json

    stem = folder / receipt_stem(str(document["delivery"]))
    page, data = (stem.with_name(f"{stem.name}.{ending}") for ending in ("html", "json"))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(page, html.receipt(document, line_word=json.line_word(format_name)))
    write_text(data, json.dumps(document))
    return ReceiptFiles(data, page, None)


def write_arrival(document: Mapping[str, Any], folder: Path) -> ReceiptFiles:
    """Write receipt 1, "we have your file", as `<delivery>.eingang.json` and `.html`.

    Args:
        document: `delivery, supplier, supplier_name, dataset, dataset_title, period, attempt, file_name, size, sha256,
            received_at` (ISO 8601), `state` (`received`, `duplicate`, `nothing_to_report`, `unassigned`), `reason`,
            `duplicate_of`; what is not known may be None or missing.
        folder: Where the supplier's receipts lie.
    """
    from quality.receipt import html, json

    told = json.arrival(document)
    stem = safe_stem(str(document.get("delivery") or document.get("sha256") or "")) + ".eingang"
    page, data = folder / f"{stem}.html", folder / f"{stem}.json"
    told["receipt"] = {"json": data.name, "html": page.name, "xlsx": None}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(page, html.arrival(told))
    write_text(data, json.dumps(told))
    return ReceiptFiles(data, page, None)


def receipt_stem(delivery: str) -> str:
    """File name of a delivery's receipt without the ending."""
    return safe_stem(delivery) + ".quittung"
