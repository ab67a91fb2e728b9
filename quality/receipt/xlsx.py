"""The receipt as a workbook: the supplier's own one with marks, or the rows to mend.

Nothing that was delivered may act when the workbook is opened: formulas become their results, links go, and text that
a spreadsheet could take for a formula gets an apostrophe in front. Amounts of work and memory are bounded here,
because a receipt must not cost more than judging did.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq
from openpyxl import Workbook, load_workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import Cell
from openpyxl.comments import Comment
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from quality import messages
from quality.messages import LANGUAGES
from quality.receipt.files import replaced
from quality.verdict import Example, Verdict
from storage.readers.base import PROVENANCE

if TYPE_CHECKING:
    from quality.receipt import Sent

#: Lines shown at most; beyond that nobody mends by hand.
LINES: Final = 10_000
#: Above one of these the supplier's own workbook is not opened again: openpyxl holds every cell in memory, and reads
#: and writes some 30,000 cells a second.
OWN_BYTES: Final = 10 * 1024**2
OWN_UNPACKED_BYTES: Final = 50 * 1024**2
OWN_ROWS: Final = 50_000
OWN_CELLS: Final = 150_000
#: Comments in one workbook; a comment costs as much as ten cells, and the status column tells every place anyway.
COMMENTS: Final = 1_000
#: Characters a cell can hold, and what a status needs.
CELL_LENGTH: Final = 32_767
STATUS_LENGTH: Final = 1_000
COLUMNS: Final = 16_384

_HEADER_WITHIN: Final = 8
_NOT_IN_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_FORMULA_START: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
#: A signed number or a dash alone means nothing to a spreadsheet but itself.
_PLAIN: Final = re.compile(r"[+-]?\d[\d.,]*%?|[-–—]+")
_PLAIN_REFERENCE: Final = re.compile(r"('[^'\[\]|]+'|[\w.]+)!\$?[A-Z]{1,3}\$?\d+(:\$?[A-Z]{1,3}\$?\d+)?")
_HELD: Final = PatternFill("solid", fgColor="F8CBAD")
_WARNED: Final = PatternFill("solid", fgColor="FFF2CC")
_BOLD: Final = Font(bold=True)
_WRAPPED: Final = Alignment(wrap_text=True, vertical="top")

Place = tuple[str | None, int]


@dataclass
class _Line:
    """What is wrong with one delivered line."""

    held: bool = False
    marks: list[Mapping[str, Any]] = field(default_factory=list)


def write(document: Mapping[str, Any], verdict: Verdict, sent: Sent, to: Path) -> Path | None:
    """Write the workbook to `to`, or give None where no place is marked.

    Args:
        document: The receipt document of the same verdict.
        verdict: What became of the delivery.
        sent: Where the bytes, the landed cells and the marks are.
        to: The file to replace.
    """
    if sent.marks is None or sent.landed is None or not sent.marks.exists() or not sent.landed.exists():
        return None
    lines = _lines(sent.marks)
    if not lines:
        return None
    words = _Words(verdict)
    with replaced(to) as path:
        if sent.format != "xlsx" or not _own_workbook(document, verdict, sent, lines, words, path):
            _rows_to_mend(document, verdict, sent, lines, words, path)
    return to


def harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula and that XML can hold.

    What begins with `= + - @` or a control character gets an apostrophe in front, unless it is a plain signed number or
    a dash, which stay as delivered.
    """
    clean = _NOT_IN_XML.sub("�", text)
    if clean.lstrip(" \u00a0").startswith(_FORMULA_START) and not _PLAIN.fullmatch(clean.strip(" \u00a0")):
        clean = "'" + clean
    return clean[:CELL_LENGTH]


