"""The online store and its engine through Feast's own interface, with Feast's SQLite store beside them:
small tables and pushed rows in, values online out."""

import decimal
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    OnDemandFeatureView,
    RepoConfig,
    ValueType,
)
from feast.feature_view import DUMMY_ENTITY_VAL
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    Float32,
    Float64,
    ImageBytes,
    Int32,
    Int64,
    Json,
    Map,
    PdfBytes,
    ScalarMap,
    Set,
    String,
    Struct,
    UnixTimestamp,
    Uuid,
    ZonedTimestamp,
    from_value_type,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.errors import InputError
from feature_repo.stores import materialization_engine
from feature_repo.stores.connection import WarehouseError
from feature_repo.stores.duckdb_source import ASKED, DuckDBSource
from feature_repo.stores.lmdb_environment import OnlineStoreError
from feature_repo.stores.lmdb_online_store import LMDBOnlineStore, online_rows
from feature_repo.stores.lmdb_rows import View, encode_keys
from feature_repo.stores.packed_rows import EXPIRED, MISSING, PRESENT, arrow_type, is_message

STORES = "feature_repo.stores"
OURS = f"{STORES}.lmdb_online_store.LMDBOnlineStore"
ENGINE = f"{STORES}.materialization_engine.MaterializationEngine"
WAREHOUSE = f"{STORES}.duckdb_offline_store.DuckDBOfflineStore"

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
article = Entity(name="article", join_keys=["article_id"], value_type=ValueType.STRING)
N = [Field(name="n", dtype=Int64)]
HISTORY = "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP, created_at TIMESTAMP)"
INTERVALS = (
    "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP, valid_to TIMESTAMP, created_at TIMESTAMP)"
)
FOREVER = timedelta(0)
LONG_AGO = datetime(2000, 1, 1)


def t(text: str) -> datetime:
    """A moment of January 2020, UTC, from "day hour:minute"."""
    number, _, time = text.partition(" ")
    return datetime.fromisoformat(f"2020-01-{int(number):02}T{time or '00:00'}")


def view(
    name: str,
    fields: Sequence[Field] = N,
    entities: Sequence[Entity] = (customer,),
    *,
    ttl: timedelta = FOREVER,
    valid_to: bool = False,
    created: bool = True,
    tags: dict[str, str] | None = None,
    **source: Any,
) -> FeatureView:
    keys = [
        Field(name=entity.join_key, dtype=from_value_type(entity.value_type)) for entity in entities
    ]
    return FeatureView(
        name=name,
        entities=list(entities),
        ttl=ttl,
        schema=[*keys, *fields],
        tags=tags or {},
        source=DuckDBSource(
            name=name,
            **({} if "query" in source else {"table": name}) | source,
            timestamp_field="known_at",
            created_timestamp_column="created_at" if created else "",
            valid_to_field="valid_to" if valid_to else "",
        ),
    )


class Repo:
    """One warehouse of the test's own, with a Feast store for our online store and one for SQLite's."""

    def __init__(self, folder: Path, *, project: str = "test", **engine: Any) -> None:
        self.folder = folder
        self.warehouse = folder / "warehouse.duckdb"
        online = {"type": OURS, "path": str(folder / "online")}
        engine = {"batch_engine": {"type": ENGINE, **engine}}
        self.ours = self._feast("ours", project, online_store=online, **engine)
        sqlite = {"type": "sqlite", "path": str(folder / f"{project}.sqlite")}
        self.sqlite = self._feast("sqlite", project, online_store=sqlite)
        self.stores = {"ours": self.ours, "sqlite": self.sqlite}
        if not self.warehouse.exists():
            self.fill("nothing", "(x INTEGER)")

    def _feast(self, name: str, project: str, **stores: Any) -> FeatureStore:
        config = RepoConfig(
            project=project,
            provider="local",
            registry=str(self.folder / f"{name}_{project}.db"),
            offline_store={"type": WAREHOUSE, "path": str(self.warehouse), "threads": 1},
            materialization={"pull_latest_features": True},
            entity_key_serialization_version=3,
            **stores,
        )
        return FeatureStore(config=config)

    def fill(self, table: str, columns: str, *rows: Sequence[Any]) -> None:
        with duckdb.connect(str(self.warehouse)) as con:
            con.execute(f"CREATE OR REPLACE TABLE {table} {columns}")
        self.add(table, *rows)

    def add(self, table: str, *rows: Sequence[Any]) -> None:
        with duckdb.connect(str(self.warehouse)) as con:
            for row in rows:
                con.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", list(row))

    # In both stores

    def apply(self, *objects: Any) -> None:
        for store in self.stores.values():
            store.apply([customer, article, *objects])

    def materialize(self, start: datetime, end: datetime) -> None:
        for store in self.stores.values():
            store.materialize(start, end)

    def materialize_on(self, end: datetime) -> None:
        """`materialize-incremental`"""
        for store in self.stores.values():
            store.materialize_incremental(end)

    def push(self, name: str, *rows: dict[str, Any]) -> None:
        for store in self.stores.values():
            push(store, name, *rows)

    def ask(self, keys: dict[str, list[Any]], *features: str) -> dict[str, list[tuple[Any, ...]]]:
        """The asked features' values, row by row, of each store."""
        return {name: ask(store, keys, *features) for name, store in self.stores.items()}

    # In ours

    @property
    def online(self) -> LMDBOnlineStore:
        store = self.ours._get_provider().online_store
        assert isinstance(store, LMDBOnlineStore)
        return store

    def matrix(self, name: str, keys: Any, features: list[str] | None = None, **now: Any) -> Any:
        return self.online.read_matrix(self.ours.config, name, keys, features, **now)


def push(store: FeatureStore, name: str, *rows: dict[str, Any]) -> None:
    store.write_to_online_store(name, pd.DataFrame(rows))


def ask(store: FeatureStore, keys: dict[str, list[Any]], *features: str) -> list[tuple[Any, ...]]:
    found = store.get_online_features(list(features), keys).to_dict()
    return list(zip(*(found[feature.split(":")[1]] for feature in features), strict=True))


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path)


def row(key: str, n: int | None, known_at: datetime, created_at: datetime | None = None) -> dict:
    return {"customer_id": key, "n": n, "known_at": known_at, "created_at": created_at or known_at}


ANNA = {"customer_id": ["anna"]}
TWO = {"customer_id": ["anna", "bert"]}


# Beside SQLite: where it is wrong, it says so


def test_a_row_older_than_its_time_to_live_is_not_given(repo):
    repo.fill("short", HISTORY)
    repo.apply(view("short", ttl=timedelta(seconds=1)))
    event = datetime.now(UTC)
    repo.push("short", row("anna", 1, event))
    assert repo.ask(ANNA, "short:n") == {"ours": [(1,)], "sqlite": [(1,)]}

    time.sleep(1 - (datetime.now(UTC) - event).total_seconds() + 0.01)
    assert repo.ask(TWO, "short:n") == {
        "ours": [(None,), (None,)],
        "sqlite": [(1,), (None,)],
    }
    response = repo.ours.get_online_features(["short:n"], TWO).proto
    of_n = response.results[list(response.metadata.feature_names.val).index("n")]
    assert list(of_n.statuses) == [FieldStatus.OUTSIDE_MAX_AGE, FieldStatus.NOT_FOUND]
    assert of_n.event_timestamps[0].ToDatetime(UTC) == event

    matrix = repo.matrix("short", ["anna", "bert"])
    assert matrix.status.tolist() == [EXPIRED, MISSING]
    assert np.isnan(matrix.values).all()
    assert matrix.column("n").to_pylist() == [None, None]
    # A second before, it was there.
    assert repo.matrix("short", ["anna"], now=event).status.tolist() == [PRESENT]


def test_a_late_row_is_found_by_the_next_incremental_run(repo):
    repo.fill("history", HISTORY, ("anna", 1, t("3"), t("3")), ("bert", 7, t("4"), t("4")))
    repo.apply(view("history"))
    repo.materialize(LONG_AGO, t("10"))

    # Written after the run, of before it: news of Cara, and of what was known of Anna and not of Bert.
    late = t("11")
    repo.add(
        "history", ("cara", 5, t("2"), late), ("anna", 2, t("5"), late), ("bert", 6, t("1"), late)
    )
    repo.materialize_on(t("12"))
    asked = {"customer_id": ["anna", "bert", "cara"]}
    assert repo.ask(asked, "history:n") == {
        "ours": [(2,), (7,), (5,)],
        "sqlite": [(1,), (7,), (None,)],
    }


def test_an_older_push_does_not_replace_a_newer_one(repo):
    repo.fill("history", HISTORY)
    repo.apply(view("history"))
    repo.push("history", row("anna", 2, t("5")))
    repo.push("history", row("anna", 1, t("4")), row("bert", 1, t("4")))
    assert repo.ask(TWO, "history:n") == {"ours": [(2,), (1,)], "sqlite": [(1,), (1,)]}


def test_of_one_moment_what_was_created_last_counts(repo):
    repo.fill("history", HISTORY)
    repo.apply(view("history"))
    repo.push("history", row("anna", 2, t("5"), created_at=t("9")))
    repo.push("history", row("anna", 1, t("5"), created_at=t("8")))
    assert repo.ask(ANNA, "history:n") == {"ours": [(2,)], "sqlite": [(1,)]}
    repo.push("history", row("anna", 3, t("5"), created_at=t("9")))
    assert repo.ask(ANNA, "history:n") == {"ours": [(3,)], "sqlite": [(3,)]}


