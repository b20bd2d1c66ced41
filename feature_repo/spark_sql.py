"""The feature SQL in Spark's dialect: sqlglot translates it, and REWRITES says where it cannot.

The files below `sql/` stay the only definition of a feature. They are written in DuckDB's SQL, in
forms that Spark has too wherever there is one.
"""

from collections.abc import Callable
from datetime import date

import sqlglot
from sqlglot import ErrorLevel, exp

from feature_repo.feature_sql import AS_OF, table_sql, whole_history

SETTINGS = {
    # Moments are UTC, so that a day starts at its midnight there.
    "spark.sql.session.timeZone": "UTC",
    # A sum that overflows is an error, as in DuckDB, not null.
    "spark.sql.ansi.enabled": "true",
    # A product of DECIMALs keeps all its decimals, else money would lose the ninth.
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",
}
"""What a session must be set to for the SQL to mean what it means in DuckDB."""


def _moment(node: exp.Expr) -> exp.Expr | None:
    """TIMESTAMP is Spark's TIMESTAMP: sqlglot gives the one without a zone, which Feast does not know."""
    if isinstance(node, exp.DataType) and node.this == exp.DType.TIMESTAMPNTZ:
        return exp.DataType.build("TIMESTAMPLTZ")
    return None


def _median(node: exp.Expr) -> exp.Expr | None:
    """Spark's median() takes no ordered window, its percentile() does."""
    if isinstance(node, exp.Median):
        return _spark("percentile(:x, 0.5)", x=node.this)
    return None


_FUNCTIONS = {
    "epoch_us": "unix_micros(:a)",
    # Spark lacks it: the products, summed in order.
    "list_dot_product": "aggregate(zip_with(:a, :b, (a, b) -> a * b), CAST(0 AS DOUBLE), (sum, ab) -> sum + ab)",
    "list_extract": "element_at(:a, :b)",
    # Spark says a length where DuckDB says the last place.
    "list_slice": "slice(:a, :b, :c - :b + 1)",
}


def _largest(node: exp.Expr) -> exp.Expr | None:
    """max(x, n), the n largest in order, which Spark lacks."""
    if isinstance(node, exp.Max) and (count := node.args.get("count")):
        return _spark("slice(sort_array(collect_list(:x), false), 1, :n)", x=node.this, n=count)
    return None


def _function(node: exp.Expr) -> exp.Expr | None:
    """Functions that have another name or form in Spark, and that sqlglot leaves as they are."""
    if isinstance(node, exp.Anonymous) and (known := _FUNCTIONS.get(node.name.lower())):
        return _spark(known, **dict(zip("abc", node.expressions, strict=False)))
    return None


REWRITES: tuple[Callable[[exp.Expr], exp.Expr | None], ...] = (
    _moment,
    _median,
    _largest,
    _function,
)
"""Each gives what stands in Spark for a node of DuckDB's SQL, or None if it is not its matter. They
go through the tree one after the other."""


def _spark(sql: str, **parts: exp.Expr) -> exp.Expr:
    """An expression in Spark's SQL, with parts where it says `:name`."""
    return exp.replace_placeholders(sqlglot.parse_one(sql, read="spark"), **parts)


def _rewritten(node: exp.Expr, rewrite: Callable[[exp.Expr], exp.Expr | None]) -> exp.Expr:
    return rewrite(node) or node


def to_spark(sql: str) -> str:
    """A SELECT in DuckDB's SQL as one in Spark's.

    Raises:
        sqlglot.errors.SqlglotError: it is no SQL, or sqlglot knows that Spark has nothing for it.
    """
    tree: exp.Expr = sqlglot.parse_one(sql, read="duckdb")
    for rewrite in REWRITES:
        tree = tree.transform(_rewritten, rewrite)
    return tree.sql("spark", comments=False, unsupported_level=ErrorLevel.RAISE)


def spark_sql(schema: str, name: str, through: date) -> str:
    """Spark's SELECT of one table of feature_sql.TABLES, or of a view in AS_OF, whole.

    Args:
        schema: "staging" or "features".
        name: the table or view.
        through: the last day whose purchases may be used; of a view in AS_OF, whatever its
            tables know.
    """
    return to_spark(whole_history(name) if name in AS_OF else table_sql(schema, name, through))
