"""From counts to findings: where each broken rule was broken, in the sender's own words, and what comes near.

Reads the relations `spotted` and `text_rows` that `quality.judge` leaves; writes the marks a receipt colours cells by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from quality.conversion import Layout
from quality.dialect import Dialect
from quality.region import RegionPack
from quality.rules import Check
from quality.verdict import Example, Finding

if TYPE_CHECKING:
    from quality.judge import Task

#: Examples shown per rule.
EXAMPLES = 5


def findings_of(
    con: duckdb.DuckDBPyConnection,
    checks: Sequence[Check],
    hits: Mapping[str, int],
    layout: Layout,
    dialect: Dialect,
    pack: RegionPack,
    task: Task,
    marks_to: Path,
    *,
    limit: int,
) -> list[Finding]:
    """Turn the rules that did not hold into findings, and write their places to `marks_to`.

    The Parquet of marks has one line per broken place, at most `limit` per rule and field: `delivered_line`,
    `delivered_sheet`, `column`, `rule`, `severity`, `value`, `row_state`.
    """
    broken = [check for check in checks if hits[check.id]]
    parts = [(check, name, predicate) for check in broken for name, predicate in check.parts]
    if not parts:
        return [_missing_values(con, check, hits[check.id], layout) for check in broken]
    con.execute(f"create or replace temp table marks as {_places(parts, layout, limit)}")
    quoted = str(marks_to).replace("'", "''")
    con.execute(f"copy (select * exclude (field) from marks order by delivered_line) to '{quoted}' (format parquet)")
    shown, columns = _shown(con)
    return [
        _finding(check, hits[check.id], shown.get(check.id, []), columns.get(check.id, []), dialect, pack, task)
        if check.parts
        else _missing_values(con, check, hits[check.id], layout)
        for check in broken
    ]


def _places(parts: Sequence[tuple[Check, str | None, str]], layout: Layout, limit: int) -> str:
    """The query of all places where these parts of rules were broken; the text rows are read once for all of them."""
    found, labels, values = [], [], []
    for number, (check, name, predicate) in enumerate(parts):
        found.append(
            f"(select delivered_row, pivot_index, delivered_line, delivered_sheet, row_state, {number} as part, "
            f"'{check.id}' as rule, '{check.severity}' as severity, cast({_text(name)} as varchar) as field "
            f"from spotted where {predicate} order by delivered_row limit {limit})"
        )
        origin = layout.origins.get(name) if name else None
        if origin is not None:
            labels.append(f"when {number} then {'t.pivot_column' if origin.pivoted else _text(origin.column)}")
            values.append(f"when {number} then t.{name}__raw")
    label, value = (
        f"cast(case part {' '.join(cases)} end as varchar)" if cases else "cast(null as varchar)"
        for cases in (labels, values)
    )
    return (
        f"select p.delivered_line, p.delivered_sheet, {label} as column, p.rule, p.severity, {value} as value, "
        f"p.row_state, p.field from ({' union all '.join(found)}) p "
        "join text_rows t on t.delivered_row = p.delivered_row and t.pivot_index = p.pivot_index"
    )


_Shown = tuple[int | None, str | None, str | None, str | None, str | None]


def _shown(con: duckdb.DuckDBPyConnection) -> tuple[dict[str, list[_Shown]], dict[str, list[str]]]:
    """Per rule the places that serve as examples, different values first, and the sender's columns it was broken in."""
    shown: dict[str, list[_Shown]] = {}
    for rule, *place in con.execute(
        'select rule, delivered_line, delivered_sheet, "column", value, field from ('
        "select *, row_number() over (partition by rule order by again, delivered_line) as place from ("
        "select *, row_number() over (partition by rule, value, field order by delivered_line) as again from marks)) "
        f"where place <= {EXAMPLES} order by rule, place"
    ).fetchall():
        line, sheet, column, value, field = place
        shown.setdefault(rule, []).append((line, sheet, column, value, field))
    columns: dict[str, list[str]] = {}
    for rule, column in con.execute(
        'select distinct rule, "column" from marks where "column" is not null order by all'
    ).fetchall():
        columns.setdefault(rule, []).append(column)
    return shown, columns