def test_of_a_batch_with_a_key_twice_the_newest_counts(repo):
    repo.fill("history", HISTORY)
    repo.apply(view("history"))
    repo.push("history", row("anna", 2, t("5")), row("anna", 1, t("4")))
    assert repo.ask(ANNA, "history:n") == {"ours": [(2,)], "sqlite": [(1,)]}


@pytest.mark.parametrize("kind", ["as intervals", "as events"])
def test_an_older_window_does_not_replace_a_newer_one(repo, kind):
    repo.fill(
        "prices",
        INTERVALS,
        ("anna", 1, t("2"), t("5"), t("2")),
        ("anna", 2, t("5"), None, t("5")),
        ("bert", 7, t("1"), None, t("1")),
    )
    repo.apply(view("prices", valid_to=kind == "as intervals"))
    repo.materialize(t("1"), t("10"))
    repo.materialize(t("1"), t("3"))
    assert repo.ask(TWO, "prices:n") == {"ours": [(2,), (7,)], "sqlite": [(1,), (7,)]}


def test_an_earlier_end_brings_nothing_back(repo, capsys):
    """A mixture of two moments would be neither."""
    repo.fill(
        "prices",
        INTERVALS,
        ("anna", 1, t("2"), t("5"), t("2")),
        ("anna", 2, t("5"), t("8"), t("5")),
        ("bert", 7, t("1"), t("9"), t("1")),
    )
    repo.apply(view("prices", valid_to=True))
    repo.materialize(LONG_AGO, t("10"))
    repo.materialize(LONG_AGO, t("6"))
    assert "prices is online as of 2020-01-10 00:00, a later moment" in capsys.readouterr().out
    assert repo.ask(TWO, "prices:n") == {"ours": [(None,), (None,)], "sqlite": [(2,), (7,)]}
    # Emptied first, it can be brought as of any moment.
    repo.online.clear(repo.ours.config, [repo.ours.get_feature_view("prices")])
    repo.ours.materialize(LONG_AGO, t("6"))
    assert ask(repo.ours, TWO, "prices:n") == [(2,), (7,)]


def test_two_keys_that_read_alike_together_are_kept_apart(repo):
    pairs = [("1", "23"), ("12", "3"), ("1", "2"), ("", "123"), ("123", ""), ("1\0", "2"), ("1", "\0002")]  # fmt: skip
    repo.fill(
        "pairs",
        "(customer_id VARCHAR, article_id VARCHAR, n BIGINT, known_at TIMESTAMP)",
        *[(*pair, n, t("1")) for n, pair in enumerate(pairs[:4])],
    )
    repo.apply(view("pairs", entities=(customer, article), created=False))
    repo.materialize(LONG_AGO, t("2"))
    for n, (c, a) in enumerate(pairs[4:], start=4):
        row = {"customer_id": c, "article_id": a, "n": n, "known_at": t("1")}
        repo.push("pairs", row)
    asked = [*pairs, ("3", "12"), ("12", "")]
    keys = {"customer_id": [c for c, _ in asked], "article_id": [a for _, a in asked]}
    expected = [(n,) for n in range(len(pairs))] + [(None,), (None,)]
    assert repo.ask(keys, "pairs:n") == {"ours": expected, "sqlite": expected}
    # The order in which they are asked for is the asker's.
    reverse = {name: keys[name] for name in reversed(keys)}
    assert ask(repo.ours, reverse, "pairs:n") == expected


def test_a_row_that_ends_is_gone_at_the_end(repo):
    """What holds no more at END is not online: an interval that ended, a key that is no more."""
    repo.fill(
        "members",
        INTERVALS,
        ("anna", 1, t("2"), t("5"), t("2")),
        ("bert", 7, t("1"), None, t("1")),
        ("cara", 9, t("1"), None, t("1")),
    )
    repo.apply(view("members", valid_to=True))
    asked = {"customer_id": ["anna", "bert", "cara"]}
    repo.materialize(LONG_AGO, t("4"))
    both = [(1,), (7,), (9,)]
    assert repo.ask(asked, "members:n") == {"ours": both, "sqlite": both}

    with duckdb.connect(str(repo.warehouse)) as con:
        con.execute("DELETE FROM members WHERE customer_id = 'cara'")
    repo.materialize_on(t("6"))
    assert repo.ask(asked, "members:n") == {"ours": [(None,), (7,), (None,)], "sqlite": both}


# Values


MOMENT = datetime(2020, 1, 2, 3, 4, 5, 678901, UTC)
SECOND = MOMENT.replace(microsecond=0)
UUID_TEXT = "12345678-1234-5678-1234-567812345678"
NAN, INF = float("nan"), float("inf")
EMBEDDING = [float(np.float32(number / 7)) for number in range(512)]


@dataclass
class Kind:
    """A Feast type with the column it is read from, and values as they are there, as Feast gives them
    (the same if None), and as the matrix gives them (the same if None)."""

    dtype: Any
    column: str
    values: list[Any]
    given: list[Any] | None = None
    kept: list[Any] | None = None


KINDS = {
    "double": Kind(Float64, "DOUBLE", [0.1, NAN, INF, -INF, -0.0, 5e-324]),
    "single": Kind(Float32, "FLOAT", [0.5, NAN, INF, -0.0]),
    "whole": Kind(Int64, "BIGINT", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)]),
    "small": Kind(Int32, "INTEGER", [0, -1, 2**31 - 1]),
    "tiny": Kind(Int64, "TINYINT", [0, -128]),
    "money": Kind(Float64, "DECIMAL(10, 2)", ["1.25"], [1.25], [1.25]),
    "flag": Kind(Bool, "BOOLEAN", [True, False]),
    "text": Kind(String, "VARCHAR", ["", "a\0b", "\0", "naïve 👗", "long " * 3000]),
    "word": Kind(String, "ENUM ('red', 'blue')", ["red", "blue"]),
    "bytes": Kind(Bytes, "BLOB", [b"", b"\0\xff", b"abc"]),
    "image": Kind(ImageBytes, "BLOB", [b"\x89PNG\0"]),
    "pdf": Kind(PdfBytes, "BLOB", [b"%PDF"]),
    # Feast's messages carry whole seconds, and the matrix microseconds.
    "moment": Kind(
        UnixTimestamp,
        "TIMESTAMP",
        [MOMENT, datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(9999, 12, 31)],
        [SECOND, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)],
        [MOMENT, datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), datetime(9999, 12, 31, tzinfo=UTC)],
    ),
    "zoned": Kind(UnixTimestamp, "TIMESTAMPTZ", [MOMENT], [SECOND]),
    "nanosecond": Kind(UnixTimestamp, "TIMESTAMP_NS", [MOMENT], [SECOND]),
    "day": Kind(UnixTimestamp, "DATE", [date(2020, 1, 2)], *[[datetime(2020, 1, 2, tzinfo=UTC)]] * 2),
    "doubles": Kind(Array(Float64), "DOUBLE[]", [[0.1, NAN, -0.0], [], [INF]]),
    "holes": Kind(Array(Float64), "DOUBLE[]", [[None, 1.5]], *[[[NAN, 1.5]]] * 2),
    "wholes": Kind(Array(Int64), "BIGINT[]", [[2**53 + 1, -(2**63)], []]),
    "smalls": Kind(Array(Int32), "INTEGER[]", [[1, -1], []]),
    "flags": Kind(Array(Bool), "BOOLEAN[]", [[True, False, True], []]),
    "texts": Kind(Array(String), "VARCHAR[]", [["", "a\0", "ü👗"], [], [""], ["x" * 9000]]),
    "bytes_list": Kind(Array(Bytes), "BLOB[]", [[b"", b"\0"], []]),
    "moments": Kind(Array(UnixTimestamp), "TIMESTAMPTZ[]", [[MOMENT, MOMENT], []], [[SECOND] * 2, []]),
    "embedding": Kind(Array(Float32), "FLOAT[512]", [EMBEDDING, [-x for x in EMBEDDING]]),
    "json": Kind(Json, "JSON", ['{"a": [1, null]}', '""'], [{"a": [1, None]}, ""]),
    "jsons": Kind(Array(Json), "JSON[]", [['{"a": 1}'], []], [[{"a": 1}], []]),
    "uuid": Kind(Uuid, "UUID", [UUID_TEXT], [uuid.UUID(UUID_TEXT)]),
    "uuids": Kind(Array(Uuid), "UUID[]", [[UUID_TEXT], []], [[uuid.UUID(UUID_TEXT)], []]),
    "decimal": Kind(Decimal, "DECIMAL(10, 2)", ["1.25"], [decimal.Decimal("1.25")]),
    # What is no number, text or list of them is kept as Feast's message, which the matrix gives.
    "map": Kind(Map, "MAP(VARCHAR, BIGINT)", [{"a": 1, "b": None}, {}]),
    "maps": Kind(Array(Map), "MAP(VARCHAR, BIGINT)[]", [[{"a": 1}, {"a": 2}]]),
    "by_number": Kind(ScalarMap, "MAP(BIGINT, VARCHAR)", [{7: "a"}, {}]),
    "nested": Kind(Map, "STRUCT(a STRUCT(b BIGINT), c VARCHAR[])", [{"a": {"b": 1}, "c": ["x"]}]),
    "struct": Kind(Struct({"a": Int64, "b": String}), "STRUCT(a BIGINT, b VARCHAR)", [{"a": 1, "b": ""}]),
    "structs": Kind(Array(Struct({"a": Int64})), "STRUCT(a BIGINT)[]", [[{"a": 1}, {"a": 2}]]),
    "matrix": Kind(Array(Array(Int64)), "BIGINT[][]", [[[1, 2], [3]]]),
    "set": Kind(Set(String), "VARCHAR[]", [["a", "b"]], [{"a", "b"}]),
    "numbers": Kind(Set(Int64), "BIGINT[]", [[2**53 + 1]], [{2**53 + 1}]),
    "with_zone": Kind(ZonedTimestamp, "TIMESTAMPTZ", [MOMENT], [SECOND]),
}  # fmt: skip
MOST = max(len(kind.values) for kind in KINDS.values())
EVERY_KEY = {"customer_id": [str(n) for n in range(MOST + 1)]}


