"""From landed text to typed columns: finding the columns a dialect names, and the SQL that converts their cells.

Everything is stated as SQL on DuckDB, so that a delivery of ten rows and one of ten million go the same way. A cell
that cannot be converted becomes null and leaves a mark (`<field>__invalid`, `<field>__unknown`); the rules in
`quality.rules` turn marks into findings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rapidfuzz import fuzz, process

from quality.codelists import lookup_key
from quality.contract import CRS, Contract, Field
from quality.dialect import Column, Dialect
from quality.units import UnknownUnit, factor, interval_minutes
from quality.verdict import Example, Finding
from storage.periods import Period
from storage.readers import Landed

#: What the relation of text rows starts with, before one `<field>__raw` per field.
ROW = "delivered_row, delivered_line, delivered_sheet, ignored, pivot_index, pivot_column"
#: Column of the lookup table of one region pack: which text stands for which code.
LOOKUP = "code_lookup"
#: Systems that German offices send coordinates in: UTM zones, Gauss-Krüger zones, geographic ones, and that of web maps.
KNOWN_CRS = (
    "EPSG:25831", "EPSG:25832", "EPSG:25833", "EPSG:3044", "EPSG:3045", "EPSG:4647", "EPSG:5652", "EPSG:31466", "EPSG:31467",
    "EPSG:31468", "EPSG:31469", "EPSG:4258", "EPSG:4326", "EPSG:3857", "EPSG:3034", "EPSG:3035",
)  # fmt: skip
#: The landed column that says which system a file's coordinates are in, see `storage.readers.geo`.
GEOMETRY_CRS = "geometry_crs"
_BLANKS = " \t\r\n\u00a0"
#: Blanks that typesetters and spreadsheets put between thousands.
_NARROW_BLANKS = "\u00a0\u2009\u202f"


@dataclass(frozen=True)
class Origin:
    """Where one field comes from in this file. `column` is the sender's name, None for constants."""

    expression: str
    column: str | None
    spec: Column
    unit: str | None = None
    interval: str | None = None
    pivoted: bool = False
    sources: tuple[str, ...] = ()
    """The landed columns it is made of."""

    @property
    def joined(self) -> bool:
        """Whether the cells of several columns make one text."""
        return len(self.spec.sources) > 1


@dataclass(frozen=True)
class Layout:
    """How the landed columns become fields; or, with `findings` of severity fatal, why they cannot."""

    origins: Mapping[str, Origin]
    findings: Sequence[Finding]
    raw_sql: str = ""

    @property
    def broken(self) -> bool:
        return any(finding.severity == "fatal" for finding in self.findings)


@dataclass
class _Names:
    """The delivered columns, found by exact name first, then by name without case and extra blanks."""

    columns: Sequence[str]
    used: set[str] = field(default_factory=set)

    def find(self, name: str) -> str | None:
        folded = lookup_key(name)
        for candidate in (c for c in self.columns if c == name):
            self.used.add(candidate)
            return candidate
        for candidate in (c for c in self.columns if lookup_key(c) == folded):
            self.used.add(candidate)
            return candidate
        return None


def tidy_sql(dialect: Dialect, columns: Sequence[str]) -> str:
    """The query over `landed` that tells per column, in one row, whether each of its cells is a value as it stands.

    Such a cell has no blanks around it, is not empty and no null symbol. Taking nothing off a text costs DuckDB 0.25 µs
    a cell each time, and seeing that there is nothing to take off 0.03 µs once.
    """
    symbols = [_text(symbol) for symbol in dialect.null]
    # plain comparisons: they are made once per entry of a Parquet dictionary, which regular expressions are not;
    # what sorts before `!` is empty or begins with a blank or a control character
    ends = " or ".join(f"suffix({{cell}}, '{blank}')" for blank in _BLANKS)
    is_symbol = f" or {{cell}} in ({', '.join(symbols)})" if symbols else ""
    untidy = f"{{cell}} < '!' or starts_with({{cell}}, '\u00a0') or {ends}{is_symbol}"
    as_it_stands = (f"bool_and(not ({untidy.replace('{cell}', cell)}))" for cell in map(_name, columns))
    return f"select {', '.join(f'coalesce({told}, true)' for told in as_it_stands)} from landed"


