"""The feature tables on Spark, for a shop that has outgrown one machine.

The same SQL as in the warehouse, through feature_repo.spark_sql, over Parquet files of the raw
tables, into the tables of Spark's catalog: `staging.NAME`, `features.NAME`. Always whole: there are
no days to be added.

    spark = SparkSession.builder.enableHiveSupport().getOrCreate()
    spark_tables.build(spark, "s3a://shop/raw")
"""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from feature_repo.feature_sql import AS_OF, TABLES
from feature_repo.raw_tables import READ_TABLES
from feature_repo.spark_sql import SETTINGS, spark_sql, to_spark
from pipelines.feature_tables import last_day
from pipelines.warehouse import has_table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RAW = ("transactions", "customers", "articles", "interactions", "article_content")
"""The raw tables that features are made from."""


def export_raw(con: duckdb.DuckDBPyConnection, out: Path) -> None:
    """Write the raw tables of a warehouse as `NAME.parquet` into a folder, for `build`.

    Raises:
        WarehouseError: nothing has been loaded.
    """
    last_day(con)
    out.mkdir(parents=True, exist_ok=True)
    for name in RAW:
        if has_table(con, "raw", name):
            file = f"{out}/{name}.parquet"
            con.execute(f"COPY raw.{name} TO $file (FORMAT parquet)", {"file": file})


def build(
    spark: "SparkSession",
    raw: str | Path,
    through: date | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, int]:
    """Replace all feature tables in Spark's catalog by what the SQL gives of the raw tables.

    The views in feature_sql.AS_OF become views of the catalog, computed when they are read.

    Args:
        spark: its catalog gets the tables; its settings stay as they are.
        raw: a folder or URI with `NAME.parquet` (a file or a folder of files) for each in RAW, with
            the columns of feature_repo.raw_tables; a shop without interactions or without
            embeddings has none of these.
        through: the last day whose purchases are used; the last there is if None.

    Returns:
        the rows of each table.

    Raises:
        ValueError: there are no purchases.
        pyspark.errors.AnalysisException: a file or a column is missing.
    """
    session = spark.newSession()
    for key, value in SETTINGS.items():
        session.conf.set(key, value)
    folder = str(raw) if "://" in str(raw) else Path(raw).resolve().as_uri()
    files = {name: f"parquet.`{folder}/{name}.parquet`" for name in RAW}
    (last,) = session.sql(f"SELECT max(t_dat) FROM {files['transactions']}").collect()[0]
    if last is None:
        raise ValueError(f"There are no purchases in {folder}.")
    through = through or last
    for schema in ("raw", "staging", "features"):
        session.sql(f"CREATE DATABASE IF NOT EXISTS {schema}")
    for name, file in files.items():
        _show(session, name, f"SELECT * FROM {file}")
    rows = {}
    for number, (schema, name) in enumerate(TABLES, start=1):
        table = f"{schema}.{name}"
        session.sql(spark_sql(schema, name, through)).write.mode("overwrite").saveAsTable(table)
        rows[table] = session.table(table).count()
        progress(f"{number}/{len(TABLES)} {table}: {rows[table]:,} rows")
    for view in AS_OF:
        session.sql(
            f"CREATE OR REPLACE VIEW features.{view} AS {spark_sql('features', view, through)}"
        )
    return rows


def _show(session: "SparkSession", name: str, sql: str) -> None:
    """Make the view `raw.NAME`, with nothing in it where a table that a shop may lack has no file."""
    from pyspark.errors import AnalysisException

    view = f"CREATE OR REPLACE VIEW raw.{name} AS"
    try:
        session.sql(f"{view} {sql}")
    except AnalysisException as error:
        table = READ_TABLES[name]
        if not (table.optional and error.getCondition() == "PATH_NOT_FOUND"):
            raise
        columns = (*table.columns, *table.ours)
        nulls = ", ".join(f"CAST(NULL AS {column.type}) AS {column.name}" for column in columns)
        session.sql(f"{view} {to_spark(f'SELECT {nulls} LIMIT 0')}")
