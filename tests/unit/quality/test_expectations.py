"""Every kind of expectation against plain DuckDB and against Great Expectations as it comes; and what breaks it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from quality.errors import PlatformTrouble
from quality.expectations import KINDS, Counted, Expectations, Expected

ROWS = """
    select * from (values
        (1,    'DE01', 'X',  1.500::decimal(18, 3), 2.0::double, 10, 5,    date '2024-01-31', timestamptz '2024-01-31 22:30:00+00'),
        (2,    'DE01', 'Y',  0.100,                 0.1,         5,  5,    date '2024-02-01', timestamptz '2024-02-01 00:00:00+00'),
        (3,    'DE02', 'X',  null,                  null,        4,  5,    date '2024-02-29', timestamptz '2024-02-29 23:59:59+00'),
        (4,    null,   'X',  -3.000,                -3.0,        null, 5,  date '2024-03-01', null),
        (5,    null,   null, 99.999,                99.9,        7,  null, null,              timestamptz '2024-03-01 00:00:00+00'),
        (6,    'DE02', 'X',  2.000,                 2.0,         null, null, date '2024-02-10', timestamptz '2024-02-10 12:00:00+00'),
        (7,    'D{2}', 'Z',  2.000,                 'nan',       8,  9,    date '2023-12-31', timestamptz '2024-02-10 12:00:00+00')
    ) as t(n, meter, code, amount, ratio, high, low, "read Am", seen_at)