def lay_out(
    contract: Contract,
    dialect: Dialect,
    landed: Landed,
    *,
    file_name: str,
    period: Period,
    tidy: frozenset[str] = frozenset(),
) -> Layout:
    """Find every column the dialect names and write the query of text rows over the view `landed`.

    Args:
        contract: Promised fields.
        dialect: Where they are found.
        landed: What the reader saw; only its columns and units are looked at here.
        file_name: As sent; some dialects carry a field in it.
        period: The slot's period; some dialects take the year from it.
        tidy: Landed columns known to need no cleaning, see `tidy_sql`.

    Returns:
        The layout. Its `raw_sql` yields `ROW` and one `<field>__raw` VARCHAR per field of the contract; rows taken out
        by an ignore rule carry the rule's id in `ignored` and appear once, also under a pivot.
    """
    names, missing, findings = _Names(landed.columns), [], []
    origins: dict[str, Origin] = {}
    for name, spec in dialect.columns.items():
        found = [names.find(source) for source in spec.sources]
        if not spec.optional:
            missing += [source for source, hit in zip(spec.sources, found, strict=True) if hit is None]
        promised = contract.by_name[name]
        there = tuple(hit for hit in found if hit)
        expression = _origin_sql(spec, there, file_name, period)
        if there and (promised.format == "geometry" or spec.measure):
            expression = _located(spec, names.find(GEOMETRY_CRS), expression)
        origins[name] = Origin(expression, " ".join(there) or None, spec, spec.unit, spec.interval, sources=there)
        if expression == "null" and not spec.sources and promised.required:
            findings.append(_finding("columns.not_in_file_name", "fatal", columns=[name], found=file_name))
    pivot_from = ""
    if dialect.pivot:
        pivot_from, pivoted, lost = _pivot(contract, dialect, names)
        missing += lost
        origins |= pivoted
    ignored = ["ignored_by"]
    for ignore in dialect.ignore:
        hit = names.find(ignore.column)
        if hit is None:
            missing.append(ignore.column)
        else:
            ignored.append(f"case when regexp_matches({_name(hit)}, {_text(ignore.matches)}) then '{ignore.rule}' end")
    if missing:
        unused = [c for c in landed.columns if c not in names.used]
        findings.append(_missing(missing, unused, landed))
    findings += _units_differ(contract, origins, landed)
    unexpected = [c for c in landed.columns if c not in names.used and not re.fullmatch(r"column_\d+", c)]
    if unexpected and dialect.columns:
        findings.append(
            _finding("columns.unexpected", "info", columns=unexpected[:20], found=", ".join(unexpected[:20]))
        )
    layout = Layout(origins, tuple(findings))
    if layout.broken:
        return layout
    raws = [f"{_raw(dialect, origins.get(f.name), tidy)} as {f.name}__raw" for f in contract.fields]
    once = "where pivot_index = 0 or ignored is null" if dialect.pivot else ""
    source = f"select *, coalesce({', '.join(ignored)}) as ignored from landed"
    index = "pivot_index, pivot_column" if dialect.pivot else "0 as pivot_index, cast(null as varchar) as pivot_column"
    kept = f"delivered_row, delivered_line, delivered_sheet, ignored, {index}"
    sql = f"select {kept}, {', '.join(raws)} from ({source}) landed {pivot_from} {once}"
    return Layout(origins, tuple(findings), sql)


