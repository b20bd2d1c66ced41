"""How feature SQL becomes a Feast view: the conventions that every view shares.

Views read the warehouse; with LOOKBOOK_OFFLINE=spark, when they are declared, they read the tables
that pipelines.spark_tables makes, for the store in feature_store.spark.yaml.
"""

import os
from datetime import date, timedelta
from typing import Any

from feast import Entity, FeatureView, Field
from feast.data_source import DataSource, PushSource
from feast.types import Array, Float32, Float64, Int64, String, UnixTimestamp

from feature_repo.feature_sql import AS_OF, render
from feature_repo.stores.duckdb_source import ASKED, DuckDBSource
from feature_repo.windows import WINDOWS, Window

__all__ = [
    "Array",
    "Float32",
    "Float64",
    "Int64",
    "String",
    "UnixTimestamp",
    "as_of_view",
    "feature",
    "view",
    "windowed",
]

OWNER = "lookbook"
FOREVER = timedelta(0)


OF_ID = "of_id"
"""The tag of a feature that says nothing but who or what a row is."""


def feature(name: str, dtype: object, description: str, unit: str = "", tag: str = "") -> Field:
    """One field; the unit (days, currency, purchases ...) becomes a tag."""
    tags = {key: value for key, value in {"unit": unit, tag: "yes"}.items() if key and value}
    return Field(name=name, dtype=dtype, description=description, tags=tags)


def windowed(
    name: str,
    dtype: object,
    description: str,
    unit: str = "",
    windows: tuple[Window, ...] = WINDOWS,
) -> list[Field]:
    """One field per window, named NAME_WINDOW."""
    return [
        feature(f"{name}_{window.name}", dtype, f"{description} {window.words}", unit)
        for window in windows
    ]


def view(
    name: str, entities: list[Entity], description: str, fields: list[Field], freshness: str
) -> FeatureView:
    """The view over the warehouse table `features.NAME`, valid row by row until the next.

    Args:
        freshness: when the values can change, as words for the tag `changes`.
    """
    source = _source(name, table=f"features.{name}", valid_to_field="valid_to")
    return _view(name, entities, description, fields, freshness, source)


def as_of_view(
    name: str,
    entities: list[Entity],
    description: str,
    fields: list[Field],
    freshness: str,
    *,
    push: str = "",
    keep: int = 0,
    order: tuple[str, ...] = (),
) -> FeatureView:
    """The view whose SQL is asked for keys and moments: nothing of it is kept.

    Args:
        freshness: as for `view`.
        push: the name of its push source, if it has one: what is pushed goes into the tables that the
            view reads (sql/pushes/NAME.sql), and online into its lists.
        keep: how long these lists are, of what is pushed and what was there.
        order: the lists by which the SQL sorts them, the greatest first, that of the moments before all.
    """
    source = _source(
        name,
        query=render("features", name, date.max, asked=ASKED),
        as_of=AS_OF[name].changes,
        append=render("pushes", push, date.max, scoped=True) if push else "",
    )
    if not push:
        return _view(name, entities, description, fields, freshness, source)
    pushed = PushSource(
        name=push, batch_source=source, description=f"sql/pushes/{push}.sql", owner=OWNER
    )
    tags = {"online": "append", "keep": str(keep), "order": " ".join(order)}
    return _view(name, entities, description, fields, freshness, pushed, tags)


def _source(name: str, **in_warehouse: Any) -> DataSource:
    """Where a view's rows are: in the warehouse, or in Spark's table or view of its name."""
    shared: dict[str, Any] = {
        "name": name,
        "timestamp_field": "valid_from",
        "created_timestamp_column": "created_at",
        "description": f"sql/features/{name}.sql",
        "owner": OWNER,
    }
    if os.environ.get("LOOKBOOK_OFFLINE") == "spark":
        # Feast imports pyspark with it, which is an extra.
        from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

        return SparkSource(table=f"features.{name}", **shared)
    return DuckDBSource(**in_warehouse, **shared)


def _view(
    name: str,
    entities: list[Entity],
    description: str,
    fields: list[Field],
    freshness: str,
    source: DataSource,
    tags: dict[str, str] | None = None,
) -> FeatureView:
    keys = [Field(name=entity.join_key, dtype=String) for entity in entities]
    return FeatureView(
        name=name,
        entities=entities,
        ttl=FOREVER,
        schema=[*keys, *fields],
        online=True,
        source=source,
        description=description,
        owner=OWNER,
        tags={
            "grain": " x ".join(entity.name for entity in entities),
            "changes": freshness,
            **(tags or {}),
        },
    )
