"""Contracts: what is promised for a dataset, once for all suppliers, read from ODCS 3.1 files.

A contract knows fields, units, code lists, rules and the calendar. How one supplier's file looks is a dialect
(`quality.dialect`); how a rule is checked is in `quality.rules`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from quality.sources import Misconfigured, Problem, content_hash, line_of, load_yaml, plain
from quality.verdict import Severity
from storage.periods import Interval

FieldType = Literal["string", "integer", "number", "date", "timestamp", "boolean"]
Texts = Mapping[str, str]

#: ODCS logical type → type of the accepted column where the contract names none.
PHYSICAL: dict[str, str] = {
    "string": "varchar",
    "integer": "bigint",
    "number": "decimal(18,6)",
    "date": "date",
    "timestamp": "timestamptz",
    "boolean": "boolean",
}
#: Rules a contract may add: a row's broken rules are the bits of one number, 126 of them, less those of the platform.
MOST_RULES = 115
#: Who may read the curated table of a dataset, from anybody to the fewest; what a contract does not say is `cooperation`.
ACCESS_LEVELS: Mapping[str, str] = {
    "open": "anybody",
    "cooperation": "the organisations of the cooperation",
    "owner": "the supplying organisation, its municipality, and the engineers of the region",
}
#: The coordinate system geometries are kept in: the official one of western Germany, in metres.
CRS = "EPSG:25832"
SEVERITIES = ("fatal", "error", "warning", "info")


@dataclass(frozen=True)
class Field:
    """One column of the accepted table.

    `format: ags` marks municipality keys, which get their leading zero back; `format: geometry` shapes, kept as WKT in `CRS`.
    """

    name: str
    type: FieldType
    physical: str
    required: bool
    key: bool
    description: str
    title: Texts
    unit: str | None = None
    code_list: str | None = None
    format: str | None = None


@dataclass(frozen=True)
class Rule:
    """One promise. Its id is the expectation's, the Dagster check's and the receipt line's name.

    `kind` is a Great Expectations type or one of ours (see `quality.rules`); `because` is written for the supplier.
    """

    id: str
    kind: str
    kwargs: Mapping[str, Any]
    severity: Severity
    because: Texts
    remedy: Texts = field(default_factory=dict)


@dataclass(frozen=True)
class Due:
    """Deadline after the end of a period: a day of the year after it, or a number of working days."""

    month: int | None = None
    day: int | None = None
    working_days: int | None = None


@dataclass(frozen=True)
class Contract:
    """A dataset's promise. `version` is the contract's own; `fingerprint` changes with any byte of the file."""

    dataset: str
    title: Texts
    version: str
    fingerprint: str
    domain: str
    tags: Sequence[str]
    purpose: str
    grain: str
    interval: Interval
    due: Due
    fields: Sequence[Field]
    rules: Sequence[Rule]
    area_field: str | None
    period_field: str | None
    period_zone: str
    reject_above_error_share: float | None
    properties: Mapping[str, Any]
    path: Path

    @property
    def access_level(self) -> str:
        return str(self.properties.get("accessLevel", "cooperation"))

    @property
    def is_internal(self) -> bool:
        """Deliveries of the platform to itself: no part of the state of supply, of the foundation or of a release."""
        return bool(self.properties.get("internal", False))

    @property
    def partial_correction(self) -> bool:
        """Whether the rows to mend may be sent back alone, in the receipt's workbook; all others stay as they were."""
        return bool(self.properties.get("partialCorrection", False))

    @cached_property
    def has_geometries(self) -> bool:
        return any(f.format == "geometry" for f in self.fields)

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        return {f.name: f for f in self.fields}

    @cached_property
    def key(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.fields if f.key)

    @cached_property
    def quantities(self) -> tuple[str, ...]:
        """The number fields, whose sums a receipt compares with the version before."""
        return tuple(f.name for f in self.fields if f.type == "number")


