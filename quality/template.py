"""Templates: workbooks that a clerk fills in and that read without a question, because a dialect says how they look.

A supplier gets its own column names and words: in the workbook it agreed on, or in one made from the table it agreed on.
Where nothing of the kind is agreed it gets the contract's own template. What tells a template from another file, and which
dialect it reads by, is in `quality.forms`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import polars as pl
from babel.dates import format_date
from openpyxl import Workbook
from openpyxl.comments import Comment
from openpyxl.styles import Alignment, Font, PatternFill, Protection
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

from quality import messages
from quality.calendar import due_on
from quality.contract import Contract, Field, Texts
from quality.dialect import Column, Dialect
from quality.errors import Refused
from quality.forms import DATA_SHEET, UNITS, Mark, as_workbook, example_sum, figures_of, standard_dialect
from quality.reading import choose_dialect
from quality.receipt.files import replaced
from quality.receipt.xlsx import harmless
from quality.region import Mandate, RegionPack
from storage import clock
from storage.periods import EXAMPLES, Period, period_of, previous
from storage.readers import read
from storage.readers.base import HeaderSpec
from storage.readers.landing import joined_header, unique_names

if TYPE_CHECKING:
    from quality.starting import Last

LAST_ROW: Final = 1_048_576
#: What a workbook may hold: characters of a drop-down written out, of a hint, of a hint's title, of a sheet's name.
INLINE_LENGTH: Final = 250
HINT_LENGTH: Final = 250
HINT_TITLE: Final = 32
SHEET_NAME: Final = 31

_BOLD: Final = Font(bold=True)
_TITLE: Final = Font(bold=True, size=14)
_SMALL: Final = Font(italic=True, size=9, color="555555")
_SHOWN: Final = Font(italic=True, color="7F7F7F")
_HEAD: Final = PatternFill("solid", fgColor="DDEBF7")
_MUST: Final = PatternFill("solid", fgColor="BDD7EE")
_WRAPPED: Final = Alignment(wrap_text=True, vertical="top")
_OPEN: Final = Protection(locked=False)
_CELL_FORMATS: Final[Mapping[str, str]] = {"number": "General", "integer": "0", "date": "DD.MM.YYYY"}
_UMLAUTS: Final = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"}
_STRPTIME: Final = {
    "%d": "day", "%m": "month", "%Y": "year", "%y": "short_year", "%H": "hour", "%M": "minute", "%S": "second",
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """One entry of a drop-down: the word to write, the code it stands for and that code's name."""

    word: str
    code: str
    name: Texts


@dataclass(frozen=True)
class TemplateColumn:
    """One column to fill in, in the sender's words.

    Attributes:
        name: The column's name exactly as the reader looks for it; parts of a header over several rows joined by " / ".
        cells: What its cells hold: number, integer, date (real date cells), or text.
        meaning: What it stands for.
        form: How to write it.
        example: A value that would be taken: text, number or date.
    """

    name: str
    cells: str
    meaning: Texts
    form: Texts
    example: str | int | float | date
    unit: str | None
    required: bool
    choices: tuple[Choice, ...] = ()
    at_least: float | None = None
    field: str = ""
    comes_again: bool = False
    """Whether what stands here comes again from period to period: a place, a kind, a code."""


@dataclass(frozen=True)
class Template:
    """A template that was written.

    Attributes:
        dialect: The dialect a filled template reads by; None for the contract's own template.
        agreed_format: What the supplier has agreed to deliver (csv, xlsx, …); None where no supplier was named.
        first_row: Sheet row of the first line to fill in, under the example.
        file_name: A name under which a filled template is recognised, for `period`.
    """

    path: Path
    dataset: str
    supplier: str | None
    dialect: str | None
    agreed_format: str | None
    sheet: str
    first_row: int
    columns: tuple[TemplateColumn, ...]
    period: str
    file_name: str


@dataclass(frozen=True)
class _Plan:
    """Everything a template says, before it is a workbook."""

    pack: RegionPack
    contract: Contract
    dialect: Dialect
    agreed: Dialect | None
    supplier: str | None
    mandate: Mandate | None
    period: Period
    columns: tuple[TemplateColumn, ...]
    header: tuple[tuple[str, ...], ...]
    """The header's lines, one cell per column."""

    own: bool
    """Whether this is the contract's own template, in nobody's words."""

    due: date | None = None
    """The last day for this supplier, where it is known."""


