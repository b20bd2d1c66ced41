"""The feature SQL on Spark: the same tables as in DuckDB, and Feast's own store over them."""

import math
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from feature_repo import feature_sql
from feature_repo.spark_sql import SETTINGS, to_spark
from pipelines import spark_tables
from pipelines.warehouse import WarehouseError
from tests.feature_worlds import Tables, a_busy_shop, day, midnight

pytest.importorskip("pyspark", reason="Spark is an extra: pip install -e '.[spark]'")
if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
    pytest.skip("Spark needs Java 17", allow_module_level=True)

from pyspark.sql import SparkSession

REPO = Path(feature_sql.__file__).parent
EVERYTHING = [
    *(f"{schema}.{name}" for schema, name in feature_sql.TABLES),
    *(f"features.{view}" for view in feature_sql.AS_OF),
]


@pytest.fixture(scope="module")
def shop() -> Tables:
    return a_busy_shop(customers=40, purchases=1000)


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory, shop: Tables) -> Iterator[SparkSession]:
    """A session in which the shop's tables are built."""
    folder = tmp_path_factory.mktemp("spark")
    spark_tables.export_raw(shop.con, folder)
    settings = {
        # What the tables hold must not depend on the settings of whoever makes or reads them.
        "spark.sql.session.timeZone": "Asia/Tokyo",
        "spark.sql.ansi.enabled": "false",
        # Little data: there is nothing to be gained by planning and compiling.
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    }
    builder = SparkSession.builder.master("local[1]")
    for name, value in {
        **settings,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    }.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    rows = spark_tables.build(session, folder)
    assert list(rows) == EVERYTHING[: -len(feature_sql.AS_OF)]
    assert {name: session.conf.get(name) for name in settings} == settings
    yield session
    session.stop()


def same(ours: Any, theirs: Any) -> bool:
    """Equal; numbers with a fraction up to the last bits, for each engine has its own exp and ln."""
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-15)
    return type(ours) is type(theirs) and ours == theirs


@pytest.mark.parametrize("table", EVERYTHING)
def test_spark_gives_the_same_table(spark: SparkSession, shop: Tables, table: str) -> None:
    view = table.removeprefix("features.")
    source = f"({feature_sql.whole_history(view)})" if view in feature_sql.AS_OF else table
    made = spark.table(table).toArrow()
    shop.con.register("made", made)
    # Moments are instants in Spark, and in the warehouse their time in UTC.
    moments = ", ".join(
        f"{field.name} AT TIME ZONE 'UTC' AS {field.name}"
        for field in made.schema
        if getattr(field.type, "tz", None)
    )
    spark_rows = f"(SELECT * REPLACE ({moments}) FROM made)" if moments else "made"
    created = "* EXCLUDE (created_at)" if "created_at" in made.column_names else "*"
    # Keys come first, so rows stand in the same order.
    ours = shop.con.execute(f"SELECT {created} FROM {source} ORDER BY ALL")
    columns, rows = ours.description, ours.fetchall()
    theirs = shop.con.execute(f"SELECT {created} FROM {spark_rows} ORDER BY ALL")
    assert [column[:2] for column in theirs.description] == [column[:2] for column in columns]
    assert len(rows) > 5
    for one, other in zip(rows, theirs.fetchall(), strict=True):
        assert all(map(same, one, other)), (one, other)


def test_rows_say_when_they_were_made(spark: SparkSession) -> None:
    (age,) = spark.sql(
        "SELECT max(unix_seconds(now()) - unix_seconds(created_at)) FROM features.customer_article"
    ).first()
    assert 0 <= age < 600


def test_a_build_may_stop_at_a_day(spark: SparkSession, shop: Tables) -> None:
    """The rendered day is the only thing that differs, so one small table tells."""
    sql = to_spark(feature_sql.render("staging", "purchases", day(50)))
    known = spark.sql(f"SELECT max(day) FROM ({sql})").first()[0]
    assert known == max(p.day for p in shop.purchases if p.day <= day(50))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT list_slice([5, 6, 7, 8], 2, 3)", [6, 7]),
        ("SELECT list_slice([5, 6], 1, 3)", [5, 6]),
        ("SELECT list_extract(['a', 'b'], 2)", "b"),
        ("SELECT max(a, 2) FROM (VALUES (1), (3), (NULL), (2), (3)) AS t (a)", [3, 3]),
        ("SELECT epoch_us(CAST('1970-01-02 00:00:00.000001+00' AS TIMESTAMPTZ))", 86400000001),
        ("SELECT list_dot_product([1.5::DOUBLE, 2], [2::DOUBLE, 10])", 23.0),
        ("SELECT median(a) FROM (VALUES (1), (2), (4), (NULL)) AS t (a)", 2.0),
        ("SELECT count(*) FROM (VALUES (DATE '2020-02-28')) AS t (d) WHERE d + 2 = DATE '2020-03-01'", 1),
    ],
)  # fmt: skip
def test_a_rewrite_means_the_same(
    spark: SparkSession, shop: Tables, sql: str, expected: object
) -> None:
    (ours,) = shop.con.execute(sql).fetchone()  # type: ignore[misc]
    (theirs,) = spark.sql(to_spark(sql)).first()
    assert ours == theirs == expected


def test_every_setting_is_one_that_spark_knows(spark: SparkSession) -> None:
    assert all(spark.newSession().conf.get(name) for name in SETTINGS)


