"""Forms of our own: templates we gave out and tables entered by hand. They read for everybody who owes their dataset.

A template carries a mark in its properties: what it is for, the dialect it reads by, and what its example row says. What
is entered in the browser is a CSV under the contract's own titles. All else reads by a dialect of the mandate.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quality.codelists import lookup_key
from quality.contract import Contract
from quality.dialect import Column, Dialect
from storage.readers import FormatSpec, Landed
from storage.readers.base import BROKEN_ARCHIVE, HeaderSpec

if TYPE_CHECKING:
    from openpyxl import Workbook

#: Row of the column names in a contract's own template: title and help stand above them, so that no help is read as data.
HEADER_ROW: Final = 3
DATA_SHEET: Final = "Daten"
#: Row of the titles in a table entered by hand; the first line says what it is.
TABLE_HEADER_ROW: Final = 2
#: Rule of the row that shows how to fill in a template.
EXAMPLE: Final = "rows.template_example"
#: Rule of the rows of a template that nobody filled in: what comes again stands there, and no figure.
UNFILLED: Final = "rows.template_unfilled"
#: Units whose code is an English word, as they stand in the names of columns: these are read, so no catalogue has them.
UNITS: Final = {"persons": "Personen", "1000 persons": "1000 Personen"}

_PROPERTY: Final = "Verbund"
_PROPERTIES: Final = "docProps/custom.xml"
_MARK: Final = re.compile(
    rb"template 1 dataset=([a-z0-9_]{3,61}) dialect=([a-z0-9][a-z0-9_.-]{2,90}) supplier=([a-z0-9-]*) "
    rb"period=([0-9Q-]{4,10}) example=([0-9a-f]{0,64})"
)
_MOST_PROPERTIES: Final = 64 * 1024
#: The example stands on top; whoever sorts a larger table than this takes it out.
_EXAMPLE_WITHIN: Final = 5_000
_HEAD: Final = 1024


@dataclass(frozen=True)
class Mark:
    """What a template says of itself. `example` is the sum of its example row."""

    dataset: str
    dialect: str
    supplier: str
    period: str
    example: str = ""

    def put(self, workbook: Workbook) -> None:
        """Write it into a workbook's properties, which office programs keep."""
        from openpyxl.packaging.custom import StringProperty  # judges need none of it

        told = f"template 1 dataset={self.dataset} dialect={self.dialect} supplier={self.supplier} "
        told += f"period={self.period} example={self.example}"
        properties: Any = workbook.custom_doc_props  # type: ignore[attr-defined]  # the stubs do not know it
        if _PROPERTY in properties.names:
            del properties[_PROPERTY]
        properties.append(StringProperty(name=_PROPERTY, value=told))


def mark_of(source: Path) -> Mark | None:
    """The mark of a template we gave out; None for every other file, whatever is wrong with it."""
    with source.open("rb") as file:
        if file.read(2) != b"PK":
            return None
    try:
        with zipfile.ZipFile(source) as archive:
            if archive.getinfo(_PROPERTIES).file_size > _MOST_PROPERTIES:
                return None
            found = _MARK.search(archive.read(_PROPERTIES))
    except BROKEN_ARCHIVE:
        return None
    return Mark(*(part.decode() for part in found.groups())) if found else None


def standard_dialect(contract: Contract, name: str | None = None) -> Dialect:
    """The dialect a contract's own template reads by: German titles in row 3 of the sheet "Daten", German marks."""
    titles: dict[str, str] = {}
    for f in contract.fields:
        title = " ".join(f.title.get("de", f.name).split())
        title += f" [{UNITS.get(f.unit, f.unit)}]" if f.unit else ""
        # two fields may share a title; then the field's own name tells them apart
        known = {other.casefold() for other in titles.values()}
        titles[f.name] = f"{title} ({f.name})" if title.casefold() in known else title
    return Dialect(
        id=name or f"{contract.dataset.replace('_', '-')}-vorlage",
        dataset=contract.dataset,
        note="The contract's own template, see `verbund template`.",
        format=FormatSpec(type="xlsx", sheet=DATA_SHEET, header=HeaderSpec(row=HEADER_ROW)),
        decimal=",",
        thousands=".",
        null=("-", "k.A."),
        dates=("%d.%m.%Y", "%Y-%m-%d"),
        columns={name: Column.model_validate({"from": title}) for name, title in titles.items()},
    )


def table_dialect(contract: Contract) -> Dialect:
    """The dialect a table entered by hand reads by: a line that says what it is, then the same titles, as CSV."""
    standard = standard_dialect(contract, f"{contract.dataset.replace('_', '-')}-eingabe")
    spec = FormatSpec(type="csv", encoding="utf-8", delimiter=";", header=HeaderSpec(row=TABLE_HEADER_ROW))
    return standard.model_copy(update={"format": spec})