def typed_sql(contract: Contract, dialect: Dialect, layout: Layout, *, two_passes: bool = False) -> str:
    """The query of typed rows over the relations `text_rows` (from `Layout.raw_sql`), `code_lookup` and `instants`.

    Yields `ROW`, then per field its typed value under its own name and the marks `<field>__invalid` (text that is no
    number, date, …), `<field>__unknown` (not in the code list), `<field>__restored` (leading zero given back); of a
    timestamp also its local day `<field>__day`, in the zone of the contract's periods.
    With `two_passes` the relation `passes` (from `second_pass_sql`) tells first from second in the hour that repeats.
    """
    selects, joins = [", ".join(f"text_rows.{column.strip()}" for column in ROW.split(","))], list[str]()
    for f in contract.fields:
        origin = layout.origins.get(f.name)
        raw = f"{f.name}__raw"
        if origin is None:
            selects.append(f"cast(null as {f.physical}) as {f.name}")
            if f.type == "timestamp":
                selects.append(f"cast(null as date) as {f.name}__day")
            continue
        if f.code_list or f.format == "ags":
            joins.append(_lookup_join(f, raw))
        typed = _typed(f, origin, dialect, raw)
        if f.format == "geometry" or origin.spec.measure:
            joins.append(f"left join shapes s_{f.name} on s_{f.name}.text = {raw}")
        if f.type == "timestamp":
            day = f"i_{f.name}.local_day"
            joins.append(f"left join instants i_{f.name} on i_{f.name}.text = {raw} and i_{f.name}.field = '{f.name}'")
            if two_passes:
                # most rows are not of the hour that repeats, and one key is looked up faster than three
                of_field = f"(select * from passes where field = '{f.name}')"
                same = "delivered_row" if dialect.pivot is None else "delivered_row, pivot_index"
                joins.append(f"left join {of_field} p_{f.name} using ({same})")
                typed = f"{typed} - case when p_{f.name}.is_first then interval 1 hour else interval 0 hour end"
                day = f"case when p_{f.name}.is_first then {_local_day(contract, typed)} else {day} end"
            selects.append(f"{day} as {f.name}__day")
        selects.append(f"{typed} as {f.name}")
        if origin.spec.measure:
            # what is wrong with a shape is told once, where it is kept
            selects.append(f"false as {f.name}__invalid")
        elif f.type != "string" or f.format == "geometry":
            selects.append(f"({raw} is not null and {typed} is null) as {f.name}__invalid")
        elif f.code_list:
            selects.append(f"({raw} is not null and l_{f.name}.code is null) as {f.name}__unknown")
        elif f.format == "ags":
            known = f"l_{f.name}.code is not null or regexp_full_match({_digits(raw)}, '[0-9]{{4,5}}|[0-9]{{7,8}}')"
            selects.append(f"({raw} is not null and not ({known})) as {f.name}__unknown")
            selects.append(f"coalesce(length({_digits(raw)}) in (4, 7) and l_{f.name}.code is null "
                           f"and regexp_full_match({_digits(raw)}, '[0-9]+'), false) as {f.name}__restored")  # fmt: skip
    return f"select {', '.join(selects)} from text_rows {' '.join(joins)}"


def instants_sql(contract: Contract, dialect: Dialect, layout: Layout) -> str:
    """The query of every distinct timestamp text with its instant, over `text_rows`.

    Time zones are worked out once per distinct text: ten million quarter hours hold a few ten thousand of them.
    Yields `field`, `text`, `instant` TIMESTAMPTZ (the start of the interval), `is_ambiguous` (the local hour that the
    clock goes through twice in autumn; `instant` is then its second pass), `local_day` (of `instant`, in the zone of
    the contract's periods). A local time that the clock skips in spring has no instant.
    """
    parts = []
    for f in contract.fields:
        origin = layout.origins.get(f.name)
        if f.type == "timestamp" and origin is not None:
            zone = origin.spec.zone or dialect.zone
            formats = [*(origin.spec.formats or dialect.times)]
            if dialect.format.type == "xlsx":
                # cells that hold a moment come as ISO without a zone, at midnight as a date
                formats += ["%Y-%m-%dT%H:%M:%S", *dialect.dates]
            shift = interval_minutes(origin.spec.interval) if origin.spec.label == "end" and origin.spec.interval else 0
            parts.append(_instants_of(f.name, zone, formats, shift))
    empty = "select '' as field, '' as text, cast(null as timestamptz) as instant, false as is_ambiguous where false"
    return f"select *, {_local_day(contract, 'instant')} as local_day from ({' union all '.join(parts) or empty})"


def shapes_sql(contract: Contract, layout: Layout) -> str | None:
    """The query of every distinct geometry text with the shape it means, over `text_rows`; None where there is none.

    Yields `text`, `wkt` (valid, in `contract.CRS`), `area` in square metres, `length` in metres, `x` and `y` of a point
    inside. They are null where the text is no geometry, its system is not known, or the shape crosses itself.
    Needs DuckDB's spatial extension.
    """
    named = [
        f.name
        for f in contract.fields
        if f.name in layout.origins and (f.format == "geometry" or layout.origins[f.name].spec.measure)
    ]
    if not named:
        return None
    texts = " union ".join(f"select {name}__raw as text from text_rows where {name}__raw is not null" for name in named)
    known = ", ".join(_text(crs) for crs in KNOWN_CRS)
    # a step each: DuckDB would work out what two columns share before it looks whether either may be asked
    read = f"select text, split_part(text, ';', 1) as crs, st_geomfromtext(split_part(text, ';', 2), true) as sent from ({texts})"
    moved = f"select text, st_transform(sent, crs, '{CRS}', true) as shape from ({read}) where crs in ({known}) and sent is not null"
    sound = f"select text, shape from ({moved}) where isfinite(st_xmin(shape)) and isfinite(st_ymin(shape)) and st_isvalid(shape)"
    inside = "st_pointonsurface(shape)"
    return (
        f"select text, st_astext(shape) as wkt, st_area(shape) as area, st_length(shape) as length, "
        f"st_x({inside}) as x, st_y({inside}) as y from ({sound})"
    )