class _Words:
    """Short texts for places, from the findings of a verdict."""

    def __init__(self, verdict: Verdict) -> None:
        self._facts = {finding.rule: finding.facts for finding in verdict.findings}
        self._examples: dict[tuple[str, Any, Any], Example] = {
            (finding.rule, example.line, example.column): example
            for finding in verdict.findings
            for example in finding.examples
        }

    def note(self, mark: Mapping[str, Any], language: messages.Language) -> str:
        """What is wrong at one place: note, what was expected, what may have been meant."""
        rule = mark["rule"]
        said = messages.cell_note(rule, self._facts.get(rule, {}), mark["value"], language)
        example = self._examples.get((rule, mark["delivered_line"], mark["column"]))
        expected = example.expected.get(language, "") if example else ""
        if expected:
            said += f"; {messages.text('label.expected', language)}: {expected}"
        if example and (near := [text for text in example.suggestions if text not in expected]):
            said += f"; {messages.text('label.suggestions', language)}: {', '.join(near)}?"
        return said

    def status(self, line: _Line) -> str:
        """What became of a line and why, in German."""
        told: dict[str, None] = {}
        for mark in line.marks:
            where = f" ({messages.text('label.column', 'de')} „{mark['column']}“)" if mark["column"] else ""
            told[self.note(mark, "de") + where] = None
        key = "workbook.held_back" if line.held else "workbook.with_warning"
        return messages.text(key, "de", {"notes": "; ".join(told)})[:STATUS_LENGTH]

    def comment(self, marks: Sequence[Mapping[str, Any]]) -> str:
        """The same place in German and English."""
        return "\n".join(
            f"{messages.text('severity.' + mark['severity'], language)}: {self.note(mark, language)}"
            for language in LANGUAGES
            for mark in marks
        )


# --- the supplier's own workbook ---


def _own_workbook(
    document: Mapping[str, Any], verdict: Verdict, sent: Sent, lines: Mapping[Place, _Line], words: _Words, to: Path
) -> bool:
    """Write the supplier's workbook with marks; False where it is too large or cannot be opened and saved."""
    assert sent.landed is not None
    if sent.source is None or not sent.source.exists() or _too_large(sent.source, sent.landed):
        return False
    try:
        with sent.source.open("rb") as file:
            workbook = load_workbook(file, data_only=True, keep_links=False)
        landed = pl.read_parquet(sent.landed, columns=[*PROVENANCE[1:]])
        names = [name for name in pl.read_parquet_schema(sent.landed) if name not in PROVENANCE]
        title = next(iter(landed["delivered_sheet"].drop_nulls()), None)
        sheet = workbook[title] if title in workbook.sheetnames else workbook.worksheets[0]
        if not isinstance(sheet, Worksheet) or landed.is_empty():
            return False
        _disarm(workbook)
        unmarked = _unmarked(verdict, sent.marks, lines)
        if not _mark_sheet(sheet, landed, names, lines, words, unmarked):
            return False
        _add_receipt_sheet(workbook, document, own=True, notes=_notes(own=True))
        workbook.save(to)
    except Exception:
        # openpyxl raises whatever its parts raise on odd files (KeyError, TypeError, struct.error, …); the rows to mend
        # are a full answer too, and a receipt must come
        return False
    return True


def _too_large(source: Path, landed: Path) -> bool:
    size = pq.read_metadata(landed)
    cells = size.num_rows * (size.num_columns - len(PROVENANCE))
    if source.stat().st_size > OWN_BYTES or size.num_rows > OWN_ROWS or cells > OWN_CELLS:
        return True
    try:
        with zipfile.ZipFile(source) as archive:
            return sum(entry.file_size for entry in archive.infolist()) > OWN_UNPACKED_BYTES
    except zipfile.BadZipFile:
        return True


def _disarm(workbook: Workbook) -> None:
    """Take out what could act: formulas left, links, names and checks that reach beyond the workbook."""
    _drop_names(workbook.defined_names)
    sheets: Sequence[Any] = workbook.worksheets
    for sheet in sheets:
        # the cells that exist; going through the used range would create every cell up to an absurd corner
        for cell in list(sheet._cells.values()):
            if isinstance(cell, Cell):
                _disarm_cell(cell)
        sheet._hyperlinks = []
        sheet._pivots = []
        _drop_names(sheet.defined_names)
        for name in [name for name in sheet.tables if _unsafe_table(sheet.tables[name])]:
            del sheet.tables[name]
        checks = sheet.data_validations
        checks.dataValidation = [
            check for check in checks.dataValidation if not _reaches_out((check.formula1, check.formula2))
        ]
        for formats in list(sheet.conditional_formatting):
            if any(_reaches_out(rule.formula or ()) for rule in formats.rules):
                del sheet.conditional_formatting[formats.sqref]


def _disarm_cell(cell: Cell) -> None:
    if cell.hyperlink:
        cell.hyperlink = None
    if isinstance(cell.value, str):
        safe = harmless(cell.value)
        if safe != cell.value or cell.data_type == "f":
            cell.value = safe
            cell.data_type = "s"
    elif cell.data_type == "f":
        cell.value = None
    if cell.comment:
        cell.comment = Comment(_NOT_IN_XML.sub("�", cell.comment.text), cell.comment.author or "")


def _drop_names(names: Any) -> None:
    """Forget every defined name that is more than a place in this workbook."""
    for name in list(names):
        if not _PLAIN_REFERENCE.fullmatch(names[name].attr_text or ""):
            del names[name]