def as_workbook(dialect: Dialect) -> Dialect | None:
    """A dialect with its columns, words and units in a workbook; None where its columns cannot be written down beforehand."""
    if dialect.pivot and dialect.pivot.matching:
        return None
    if dialect.format.type == "xlsx":
        return dialect
    header = dialect.format.header
    if dialect.format.type != "csv" or not header.rows or any(c.file_name for c in dialect.columns.values()):
        return None
    spec = FormatSpec(type="xlsx", sheet=DATA_SHEET, header=HeaderSpec(row=HEADER_ROW, rows=header.rows))
    return dialect.model_copy(update={"id": f"{dialect.id}.vorlage", "format": spec, "recognise": None})


def own_forms(contract: Contract, dialects: Iterable[Dialect]) -> Iterator[tuple[Dialect, str | None]]:
    """Every form of ours that is read for a mandate's dialects, with the id of the dialect it was made from.

    None for that id where the contract alone made it.
    """
    for dialect in dialects:
        if (made := as_workbook(dialect)) is not None:
            yield made, dialect.id
    yield standard_dialect(contract), None
    yield table_dialect(contract), None


def form_of(
    contract: Contract, dialects: Sequence[Dialect], source: Path, mark: Mark | None
) -> tuple[Dialect, str | None] | None:
    """The form of ours a file is written in, as `own_forms` gives it; None where it is in none.

    Args:
        contract: Of the dataset it is delivered as.
        dialects: Of the mandate.
        source: The bytes.
        mark: What `mark_of` found in them.
    """
    if mark is not None:
        forms = own_forms(contract, dialects) if mark.dataset == contract.dataset else iter(())
        return next(((form, made) for form, made in forms if form.id == mark.dialect), None)
    with source.open("rb") as file:
        is_table = file.read(_HEAD).startswith(_table_mark(contract))
    return (table_dialect(contract), None) if is_table else None


def _table_mark(contract: Contract) -> bytes:
    return table_line(["Verbund", "Eingabe 1", contract.dataset]).encode()


def table_line(cells: Iterable[str]) -> str:
    """One line of a table entered by hand."""
    text = io.StringIO()
    csv.writer(text, delimiter=";", lineterminator="\n").writerow(list(cells))
    return text.getvalue()


def written_table(contract: Contract, rows: Iterable[Mapping[str, str]]) -> bytes:
    """Rows by field, in the sender's own words, as the table that `table_dialect` reads."""
    dialect = table_dialect(contract)
    lines = [dialect.delivered_columns(), *([row.get(name, "") for name in dialect.columns] for row in rows)]
    return _table_mark(contract) + "".join(map(table_line, lines)).encode()


def example_sum(cells: Mapping[str, str | None]) -> str:
    """The sum a template keeps of its example row, as a reader lands it."""
    told = "\x1f".join(f"{name}={text}" for name, text in sorted(cells.items()) if text)
    return hashlib.sha256(told.encode()).hexdigest()


def figures_of(contract: Contract, dialect: Dialect) -> frozenset[str]:
    """The delivered columns in which something new stands every time: quantities, days and moments, no places or codes."""
    new = [f.name for f in contract.fields if f.type not in ("string", "boolean") and f.name != contract.period_field]
    named = [source for name, spec in dialect.columns.items() if name in new for source in spec.sources]
    return frozenset([*named, *(dialect.pivot.columns if dialect.pivot else ())])


def without_unfilled(landed: Landed, figures: Iterable[str]) -> Landed:
    """A landed template whose rows without any figure are marked as taken out: nobody delivered them.

    Whoever writes a word for "not known" into one of the columns has filled in the row.
    """
    keys = {lookup_key(name) for name in figures}
    there = [name for name in landed.columns if lookup_key(name) in keys]
    if not there:
        return landed
    empty = pl.all_horizontal(pl.col(name).fill_null("").str.strip_chars() == "" for name in there)
    ignored = pl.when(empty & pl.col("ignored_by").is_null()).then(pl.lit(UNFILLED)).otherwise(pl.col("ignored_by"))
    fresh = landed.path.with_suffix(".fresh.parquet")
    pl.scan_parquet(landed.path).with_columns(ignored.alias("ignored_by")).sink_parquet(fresh, compression="zstd")
    fresh.replace(landed.path)
    return landed


def without_example(landed: Landed, mark: Mark) -> Landed:
    """A landed template whose example row is marked as taken out; one that was written over is a row like any other."""
    cells = pl.read_parquet(landed.path, n_rows=_EXAMPLE_WITHIN)
    # what a receipt wrote beside it is no column of the template's
    for place, row in enumerate(cells.select(landed.columns).iter_rows(named=True)):
        if example_sum(row) == mark.example:
            number = cells["delivered_row"][place]
            break
    else:
        return landed
    ignored = pl.when(pl.col("delivered_row") == number).then(pl.lit(EXAMPLE)).otherwise(pl.col("ignored_by"))
    fresh = landed.path.with_suffix(".fresh.parquet")
    pl.scan_parquet(landed.path).with_columns(ignored.alias("ignored_by")).sink_parquet(fresh, compression="zstd")
    fresh.replace(landed.path)
    return landed