def with_days(contract: Contract, sql: str) -> str:
    """The same SQL over typed rows, with local days taken from where they were worked out once per distinct text.

    A time zone costs 0.3 µs a row each time it is asked.
    """
    for f in contract.fields:
        if f.type == "timestamp":
            sql = sql.replace(_local_day(contract, f.name), f"{f.name}__day")
    return sql


def second_pass_sql(contract: Contract, layout: Layout) -> str | None:
    """The query that tells the two passes of an ambiguous hour apart by their order in the file, over `text_rows`.

    Yields `delivered_row`, `pivot_index`, `field`, `is_first`; None where no field is a timestamp.
    """
    stamps = [f.name for f in contract.fields if f.type == "timestamp" and f.name in layout.origins]
    others = [f"{name}__raw" for name in contract.key if name not in stamps and name in layout.origins]
    if not stamps:
        return None
    parts = [
        f"select delivered_row, pivot_index, '{name}' as field, row_number() over (partition by {', '.join([f'{name}__raw', *others])} "
        f"order by delivered_row) = 1 as is_first from text_rows join instants i on i.text = {name}__raw and i.field = '{name}' "
        "where i.is_ambiguous"
        for name in stamps
    ]
    return " union all ".join(parts)


def label_of(layout: Layout, name: str) -> str | None:
    """The sender's own column name for a field, None for constants and for columns named by the pivot."""
    origin = layout.origins.get(name)
    return origin.column if origin else None


# --- columns ---


def _origin_sql(spec: Column, found: Sequence[str], file_name: str, period: Period) -> str:
    if spec.constant is not None:
        return _text(spec.constant)
    if spec.period:
        return _text(str(period))
    if spec.file_name is not None:
        match = re.search(spec.file_name, file_name)
        return _text(match.group(match.lastindex or 0)) if match else "null"
    if spec.sheet is not None:
        group = min(1, re.compile(spec.sheet).groups)
        return f"regexp_extract(delivered_sheet, {_text(spec.sheet)}, {group})"
    if not found:
        return "null"
    return _name(found[0]) if len(found) == 1 else f"concat_ws(' ', {', '.join(_name(c) for c in found)})"


def _located(spec: Column, crs: str | None, expression: str) -> str:
    """A geometry's text with the system its coordinates are in: that of the file, else the agreed one."""
    declared = f"nullif({_name(crs)}, '')" if crs else "null"
    return f"case when {expression} is not null then coalesce({declared}, {_text(spec.crs)}, '') || ';' || {expression} end"


def _pivot(contract: Contract, dialect: Dialect, names: _Names) -> tuple[str, dict[str, Origin], list[str]]:
    pivot = dialect.pivot
    assert pivot is not None
    carried: list[tuple[str, Mapping[str, str]]] = []
    missing: list[str] = []
    for name, fills in pivot.columns.items():
        hit = names.find(name)
        if hit is None:
            missing.append(name)
        else:
            carried.append((hit, fills))
    if pivot.matching:
        for candidate in names.columns:
            if candidate not in names.used and (match := re.fullmatch(pivot.matching, candidate)):
                names.used.add(candidate)
                carried.append((candidate, {f: match.expand(template) for f, template in pivot.into.items()}))
        if not carried:
            missing.append(pivot.matching)
    if not carried:
        return "", {}, missing
    filled = list(dict.fromkeys(f for _, fills in carried for f in fills))
    rows = [
        f"({i}, {_text(c)}, {', '.join(_text(fills.get(f)) for f in filled) or 'null'})"
        for i, (c, fills) in enumerate(carried)
    ]
    heads = ", ".join(
        ["pivot_index", "pivot_column", *(f"pivot_{f}" for f in filled)]
        if filled
        else ["pivot_index", "pivot_column", "_"]
    )
    cells = " ".join(f"when {i} then {_name(c)}" for i, (c, _) in enumerate(carried))
    value = contract.by_name[pivot.value]
    spec = Column(constant="")
    origins = {f: Origin(f"pivot_{f}", None, spec, pivoted=True) for f in filled}
    origins[value.name] = Origin(
        f"case pivot_index {cells} end", None, spec, pivot.unit, pivot.interval, pivoted=True,
        sources=tuple(c for c, _ in carried),
    )  # fmt: skip
    return f"cross join (values {', '.join(rows)}) wide({heads})", origins, missing