def bits(value: Any) -> Any:
    """Floats so that NaN equals itself and -0.0 is not 0.0."""
    if isinstance(value, list):
        return [bits(element) for element in value]
    return value.hex() if isinstance(value, float) else value


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Each kind's values, then nulls: `brought` from the warehouse, `pushed` as Feast's messages."""
    repo = Repo(tmp_path_factory.mktemp("kinds"))
    columns = ", ".join(f"{name} {kind.column}" for name, kind in KINDS.items())
    rows = [
        [str(n), t("1"), *(dict(enumerate(kind.values)).get(n) for kind in KINDS.values())]
        for n in range(MOST + 1)
    ]
    repo.fill("kinds", f"(customer_id VARCHAR, known_at TIMESTAMP, {columns})", *rows)
    fields = [Field(name=name, dtype=kind.dtype) for name, kind in KINDS.items()]
    views = [view(name, fields, created=False, table="kinds") for name in ("brought", "pushed")]
    repo.ours.apply([customer, *views])
    repo.ours.materialize(LONG_AGO, t("2"), feature_views=["brought"])
    repo.online.online_write_batch(
        repo.ours.config,
        views[1],
        [
            (key, values, moment, None)
            for key, (moment, values) in zip(entity_keys(EVERY_KEY), read(repo, views[0]), strict=True)
        ],
        None,
    )  # fmt: skip
    return repo


def entity_keys(keys: dict[str, list[str]]) -> list[EntityKey]:
    return [
        EntityKey(join_keys=keys, entity_values=[Value(string_val=value) for value in values])
        for values in zip(*keys.values(), strict=True)
    ]


def read(repo: Repo, view: FeatureView, *features: str) -> list[Any]:
    keys = entity_keys(EVERY_KEY)
    return repo.online.online_read(repo.ours.config, view, keys, list(features) or None)


@pytest.mark.parametrize("name", ["brought", "pushed"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_value_comes_back_as_it_was_written(kinds, kind, name):
    wanted = KINDS[kind]
    nulls = [None] * (MOST + 1 - len(wanted.values))
    given = [*(wanted.given or wanted.values), *nulls]
    kept = [*(wanted.kept or wanted.values), *nulls]
    if name == "pushed" and wanted.dtype in (UnixTimestamp, Array(UnixTimestamp)):
        kept = given

    found = ask(kinds.ours, EVERY_KEY, f"{name}:{kind}")
    assert bits([value for (value,) in found]) == bits(given)

    # Read as Feast's messages, they are those of get_online_features.
    rows = read(kinds, kinds.ours.get_feature_view(name), kind)
    assert [moment for moment, _ in rows] == [t("1").replace(tzinfo=UTC)] * (MOST + 1)
    assert all(list(values) == [kind] for _, values in rows)
    messages = [values[kind] for _, values in rows]
    response = kinds.ours.get_online_features([f"{name}:{kind}"], EVERY_KEY).proto
    place = list(response.metadata.feature_names.val).index(kind)
    assert list(response.results[place].values) == messages
    assert set(response.results[place].statuses) == {FieldStatus.PRESENT}

    matrix = kinds.matrix(name, EVERY_KEY["customer_id"], [kind])
    assert matrix.status.tolist() == [PRESENT] * (MOST + 1)
    column = matrix.column(kind)
    if is_message(wanted.dtype.to_value_type().name):
        column = [
            Value() if text is None else Value.FromString(text) for text in column.to_pylist()
        ]
        assert column == messages
        return
    assert bits(column.to_pylist()) == bits(kept)
    assert column.type == arrow_type(wanted.dtype.to_value_type().name)
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int64())
    if column.type in (pa.float64(), pa.float32(), pa.int64(), pa.int32(), pa.bool_()):
        as_floats = [NAN if value is None else float(value) for value in column.to_pylist()]
        assert bits(matrix.values[:, 0].tolist()) == bits(as_floats)
    else:
        with pytest.raises(InputError, match="no place in a matrix"):
            _ = matrix.values


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.integers(-1, MOST + 1), max_size=9),
    name=st.sampled_from(["brought", "pushed"]),
)
def test_values_as_objects_are_those_of_the_column(kinds, rows, name):
    """Few rows are decoded one by one, many by Arrow, and a key may have no row."""
    for kind, wanted in KINDS.items():
        matrix = kinds.matrix(name, [str(row) for row in rows], [kind])
        found, column = matrix.objects(kind), matrix.column(kind)
        assert found.shape == (len(rows),)
        if wanted.dtype is UnixTimestamp:
            assert found.dtype == "datetime64[us]"
            told = column.cast(pa.int64()).to_pylist()
            assert found.astype("int64").tolist() == [
                np.iinfo(np.int64).min if at is None else at for at in told
            ]
            continue
        expected = column.to_numpy(zero_copy_only=False)
        for one, other in zip(found, expected, strict=True):
            same = pd.isna(one) if np.ndim(one) == 0 and not isinstance(one, bytes | str) else False
            if same is True or same is np.True_:
                assert np.ndim(other) == 0
                assert pd.isna(other)
            elif np.ndim(one):
                assert bits(np.asarray(one).tolist()) == bits(np.asarray(other).tolist())
                assert np.asarray(one).dtype == np.asarray(other).dtype
            else:
                assert (type(one), bits(one)) == (type(other), bits(other))


def test_features_are_given_in_the_order_and_number_in_which_they_are_asked_for(kinds):
    names = ["whole", "double", "flag", "whole"]
    matrix = kinds.matrix("brought", ["2", "nobody", "0", "0"], names)
    assert matrix.features == tuple(names)
    assert matrix.status.tolist() == [PRESENT, MISSING, PRESENT, PRESENT]
    nothing = [NAN] * 4
    first = [0.0, 0.1, 1.0, 0.0]
    expected = [[float(2**53 + 1), INF, NAN, float(2**53 + 1)], nothing, first, first]
    assert bits(matrix.values.tolist()) == bits(expected)
    assert kinds.matrix("brought", [], names).values.shape == (0, 4)
    everything = kinds.matrix("brought", ["0"])
    assert set(everything.features) == set(KINDS)


def test_what_is_no_feature_or_no_key_is_named(kinds):
    with pytest.raises(InputError, match="View 'test/brought' has no feature 'weight'; it has: "):
        kinds.matrix("brought", ["0"], ["weight"])
    with pytest.raises(InputError, match="no values are given for the key 'customer_id'"):
        kinds.matrix("brought", {"article_id": ["0"]})
    with pytest.raises(InputError, match="Key 'customer_id' must be STRING"):
        kinds.matrix("brought", [7])
    with pytest.raises(OnlineStoreError, match="does not know the view 'test/brougt': run `feast"):
        kinds.matrix("brougt", ["0"])


@pytest.mark.parametrize(
    ("dtype", "column", "value", "said"),
    [
        (Int32, "BIGINT", 2**40, "Feature 'x' must be int32"),
        (Int64, "VARCHAR", "many", "Feature 'x' must be int64"),
        (Array(Int64), "BIGINT[]", [1, None], "Feature 'x' has a list with a null in it"),
        (Array(String), "VARCHAR[]", ["a", None], "Feature 'x' has a list with a null in it"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_refused_whole(repo, dtype, column, value, said):
    columns = f"(customer_id VARCHAR, x {column}, known_at TIMESTAMP)"
    repo.fill("wrong", columns, ("anna", None, t("1")), ("bert", value, t("1")))
    repo.ours.apply([customer, view("wrong", [Field(name="x", dtype=dtype)], created=False)])
    with pytest.raises(InputError, match=said):
        repo.ours.materialize(LONG_AGO, t("2"))
    assert repo.matrix("wrong", ["anna", "bert"]).status.tolist() == [MISSING, MISSING]


def test_a_pushed_value_that_is_not_of_its_type_is_refused(repo):
    repo.fill("history", HISTORY)
    repo.ours.apply([customer, history := view("history")])
    key = entity_keys({"customer_id": ["anna"]})[0]
    with pytest.raises(InputError, match="Feature 'n' must be INT64, and a row has a string_val"):
        repo.online.online_write_batch(
            repo.ours.config, history, [(key, {"n": Value(string_val="1")}, t("1"), None)], None
        )
    assert repo.matrix("history", ["anna"]).status.tolist() == [MISSING]


def test_an_unknown_key_and_an_expired_row_are_never_zeros(repo):
    repo.fill("short", HISTORY, ("anna", 1, t("1"), t("1")), ("bert", None, t("3"), t("3")))
    repo.ours.apply([customer, view("short", ttl=timedelta(days=1))])
    repo.ours.materialize(LONG_AGO, t("4"))
    asked = ["anna", "bert", "cara", None]
    matrix = repo.matrix("short", asked, now=t("3"))
    assert matrix.status.tolist() == [EXPIRED, PRESENT, MISSING, MISSING]
    assert np.isnan(matrix.values).all()
    assert matrix.column("n").to_pylist() == [None] * 4
    # Two years later all that was known has expired.
    later = repo.matrix("short", asked)
    assert later.status.tolist() == [EXPIRED, EXPIRED, MISSING, MISSING]
    # Exactly at its end a row still counts.
    ends = repo.matrix("short", ["anna"], now=t("2"))
    assert (ends.status.tolist(), ends.values.tolist()) == ([PRESENT], [[1.0]])
    after = repo.matrix("short", ["anna"], now=t("2") + timedelta(microseconds=1))
    assert after.status.tolist() == [EXPIRED]


# Keys and order


WORDS = st.text(alphabet=["a", "b", "\0", "\xff", "ü", "👗"], max_size=3)
LONG_WORDS = st.builds(lambda end: "long " * 120 + end, WORDS)
NUMBERS = st.sampled_from([0, 1, -1, 255, 256, -256, 2**63 - 1, -(2**63)])
BYTES = st.binary(max_size=3) | st.binary(max_size=3).map(lambda end: b"\0" * 600 + end)
KEYED_BY = {
    "text": (ValueType.STRING, [WORDS | LONG_WORDS]),
    "number": (ValueType.INT64, [NUMBERS]),
    "bytes": (ValueType.BYTES, [BYTES]),
    "two texts": (ValueType.STRING, [WORDS | LONG_WORDS, WORDS]),
    "two numbers": (ValueType.INT64, [NUMBERS, NUMBERS]),
}
PROTO = {ValueType.STRING: "string_val", ValueType.INT64: "int64_val", ValueType.BYTES: "bytes_val"}
TIMES = st.sampled_from([t("1"), t("2"), t("2") + timedelta(microseconds=1), t("3")])


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    repo = Repo(tmp_path_factory.mktemp("keyed"))
    for name, (kind, parts) in KEYED_BY.items():
        keys = [
            Entity(name=f"{name} {n}", join_keys=[f"key_{n}"], value_type=kind)
            for n in range(len(parts))
        ]
        fields = [Field(name=f"key_{n}", dtype=from_value_type(kind)) for n in range(len(parts))]
        source = DuckDBSource(name=name, table="nothing", timestamp_field="known_at")
        made = FeatureView(
            name=name.replace(" ", "_"), entities=keys, ttl=FOREVER, schema=[*fields, *N], source=source
        )  # fmt: skip
        repo.ours.apply([*keys, made])
    return repo


@pytest.mark.parametrize("name", KEYED_BY)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_read_is_what_a_dict_would_hold(keyed, name, data):
    kind, parts = KEYED_BY[name]
    batches = data.draw(
        st.lists(
            st.lists(
                st.tuples(
                    st.tuples(*parts), TIMES, st.none() | TIMES, st.none() | st.integers(0, 9)
                ),
                max_size=6,
            ),
            max_size=5,
        )
    )
    written = keyed.ours.get_feature_view(name.replace(" ", "_"))
    config = keyed.ours.config
    keyed.online.clear(config, [written])

    def entity_key(key: tuple[Any, ...]) -> EntityKey:
        return EntityKey(
            join_keys=[f"key_{n}" for n in range(len(key))],
            entity_values=[Value(**{PROTO[kind]: part}) for part in key],
        )

    model: dict[tuple[Any, ...], tuple[datetime, datetime, int | None]] = {}
    for batch in batches:
        rows = []
        for key, event, created, n in batch:
            value = Value() if n is None else Value(int64_val=n)
            rows.append((entity_key(key), {"n": value}, event, created))
            there = model.get(key, (datetime.min, datetime.min))
            if (event, created or datetime.min) >= there[:2]:
                model[key] = (event, created or datetime.min, n)
        keyed.online.online_write_batch(config, written, rows, None)

    asked = [*model, *data.draw(st.lists(st.tuples(*parts), max_size=3))]
    expected = [model.get(key) for key in asked]
    matrix = keyed.matrix(
        written.name, {f"key_{n}": [key[n] for key in asked] for n in range(len(parts))}
    )
    assert matrix.status.tolist() == [MISSING if row is None else PRESENT for row in expected]
    assert matrix.column("n").to_pylist() == [row and row[2] for row in expected]
    found = keyed.online.online_read(config, written, [entity_key(key) for key in asked])
    assert [(moment and moment.replace(tzinfo=None)) for moment, _ in found] == [
        row and row[0] for row in expected
    ]


def test_keys_are_in_the_order_of_their_values(keyed):
    numbers = [-(2**63), -256, -1, 0, 1, 255, 256, 2**63 - 1]
    words = ["", "\0", "\0a", "a", "a\0", "a\0b", "aa", "b", "ü", "👗"]
    for kind, values in (("number", numbers), ("text", words)):
        of_view = View(kind, (("key", KEYED_BY[kind][0].name),), ())
        encoded = encode_keys(of_view, values)
        assert encoded == sorted(encoded)
        assert len(set(encoded)) == len(values)


# Views that change


def test_rows_of_an_older_schema_are_read_as_the_new_one(repo):
    repo.fill("history", HISTORY)
    text, words = Field(name="text", dtype=String), Field(name="words", dtype=Array(String))
    repo.apply(view("history", [*N, text, words]))
    old = {"text": "shirt", "words": ["a", "b"]}
    repo.push("history", row("anna", 1, t("1")) | old, row("bert", 2, t("1")) | old)

    # One is added, one is now of another type, and they are in another order.
    weight, text = Field(name="weight", dtype=Float64), Field(name="text", dtype=Int64)
    repo.apply(view("history", [weight, words, text, *N]))
    features = [f"history:{name}" for name in ("n", "weight", "text", "words")]
    after = {"anna": (1, None, None, ["a", "b"]), "bert": (2, None, None, ["a", "b"])}
    assert ask(repo.ours, TWO, *features) == [*after.values()]
    # SQLite gives a text for a whole number.
    assert ask(repo.sqlite, TWO, *features)[0] == (1, None, "shirt", ["a", "b"])

    repo.push("history", row("bert", 3, t("2")) | {"weight": 0.5, "text": 7, "words": []})
    after["bert"] = (3, 0.5, 7, [])
    assert ask(repo.ours, TWO, *features) == [*after.values()]
    matrix = repo.matrix("history", ["bert", "anna", "cara"], ["text", "weight", "n"])
    assert bits(matrix.values.tolist()) == bits([[7.0, 0.5, 3.0], [NAN, NAN, 1.0], [NAN] * 3])

    # One is removed, and as it was at first: nothing of the first rows was lost.
    repo.apply(view("history", [weight, *N]))
    assert ask(repo.ours, TWO, "history:n", "history:weight") == [(1, None), (3, 0.5)]
    with pytest.raises(InputError, match="no feature 'words'"):
        repo.matrix("history", ["anna"], ["words"])
    repo.apply(view("history", [*N, Field(name="text", dtype=String), words]))
    assert ask(repo.ours, TWO, "history:text", "history:words") == [
        ("shirt", ["a", "b"]),
        (None, []),
    ]


@pytest.mark.parametrize("rows", [1, 6])
def test_rows_of_an_older_schema_alone_are_read_as_the_new_one(repo, rows):
    """However many there are: those of five words fill the place of fewer of six."""
    repo.fill("history", HISTORY)
    repo.ours.apply([customer, view("history")])
    keys = [str(n) for n in range(rows)]
    push(repo.ours, "history", *(row(key, int(key), t("1")) for key in keys))
    repo.ours.apply([view("history", [*N, Field(name="m", dtype=Int64)])])
    matrix = repo.matrix("history", keys, ["n", "m"])
    assert matrix.status.tolist() == [PRESENT] * rows
    assert bits(matrix.values.tolist()) == bits([[float(n), NAN] for n in range(rows)])


def test_a_row_that_is_brought_again_is_of_the_new_schema(repo):
    repo.fill("prices", INTERVALS.replace("n BIGINT", "n BIGINT, m DOUBLE"), ("anna", 1, 0.5, t("2"), None, t("2")))  # fmt: skip
    repo.apply(view("prices", valid_to=True))
    repo.materialize(LONG_AGO, t("3"))
    repo.apply(view("prices", [*N, Field(name="m", dtype=Float64)], valid_to=True))
    both = ("prices:n", "prices:m")
    assert repo.ask(ANNA, *both) == {"ours": [(1, None)], "sqlite": [(1, None)]}
    repo.materialize_on(t("4"))
    assert repo.ask(ANNA, *both) == {"ours": [(1, 0.5)], "sqlite": [(1, 0.5)]}


def test_another_time_to_live_counts_for_what_is_there(repo):
    repo.fill("history", HISTORY, ("anna", 1, t("1"), t("1")))
    repo.apply(view("history"))
    repo.materialize(LONG_AGO, t("2"))
    repo.apply(view("history", ttl=timedelta(days=1)))
    assert repo.ask(ANNA, "history:n") == {"ours": [(None,)], "sqlite": [(1,)]}
    repo.apply(view("history", ttl=timedelta(days=100_000)))
    assert repo.ask(ANNA, "history:n")["ours"] == [(1,)]


def test_what_is_removed_by_apply_loses_its_rows(repo):
    repo.fill("history", HISTORY, ("anna", 1, t("1"), t("1")))
    gone, kept = view("gone", table="history"), view("kept", table="history")
    repo.apply(gone, kept)
    repo.materialize(LONG_AGO, t("2"))
    for store in repo.stores.values():
        store.apply([kept], objects_to_delete=[gone], partial=False)
    assert repo.ask(ANNA, "kept:n") == {"ours": [(1,)], "sqlite": [(1,)]}
    with pytest.raises(OnlineStoreError, match="does not know the view 'test/gone'"):
        repo.matrix("gone", ["anna"])
    repo.apply(gone, kept)
    assert repo.ask(ANNA, "gone:n") == {"ours": [(None,)], "sqlite": [(None,)]}
    repo.materialize(LONG_AGO, t("2"))
    assert repo.ask(ANNA, "gone:n") == {"ours": [(1,)], "sqlite": [(1,)]}


def test_a_view_of_another_entity_begins_anew(repo):
    columns = "(customer_id VARCHAR, article_id VARCHAR, n BIGINT, known_at TIMESTAMP)"
    repo.fill("bought", columns, ("anna", "1", 5, t("1")))
    repo.apply(view("bought", created=False))
    repo.materialize(LONG_AGO, t("2"))
    repo.apply(view("bought", entities=[article], created=False))
    both = {"article_id": ["1", "anna"]}
    assert ask(repo.ours, both, "bought:n") == [(None,), (None,)]
    repo.materialize(LONG_AGO, t("2"))
    assert ask(repo.ours, both, "bought:n") == [(5,), (None,)]
    assert repo.matrix("bought", ["anna", "1"]).status.tolist() == [MISSING, PRESENT]


def test_teardown_leaves_no_file(repo):
    repo.fill("history", HISTORY)
    repo.apply(view("history"))
    repo.push("history", row("anna", 1, t("1")))
    folder = repo.folder / "online"
    assert (folder / "data.mdb").exists()
    repo.ours.teardown()
    assert not folder.exists()
    repo.online.teardown(repo.ours.config, [], [])
    assert not folder.exists()


def test_two_projects_share_a_folder(tmp_path):
    repos = {name: Repo(tmp_path, project=name) for name in ("red", "blue")}
    for n, (name, repo) in enumerate(repos.items()):
        repo.fill("history", HISTORY)
        repo.ours.apply([customer, view("history")])
        push(repo.ours, "history", row("anna", n, t("1")))
        assert repo.matrix("history", ["anna"]).values.tolist() == [[n]], name
    repos["red"].ours.teardown()
    assert ask(repos["blue"].ours, ANNA, "history:n") == [(1,)]
    with pytest.raises(OnlineStoreError, match="does not know the view 'red/history'"):
        repos["red"].matrix("history", ["anna"])
    repos["blue"].ours.teardown()
    assert not (tmp_path / "online").exists()


def test_reading_before_anything_was_applied_makes_nothing(repo):
    with pytest.raises(OnlineStoreError, match="does not know the view 'test/history': run `feast"):
        repo.matrix("history", ["anna"])
    never = view("history")
    keys = entity_keys(ANNA)
    assert repo.online.online_read(repo.ours.config, never, keys) == [(None, None)]
    assert not (repo.folder / "online").exists()


def test_a_batch_of_a_view_that_was_never_applied_is_kept(repo):
    never = view("history")
    rows = [(key, {"n": Value(int64_val=1)}, t("1"), None) for key in entity_keys(ANNA)]
    repo.online.online_write_batch(repo.ours.config, never, rows, None)
    assert repo.matrix("history", ["anna"]).values.tolist() == [[1.0]]


# Processes


READER = """
import sys
from pathlib import Path
from feature_repo.stores.lmdb_rows import OnlineRows
rows, reads, seen = OnlineRows(Path(sys.argv[1])), 0, set()
print("ready", flush=True)
while True:
    first, second = rows.read_matrix("test/history", ["anna", "bert"]).values[:, 0].tolist()
    assert first == second, (first, second)
    reads += 1
    seen.add(first)
    if first == 99:
        print(reads, len(seen))
        break