def write_template(
    pack: RegionPack, dataset: str, supplier: str | None = None, to: Path | None = None, *, today: date | None = None,
    period: Period | None = None, started: Callable[[Period], Last | None] | None = None,
    due: Callable[[Period], date | None] | None = None,
) -> Template:  # fmt: skip
    """Write the template of a dataset, for one supplier or for anybody.

    Args:
        pack: The region.
        dataset: What is to be delivered.
        supplier: Who delivers; a supplier whose agreed dialect is a workbook gets that one.
        to: The file to write; default `Vorlage_<title>[_<supplier>].xlsx` in the working folder.
        today: Decides which mandate and which codes hold.
        period: For which it is; default the last one that has ended.
        started: What was delivered before a period, to start from.
        due: The last day for a period, where it may be another than the contract's.

    Raises:
        Refused: There is no such dataset or supplier, the supplier does not owe it, or the file exists already.
    """
    plan = _planned(pack, dataset, supplier, today or clock.now().date(), period)
    last = started(plan.period) if started else None
    path = to or Path(
        f"Vorlage_{_slug(plan.contract.title.get('de', dataset))}{f'_{supplier}' if supplier else ''}.xlsx"
    )
    if path.exists():
        raise Refused("a file name that is still free (a filled template must not be lost)", str(path))
    plan = replace(plan, due=due(plan.period) if due else None)
    workbook, example_row = _workbook(plan, last)
    mark = Mark(dataset, plan.dialect.id, supplier or "", str(plan.period))
    mark.put(workbook)
    with replaced(path) as temporary:
        workbook.save(temporary)
        # as a reader lands it, whatever a cell looks like
        replace(mark, example=_landed_example(temporary, plan)).put(workbook)
        workbook.save(temporary)
    return Template(
        path=path,
        dataset=dataset,
        supplier=supplier,
        dialect=None if plan.own else plan.dialect.id,
        agreed_format=plan.agreed.format.type if plan.agreed else None,
        sheet=workbook.worksheets[0].title,
        first_row=example_row + 1,
        columns=plan.columns,
        period=str(plan.period),
        file_name=_file_name(plan) or path.name,
    )


def _landed_example(file: Path, plan: _Plan) -> str:
    with tempfile.TemporaryDirectory() as folder:
        landed = read(file, plan.dialect.layout(), Path(folder) / "landed.parquet", name=file.name)
        cells = pl.read_parquet(landed.path, columns=list(landed.columns), n_rows=1)
    return example_sum(cells.row(0, named=True)) if len(cells) else ""


def columns_to_fill_in(
    pack: RegionPack, contract: Contract, dialect: Dialect, supplier: str, period: Period, today: date
) -> tuple[TemplateColumn, ...]:
    """Every column of a dialect with its help and its choices, for one supplier and period."""
    mandate = pack.mandate(supplier, contract.dataset, period.start, period.end)
    return tuple(_columns(pack, contract, dialect, mandate, supplier, period, today))


# --- what the template says ---


def _planned(pack: RegionPack, dataset: str, supplier: str | None, today: date, asked: Period | None = None) -> _Plan:
    contract = pack.contracts.get(dataset)
    if contract is None:
        raise Refused(f"a dataset ({', '.join(sorted(pack.contracts))})", dataset)
    mandate = agreed = None
    if supplier is not None:
        if supplier not in pack.suppliers:
            raise Refused(f"a supplier of {pack.region.name} ({', '.join(sorted(pack.suppliers))})", supplier)
        mandates = pack.mandates_of(supplier, dataset)
        if not mandates:
            raise Refused(f"a dataset that {supplier} owes ({', '.join(pack.datasets_of(supplier))})", dataset)
        begun = [m for m in mandates if m.valid_from <= today]
        mandate = max(begun or mandates, key=lambda m: m.valid_from)
        if asked is not None:
            mandate = pack.mandate(supplier, dataset, asked.start, asked.end) or mandate
        dialects = [pack.dialects[name] for name in mandate.dialects]
        agreed = next((d for d in dialects if d.format.type == "xlsx"), dialects[0])
    if asked is not None and asked.interval != contract.interval:
        raise Refused(f"a period like {EXAMPLES[contract.interval]}", str(asked))
    period = asked or _last_period(contract, mandate, today)
    standard = standard_dialect(contract)
    for dialect in (as_workbook(agreed) if agreed else None, standard):
        if dialect is None:
            continue
        columns = tuple(_columns(pack, contract, dialect, mandate, supplier, period, today))
        placed = _placed(columns, dialect.format.header)
        if placed is not None:
            columns, header = placed
            own = dialect is standard
            return _Plan(pack, contract, dialect, agreed, supplier, mandate, period, columns, header, own)
    raise AssertionError("the contract's own template can always be written")  # pragma: no cover


