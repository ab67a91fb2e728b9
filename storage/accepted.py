"""The accepted lake: one table per dataset for all suppliers, `quarantine`, and the supply tables the foundation reads.

Slots are replaced here, in one transaction for a whole batch. Which rows those are was decided in `quality`.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from storage import lake
from storage.paths import Slot, checked_dataset
from storage.settings import Settings

#: Columns of `quarantine`: the rows held back of the deliveries that are served, gone when another one takes the slot (the
#: snapshots before, the vault and the receipts still have them). `cells` is JSON with the sender's own column names, `rules` lists rule ids.
QUARANTINE = (
    ("dataset", "varchar"), ("supplier_id", "varchar"), ("period", "varchar"), ("delivery_id", "varchar"),
    ("attempt", "integer"), ("delivered_line", "bigint"), ("delivered_sheet", "varchar"),
    ("cells", "varchar"), ("rules", "varchar"),
)  # fmt: skip
#: Columns that the place of a file spells, see `storage.paths.Home.accepted_file`.
SPELLED = frozenset({"supplier_id", "period", "delivery_id", "attempt"})
Columns = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class RowsFile:
    """Accepted rows that lie in Parquet already: the lake takes the file over, no row is written again.

    Attributes:
        path: Has the table's columns under their names and with their types, but for those of `SPELLED`. Others may be
            there and are never seen. Stays where it is.
        lines: Relation with `delivered_line`: lines of which nothing in the file counts.
        rows: Relation of the accepted rows of those lines, with all columns of the table.
    """

    path: Path
    lines: str
    rows: str


@dataclass(frozen=True)
class SlotRows:
    """The rows a slot has from now on. `rows` and `quarantined` name relations in the connection; None means no rows.

    `file` holds the same rows as `rows`, for the lake to take over where it can. `again` says that this delivery may have
    been stored before (a crash, a replay), so its held rows are replaced.
    """

    slot: Slot
    delivery: str
    attempt: int
    rows: str | None = None
    quarantined: str | None = None
    replaces: bool = True
    again: bool = False
    file: RowsFile | None = None


class AcceptedLake:
    """The accepted catalog on one DuckDB connection."""

    def __init__(self, settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
        self.settings, self.connection = settings, connection
        self._tables: dict[str, tuple[tuple[str, str], ...]] = {}
        self._attach()

    def _attach(self) -> None:
        """Attach the catalog; one process makes it, the others wait, or they would find each other's lock."""
        if lake.exists(self.settings, "accepted"):
            try:
                return lake.attach(self.connection, self.settings, "accepted")
            except lake.LakeUnavailable:
                # it may be half made; whoever makes it holds the lock
                pass
        with lake.writing(self.settings, "accepted"):
            return lake.attach(self.connection, self.settings, "accepted")

    def ensure(self, tables: Mapping[str, Columns]) -> None:
        """Make the tables that do not exist yet, and add columns that are new; nothing is ever dropped."""
        wanted = {**tables, "quarantine": QUARANTINE}
        if all(self._tables.get(name) == tuple(columns) for name, columns in wanted.items()):
            return
        present: dict[str, set[str]] = {}
        for table, column in self.connection.execute(
            "select table_name, column_name from duckdb_columns() where database_name = 'accepted'"
        ).fetchall():
            present.setdefault(table, set()).add(column)
        if any(name not in present or {c for c, _ in cols} - present[name] for name, cols in wanted.items()):
            with lake.writing(self.settings, "accepted"):
                if not present:
                    self.connection.execute("call accepted.set_option('parquet_compression', 'zstd')")
                    self.connection.execute("call accepted.set_option('data_inlining_row_limit', 0)")
                for name, columns in wanted.items():
                    listed = ", ".join(f"{column} {kind}" for column, kind in columns)
                    self.connection.execute(f"create table if not exists accepted.{checked_dataset(name)} ({listed})")
                    for column, kind in columns:
                        if name in present and column not in present[name]:
                            self.connection.execute(
                                f"alter table accepted.{name} add column if not exists {column} {kind}"
                            )
        self._tables.update({name: tuple(columns) for name, columns in wanted.items()})

    def replace(self, slots: Sequence[SlotRows]) -> list[SlotRows]:
        """Replace the rows of all slots in one transaction; the caller holds `lake.writing(settings, "accepted")`.

        A slot that already holds rows of a newer attempt is left alone. May be repeated.

        Returns:
            The slots that were replaced.

        Raises:
            duckdb.Error, OSError: Nothing was changed.
        """
        con = self.connection
        con.execute("begin")
        try:
            held = self._held([s.slot for s in slots if s.replaces])
            taken = [s for s in slots if not (s.replaces and held.get(s.slot, 0) > s.attempt)]
            self._clear([s.slot for s in taken if s.replaces and s.slot in held])
            self._clear_quarantine(taken)
            files = {s.delivery: s.file for s in taken if s.file and self._takes(s.slot.dataset, s.file.path)}
            for s in taken:
                if s.delivery in files:
                    self._take_over(s, files[s.delivery])
            for dataset in dict.fromkeys(s.slot.dataset for s in taken):
                of_dataset = [s for s in taken if s.slot.dataset == dataset]
                there = (files[s.delivery].rows if s.delivery in files else s.rows for s in of_dataset)
                relations = [relation for relation in there if relation]
                if relations:
                    # one insert, so one file, for all slots of a dataset in the batch
                    union = " union all by name ".join(f"select * from {name}" for name in relations)
                    con.execute(f"insert into accepted.{dataset} by name {union}")
            quarantined = [s.quarantined for s in taken if s.quarantined]
            if quarantined:
                union = " union all by name ".join(f"select * from {name}" for name in quarantined)
                con.execute(f"insert into accepted.quarantine by name {union}")
            con.execute("commit")
        except BaseException:
            _roll_back(con)
            raise
        return taken

    def _takes(self, dataset: str, file: Path) -> bool:
        """Whether a file can become one of the table's: the lake lies in a folder, and the file has all columns.

        DuckLake would take one that lacks some, but `count(column)` then counts rows in which the column is null.
        """
        if self.settings.is_server:
            return False
        names = [
            {name for name, *_ in self.connection.execute(f"describe from {relation}").fetchall()}
            for relation in (f"accepted.{checked_dataset(dataset)}", f"read_parquet({_text(str(file))})")
        ]
        return names[0] <= names[1] | SPELLED

    def _place(self, delivery: str, file: Path) -> Path:
        """The file under a name of its own among those of the table.

        Where the transaction fails it stays there, unknown to the catalog, until the maintenance takes it away: whether
        a commit that failed was one is not always known, and a file too many harms nobody.
        """
        place = self.settings.paths.accepted_file(delivery, uuid.uuid4().hex)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:
            # another file system, or one that knows no links
            shutil.copyfile(file, place)
        return place

    def _take_over(self, slot: SlotRows, rows: RowsFile) -> None:
        con, table = self.connection, checked_dataset(slot.slot.dataset)
        place = self._place(slot.delivery, rows.path)
        con.execute(
            "call ducklake_add_data_files('accepted', ?, ?, ignore_extra_columns => true, hive_partitioning => true)",
            [table, str(place)],
        )
        if con.execute(f"select 1 from {rows.lines} limit 1").fetchone():
            # a file of this transaction counts as empty when the plan is made: the rows of the file would be held in
            # memory and looked up by the lines, which took 4 s and 500 MB for ten million rows instead of 0.2 s
            con.execute("set disabled_optimizers = 'build_side_probe_side'")
            try:
                con.execute(
                    f"delete from accepted.{table} where {_of(slot.slot)} and delivery_id = '{slot.delivery}' "
                    f"and delivered_line in (select delivered_line from {rows.lines})"
                )
            finally:
                con.execute("reset disabled_optimizers")

    def publish(self, tables: Mapping[str, str]) -> None:
        """Replace whole tables by relations of the connection, all in one transaction: the supply tables."""
        con = self.connection
        with lake.writing(self.settings, "accepted"):
            con.execute("begin")
            try:
                for name, relation in tables.items():
                    con.execute(f"create or replace table accepted.{checked_dataset(name)} as select * from {relation}")
                con.execute("commit")
            except duckdb.Error:
                _roll_back(con)
                raise

    def snapshot(self) -> int:
        """Number of the newest snapshot."""
        return lake.snapshot_of(self.connection, "accepted")

    # a look into a table costs the same for one slot as for fifty: DuckLake reads the statistics of all its files, 15 ms
    # for a hundred of them; so every step looks once for the whole batch, and deletes only what is there

    def _held(self, slots: Sequence[Slot]) -> dict[Slot, int]:
        """The slots that hold rows, with the newest attempt among them."""
        found: dict[Slot, int] = {}
        for dataset in dict.fromkeys(slot.dataset for slot in slots):
            asked = {slot for slot in slots if slot.dataset == dataset}
            suppliers, periods = (_listed({getattr(slot, part) for slot in asked}) for part in ("supplier", "period"))
            for supplier, period, attempt in self.connection.execute(
                f"select supplier_id, period, max(attempt) from accepted.{dataset} "
                f"where supplier_id in ({suppliers}) and period in ({periods}) group by all"
            ).fetchall():
                if (slot := Slot(supplier, dataset, period)) in asked:
                    found[slot] = int(attempt)
        return found

    def _clear(self, slots: Sequence[Slot]) -> None:
        for dataset in dict.fromkeys(slot.dataset for slot in slots):
            those = " or ".join(f"({_of(slot)})" for slot in slots if slot.dataset == dataset)
            self.connection.execute(f"delete from accepted.{dataset} where {those}")

    def _clear_quarantine(self, slots: Sequence[SlotRows]) -> None:
        """Take out what was held back of whom these replace, and of themselves where they may have been stored before."""
        conditions = [f"(dataset = '{s.slot.dataset}' and {_of(s.slot)})" for s in slots if s.replaces]
        if again := [s.delivery for s in slots if s.again and not s.replaces]:
            conditions.append(f"delivery_id in ({_listed(again)})")
        if not conditions:
            return
        those = f"from accepted.quarantine where {' or '.join(conditions)}"
        if self.connection.execute(f"select 1 {those} limit 1").fetchone():
            self.connection.execute(f"delete {those}")


def _listed(names: Iterable[str]) -> str:
    # parts of slots and deliveries are checked names, they hold no quotes
    return ", ".join(f"'{name}'" for name in sorted(names))


def _of(slot: Slot) -> str:
    # the parts of a slot are checked names, they hold no quotes
    return f"supplier_id = '{slot.supplier}' and period = '{slot.period}'"


def _roll_back(con: duckdb.DuckDBPyConnection) -> None:
    """Roll back without hiding the error that led here: after a failed commit DuckLake has no transaction any more."""
    try:
        con.execute("rollback")
    except duckdb.TransactionException:
        return


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