"""


def test_another_process_reads_whole_batches_while_one_writes(repo):
    repo.fill("history", HISTORY)
    repo.ours.apply([customer, view("history")])
    push(repo.ours, "history", row("anna", 0, t("1")), row("bert", 0, t("1")))
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(repo.folder / "online")],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    for n in range(1, 100):
        keys = entity_keys(TWO)
        rows = [(key, {"n": Value(int64_val=n)}, t("1") + timedelta(n), None) for key in keys]
        repo.online.online_write_batch(repo.ours.config, view("history"), rows, None)
    said, problem = reader.communicate(timeout=30)
    assert reader.returncode == 0, problem
    reads, states = map(int, said.split())
    assert reads >= states > 1


def in_a_fork(work: Callable[[], None]) -> int | None:
    """How the child ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
    process.join(timeout=60)
    return process.exitcode


def test_a_fork_reads_and_writes(repo):
    repo.fill("history", HISTORY)
    repo.ours.apply([customer, view("history")])
    push(repo.ours, "history", row("anna", 1, t("1")))
    assert ask(repo.ours, ANNA, "history:n") == [(1,)]

    def child() -> None:
        assert repo.matrix("history", ["anna"]).values.tolist() == [[1.0]]
        rows = [(entity_keys(ANNA)[0], {"n": Value(int64_val=2)}, t("2"), None)]
        repo.online.online_write_batch(repo.ours.config, view("history"), rows, None)
        assert repo.matrix("history", ["anna"]).values.tolist() == [[2.0]]

    assert in_a_fork(child) == 0
    assert ask(repo.ours, ANNA, "history:n") == [(2,)]
    push(repo.ours, "history", row("anna", 3, t("3")))
    assert ask(repo.ours, ANNA, "history:n") == [(3,)]


