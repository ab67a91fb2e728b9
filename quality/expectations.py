"""Rules as expectations, and the door to Great Expectations: plain data in, one count per rule out.

What an expectation means in SQL, and how Great Expectations is made to ask DuckDB once, is in
`quality.expectations_gx`; it is imported at first use, because that costs seconds.

How nulls are treated (as Great Expectations does, and tested to be so): only `expect_column_values_to_not_be_null`
counts them. A value rule, a uniqueness rule and a pair rule pass over rows with a null in a column they look at; a
compound key with a null in any of its columns is never a duplicate; an SQL condition that is null is not a bad row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

    from quality.expectations_gx import Held

#: What `Expected.kind` may be.
KINDS = (
    "expect_column_values_to_not_be_null",
    "expect_column_values_to_be_between",
    "expect_column_values_to_be_in_set",
    "expect_column_values_to_match_regex",
    "expect_column_value_lengths_to_be_between",
    "expect_column_pair_values_a_to_be_greater_than_b",
    "expect_compound_columns_to_be_unique",
    "expect_column_values_to_be_unique",
    "unexpected_rows",
)


@dataclass(frozen=True)
class Expected:
    """One rule as an expectation.

    Attributes:
        rule: Id of the rule.
        kind: One of `KINDS`.
        kwargs: What Great Expectations calls the expectation's arguments. A `regex` is a DuckDB (RE2) pattern that is
            looked for anywhere in the value, as everywhere in Great Expectations: write `^…$` for the whole value.
            Bounds are numbers, dates, moments, or any of them as text (ISO 8601); a number of more digits than a float
            keeps is refused. A moment without an offset is taken in the connection's time zone.
            `unexpected_rows` takes `{"condition": "<SQL, true where the row is bad>"}` or
            `{"query": "select … from {batch} …"}`, whose rows are the bad ones. Only `{batch}` is replaced in it; other
            braces stay as they are and are not doubled.
        because: Why the rule is there; becomes the expectation's notes.
    """

    rule: str
    kind: str
    kwargs: Mapping[str, Any]
    because: str = ""


@dataclass(frozen=True)
class Counted:
    """The answer to one expectation: whether it held, and the exact number of rows that broke it."""

    rule: str
    passed: bool
    rows: int


class Expectations:
    """Great Expectations held on one DuckDB connection; one per judge process, not for several threads at once.

    Rules met before are answered from their prepared form, so a suite may be given anew with every delivery.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Hold the connection; it stays the caller's, is never closed, and no transaction is begun or ended on it."""
        self._connection = connection
        self._held: Held | None = None

    @property
    def statements(self) -> int:
        """Number of SQL statements run so far."""
        return self._held.engine.statements if self._held else 0

    def validate(
        self, relation: str, expected: Sequence[Expected], *, repeating: Set[str] = frozenset()
    ) -> dict[str, Counted]:
        """Count for every rule the rows that break it.

        Args:
            relation: Name of a table or view in the held connection, temporary ones included, written as it is
                (`delivery`, not `"delivery"` or `memory.main.delivery`). It may be another one, or have other columns,
                at every call.
            expected: The rules; their ids are unique.
            repeating: Columns in which few values stand in many rows; a pattern is looked for once per value there.

        Returns:
            Rule id → answer, in the order given.

        Raises:
            PlatformTrouble: A rule could not be answered: a column or the relation is missing, SQL does not run, types
                cannot be compared. Never counted as a broken rule.
        """
        if self._held is None:
            from quality.expectations_gx import Held

            self._held = Held(self._connection)
        return self._held.validate(relation, expected, repeating)