def _finding(
    check: Check,
    rows: int,
    shown: Sequence[_Shown],
    columns: Sequence[str],
    dialect: Dialect,
    pack: RegionPack,
    task: Task,
) -> Finding:
    examples = []
    for line, sheet, column, value, field in shown:
        near: tuple[str, ...] = ()
        word_of = None
        if check.id == "values.unknown_code" and field and value:
            near, origin = _suggestions(pack, task, field, value), dialect.columns.get(field)
            word_of = field if origin is None or origin.mapping else None
        expected = _expected(check, field, dialect, pack, task, near)
        examples.append(Example(line, sheet, column, value, expected, near, word_of))
    facts = {**check.facts, "kind": check.kind, "columns": list(columns[:10])}
    return Finding(check.id, check.severity, rows, facts, tuple(examples))


def _missing_values(con: duckdb.DuckDBPyConnection, check: Check, rows: int, layout: Layout) -> Finding:
    """What should be there and is not: examples name the missing values instead of lines."""
    values = con.execute(
        f"select cast(value as varchar) from ({check.missing}) order by 1 limit {EXAMPLES * 4}"
    ).fetchall()
    listed = ", ".join(row[0] for row in values)
    columns = [o.column for name, o in layout.origins.items() if name in check.facts.get("fields", ()) and o.column]
    return Finding(
        check.id, check.severity, rows, {**check.facts, "kind": check.kind, "columns": columns, "expected": listed}
    )


def _suggestions(pack: RegionPack, task: Task, name: str, value: str) -> tuple[str, ...]:
    f = pack.contracts[task.dataset].by_name[name]
    code_list = pack.code_lists.get(f.code_list or "area")
    if code_list is None:
        return ()
    words = pack.words_of(task.supplier, code_list.spec.id)
    return tuple(
        f"{code} {code_list.codes[code].name_de}" for code in code_list.nearest(value, words) if code in code_list.codes
    )


def _expected(
    check: Check, name: str | None, dialect: Dialect, pack: RegionPack, task: Task, near: Sequence[str]
) -> dict[str, str]:
    """What would have been right here, for a person."""
    contract = pack.contracts[task.dataset]
    f = contract.by_name.get(name or "")
    match check.id:
        case "values.missing":
            return {"de": "ein Wert", "en": "a value"}
        case "values.not_a_number":
            sample = "1234,5" if dialect.decimal == "," else "1234.5"
            return {"de": f"eine Zahl wie {sample}", "en": f"a number like {sample}"}
        case "values.not_a_date" | "values.not_a_timestamp":
            origin = dialect.columns.get(name or "")
            formats = (origin.formats if origin and origin.formats else None) or (
                dialect.dates if check.id.endswith("date") else dialect.times
            )
            return {"de": f"ein Datum wie {_sample(formats[0])}", "en": f"a date like {_sample(formats[0])}"}
        case "values.not_a_boolean":
            words = ", ".join(word for listed in dialect.booleans.values() for word in listed)
            return {"de": f"eines von: {words}", "en": f"one of: {words}"}
        case "values.unknown_code":
            title = f.title if f else {}
            if near:
                return {"de": " oder ".join(near), "en": " or ".join(near)}
            if f and f.format == "ags":
                return {"de": "ein Gemeindeschlüssel mit 8 Ziffern", "en": "a municipality key of 8 digits"}
            return {
                "de": f"ein Wert der Liste {title.get('de', name)}",
                "en": f"a value of the list {title.get('en', name)}",
            }
        case "mandate.foreign_row":
            areas = ", ".join(check.facts.get("expected", ()))
            return {"de": areas, "en": areas}
        case "slot.wrong_period":
            return {"de": str(task.period), "en": str(task.period)}
        case _:
            return _bounds(check.facts)


def _bounds(facts: Mapping[str, Any]) -> dict[str, str]:
    low, high = facts.get("min_value"), facts.get("max_value")
    if low is not None and high is not None:
        return {"de": f"{low} bis {high}", "en": f"{low} to {high}"}
    if low is not None:
        return {"de": f"mindestens {low}", "en": f"at least {low}"}
    if high is not None:
        return {"de": f"höchstens {high}", "en": f"at most {high}"}
    return {}


def _sample(fmt: str) -> str:
    from datetime import datetime

    return "2025-03-31T13:45:00+02:00" if fmt == "iso" else datetime(2025, 3, 31, 13, 45).strftime(fmt)


def _text(value: str | None) -> str:
    return "null" if value is None else "'" + value.replace("'", "''") + "'"
