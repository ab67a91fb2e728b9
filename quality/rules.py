"""Rules as data: what every delivery must hold, what a contract adds, and the predicate that is true for a bad row.

Each rule has one id. Its predicates decide the state of rows here; the same promise goes to Great Expectations through
`expected` (see `quality.expectations`). A test holds for every rule that both count the same rows.

Kinds a contract may name: the Great Expectations types in `_ROW_KINDS`, and our own
`unexpected_rows` (a condition), `group_holds` (two sums agree per group), `change_within` (against an earlier accepted
version), `day_complete` (all intervals of each local day), `covers` (all areas of the mandate, all days of the period).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from quality.arithmetic import widened
from quality.contract import Contract, Rule
from quality.conversion import Layout
from quality.expectations import Expected
from quality.sources import Misconfigured, Problem
from quality.verdict import Severity
from storage.periods import Period, previous

#: Rules every dataset has by nature; a contract cannot leave them out. Their texts are in the message catalogues.
PLATFORM_RULES: Mapping[str, Severity] = {
    "values.missing": "error",
    "values.not_a_number": "error",
    "values.not_a_date": "error",
    "values.not_a_timestamp": "error",
    "values.not_a_boolean": "error",
    "values.not_a_geometry": "error",
    "values.unknown_code": "error",
    "values.leading_zero_restored": "info",
    "keys.duplicate": "error",
    "mandate.foreign_row": "error",
    "slot.wrong_period": "error",
}
_TYPE_RULES = {
    "number": "values.not_a_number",
    "integer": "values.not_a_number",
    "date": "values.not_a_date",
    "timestamp": "values.not_a_timestamp",
    "boolean": "values.not_a_boolean",
}


@dataclass(frozen=True)
class Check:
    """One rule, ready to run on the relation `judged` (`typed` and a column for each kind of bad group).

    Attributes:
        id: The rule's id, everywhere.
        kind: Platform rule's own id or the contract's kind; picks the message.
        parts: (field or None, predicate) pairs; a row is bad where any predicate is true. Predicates are never null.
        groups: Query of the bad groups of `typed`; `judged` gets a column `bad_<number>` that is true for their rows.
        group_by: Expressions of `typed` that find a row's group, in the order of the columns of `groups`.
        number: 0 for the key, else the place of the rule in the contract counted from 1.
        looks_at: The one column that a costly predicate looks at; it may be asked once per value, see `once_per_value`.
        missing: Query whose rows are what should be there and is not; nothing to mark in the file.
        expected: The same promise for Great Expectations.
    """

    id: str
    kind: str
    severity: Severity
    parts: Sequence[tuple[str | None, str]]
    expected: Expected
    facts: Mapping[str, Any] = field(default_factory=dict)
    groups: str | None = None
    group_by: Sequence[str] = ()
    number: int = 0
    missing: str | None = None
    looks_at: str | None = None

    @property
    def predicate(self) -> str:
        return " or ".join(f"({predicate})" for _, predicate in self.parts) or "false"


@dataclass(frozen=True)
class Scope:
    """What rules need to know beside the rows: the slot's period, the mandate's areas, where earlier rows lie.

    `previous_period` and `previous_version` name relations of accepted rows, or are None where nothing was accepted.
    """

    period: Period
    area_prefixes: Sequence[str]
    areas: Sequence[str] = ()
    previous_period: str | None = None
    previous_version: str | None = None


def rule_ids(contract: Contract) -> list[tuple[str, Severity, Mapping[str, str]]]:
    """Id, severity and reason of every rule of a dataset that is checked on rows; also the Dagster checks."""
    return [(check_id, severity, {}) for check_id, severity in _platform_rules(contract)] + [
        (rule.id, rule.severity, rule.because) for rule in contract.rules
    ]


def checks_for(contract: Contract, layout: Layout, scope: Scope) -> list[Check]:
    """Every rule of the contract and the platform as a check on `typed`.

    Raises:
        Misconfigured: A contract names a kind that does not exist.
    """
    checks = [
        check for rule_id, _ in _platform_rules(contract) if (check := _platform(rule_id, contract, layout, scope))
    ]
    return checks + [_contract_check(contract, rule, index, scope) for index, rule in enumerate(contract.rules)]


def once_per_value(check: Check) -> Check:
    """The same check with its predicate asked once per value; of use where few values stand in many rows.

    A pattern costs 0.17 µs a row, which is as much as grouping by a key.
    """
    column = check.looks_at
    # the count keeps the predicate from being pushed down to the rows again
    groups = (
        f"select {column} from (select {column}, count(*) as n from typed where ignored is null group by {column}) "
        f"where case when n > 0 then {check.predicate} else false end"
    )
    parts = [(column, f"bad_{check.number}")]
    return replace(check, parts=parts, groups=groups, group_by=[str(column)], looks_at=None)


def _platform_rules(contract: Contract) -> list[tuple[str, Severity]]:
    types = {_TYPE_RULES.get(f.type) for f in contract.fields}
    has = {
        "values.missing": any(f.required for f in contract.fields),
        "values.not_a_geometry": contract.has_geometries,
        "values.unknown_code": any(f.code_list or f.format == "ags" for f in contract.fields),
        "values.leading_zero_restored": any(f.format == "ags" for f in contract.fields),
        "keys.duplicate": bool(contract.key),
        "mandate.foreign_row": contract.area_field is not None,
        "slot.wrong_period": contract.period_field is not None,
    }
    return [(rule, severity) for rule, severity in PLATFORM_RULES.items() if has.get(rule, rule in types)]


def _platform(rule_id: str, contract: Contract, layout: Layout, scope: Scope) -> Check | None:
    given = [f for f in contract.fields if f.name in layout.origins]
    parts: list[tuple[str | None, str]] = []
    facts: dict[str, Any] = {}
    groups: str | None = None
    group_by: list[str] = []
    match rule_id:
        case "values.missing":
            for f in (f for f in contract.fields if f.required):
                mark = f"{f.name}__{'unknown' if f.type == 'string' and f.format != 'geometry' else 'invalid'}"
                marked = f.name in layout.origins and (f.type != "string" or f.code_list or f.format)
                parts.append((f.name, f"{f.name} is null" + (f" and not {mark}" if marked else "")))
        case "values.unknown_code":
            parts = [(f.name, f"{f.name}__unknown") for f in given if f.code_list or f.format == "ags"]
        case "values.not_a_geometry":
            parts = [(f.name, f"{f.name}__invalid") for f in given if f.format == "geometry"]
        case "values.leading_zero_restored":
            parts = [(f.name, f"{f.name}__restored") for f in given if f.format == "ags"]
        case "keys.duplicate":
            group_by = [f"hash({', '.join(contract.key)})"]
            keyed = f"ignored is null and {_has_key(contract)}"
            # hashes are grouped in half the time; what they cannot tell apart is looked at again
            again = f"select {group_by[0]} from typed where {keyed} group by 1 having count(*) > 1"
            names = ", ".join(contract.key)
            groups = (
                f"select distinct {group_by[0]} as g0 from (select {names} from typed where {keyed} "
                f"and {group_by[0]} in ({again}) group by {names} having count(*) > 1)"
            )
            parts = [(None, "bad_0")]
            facts["fields"] = list(contract.key)
        case "mandate.foreign_row":
            name = contract.area_field
            inside = " or ".join(f"starts_with({name}, '{prefix}')" for prefix in scope.area_prefixes)
            parts = [(name, f"coalesce(not ({inside or 'true'}), false)")]
            facts["expected"] = list(scope.area_prefixes)
        case "slot.wrong_period":
            parts = [(contract.period_field, _outside_period(contract, scope.period))]
            facts["expected"] = str(scope.period)
        case _:
            parts = [(f.name, f"{f.name}__invalid") for f in given if _TYPE_RULES.get(f.type) == rule_id]
    if not parts:
        parts = [(None, "false")]
    condition = " or ".join(f"({p})" for _, p in parts)
    expected = Expected(rule_id, "unexpected_rows", {"condition": condition})
    if rule_id == "keys.duplicate":
        expected = _unique(rule_id, contract)
    return Check(rule_id, rule_id, PLATFORM_RULES[rule_id], parts, expected, facts, groups, group_by)


def _has_key(contract: Contract) -> str:
    """True for rows whose key can be told: a required part that is missing is a finding of its own, not a value.

    An optional part may be empty; empty is then a value like any other.
    """
    required = [name for name in contract.key if contract.by_name[name].required]
    return " and ".join(f"{name} is not null" for name in required) or "true"


def _unique(rule_id: str, contract: Contract) -> Expected:
    columns = list(contract.key)
    if any(not contract.by_name[name].required for name in columns):
        # GX leaves rows with an empty key column out; an empty column is part of our key
        listed = ", ".join(columns)
        shown = ", ".join(f"coalesce(cast({name} as varchar), '')" for name in columns)
        counted = (
            f"select *, count(*) over (partition by {shown}) as key_count from {{batch}} where {_has_key(contract)}"
        )
        return Expected(rule_id, "unexpected_rows", {"query": f"select {listed} from ({counted}) where key_count > 1"})
    if len(columns) == 1:
        return Expected(rule_id, "expect_column_values_to_be_unique", {"column": columns[0]})
    return Expected(rule_id, "expect_compound_columns_to_be_unique", {"column_list": columns})


def _outside_period(contract: Contract, period: Period) -> str:
    name = contract.period_field
    assert name is not None
    match contract.by_name[name].type:
        case "integer":
            return f"coalesce({name} <> {period.start.year}, false)"
        case "timestamp":
            zone = contract.period_zone
            low, high = (f"timezone('{zone}', timestamp '{day} 00:00:00')" for day in (period.start, period.end))
            return f"coalesce({name} < {low} or {name} >= {high}, false)"
        case "string":
            return f"coalesce({name} <> '{period}', false)"
        case _:
            return f"coalesce({name} < date '{period.start}' or {name} >= date '{period.end}', false)"


# --- rules a contract adds ---


def _contract_check(contract: Contract, rule: Rule, index: int, scope: Scope) -> Check:
    facts: dict[str, Any] = {"kind": rule.kind, "because": dict(rule.because), **_message_facts(rule)}
    if rule.remedy:
        facts["remedy"] = dict(rule.remedy)
    if rule.kind == "change_within" and rule.kwargs.get("against") != "previous_version":
        facts["compared_with"] = str(previous(scope.period))
    if make := _ROW_KINDS.get(rule.kind):
        parts = make(_computable(contract, rule.kwargs))
        looks_at = rule.kwargs["column"] if rule.kind == "expect_column_values_to_match_regex" else None
        return Check(
            rule.id, rule.kind, rule.severity, parts, _gx(rule, parts), facts, number=index + 1, looks_at=looks_at
        )
    group_kinds: dict[str, Callable[[Rule, Scope], tuple[str, list[str], str | None]]] = {
        "group_holds": _group_holds,
        "change_within": _change_within,
        "day_complete": _day_complete,
    }
    if make_groups := group_kinds.get(rule.kind):
        groups, group_by, column = make_groups(rule, scope)
        parts = [(column, f"bad_{index + 1}")]
        expected = Expected(rule.id, "unexpected_rows", {"condition": parts[0][1]}, rule.because.get("en", ""))
        return Check(rule.id, rule.kind, rule.severity, parts, expected, facts, groups, group_by, index + 1)
    if rule.kind == "covers":
        missing = _covers(contract, rule, scope)
        query = missing.replace("from typed where ignored is null", "from {batch} where true")
        expected = Expected(rule.id, "unexpected_rows", {"query": query}, rule.because.get("en", ""))
        return Check(rule.id, rule.kind, rule.severity, (), expected, facts, missing=missing)
    known = ", ".join([*_ROW_KINDS, *group_kinds, "covers"])
    raise Misconfigured([Problem(contract.path, 1, f"a rule kind ({known})", f"{rule.kind} in rule {rule.id}")])


def _computable(contract: Contract, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    if "condition" not in kwargs:
        return kwargs
    numbers = tuple((f.name, f.physical) for f in contract.fields if f.type in ("number", "integer"))
    return {**kwargs, "condition": widened(kwargs["condition"], numbers)}


def _message_facts(rule: Rule) -> dict[str, Any]:
    kwargs = rule.kwargs
    facts: dict[str, Any] = {
        name: kwargs[name] for name in ("min_value", "max_value", "value_set", "regex") if name in kwargs
    }
    facts["fields"] = [
        *(kwargs[name] for name in ("column", "column_A", "column_B") if name in kwargs),
        *kwargs.get("columns", ()),
        *kwargs.get("column_list", ()),
    ]
    if "tolerance" in kwargs or "max_change" in kwargs:
        facts["limit"] = kwargs.get("tolerance", kwargs.get("max_change"))
    return facts


def _gx(rule: Rule, parts: Sequence[tuple[str | None, str]]) -> Expected:
    because = rule.because.get("en", "")
    if rule.kind == "unexpected_rows":
        return Expected(rule.id, rule.kind, {"condition": parts[0][1]}, because)
    return Expected(rule.id, rule.kind, {name: _plain(value) for name, value in rule.kwargs.items()}, because)


def _plain(value: Any) -> Any:
    """Numbers out of YAML carry how they were written; whoever writes SQL from them knows plain ones only."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _group_holds(rule: Rule, scope: Scope) -> tuple[str, list[str], str | None]:
    """Both sums of a group agree within the tolerance, where both sides are stated."""
    del scope
    by, column = list(rule.kwargs["by"]), rule.kwargs["column"]
    left, right = (_side(rule.kwargs[name]) for name in ("left", "right"))
    tolerance = float(rule.kwargs.get("tolerance", 0))
    sums = [f"sum(cast({column} as double)) filter (where {side})" for side in (left, right)]
    listed = ", ".join(by)
    return (
        f"select {listed} from typed where ignored is null group by {listed} "
        f"having {sums[0]} is not null and {sums[1]} is not null "
        # the absolute part keeps rounding in the sender's own sums from being a finding
        f"and abs({sums[0]} - {sums[1]}) > {tolerance} * greatest(abs({sums[0]}), abs({sums[1]})) + 1e-6"
    ), by, column  # fmt: skip


