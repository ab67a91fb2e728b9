"""What Great Expectations costs beside the same predicates in one DuckDB query.

Run as `python benchmarks/gx_share.py [--rows 300 10000000] [--runs 5]`. Prints, per number of rows, the median of both
in milliseconds, their ratio, and how many statements Great Expectations needed. Files go to a temporary folder.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from quality.expectations import Expectations, Expected

#: The same rules twice: as expectations, and as SQL that counts the rows breaking them.
RULES: tuple[tuple[Expected, str], ...] = (
    (
        Expected("meter_present", "expect_column_values_to_not_be_null", {"column": "meter"}),
        "count(*) filter (where meter is null)",
    ),
    (
        Expected("energy_present", "expect_column_values_to_not_be_null", {"column": "energy"}),
        "count(*) filter (where energy is null)",
    ),
    (
        Expected(
            "energy_plausible",
            "expect_column_values_to_be_between",
            {"column": "energy", "min_value": 0, "max_value": 900},
        ),
        "count(*) filter (where not (energy >= 0 and energy <= 900))",
    ),
    (
        Expected(
            "in_the_year",
            "expect_column_values_to_be_between",
            {"column": "day", "min_value": "2024-01-01", "max_value": "2024-12-31"},
        ),
        "count(*) filter (where not (day >= date '2024-01-01' and day <= date '2024-12-31'))",
    ),
    (
        Expected(
            "status_known", "expect_column_values_to_be_in_set", {"column": "status", "value_set": ["W", "E", "G"]}
        ),
        "count(*) filter (where status not in ('W', 'E', 'G'))",
    ),
    (
        Expected("status_present", "expect_column_values_to_not_be_null", {"column": "status"}),
        "count(*) filter (where status is null)",
    ),
    (
        Expected(
            "meter_well_formed", "expect_column_values_to_match_regex", {"column": "meter", "regex": "^DE[0-9]{8}$"}
        ),
        "count(*) filter (where not regexp_matches(meter, '^DE[0-9]{8}$'))",
    ),
    (
        Expected(
            "meter_length",
            "expect_column_value_lengths_to_be_between",
            {"column": "meter", "min_value": 10, "max_value": 10},
        ),
        "count(*) filter (where not length(meter) between 10 and 10)",
    ),
    (
        Expected(
            "energy_at_most_limit",
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "energy_limit", "column_B": "energy", "or_equal": True},
        ),
        "count(*) filter (where not energy_limit >= energy)",
    ),
    (
        Expected("estimates_are_round", "unexpected_rows", {"condition": "status = 'E' and energy <> round(energy)"}),
        "count(*) filter (where status = 'E' and energy <> round(energy))",
    ),
    (
        Expected("no_zero_on_a_sunday", "unexpected_rows", {"condition": "energy = 0 and isodow(day) = 7"}),
        "count(*) filter (where energy = 0 and isodow(day) = 7)",
    ),
    (
        Expected("one_reading_a_day", "expect_compound_columns_to_be_unique", {"column_list": ["meter", "day"]}),
        """(select coalesce(sum(n), 0) from (
            select count(*) as n from readings where meter is not null and day is not null
            group by meter, day having count(*) > 1))""",
    ),
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, nargs="+", default=[300, 10_000_000])
    arguments.add_argument("--runs", type=int, default=5)
    chosen = arguments.parse_args()
    print(f"{'rows':>12} {'GX ms':>10} {'DuckDB ms':>10} {'ratio':>7} {'statements':>11}   {len(RULES)} rules")
    for rows in chosen.rows:
        with tempfile.TemporaryDirectory() as folder:
            print(measured(Path(folder), rows, chosen.runs), flush=True)


def measured(folder: Path, rows: int, runs: int) -> str:
    """One line: median of both ways, taken in turn, over a view on a Parquet file of this many rows."""
    with duckdb.connect() as connection:
        path = folder / "readings.parquet"
        _write(connection, path, rows)
        connection.execute(f"create temp view readings as select * from '{path}'")
        expectations = Expectations(connection)
        expected = [rule for rule, _ in RULES]
        plain = f"select count(*), {', '.join(sql for _, sql in RULES)} from readings"

        answers = {rule: counted.rows for rule, counted in expectations.validate("readings", expected).items()}
        direct = connection.execute(plain).fetchone()
        if direct is None or list(answers.values()) != list(direct[1:]):
            raise SystemExit(f"the two ways do not agree: {answers} and {direct}")

        before = expectations.statements
        expectations.validate("readings", expected)
        statements = expectations.statements - before
        ways: tuple[Callable[[], object], ...] = (
            lambda: expectations.validate("readings", expected),
            lambda: connection.execute(plain).fetchall(),
        )
        spent: tuple[list[float], list[float]] = ([], [])
        for _ in range(runs):
            for way, times in zip(ways, spent, strict=True):
                start = time.perf_counter()
                way()
                times.append((time.perf_counter() - start) * 1000)
    gx, own = (statistics.median(times) for times in spent)
    return f"{rows:>12,} {gx:>10.1f} {own:>10.1f} {gx / own:>7.2f} {statements:>11}"


def _write(connection: duckdb.DuckDBPyConnection, path: Path, rows: int) -> None:
    """Quarter-hour-like readings: five columns, about one row in a hundred bad in one way or another."""
    connection.execute(
        f"""
        copy (
            select
                case when i % 997 = 0 then null else 'DE' || lpad((i // 366)::varchar, 8, '0') end as meter,
                date '2024-01-01' + (i % 366)::integer as day,
                case when i % 501 = 0 then null else (hash(i) % 100000 / 100)::decimal(18, 3) end as energy,
                990::decimal(18, 3) as energy_limit,
                case when i % 743 = 0 then 'X' when i % 3 = 0 then 'E' else 'W' end as status
            from range({rows}) as numbers(i)
        ) to '{path}' (format parquet, compression zstd)
        """
    )


if __name__ == "__main__":
    main()