def _reaches_out(formulas: Iterable[str | None]) -> bool:
    return any(mark in formula for formula in formulas if formula for mark in "|[(")


def _unsafe_table(table: Any) -> bool:
    for column in table.tableColumns:
        column.calculatedColumnFormula = column.totalsRowFormula = None
    return any(harmless(column.name) != column.name for column in table.tableColumns)


def _mark_sheet(
    sheet: Worksheet,
    landed: pl.DataFrame,
    names: Sequence[str],
    lines: Mapping[Place, _Line],
    words: _Words,
    unmarked: str,
) -> bool:
    header = messages.text("workbook.status_header", "de")
    filled = [cell for cell in sheet._cells.values() if cell.value is not None]
    before = [cell for cell in filled if cell.value == header]
    status_column = before[0].column if before else max((cell.column for cell in filled), default=0) + 1
    if status_column > COLUMNS:
        return False
    first = landed["delivered_line"].min()
    header_row, offset = _header_place(sheet, names, int(str(first)), status_column)
    if header_row:
        head = sheet.cell(header_row, status_column, header)
        head.font = copy(_BOLD)
    places = {name: offset + i for i, name in enumerate(names, start=1)}
    comments = 0
    by_line = {line: marked for (_, line), marked in lines.items()}
    for line, _sheet, ignored_by in landed.iter_rows():
        marked = by_line.get(line)
        status = sheet.cell(line, status_column)
        if isinstance(status, Cell):
            status.value = harmless(_line_status(marked, ignored_by, words, unmarked))
            if marked:
                status.fill = _HELD if marked.held else _WARNED
        if marked:
            comments += _mark_cells(sheet, line, marked, places, words if comments < COMMENTS else None)
    sheet.column_dimensions[get_column_letter(status_column)].width = 60
    return True


def _line_status(marked: _Line | None, ignored_by: str | None, words: _Words, unmarked: str) -> str:
    if marked:
        return words.status(marked)
    return messages.ignored_note(ignored_by, "de") if ignored_by else unmarked


def _unmarked(verdict: Verdict, marks: Path | None, lines: Mapping[Place, _Line]) -> str:
    """What is true of a line without marks: it is fine only where every broken place is marked."""
    if verdict.state == "rejected":
        return messages.text("workbook.file_rejected", "de")
    assert marks is not None
    marked = dict(pl.scan_parquet(marks).group_by("rule").len().collect().iter_rows())
    left_out = any(finding.rows > marked.get(finding.rule, finding.rows) for finding in verdict.findings)
    return messages.text("workbook.not_listed" if left_out or len(lines) >= LINES else "workbook.fine", "de")