# Views of events


EVENTS = [
    Field(name="kinds", dtype=Array(String)),
    Field(name="moments", dtype=Array(Int64)),
    Field(name="articles", dtype=Array(String)),
]
APPEND = {"online": "append", "keep": "4", "order": "moments kinds articles"}
SESSIONS = (
    "(customer_id VARCHAR, moments BIGINT[], kinds VARCHAR[], articles VARCHAR[], "
    "known_at TIMESTAMP, valid_to TIMESTAMP)"
)
Event = tuple[str, str, str]


def sessions(repo: Repo, tags: dict[str, str] = APPEND) -> FeatureView:
    made = view("sessions", EVENTS, tags=tags, valid_to=True, created=False)
    repo.apply(made)
    return made


def micros(when: str) -> int:
    return int(t(when).replace(tzinfo=UTC).timestamp()) * 1_000_000


def session(who: str, *events: Event) -> dict[str, Any]:
    """A row of lists, for events of (time, kind, article)."""
    return {
        "customer_id": who,
        "moments": [micros(when) for when, _, _ in events],
        "kinds": [kind for _, kind, _ in events],
        "articles": [article for _, _, article in events],
        "known_at": max(t(when) for when, _, _ in events),
    }


def seen(store: FeatureStore, who: str) -> list[tuple[int, str, str]] | None:
    features = ["sessions:moments", "sessions:kinds", "sessions:articles"]
    ((moments, kinds, articles),) = ask(store, {"customer_id": [who]}, *features)
    return moments and list(zip(moments, kinds, articles, strict=True))


def events(*given: Event) -> list[tuple[int, str, str]]:
    return [(micros(when), kind, article) for when, kind, article in given]


def test_pushed_events_are_added_each_once_in_order_and_so_many_are_kept(repo):
    repo.fill("sessions", SESSIONS)
    sessions(repo)
    a, b, c = ("2 10:00", "view", "1"), ("2 10:00", "cart", "1"), ("2 10:00", "view", "2")
    repo.push("sessions", session("anna", a))
    repo.push("sessions", session("anna", b))
    assert seen(repo.ours, "anna") == events(a, b)
    assert seen(repo.sqlite, "anna") == events(b)

    # A push that comes twice, and later one of before, with what is there already.
    late = ("1 09:00", "view", "3")
    repo.push("sessions", session("anna", b))
    repo.push("sessions", session("anna", late, c, a))
    assert seen(repo.ours, "anna") == events(c, a, b, late)
    ((moment, _),) = repo.online.online_read(
        repo.ours.config, repo.ours.get_feature_view("sessions"), entity_keys(ANNA)
    )
    assert moment == t("2 10:00").replace(tzinfo=UTC)

    new = ("3 00:00", "purchase", "2")
    repo.push("sessions", session("anna", new))
    assert seen(repo.ours, "anna") == events(new, c, a, b)
    # Older than all that are kept.
    repo.push("sessions", session("anna", ("1 00:00", "view", "9")))
    assert seen(repo.ours, "anna") == events(new, c, a, b)
    assert seen(repo.sqlite, "anna") == events(("1 00:00", "view", "9"))


def test_several_rows_of_one_key_in_one_push_are_all_added(repo):
    repo.fill("sessions", SESSIONS)
    sessions(repo)
    pushed = [(f"2 10:0{n}", "view", str(n)) for n in (3, 1, 0, 2)]
    repo.push("sessions", *(session(who, event) for event in pushed for who in ("anna", "bert")))
    expected = events(*sorted(pushed, reverse=True))
    assert seen(repo.ours, "anna") == seen(repo.ours, "bert") == expected
    assert seen(repo.sqlite, "anna") == events(pushed[-1])