def load_contract(path: Path) -> Contract:
    """Read one contract.

    Raises:
        Misconfigured: Naming file, line and what was expected, for every mistake found.
    """
    data = load_yaml(path)
    problems: list[Problem] = []

    def expect(holds: bool, where: Sequence[int | str], expected: str, found: Any) -> None:
        if not holds:
            problems.append(Problem(path, line_of(data, where), expected, repr(found)))

    expect(isinstance(data, dict), [], "a mapping", data)
    if problems:
        raise Misconfigured(problems)
    dataset = str(data.get("id", ""))
    expect(path.name == f"{dataset}.odcs.yml", ["id"], f"the id {path.name.removesuffix('.odcs.yml')}", dataset)
    expect(data.get("kind") == "DataContract", ["kind"], "DataContract", data.get("kind"))
    schemas = data.get("schema") or []
    expect(len(schemas) == 1, ["schema"], "exactly one schema object", len(schemas))
    props = _properties(data)
    expect(props.get("interval") in ("yearly", "quarterly", "monthly", "daily"), ["customProperties"],
           "a custom property `interval` (yearly, quarterly, monthly or daily)", props.get("interval"))  # fmt: skip
    due = props.get("due") or {}
    expect(set(due) in ({"month", "day"}, {"workingDays"}), ["customProperties"],
           "a custom property `due` with month and day, or with workingDays", due)  # fmt: skip
    expect("title" in props, ["customProperties"], "a custom property `title` with de and en", None)
    if problems:
        raise Misconfigured(problems)

    schema = schemas[0]
    where: list[int | str]
    fields = [_field(raw) for raw in schema.get("properties") or []]
    names = [f.name for f in fields]
    for index, f in enumerate(fields):
        where = ["schema", 0, "properties", index]
        expect(f.type in PHYSICAL, [*where, "logicalType"], f"one of {', '.join(PHYSICAL)}", f.type)
        expect(names.count(f.name) == 1, where, "a field name used once", f.name)
    rules = []
    for index, raw in enumerate(schema.get("quality") or []):
        where = ["schema", 0, "quality", index]
        expect(raw.get("severity") in SEVERITIES, where, f"a severity of {', '.join(SEVERITIES)}", raw.get("severity"))
        expect(bool(raw.get("id")), where, "a rule id", raw.get("id"))
        expect(isinstance(raw.get("implementation"), dict) and "type" in raw["implementation"], where,
               "an implementation with type and kwargs", raw.get("implementation"))  # fmt: skip
        if problems:
            continue
        rule = _rule(raw)
        for column in _columns_of(rule):
            expect(column in names, where, f"a field of {dataset} ({', '.join(names)})", column)
        rules.append(rule)
    count = len(schema.get("quality") or [])
    expect(count <= MOST_RULES, ["schema", 0, "quality"],
           f"at most {MOST_RULES} rules; values that belong together fit one rule, or make two datasets of it", count)  # fmt: skip
    ids = [rule.id for rule in rules]
    for index, rule in enumerate(rules):
        expect(ids.count(rule.id) == 1, ["schema", 0, "quality", index], "a rule id used once", rule.id)
    level = props.get("accessLevel", "cooperation")
    expect(level in ACCESS_LEVELS, ["customProperties"], f"an `accessLevel` of {', '.join(ACCESS_LEVELS)}", level)
    for role in ("areaField", "periodField"):
        if props.get(role):
            expect(props[role] in names, ["customProperties"], f"`{role}` to name a field", props[role])
    if problems:
        raise Misconfigured(problems)
    return Contract(
        dataset=dataset,
        title=props["title"],
        version=str(data.get("version", "0")),
        fingerprint=content_hash(path),
        domain=str(data.get("domain", "")),
        tags=tuple(plain(data.get("tags") or [])),
        purpose=str((data.get("description") or {}).get("purpose", "")).strip(),
        grain=str(schema.get("description", "")),
        interval=props["interval"],
        due=Due(due.get("month"), due.get("day"), due.get("workingDays")),
        fields=tuple(fields),
        rules=tuple(rules),
        area_field=props.get("areaField"),
        period_field=props.get("periodField"),
        period_zone=props.get("periodZone", "Europe/Berlin"),
        reject_above_error_share=props.get("rejectAboveErrorShare"),
        properties=props,
        path=path,
    )


def load_contracts(*folders: Path) -> dict[str, Contract]:
    """Read every `*.odcs.yml` of the folders, by dataset; a later folder may add datasets, not redefine them.

    Raises:
        Misconfigured: With the problems of all files together.
    """
    contracts: dict[str, Contract] = {}
    problems: list[Problem] = []
    for path in (path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.odcs.yml"))):
        try:
            contract = load_contract(path)
        except Misconfigured as error:
            problems += error.problems
            continue
        if contract.dataset in contracts:
            known = contracts[contract.dataset].path
            problems.append(Problem(path, 1, f"a dataset that is not yet defined in {known}", contract.dataset))
        contracts[contract.dataset] = contract
    if problems:
        raise Misconfigured(problems)
    return contracts


def _properties(data: Any) -> dict[str, Any]:
    return {str(item["property"]): plain(item["value"]) for item in data.get("customProperties") or []}


def _field(raw: Any) -> Field:
    props = _properties(raw)
    logical = str(raw.get("logicalType"))
    return Field(
        name=str(raw["name"]),
        type=logical,  # type: ignore[arg-type]  # checked right after, with its line
        physical=str(raw.get("physicalType") or PHYSICAL.get(logical, "varchar")),
        required=bool(raw.get("required")),
        key=bool(raw.get("primaryKey")),
        description=str(raw.get("description", "")).strip(),
        title=props.get("title") or {"de": str(raw["name"]), "en": str(raw["name"])},
        unit=props.get("unit"),
        code_list=props.get("codeList"),
        format=props.get("format"),
    )


def _rule(raw: Any) -> Rule:
    props = _properties(raw)
    english = str(raw.get("description", "")).strip()
    return Rule(
        id=str(raw["id"]),
        kind=str(raw["implementation"]["type"]),
        kwargs=plain(raw["implementation"].get("kwargs") or {}),
        severity=raw["severity"],
        because=props.get("because") or {"en": english},
        remedy=props.get("remedy") or {},
    )


def _columns_of(rule: Rule) -> list[str]:
    single = [rule.kwargs[name] for name in ("column", "column_A", "column_B") if name in rule.kwargs]
    many = [column for name in ("by", "columns", "column_list") for column in rule.kwargs.get(name, [])]
    sides = [column for name in ("left", "right") for column in rule.kwargs.get(name, {})]
    return [*single, *many, *sides]