def _change_within(rule: Rule, scope: Scope) -> tuple[str, list[str], str | None]:
    """A group's sum differs from the earlier one by no more than the limit, where there is an earlier one.

    Earlier is what was served when this delivery was judged, of whoever delivered it; the finding names that period. What
    is accepted for it later (a late first delivery, a correction) changes no verdict that was given, so two periods that
    arrive in another order may get other warnings. Judging again compares with what is served then.
    """
    by, column = list(rule.kwargs["by"]), rule.kwargs["column"]
    listed = ", ".join(by)
    earlier = scope.previous_version if rule.kwargs.get("against") == "previous_version" else scope.previous_period
    if earlier is None:
        return f"select {listed} from typed where false", by, column
    same = " and ".join(f"n.{name} is not distinct from o.{name}" for name in by)
    sums = f"sum(cast({column} as double)) as total"
    return (
        f"select {', '.join(f'n.{name}' for name in by)} "
        f"from (select {listed}, {sums} from typed where ignored is null group by {listed}) n "
        f"join (select {listed}, {sums} from {earlier} group by {listed}) o on {same} "
        f"where abs(n.total - o.total) > {float(rule.kwargs['max_change'])} * abs(o.total)"
    ), by, column  # fmt: skip


def _day_complete(rule: Rule, scope: Scope) -> tuple[str, list[str], str | None]:
    """Every local day that occurs has all its intervals: 96, 92 or 100 quarter hours."""
    del scope
    by, column, zone = list(rule.kwargs["by"]), rule.kwargs["column"], rule.kwargs["zone"]
    minutes = int(rule.kwargs["minutes"])
    day = f"cast(timezone('{zone}', {column}) as date)"
    listed = ", ".join([*by, day])
    bounds = [f"timezone('{zone}', cast({bound} as timestamp))" for bound in ("local_day", "local_day + 1")]
    return (
        f"select {', '.join(by)}, local_day from (select {listed.replace(day, f'{day} as local_day')}, count(distinct {column}) as n "
        f"from typed where ignored is null and {column} is not null group by {listed}) "
        f"where n <> date_diff('minute', {bounds[0]}, {bounds[1]}) // {minutes}"
    ), [*by, day], column  # fmt: skip