def test_a_first_push_is_put_in_order_and_cut_too(repo):
    repo.fill("sessions", SESSIONS)
    sessions(repo)
    pushed = [(f"2 10:0{n}", "view", str(n)) for n in (3, 1, 0, 5, 2, 5)]
    repo.push("sessions", session("anna", *pushed))
    assert seen(repo.ours, "anna") == events(*sorted(set(pushed), reverse=True)[:4])


def test_after_a_run_the_warehouse_counts_up_to_its_end_and_pushes_after_it(repo):
    repo.fill("sessions", SESSIONS)
    sessions(repo)
    early, before = ("2 10:00", "view", "1"), ("3 10:00", "view", "2")
    at_end, after = ("4 00:00", "cart", "2"), ("4 00:01", "purchase", "2")
    for who in ("anna", "bert", "cara", "dora"):
        repo.push("sessions", session(who, early), session(who, at_end))
    repo.push("sessions", session("anna", after), session("dora", after))
    # What was pushed never came to the warehouse, another event of Anna and of Bert did.
    for who in ("anna", "bert"):
        repo.add("sessions", [*session(who, before).values(), None])
    repo.materialize(LONG_AGO, t("4"))
    assert seen(repo.ours, "anna") == events(after, before)
    assert seen(repo.ours, "bert") == events(before)
    assert seen(repo.ours, "cara") is None
    assert seen(repo.ours, "dora") == events(after)
    assert seen(repo.sqlite, "anna") == events(before)
    assert seen(repo.sqlite, "dora") == events(after)

    # The same push again, as a client that heard no answer sends it.
    repo.push("sessions", session("anna", after))
    assert seen(repo.ours, "anna") == events(after, before)
    repo.materialize_on(t("5"))
    assert seen(repo.ours, "anna") == events(before)
    assert seen(repo.ours, "dora") is None


@pytest.mark.parametrize(
    "tags",
    [
        {"keep": "few"},
        {"keep": ""},
        {"order": ""},
        {"order": "kinds moments"},
        {"order": "moments colours"},
    ],
)
def test_tags_that_do_not_say_how_events_are_kept_are_refused(repo, tags):
    repo.fill("sessions", SESSIONS)
    with pytest.raises(InputError, match="View 'sessions' has the tag online: append, so all"):
        sessions(repo, APPEND | tags)


def test_lists_that_are_not_equally_long_are_refused(repo):
    repo.fill("sessions", SESSIONS)
    sessions(repo)
    good = session("anna", ("2", "view", "1"))
    push(repo.ours, "sessions", good)
    with pytest.raises(InputError, match="the lists of a row are not equally long"):
        push(repo.ours, "sessions", session("bert", ("2", "view", "1")), good | {"kinds": []})
    assert seen(repo.ours, "anna") == events(("2", "view", "1"))
    assert seen(repo.ours, "bert") is None


# The engine


def contents(repo: Repo, name: str) -> dict[bytes, bytes]:
    """All keys and packed rows of a view."""
    with online_rows(repo.ours.config).reading(f"test/{name}") as snapshot:
        database = snapshot._database(snapshot.view(f"test/{name}").name)
        return dict(snapshot._txn.cursor(db=database))


CUSTOMERS = [
    "it's", "a\"b", "ü", "👗", "", "zz", "%s", "{}", "1e5", "NULL", *(f"c{n:03}" for n in range(40)),
]  # fmt: skip
SOURCES = {
    "intervals": {"valid_to": True, "table": "history"},
    "events": {"table": "history"},
    "events without created": {"table": "history", "created": False},
    "a query": {"query": "SELECT * FROM history WHERE n % 7 > 0"},
    "as of a moment": {
        "query": "SELECT customer_id, moment, max(known_at) AS known_at, max(created_at) AS created_at, "
        f"sum(n) AS n FROM {ASKED} AS asked JOIN history USING (customer_id) "
        "WHERE known_at <= moment GROUP BY ALL",
        "as_of": "SELECT customer_id, known_at AS moment FROM history",
    },
    "two keys": {"valid_to": True, "table": "history", "entities": [customer, article]},
}


@pytest.mark.parametrize("source", SOURCES)
def test_rows_that_are_brought_some_at_a_time_are_those_brought_at_once(tmp_path, source):
    """First everything, then a moment at which much has ended, changed and begun."""
    rng = random.Random(3)
    rows = []
    for n in range(300):
        who = rng.choice(CUSTOMERS)
        begun, ends = sorted(rng.sample(range(20), 2))
        rows.append((who, str(n % 5), n, t("1") + timedelta(begun), t("1") + timedelta(ends), t("25")))  # fmt: skip
    # Intervals of a key do not overlap, and of rows of one moment nobody says which counts.
    once = {"intervals": lambda row: row[0], "two keys": lambda row: row[:2]}
    unique = once.get(source, lambda row: (row[0], row[3]))
    rows = [*{unique(row): row for row in rows}.values()]
    rows.append((None, "1", 1, t("1"), None, t("25")))
    repos = {}
    for size in (7, 100_000):
        (folder := tmp_path / str(size)).mkdir()
        repo = repos[size] = Repo(folder, rows_at_a_time=size)
        repo.fill(
            "history",
            "(customer_id VARCHAR, article_id VARCHAR, n BIGINT, known_at TIMESTAMP, "
            "valid_to TIMESTAMP, created_at TIMESTAMP)",
        )
        with duckdb.connect(str(repo.warehouse)) as con:
            con.executemany("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?)", rows)
        repo.ours.apply([customer, article, view("v", **SOURCES[source])])
    for day in (8, 13):
        sizes = []
        for repo in repos.values():
            repo.ours.materialize(LONG_AGO, t(str(day)))
            sizes.append(contents(repo, "v"))
        assert sizes[0] == sizes[1]
        assert len(sizes[0]) > 20
    # Both are what Feast's engine gives SQLite.
    with duckdb.connect(str(repo.warehouse)) as con:
        con.execute("DELETE FROM history WHERE customer_id IS NULL")
    repo.sqlite.apply([customer, article, view("v", **SOURCES[source])])
    repo.sqlite.materialize(LONG_AGO, t("13"))
    pairs = [(who, str(n)) for who in [*CUSTOMERS, "anna"] for n in range(5)]
    keys = {"customer_id": [who for who, _ in pairs], "article_id": [n for _, n in pairs]}
    if source != "two keys":
        del keys["article_id"]
    answers = repo.ask(keys, "v:n")
    assert answers["ours"] == answers["sqlite"]


def test_rows_without_a_key_are_left_out(repo):
    columns = "(customer_id VARCHAR, article_id VARCHAR, n BIGINT, known_at TIMESTAMP)"
    keys = [("anna", "1"), (None, "1"), ("anna", None), (None, None)]
    repo.fill("pairs", columns, *[(*pair, n, t("1")) for n, pair in enumerate(keys)])
    repo.apply(view("pairs", entities=[customer, article], created=False))
    repo.ours.materialize(LONG_AGO, t("2"))
    assert len(contents(repo, "pairs")) == 1
    asked = {"customer_id": [c for c, _ in keys], "article_id": [a for _, a in keys]}
    assert repo.matrix("pairs", asked).status.tolist() == [PRESENT, MISSING, MISSING, MISSING]
    with pytest.raises(ValueError, match="Value type not supported"):
        repo.sqlite.materialize(LONG_AGO, t("2"))


@pytest.mark.parametrize("size", [7, 100_000])
def test_numbers_as_keys_are_brought_in_their_order(tmp_path, size):
    repo = Repo(tmp_path, rows_at_a_time=size)
    number = Entity(name="number", join_keys=["number"], value_type=ValueType.INT64)
    numbers = [*range(-50, 50), -(2**63), 2**63 - 1]
    rows = [(n, n, t("1"), None) for n in numbers]
    columns = "(number BIGINT, n BIGINT, known_at TIMESTAMP, valid_to TIMESTAMP)"
    repo.fill("counts", columns, *rows, (None, 0, t("1"), None))
    repo.ours.apply([number, view("counts", entities=[number], created=False, valid_to=True)])
    repo.ours.materialize(LONG_AGO, t("2"))
    matrix = repo.matrix("counts", numbers)
    assert matrix.column("n").to_pylist() == numbers
    assert len(contents(repo, "counts")) == len(numbers)
    with duckdb.connect(str(repo.warehouse)) as con:
        con.execute("DELETE FROM counts WHERE number % 2 = 0")
    repo.ours.materialize_incremental(t("3"))
    left = [n for n in numbers if n % 2]
    assert len(contents(repo, "counts")) == len(left)
    assert repo.matrix("counts", numbers).column("n").to_pylist() == [n if n % 2 else None for n in numbers]  # fmt: skip


