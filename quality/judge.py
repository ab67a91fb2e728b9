"""Judging one delivery: read, convert, check every rule, give every row its state. Nothing is stored here.

Exceptions mean the platform is broken (`PlatformTrouble`); whatever is wrong with the bytes becomes a verdict. Who
calls this and what happens to the verdict is in `quality.desk`.
"""

from __future__ import annotations

import itertools
import os
import re
import uuid
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from quality import conversion, findings, forms
from quality.codelists import lookup_key
from quality.contract import Contract
from quality.dialect import Dialect
from quality.errors import PlatformTrouble
from quality.expectations import Expectations
from quality.mending import Mends, mend, without_status
from quality.reading import read_as, reading_of
from quality.region import Mandate, RegionPack
from quality.rules import Check, Scope, checks_for, once_per_value
from quality.verdict import Changes, Finding, Outcome, RowCounts, State, Verdict, Versions
from storage import clock, lake
from storage.accepted import RowsFile
from storage.periods import Period, previous
from storage.readers import Landed, Unreadable, read
from storage.readers.base import FormatSpec

#: From this many landed rows on, typed rows are written to Parquet instead of held in memory.
LARGE = 200_000
#: How typed rows are written. The second version of the format took 0.64 µs a row of quarter hours where the first took
#: 0.72, and a fifth of the space; zstd is what the lake writes, which takes the file over.
PARQUET = "format parquet, compression zstd, parquet_version v2"
#: The lake takes the file of typed rows over unless more than this share of it would have to be replaced.
REPLACED_AT_MOST = 0.2
#: At most this many places per rule and field are marked in a receipt; the counts are always exact.
MARKS = 2_000

