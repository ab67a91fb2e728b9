"""Great Expectations made to answer a whole suite from one statement on a DuckDB connection that others use too.

Expectations, metrics, their graph and their results are Great Expectations' own. Ours are: an execution engine that
runs its statements on the given connection, and the few metrics that its DuckDB dialect lacks (regex) or asks in a
statement of their own (uniqueness, pairs of columns, SQL of ours). They are registered for our engine only. Import this
module where it is used: it imports Great Expectations, which takes 3–10 s.

There is no data context, data source or asset: they bring a name to configurations that are stored, and here nothing is
stored. Without a context there is also nothing that could report usage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from decimal import Decimal
from typing import Any, NoReturn

import duckdb
import sqlalchemy as sa
from great_expectations.compatibility import pydantic
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.core.metric_function_types import MetricPartialFunctionTypes
from great_expectations.core.result_format import ResultFormat
from great_expectations.exceptions.exceptions import MetricResolutionError
from great_expectations.execution_engine.execution_engine import MetricComputationConfiguration as Aggregated
from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.core.expect_column_pair_values_a_to_be_greater_than_b import (
    ExpectColumnPairValuesAToBeGreaterThanB,
)
from great_expectations.expectations.core.expect_column_value_lengths_to_be_between import (
    ExpectColumnValueLengthsToBeBetween,
)
from great_expectations.expectations.core.expect_column_values_to_be_between import (
    ExpectColumnValuesToBeBetween,
)
from great_expectations.expectations.core.expect_column_values_to_be_in_set import (
    ExpectColumnValuesToBeInSet,
)
from great_expectations.expectations.core.expect_column_values_to_be_unique import (
    ExpectColumnValuesToBeUnique,
)
from great_expectations.expectations.core.expect_column_values_to_match_regex import (
    ExpectColumnValuesToMatchRegex,
)
from great_expectations.expectations.core.expect_column_values_to_not_be_null import (
    ExpectColumnValuesToNotBeNull,
)
from great_expectations.expectations.core.expect_compound_columns_to_be_unique import (
    ExpectCompoundColumnsToBeUnique,
)
from great_expectations.expectations.expectation import BatchExpectation, Expectation
from great_expectations.expectations.expectation_configuration import parse_result_format
from great_expectations.expectations.metrics.metric_provider import MetricProvider, metric_partial, metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from great_expectations.validator.metric_configuration import MetricConfiguration
from great_expectations.validator.metrics_calculator import MetricsCalculator
from great_expectations.validator.validation_graph import MetricEdge, ValidationGraph
from great_expectations.validator.validator import ValidationDependencies

from quality.errors import PlatformTrouble
from quality.expectations import KINDS, Counted, Expected

#: The batch is always this one; what stands behind it changes with every call.
BATCH = "delivery"

#: Prepared expectations are forgotten all at once beyond this number: a judge that lives long meets limits that change.
PREPARED_AT_MOST = 5_000

Aggregate = tuple[Any, dict[str, Any], dict[str, Any]]


class Engine(SqlAlchemyExecutionEngine):
    """Runs what Great Expectations asks on a connection that belongs to someone else.

    Attributes:
        statements: Number of statements run so far, the look at the columns included.
        columns: Columns of the relation looked at: name and DuckDB type.
        repeating: Those of them in which few values stand in many rows.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        # SQLAlchemy only writes the SQL: a connection of its own would not see temporary views, would begin
        # transactions on ours, and empties a result when it is given back
        super().__init__(engine=sa.create_engine("duckdb://", creator=_no_connection), create_temp_table=False)
        self._duckdb = connection
        self.statements = 0
        self.columns: list[dict[str, str]] = []
        self.repeating: Set[str] = frozenset()

    def look_at(self, relation: str, repeating: Set[str]) -> None:
        """Make this relation the batch, with the columns it has now."""
        self.repeating = repeating
        batch = SqlAlchemyBatchData(execution_engine=self, table_name=relation, use_quoted_name=True)
        described = self._run(f"describe {self.dialect.identifier_preparer.quote_identifier(relation)}")
        self.columns = [{"name": name, "type": kind} for name, kind, *_ in described.fetchall()]
        self.batch_manager.save_batch_data(BATCH, batch)

    def execute_query(self, query: Any) -> Any:
        """Run a SQLAlchemy statement and return what can be fetched from."""
        # written out, a bound such as '2024-07-01' takes the type of the column it is compared with; as a parameter
        # it would stay text and DuckDB refuses to compare
        return self._run(self.written(query))

    def resolve_metric_bundle(self, metric_fn_bundle: Iterable[Aggregated]) -> dict[Any, Any]:
        """Answer all metrics that look at the same rows in one statement.

        Raises:
            MetricResolutionError: With exactly those metrics that cannot be answered.
        """
        same_rows: dict[str, list[Aggregated]] = {}
        for one in metric_fn_bundle:
            rows = _rows(one.compute_domain_kwargs or {})
            same_rows.setdefault(repr(sorted(rows.items())), []).append(one)
        found: dict[Any, Any] = {}
        for metrics in same_rows.values():
            try:
                values = self._run(self._statement(metrics)).fetchone() or ()
            except Exception as error:
                # DuckDB's words, or whatever SQLAlchemy raises over a value it cannot write (CompileError, AttributeError)
                raise self._at_fault(metrics, error) from error
            found.update(zip((one.metric_configuration.id for one in metrics), values, strict=True))
        return found

    def _statement(self, metrics: Sequence[Aggregated]) -> str:
        records = self.get_domain_records(_rows(metrics[0].compute_domain_kwargs or {}))
        return self.written(sa.select(*(one.metric_fn for one in metrics)).select_from(_from(records)))

    def _at_fault(self, metrics: Sequence[Aggregated], error: Exception) -> MetricResolutionError:
        """Find who made the statement fail: by planning each alone, which reads no rows, or else by running each."""
        for attempt in ("explain ", ""):
            failed, said = [], str(error)
            for one in metrics:
                try:
                    self._run(attempt + self._statement([one])).fetchall()
                except Exception as own:
                    failed.append(one.metric_configuration)
                    said = str(own)
            if failed:
                return MetricResolutionError(message=said, failed_metrics=tuple(failed))
        return MetricResolutionError(
            message=str(error), failed_metrics=tuple(one.metric_configuration for one in metrics)
        )

    def _process_direct_and_bundled_metric_computation_configurations(
        self, metric_fn_direct_configurations: list[Aggregated], metric_fn_bundle_configurations: list[Aggregated]
    ) -> Any:
        # what is computed in SQL waits until everything else is ready: one statement instead of one per depth of graph;
        # and it is not tried metric by metric when it fails, which would be a pass over the rows for each
        if not metric_fn_direct_configurations:
            return self.resolve_metric_bundle(metric_fn_bundle_configurations)
        return super()._process_direct_and_bundled_metric_computation_configurations(
            metric_fn_direct_configurations, []
        )

    def written(self, clause: Any) -> str:
        """SQL text of a SQLAlchemy clause, values included."""
        return str(clause.compile(dialect=self.dialect, compile_kwargs={"literal_binds": True}))

    def _run(self, sql: str) -> duckdb.DuckDBPyConnection:
        self.statements += 1
        return self._duckdb.execute(sql)


