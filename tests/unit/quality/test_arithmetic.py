"""No number a supplier sends makes a condition overflow, and small numbers are compared exactly."""

from __future__ import annotations

import duckdb
import pytest

from quality.arithmetic import widened
from quality.configuration import contracts_dir
from quality.contract import load_contracts

NUMBERS = (("a", "decimal(18,6)"), ("b", "decimal(18, 6)"), ("n", "bigint"))


def holds(condition: str, **values: str) -> bool:
    kinds = dict(NUMBERS)
    row = ", ".join(f"cast('{value}' as {kinds[name]}) as {name}" for name, value in values.items())
    return bool(duckdb.sql(f"select {widened(condition, NUMBERS)} from (select {row})").fetchall()[0][0])


@pytest.mark.parametrize(
    "condition", ["a * b < 0", "a + b > 5", "a - b > 5", "n * n > 5", "n + n > 5", "abs(a) > abs(b) * 1.19"]
)
def test_the_largest_numbers_are_worked_out(condition: str) -> None:
    largest = "999999999999.999999"
    assert isinstance(holds(condition, a=largest, b=f"-{largest}", n=str(2**63 - 1)), bool)


def test_a_sum_is_exact() -> None:
    assert not holds("a + b <> 0.3", a="0.1", b="0.2")
    assert holds("coalesce(a, 0) + b = 0.3", a="0.1", b="0.2")


def test_what_has_no_arithmetic_stays_as_it_is_written() -> None:
    for condition in ("a > 5 and b is null", "not regexp_matches(t, '^x')", "extract(year from d) > 2000"):
        assert widened(condition, NUMBERS) == condition


def test_every_condition_of_every_contract_is_worked_out_for_the_largest_numbers() -> None:
    for contract in load_contracts(contracts_dir()).values():
        numbers = tuple((f.name, f.physical) for f in contract.fields if f.type in ("number", "integer"))
        for rule in contract.rules:
            if "condition" in rule.kwargs:
                for sign in ("", "-"):
                    row = ", ".join(
                        f"cast({_extreme(f.physical, sign)} as {f.physical}) as {f.name}"
                        if f.type in ("number", "integer")
                        else f"cast({_VALUES[f.type]} as {f.physical}) as {f.name}"
                        for f in contract.fields
                    )
                    sql = f"select {widened(rule.kwargs['condition'], numbers)} from (select {row})"
                    duckdb.sql(sql).fetchall()


_VALUES = {
    "string": "'x'", "date": "date '2025-01-01'", "timestamp": "timestamptz '2025-01-01 00:00:00+00'", "boolean": "true",
}  # fmt: skip


def _extreme(kind: str, sign: str) -> str:
    if kind == "bigint":
        return f"{sign}{2**63 - 1}"
    digits, behind = (int(part) for part in kind.removeprefix("decimal(").removesuffix(")").split(","))
    return f"{sign}{'9' * (digits - behind)}.{'9' * behind}" if behind else f"{sign}{'9' * digits}"