def _missing(missing: Sequence[str], unused: Sequence[str], landed: Landed) -> Finding:
    examples = []
    for name in dict.fromkeys(missing):
        near = tuple(
            hit
            for hit, _, _ in process.extract(
                name, unused, scorer=fuzz.ratio, processor=lookup_key, limit=2, score_cutoff=55
            )
        )
        examples.append(Example(column=name, suggestions=near))
    return Finding(
        "columns.missing", "fatal", 0,
        {"columns": list(dict.fromkeys(missing)), "expected": ", ".join(dict.fromkeys(missing)),
         "found": ", ".join(landed.columns[:30])},
        tuple(examples),
    )  # fmt: skip


def _units_differ(contract: Contract, origins: Mapping[str, Origin], landed: Landed) -> list[Finding]:
    """A units line that names another known unit than the agreement: reading on would be wrong by a factor."""
    units = dict(zip(landed.columns, landed.units, strict=False))
    findings = []
    for name, origin in origins.items():
        agreed = origin.unit or contract.by_name[name].unit
        found = units.get(origin.column or "", "").strip().strip("[]()")
        if not agreed or not found or found == agreed:
            continue
        try:
            same = factor(found, contract.by_name[name].unit, origin.interval) == factor(
                agreed, contract.by_name[name].unit, origin.interval
            )
        except UnknownUnit:
            continue
        if not same:
            findings.append(
                _finding(
                    "columns.unit_differs",
                    "fatal",
                    columns=[origin.column],
                    agreed=agreed,
                    expected=agreed,
                    found=found,
                )
            )
    return findings


def _finding(rule: str, severity: Any, **facts: Any) -> Finding:
    return Finding(rule, severity, 0, facts)


# --- cells ---


def _raw(dialect: Dialect, origin: Origin | None, tidy: frozenset[str]) -> str:
    """The cell without blanks around it; the dialect's null symbols are null."""
    if origin is None:
        return "cast(null as varchar)"
    is_tidy = bool(origin.sources) and tidy.issuperset(origin.sources)
    text = origin.expression if is_tidy else f"trim({origin.expression}, '{_BLANKS}')"
    if is_tidy and not origin.joined:
        return f"coalesce({text}, {_text(origin.spec.default)})" if origin.spec.default is not None else text
    symbols = [symbol for symbol in dialect.null if symbol]
    if symbols:
        listed = ", ".join(_text(symbol) for symbol in symbols)
        text = f"case when {text} in ({listed}) then null else {text} end"
    text = f"nullif({text}, '')"
    return f"coalesce({text}, {_text(origin.spec.default)})" if origin.spec.default is not None else text


def _typed(f: Field, origin: Origin, dialect: Dialect, raw: str) -> str:
    if measure := origin.spec.measure:
        times = factor(origin.unit, f.unit, None)
        return f"try_cast(s_{f.name}.{measure} * {times:.9f} as {f.physical})"
    match f.type:
        case "number":
            return _number(f, origin, dialect, raw)
        case "integer":
            number = f"try_cast({_plain_number(dialect, raw)} as decimal(38,6))"
            return f"case when {number} = floor({number}) then try_cast({number} as bigint) end"
        case "date":
            formats = list(origin.spec.formats or dialect.dates)
            return f"try_cast({_parsed(raw, formats)} as date)"
        case "timestamp":
            return f"i_{f.name}.instant"
        case "boolean":
            yes, no = (", ".join(_text(w.lower()) for w in dialect.booleans.get(k, ())) for k in ("true", "false"))
            return f"case when lower({raw}) in ({yes}) then true when lower({raw}) in ({no}) then false end"
        case "string" if f.code_list:
            return f"l_{f.name}.code"
        case "string" if f.format == "geometry":
            return f"s_{f.name}.wkt"
        case "string" if f.format == "ags":
            digits = _digits(raw)
            padded = (
                f"case when not regexp_full_match({digits}, '[0-9]+') then null "
                f"when length({digits}) = 8 then {digits} when length({digits}) = 7 then '0' || {digits} "
                f"when length({digits}) = 5 then {digits} || '000' when length({digits}) = 4 then '0' || {digits} || '000' end"
            )
            return f"coalesce(l_{f.name}.code, {padded})"
        case _:
            return raw


