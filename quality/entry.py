"""Tables entered by hand: what a form asks for, the lines it begins with, and the file it becomes.

What is entered is handed in as a CSV under the contract's own titles (`quality.forms.table_dialect`), and judged like every file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quality.contract import Contract
from quality.desk import Desk
from quality.errors import Refused
from quality.forms import TABLE_HEADER_ROW, table_dialect, written_table
from quality.starting import Last, last_delivered
from quality.template import TemplateColumn, columns_to_fill_in
from storage import clock
from storage.paths import Slot
from storage.periods import EXAMPLES
from storage.periods import period as read_period

#: More lines, or more cells, are no work for a form.
MOST_ROWS, MOST_CELLS = 100, 800
LONGEST_CELL = 500

Row = Mapping[str, str]


def can_be_entered(contract: Contract) -> bool:
    """Whether a dataset is small enough for people to enter: moments of measuring come by the thousand."""
    return not contract.is_internal and not any(f.type == "timestamp" for f in contract.fields)


@dataclass(frozen=True)
class EntryForm:
    """What a form asks for.

    Attributes:
        slot: For which duty.
        contract: What is promised.
        columns: One for each field, in the contract's order, with help and choices.
        last: What was delivered the last time.
    """

    slot: Slot
    contract: Contract
    columns: tuple[TemplateColumn, ...]
    last: Last | None = None
    _before: Mapping[tuple[str, ...], Row] = field(default_factory=dict)

    @property
    def most_rows(self) -> int:
        """So many lines fit the form."""
        return min(MOST_ROWS, MOST_CELLS // len(self.columns))

    @property
    def settled(self) -> dict[str, str]:
        """What the period says for every line."""
        f = self.contract.by_name.get(self.contract.period_field or "")
        return {f.name: self.slot.period} if f and f.type == "integer" and self.contract.interval == "yearly" else {}

    def first_rows(self) -> list[dict[str, str]]:
        """The lines that come again, without figures; none where nothing was delivered yet."""
        rows = [dict(zip(self._again, key, strict=True)) | self.settled for key in self._before]
        return rows[: self.most_rows]

    def before(self, row: Row) -> Row:
        """The figures of the last time for a line, in the units the form asks for."""
        return self._before.get(tuple(row.get(name, "") for name in self._again), {})

    @property
    def _again(self) -> tuple[str, ...]:
        return tuple(column.field for column in self.columns if column.comes_again)

    def is_blank(self, row: Row) -> bool:
        """Whether nobody entered anything in a line."""
        return not any(text for name, text in row.items() if name not in self.settled)

    def cleaned(self, row: Row) -> dict[str, str]:
        """One line with the fields of the contract only, each in one line of text."""
        return {c.field: " ".join(row.get(c.field, "").split())[:LONGEST_CELL] for c in self.columns}

    def file(self, rows: Sequence[Row]) -> bytes:
        """The lines as the file that is handed in."""
        return written_table(self.contract, rows)

    @property
    def file_name(self) -> str:
        title = re.sub(r"\W+", "-", self.contract.title.get("de", self.contract.dataset)).strip("-")
        return f"{title}_{self.slot.period}.csv"

    def notes(self, receipt: Mapping[str, Any], places: Sequence[int]) -> Notes:
        """What a receipt says of single cells, and what of the table as a whole.

        Args:
            receipt: Of the file these lines became.
            places: Where each of its lines stands in the form.
        """
        by_title = self._fields_by_title()
        cells: dict[tuple[int, str], list[Note]] = {}
        whole = []
        for finding in receipt.get("findings", ()):
            shown = [_in_form(example, places) for example in finding.get("examples") or ()]
            if finding["rows"] > len(shown) or not all(example.get("line") for example in shown):
                # said once where it is not said of every line
                whole.append({**finding, "examples": shown})
                continue
            for example in shown:
                place = (example["line"] - 1, by_title.get(example.get("column") or "", ""))
                note = Note(finding["severity"], finding["message"], finding["remedy"], example)
                cells.setdefault(place, []).append(note)
        return Notes(cells, whole)

    def _fields_by_title(self) -> dict[str, str]:
        return {" ".join(spec.sources): name for name, spec in table_dialect(self.contract).columns.items()}


def _in_form(example: Mapping[str, Any], places: Sequence[int]) -> dict[str, Any]:
    """A place with the number its line has in the form, which counts without the lines above the titles."""
    at = (example.get("line") or 0) - TABLE_HEADER_ROW - 1
    return {**example, "line": places[at] + 1 if 0 <= at < len(places) else None}


@dataclass(frozen=True)
class Note:
    """What is wrong with one cell, or one line."""

    severity: str
    message: Mapping[str, str]
    remedy: Mapping[str, str]
    example: Mapping[str, Any]


@dataclass(frozen=True)
class Notes:
    """What a check found: by line and field (empty: the line as a whole), and in the table as a whole."""

    cells: Mapping[tuple[int, str], Sequence[Note]] = field(default_factory=dict)
    whole: Sequence[Mapping[str, Any]] = ()

    def of_row(self, place: int) -> list[Note]:
        """Everything that is said of one line, each thing once."""
        found = [note for (row, _), notes in self.cells.items() if row == place for note in notes]
        # where a value cannot be read, what follows from that is not told as well
        broken = {note.example.get("column") for note in found if note.severity in ("error", "fatal")}
        found = [n for n in found if n.severity in ("error", "fatal") or n.example.get("column") not in broken]
        return list({(note.severity, note.message.get("de", "")): note for note in found}.values())

    def of_cell(self, place: int, name: str) -> list[Note]:
        """What is said of one cell."""
        return list(self.cells.get((place, name), ()))


def entry_form(desk: Desk, supplier: str, dataset: str, period: str) -> EntryForm:
    """The form for one duty.

    Raises:
        Refused: There is no such supplier or dataset, nobody enters it by hand, or the period is none of the supplier's.
    """
    pack, contract = desk.pack, desk.pack.contracts.get(dataset)
    owed = [name for name in pack.datasets_of(supplier) if can_be_entered(pack.contracts[name])]
    if contract is None or dataset not in owed:
        raise Refused(f"a dataset that can be entered by hand ({', '.join(owed)})", dataset)
    try:
        at = read_period(period)
    except ValueError:
        raise Refused(f"a period like {EXAMPLES[contract.interval]}", period) from None
    if at.interval != contract.interval or pack.mandate(supplier, dataset, at.start, at.end) is None:
        raise Refused(f"a period like {EXAMPLES[contract.interval]} in which {supplier} delivers {dataset}", period)
    columns = columns_to_fill_in(pack, contract, table_dialect(contract), supplier, at, clock.now().date())
    last = last_delivered(desk, supplier, dataset, at)
    again = tuple(column.field for column in columns if column.comes_again)
    return EntryForm(
        Slot(supplier, dataset, period),
        contract,
        columns,
        last,
        _lines_before(last, columns, again, contract.period_field),
    )


def _lines_before(
    last: Last | None, columns: Sequence[TemplateColumn], again: tuple[str, ...], settled: str | None
) -> dict[tuple[str, ...], Row]:
    lines: dict[tuple[str, ...], Row] = {}
    for line in last.lines if last else ():
        key = tuple(line.get(name, "") for name in again)
        told = {
            column.field: line.get(column.field, "")
            for column in columns
            if column.cells in ("number", "integer")
            and column.field != settled
            and last
            and last.units.get(column.field) == column.unit
        }
        # several figures for one line tell nothing of any of them
        lines[key] = {} if key in lines else told
    return lines
