"""A marked workbook that comes back: rows that somebody mended take the place of what was delivered before.

A receipt's workbook of the rows to mend (`quality.receipt.xlsx`) names the delivery it answers and the line of each row.
Sent back, its rows replace those lines of that delivery's file; all other lines are judged again as they were. What such
a workbook must not do is found here, and told as a verdict. The supplier's own workbook with marks needs none of this:
its status column and our sheets are left out when it is read.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from quality import messages
from quality.contract import Contract
from quality.verdict import Finding
from storage.ledger.ledger import Ledger
from storage.ledger.states import SERVED
from storage.paths import Slot, parse_delivery_id
from storage.readers import Landed, Unreadable, read
from storage.readers.base import BROKEN_ARCHIVE, PROVENANCE, FormatSpec, HeaderSpec

#: A receipt's workbook holds 10,000 lines; whoever works on adds a few.
MOST_LINES = 20_000
#: So often in a row rows may be mended by workbook before the whole file has to be sent.
MOST_STEPS = 20
#: The apostrophe that a receipt puts before what a spreadsheet could take for a formula (`quality.receipt.xlsx.harmless`).
_GUARD = "^'([ \u00a0]*[=+\\-@＝＋－＠])"
_LINE, _SHEET = "workbook.line", "label.sheet"


@dataclass(frozen=True)
class Answer:
    """A workbook of rows to mend that was sent back. `delivery` is the one it was the receipt of."""

    delivery: str
    source: Path


@dataclass(frozen=True)
class Mends:
    """What a delivery of mended rows goes back to: a whole file, and the workbooks sent for it since, oldest first.

    `problem` says why it cannot be taken; then nothing is read.
    """

    whole: Path | None = None
    file_name: str = ""
    dialect: str | None = None
    """The dialect that was chosen for the whole file."""
    answers: Sequence[Answer] = ()
    problem: Finding | None = None


def goes_back(
    source: Path,
    slot: Slot,
    attempt: int,
    contract: Contract,
    *,
    ledger: Ledger,
    lend: Callable[[str], Path],
    work: Path,
) -> Mends | None:
    """What a file of mended rows goes back to; None where it is no such file.

    Args:
        source: What was sent.
        slot: What it was sent for.
        attempt: Its number in that slot; what came later does not count.
        contract: Of that dataset.
        ledger: Where the deliveries before are known.
        lend: Bytes by their sha256, for as long as the caller needs them.
        work: Folder for what is only looked at.
    """
    answers: list[Answer] = []
    answer = answered(source, work)
    while answer is not None:
        answers.insert(0, answer)
        before = [
            view for view in ledger.deliveries(slot.supplier, slot.dataset, slot.period) if view.attempt < attempt
        ]
        base = next((view for view in before if view.delivery_id == answer.delivery), None)
        served = [view.attempt for view in before if view.verdict_state in SERVED and view.state != "withdrawn"]
        problem = _refused(answer, slot, contract, max(served, default=None), known=base is not None)
        if problem is None and len(answers) > MOST_STEPS:
            problem = Finding(
                "mending.too_often", "fatal", 0, {"found": str(len(answers)), "expected": str(MOST_STEPS)}
            )
        if problem is not None or base is None:
            return Mends(problem=problem)
        whole = lend(base.sha256)
        answer, attempt = answered(whole, work), base.attempt
        if answer is None:
            return Mends(whole, base.file_name, base.dialect, answers)
    return None


def answered(source: Path, work: Path) -> Answer | None:
    """The delivery that a file is mended rows of; None for every other file, whatever is wrong with it."""
    with source.open("rb") as file:
        if file.read(2) != b"PK":
            return None
    # its safety is looked at by the reader; names alone tell whether it may be one
    title, receipt = (messages.text(key, "de") for key in ("workbook.sheet_mend", "workbook.sheet_receipt"))
    try:
        with zipfile.ZipFile(source) as archive:
            index = archive.getinfo("xl/workbook.xml")
            if index.file_size > 1024**2 or title.encode() not in archive.read(index):
                return None
        with tempfile.TemporaryDirectory(dir=work, prefix="answer-") as folder:
            spec = FormatSpec(type="xlsx", sheet=receipt, header=HeaderSpec(rows=0, row=1))
            landed = read(source, spec, Path(folder) / "receipt.parquet", name="")
            cells = pl.read_parquet(landed.path)
    except (Unreadable, *BROKEN_ARCHIVE):
        return None
    if (
        len(landed.columns) < 2
        or cells.is_empty()
        or cells[landed.columns[0]][0] != messages.text("workbook.receipt_title", "de")
    ):
        return None
    named = cells.filter(pl.col(landed.columns[0]) == messages.text("label.delivery", "de"))[landed.columns[1]]
    try:
        delivery = parse_delivery_id(str(named[0])) if len(named) else None
    except ValueError:
        return None
    return Answer(str(named[0]), source) if delivery else None


def _refused(answer: Answer, slot: Slot, contract: Contract, served: int | None, *, known: bool) -> Finding | None:
    """Why a workbook of mended rows cannot be taken for a slot; None where it can."""
    if not contract.partial_correction:
        return Finding("mending.not_allowed", "fatal", 0)
    base = parse_delivery_id(answer.delivery)
    if base.slot != slot:
        facts = {"expected": f"{slot.dataset} {slot.period}", "found": f"{base.slot.dataset} {base.slot.period}"}
        return Finding("mending.other_slot", "fatal", 0, facts)
    if not known:
        return Finding("mending.unknown_delivery", "fatal", 0, {"found": answer.delivery})
    if served is not None and served > base.attempt:
        return Finding("mending.outdated", "fatal", 0, {"expected": str(served), "found": str(base.attempt)})
    return None


def without_status(landed: Landed) -> Landed:
    """A landed file without the column of ours that a marked workbook brings back."""
    header = messages.text("workbook.status_header", "de")
    kept = [i for i, name in enumerate(landed.columns) if name != header]
    if len(kept) == len(landed.columns):
        return landed
    return replace(landed, columns=tuple(landed.columns[i] for i in kept), units=tuple(landed.units[i] for i in kept))


def mend(landed: Landed, answer: Answer, spec: FormatSpec) -> Landed | Finding:
    """Put the mended rows of a workbook into a landed file; what is wrong with the workbook is a finding.

    Args:
        landed: The file it answers, rewritten in place.
        answer: The workbook.
        spec: How the supplier writes numbers and days, for cells that are no text.
    """
    title = messages.text("workbook.sheet_mend", "de")
    own = FormatSpec(type="xlsx", sheet=title, header=HeaderSpec(row=1), decimal=spec.decimal, dates=spec.dates)
    file = landed.path.with_suffix(".mended.parquet")
    try:
        read_back = read(answer.source, own, file, name="")
        rows = pl.read_parquet(file).filter(pl.col("ignored_by").is_null())
    except Unreadable as error:
        return Finding(error.rule, "fatal", 0, error.facts)
    finally:
        file.unlink(missing_ok=True)
    lines = [
        name for name in (messages.text(_LINE, "de"), messages.text("label.segment", "de")) if name in read_back.columns
    ]
    missing = [name for name in landed.columns if name not in read_back.columns]
    if not lines or missing:
        facts = {"expected": ", ".join(missing) or messages.text(_LINE, "de"), "found": ", ".join(read_back.columns)}
        return Finding("mending.columns", "fatal", 0, facts)
    sheet_column = messages.text(_SHEET, "de")
    # a delivered column of the same name stands further right, as `Blatt_2`
    has_sheet = sheet_column in read_back.columns[1:2] and sheet_column not in landed.columns
    mended = rows.select(
        pl.col(lines[0]).str.strip_chars().cast(pl.Int64, strict=False).alias("delivered_line"),
        (pl.col(sheet_column) if has_sheet else pl.lit(None, pl.String)).alias("delivered_sheet"),
        *(pl.col(name).str.replace(_GUARD, "$1").alias(f"mended {name}") for name in landed.columns),
        pl.lit(True).alias("is_mended"),
    )
    there = pl.scan_parquet(landed.path)
    if not has_sheet:
        # one sheet, or none at all: the line alone tells the place
        sheets = there.select(pl.col("delivered_sheet").unique()).collect()["delivered_sheet"].to_list()
        mended = mended.with_columns(
            pl.lit(sheets[0] if len(sheets) == 1 else None, pl.String).alias("delivered_sheet")
        )
    place = ["delivered_sheet", "delivered_line"]
    known = there.select(place).filter(pl.col("delivered_line").is_in(mended["delivered_line"].implode())).collect()
    unknown = mended.join(known, on=place, how="anti", nulls_equal=True)
    double = mended.filter(mended.select(place).is_duplicated())
    if not unknown.is_empty() or not double.is_empty() or len(mended) > MOST_LINES:
        wrong = pl.concat([unknown, double])["delivered_line"].to_list()
        shown = ", ".join("–" if line is None else str(line) for line in wrong[:10])
        return Finding("mending.lines", "fatal", 0, {"found": shown, "rows": len(wrong)})
    fresh = landed.path.with_suffix(".fresh.parquet")
    told = [
        pl.when(pl.col("is_mended")).then(pl.col(f"mended {name}")).otherwise(pl.col(name)).alias(name)
        for name in landed.columns
    ]
    others = [
        name for name in pl.read_parquet_schema(landed.path) if name not in PROVENANCE and name not in landed.columns
    ]
    merged = there.join(mended.lazy(), on=place, how="left", nulls_equal=True, maintain_order="left")
    merged.select(*PROVENANCE, *told, *others).sink_parquet(fresh, compression="zstd")
    fresh.replace(landed.path)
    return landed