ACCEPTED_PROVENANCE = (
    ("supplier_id", "varchar"), ("period", "varchar"), ("delivery_id", "varchar"), ("attempt", "integer"),
    ("delivered_line", "bigint"), ("delivered_sheet", "varchar"), ("row_warnings", "varchar"),
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """What is to be judged: a delivery's name and its bytes. `served` tells whether the slot has accepted rows."""

    delivery: str
    supplier: str
    dataset: str
    period: Period
    attempt: int
    sha256: str
    file_name: str
    source: Path | None
    nothing_to_report: bool = False
    mends: Mends | None = None
    """What `source` goes back to, where it is a workbook of mended rows."""
    dialect: str | None = None
    """Which of the agreed dialects the sender chose; None where the file tells it."""
    takes_no_place: bool = False
    """Nothing else was ever delivered for its slot: the lake need not be asked what it takes the place of."""


@dataclass(frozen=True)
class Judged:
    """A verdict with the relations that hold its rows, until `Bench.forget` drops them.

    `accepted` has the columns of the accepted table, `quarantined` those of the lake's `quarantine`; None where no row
    is to be stored. `file` holds the rows of `accepted` of a large delivery, for the lake to take over. `landed` and
    `marks` are Parquet files for the receipt.
    """

    task: Task
    verdict: Verdict
    accepted: str | None = None
    quarantined: str | None = None
    landed: Path | None = None
    marks: Path | None = None
    format: str | None = None
    relations: Sequence[str] = ()
    files: Sequence[Path] = ()
    file: RowsFile | None = None


class Bench:
    """What a judge holds while it works: a region pack and one DuckDB connection with the lake attached.

    The connection carries the pack's code lists as the table `code_words`; Great Expectations is held on it too.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, pack: RegionPack, work: Path) -> None:
        self.connection, self.pack, self.work = connection, pack, work
        self.expectations = Expectations(connection)
        self._numbers = itertools.count(1)
        # other processes work in the same folder
        self.name = uuid.uuid4().hex
        (threads,) = connection.execute("select current_setting('threads')").fetchone() or (1,)
        self._most_threads = self._threads = int(threads)
        work.mkdir(parents=True, exist_ok=True)
        self.adopt(pack)

    def adopt(self, pack: RegionPack) -> None:
        """Work under another state of the region pack from now on."""
        self.pack = pack
        rows = [
            (name, key, entry.code, "*", entry.valid_from, entry.valid_to, 1)
            for name, code_list in pack.code_lists.items()
            for entry in code_list.entries
            for key in code_list.variants(entry.code)
        ]
        rows += [
            (
                m.code_list,
                lookup_key(m.word),
                m.code,
                m.supplier,
                m.valid_from,
                m.valid_to,
                0 if m.supplier != "*" else 2,
            )
            for m in pack.mappings
        ]
        # through Parquet: handing DuckDB a frame or lists would import pandas, 1.5 s of a short command's life
        file = self.work / f"code_words-{pack.fingerprint}.parquet"
        if not file.exists():
            import polars as pl

            columns = ["list", "key", "code", "supplier", "valid_from", "valid_to", "rank"]
            fresh = file.with_suffix(f".{os.getpid()}.tmp")
            pl.DataFrame(rows, schema=columns, orient="row").write_parquet(fresh)
            fresh.replace(file)
        self.connection.execute(
            f"create or replace temp table code_words as select * from read_parquet({_text(str(file))})"
        )

    def next_number(self) -> int:
        return next(self._numbers)

    def share_out(self, large: bool) -> None:
        """Let all threads work, or one: handing 300 rows from thread to thread costs a third more than working them."""
        threads = self._most_threads if large else 1
        if threads != self._threads:
            self.connection.execute(f"set threads = {threads}")
            self._threads = threads

    def forget(self, judged: Judged) -> None:
        """Drop what a judged delivery left in the connection and the work folder."""
        for relation in judged.relations:
            kind, name = relation.split(" ", 1)
            self.connection.execute(f"drop {kind} if exists {name}")
        for file in judged.files:
            file.unlink(missing_ok=True)


def judge(bench: Bench, task: Task, *, landed_to: Path, marks_to: Path) -> Judged:
    """Judge one delivery.

    Args:
        bench: Held connection and pack.
        task: The delivery; its bytes lie in `task.source`.
        landed_to: Parquet file for the text cells.
        marks_to: Parquet file for the places where rules were broken.

    Returns:
        The verdict, and where its rows are.

    Raises:
        PlatformTrouble: The work could not be done; nothing is known about the delivery.
    """
    pack = bench.pack
    contract = pack.contracts.get(task.dataset)
    mandate = pack.mandate(task.supplier, task.dataset, task.period.start, task.period.end)
    if contract is None or mandate is None:
        return Judged(task, _no_mandate(pack, contract, task))
    file_name = task.mends.file_name if task.mends and task.mends.whole else task.file_name
    whole = task.mends.whole if task.mends and task.mends.whole else task.source
    chosen = task.mends.dialect if task.mends and task.mends.whole else task.dialect
    reading = reading_of(pack, contract, mandate, whole, file_name, chosen)
    dialect, mark = reading.dialect, reading.mark
    versions = Versions(contract.fingerprint, reading.fingerprint, pack.mappings_version(task.supplier))
    if task.period.interval != contract.interval:
        wrong = Finding("slot.not_owed", "fatal", 0, {"expected": contract.interval, "found": str(task.period)})
        return Judged(task, _rejected(task, versions, [wrong]))
    if task.nothing_to_report:
        return Judged(task, _verdict(task, versions, "nothing_to_report", RowCounts(), [], []))
    if task.source is None:
        raise PlatformTrouble("a delivery without bytes cannot be judged", cause=task.delivery)
    landed_to.parent.mkdir(parents=True, exist_ok=True)
    spec = dialect.layout()
    landed = _land(task, task.source, spec, landed_to, mark, forms.figures_of(contract, dialect))
    others = len(mandate.dialects) - 1
    if isinstance(landed, Finding):
        unread = replace(_rejected(task, versions, [landed]), read_as=read_as(reading, file_name, (), others))
        return Judged(task, unread, format=spec.type)
    notes = [
        Finding(note.rule, note.severity, 0, {**note.facts, "line": note.line, "sheet": note.sheet})
        for note in landed.notes
    ]
    try:
        judged = _Judging(bench, task, contract, dialect, mandate, versions, landed, marks_to).run(notes)
    except duckdb.Error as error:
        raise PlatformTrouble("a delivery could not be judged", cause=str(error), delivery=task.delivery) from error
    told = read_as(reading, file_name, landed.columns, others)
    return replace(judged, verdict=replace(judged.verdict, read_as=told))


def _land(
    task: Task, source: Path, spec: FormatSpec, to: Path, mark: forms.Mark | None, figures: frozenset[str]
) -> Landed | Finding:
    """Read what was sent, or what mended rows go back to with those rows in their places; why not, where it cannot be."""
    mends = task.mends or Mends(source, task.file_name)
    if mends.whole is None:
        return mends.problem or Finding("file.unreadable", "fatal", 0)
    try:
        landed: Landed | Finding = without_status(read(mends.whole, spec, to, name=mends.file_name))
        if isinstance(landed, Landed) and mark is not None:
            landed = forms.without_example(landed, mark) if mark.example else landed
            landed = forms.without_unfilled(landed, figures)
    except Unreadable as error:
        facts = {**error.facts, "line": error.line} if error.line else error.facts
        return Finding(error.rule, "fatal", 0, facts)
    for answer in mends.answers:
        if isinstance(landed, Landed):
            landed = mend(landed, answer, spec)
    return landed


class _Judging:
    """The steps of one judging; each leaves a relation the next one reads."""

    def __init__(
        self, bench: Bench, task: Task, contract: Contract, dialect: Dialect, mandate: Mandate,
        versions: Versions, landed: Landed, marks_to: Path,
    ) -> None:  # fmt: skip
        self.bench, self.task, self.contract, self.dialect = bench, task, contract, dialect
        self.mandate, self.versions, self.landed, self.marks_to = mandate, versions, landed, marks_to
        self.con = bench.connection
        self.large = landed.rows > LARGE
        self.file_name = task.mends.file_name if task.mends and task.mends.whole else task.file_name
        self.number = bench.next_number()
        self.relations: list[str] = []
        self.files: list[Path] = []
        self.typed_file: Path | None = None

    def run(self, notes: list[Finding]) -> Judged:
        self.bench.share_out(self.large)
        self.con.execute(
            f"create or replace temp view landed as select * from read_parquet({_text(str(self.landed.path))})"
        )
        layout = conversion.lay_out(
            self.contract, self.dialect, self.landed, file_name=self.file_name, period=self.task.period,
            tidy=self._tidy() if self.large else frozenset(),
        )  # fmt: skip
        found = [*notes, *layout.findings]
        if self.landed.rows == 0:
            found.append(Finding("rows.none", "fatal", 0))
        if layout.broken or any(finding.severity == "fatal" for finding in found):
            ignored = self._one("select count(*) from landed where ignored_by is not null")
            return self._done(_rejected(self.task, self.versions, found, self.landed.rows, ignored))
        self._type_rows(layout)
        if self._one("select count(*) from typed where ignored is null") == 0:
            found.append(Finding("rows.none", "fatal", 0))
            total = self._one("select count(*) from typed")
            return self._done(_rejected(self.task, self.versions, found, total, total))
        repeating = self._repeating()
        checks = [self._with_days(check) for check in checks_for(self.contract, layout, self._scope())]
        checks = [once_per_value(check) if check.looks_at in repeating else check for check in checks]
        self._judge_rows(checks)
        counts, hits = self._count(checks)
        outcomes = self._ask_great_expectations(checks, hits, repeating)
        found += findings.findings_of(
            self.con, checks, hits, layout, self.dialect, self.bench.pack, self.task, self.marks_to, limit=MARKS
        )
        return self._conclude(checks, counts, found, outcomes)

    def _tidy(self) -> frozenset[str]:
        """The landed columns, of the first hundred, whose cells need no cleaning."""
        columns = self.landed.columns[:100]
        told = self.con.execute(conversion.tidy_sql(self.dialect, columns)).fetchone() or ()
        return frozenset(column for column, is_tidy in zip(columns, told, strict=False) if is_tidy)

    def _type_rows(self, layout: conversion.Layout) -> None:
        if self.large:
            self._see("text_rows", layout.raw_sql)
        else:
            self._keep("text_rows", layout.raw_sql)
        self.con.execute(
            "create or replace temp table code_lookup as select list, key, min_by(code, rank) as code from code_words "
            f"where supplier in ('*', {_text(self.task.supplier)}) and valid_from < date '{self.task.period.end}' "
            f"and valid_to >= date '{self.task.period.start}' group by list, key"
        )
        self.con.execute(
            f"create or replace temp table instants as {conversion.instants_sql(self.contract, self.dialect, layout)}"
        )
        if shapes := conversion.shapes_sql(self.contract, layout):
            lake.load_spatial(self.con)
            self.con.execute(f"create or replace temp table shapes as {shapes}")
        second = conversion.second_pass_sql(self.contract, layout)
        two_passes = bool(second) and self._one("select count(*) from instants where is_ambiguous") > 0
        if two_passes:
            self.con.execute(f"create or replace temp table passes as {second}")
        sql = conversion.typed_sql(self.contract, self.dialect, layout, two_passes=two_passes)
        if self.large:
            self._write_typed(sql)
        else:
            self._keep("typed", sql)

    def _write_typed(self, sql: str) -> None:
        """Write typed rows to a file that may become one of the lake's, with the types that were promised."""
        same = {} if self.dialect.pivot else {"pivot_index": "0", "pivot_column": "cast(null as varchar)"}
        if self._one("select count(ignored) from text_rows") == 0:
            same["ignored"] = "cast(null as varchar)"
        promised = ", ".join(f"cast({f.name} as {f.physical}) as {f.name}" for f in self.contract.fields)
        file = self.bench.work / f"typed_{self.bench.name}_{self.number}.parquet"
        # a column that says the same in every row costs 0.04 µs a row all the same
        left_out = f"exclude ({', '.join(same)})" if same else ""
        warnings = "cast(null as varchar) as row_warnings"
        written = f"select * {left_out} replace ({promised}), {warnings} from ({sql})"
        self.con.execute(f"copy ({written}) to {_text(str(file))} ({PARQUET})")
        self.files.append(file)
        added = "".join(f", {value} as {name}" for name, value in same.items())
        self._see("typed", f"select *{added} from read_parquet({_text(str(file))})")
        self.typed_file = file

    def _repeating(self) -> frozenset[str]:
        """Columns of a large delivery in which few values stand in many rows: the writer made dictionaries of them."""
        if self.typed_file is None:
            return frozenset()
        told = self.con.execute(
            f"select path_in_schema from parquet_metadata({_text(str(self.typed_file))}) "
            "group by 1 having bool_and(dictionary_page_offset is not null)"
        ).fetchall()
        return frozenset(name for (name,) in told)

    def _scope(self) -> Scope:
        table, prefixes = f"accepted.{self.contract.dataset}", self.mandate.areas
        areas = [
            a.area_code for a in self.bench.pack.region.areas if not prefixes or a.area_code.startswith(tuple(prefixes))
        ]
        rules = [rule for rule in self.contract.rules if rule.kind == "change_within"]
        wanted = {rule.kwargs.get("against", "previous_period") for rule in rules}
        compared = ", ".join(sorted({name for rule in rules for name in (*rule.kwargs["by"], rule.kwargs["column"])}))

        def rows_of(period: Period) -> str | None:
            relation = f"select {compared} from {table} where period = '{period}'"
            if not self.large:
                # each look into the lake costs 15 ms and more, whatever is found
                relation = f"select * from {self._keep('earlier', relation)}"
            return f"({relation})" if self._one(f"select count(*) from ({relation} limit 1)") else None

        return Scope(
            self.task.period, prefixes, areas,
            rows_of(previous(self.task.period)) if "previous_period" in wanted else None,
            self._replaced if "previous_version" in wanted else None,
        )  # fmt: skip

    @cached_property
    def _replaced(self) -> str | None:
        """The rows this delivery takes the place of; None where there are none.

        They are those served for the slot. Where the delivery itself is served already (its judge died before the
        verdict was recorded, or it is judged again), they are those that were served before it.
        """
        if self.task.takes_no_place:
            return None
        table, at = f"accepted.{self.contract.dataset}", ""
        while True:
            rows = f"from {table}{at} where supplier_id = {_text(self.task.supplier)} and period = '{self.task.period}'"
            try:
                served = self.con.execute(f"select max(attempt), min(snapshot_id) {rows}").fetchone()
            except duckdb.Error:
                # that state of the lake is older than what it keeps, or than the table
                return None
            if served is None or served[0] is None:
                return None
            if served[0] != self.task.attempt:
                return f"(select * {rows})"
            at = f" at (version => {int(served[1]) - 1})"

    def _with_days(self, check: Check) -> Check:
        """The same check, which takes local days from `typed`; what Great Expectations is asked stays as it is."""
        groups, missing = (sql and conversion.with_days(self.contract, sql) for sql in (check.groups, check.missing))
        group_by = [conversion.with_days(self.contract, expression) for expression in check.group_by]
        return replace(check, groups=groups, missing=missing, group_by=group_by)

    def _judge_rows(self, checks: Sequence[Check]) -> None:
        """Make `spotted`, the rows that broke a rule, and `judged`, all rows with what is known of them.

        To the columns of `typed` come one flag per kind of bad group, `broken` (the rules as bits) and `row_state`.
        """
        flags, joins, keys_are_unique = [], [], False
        for check in (check for check in checks if check.groups is not None):
            bad = f"bad_groups_{check.number}"
            width = 1 if check.number == 0 else len(check.group_by)
            names = ", ".join(f"g{i}" for i in range(width))
            groups = check.groups
            if keys_are_unique and check.kind == "day_complete":
                # no key comes twice, so counting rows counts intervals, at a fraction of the cost
                groups = re.sub(r"count\(distinct \w+\) as n", "count(*) as n", groups or "")
            self.con.execute(f"create or replace temp table {bad} as select * from ({groups}) t({names})")
            is_clean = self._one(f"select count(*) from {bad}") == 0
            keys_are_unique = is_clean if check.number == 0 else keys_are_unique
            if is_clean:
                flags.append(f"false as bad_{check.number}")
                continue
            same = " and ".join(f"b{check.number}.g{i} is not distinct from {e}" for i, e in enumerate(check.group_by))
            # a condition on `typed` alone would make DuckDB compare every row with every bad group; rows that are ignored
            # are left out below
            joins.append(f"left join (select *, true as hit from {bad}) b{check.number} on {same}")
            flags.append(f"coalesce(b{check.number}.hit, false) as bad_{check.number}")
        flagged = f"select typed.*{''.join(f', {flag}' for flag in flags)} from typed {' '.join(joins)}"
        bits = " | ".join(f"(case when {c.predicate} then {1 << i} else 0 end)" for i, c in enumerate(checks)) or "0"
        # the wider mask only where it is needed: DuckDB works in two halves on it
        mask = "bigint" if len(checks) <= 62 else "hugeint"
        anything = " or ".join(f"({c.predicate})" for c in checks) or "false"
        errors, warnings = (_mask(checks, *kinds) for kinds in (("fatal", "error"), ("warning",)))
        state = (
            f"case when broken & {errors} <> 0 then 'quarantined' "
            f"when broken & {warnings} <> 0 then 'accepted_with_warning' else 'accepted' end"
        )
        spotted = f"select *, cast({bits} as {mask}) as broken from ({flagged}) where ignored is null and ({anything})"
        self._keep("spotted", f"select *, {state} as row_state from ({spotted})")
        told = {
            **dict.fromkeys((flag.rsplit(" ", 1)[1] for flag in flags), "false"),
            "broken": "0",
            "row_state": "case when typed.ignored is not null then 'ignored_by_rule' else 'accepted' end",
        }
        if self._one("select count(*) from spotted"):
            same = "s.delivered_row = typed.delivered_row"
            if self.dialect.pivot:
                same += " and s.pivot_index = typed.pivot_index"
            source = f"typed_{self.number} typed left join spotted_{self.number} s on {same}"
            told = {name: f"coalesce(s.{name}, {otherwise})" for name, otherwise in told.items()}
        else:
            source = f"typed_{self.number} typed"
        known = ", ".join(f"{expression} as {name}" for name, expression in told.items())
        # by their numbers: what the lake takes is read after the next delivery of the batch was judged
        self._see("judged", f"select typed.*, {known} from {source}")
        self.con.execute("create or replace temp view delivery as select * from judged where ignored is null")

    def _count(self, checks: Sequence[Check]) -> tuple[RowCounts, dict[str, int]]:
        """Rows by state, and rows per rule."""
        asked = [f"count(*) filter (where row_state = '{state}')" for state in ("accepted_with_warning", "quarantined")]
        asked += [f"count(*) filter (where broken & {1 << i} <> 0)" for i in range(len(checks))]
        row = self.con.execute(
            "select (select count(*) from typed), (select count(*) from typed where ignored is not null), "
            f"{', '.join(asked)} from spotted"
        ).fetchone()
        assert row is not None
        delivered, ignored, warned, quarantined, *broken = (int(n) for n in row)
        hits = {check.id: rows for check, rows in zip(checks, broken, strict=True)}
        for check in checks:
            if check.missing:
                hits[check.id] = self._one(f"select count(*) from ({check.missing})")
        accepted = delivered - ignored - warned - quarantined
        return RowCounts(delivered, accepted, warned, quarantined, ignored), hits

    def _ask_great_expectations(
        self, checks: Sequence[Check], hits: Mapping[str, int], repeating: Set[str]
    ) -> list[Outcome]:
        expected = [check.expected for check in checks]
        answers = self.bench.expectations.validate("delivery", expected, repeating=repeating)
        differ = {c.id: (answers[c.id].rows, hits[c.id]) for c in checks if answers[c.id].rows != hits[c.id]}
        if differ:
            raise PlatformTrouble(
                "Great Expectations and our rows disagree",
                cause=str(differ),
                rules=list(differ),
                delivery=self.task.delivery,
            )
        return [Outcome(c.id, c.severity, answers[c.id].passed, answers[c.id].rows) for c in checks]

    def _conclude(
        self, checks: Sequence[Check], rows: RowCounts, found: list[Finding], outcomes: list[Outcome]
    ) -> Judged:
        judged_rows = rows.delivered - rows.ignored_by_rule
        limit = self.contract.reject_above_error_share
        fatal = any(finding.severity == "fatal" for finding in found)
        if limit is not None and rows.quarantined > limit * judged_rows and not fatal:
            share = rows.quarantined / judged_rows
            found.append(Finding("slot.too_many_errors", "fatal", rows.quarantined, {"limit": limit, "found": share}))
            fatal = True
        if fatal:
            verdict = _rejected(self.task, self.versions, found, rows.delivered, rows.ignored_by_rule, outcomes)
            return self._done(verdict)
        if rows.quarantined:
            state: State = "partly_accepted"
        elif rows.accepted_with_warning or any(finding.severity == "warning" for finding in found):
            state = "accepted_with_warnings"
        else:
            state = "accepted"
        accepted = self._accepted_rows(checks)
        quarantined = self._quarantined_rows(checks) if rows.quarantined else None
        verdict = _verdict(self.task, self.versions, state, rows, found, outcomes)
        verdict = replace(verdict, changes=self._changes(accepted))
        return self._done(verdict, accepted, quarantined, self._rows_file(accepted, rows))

    def _rows_file(self, accepted: str, rows: RowCounts) -> RowsFile | None:
        """The file of typed rows with what has to be done to make it the accepted ones; None where that is too much."""
        if self.typed_file is None:
            return None
        lines = self._keep(
            "replaced_lines",
            "select distinct delivered_line from (select delivered_line from spotted where row_state <> 'accepted' "
            "union all select delivered_line from typed where ignored is not null)",
        )
        if self._one(f"select count(*) from {lines}") > REPLACED_AT_MOST * rows.delivered:
            return None
        # a line may hold rows that are accepted as they are beside others
        replaced = f"select * from {accepted} where delivered_line in (select delivered_line from {lines})"
        return RowsFile(self.typed_file, lines, self._keep("replaced_rows", replaced))

    def _accepted_rows(self, checks: Sequence[Check]) -> str:
        warned = [(i, c) for i, c in enumerate(checks) if c.severity == "warning"]
        names = ", ".join(f"case when broken & {1 << i} <> 0 then '{c.id}' end" for i, c in warned)
        warnings = f"case when broken <> 0 then nullif(concat_ws(',', {names}), '') end" if warned else "null"
        fields = ", ".join(f.name for f in self.contract.fields)
        sql = (
            f"select {fields}, {self._provenance()}, cast({warnings} as varchar) as row_warnings "
            f"from judged_{self.number} where row_state in ('accepted', 'accepted_with_warning')"
        )
        if not self.large:
            return self._keep("accepted_rows", sql)
        # a view: the lake takes the file of typed rows instead, or reads it once more
        return self._see("accepted_rows", sql)

    def _quarantined_rows(self, checks: Sequence[Check]) -> str:
        """Held rows with the sender's own cells as JSON and the ids of the rules they broke."""
        ids = ", ".join(f"case when broken & {1 << i} <> 0 then '{c.id}' end" for i, c in enumerate(checks))
        cells = ", ".join(f"{_text(c)}, l.{_name(c)}" for c in self.landed.columns)
        name = f"quarantined_{self.number}"
        self.con.execute(
            f"create or replace temp table {name} as select {_text(self.task.dataset)} as dataset, {self._provenance('j.')}, "
            f"cast(json_object({cells}) as varchar) as cells, "
            f"concat_ws(',', {ids}) as rules from spotted j join landed l using (delivered_row) "
            "where j.row_state = 'quarantined'"
        )
        self.relations.append(f"table {name}")
        return name

    def _provenance(self, prefix: str = "") -> str:
        task = self.task
        return (
            f"{_text(task.supplier)} as supplier_id, {_text(str(task.period))} as period, {_text(task.delivery)} as delivery_id, "
            f"cast({task.attempt} as integer) as attempt, {prefix}delivered_line, {prefix}delivered_sheet"
        )

    def _changes(self, accepted: str) -> Changes | None:
        """What is new, gone and different against the rows this delivery takes the place of, by the contract's key."""
        replaced = self._replaced
        if replaced is None:
            return None
        if not self.contract.key:
            return None
        same = " and ".join(f"n.{k} is not distinct from o.{k}" for k in self.contract.key)
        values = [f.name for f in self.contract.fields if not f.key]
        differs = " or ".join(f"n.{v} is distinct from o.{v}" for v in values) or "false"
        row = self.con.execute(
            f"select count(*) filter (where not o.there is true), count(*) filter (where not n.there is true), "
            f"count(*) filter (where n.there and o.there and ({differs})) "
            f"from (select *, true as there from {accepted}) n full join (select *, true as there from {replaced}) o on {same}"
        ).fetchone()
        assert row is not None
        sums = {}
        for name in self.contract.quantities:
            before, now = (
                self.con.execute(f"select sum(cast({name} as double)) from {relation}").fetchone() or (None,)
                for relation in (replaced, accepted)
            )
            sums[name] = (before[0], now[0])
        return Changes(int(row[0]), int(row[1]), int(row[2]), sums)

    def _done(
        self,
        verdict: Verdict,
        accepted: str | None = None,
        quarantined: str | None = None,
        file: RowsFile | None = None,
    ) -> Judged:
        marks = self.marks_to if self.marks_to.exists() else None
        return Judged(
            self.task, verdict, accepted, quarantined, self.landed.path, marks, self.dialect.format.type,
            tuple(self.relations), tuple(self.files), file,
        )  # fmt: skip

    def _keep(self, name: str, sql: str) -> str:
        """Work a relation out once, in memory; `name` is then a view of it."""
        stored = f"{name}_{self.number}"
        self.con.execute(f"create or replace temp table {stored} as {sql}")
        self.con.execute(f"create or replace temp view {name} as select * from {stored}")
        self.relations.append(f"table {stored}")
        return stored

    def _see(self, name: str, sql: str) -> str:
        """Make a view that stays what it is until it is forgotten; `name` means the latest."""
        stored = f"{name}_{self.number}"
        self.con.execute(f"create or replace temp view {stored} as {sql}")
        self.con.execute(f"create or replace temp view {name} as select * from {stored}")
        self.relations.append(f"view {stored}")
        return stored

    def _one(self, sql: str) -> int:
        row = self.con.execute(sql).fetchone()
        return int(row[0]) if row and row[0] is not None else 0


def _no_mandate(pack: RegionPack, contract: Contract | None, task: Task) -> Verdict:
    owed = pack.datasets_of(task.supplier)
    rule = "slot.not_owed" if task.dataset in owed else "mandate.none"
    facts: dict[str, Any] = {"found": task.dataset, "expected": ", ".join(owed), "period": str(task.period)}
    versions = Versions(contract.fingerprint if contract else "-", "-", pack.mappings_version(task.supplier))
    return _rejected(task, versions, [Finding(rule, "fatal", 0, facts)])


def _rejected(
    task: Task, versions: Versions, found: Sequence[Finding], delivered: int = 0, ignored: int = 0,
    outcomes: Sequence[Outcome] = (),
) -> Verdict:  # fmt: skip
    """A rejected verdict: every row that no rule ignores is held back."""
    rows = RowCounts(delivered, quarantined=delivered - ignored, ignored_by_rule=ignored)
    return _verdict(task, versions, "rejected", rows, found, outcomes)


def _verdict(
    task: Task, versions: Versions, state: State, rows: RowCounts, found: Sequence[Finding], outcomes: Sequence[Outcome]
) -> Verdict:
    order = {"fatal": 0, "error": 1, "warning": 2, "info": 3}
    ranked = tuple(sorted(found, key=lambda finding: (order[finding.severity], -finding.rows, finding.rule)))
    return Verdict(
        task.delivery, task.supplier, task.dataset, str(task.period), task.attempt,
        state, rows, ranked, tuple(outcomes), versions, clock.now(),
    )  # fmt: skip


def _mask(checks: Sequence[Check], *severities: str) -> int:
    return sum(1 << i for i, check in enumerate(checks) if check.severity in severities)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