def _no_connection() -> NoReturn:
    raise RuntimeError("only the held connection may be used")


# ---- metrics: each becomes one column of the one statement -----------------------------------------------------------


_ROWS = "table.row_count"
_AGGREGATE = MetricPartialFunctionTypes.AGGREGATE_FN
_TABLE_KEYS = ("batch_id", "table", "row_condition", "condition_parser")
_PAIR_KEYS = (*_TABLE_KEYS, "column_A", "column_B", "ignore_row_if")
_LIST_KEYS = (*_TABLE_KEYS, "column_list", "ignore_row_if")


class ColumnTypes(TableMetricProvider):
    """Names and types of the columns; Great Expectations would ask PostgreSQL's catalogue for them, several times."""

    metric_name = "table.column_types"
    value_keys = ("include_nested",)

    @metric_value(engine=Engine)
    def _held(cls, execution_engine: Engine, **_: Any) -> list[dict[str, str]]:
        return execution_engine.columns


class MatchRegexCount(MetricProvider):
    """Rows in whose value a pattern is found nowhere."""

    metric_name = "column_values.match_regex.unexpected_count"
    domain_keys = (*_TABLE_KEYS, "column")
    value_keys = ("regex",)

    @metric_partial(engine=Engine, partial_fn_type=_AGGREGATE, domain_type=MetricDomainTypes.COLUMN)
    def _held(
        cls,
        execution_engine: Engine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> Aggregate:
        name, rows = metric_domain_kwargs["column"], _rows(metric_domain_kwargs)
        column: sa.ColumnClause[Any] = sa.column(name)
        missed = sa.not_(sa.func.regexp_matches(column, metric_value_kwargs["regex"]))
        if name not in execution_engine.repeating:
            return sa.func.count().filter(missed), rows, {}
        records = _from(execution_engine.get_domain_records(rows))
        values = sa.select(column, sa.func.count().label("times")).select_from(records).group_by(column).subquery()
        total = sa.func.coalesce(sa.func.sum(values.c.times).filter(missed), 0)
        return sa.select(total).select_from(values).scalar_subquery(), rows, {}


class UniqueCount(MetricProvider):
    """Rows that share their value with another row.

    Grouped; Great Expectations' own takes a window over all rows, in a statement of its own.
    """

    metric_name = "column_values.unique.unexpected_count"
    domain_keys = (*_TABLE_KEYS, "column")

    @metric_partial(engine=Engine, partial_fn_type=_AGGREGATE, domain_type=MetricDomainTypes.COLUMN)
    def _held(cls, execution_engine: Engine, metric_domain_kwargs: dict[str, Any], **_: Any) -> Aggregate:
        return _sharing(execution_engine, metric_domain_kwargs, [metric_domain_kwargs["column"]])


class CompoundUniqueCount(MetricProvider):
    """Rows that share all values of a compound key with another row; a null in the key shares nothing."""

    metric_name = "compound_columns.unique.unexpected_count"
    domain_keys = _LIST_KEYS

    @metric_partial(engine=Engine, partial_fn_type=_AGGREGATE, domain_type=MetricDomainTypes.MULTICOLUMN)
    def _held(cls, execution_engine: Engine, metric_domain_kwargs: dict[str, Any], **_: Any) -> Aggregate:
        return _sharing(execution_engine, metric_domain_kwargs, metric_domain_kwargs["column_list"])


class CompoundUniqueConsidered(MetricProvider):
    """Rows that a compound key is asked of."""

    metric_name = "compound_columns.unique.filtered_row_count"
    domain_keys = _LIST_KEYS
    value_keys = ("result_format",)

    @metric_partial(engine=Engine, partial_fn_type=_AGGREGATE, domain_type=MetricDomainTypes.MULTICOLUMN)
    def _held(cls, metric_domain_kwargs: dict[str, Any], **_: Any) -> Aggregate:
        return _considered(metric_domain_kwargs, metric_domain_kwargs["column_list"])


class PairGreaterCount(MetricProvider):
    """Rows where A is not greater than B, both being there."""

    metric_name = "column_pair_values.a_greater_than_b.unexpected_count"
    domain_keys = _PAIR_KEYS
    value_keys = ("or_equal",)

    @metric_partial(engine=Engine, partial_fn_type=_AGGREGATE, domain_type=MetricDomainTypes.COLUMN_PAIR)
    def _held(cls, metric_domain_kwargs: dict[str, Any], metric_value_kwargs: dict[str, Any], **_: Any) -> Aggregate:
        a: sa.ColumnClause[Any] = sa.column(metric_domain_kwargs["column_A"])
        b: sa.ColumnClause[Any] = sa.column(metric_domain_kwargs["column_B"])
        held = a >= b if metric_value_kwargs.get("or_equal") else a > b
        return sa.func.count().filter(sa.not_(held)), _rows(metric_domain_kwargs), {}


class PairGreaterConsidered(MetricProvider):
    """Rows that a pair of columns is asked of."""

    metric_name = "column_pair_values.a_greater_than_b.filtered_row_count"
    domain_keys = _PAIR_KEYS
    value_keys = ("or_equal", "result_format")

    @metric_partial(engine=Engine, partial_fn_type=_AGGREGATE, domain_type=MetricDomainTypes.COLUMN_PAIR)
    def _held(cls, metric_domain_kwargs: dict[str, Any], **_: Any) -> Aggregate:
        return _considered(metric_domain_kwargs, [metric_domain_kwargs["column_A"], metric_domain_kwargs["column_B"]])


class SqlRowsCount(MetricProvider):
    """Rows for which an SQL condition is true, or which an SQL query returns."""

    metric_name = "sql_rows.unexpected_count"
    domain_keys = _TABLE_KEYS
    value_keys = ("condition", "query")

    @metric_partial(engine=Engine, partial_fn_type=_AGGREGATE, domain_type=MetricDomainTypes.TABLE)
    def _held(
        cls,
        execution_engine: Engine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> Aggregate:
        # literal_column and not text: text takes the ':a' of '(?:a|b)' for a parameter. The line breaks end a comment.
        if condition := metric_value_kwargs.get("condition"):
            return sa.func.count().filter(sa.literal_column(f"(\n{condition}\n)")), metric_domain_kwargs, {}
        records = execution_engine.get_domain_records(metric_domain_kwargs)
        batch = execution_engine.written(sa.select(sa.text("*")).select_from(_from(records)))
        query = str(metric_value_kwargs["query"]).strip().rstrip(";").replace("{batch}", f"({batch}) as batch")
        return sa.literal_column(f"(select count(*) from (\n{query}\n))"), metric_domain_kwargs, {}


def _sharing(engine: Engine, domain: Mapping[str, Any], names: Sequence[str]) -> Aggregate:
    """Number of rows whose values in these columns, none of them null, are also those of another row."""
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in names]
    # hashes are grouped in half the time and a third of the space; only what they cannot tell apart is grouped by value
    hashed = sa.func.hash(*columns)
    is_there = [column.is_not(None) for column in columns]
    records = _from(engine.get_domain_records(_rows(domain)))
    alike = sa.select(hashed).select_from(records).where(*is_there).group_by(hashed).having(sa.func.count() > 1)
    shared = (
        sa.select(sa.func.count().label("rows_sharing"))
        .select_from(records)
        .where(*is_there, hashed.in_(alike))
        .group_by(*columns)
        .having(sa.func.count() > 1)
        .subquery()
    )
    return sa.select(sa.func.coalesce(sa.func.sum(shared.c.rows_sharing), 0)).scalar_subquery(), _rows(domain), {}


def _considered(domain: Mapping[str, Any], names: Sequence[str]) -> Aggregate:
    """Number of rows that `ignore_row_if` leaves."""
    missing = [sa.column(name).is_(None) for name in names]
    left: sa.ColumnElement[int]
    match domain.get("ignore_row_if"):
        case "both_values_are_missing" | "all_values_are_missing":
            left = sa.func.count().filter(sa.not_(sa.and_(*missing)))
        case "either_value_is_missing" | "any_value_is_missing":
            left = sa.func.count().filter(sa.not_(sa.or_(*missing)))
        case _:
            left = sa.func.count()
    return left, _rows(domain), {}


def _rows(domain: Mapping[str, Any]) -> dict[str, Any]:
    """The rows a metric looks at, without its columns and empty keys: metrics that agree in it share one statement."""
    return {key: domain[key] for key in _TABLE_KEYS if domain.get(key) is not None}


def _from(records: Any) -> Any:
    return records.subquery() if isinstance(records, sa.Select) else records


# ---- expectations: Great Expectations' own, asked for counts only ----------------------------------------------------


class _Held(Expectation):
    """Asks for numbers and not for examples (a statement per rule), and works out what it needs once.

    Great Expectations would serialise a rule some 70 times per validation: 100 ms for twelve rules instead of 12.
    """

    _configuration: Any = pydantic.PrivateAttr(default=None)
    _needs: ValidationDependencies | None = pydantic.PrivateAttr(default=None)

    @property
    def configuration(self) -> Any:
        if self._configuration is None:
            self._configuration = super().configuration
        return self._configuration

    def get_validation_dependencies(
        self, execution_engine: Any = None, runtime_configuration: dict[str, Any] | None = None, **_: Any
    ) -> ValidationDependencies:
        if self._needs is None:
            needs = super().get_validation_dependencies(execution_engine, {"result_format": "BOOLEAN_ONLY"})
            # the numbers are there; BASIC is the format that tells them
            needs.result_format = parse_result_format(ResultFormat.BASIC)
            self._needs = needs
        return self._needs


class HeldNotNull(_Held, ExpectColumnValuesToNotBeNull):
    pass


class HeldBetween(_Held, ExpectColumnValuesToBeBetween):
    pass


class HeldInSet(_Held, ExpectColumnValuesToBeInSet):
    pass


class HeldMatchRegex(_Held, ExpectColumnValuesToMatchRegex):
    pass


class HeldLengthsBetween(_Held, ExpectColumnValueLengthsToBeBetween):
    pass


class HeldPairGreater(_Held, ExpectColumnPairValuesAToBeGreaterThanB):
    pass


class HeldCompoundUnique(_Held, ExpectCompoundColumnsToBeUnique):
    pass


class HeldUnique(_Held, ExpectColumnValuesToBeUnique):
    pass


class HeldUnexpectedRows(_Held, BatchExpectation):
    """SQL that finds the bad rows. `UnexpectedRowsExpectation` would fetch them and scan once more to count them."""

    condition: str | None = None
    query: str | None = None

    metric_dependencies = ("sql_rows.unexpected_count",)
    domain_keys = ("batch_id", "row_condition", "condition_parser")
    success_keys = ("condition", "query")

    @pydantic.root_validator
    def _one_of_the_two(cls, values: dict[str, Any]) -> dict[str, Any]:
        condition, query = values.get("condition"), values.get("query")
        if bool(condition) == bool(query):
            raise ValueError("unexpected rows need either `condition` or `query`")
        if query and "{batch}" not in query:
            raise ValueError("the query must read from {batch}, or it would not look at the delivery")
        return values

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        rows = metrics["sql_rows.unexpected_count"]
        return {"success": rows == 0, "result": {"unexpected_count": rows}}


_CLASSES: dict[str, Callable[..., Expectation]] = dict(
    zip(
        KINDS,
        (
            HeldNotNull,
            HeldBetween,
            HeldInSet,
            HeldMatchRegex,
            HeldLengthsBetween,
            HeldPairGreater,
            HeldCompoundUnique,
            HeldUnique,
            HeldUnexpectedRows,
        ),
        strict=True,
    )
)


# ---- validation ------------------------------------------------------------------------------------------------------


class _Prepared:
    """An expectation and the graph of metrics it needs."""

    def __init__(self, expectation: Expectation, edges: Sequence[MetricEdge]) -> None:
        self.expectation, self.edges = expectation, tuple(edges)
        self.needs = {edge.left.id for edge in edges}


def _told_exactly(expectation: Expectation, kwargs: Mapping[str, Any]) -> None:
    """Refuse a bound that Great Expectations would round: it keeps every number as a float."""
    for name in ("min_value", "max_value"):
        kept = getattr(expectation, name, None)
        if isinstance(kept, float) and Decimal(repr(kept)) != Decimal(str(kwargs[name])):
            raise ValueError(f"{name} {kwargs[name]} would become {kept!r}; state the rule as unexpected_rows")


def _edges(graph: ValidationGraph) -> list[MetricEdge]:
    """The graph's edges, without what would cut the one statement in two.

    Every metric on a column is declared to need the number of rows; none of ours reads it, and it is counted in the
    statement that the metric becomes a part of.
    """
    edges = []
    for edge in graph.edges:
        if edge.right and edge.right.metric_name == _ROWS:
            edge.left.metric_dependencies.pop(_ROWS, None)
        else:
            edges.append(edge)
    return edges


class Held:
    """What is kept between validations: engine, calculator of metrics, prepared expectations."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.engine = Engine(connection)
        self._calculator = MetricsCalculator(self.engine, show_progress_bars=False)
        self._prepared: dict[str, _Prepared] = {}

    def validate(
        self, relation: str, expected: Sequence[Expected], repeating: Set[str] = frozenset()
    ) -> dict[str, Counted]:
        """See `Expectations.validate`."""
        prepared = {one.rule: self._prepare(one) for one in expected}
        if len(prepared) != len(expected):
            raise ValueError(f"rule ids are not unique: {sorted(one.rule for one in expected)}")
        metrics = self._metrics(relation, prepared, repeating) if prepared else {}
        return {rule: self._counted(rule, one, metrics) for rule, one in prepared.items()}

    def _prepare(self, expected: Expected) -> _Prepared:
        key = repr((expected.rule, expected.kind, sorted(expected.kwargs.items()), expected.because))
        if key not in self._prepared:
            if len(self._prepared) >= PREPARED_AT_MOST:
                self._prepared.clear()
            self._prepared[key] = self._new(expected)
        return self._prepared[key]

    def _new(self, expected: Expected) -> _Prepared:
        if expected.kind not in _CLASSES:
            raise PlatformTrouble(
                "no such expectation",
                cause=f"{expected.kind!r} is none of: {', '.join(KINDS)}",
                rules=[expected.rule],
            )
        try:
            # the batch by id: without it a metric would look at whatever was loaded last
            expectation = _CLASSES[expected.kind](
                **expected.kwargs, batch_id=BATCH, notes=expected.because or None, meta={"rule_id": expected.rule}
            )
            _told_exactly(expectation, expected.kwargs)
            needs: list[MetricConfiguration] = expectation.get_validation_dependencies(
                self.engine
            ).get_metric_configurations()
            return _Prepared(expectation, _edges(self._calculator.build_metric_dependency_graph(needs)))
        except Exception as error:
            raise PlatformTrouble(
                "the expectation is not well formed", cause=str(error), rules=[expected.rule]
            ) from error

    def _metrics(self, relation: str, prepared: Mapping[str, _Prepared], repeating: Set[str]) -> Mapping[Any, Any]:
        graph = ValidationGraph(self.engine)
        for one in prepared.values():
            for edge in one.edges:
                graph.add(edge)
        try:
            self.engine.look_at(relation, repeating)
        except Exception as error:
            raise PlatformTrouble("the relation cannot be read", cause=str(error), relation=relation) from error
        try:
            found, _ = self._calculator.resolve_validation_graph(graph, {"catch_exceptions": False})
        except MetricResolutionError as error:
            failed = {metric.id for metric in error.failed_metrics}
            rules = [rule for rule, one in prepared.items() if one.needs & failed]
            raise PlatformTrouble(
                "Great Expectations could not answer", cause=str(error), rules=rules, relation=relation
            ) from error
        except Exception as error:
            # a failed statement between asking and answering is nobody's broken rule
            raise PlatformTrouble(
                "Great Expectations could not answer", cause=str(error), rules=list(prepared), relation=relation
            ) from error
        return found

    def _counted(self, rule: str, prepared: _Prepared, metrics: Mapping[Any, Any]) -> Counted:
        try:
            result: ExpectationValidationResult = prepared.expectation.metrics_validate(
                dict(metrics), runtime_configuration={}, execution_engine=self.engine
            )
        except Exception as error:
            raise PlatformTrouble("Great Expectations could not answer", cause=str(error), rules=[rule]) from error
        if (result.exception_info or {}).get("raised_exception"):
            cause = str(result.exception_info)
            raise PlatformTrouble("Great Expectations could not answer", cause=cause, rules=[rule])
        return Counted(rule, passed=bool(result.success), rows=int(result.result["unexpected_count"] or 0))