def _covers(contract: Contract, rule: Rule, scope: Scope) -> str:
    column, what = rule.kwargs["column"], rule.kwargs["of"]
    if what == "mandate_areas":
        wanted = [f"('{area}')" for area in scope.areas] or ["(null)"]
        values = (
            f"select cast(value as varchar) as value from (values {', '.join(wanted)}) w(value) where value is not null"
        )
    elif what == "days_of_period":
        values = (
            f"select cast(value as date) as value from generate_series(date '{scope.period.start}', "
            f"date '{scope.period.end}' - 1, interval 1 day) s(value)"
        )
        f = contract.by_name[column]
        column = f"cast(timezone('{contract.period_zone}', {column}) as date)" if f.type == "timestamp" else column
    else:
        raise Misconfigured(
            [Problem(contract.path, 1, "`of: mandate_areas` or `of: days_of_period`", f"{what} in {rule.id}")]
        )
    return f"select value from ({values}) where value not in (select {column} from typed where ignored is null and {column} is not null)"


def _side(where: Mapping[str, Sequence[str]]) -> str:
    return " and ".join(f"{name} in ({', '.join(_literal(v) for v in values)})" for name, values in where.items())


def _literal(value: Any) -> str:
    if isinstance(value, str | date):
        return "'" + str(value).replace("'", "''") + "'"
    return str(value)