def test_nothing_is_built_of_no_purchases(spark: SparkSession, tmp_path: Path) -> None:
    none = duckdb.sql("SELECT CAST(NULL AS DATE) AS t_dat LIMIT 0")
    none.write_parquet(str(tmp_path / "transactions.parquet"))
    with pytest.raises(ValueError, match="no purchases"):
        spark_tables.build(spark, tmp_path)
    assert spark.table("raw.transactions").count() > 0


def test_a_shop_without_interactions_has_none(spark: SparkSession, tmp_path: Path) -> None:
    there = spark.table("raw.interactions")
    spark_tables._show(spark, "interactions", f"SELECT * FROM parquet.`{tmp_path.as_uri()}/none`")
    none = spark.table("raw.interactions")
    assert none.count() == 0 < there.count()
    assert none.dtypes == [(n, k.replace("_ntz", "")) for n, k in there.dtypes]


def test_what_is_not_loaded_is_not_exported(tmp_path: Path) -> None:
    with duckdb.connect() as con, pytest.raises(WarehouseError):
        spark_tables.export_raw(con, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


# Feast's Spark store

ON_SPARK = ["customer_activity", "customer_article", "customer_recent", "customer_session"]
"""A view by one key, one by two, one of which nothing is kept, and one to which events are pushed."""


@pytest.fixture(scope="module")
def asked(shop: Tables) -> pd.DataFrame:
    """Keys and moments: midnights, moments between them, and before all purchases."""
    rows = [
        (p.customer, p.article, midnight(p.day) + timedelta(hours=hours))
        for p in shop.purchases[:30]
        for hours in (0, 24, 31, 24 * 40)
    ]
    rows += [(rows[0][0], rows[0][1], midnight(-9)), ("nobody", "9", midnight(200))]
    frame = pd.DataFrame(rows, columns=["customer_id", "article_id", "event_timestamp"])
    frame["event_timestamp"] = frame["event_timestamp"].dt.tz_localize("UTC")
    return frame.assign(row=range(len(frame)))


def values(store: Any, asked: pd.DataFrame, view: str, names: list[str]) -> list[tuple[Any, ...]]:
    """What a store gives for each row that is asked for, in order."""
    found = store.get_historical_features(
        entity_df=asked.copy(), features=[f"{view}:{name}" for name in names]
    ).to_df()
    return [tuple(map(plain, row)) for row in found.sort_values("row")[names].to_numpy()]


def plain(value: Any) -> Any:
    """A value of a data frame without pandas' kinds of nothing, of moment, of list and of number."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.tz_localize(None).to_pydatetime()
    return float(value) if isinstance(value, int | np.number) else value


@pytest.fixture
def spark_store(spark: SparkSession, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The store of feature_store.spark.yaml, with some views."""
    from feast import FeatureStore
    from feast.repo_config import load_repo_config

    from feature_repo import definitions
    from feature_repo.stores.lmdb_online_store import events_of
    from feature_repo.views import declare

    monkeypatch.setenv("LOOKBOOK_OFFLINE", "spark")
    # Feast takes the session that is open, which is not set as the file says.
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    store = FeatureStore(config=load_repo_config(REPO, REPO / "feature_store.spark.yaml"))
    keys = {entity.name: entity for entity in (definitions.customer, definitions.article)}
    views = []
    for name in ON_SPARK:
        declared = getattr(definitions, name)
        given = (name, [keys[entity] for entity in declared.entities], "", declared.features, "")
        if name not in feature_sql.AS_OF:
            views.append(declare.view(*given))
        elif (source := declared.stream_source) and (events := events_of(declared)):
            views.append(
                declare.as_of_view(*given, push=source.name, keep=events.keep, order=events.order)
            )
        else:
            views.append(declare.as_of_view(*given))
    store.apply([*keys.values(), *views])
    yield store
    spark.conf.set("spark.sql.session.timeZone", zone)


@pytest.mark.parametrize("view", ON_SPARK)
def test_feasts_spark_store_gives_what_the_warehouse_gives(
    spark_store: Any, shop: Tables, asked: pd.DataFrame, view: str, tmp_path: Path
) -> None:
    from feast import FeatureStore, RepoConfig

    from feature_repo import definitions

    shop.con.execute(f"ATTACH '{tmp_path / 'warehouse.duckdb'}' AS w")
    shop.con.execute("CREATE SCHEMA w.features; CREATE SCHEMA w.staging")
    for table in ("features.customer_activity", "features.customer_article", "staging.actions"):
        shop.con.execute(f"CREATE TABLE w.{table} AS FROM {table}")
    shop.con.execute("DETACH w")
    warehouse = FeatureStore(
        config=RepoConfig(
            project="lookbook",
            provider="local",
            registry=str(tmp_path / "registry.db"),
            offline_store={
                "type": "feature_repo.stores.duckdb_offline_store.DuckDBOfflineStore",
                "path": str(tmp_path / "warehouse.duckdb"),
            },
            online_store={"type": "sqlite", "path": str(tmp_path / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    declared = getattr(definitions, view)
    warehouse.apply([definitions.customer, definitions.article, declared])
    names = [field.name for field in declared.features]
    ours, theirs = (values(store, asked, view, names) for store in (warehouse, spark_store))
    assert len(set(map(str, ours))) > 20
    for one, other in zip(ours, theirs, strict=True):
        assert all(map(same, one, other)), (one, other)