def _last_period(contract: Contract, mandate: Mandate | None, today: date) -> Period:
    """The last period that has ended, or the mandate's last where that is over."""
    last = previous(period_of(today, contract.interval))
    if mandate is not None:
        last_day = mandate.valid_until - timedelta(days=1)
        if last.start > last_day:
            last = period_of(last_day, contract.interval)
        if last.end <= mandate.valid_from:
            last = period_of(mandate.valid_from, contract.interval)
    return last


def _columns(
    pack: RegionPack, contract: Contract, dialect: Dialect, mandate: Mandate | None, supplier: str | None,
    period: Period, today: date,
) -> Iterator[TemplateColumn]:  # fmt: skip
    """Every column a file in this dialect must have, in the dialect's order."""
    seen: dict[str, list[TemplateColumn]] = {}
    for name, spec in dialect.columns.items():
        f = contract.by_name[name]
        choices = _choices(pack, f, spec, mandate, supplier, dialect, today, period)
        for source in spec.sources:
            part = len(spec.sources) > 1
            seen.setdefault(source, []).append(_column(source, f, spec, contract, dialect, choices, period, part=part))
    for ignore in dialect.ignore:
        if ignore.column not in seen:
            form = messages.both("template.form.may_stay_empty")
            seen[ignore.column] = [
                TemplateColumn(ignore.column, "text", ignore.because, form, "", None, required=False, comes_again=True)
            ]
    if dialect.pivot:
        f = contract.by_name[dialect.pivot.value]
        spec = Column(constant="", unit=dialect.pivot.unit, interval=dialect.pivot.interval)
        for source, texts in dialect.pivot.columns.items():
            column = _column(source, f, spec, contract, dialect, (), period, part=False)
            told = {language: _filled_in(pack, contract, texts, language) for language in messages.LANGUAGES}
            meaning: dict[str, str] = {k: f"{text} – {column.meaning[k]}" for k, text in told.items()}
            seen.setdefault(source, []).append(replace(column, meaning=meaning))
    for same in seen.values():
        # one delivered column may feed several fields
        joined: dict[str, str] = {
            k: "; ".join(dict.fromkeys(column.meaning[k] for column in same)) for k in messages.LANGUAGES
        }
        cells = same[0].cells if len({column.cells for column in same}) == 1 else "text"
        yield replace(same[0], meaning=joined, cells=cells, required=any(column.required for column in same))


def _column(
    source: str, f: Field, spec: Column, contract: Contract, dialect: Dialect, choices: tuple[Choice, ...],
    period: Period, *, part: bool,
) -> TemplateColumn:  # fmt: skip
    formats = list(spec.formats or (dialect.dates if f.type == "date" else dialect.times))
    # the reader writes date cells in the dialect's first way; a moment's time of day would be lost on that way
    as_date = f.type == "date" and not part and dialect.dates[0] in formats
    cells = "text"
    if as_date:
        cells = "date"
    elif f.type in ("number", "integer") and not part:
        cells = f.type
    unit = (spec.unit or f.unit) if f.type == "number" else None
    form: Texts
    example: str | int | float | date
    match f.type:
        case "number":
            form = messages.both("template.form.number")
            example = 12.5
        case "integer":
            form = messages.both("template.form.integer")
            example = int(f"{period.start:%Y}") if f.name == contract.period_field else 1000
        case "date":
            form = messages.both("template.form.date", {"shape": _shape("%d.%m.%Y" if as_date else formats[0])})
            example = period.start if as_date else period.start.strftime(formats[0])
        case "timestamp":
            form = messages.both("template.form.moment", {"shape": _shape(formats[0])})
            start = datetime.combine(period.start, time(), ZoneInfo(spec.zone or dialect.zone))
            example = start.isoformat() if formats[0] == "iso" else start.strftime(formats[0])
        case _:
            form, example = messages.both("template.form.text"), "A-1"
    if choices:
        form = messages.both("template.form.choice")
        example = choices[0].word
    elif f.type == "string" and f.name == contract.period_field:
        example = str(period)
    if part:
        form = messages.both("template.form.part", {"form": form, "sources": " + ".join(spec.sources)})
    if spec.default is not None:
        form = messages.both("template.form.default", {"form": form, "default": spec.default})
    title: dict[str, str] = {language: f.title.get(language, f.name) for language in messages.LANGUAGES}
    if f.description:
        title["en"] = f"{title['en']}. {f.description}"
    required = f.required and spec.default is None
    again = f.name != contract.period_field and not part and f.type in ("string", "boolean")
    return TemplateColumn(
        source, cells, title, form, example, unit, required, choices, _at_least(contract, f), f.name, again
    )