def _not_null(kwargs: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    return [(kwargs["column"], f"{kwargs['column']} is null")]


def _between(kwargs: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    column = kwargs["column"]
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    bad = []
    if low is not None:
        bad.append(f"{column} {'<=' if kwargs.get('strict_min') else '<'} {_literal(low)}")
    if high is not None:
        bad.append(f"{column} {'>=' if kwargs.get('strict_max') else '>'} {_literal(high)}")
    return [(column, f"coalesce({' or '.join(bad) or 'false'}, false)")]


def _in_set(kwargs: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    column, listed = kwargs["column"], ", ".join(_literal(value) for value in kwargs["value_set"])
    return [(column, f"coalesce({column} not in ({listed}), false)")]


def _match_regex(kwargs: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    column = kwargs["column"]
    return [(column, f"coalesce(not regexp_matches({column}, {_literal(kwargs['regex'])}), false)")]


def _lengths(kwargs: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    column = kwargs["column"]
    low, high = int(kwargs.get("min_value") or 0), kwargs.get("max_value")
    bad = f"length({column}) < {low}" + (f" or length({column}) > {int(high)}" if high is not None else "")
    return [(column, f"coalesce({bad}, false)")]


def _pair(kwargs: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    a, b = kwargs["column_A"], kwargs["column_B"]
    return [(a, f"coalesce({a} {'<' if kwargs.get('or_equal') else '<='} {b}, false)")]


def _condition(kwargs: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    columns = kwargs.get("columns") or [None]
    return [(columns[0], f"coalesce({kwargs['condition']}, false)")]


_ROW_KINDS: Mapping[str, Callable[[Mapping[str, Any]], list[tuple[str | None, str]]]] = {
    "expect_column_values_to_not_be_null": _not_null,
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_match_regex": _match_regex,
    "expect_column_value_lengths_to_be_between": _lengths,
    "expect_column_pair_values_a_to_be_greater_than_b": _pair,
    "unexpected_rows": _condition,
}