@pytest.mark.parametrize("then", ["the same data", "other data"])
def test_a_run_that_was_killed_goes_on_and_ends_as_if_it_had_not(tmp_path, monkeypatch, then):
    repo = Repo(tmp_path, rows_at_a_time=7)
    rows = [(f"c{n:03}", n, t("1"), t("8") if n % 3 == 0 else None, t("1")) for n in range(100)]
    repo.fill("history", INTERVALS)
    with duckdb.connect(str(repo.warehouse)) as con:
        con.executemany("INSERT INTO history VALUES (?, ?, ?, ?, ?)", rows)
    repo.ours.apply([customer, view("history", valid_to=True)])
    repo.ours.materialize(LONG_AGO, t("5"))
    assert len(contents(repo, "history")) == 100
    write = materialization_engine._Bringing._write
    parts = []

    def killed_in_the_fourth(self: Any, part: Any, *given: Any) -> None:
        if len(parts) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        parts.append(part)
        write(self, part, *given)

    monkeypatch.setattr(materialization_engine._Bringing, "_write", killed_in_the_fourth)
    assert in_a_fork(lambda: repo.ours.materialize(LONG_AGO, t("10"))) == -signal.SIGKILL
    left = contents(repo, "history")
    assert 67 < len(left) < 100
    with online_rows(repo.ours.config).reading() as snapshot:
        half = snapshot.view("test/history")
    assert (half.brought_to, half.bringing_to) == (micros("5"), micros("10"))

    if then == "other data":
        with duckdb.connect(str(repo.warehouse)) as con:
            con.execute("UPDATE history SET n = -n")
    monkeypatch.setattr(
        materialization_engine._Bringing,
        "_write",
        lambda self, part, *given: (parts.append(part), write(self, part, *given)),
    )
    repo.ours.materialize(LONG_AGO, t("10"))
    sign = -1 if then == "other data" else 1
    assert (parts[0].low is None) == (then == "other data")
    expected = [None if n % 3 == 0 else sign * n for n in range(100)]
    assert (
        repo.matrix("history", [f"c{n:03}" for n in range(100)]).column("n").to_pylist() == expected
    )
    assert len(contents(repo, "history")) == 66
    with online_rows(repo.ours.config).reading() as snapshot:
        whole = snapshot.view("test/history")
    assert (whole.brought_to, whole.bringing_to) == (micros("10"), None)


def test_a_push_of_after_the_end_stays_and_one_of_before_does_not(repo):
    repo.fill(
        "prices", INTERVALS, ("anna", 1, t("2"), None, t("2")), ("bert", 2, t("2"), None, t("2"))
    )
    repo.apply(view("prices", valid_to=True))
    asked = {"customer_id": ["anna", "bert", "cara", "dora"]}
    pushes = [("anna", "6"), ("bert", "4"), ("cara", "6"), ("dora", "4")]
    repo.push("prices", *(row(who, 9, t(day)) for who, day in pushes))
    repo.materialize(LONG_AGO, t("5"))
    assert repo.ask(asked, "prices:n") == {
        "ours": [(9,), (2,), (9,), (None,)],
        "sqlite": [(1,), (2,), (9,), (9,)],
    }
    repo.materialize_on(t("7"))
    assert repo.ask(asked, "prices:n")["ours"] == [(1,), (2,), (None,), (None,)]


def test_columns_of_other_names_are_brought_too(repo):
    repo.fill(
        "raw",
        '("Kunde Nr." VARCHAR, "select" BIGINT, seen TIMESTAMP, written TIMESTAMP, until TIMESTAMP)',
        ("anna", 1, t("1"), t("1"), t("3")),
        ("anna", 2, t("3"), t("3"), None),
        (None, 3, t("3"), t("3"), None),
    )
    names = {
        "Kunde Nr.": "customer_id",
        "select": "n",
        "seen": "known_at",
        "written": "created_at",
    }
    mapped = {"table": "raw", "field_mapping": names}
    intervals = view("intervals", **mapped)
    intervals.batch_source.valid_to_field = "until"
    repo.ours.apply([customer, view("newest", **mapped), intervals])
    repo.ours.materialize(LONG_AGO, t("2"))
    assert ask(repo.ours, ANNA, "newest:n") == ask(repo.ours, ANNA, "intervals:n") == [(1,)]
    repo.ours.materialize_incremental(t("4"))
    assert ask(repo.ours, ANNA, "newest:n") == ask(repo.ours, ANNA, "intervals:n") == [(2,)]


@pytest.mark.parametrize("valid_to", [True, False])
def test_what_is_true_of_everyone_has_no_key(repo, valid_to):
    repo.fill(
        "world",
        "(n BIGINT, known_at TIMESTAMP, valid_to TIMESTAMP, created_at TIMESTAMP)",
        (1, t("1"), t("3"), t("1")),
        (2, t("3"), None, t("3")),
    )
    repo.apply(view("world", entities=(), valid_to=valid_to))
    repo.materialize(LONG_AGO, t("2"))
    assert repo.ask(ANNA, "world:n") == {"ours": [(1,)], "sqlite": [(1,)]}
    repo.materialize_on(t("4"))
    assert repo.ask(TWO, "world:n") == {"ours": [(2,)] * 2, "sqlite": [(2,)] * 2}
    assert repo.matrix("world", [DUMMY_ENTITY_VAL]).values.tolist() == [[2.0]]


def test_of_a_history_the_newest_row_is_brought(repo):
    rows = [
        ("anna", 1, t("1"), t("9")),
        ("anna", 2, t("3"), t("3")),
        ("anna", 3, t("3"), t("4")),
        ("anna", 4, t("7"), t("7")),
        ("bert", 5, t("1"), t("1")),
        (None, 6, t("1"), t("1")),
        ("cara", None, t("2"), t("2")),
    ]
    repo.fill("history", HISTORY, *rows)
    without = view("without", table="history", created=False)
    repo.ours.apply([customer, view("history"), without])
    asked = {"customer_id": ["anna", "bert", "cara"]}
    repo.ours.materialize(LONG_AGO, t("5"))
    assert ask(repo.ours, asked, "history:n") == [(3,), (5,), (None,)]
    assert ask(repo.ours, asked, "without:n")[0] in [(2,), (3,)]
    assert repo.matrix("history", asked["customer_id"]).status.tolist() == [PRESENT] * 3
    repo.ours.materialize_incremental(t("8"))
    assert ask(repo.ours, asked, "history:n") == [(4,), (5,), (None,)]
    assert ask(repo.ours, asked, "without:n") == [(4,), (5,), (None,)]


def test_a_run_that_brings_nothing_is_one_too(repo):
    repo.fill("prices", INTERVALS)
    repo.fill("history", HISTORY)
    repo.apply(view("prices", valid_to=True), view("history"))
    repo.materialize(LONG_AGO, t("2"))
    repo.materialize_on(t("3"))
    for name in ("prices", "history"):
        assert repo.matrix(name, ["anna"]).status.tolist() == [MISSING]


KEY_COLUMNS = {
    "words that sort otherwise": (
        "ENUM ('z', 'y', 'b', 'a', 'm')",
        ValueType.STRING,
        list("zybam"),
    ),
    "UUIDs": ("UUID", ValueType.STRING, [str(uuid.UUID(int=n * 7919**9)) for n in range(30)]),
    "texts with zeros": ("VARCHAR", ValueType.STRING, [f"a\0{n}" for n in range(30)]),
    "texts that are cut": ("VARCHAR", ValueType.STRING, ["x" * 600 + str(n) for n in range(30)]),
    "bytes": ("BLOB", ValueType.BYTES, [bytes([n, 0]) for n in range(30)]),
    "small numbers": ("INTEGER", ValueType.INT32, list(range(-15, 15))),
}


@pytest.mark.parametrize("kind", KEY_COLUMNS)
def test_keys_of_any_kind_are_brought_in_parts_and_none_is_lost(tmp_path, kind):
    column, value_type, keys = KEY_COLUMNS[kind]
    repo = Repo(tmp_path, rows_at_a_time=2)
    rows = [(key, n, t("1"), None) for n, key in enumerate(keys)]
    repo.fill("counts", f"(k {column}, n BIGINT, known_at TIMESTAMP, valid_to TIMESTAMP)", *rows)
    key = Entity(name="key", join_keys=["k"], value_type=value_type)
    repo.ours.apply([key, view("counts", entities=[key], created=False, valid_to=True)])
    for day in ("2", "3"):
        # The second time, what is not in a part is taken out.
        repo.ours.materialize(LONG_AGO, t(day))
        assert repo.matrix("counts", keys).column("n").to_pylist() == list(range(len(keys)))


def test_keys_of_another_type_than_declared_are_refused(repo):
    """As texts, numbers have another order."""
    number = Entity(name="number", join_keys=["number"], value_type=ValueType.INT64)
    for column, value in (("VARCHAR", "7"), ("DOUBLE", 7.5)):
        repo.fill("counts", f"(number {column}, n BIGINT, known_at TIMESTAMP)", (value, 1, t("1")))
        repo.ours.apply([number, view("counts", entities=[number], created=False)])
        with pytest.raises(InputError, match="Key 'number' must be INT64"):
            repo.ours.materialize(LONG_AGO, t("2"))
    assert repo.matrix("counts", [7]).status.tolist() == [MISSING]


def test_of_intervals_that_overlap_the_newest_counts(repo):
    days = ["1", "3", "2"]
    rows = [
        (who, n, t(day), None, t(day)) for who in ("anna", "bert") for n, day in enumerate(days)
    ]
    repo.fill("prices", INTERVALS, *rows)
    repo.ours.apply([customer, view("prices", valid_to=True)])
    for day in ("4", "5"):
        repo.ours.materialize(LONG_AGO, t(day))
        assert ask(repo.ours, TWO, "prices:n") == [(1,), (1,)]