def _choices(
    pack: RegionPack,
    f: Field,
    spec: Column,
    mandate: Mandate | None,
    supplier: str | None,
    dialect: Dialect,
    today: date,
    period: Period,
) -> tuple[Choice, ...]:
    """What may be written into a field with a code list: the supplier's own words first, then the codes."""
    if f.type == "boolean":
        words = [next(iter(dialect.booleans.get(key, ())), None) for key in ("true", "false")]
        names = (messages.both("template.yes"), messages.both("template.no"))
        preferred = [
            name["de"] if name["de"] in dialect.booleans.get(key, ()) else word
            for name, key, word in zip(names, ("true", "false"), words, strict=True)
        ]
        return tuple(Choice(w, c, n) for w, c, n in zip(preferred, ("true", "false"), names, strict=True) if w)
    named = f.code_list or ("area" if f.format == "ags" else None)
    if named is None or named not in pack.code_lists:
        return ()
    # corrections come for the year before the last, so codes that ended since then are still offered
    since, until = today - timedelta(days=2 * 366), today + timedelta(days=1)
    entries = [entry for entry in pack.code_lists[named].entries if entry.valid_between(since, until)]
    prefixes = tuple(mandate.areas) if mandate else ()
    if prefixes:
        within = {site.site_id for site in pack.sites if site.area_code.startswith(prefixes)}
        if named == "area":
            entries = [entry for entry in entries if entry.code.startswith(prefixes)]
        elif named == "site":
            entries = [entry for entry in entries if entry.code in within]
    codes = {entry.code: entry for entry in entries}
    own = [
        Choice(m.word, m.code, {"de": codes[m.code].name_de, "en": codes[m.code].name_en})
        for m in pack.mappings
        if spec.mapping and m.code_list == named and m.supplier == supplier and m.code in codes
        and m.valid_from < period.end and period.start <= m.valid_to
    ]  # fmt: skip
    # the first one stands as the example, so it must hold
    entries.sort(key=lambda entry: not entry.valid_between(period.start, period.end))
    listed = [Choice(entry.code, entry.code, {"de": entry.name_de, "en": entry.name_en}) for entry in entries]
    return tuple({choice.word: choice for choice in (*own, *listed)}.values())


def _filled_in(pack: RegionPack, contract: Contract, texts: Mapping[str, str], language: str) -> str:
    """What a pivoted column stands for: the names of the codes its rows will carry."""
    told = []
    for name, text in texts.items():
        f = contract.by_name[name]
        entry = pack.code_lists[f.code_list].codes.get(text) if f.code_list else None
        shown = (entry.name_de if language == "de" else entry.name_en) if entry else text
        told.append(f"{f.title.get(language, name)} = {shown}")
    return ", ".join(told)


def _at_least(contract: Contract, f: Field) -> float | None:
    """Lower bound of a quantity, where it is nought: that one holds in every unit."""
    for rule in contract.rules:
        if rule.kwargs.get("column") == f.name and rule.kwargs.get("min_value") == 0:
            return 0
    return None


def _placed(
    columns: tuple[TemplateColumn, ...], header: HeaderSpec
) -> tuple[tuple[TemplateColumn, ...], tuple[tuple[str, ...], ...]] | None:
    """The columns and the header's lines in which the reader finds exactly their names; None where there are none."""
    if header.rows == 0:
        places = {column.name: column for column in columns}
        last = max((int(n) for name in places for n in re.findall(r"^column_(\d+)$", name)), default=0)
        filler = TemplateColumn("", "text", {"de": "–", "en": "–"}, {"de": "–", "en": "–"}, "", None, required=False)
        ordered = [places.pop(f"column_{i}", replace(filler, name=f"column_{i}")) for i in range(1, last + 1)]
        return None if places or not ordered else (tuple(ordered), ())
    # columns under one upper name stand side by side, where they were named first
    groups = list(dict.fromkeys(column.name.split(" / ")[0] for column in columns))
    columns = tuple(sorted(columns, key=lambda column: groups.index(column.name.split(" / ")[0])))
    lines = [[""] * len(columns) for _ in range(header.rows)]
    for place, column in enumerate(columns):
        for depth, text in enumerate(column.name.split(" / ", header.rows - 1)):
            lines[depth][place] = text
    if header.rows > 1 and not any(lines[-1]):
        # a line without text is no header line to the reader; the first column may stand anywhere
        first = [line[0] for line in lines if line[0]]
        for line in lines:
            line[0] = ""
        lines[-1][0] = first[0] if len(first) == 1 else ""
    read = unique_names(joined_header(lines))
    found = all(map(any, lines)) and read == tuple(" ".join(column.name.split()) for column in columns)
    return (columns, tuple(map(tuple, lines))) if found else None