def _mark_cells(sheet: Worksheet, line: int, marked: _Line, places: Mapping[str, int], words: _Words | None) -> int:
    """Fill the faulty cells of a line and comment on them where there are words; gives the number of cells."""
    by_column: dict[str, list[Mapping[str, Any]]] = {}
    for mark in marked.marks:
        if mark["column"] in places:
            by_column.setdefault(mark["column"], []).append(mark)
    for name, marks in by_column.items():
        cell = sheet.cell(line, places[name])
        if not isinstance(cell, Cell):
            # inside merged cells only the first can carry a mark; the status column tells the rest
            continue
        cell.fill = _HELD if marked.held else _WARNED
        if words:
            own = f"{cell.comment.text}\n\n" if cell.comment else ""
            said = _NOT_IN_XML.sub("�", own + words.comment(marks))[:STATUS_LENGTH]
            cell.comment = Comment(said, "Verbund", width=340, height=60 + 18 * (len(said) // 45 + said.count("\n")))
    return len(by_column)


def _header_place(sheet: Worksheet, names: Sequence[str], first: int, end: int) -> tuple[int, int]:
    """Row of the column names (0 where there is none) and number of columns left of the first delivered one."""
    best = (0, first - 1, 0)
    for row in range(first - 1, max(0, first - 1 - _HEADER_WITHIN), -1):
        shown = [_squeezed(cell.value) if (cell := sheet._cells.get((row, i))) else "" for i in range(1, end)]
        for offset in range(max(1, len(shown) - len(names) + 1)):
            hits = sum(_same_name(name, text) for name, text in zip(names, shown[offset:], strict=False))
            if hits > best[0]:
                best = (hits, row, offset)
    return best[1], best[2]


def _squeezed(value: Any) -> str:
    return " ".join(str(value).split()) if value is not None else ""


def _same_name(name: str, shown: str) -> bool:
    shown = shown.removeprefix("'")
    return bool(shown) and (name == shown or name.endswith(f" / {shown}") or re.sub(r"_\d+$", "", name) == shown)


# --- the rows to mend ---


def _rows_to_mend(
    document: Mapping[str, Any], verdict: Verdict, sent: Sent, lines: Mapping[Place, _Line], words: _Words, to: Path
) -> None:
    assert sent.landed is not None
    workbook = Workbook(write_only=True)
    title = messages.text("workbook.sheet_mend", "de")
    sheet = workbook.create_sheet(title)
    delivered = _landed_rows(sent.landed, lines)
    # one column each for line, sheet and status
    names = [name for name in delivered.columns if name not in PROVENANCE][: COLUMNS - 3]
    has_sheet = any(place[0] for place in lines)
    word = {"mscons": "label.segment", "json": "label.record", "geo": "label.record"}.get(
        sent.format or "", "workbook.line"
    )
    heads = [messages.text(word, "de"), *([messages.text("label.sheet", "de")] if has_sheet else []), *names]
    heads.append(messages.text("workbook.status_header", "de"))
    sheet.freeze_panes = "A2"
    for index, head in enumerate(heads, start=1):
        width = 12 if index == 1 else 60 if index == len(heads) else min(40, max(12, len(head) + 2))
        sheet.column_dimensions[get_column_letter(index)].width = width
    sheet.append([_cell(sheet, harmless(head), bold=True) for head in heads])
    for values in _mended(sheet, delivered, names, lines, words, has_sheet=has_sheet):
        sheet.append(values)
    concerned = max(len(lines), verdict.rows.quarantined + verdict.rows.accepted_with_warning)
    notes = _notes(
        own=False, sheet=title, shown=len(lines), concerned=concerned, own_too_large=sent.format == "xlsx" and sent.source is not None,
        send_back=sent.takes_mended_rows,
    )  # fmt: skip
    _add_receipt_sheet(workbook, document, own=False, notes=notes)
    workbook.save(to)


def _mended(
    sheet: Any,
    delivered: pl.DataFrame,
    names: Sequence[str],
    lines: Mapping[Place, _Line],
    words: _Words,
    *,
    has_sheet: bool,
) -> Iterator[list[Any]]:
    # a row is written as soon as it is appended, so the same few cells carry every value
    plain, held, warned = (
        {name: _cell(sheet, None, fill=fill, as_text=True) for name in names} for fill in (None, _HELD, _WARNED)
    )
    for row in delivered.iter_rows(named=True):
        place = (row["delivered_sheet"], row["delivered_line"])
        marked = lines[place]
        broken = {mark["column"] for mark in marked.marks}
        values: list[Any] = [place[1]]
        if has_sheet:
            values.append(harmless(place[0] or ""))
        for name in names:
            cell = (held if marked.held else warned)[name] if name in broken else plain[name]
            cell.value = harmless(row[name]) if row[name] is not None else None
            values.append(cell)
        values.append(harmless(words.status(marked)))
        yield values


def _landed_rows(landed: Path, lines: Mapping[Place, _Line]) -> pl.DataFrame:
    """The landed rows of these lines, in their order."""
    wanted = pl.DataFrame(
        {"delivered_sheet": [place[0] for place in lines], "delivered_line": [place[1] for place in lines]},
        schema={"delivered_sheet": pl.String, "delivered_line": pl.Int64},
    )
    return (
        pl.scan_parquet(landed)
        # a plain predicate keeps the text of all other lines from being decoded; a join alone does not
        .filter(pl.col("delivered_line").is_in(wanted["delivered_line"].implode()))
        .join(wanted.lazy(), on=["delivered_sheet", "delivered_line"], how="semi", nulls_equal=True)
        .sort("delivered_row")
        .head(LINES)
        .collect(engine="streaming" if pq.read_metadata(landed).num_rows > OWN_ROWS else "in-memory")
    )


def _lines(marks: Path) -> dict[Place, _Line]:
    """What is wrong, line by line: at most `LINES` lines, those held back first, in the order of the file.

    Reads in batches and keeps only lines that will be shown, so that a million broken rows cost no more memory.
    """
    held: dict[Place, _Line] = {}
    warned: dict[Place, _Line] = {}
    for batch in pq.ParquetFile(marks).iter_batches(batch_size=65_536):
        # what is only for information leaves nothing to mend
        batch = batch.filter(pc.not_equal(batch["severity"], "info"))
        is_held = pc.equal(batch["row_state"], "quarantined")
        for kept, chosen in ((held, is_held), (warned, pc.invert(is_held))):
            if len(kept) >= LINES:
                last = max(place[1] for place in kept)
                chosen = pc.and_(chosen, pc.less_equal(batch["delivered_line"], last))
            for mark in batch.filter(chosen).to_pylist():
                place = (mark["delivered_sheet"], mark["delivered_line"])
                if mark["delivered_line"] is None or (place not in kept and len(kept) >= LINES):
                    continue
                kept.setdefault(place, _Line(kept is held)).marks.append(mark)
    for place, line in warned.items():
        if place in held:
            held[place].marks += line.marks
        elif len(held) < LINES:
            held[place] = line
    return dict(sorted(held.items(), key=lambda item: (item[0][0] or "", item[0][1])))


# --- the sheet with the summary ---


def _notes(
    *,
    own: bool,
    sheet: str = "",
    shown: int = 0,
    concerned: int = 0,
    own_too_large: bool = False,
    send_back: bool = False,
) -> list[tuple[str, dict[str, Any]]]:
    if own:
        header = messages.text("workbook.status_header", "de")
        own_notes: list[tuple[str, dict[str, Any]]] = [("workbook.note_own", {"header": header, "most": COMMENTS})]
        return [*own_notes, ("workbook.note_formulas", {}), ("workbook.note_own_back", {})]
    notes: list[tuple[str, dict[str, Any]]] = [("workbook.note_mend", {"sheet": sheet})]
    if concerned > shown:
        notes.append(("workbook.note_capped", {"count": concerned, "most": shown}))
    if own_too_large:
        notes.append(("workbook.note_own_too_large", {}))
    return [
        *notes,
        ("workbook.note_apostrophe", {}),
        ("workbook.note_send_back" if send_back else "workbook.note_resend", {}),
    ]


def _add_receipt_sheet(
    workbook: Workbook, document: Mapping[str, Any], *, own: bool, notes: Sequence[tuple[str, Mapping[str, Any]]]
) -> None:
    title, heading = messages.text("workbook.sheet_receipt", "de"), messages.text("workbook.receipt_title", "de")
    if own and title in workbook.sheetnames:
        # a marked workbook that was mended and sent again brings our sheet back
        if workbook[title]["A1"].value == heading:
            del workbook[title]
        else:
            title = heading
    # last, so that the first sheet stays the supplier's
    sheet = workbook.create_sheet(title)
    for letter, width in (("A", 26), ("B", 90), ("C", 12), ("D", 90)):
        sheet.column_dimensions[letter].width = width
    for index, row in enumerate(_summary_rows(document, heading, notes)):
        bold = index == 0 or len(row) == 1
        sheet.append([_cell(sheet, value, bold=bold or (i == 0), wrapped=True) for i, value in enumerate(row)])


def _summary_rows(
    document: Mapping[str, Any], heading: str, notes: Sequence[tuple[str, Mapping[str, Any]]]
) -> Iterator[list[Any]]:
    yield [heading]
    for language in LANGUAGES:

        def word(key: str, language: messages.Language = language) -> str:
            return messages.text(key, language)

        if document["synthetic"]:
            yield [word("label.synthetic")]
        yield [word("state." + document["state"]), document["summary"][language]]
        yield [word("label.todo"), document["todo"][language]]
        yield [word("label.supplier"), document["supplier_name"]]
        yield [word("label.dataset"), f"{document['dataset_title'].get(language, '')} {document['period']}"]
        yield [word("label.file"), document["file_name"]]
        yield [word("label.delivery"), document["delivery"]]
        for name, count in document["rows"].items():
            yield [word("label." + name), count]
        for key, facts in notes:
            yield ["", messages.text(key, language, facts, facts.get("most", 1))]
        if document["findings"]:
            yield [word("title.findings")]
        for finding in document["findings"]:
            told = [word("severity." + finding["severity"]), finding["message"][language], finding["rows"]]
            yield [*told, finding["remedy"][language]]
        yield []


def _cell(
    sheet: Any,
    value: Any,
    *,
    bold: bool = False,
    wrapped: bool = False,
    fill: PatternFill | None = None,
    as_text: bool = False,
) -> Any:
    cell = WriteOnlyCell(sheet, harmless(value) if isinstance(value, str) else value)
    if bold:
        cell.font = _BOLD
    if wrapped:
        cell.alignment = _WRAPPED
    if fill:
        cell.fill = fill
    if as_text:
        cell.number_format = "@"
    return cell
