"""Conditions of contracts made safe to work out: whatever number a supplier sends, no sum and no product overflows.

DuckDB multiplies and adds numbers of 18 digits in 64 bits and raises an error where the result is larger; a delivery with such
a number would get no verdict. Conditions stay as they are written in the contract; the numbers in them are widened here.
"""

from __future__ import annotations

import re
from functools import lru_cache

import sqlglot
from sqlglot import exp

#: Name and physical type of each number field.
Numbers = tuple[tuple[str, str], ...]


@lru_cache(maxsize=2_000)
def widened(condition: str, numbers: Numbers) -> str:
    """A condition whose sums are worked out in 38 digits, exactly, and whose products in floating point.

    Args:
        condition: SQL that is true for a bad row.
        numbers: The number fields it may name, with their types (`decimal(18, 6)`, `bigint`).
    """
    types = dict(numbers)
    tree = sqlglot.parse_one(condition, read="duckdb")
    found = False
    for column in list(tree.find_all(exp.Column)):
        kind = types.get(column.name)
        around = column.find_ancestor(exp.Mul, exp.Add, exp.Sub) if kind else None
        if kind is None or around is None:
            continue
        found = True
        wide = "double" if isinstance(around, exp.Mul) else f"decimal(38, {_digits(kind)})"
        column.replace(exp.cast(column.copy(), wide, dialect="duckdb"))
    return tree.sql(dialect="duckdb") if found else condition


def _digits(kind: str) -> int:
    """Digits behind the point."""
    match = re.fullmatch(r"decimal\(\d+,\s*(\d+)\)", kind)
    return int(match[1]) if match else 0