def _shape(written: str) -> dict[str, str]:
    """A strptime format as people know it: `%d.%m.%Y` becomes TT.MM.JJJJ, DD.MM.YYYY."""
    written = written.replace("iso", "%Y-%m-%dT%H:%M:%S+01:00")
    shapes: dict[str, str] = {}
    for language in messages.LANGUAGES:
        shape = written
        for mark, part in _STRPTIME.items():
            shape = shape.replace(mark, messages.text(f"template.mark.{part}", language))
        shapes[language] = shape
    return shapes


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text).strip("-")


def _file_name(plan: _Plan) -> str | None:
    """A name under which a filled template is taken for what it is; None where none could be thought of."""
    title = _slug(plan.contract.title.get("de", plan.contract.dataset))
    plain = title
    for letter, letters in _UMLAUTS.items():
        plain = plain.replace(letter, letters)
    names = [
        f"{word}_{plan.period}.xlsx" for word in dict.fromkeys((title, plain, *title.split("-"), plan.contract.dataset))
    ]
    if plan.mandate is None:
        return names[0]
    if plan.dialect is not plan.agreed:
        # read as what it is, whatever it is called
        return names[0]
    fitting = [name for name in names if choose_dialect(plan.pack, plan.mandate, name) is plan.dialect]
    recognised = plan.dialect.recognise
    best = [name for name in fitting if recognised and re.search(recognised.file_name, name)]
    return next(iter([*best, *fitting]), None)


# --- the workbook ---


def _workbook(plan: _Plan, last: Last | None) -> tuple[Workbook, int]:
    """The template and the row of its example."""
    workbook = Workbook()
    sheet = workbook.active
    assert isinstance(sheet, Worksheet)
    sheet.title = (plan.dialect.format.sheet or DATA_SHEET)[:SHEET_NAME]
    taken = {sheet.title.casefold()}

    def added(name: str) -> Worksheet:
        title = name if name.casefold() not in taken else f"{name} (Verbund)"
        taken.add(title.casefold())
        made = workbook.create_sheet(title)
        assert isinstance(made, Worksheet)
        return made

    help_sheet, code_sheet, list_sheet = (added(_german(f"sheet.{name}")) for name in ("help", "codes", "lists"))
    example_row = _data_sheet(sheet, plan, _lists(list_sheet, plan.columns))
    if last is not None:
        _start(sheet, example_row + 1, plan, last)
        last_sheet = added(_german("sheet.last", period=last.period))
        _table(last_sheet, _last_values(plan, last), [22] * len(plan.columns))
        last_sheet.protection.sheet = True
    _table(help_sheet, _help(plan, sheet.title, last), (30, 60, 14, 16, 36, 20, 70))
    _table(code_sheet, _codes(plan.columns), (30, 34, 16, 60, 60))
    list_sheet.sheet_state = "hidden"
    for made in (code_sheet, list_sheet):
        made.protection.sheet = True
    return workbook, example_row


def _start(sheet: Worksheet, first: int, plan: _Plan, last: Last) -> None:
    """Put in the lines that come again, for this period and without figures."""
    lines = {}
    for row in _last_rows(plan, last):
        kept = {column.name: _last_text(column, row) for column in plan.columns if column.comes_again}
        if any(kept.values()):
            lines[tuple(sorted(kept.items()))] = kept
    for line, kept in enumerate(lines.values(), start=first):
        for place, column in enumerate(plan.columns, start=1):
            text: Any = kept.get(column.name, "")
            if column.field == plan.contract.period_field and column.cells == "integer":
                text = int(f"{plan.period.start:%Y}")
            if text != "":
                _written(sheet, line, place, text, exact=True)
                sheet.cell(line, place).protection = _OPEN


def _last_rows(plan: _Plan, last: Last) -> Sequence[Mapping[str, str]]:
    """Rows of the last time: in the supplier's own columns where the template has them, else by field."""
    return last.rows if any(column.name in row for row in last.rows for column in plan.columns) else last.lines


def _last_text(column: TemplateColumn, row: Mapping[str, str]) -> str:
    return row.get(column.name, "") or row.get(column.field, "")


def _last_values(plan: _Plan, last: Last) -> Iterator[Sequence[Any]]:
    """What was delivered the last time, to look at and to copy from."""
    yield ["#" + column.name for column in plan.columns]
    for row in _last_rows(plan, last):
        yield [
            _last_text(column, row)
            if column.name in row or last.units.get(column.field) == column.unit or column.unit is None
            else ""
            for column in plan.columns
        ]