"""

CASES: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "not_null": ("expect_column_values_to_not_be_null", {"column": "meter"}, "meter is null"),
    "not_null_holds": ("expect_column_values_to_not_be_null", {"column": "n"}, "n is null"),
    "between_numbers": (
        "expect_column_values_to_be_between",
        {"column": "amount", "min_value": 0, "max_value": 2},
        "amount not between 0 and 2",
    ),
    "between_exact_decimal_text": (
        "expect_column_values_to_be_between",
        {"column": "amount", "min_value": "0.1"},
        "amount < 0.1",
    ),
    "between_finer_than_the_column": (
        "expect_column_values_to_be_between",
        {"column": "amount", "min_value": Decimal("0.1004")},
        "amount < 0.1004",
    ),
    "between_strictly": (
        "expect_column_values_to_be_between",
        {"column": "amount", "min_value": 0, "max_value": 2, "strict_max": True},
        "not (amount >= 0 and amount < 2)",
    ),
    "between_floats_with_nan": (
        "expect_column_values_to_be_between",
        {"column": "ratio", "min_value": -5, "max_value": 50.5},
        "not (ratio >= -5 and ratio <= 50.5)",
    ),
    "between_dates_as_text": (
        "expect_column_values_to_be_between",
        {"column": "read Am", "min_value": "2024-02-01", "max_value": "2024-02-29"},
        """ "read Am" not between date '2024-02-01' and date '2024-02-29'""",
    ),
    "between_dates": (
        "expect_column_values_to_be_between",
        {"column": "read Am", "min_value": date(2024, 2, 1)},
        """ "read Am" < date '2024-02-01'""",
    ),
    "between_moments": (
        "expect_column_values_to_be_between",
        {
            "column": "seen_at",
            "min_value": datetime(2024, 2, 1, tzinfo=UTC),
            "max_value": datetime(2024, 3, 1, tzinfo=UTC),
            "strict_max": True,
        },
        "not (seen_at >= timestamptz '2024-02-01 00:00:00+00' and seen_at < timestamptz '2024-03-01 00:00:00+00')",
    ),
    "in_set": (
        "expect_column_values_to_be_in_set",
        {"column": "code", "value_set": ["X", "Y"]},
        "code not in ('X', 'Y')",
    ),
    "in_set_of_numbers": (
        "expect_column_values_to_be_in_set",
        {"column": "high", "value_set": [5, 7]},
        "high not in (5, 7)",
    ),
    "in_empty_set": ("expect_column_values_to_be_in_set", {"column": "code", "value_set": []}, "code is not null"),
    "regex_whole": (
        "expect_column_values_to_match_regex",
        {"column": "meter", "regex": r"^(?:DE|AT)\d{2}$"},
        r"not regexp_full_match(meter, '(?:DE|AT)\d{2}')",
    ),
    "regex_anywhere": (
        "expect_column_values_to_match_regex",
        {"column": "meter", "regex": r"E0[12]|'%"},
        r"not regexp_matches(meter, 'E0[12]|''%')",
    ),
    "lengths": (
        "expect_column_value_lengths_to_be_between",
        {"column": "meter", "min_value": 4, "max_value": 4},
        "length(meter) <> 4",
    ),
    "lengths_at_most": (
        "expect_column_value_lengths_to_be_between",
        {"column": "code", "max_value": 0},
        "length(code) > 0",
    ),
    "pair": (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "high", "column_B": "low"},
        "not high > low",
    ),
    "pair_or_equal": (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "high", "column_B": "low", "or_equal": True},
        "not high >= low",
    ),
    "pair_either_missing": (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "high", "column_B": "low", "ignore_row_if": "either_value_is_missing"},
        "not high > low",
    ),
    "pair_neither": (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "high", "column_B": "low", "ignore_row_if": "neither"},
        "not high > low",
    ),
    # a null in the key makes a row no duplicate: lines 4 and 5 have no meter, 4 and 6 share the code X
    "compound_unique": (
        "expect_compound_columns_to_be_unique",
        {"column_list": ["meter", "code"]},
        "meter is not null and code is not null and count(*) over (partition by meter, code) > 1",
    ),
    "unique": (
        "expect_column_values_to_be_unique",
        {"column": "meter"},
        "meter is not null and count(*) over (partition by meter) > 1",
    ),
    "unique_holds": ("expect_column_values_to_be_unique", {"column": "n"}, "false"),
    "condition": (
        "unexpected_rows",
        {"condition": "amount > 1 and meter like 'D%' and regexp_full_match(meter, '(?:DE|D)[^:]{2,3}')  -- why"},
        "amount > 1 and meter in ('DE01', 'DE02', 'D{2}')",
    ),
    "condition_null": ("unexpected_rows", {"condition": "high > low"}, "high > low"),
    "query": (
        "unexpected_rows",
        {"query": "select * from {batch} where regexp_full_match(meter, 'D\\{2\\}') or meter ~ '^DE.{2}$';"},
        "meter is not null",
    ),
    "query_grouped": (
        "unexpected_rows",
        {"query": "with t as (select code from {batch}) select code from t where code is not null group by 1"},
        "n in (1, 2, 7)",
    ),
}


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute(f"create temp table delivery as {ROWS}")
        yield opened


@pytest.fixture
def expectations(connection: duckdb.DuckDBPyConnection) -> Expectations:
    return Expectations(connection)


def case(name: str) -> Expected:
    kind, kwargs, _ = CASES[name]
    return Expected(name, kind, kwargs, because="as agreed")


def counted_plainly(connection: duckdb.DuckDBPyConnection, predicate: str, relation: str = "delivery") -> int:
    query = f"select count(*) from (select {predicate} as bad from {relation}) where bad"
    return int((connection.execute(query).fetchone() or (0,))[0])


@pytest.mark.parametrize("name", CASES)
def test_an_expectation_counts_the_rows_that_plain_sql_counts(
    name: str, connection: duckdb.DuckDBPyConnection, expectations: Expectations
) -> None:
    rows = counted_plainly(connection, CASES[name][2])
    counted = {name: Counted(name, passed=rows == 0, rows=rows)}
    assert expectations.validate("delivery", [case(name)]) == counted
    repeating = {column for (column, *_) in connection.execute("describe delivery").fetchall()}
    assert expectations.validate("delivery", [case(name)], repeating=repeating) == counted


def test_every_kind_is_counted_against_plain_sql_with_bad_rows() -> None:
    assert {kind for kind, _, _ in CASES.values()} == set(KINDS)


def test_a_suite_is_answered_by_one_look_at_the_columns_and_one_statement(
    connection: duckdb.DuckDBPyConnection, expectations: Expectations
) -> None:
    answers = expectations.validate("delivery", [case(name) for name in CASES])
    assert expectations.statements == 2
    assert list(answers) == list(CASES)
    assert {rule: one.rows for rule, one in answers.items()} == {
        name: counted_plainly(connection, predicate) for name, (_, _, predicate) in CASES.items()
    }


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][0] not in {KINDS[3], "unexpected_rows"}])
def test_counts_and_answers_are_those_of_great_expectations_as_it_comes(
    name: str, connection: duckdb.DuckDBPyConnection, expectations: Expectations
) -> None:
    kind, kwargs, _ = CASES[name]
    ours = expectations.validate("delivery", [case(name)])[name]
    with stock_engine(f"create table delivery as {ROWS}") as engine:
        success, rows = stock_answer(engine, kind, kwargs)
    assert (ours.passed, ours.rows) == (success, rows)


def test_a_tolerated_share_of_bad_rows_passes_and_is_still_counted(expectations: Expectations) -> None:
    held = Expected("held", KINDS[0], {"column": "meter", "mostly": 0.7})
    missed = Expected("missed", KINDS[0], {"column": "meter", "mostly": 0.8})
    pair = Expected("pair", KINDS[5], {"column_A": "high", "column_B": "low", "mostly": 0.5})
    assert expectations.validate("delivery", [held, missed, pair]) == {
        "held": Counted("held", passed=True, rows=2),
        "missed": Counted("missed", passed=False, rows=2),
        "pair": Counted("pair", passed=True, rows=3),
    }


def test_an_empty_delivery_breaks_no_rule(connection: duckdb.DuckDBPyConnection, expectations: Expectations) -> None:
    connection.execute("create temp view nothing as select * from delivery where false")
    answers = expectations.validate("nothing", [case(name) for name in CASES])
    assert {(one.passed, one.rows) for one in answers.values()} == {(True, 0)}


def test_more_bad_rows_than_great_expectations_lists_are_counted_exactly(
    connection: duckdb.DuckDBPyConnection, expectations: Expectations
) -> None:
    connection.execute("create temp table many as select null::varchar as meter, i // 2 as n from range(30001) t(i)")
    expected = [
        Expected("missing", "expect_column_values_to_not_be_null", {"column": "meter"}),
        Expected("shared", "expect_column_values_to_be_unique", {"column": "n"}),
        Expected("sql", "unexpected_rows", {"query": "select * from {batch} where n >= 0"}),
    ]
    answers = expectations.validate("many", expected)
    assert [one.rows for one in answers.values()] == [30_001, 30_000, 30_001]


def test_a_view_over_parquet_is_read_anew_with_other_columns_at_every_call(
    connection: duckdb.DuckDBPyConnection, expectations: Expectations, tmp_path: Path
) -> None:
    expected = [Expected("present", "expect_column_values_to_not_be_null", {"column": "a"})]
    for file, select, bad in (
        ("1", "null::varchar as a", 1),
        ("2", "7 as b, 'x' as a", 0),
        ("3", "null::date as a", 1),
    ):
        connection.execute(f"copy (select {select}) to '{tmp_path / file}.parquet'")
        connection.execute(f"create or replace temp view landed as select * from '{tmp_path / file}.parquet'")
        assert expectations.validate("landed", expected)["present"].rows == bad


def test_relations_and_columns_with_any_name_are_read(
    connection: duckdb.DuckDBPyConnection, expectations: Expectations
) -> None:
    connection.execute('create table "Lieferung ""Ost"".2" as select 1 as "select", null as "Zähl:punkt %", 2 as "A"')
    answers = expectations.validate(
        'Lieferung "Ost".2',
        [
            Expected("one", "expect_column_values_to_not_be_null", {"column": "Zähl:punkt %"}),
            Expected(
                "two", "expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "select", "column_B": "A"}
            ),
            Expected("three", "expect_compound_columns_to_be_unique", {"column_list": ["select", "A"]}),
            Expected("four", "unexpected_rows", {"query": 'select * from {batch} where "select" = 1'}),
        ],
    )
    assert [one.rows for one in answers.values()] == [1, 1, 0, 1]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Expected("broken", KINDS[0], {"column": "nowhere"}), "nowhere"),
        (Expected("broken", KINDS[1], {"column": "nowhere", "min_value": 1}), "nowhere"),
        (Expected("broken", KINDS[6], {"column_list": ["meter", "nowhere"]}), "nowhere"),
        (Expected("broken", KINDS[5], {"column_A": "nowhere", "column_B": "low"}), "nowhere"),
        (Expected("broken", KINDS[7], {"column": "nowhere"}), "nowhere"),
        (Expected("broken", "unexpected_rows", {"condition": "amount >"}), "syntax"),
        (Expected("broken", "unexpected_rows", {"condition": "no_such(amount)"}), "no_such"),
        (Expected("broken", "unexpected_rows", {"query": "select nowhere from {batch}"}), "nowhere"),
        (Expected("broken", "unexpected_rows", {"condition": "meter::integer > 1"}), "Could not convert"),
        (Expected("broken", KINDS[3], {"column": "meter", "regex": "("}), "missing )"),
        (Expected("broken", KINDS[1], {"column": "meter", "min_value": 1}), "VARCHAR"),
        (Expected("broken", KINDS[1], {"column": "read Am", "min_value": 1}), "compare"),
        (Expected("broken", KINDS[1], {"column": "n", "min_value": 2**53 + 1}), "9007199254740993"),
        (Expected("broken", KINDS[1], {"column": "amount", "max_value": "1.00000000000000000001"}), "would become 1.0"),
        (Expected("broken", KINDS[2], {"column": "high", "value_set": ["x"]}), "Could not convert"),
        (Expected("broken", KINDS[2], {"column": "high", "value_set": [1j]}), "1j"),
        (Expected("broken", KINDS[2], {"column": "high", "value_set": [{"a": 1}]}), "literal value"),
        (Expected("broken", KINDS[2], {"column": "high", "value_set": [[1]]}), "NullType"),
        (Expected("broken", KINDS[1], {"column": "amount"}), "None"),
        (Expected("broken", "unexpected_rows", {}), "either"),
        (Expected("broken", "unexpected_rows", {"query": "select 1"}), "{batch}"),
        (Expected("broken", "expect_luck", {}), "expect_luck"),
        (Expected("broken", KINDS[0], {"colunm": "meter"}), "colunm"),
    ],
    ids=str,
)
def test_an_expectation_that_cannot_be_answered_is_trouble_that_names_the_rule_and_no_broken_rule(
    broken: Expected, said: str, expectations: Expectations
) -> None:
    good = case("not_null")
    with pytest.raises(PlatformTrouble) as trouble:
        expectations.validate("delivery", [good, broken, case("compound_unique")])
    assert trouble.value.rules == ("broken",)
    assert said in trouble.value.cause
    assert expectations.validate("delivery", [good])["not_null"].rows == 2


def test_a_relation_that_is_not_there_is_trouble(expectations: Expectations) -> None:
    with pytest.raises(PlatformTrouble, match="gone") as trouble:
        expectations.validate("gone", [case("not_null")])
    assert trouble.value.facts == {"relation": "gone"}


@pytest.mark.parametrize("where", ["look_at", "resolve_metric_bundle", "get_domain_records"])
def test_an_error_of_sqlalchemy_or_duckdb_is_trouble_wherever_it_comes_up(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    import sqlalchemy as sa

    from quality.expectations_gx import Engine

    errors: list[Exception] = [
        duckdb.IOException("disk full"),
        sa.exc.OperationalError("select", {}, Exception("disk full")),
    ]
    for error in errors:

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(Engine, where, fail)
            held = Expectations(connection)
            with pytest.raises(PlatformTrouble, match="disk full"):
                held.validate("delivery", [case("not_null"), case("unique")])


def test_an_exception_reported_in_a_result_is_trouble(
    expectations: Expectations, monkeypatch: pytest.MonkeyPatch
) -> None:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

    from quality import expectations_gx

    def failing(*_: Any, **__: Any) -> ExpectationValidationResult:
        return ExpectationValidationResult(success=False, exception_info={"raised_exception": True, "message": "boom"})

    monkeypatch.setattr(expectations_gx.HeldNotNull, "metrics_validate", failing)
    with pytest.raises(PlatformTrouble, match="boom"):
        expectations.validate("delivery", [case("not_null")])


def test_two_rules_of_one_name_are_refused(expectations: Expectations) -> None:
    with pytest.raises(ValueError, match="not unique"):
        expectations.validate("delivery", [case("unique"), case("unique")])


def test_the_callers_transaction_stays_open_and_its_rows_are_seen(
    connection: duckdb.DuckDBPyConnection, expectations: Expectations
) -> None:
    connection.begin()
    connection.execute("insert into delivery (n) values (8)")
    assert expectations.validate("delivery", [case("not_null")])["not_null"].rows == 3
    connection.rollback()
    assert expectations.validate("delivery", [case("not_null")])["not_null"].rows == 2


def test_validation_reaches_for_no_network(expectations: Expectations, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **_: Any) -> None:
        raise AssertionError(f"connects to {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert expectations.validate("delivery", [case("unique")])["unique"].rows == 4


def test_nothing_is_printed_while_validating(expectations: Expectations, capfd: pytest.CaptureFixture[str]) -> None:
    expectations.validate("delivery", [case(name) for name in CASES])
    assert capfd.readouterr() == ("", "")


def test_great_expectations_is_imported_only_when_something_is_validated() -> None:
    code = "import quality.expectations, sys; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@contextlib.contextmanager
def stock_engine(setup: str) -> Iterator[Any]:
    """Great Expectations' own engine on its own DuckDB, but with a connection that outlives each statement.

    Without that, DuckDB's result is emptied before Great Expectations fetches from it.
    """
    import sqlalchemy as sa
    from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
    from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine

    class Stock(SqlAlchemyExecutionEngine):
        @contextlib.contextmanager
        def get_connection(self) -> Iterator[Any]:
            yield held

    base = sa.create_engine("duckdb:///:memory:", poolclass=sa.pool.StaticPool)
    with base.connect() as held:
        held.exec_driver_sql(setup)
        held.commit()
        engine = Stock(engine=base)
        engine.batch_manager.save_batch_data("stock", SqlAlchemyBatchData(engine, table_name="delivery"))
        yield engine


def stock_answer(engine: Any, kind: str, kwargs: Mapping[str, Any]) -> tuple[bool, int]:
    from great_expectations.expectations.registry import get_expectation_impl
    from great_expectations.validator.metrics_calculator import MetricsCalculator

    stock: Callable[..., Any] = get_expectation_impl(kind)
    expectation = stock(**kwargs, batch_id="stock")
    asked = {"result_format": "BASIC"}
    needs = expectation.get_validation_dependencies(engine, asked).get_metric_configurations()
    metrics, aborted = MetricsCalculator(engine).compute_metrics(needs)
    assert not [one["exception_info"]["exception_message"] for one in aborted.values()]
    result = expectation.metrics_validate(metrics, runtime_configuration=asked, execution_engine=engine)
    return bool(result.success), int(result.result["unexpected_count"] or 0)