def test_a_run_that_goes_on_after_a_kill_finds_every_late_row(tmp_path, monkeypatch):
    repo = Repo(tmp_path, rows_at_a_time=7)
    rows = [(f"c{n:03}", 1, t("3"), t("3")) for n in range(50)]
    repo.fill("history", HISTORY, *rows)
    repo.ours.apply([customer, view("history")])
    repo.ours.materialize(LONG_AGO, t("10"))
    # Late rows of the first keys were created after those of the last.
    repo.add("history", *[(f"c{n:03}", 2, t("4"), t("9" if n < 25 else "6")) for n in range(50)])
    write, parts = materialization_engine._Bringing._write, []

    def stopped_in_the_third(self: Any, part: Any, *given: Any) -> None:
        if len(parts) == 2:
            raise RuntimeError("stopped")
        parts.append(part)
        write(self, part, *given)

    with monkeypatch.context() as patch:
        patch.setattr(materialization_engine._Bringing, "_write", stopped_in_the_third)
        with pytest.raises(RuntimeError, match="stopped"):
            repo.ours.materialize_incremental(t("11"))
    repo.ours.materialize_incremental(t("11"))
    assert repo.matrix("history", [row[0] for row in rows]).values.ravel().tolist() == [2.0] * 50


# What Feast does with views


def test_a_view_is_joined_by_other_names_of_its_key(repo):
    repo.fill("history", HISTORY, ("anna", 1, t("1"), t("1")), ("bert", 2, t("1"), t("1")))
    history = view("history")
    renamed = [
        history.with_name(name).with_join_key_map({"customer_id": f"{name}_id"})
        for name in ("sender", "receiver")
    ]
    repo.apply(history, FeatureService(name="gifts", features=renamed))
    repo.materialize(LONG_AGO, t("2"))
    keys = {"sender_id": ["anna", "bert"], "receiver_id": ["bert", "zoe"]}
    found = [
        store.get_online_features(
            store.get_feature_service("gifts"), keys, full_feature_names=True
        ).to_dict()
        for store in repo.stores.values()
    ]
    assert found == [keys | {"sender__n": [1, 2], "receiver__n": [2, None]}] * 2
    with pytest.raises(KeyError, match="Missing join key values"):
        repo.ours.get_online_features(
            repo.ours.get_feature_service("gifts"), {"sender_id": ["anna"]}, full_feature_names=True
        )


def test_an_on_demand_view_that_is_kept_online_is_written_and_read(repo):
    def twice(rows: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"twice": rows["n"] * 2})

    repo.fill("history", HISTORY, ("anna", 4, t("1"), t("1")))
    history = view("history")
    computed = OnDemandFeatureView(
        name="computed",
        entities=[customer],
        sources=[history],
        schema=[Field(name="twice", dtype=Int64)],
        feature_transformation=PandasTransformation(twice, "twice"),
        mode="pandas",
        write_to_online_store=True,
    )
    repo.apply(history, computed)
    repo.materialize(LONG_AGO, t("2"))
    assert repo.ask(TWO, "computed:twice") == {"ours": [(8,), (None,)], "sqlite": [(8,), (None,)]}


def test_more_features_than_a_word_has_bits(repo):
    names = [f"f{n}" for n in range(130)]
    columns = ", ".join(f"{name} BIGINT" for name in names)
    values = [None if n % 3 == 0 else n for n in range(130)]
    rows = [("anna", t("1"), *values), ("bert", t("1"), *reversed(values))]
    repo.fill("wide", f"(customer_id VARCHAR, known_at TIMESTAMP, {columns})", *rows)
    fields = [Field(name=name, dtype=Int64) for name in names]
    repo.apply(view("wide", fields, created=False))
    repo.materialize(LONG_AGO, t("2"))
    answers = repo.ask(TWO, *(f"wide:{name}" for name in names))
    assert answers["ours"] == answers["sqlite"] == [tuple(values), tuple(reversed(values))]
    found = repo.matrix("wide", ["bert"], names).values[0].tolist()
    assert bits(found) == bits([NAN if n is None else float(n) for n in reversed(values)])


def test_keys_may_be_any_sequence(repo):
    repo.fill("history", HISTORY, ("", 1, t("1"), t("1")), ("anna", 2, t("1"), t("1")))
    repo.ours.apply([customer, view("history")])
    repo.ours.materialize(LONG_AGO, t("2"))
    keys = ["anna", None, ""]
    for sequence in (
        keys,
        tuple(keys),
        np.array(keys, dtype=object),
        pd.Series(keys, dtype=object),
    ):
        for asked in (sequence, {"customer_id": sequence}):
            matrix = repo.matrix("history", asked)
            assert matrix.status.tolist() == [PRESENT, MISSING, PRESENT], type(sequence)


def _stopped_after(parts: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs end after so many parts, as if they had been killed. Gives what lets them run on."""
    write, done = materialization_engine._Bringing._write, [0]

    def stopping(self: Any, part: Any, *given: Any) -> None:
        if done[0] == parts:
            raise KeyboardInterrupt
        done[0] += 1
        write(self, part, *given)

    monkeypatch.setattr(materialization_engine._Bringing, "_write", stopping)
    return lambda: monkeypatch.setattr(materialization_engine._Bringing, "_write", write)


@pytest.mark.parametrize("changed", ["start", "schema", "rows"])
def test_a_run_that_goes_on_must_read_the_same(tmp_path, monkeypatch, changed):
    """Else the rows of before the kill would stay, and pass for those of the new run."""
    repo = Repo(tmp_path, rows_at_a_time=7)
    people = [f"{n:03d}" for n in range(50)]
    history = "(customer_id VARCHAR, n BIGINT, m BIGINT, known_at TIMESTAMP, created_at TIMESTAMP)"
    days = [t("3"), t("6")] * 25
    rows = [(key, 1, 5, day, day) for key, day in zip(people, days, strict=True)]
    repo.fill("plain", history, *rows)
    repo.ours.apply([customer, view("plain")])
    go_on = _stopped_after(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        repo.ours.materialize(t("4") if changed == "start" else LONG_AGO, t("10"))
    go_on()
    fields = N
    if changed == "schema":
        fields = (*N, Field(name="m", dtype=Int64))
        repo.ours.apply([customer, view("plain", fields)])
    if changed == "rows":
        with duckdb.connect(str(repo.warehouse)) as con:
            con.execute("UPDATE plain SET n = 2, created_at = created_at + INTERVAL 1 HOUR")
    repo.ours.materialize(LONG_AGO, t("10"))
    found = repo.matrix("plain", people)
    expected = [2 if changed == "rows" else 1] + [5] * (len(fields) - 1)
    assert found.values.tolist() == [expected] * len(people)


def test_a_run_that_another_has_taken_over_from_ends(tmp_path, monkeypatch):
    """Their rows would be a mixture that is of neither moment."""
    repo = Repo(tmp_path, rows_at_a_time=7)
    people = [f"{n:03d}" for n in range(50)]
    rows = [
        (key, n, t(a), t(b), t(a)) for key in people for n, a, b in ((1, "1", "6"), (2, "6", "30"))
    ]
    repo.fill("prices", INTERVALS, *rows)
    repo.ours.apply([customer, view("prices", valid_to=True)])
    write, done = materialization_engine._Bringing._write, []

    def interrupted(self: Any, part: Any, *given: Any) -> None:
        write(self, part, *given)
        done.append(part)
        if len(done) == 3:
            repo.ours.materialize(LONG_AGO, t("10"))

    monkeypatch.setattr(materialization_engine._Bringing, "_write", interrupted)
    with pytest.raises(OnlineStoreError, match="Another run brings prices online"):
        repo.ours.materialize(LONG_AGO, t("5"))
    assert set(repo.matrix("prices", people).column("n").to_pylist()) == {2}


def test_what_cannot_be_read_changes_nothing(repo):
    repo.fill("prices", INTERVALS, ("anna", 1, t("2"), None, t("2")))
    repo.ours.apply([customer, view("prices", valid_to=True), view("missing", valid_to=True)])
    with pytest.raises(WarehouseError, match="'missing': the warehouse lacks what it reads"):
        repo.ours.materialize(LONG_AGO, t("9"))
    repo.fill("missing", INTERVALS, ("anna", 3, t("2"), None, t("2")))
    repo.ours.materialize(LONG_AGO, t("5"), feature_views=["missing"])
    assert ask(repo.ours, ANNA, "missing:n") == [(3,)]


def test_keys_that_cannot_be_keys_are_named(repo):
    repo.fill("pairs", "(x INTEGER)")
    repo.ours.apply(
        [customer, article, view("prices"), view("pairs", entities=(customer, article))]
    )
    for name, keys, says in (
        ("prices", "anna", r"give the keys as a list, also one: \['anna'\]"),
        ("prices", [706016001], "'customer_id' must be STRING, and one is 706016001, int"),
        (
            "pairs",
            {"customer_id": ["a"] * 3, "article_id": ["b"]},
            "customer_id has 3, article_id has 1",
        ),
    ):
        with pytest.raises(InputError, match=says):
            repo.matrix(name, keys)
    assert repo.matrix("prices", pa.array(["anna"])).status.tolist() == [MISSING]


def test_teardown_leaves_nothing_of_a_damaged_store(repo):
    repo.ours.apply([customer, view("prices")])

    (repo.folder / "online" / "data.mdb").write_bytes(b"no store")
    repo.ours.teardown()
    assert not (repo.folder / "online").exists()