def _data_sheet(sheet: Worksheet, plan: _Plan, sources: Mapping[str, str]) -> int:
    spec = plan.dialect.format
    top = spec.header.row or 1
    for place, column in enumerate(plan.columns, start=1):
        dimension = sheet.column_dimensions[get_column_letter(place)]
        dimension.width = max(14, min(40, len(column.name) + 4))
        dimension.number_format = _CELL_FORMATS.get(column.cells, "@")
        dimension.protection = _OPEN
    if top > 2 or (top == 2 and spec.header.rows == 0):
        _written(sheet, 1, 1, _title(plan), font=_TITLE)
    if top > 1:
        for place, column in enumerate(plan.columns, start=1):
            _written(sheet, top - 1, place, _short_help(column, "de"), font=_SMALL, wrapped=True)
        sheet.row_dimensions[top - 1].height = 75
    lines = [*plan.header, *_unit_lines(plan)]
    for depth, line in enumerate(lines):
        for place, text in enumerate(line, start=1):
            must = plan.columns[place - 1].required
            _written(
                sheet, top + depth, place, text, font=_BOLD, fill=_MUST if must else _HEAD, exact=True, wrapped=True
            )
    first_row = top + len(lines)
    # a cell that nobody wrote takes the open protection of its column
    for row in range(1, first_row):
        for place in range(1, len(plan.columns) + 1):
            sheet.cell(row, place).protection = Protection(locked=True)
    _merge_upper_names(sheet, plan.header, top)
    for place, column in enumerate(plan.columns, start=1):
        if plan.header:
            depth = max(i for i, line in enumerate(plan.header) if line[place - 1])
            said = "\n".join(_long_help(column, language) for language in messages.LANGUAGES)
            note = Comment(said, "Verbund", width=360, height=40 + 18 * (len(said) // 45 + said.count("\n")))
            sheet.cell(top + depth, place).comment = note
        letter = get_column_letter(place)
        check = _validation(column, sources.get(column.name))
        check.add(f"{letter}{first_row}:{letter}{LAST_ROW}")
        sheet.add_data_validation(check)
    _example_row(sheet, first_row, plan.columns)
    sheet.freeze_panes = f"A{first_row}"
    sheet.print_title_rows = f"1:{max(1, first_row - 1)}"
    sheet.page_setup.orientation = "landscape"
    protection = sheet.protection
    protection.sheet = bool(lines)
    # what is allowed is written as false
    protection.formatCells = protection.formatColumns = protection.formatRows = False
    protection.insertRows = protection.deleteRows = protection.sort = protection.autoFilter = False
    return first_row


def _example_row(sheet: Worksheet, row: int, columns: Sequence[TemplateColumn]) -> None:
    """Show how to fill in; who writes over it has filled in a row."""
    for place, column in enumerate(columns, start=1):
        if column.example == "":
            continue
        _written(sheet, row, place, column.example, font=_SHOWN, exact=True)
        cell = sheet.cell(row, place)
        cell.protection = _OPEN
        cell.number_format = _CELL_FORMATS.get(column.cells, "@")


def _unit_lines(plan: _Plan) -> list[list[str]]:
    """Lines under the header that hold units; each must have some text, or the reader passes over it."""
    count = plan.dialect.format.units_rows
    if not count:
        return []
    units = [column.unit or "–" for column in plan.columns]
    without = [place for place, column in enumerate(plan.columns) if not column.unit] or [0]
    return [units, *([["–" if place == without[0] else "" for place in range(len(units))]] * (count - 1))]


def _merge_upper_names(sheet: Worksheet, header: Sequence[Sequence[str]], top: int) -> None:
    """Show a name that several columns share once, above them all."""
    for depth, line in enumerate(header[:-1]):
        start = 0
        for place in range(1, len(line) + 1):
            ends = (
                place == len(line)
                or not line[place]
                or [h[place] for h in header[: depth + 1]] != [h[start] for h in header[: depth + 1]]
            )
            if not ends:
                continue
            if line[start] and place - start > 1 and all(header[depth + 1][i] for i in range(start, place)):
                sheet.merge_cells(start_row=top + depth, end_row=top + depth, start_column=start + 1, end_column=place)
            start = place


def _validation(column: TemplateColumn, source: str | None) -> DataValidation:
    """The hint and, where there is one, the choice of a column; other words stay possible, the judge knows more of them."""
    check: dict[str, Any] = {}
    if source is not None:
        check = {"type": "list", "formula1": source}
    elif column.at_least is not None and column.cells in ("number", "integer"):
        check = {"type": "decimal", "operator": "greaterThanOrEqual", "formula1": str(int(column.at_least))}
    made = DataValidation(allow_blank=True, showInputMessage=True, showErrorMessage=bool(check), **check)
    made.errorStyle = "warning"
    made.promptTitle = harmless(column.name)[:HINT_TITLE]
    made.prompt = _short_help(column, "de")[:HINT_LENGTH]
    made.errorTitle = _german("check")[:HINT_TITLE]
    made.error = _german("expected", form=column.form)[:HINT_LENGTH]
    return made


def _lists(sheet: Worksheet, columns: Sequence[TemplateColumn]) -> dict[str, str]:
    """Where each column's drop-down takes its words from: written out where it is short, else a range of this sheet."""
    sources: dict[str, str] = {}
    known: dict[tuple[str, ...], str] = {}
    for column in columns:
        words = tuple(choice.word for choice in column.choices)
        if not words:
            continue
        inline = ",".join(words)
        if len(inline) <= INLINE_LENGTH and not any(set(word) & set(',"') for word in words):
            sources[column.name] = f'"{inline}"'
            continue
        if words not in known:
            place = len(known) + 1
            _written(sheet, 1, place, column.name, font=_BOLD)
            for row, word in enumerate(words, start=2):
                # what is chosen lands in a cell as it stands here, so it stays as it is, as text
                _written(sheet, row, place, word, exact=True)
            letter = get_column_letter(place)
            quoted = sheet.title.replace("'", "''")
            known[words] = f"'{quoted}'!${letter}$2:${letter}${len(words) + 1}"
        sources[column.name] = known[words]
    return sources


def _codes(columns: Sequence[TemplateColumn]) -> Iterator[Sequence[Any]]:
    yield [*_heads("column", "entry", "code", "meaning"), _head("meaning", "en")]
    for column in columns:
        for choice in column.choices:
            yield [column.name, choice.word, choice.code, choice.name.get("de", ""), choice.name.get("en", "")]


def _table(sheet: Worksheet, rows: Iterable[Sequence[Any]], widths: Sequence[int]) -> None:
    """Write rows; a text that begins with `#` is a heading."""
    for place, width in enumerate(widths, start=1):
        sheet.column_dimensions[get_column_letter(place)].width = width
    for row, cells in enumerate(rows, start=1):
        for place, value in enumerate(cells, start=1):
            heading = isinstance(value, str) and value.startswith("#")
            shown = value.removeprefix("#") if isinstance(value, str) else value
            _written(sheet, row, place, shown, font=_BOLD if heading else None, wrapped=True)


def _written(
    sheet: Worksheet, row: int, place: int, value: Any, *, font: Font | None = None, fill: PatternFill | None = None,
    wrapped: bool = False, exact: bool = False,
) -> None:  # fmt: skip
    """Write one cell; text that a spreadsheet could take for a formula is made harmless, or kept as marked text."""
    cell = sheet.cell(row, place)
    if isinstance(value, str):
        cell.value = value if exact else harmless(value)
        # openpyxl takes a leading = for a formula, which nothing here is
        cell.data_type = "s"
        cell.number_format = "@"
        if exact and harmless(value) != value:
            cell.quotePrefix = True
        if not value:
            cell.value = None
    else:
        cell.value = value
    if font:
        cell.font = font
    if fill:
        cell.fill = fill
    if wrapped:
        cell.alignment = _WRAPPED


# --- what the help sheet says ---


def _german(key: str, **facts: Any) -> str:
    """A text of the template where there is room for one language only."""
    return messages.text(f"template.{key}", "de", facts)


def _head(key: str, language: messages.Language = "de") -> str:
    return "#" + messages.text(f"template.head.{key}", language)


def _heads(*keys: str) -> list[str]:
    return [_head(key) for key in keys]


def _paragraph(key: str, *, heading: bool = False, **facts: Any) -> list[str]:
    """One paragraph of the sheet: a label, German beside it, English last."""
    label = _german(f"{key}.label")
    told = messages.both(f"template.{key}", facts)
    return ["#" + label if heading else label, told["de"], "", "", "", "", told["en"]]


def _title(plan: _Plan) -> str:
    supplier = plan.pack.suppliers[plan.supplier].name if plan.supplier else None
    return _german("title", title=plan.contract.title.get("de", plan.contract.dataset), supplier=supplier)


def _example(column: TemplateColumn) -> str:
    return (
        messages.fact_text("example", column.example, "de") or "" if column.cells != "integer" else str(column.example)
    )


def _short_help(column: TemplateColumn, language: messages.Language) -> str:
    must = messages.text(f"template.{'required' if column.required else 'optional'}", language)
    unit = _unit(column) if language == "de" else column.unit
    example = _example(column)
    shown = messages.text("template.for_example", language, {"example": example}) if example else None
    return " · ".join(part for part in (must, column.form[language], unit, shown) if part)


def _long_help(column: TemplateColumn, language: messages.Language) -> str:
    return f"{column.meaning[language]}\n{_short_help(column, language)}"


def _unit(column: TemplateColumn) -> str | None:
    return UNITS.get(column.unit, column.unit) if column.unit else None


def _help(plan: _Plan, sheet: str, last: Last | None) -> Iterator[Sequence[Any]]:
    contract, dialect = plan.contract, plan.dialect
    yield ["#" + _title(plan)]
    yield _paragraph("about", about={"de": contract.title.get("de", ""), "en": contract.purpose})
    yield from _agreement_told(plan)
    yield _paragraph("how", sheet=sheet)
    yield _paragraph("example_row")
    if last is not None:
        unknown = next((word for word in dialect.null if word), None)
        yield _paragraph("last", period=last.period, sheet=_german("sheet.last", period=last.period), unknown=unknown)
    if name := _file_name(plan):
        yield _paragraph("file_name", name=name)
    elif dialect.recognise:
        yield _paragraph("file_name_pattern", pattern=dialect.recognise.file_name)
    yield _due(plan)
    yield _paragraph("empty", values=[symbol for symbol in dialect.null if symbol])
    if figures_of(contract, dialect):
        yield _paragraph("unfilled")
    yield _paragraph("nothing", nothing=contract.properties.get("nothingToReport"))
    yield _paragraph("correction")
    yield []
    yield [*_heads("column", "meaning", "required", "unit", "form", "example"), _head("meaning", "en")]
    for column in plan.columns:
        must = messages.text(f"template.{'yes' if column.required else 'no'}", "de")
        shown = [column.name, column.meaning["de"], must, _unit(column) or "–", column.form["de"]]
        yield [*shown, _example(column), column.meaning["en"]]
    yield from _settled(plan)
    yield []
    yield [*_heads("rule", "why", "effect"), "", "", "", _head("why", "en")]
    for rule in contract.rules:
        effect = messages.text(f"severity.{rule.severity}", "de")
        yield [rule.id, rule.because.get("de", ""), effect, "", "", "", rule.because.get("en", "")]
    for ignore in dialect.ignore:
        told = messages.both(
            "template.ignored", {"because": ignore.because, "column": ignore.column, "pattern": ignore.matches}
        )
        yield [ignore.rule, told["de"], _german("ignored.effect"), "", "", "", told["en"]]


def _agreement_told(plan: _Plan) -> Iterator[Sequence[Any]]:
    """What is agreed, where it is not this template, and for how long."""
    if plan.agreed is not None and plan.agreed is not plan.dialect:
        kind = messages.both(f"template.format.{plan.agreed.format.type}")
        yield _paragraph("agreed", heading=True, format=kind, dialect=plan.agreed.id)
        if columns := ", ".join(plan.agreed.delivered_columns()):
            yield _paragraph("agreed_columns", names=columns)
    if plan.mandate is not None and plan.mandate.valid_until < date(9999, 1, 1):
        yield _paragraph("mandate", last=plan.mandate.valid_until - timedelta(days=1))


def _settled(plan: _Plan) -> Iterator[Sequence[Any]]:
    """Fields that nobody has to fill in, because the agreement says them."""
    for name, spec in plan.dialect.columns.items():
        if spec.sources:
            continue
        f = plan.contract.by_name[name]
        how = "constant" if spec.constant is not None else "period" if spec.period else "file_name"
        title = {language: f.title.get(language, name) for language in messages.LANGUAGES}
        told = messages.both(f"template.settled.{how}", {"title": title, "constant": spec.constant})
        yield [_german("no_column"), told["de"], "–", "–", "–", "–", told["en"]]


def _due(plan: _Plan) -> list[str]:
    due, land = plan.contract.due, plan.pack.region.land
    day = due_on(plan.contract, plan.period, land)
    if plan.due is not None and plan.due != day:
        return _paragraph("due_extended", period=str(plan.period), last=plan.due, first=day)
    known: dict[str, Any] = {"land": land, "period": str(plan.period), "last": day}
    if due.working_days is not None:
        return _paragraph("due_working_days", days=due.working_days, **known)
    fixed = date(day.year, due.month or 1, due.day or 1)
    shown = {"de": format_date(fixed, "d. MMMM", locale="de"), "en": format_date(fixed, "d MMMM", locale="en")}
    return _paragraph("due_yearly", fixed=shown, **known)
