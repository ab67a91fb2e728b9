"""What a file seems to be: dataset, period and dialect proposed from its content and its name, with the reasons.

A proposal decides nothing. Whoever hands in confirms or corrects it; the verdict is that of the slot it is handed in for.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from quality import forms, messages, reading
from quality.assign import Assigned, assign_named
from quality.codelists import lookup_key
from quality.contract import Contract
from quality.dialect import Column, Dialect
from quality.mending import answered
from quality.region import RegionPack
from quality.units import interval_minutes
from storage.paths import parse_delivery_id
from storage.periods import period as read_period
from storage.periods import period_of
from storage.readers import Landed, Unreadable, read

#: Larger workbooks are told by their name; of other files so many bytes are looked at.
MOST_BYTES: Final = 20 * 1024**2
HEAD_BYTES: Final = 1024**2
#: Rows whose dates are looked at, and the share of them that must lie in one period.
MOST_ROWS: Final = 5_000
MOST_OF_THEM: Final = 0.6
#: Share of the agreed columns that must be there.
COLUMNS: Final = 0.6

Said = Mapping[str, str]


@dataclass(frozen=True)
class Proposal:
    """What a file seems to be.

    Attributes:
        dataset: What is delivered with it; empty where nothing tells.
        period: For when; empty where nothing tells.
        dialect: How it is written.
        reasons: Why, in German and English.
    """

    dataset: str = ""
    period: str = ""
    dialect: str = ""
    reasons: Sequence[Said] = ()

    def plain(self) -> dict[str, Any]:
        """As data."""
        return {"dataset": self.dataset, "period": self.period, "dialect": self.dialect, "reasons": list(self.reasons)}


@dataclass
class _Match:
    """How well a dialect reads a file."""

    dataset: str
    dialect: Dialect
    landed: Landed
    cells: pl.DataFrame
    share: float
    found: list[str] = field(default_factory=list)
    named: bool = False


def recognise(
    pack: RegionPack, supplier: str, source: Path, file_name: str, work: Path, *, dataset: str = "", period: str = ""
) -> Proposal:
    """Tell what a file of a supplier is.

    Args:
        pack: The region.
        supplier: Who hands in; nobody else's agreements are looked at.
        source: The bytes.
        file_name: As sent.
        work: Folder for what is only looked at.
        dataset: What the sender says it is, if anything.
        period: For when the sender says it is, if anything.
    """
    by_name = assign_named(pack, supplier, dataset, period, file_name)
    if (answer := answered(source, work)) is not None:
        slot = parse_delivery_id(answer.delivery)
        if slot.supplier == supplier:
            return Proposal(slot.dataset, slot.period, "", [_said("answer", delivery=answer.delivery)])
    told = _by_form(pack, supplier, source, work) or _by_content(pack, supplier, source, file_name, work, dataset)
    reasons = list(told.reasons)
    found, at = dataset or told.dataset, told.period if not dataset or dataset == told.dataset else ""
    if isinstance(by_name, Assigned):
        if not found:
            found, reasons = by_name.dataset, [*reasons, _said("name", name=file_name)]
        if found == by_name.dataset and not at:
            at, reasons = str(by_name.period), [*reasons, _said("period_in_name", period=str(by_name.period))]
        elif at and at != str(by_name.period) and not period:
            reasons.append(_said("name_says_else", period=str(by_name.period)))
    elif found and not at:
        again = assign_named(pack, supplier, found, period, file_name)
        if isinstance(again, Assigned):
            at, reasons = str(again.period), [*reasons, _said("period_in_name", period=str(again.period))]
    return Proposal(found, period or at, told.dialect if found == told.dataset else "", reasons)


def _by_form(pack: RegionPack, supplier: str, source: Path, work: Path) -> Proposal | None:
    """A form of ours says it by itself."""
    mark = forms.mark_of(source)
    for dataset in pack.datasets_of(supplier):
        contract = pack.contracts[dataset]
        dialects = [dialect for _, dialect in _agreed(pack, supplier, dataset)]
        if (own := forms.form_of(contract, dialects, source, mark)) is None:
            continue
        if mark is not None:
            return Proposal(dataset, mark.period, own[0].id, [_said("template", period=mark.period)])
        at = ""
        with tempfile.TemporaryDirectory(dir=work, prefix="recognise-") as folder, contextlib.suppress(Unreadable):
            landed = read(source, own[0].layout(), Path(folder) / "landed.parquet", name="")
            at = _period_in(contract, own[0], pl.read_parquet(landed.path, n_rows=MOST_ROWS))
        return Proposal(dataset, at, own[0].id, [_said("form")])
    return None


def _by_content(pack: RegionPack, supplier: str, source: Path, file_name: str, work: Path, dataset: str) -> Proposal:
    with tempfile.TemporaryDirectory(dir=work, prefix="recognise-") as folder:
        head = _head(source, Path(folder))
        if head is None:
            return Proposal()
        matches = list(_matches(pack, supplier, head, file_name, Path(folder), dataset))
    # a name that fits tells apart what is written alike
    best = max(matches, key=lambda match: (round(match.share, 2), match.named), default=None)
    if best is None:
        return Proposal()
    rivals = {m.dataset for m in matches if (round(m.share, 2), m.named) == (round(best.share, 2), best.named)}
    if len(rivals) > 1:
        return Proposal(reasons=[_said("several", datasets=[pack.contracts[name].title for name in sorted(rivals)])])
    contract = pack.contracts[best.dataset]
    reasons = (
        [_said("columns", columns=best.found[:6], what=contract.title)]
        if best.found
        else [_said("kind", what=contract.title)]
    )
    looks = reading.looks(best.dialect)
    agreed = headings if (headings := reading.headings(best.dialect, best.landed.columns)) and best.found else None
    reasons += [_said("dialect", looks=looks), *([agreed] if agreed else [])]
    at = _period_in(contract, best.dialect, best.cells)
    if at:
        reasons.append(_said("period_in_content", period=at))
    return Proposal(best.dataset, at, best.dialect.id, reasons)


def _agreed(pack: RegionPack, supplier: str, dataset: str) -> Iterator[tuple[str, Dialect]]:
    names = dict.fromkeys(name for mandate in pack.mandates_of(supplier, dataset) for name in mandate.dialects)
    return ((dataset, pack.dialects[name]) for name in names)


def _head(source: Path, folder: Path) -> Path | None:
    """What is looked at of a file; None where only the whole would tell and that is large."""
    with source.open("rb") as file:
        start = file.read(2)
        if start == b"PK" or _begins_a_document(start):
            return source if source.stat().st_size <= MOST_BYTES else None
        file.seek(0)
        content = file.read(HEAD_BYTES)
        if file.read(1):
            content = content[: content.rfind(b"\n") + 1] or content
    head = folder / "head"
    head.write_bytes(content)
    return head


def _begins_a_document(start: bytes) -> bool:
    """Whether these first two bytes are those of XML or JSON, which is nothing without its end."""
    return start.lstrip()[:1] in (b"<", b"{", b"[") or start in (
        codecs.BOM_UTF8[:2],
        codecs.BOM_UTF16_LE,
        codecs.BOM_UTF16_BE,
    )


def _matches(
    pack: RegionPack, supplier: str, head: Path, file_name: str, folder: Path, dataset: str
) -> Iterator[_Match]:
    owed = [dataset] if dataset else pack.datasets_of(supplier)
    for name, dialect in (pair for one in owed if one in pack.contracts for pair in _agreed(pack, supplier, one)):
        to = folder / f"{dialect.id}.parquet"
        try:
            landed = read(head, dialect.layout(), to, name=file_name)
        except Unreadable:
            continue
        cells = pl.read_parquet(to, n_rows=MOST_ROWS)
        named = bool(dialect.recognise and re.search(dialect.recognise.file_name, file_name))
        wanted = list(dialect.delivered_columns())
        if dialect.format.type == "fixed_width":
            # places are always there; what tells is whether the lines are of the agreed kind
            meant = cells["ignored_by"].is_null().sum() if dialect.format.only_lines else 0
            if meant:
                yield _Match(name, dialect, landed, cells, float(meant / len(cells)), named=named)
            continue
        # a layout that names the columns itself lands them from any file of the kind
        filled = [c for c in landed.columns if not dialect.format.names_columns or cells[c].is_not_null().any()]
        there = {lookup_key(column) for column in filled}
        found = [column for column in wanted if lookup_key(column) in there]
        share = len(found) / len(wanted) if wanted else 0.0
        if dialect.pivot and dialect.pivot.matching:
            share *= any(re.search(dialect.pivot.matching, column) for column in landed.columns)
        if share >= COLUMNS:
            shown = [] if dialect.format.type == "mscons" or dialect.format.names_columns else found
            yield _Match(name, dialect, landed, cells, share, shown, named)


def _period_in(contract: Contract, dialect: Dialect, cells: pl.DataFrame) -> str:
    """The period most rows lie in; empty where the content does not say."""
    spec = dialect.columns.get(contract.period_field or "")
    if spec is None or not spec.sources or contract.period_field is None:
        return ""
    by_key = {lookup_key(name): name for name in cells.columns}
    columns = [by_key[lookup_key(source)] for source in spec.sources if lookup_key(source) in by_key]
    if len(columns) != len(spec.sources):
        return ""
    rows = cells.filter(pl.col("ignored_by").is_null()).select(columns).iter_rows()
    kind = contract.by_name[contract.period_field].type
    told = Counter(
        at for row in rows if all(row) if (at := _period_of(contract, dialect, spec, kind, " ".join(row).strip()))
    )
    if not told:
        return ""
    [(best, count)] = told.most_common(1)
    return best if count >= MOST_OF_THEM * told.total() else ""


def _period_of(contract: Contract, dialect: Dialect, spec: Column, kind: str, text: str) -> str | None:
    try:
        if kind in ("integer", "string"):
            return str(read_period(text)) if read_period(text).interval == contract.interval else None
        formats = spec.formats or (dialect.dates if kind == "date" else dialect.times)
        day = next((at for shape in formats if (at := _parsed(text, shape, spec, dialect, contract))), None)
        return str(period_of(day, contract.interval)) if day else None
    except (ValueError, OverflowError):
        return None


def _parsed(text: str, shape: str, spec: Column, dialect: Dialect, contract: Contract) -> date | None:
    try:
        at = datetime.fromisoformat(text) if shape == "iso" else datetime.strptime(text, shape)
    except ValueError:
        return None
    if spec.label == "end" and spec.interval:
        at -= timedelta(minutes=interval_minutes(spec.interval))
    if at.tzinfo is not None:
        at = at.astimezone(ZoneInfo(contract.period_zone))
    return at.date()


def _said(key: str, **facts: Any) -> Said:
    return messages.both(f"recognised.{key}", facts)