def _number(f: Field, origin: Origin, dialect: Dialect, raw: str) -> str:
    times = factor(origin.unit, f.unit, origin.interval)
    plain = _plain_number(dialect, raw)
    if times == 1:
        return f"try_cast({plain} as {f.physical})"
    # 18 digits before the mark times 9 behind it is as exact as 38 digits allow
    return f"try_cast(try_cast({plain} as decimal(20,6)) * cast({times:.9f} as decimal(18,9)) as {f.physical})"


def _parsed(text: str, formats: Sequence[str]) -> str:
    """A text read by the first fitting strptime format; DuckDB would take `epoch` and `infinity` for moments."""
    return f"case when regexp_matches({text}, '[0-9]') then try_strptime({text}, {list(formats)!r}) end"


def _plain_number(dialect: Dialect, raw: str) -> str:
    """A number's text as SQL writes it, null where it does not follow the dialect's marks.

    `1.23` under a comma dialect with `.` for thousands is refused: it is an English decimal, not 123.
    """
    decimal, thousands = dialect.decimal, dialect.thousands
    other = "." if decimal == "," else ","
    guards = [f"contains({raw}, '_')"]
    text = raw
    if thousands == " ":
        text = raw = f"regexp_replace({raw}, '[{_NARROW_BLANKS}]', ' ', 'g')"
    if thousands:
        mark = re.escape(thousands)
        shape = rf"[+-]?[0-9]{{1,3}}({mark}[0-9]{{3}})+({re.escape(decimal)}[0-9]*)?"
        guards.append(f"(contains({raw}, {_text(thousands)}) and not regexp_full_match({raw}, {_text(shape)}))")
        text = f"replace({text}, {_text(thousands)}, '')"
    if other != thousands:
        guards.append(f"contains({raw}, '{other}')")
    if decimal == ",":
        text = f"replace({text}, ',', '.')"
    return f"case when {' or '.join(guards)} then null else {text} end"


def _local_day(contract: Contract, instant: str) -> str:
    return f"cast(timezone('{contract.period_zone}', {instant}) as date)"


def _digits(raw: str) -> str:
    return f"replace({raw}, ' ', '')"


def _lookup_join(f: Field, raw: str) -> str:
    key = "lower(trim(regexp_replace(replace(text, chr(160), ' '), '\\s+', ' ', 'g')))"
    # few words stand in many rows: each is looked up once
    words = f"select distinct {raw} as text from text_rows where {raw} is not null"
    codes = f"select text, code from ({words}) join {LOOKUP} on list = '{f.code_list or 'area'}' and key = {key}"
    return f"left join ({codes}) l_{f.name} on l_{f.name}.text = {raw}"


def _instants_of(name: str, zone: str, formats: Sequence[str], shift: int) -> str:
    distinct = f"select distinct {name}__raw as text from text_rows where {name}__raw is not null and ignored is null"
    moved = f" - interval {shift} minute" if shift else ""
    zoned = [fmt for fmt in formats if fmt == "iso" or "%z" in fmt.lower()]
    local = [fmt for fmt in formats if fmt not in zoned]
    # without its zone an ISO text is local time, which `iso` does not mean
    # DuckDB wants seconds and a colon in the offset, ISO 8601 neither
    colon = r"regexp_replace(text, '([+-][0-9]{2})([0-9]{2})$', '\1:\2')"
    whole = rf"regexp_replace({colon}, '^([^:]+:[0-9]{{2}}) *(Z|[+-].*)$', '\1:00\2')"
    iso = (
        "case when regexp_matches(text, ':[0-9.]+ *(Z|[+-][0-9]{2}(:?[0-9]{2})?)$') "
        f"then try_cast({whole} as timestamptz) end"
    )
    known = [iso if fmt == "iso" else _parsed("text", [fmt]) for fmt in zoned]
    wall = _parsed("text", local) if local else "cast(null as timestamp)"
    at = f"timezone({_text(zone)}, wall)"
    return (
        f"select '{name}' as field, text, coalesce({', '.join([*known, 'null'])}, "
        # a time the clock skips does not come back from its own instant
        f"case when timezone({_text(zone)}, {at}) = wall then {at} end){moved} as instant, "
        f"coalesce(timezone({_text(zone)}, {at} - interval 1 hour) = wall, false) as is_ambiguous "
        f"from (select text, {wall} as wall from ({distinct}))"
    )


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _text(value: str | None) -> str:
    return "null" if value is None else "'" + value.replace("'", "''") + "'"
