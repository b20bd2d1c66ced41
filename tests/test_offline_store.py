"""The offline store through Feast's own interface: small tables in, rows as of a moment out."""

import inspect
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    OnDemandFeatureView,
    RepoConfig,
    ValueType,
)
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import FeatureServiceLoggingSource, LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.types import Array, Float64, Int64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.errors import InputError
from feature_repo.stores import point_in_time
from feature_repo.stores.connection import WarehouseError
from feature_repo.stores.duckdb_offline_store import DuckDBOfflineStore
from feature_repo.stores.duckdb_source import (
    DuckDBLoggingDestination,
    DuckDBSource,
    SavedDatasetDuckDBStorage,
    value_type,
)

STORE = "feature_repo.stores.duckdb_offline_store.DuckDBOfflineStore"

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
article = Entity(name="article", join_keys=["article_id"], value_type=ValueType.STRING)
KEYS = [Field(name="customer_id", dtype=String), Field(name="article_id", dtype=String)]
FOREVER = timedelta(0)


def t(text: str) -> datetime:
    """A moment of January 2020, UTC, from "day hour:minute"."""
    number, _, time = text.partition(" ")
    return datetime.fromisoformat(f"2020-01-{int(number):02}T{time or '00:00'}")


def view(
    name: str,
    entities: list[Entity],
    fields: list[Field],
    *,
    ttl: timedelta = FOREVER,
    valid_to: bool = False,
    created: bool = True,
    **source: Any,
) -> FeatureView:
    keys = [key for key in KEYS if key.name in {e.join_key for e in entities}]
    return FeatureView(
        name=name,
        entities=entities,
        ttl=ttl,
        schema=[*keys, *fields],
        source=DuckDBSource(
            name=name,
            **({"table": name} | source),
            timestamp_field="known_at",
            created_timestamp_column="created_at" if created else "",
            valid_to_field="valid_to" if valid_to else "",
        ),
    )


class Repo:
    """A feature repository of the test's own, with its warehouse."""

    def __init__(self, folder: Path, **offline: Any) -> None:
        self.folder = folder
        self.warehouse = folder / "warehouse.duckdb"
        self.store = FeatureStore(
            config=RepoConfig(
                project="test",
                provider="local",
                registry=str(folder / "registry.db"),
                offline_store={"type": STORE, "path": str(self.warehouse)} | offline,
                online_store={"type": "sqlite", "path": str(folder / "online.db")},
                entity_key_serialization_version=3,
            )
        )
        self.fill("nothing", "(x INTEGER)")

    def fill(self, table: str, columns: str, *rows: tuple[Any, ...]) -> None:
        with duckdb.connect(str(self.warehouse)) as con:
            con.execute(f"CREATE OR REPLACE TABLE {table} {columns}")
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                con.executemany(f"INSERT INTO {table} VALUES ({marks})", [list(r) for r in rows])

    def apply(self, *objects: Any) -> None:
        self.store.apply([customer, article, *objects])

    def job(self, entities: Any, *features: str, **options: Any) -> Any:
        return self.store.get_historical_features(
            entity_df=entities, features=list(features), **options
        )

    def ask(self, entities: Any, *features: str, **options: Any) -> list[tuple[Any, ...]]:
        """The asked features' values, row by row."""
        table = self.job(entities, *features, **options).to_arrow()
        names = [feature.split(":")[1] for feature in features]
        return list(zip(*(table[name].to_pylist() for name in names), strict=True))


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path)


@pytest.fixture(params=["as intervals", "as events"])
def prices(request: pytest.FixtureRequest, repo: Repo) -> Repo:
    """Anna's price history: 1 from the 2nd, 2 from the 5th; Bert's: 10 from the 3rd."""
    repo.fill(
        "prices",
        "(customer_id VARCHAR, price DOUBLE, known_at TIMESTAMP, valid_to TIMESTAMP, created_at TIMESTAMP)",
        ("anna", 1.0, t("2"), t("5"), t("20")),
        ("anna", 2.0, t("5"), None, t("20")),
        ("bert", 10.0, t("3"), None, t("20")),
    )
    intervals = request.param == "as intervals"
    repo.apply(view("prices", [customer], [Field(name="price", dtype=Float64)], valid_to=intervals))
    return repo


def entities(*rows: tuple[Any, ...], columns: tuple[str, ...] = ("customer_id",)) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[*columns, "event_timestamp"])


# Which row


def test_a_row_holds_from_its_moment_on_and_until_the_next(prices):
    before = timedelta(microseconds=1)
    asked = entities(
        ("anna", t("2") - before),
        ("anna", t("2")),
        ("anna", t("5") - before),
        ("anna", t("5")),
        ("anna", t("31")),
        ("bert", t("3")),
        ("cara", t("3")),
    )
    assert prices.ask(asked, "prices:price") == [
        (None,),
        (1.0,),
        (1.0,),
        (2.0,),
        (2.0,),
        (10.0,),
        (None,),
    ]


def test_rows_and_their_other_columns_come_back_in_their_order(prices):
    rng = random.Random(2)
    asked = pd.DataFrame(
        {
            "note": range(5000),
            "event_timestamp": [t(str(rng.randint(1, 9))) for _ in range(5000)],
            "customer_id": [rng.choice(["anna", "bert", "cara"]) for _ in range(5000)],
        }
    )
    found = prices.job(asked, "prices:price").to_df()

    assert list(found.columns) == ["note", "event_timestamp", "customer_id", "price"]
    assert found["note"].tolist() == list(range(5000))
    assert found["customer_id"].tolist() == asked["customer_id"].tolist()
    once = prices.ask(entities(("anna", t("4")), ("bert", t("4"))), "prices:price")
    assert dict(found[asked.event_timestamp == t("4")].groupby("customer_id").price.max()) == {
        "anna": once[0][0],
        "bert": once[1][0],
    } | {"cara": pytest.approx(float("nan"), nan_ok=True)}


def test_identical_entity_rows_each_get_their_answer(prices):
    assert prices.ask(entities(*[("anna", t("4"))] * 3), "prices:price") == [(1.0,)] * 3


def test_two_keys_that_read_alike_together_are_kept_apart(repo):
    repo.fill(
        "pairs",
        "(customer_id VARCHAR, article_id VARCHAR, n BIGINT, known_at TIMESTAMP)",
        ("1", "23", 1, t("1")),
        ("12", "3", 2, t("1")),
        ("1", "2", 3, t("1")),
    )
    repo.apply(
        view("pairs", [customer, article], [Field(name="n", dtype=Int64)], created=False),
    )
    asked = entities(
        *[(*pair, t("2")) for pair in [("12", "3"), ("1", "23"), ("123", ""), ("1", "3"), ("1", "2")]],
        columns=("customer_id", "article_id"),
    )  # fmt: skip
    assert repo.ask(asked, "pairs:n") == [(2,), (1,), (None,), (None,), (3,)]


def test_of_two_rows_with_one_moment_the_newest_created_counts(repo):
    rows = [("anna", n, t("2"), t(str(created))) for n, created in [(1, 6), (2, 9), (3, 7)]]
    repo.fill(
        "ties",
        "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP, created_at TIMESTAMP)",
        *rows,
        ("anna", 4, t("1"), t("30")),
        ("anna", 5, t("2"), None),
    )
    repo.apply(view("ties", [customer], [Field(name="n", dtype=Int64)]))

    assert repo.ask(entities(("anna", t("3"))), "ties:n") == [(2,)]


def test_what_was_created_later_can_be_left_out(repo):
    repo.fill(
        "late",
        "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP, created_at TIMESTAMP)",
        ("anna", 1, t("1"), t("2")),
        ("anna", 2, t("3"), t("10")),
        ("anna", 3, t("3"), t("4")),
    )
    repo.apply(view("late", [customer], [Field(name="n", dtype=Int64)]))
    asked = entities(*[("anna", t(day)) for day in ("1", "2", "3", "4", "9", "10")])

    honest = repo.ask(asked, "late:n", filter_by_created_timestamp=True)
    assert honest == [(None,), (1,), (1,), (3,), (3,), (2,)]
    assert repo.ask(asked, "late:n") == [(1,), (1,), (2,), (2,), (2,), (2,)]


@pytest.mark.parametrize("valid_to", [True, False])
def test_the_time_to_live_is_applied_after_the_match(repo, valid_to):
    repo.fill(
        "short",
        "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP, valid_to TIMESTAMP, created_at TIMESTAMP)",
        ("anna", 1, t("1"), t("2"), t("1")),
        ("anna", None, t("2"), None, t("1")),
        ("bert", 1, t("1"), None, t("1")),
    )
    ttl = timedelta(days=1, hours=12, seconds=1)
    repo.apply(
        view("short", [customer], [Field(name="n", dtype=Int64)], ttl=ttl, valid_to=valid_to)
    )
    asked = entities(
        ("anna", t("1 23:59")),
        ("anna", t("2 00:00")),  # the newest row says null, and the one before it says no more
        ("bert", t("1") + ttl),
        ("bert", t("1") + ttl + timedelta(microseconds=1)),
    )
    assert repo.ask(asked, "short:n") == [(1,), (None,), (1,), (None,)]


def test_a_view_without_entities_is_the_same_for_everyone(repo):
    repo.fill(
        "season",
        "(warm BIGINT, known_at TIMESTAMP, created_at TIMESTAMP)",
        (0, t("1"), t("1")),
        (1, t("5"), t("5")),
        (2, t("5"), t("6")),
    )
    repo.apply(view("season", [], [Field(name="warm", dtype=Int64)]))

    asked = entities(("anna", t("5")), ("bert", t("4")), (None, t("9")))
    assert repo.ask(asked, "season:warm") == [(2,), (0,), (2,)]
    repo.store.materialize(datetime(2019, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC))
    anyone = [{"customer_id": "anna"}]
    online = repo.store.get_online_features(features=["season:warm"], entity_rows=anyone).to_dict()
    assert online["warm"] == [2]


def test_keys_can_go_by_another_name(prices):
    sold = prices.store.get_feature_view("prices")
    giver = sold.with_name("giver").with_join_key_map({"customer_id": "giver_id"})
    taker = sold.with_name("taker").with_join_key_map({"customer_id": "taker_id"})
    service = FeatureService(name="gifts", features=[giver, taker])
    prices.store.apply([service])
    asked = entities(("anna", "bert", t("6")), columns=("giver_id", "taker_id"))

    found = prices.store.get_historical_features(
        entity_df=asked, features=service, full_feature_names=True
    ).to_df()
    assert found[["giver__price", "taker__price"]].iloc[0].tolist() == [2.0, 10.0]


def test_a_source_can_be_a_query_with_other_column_names(repo):
    repo.fill("raw", "(who VARCHAR, pieces INTEGER, known_at DATE)", ("anna", 3, t("2").date()))
    repo.apply(
        view(
            "mapped",
            [customer],
            [Field(name="n", dtype=Int64)],
            created=False,
            table=None,
            query="SELECT who, pieces, known_at FROM raw",
            field_mapping={"pieces": "n", "who": "customer_id"},
        )
    )
    assert repo.ask(entities(("anna", t("1")), ("anna", t("2"))), "mapped:n") == [(None,), (3,)]
    repo.store.materialize(datetime(2019, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC))
    row = {"customer_id": "anna"}
    assert repo.store.get_online_features(features=["mapped:n"], entity_rows=[row]).to_dict()[
        "n"
    ] == [3]


# What counts as known


@pytest.mark.parametrize("intervals", [True, False])
def test_strictly_before_and_under_embargo(repo, intervals):
    repo.fill(
        "states",
        "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP, valid_to TIMESTAMP)",
        ("anna", 1, t("2"), t("5")),
        ("anna", 2, t("5"), None),
    )
    fields = [Field(name="n", dtype=Int64)]
    repo.apply(view("states", [customer], fields, valid_to=intervals, created=False))
    moments = ["2", "2 00:01", "5", "5 00:01", "6"]
    job = repo.job(entities(*[("anna", t(moment)) for moment in moments]), "states:n")

    def answers(**options: Any) -> list[int | None]:
        return job.with_options(**options).to_arrow()["n"].to_pylist()

    assert answers() == [1, 1, 2, 2, 2]
    assert answers(strict=True) == [None, 1, 1, 2, 2]
    minute = timedelta(minutes=1)
    assert answers(embargo=minute) == [None, 1, 1, 2, 2]
    assert answers(embargo=minute, strict=True) == [None, None, 1, 1, 2]
    assert answers(embargo=timedelta(days=1)) == [None, None, 1, 1, 2]
    assert job.with_options(strict=True).with_options(strict=False).to_arrow()["n"][0].as_py() == 1
    with pytest.raises(ValueError, match="cannot be negative"):
        job.with_options(embargo=-minute)


def test_an_interval_that_ended_is_over_under_embargo_only_later(repo):
    repo.fill(
        "stays",
        "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP, valid_to TIMESTAMP)",
        ("anna", 1, t("2"), t("5")),
    )
    fields = [Field(name="n", dtype=Int64)]
    repo.apply(view("stays", [customer], fields, valid_to=True, created=False))
    job = repo.job(entities(*[("anna", t(day)) for day in ("2", "3", "5", "6")]), "stays:n")

    assert job.to_arrow()["n"].to_pylist() == [1, 1, None, None]
    later = job.with_options(embargo=timedelta(days=1))
    assert later.to_arrow()["n"].to_pylist() == [None, 1, 1, None]
    assert job.with_options(strict=True).to_arrow()["n"].to_pylist() == [None, 1, 1, None]


def test_the_rules_can_be_the_stores_settings(tmp_path):
    repo = Repo(tmp_path, strict=True, embargo=3600, created_until=t("20"))
    columns = "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP, created_at TIMESTAMP)"
    rows = [("anna", 1, t("1"), t("1")), ("anna", 2, t("2"), t("21"))]
    repo.fill("clicks", columns, *rows)
    repo.apply(view("clicks", [customer], [Field(name="n", dtype=Int64)]))
    asked = entities(("anna", t("1 01:00")), ("anna", t("1 01:01")), ("anna", t("3")))

    assert repo.ask(asked, "clicks:n") == [(None,), (1,), (1,)]
    job = repo.job(asked, "clicks:n").with_options(strict=False, created_until=t("21"))
    assert job.to_arrow()["n"].to_pylist() == [1, 1, 2]


def test_a_training_set_can_be_made_again_after_corrections(repo):
    repo.fill(
        "clicks",
        "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP, created_at TIMESTAMP)",
        ("anna", 1, t("1"), t("10")),
        ("anna", 2, t("1"), t("12")),
        ("anna", 3, t("5"), t("14")),
    )
    repo.apply(view("clicks", [customer], [Field(name="n", dtype=Int64)]))
    job = repo.job(entities(("anna", t("3")), ("anna", t("6"))), "clicks:n")
    seen = {
        day: job.with_options(created_until=t(day)).to_arrow()["n"].to_pylist()
        for day in ("9", "10", "12", "14")
    }
    assert seen == {"9": [None, None], "10": [1, 1], "12": [2, 2], "14": [2, 3]}


def test_an_interval_that_a_later_row_ended_was_open_until_that_was_written(repo):
    repo.fill(
        "states",
        "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP, valid_to TIMESTAMP, created_at TIMESTAMP)",
        ("anna", 1, t("1"), t("3"), t("1")),
        ("anna", 2, t("3"), t("6"), t("8")),
        ("bert", 1, t("1"), t("3"), t("1")),
    )
    repo.apply(view("states", [customer], [Field(name="n", dtype=Int64)], valid_to=True))
    asked = entities(*[(who, t(day)) for who in ("anna", "bert") for day in ("2", "5", "9")])
    job = repo.job(asked, "states:n")

    assert job.to_arrow()["n"].to_pylist() == [1, 2, None, 1, None, None]
    before = job.with_options(created_until=t("7"))
    assert before.to_arrow()["n"].to_pylist() == [1, 1, 1, 1, None, None]
    honest = repo.ask(asked, "states:n", filter_by_created_timestamp=True)
    assert honest == [(1,), (1,), (None,), (1,), (None,), (None,)]


MINUTE = timedelta(minutes=1)
EVENTS = (
    "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP, valid_to TIMESTAMP, created_at TIMESTAMP)"
)
VIEWS = [(f"{kind}_{ttl}", kind == "intervals", ttl) for kind in ("events", "intervals") for ttl in (0, 3)]  # fmt: skip
ROW = st.tuples(st.sampled_from("ab"), st.integers(0, 12), st.one_of(st.none(), st.integers(0, 12)))


def brute(rows: list[Any], key: str, asked: int, rules: dict[str, Any]) -> int | None:
    """The answer by looking at every row; times are minutes of the 1st."""
    at = asked - rules["embargo"]

    def known(minute: int) -> bool:
        return minute < at if rules["strict"] else minute <= at

    seen = [
        (moment, -1 if created is None else created, n)
        for n, (who, moment, created) in enumerate(rows)
        if who == key and known(moment)
        and (rules["until"] is None or (created is not None and created <= rules["until"]))
        and (not rules["by_created"] or (created is not None and known(created)))
    ]  # fmt: skip
    if not seen or (rules["ttl"] and max(seen)[0] < asked - rules["ttl"]):
        return None
    return max(seen)[2]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Views over one table, as events and as intervals, with and without a time to live."""
    repo = Repo(tmp_path_factory.mktemp("rules"))
    repo.fill("events", EVENTS)
    fields = [Field(name="n", dtype=Int64)]
    for name, intervals, ttl in VIEWS:
        repo.apply(
            view(name, [customer], fields, ttl=ttl * MINUTE, valid_to=intervals, table="events")
        )
    return repo


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(ROW, max_size=14, unique=True),
    asked=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 14)), min_size=1, max_size=12),
    rules=st.fixed_dictionaries(
        {
            "strict": st.booleans(),
            "embargo": st.sampled_from([0, 0, 2]),
            "until": st.one_of(st.none(), st.integers(0, 12)),
            "by_created": st.booleans(),
        }
    ),
    which=st.sampled_from(VIEWS),
    sorts=st.booleans(),
)
def test_every_rule_gives_what_looking_at_every_row_gives(
    events, monkeypatch, rows, asked, rules, which, sorts
):
    monkeypatch.setattr(point_in_time, "_DEEP", 0 if sorts else 1000)
    name, intervals, ttl = which
    if intervals:
        # Rows of one key and moment would be two intervals at once.
        rows = list({row[:2]: row for row in rows}.values())

    def moment(minute: int | None) -> datetime | None:
        return None if minute is None else t("1") + minute * MINUTE

    def end(who: str, at: int) -> datetime | None:
        return moment(min((later for key, later, _ in rows if key == who and later > at), default=None))  # fmt: skip

    history = [
        (who, n, moment(at), end(who, at), moment(created))
        for n, (who, at, created) in enumerate(rows)
    ]
    events.fill("events", EVENTS, *history)
    job = events.job(
        entities(*[(who, moment(at)) for who, at in asked]),
        f"{name}:n",
        filter_by_created_timestamp=rules["by_created"],
    )
    found = job.with_options(
        strict=rules["strict"],
        embargo=rules["embargo"] * MINUTE,
        created_until=moment(rules["until"]),
    ).to_arrow()

    assert found["n"].to_pylist() == [
        brute(rows, who, at, rules | {"ttl": ttl}) for who, at in asked
    ]


# All moments of a range


def test_without_entity_rows_every_moment_of_a_range_is_a_row(prices):
    found = prices.job(None, "prices:price", start_date=t("3"), end_date=t("5")).to_arrow()

    assert found.to_pylist() == [
        {"customer_id": "bert", "event_timestamp": t("3").replace(tzinfo=UTC), "price": 10.0},
        {"customer_id": "anna", "event_timestamp": t("5").replace(tzinfo=UTC), "price": 2.0},
    ]


def test_a_range_over_several_views_has_the_moments_of_all(repo):
    columns = "(customer_id VARCHAR, {} BIGINT, known_at TIMESTAMP)"
    repo.fill("clicks", columns.format("n"), ("anna", 1, t("2")), ("anna", 2, t("4")))
    repo.fill("buys", columns.format("m"), ("anna", 7, t("3")), ("bert", 8, t("4")))
    repo.fill("season", "(warm BIGINT, known_at TIMESTAMP)", (0, t("1")), (1, t("4")))
    for name, field, keys in (("clicks", "n", [customer]), ("buys", "m", [customer]), ("season", "warm", [])):  # fmt: skip
        repo.apply(view(name, keys, [Field(name=field, dtype=Int64)], created=False))
    wanted = ("clicks:n", "buys:m", "season:warm")
    job = repo.job(None, *wanted, start_date=t("2"), end_date=t("4"))

    found = job.to_arrow()
    rows = zip(
        *(found[name].to_pylist() for name in ("customer_id", "n", "m", "warm")), strict=True
    )
    assert list(rows) == [
        ("anna", 1, None, 0),
        ("anna", 1, 7, 0),
        ("anna", 2, 7, 1),
        ("bert", None, 8, 1),
        (None, None, None, 1),
    ]
    assert [m.day for m in found["event_timestamp"].to_pylist()] == [2, 3, 4, 4, 4]
    span = (t("2").replace(tzinfo=UTC), t("4").replace(tzinfo=UTC))
    assert (job.metadata.min_event_timestamp, job.metadata.max_event_timestamp) == span


def test_a_range_without_a_start_is_as_long_as_the_longest_time_to_live(repo):
    columns = "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP)"
    repo.fill("clicks", columns, *[("anna", day, t(str(day))) for day in range(1, 10)])
    fields = [Field(name="n", dtype=Int64)]
    repo.apply(view("clicks", [customer], fields, ttl=timedelta(days=2), created=False))

    assert repo.ask(None, "clicks:n", end_date=t("8")) == [(6,), (7,), (8,)]


# Which form of question

ASKED = [("bert", "4 10:00"), ("anna", "4 23:59"), ("anna", "1"), ("cara", "9"), ("anna", "5")]


def as_parquet(folder: Path, frame: pd.DataFrame) -> str:
    frame.to_parquet(folder / "asked.parquet")
    return str(folder / "asked.parquet")


FORMS: dict[str, Callable[[Path, pd.DataFrame], Any]] = {
    "pandas": lambda folder, frame: frame,
    "pandas in seconds": lambda folder, frame: frame.astype({"event_timestamp": "datetime64[s]"}),
    "pandas, UTC": lambda folder, frame: frame.assign(
        event_timestamp=frame.event_timestamp.dt.tz_localize("UTC")
    ),
    "pandas, another zone": lambda folder, frame: frame.assign(
        event_timestamp=frame.event_timestamp.dt.tz_localize("UTC").dt.tz_convert("Asia/Kolkata")
    ),
    "pandas, other index": lambda folder, frame: frame.set_index(frame.index[::-1] * 7),
    "pandas, text": lambda folder, frame: frame.assign(
        event_timestamp=frame.event_timestamp.astype(str)
    ),
    "pandas, text in another zone": lambda folder, frame: frame.assign(
        event_timestamp=[
            (m.tz_localize("UTC").tz_convert("America/Lima")).isoformat()
            for m in frame.event_timestamp
        ]
    ),
    "arrow": lambda folder, frame: pa.Table.from_pandas(frame),
    "arrow, nanoseconds in another zone": lambda folder, frame: pa.table(
        {
            "customer_id": pa.array(frame.customer_id).dictionary_encode(),
            "event_timestamp": pa.array(
                frame.event_timestamp.dt.tz_localize("UTC"), pa.timestamp("ns", "Asia/Tokyo")
            ),
        }
    ),
    "sql": lambda folder, frame: (
        "SELECT * FROM (VALUES "
        + ", ".join(f"('{c}', TIMESTAMP '{m}')" for c, m in frame.itertuples(index=False))
        + ") AS asked (customer_id, event_timestamp);  "
    ),
    "sql that ends in a comment": lambda folder, frame: (
        FORMS["sql"](folder, frame).rstrip("; ") + "\n-- asked"
    ),
    "parquet": as_parquet,
    "parquet, as a path": lambda folder, frame: Path(as_parquet(folder, frame)),
    "parquet, UTC": lambda folder, frame: as_parquet(folder, FORMS["pandas, UTC"](folder, frame)),
    "parquet, nanoseconds UTC": lambda folder, frame: as_parquet(
        folder, FORMS["pandas, UTC"](folder, frame).astype({"event_timestamp": "datetime64[ns, UTC]"})
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_entity_frame_gives_the_same_answer(prices, form):
    asked = entities(*[(who, t(when)) for who, when in ASKED])

    assert prices.ask(FORMS[form](prices.folder, asked), "prices:price") == [
        (10.0,), (1.0,), (None,), (None,), (2.0,)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["TIMESTAMPTZ", "DATE", "VARCHAR", "TIMESTAMP_S", "TIMESTAMP_NS"])
def test_a_history_may_keep_its_moments_in_any_type(repo, kind):
    repo.fill("raw", f"(customer_id VARCHAR, n BIGINT, known_at {kind})")
    with duckdb.connect(str(repo.warehouse)) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("INSERT INTO raw VALUES ('anna', 1, '2020-01-02'), ('anna', 2, '2020-01-04')")
    repo.apply(view("raw", [customer], [Field(name="n", dtype=Int64)], created=False))
    asked = entities(*[("anna", t(moment)) for moment in ("1 23:59", "2", "3 23:59", "4")])

    assert repo.ask(asked, "raw:n") == [(None,), (1,), (1,), (2,)]


@pytest.mark.parametrize("form", ["pandas", "parquet"])
@pytest.mark.parametrize("zone", ["UTC", None])
def test_a_nanosecond_before_a_row_is_known_it_is_not(prices, form, zone):
    moment = pd.Timestamp("2020-01-05", tz=zone) - pd.Timedelta(nanoseconds=1)
    asked = pd.DataFrame({"customer_id": ["anna"], "event_timestamp": [moment]})

    assert prices.ask(FORMS[form](prices.folder, asked), "prices:price") == [(1.0,)]


def test_moments_come_back_as_microseconds_utc(prices):
    moment = pd.Timestamp("2020-01-05 03:00", tz="Asia/Kolkata")
    found = prices.job(entities(("anna", moment)), "prices:price").to_arrow()

    assert found.schema.field("event_timestamp").type == pa.timestamp("us", "UTC")
    assert found["event_timestamp"].to_pylist() == [datetime(2020, 1, 4, 21, 30, tzinfo=UTC)]


def test_a_null_key_finds_nothing_and_keeps_its_row(prices):
    assert prices.ask(entities((None, t("5")), ("anna", t("5"))), "prices:price") == [(None,), (2.0,)]  # fmt: skip
    assert prices.ask(entities((None, t("5"))), "prices:price") == [(None,)]


def test_no_entity_rows_give_no_rows_and_all_columns(prices):
    for asked in (
        entities(("anna", t("5"))).iloc[:0],
        "SELECT 'anna' AS customer_id, now() AS event_timestamp WHERE false",
    ):
        found = prices.job(asked, "prices:price").to_arrow()
        assert found.num_rows == 0
        assert found.column_names == ["customer_id", "event_timestamp", "price"]
        assert found.schema.field("price").type == pa.float64()


def test_the_only_moment_may_have_another_name(prices):
    asked = pd.DataFrame({"customer_id": ["anna"], "asked_at": [t("5")], "n": [1]})
    assert prices.ask(asked, "prices:price") == [(2.0,)]


def test_a_missing_key_is_named_with_its_view(prices):
    asked = pd.DataFrame({"customer": ["anna"], "event_timestamp": [t("5")]})

    with pytest.raises(ValueError, match=r"'prices' joins on 'customer_id'.*They have: customer,"):
        prices.job(asked, "prices:price")


def test_a_row_without_a_moment_is_named(prices):
    good = ("anna", "2020-01-05")
    for bad, shown in ((None, "null"), ("soon", "'soon'"), ("2020-02-30", "'2020-02-30'")):
        asked = entities(good, good, ("bert", bad), good)
        for form in ("pandas", "parquet"):
            job = prices.job(FORMS[form](prices.folder, asked), "prices:price")
            with pytest.raises(ValueError, match=f"Entity row 3: event_timestamp is {shown};"):
                job.to_arrow()
            with pytest.raises(ValueError, match="Entity row 3"):
                job.to_parquet(prices.folder / "out.parquet")
    assert not list(prices.folder.glob("*out.parquet*"))
    missing = entities(("anna", t("5")), ("anna", None))
    with pytest.raises(ValueError, match="Entity row 2: event_timestamp is null"):
        prices.ask(missing, "prices:price")
    with pytest.raises(ValueError, match="'event_timestamp' is BIGINT, and must hold moments"):
        prices.job(entities(("anna", 5)), "prices:price")


def test_a_key_of_another_type_is_named_with_its_view(prices):
    asked = entities((7, t("5")))
    with pytest.raises(
        ValueError,
        match="'prices' joins on 'customer_id', which is VARCHAR, and the entity rows' column "
        "'customer_id' is BIGINT: write it as text",
    ):
        prices.job(asked, "prices:price")
    with pytest.raises(ValueError, match=r"The entity rows cannot be read: .*column customer_id"):
        prices.job(entities((7, t("5")), ("anna", t("5"))), "prices:price")


def test_two_columns_of_one_name_are_explained(prices):
    asked = entities(("anna", 3.0, t("5")), columns=("customer_id", "price"))
    with pytest.raises(
        ValueError,
        match=r"The entity rows' column 'price' and feature prices:price would both be called "
        r"'price': .*full_feature_names=True",
    ):
        prices.job(asked, "prices:price")
    found = prices.job(asked, "prices:price", full_feature_names=True).to_arrow()
    assert (found["price"].to_pylist(), found["prices__price"].to_pylist()) == ([3.0], [2.0])
    with pytest.raises(ValueError, match="two columns 'a'"):
        prices.job(pa.table([[1], [2]], names=["a", "a"]), "prices:price")


def test_what_a_view_lacks_is_named(repo):
    fields = [Field(name="n", dtype=Int64), Field(name="later", dtype=Int64)]
    repo.fill("short", "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP)")
    repo.apply(view("short", [customer], fields, created=False))
    repo.apply(view("unbuilt", [customer], fields[:1], created=False))
    asked = entities(("anna", t("5")))

    with pytest.raises(ValueError, match="view 'short': short has no column 'later'"):
        repo.job(asked, "short:later")
    with pytest.raises(WarehouseError, match=r"view 'unbuilt'.*features build"):
        repo.job(asked, "unbuilt:n")


@pytest.mark.parametrize("asked", ["SELECT 1 AS", "SELECT * FROM nowhere", "missing.parquet"])
def test_entity_rows_that_cannot_be_read_are_an_error_of_the_asker(prices, asked):
    with pytest.raises(ValueError, match="The entity rows cannot be read"):
        prices.job(asked, "prices:price")


def test_a_missing_warehouse_says_what_to_do(prices):
    prices.warehouse.unlink()
    with pytest.raises(WarehouseError, match="load a shop first"):
        prices.ask(entities(("anna", t("5"))), "prices:price")


# What the result can do


def test_streaming_to_parquet_equals_arrow(prices):
    asked = entities(*[("anna", t(str(1 + n % 9))) for n in range(250_000)])
    job = prices.job(asked, "prices:price")

    assert job.to_parquet(prices.folder / "out.parquet") == 250_000
    assert pq.read_table(prices.folder / "out.parquet").equals(job.to_arrow())
    assert [f.name for f in prices.folder.glob("out*")] == ["out.parquet"]


@pytest.mark.parametrize("form", ["pandas", "arrow", "parquet"])
def test_a_long_result_is_joined_piece_by_piece_and_is_the_same(prices, form, monkeypatch):
    rows = [("anna" if n % 3 else "bert", t(str(1 + n % 9))) for n in range(50)]
    job = prices.job(FORMS[form](prices.folder, entities(*rows)), "prices:price")
    at_once = job.to_arrow()
    monkeypatch.setattr(point_in_time, "ROWS_AT_A_TIME", 7)
    monkeypatch.setattr(point_in_time, "ROWS_JOINED", 20)

    assert job.to_parquet(prices.folder / "out.parquet") == 50
    assert pq.read_table(prices.folder / "out.parquet").equals(at_once)

    rows[44] = ("anna", None)
    job = prices.job(FORMS[form](prices.folder, entities(*rows)), "prices:price")
    with pytest.raises(ValueError, match="Entity row 45: event_timestamp is null"):
        job.to_parquet(prices.folder / "out.parquet")


@pytest.mark.parametrize("name", ["rowid", "number", "history", "asked"])
def test_entity_rows_may_bring_columns_of_any_name(prices, name):
    rows = entities(*[("anna", t(str(day))) for day in (5, 1, 9)]).assign(**{name: [2, 1, 0]})

    found = prices.job(rows, "prices:price").to_df()
    assert found[name].tolist() == [2, 1, 0]
    plain = prices.job(rows.drop(columns=name), "prices:price").to_df()
    assert found["price"].equals(plain["price"])


@pytest.mark.parametrize("name", ["__row", "__MOMENT", "CUSTOMER_ID"])
def test_a_column_that_joins_cannot_carry_is_named(prices, name):
    rows = entities(("anna", t("5"))).assign(**{name: ["x"]})
    with pytest.raises(InputError, match=f"(?i){name}"):
        prices.job(rows, "prices:price")


def test_a_saved_data_set_is_not_overwritten_unasked(prices):
    job = prices.job(entities(("anna", t("5"))), "prices:price")
    place = SavedDatasetFileStorage(path=str(prices.folder / "saved.parquet"))

    job.persist(place)
    assert pq.read_table(prices.folder / "saved.parquet").equals(job.to_arrow())
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(place)
    job.persist(place, allow_overwrite=True)


@pytest.mark.parametrize("kind", ["file", "table"])
def test_a_saved_data_set_comes_back_through_feast(prices, kind):
    place = {
        "file": SavedDatasetFileStorage(path=str(prices.folder / "saved.parquet")),
        "table": SavedDatasetDuckDBStorage("saved.prices"),
    }[kind]
    job = prices.job(entities(("bert", t("4")), ("anna", t("5"))), "prices:price")
    wanted = [("anna", 2.0), ("bert", 10.0)]

    def values(found: Any) -> list[Any]:
        frame = found.to_df()
        return sorted(zip(frame["customer_id"], frame["price"], strict=True))

    assert values(prices.store.create_saved_dataset(job, "set", place)) == wanted
    assert values(prices.store.get_saved_dataset("set")) == wanted
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        prices.store.create_saved_dataset(job, "set", place)
    fewer = prices.job(entities(("anna", t("5"))), "prices:price")
    prices.store.create_saved_dataset(fewer, "set", place, allow_overwrite=True)
    assert values(prices.store.get_saved_dataset("set")) == wanted[:1]


def told(inputs: pd.DataFrame) -> pd.DataFrame:
    both = inputs["price"].equals(inputs["prices__price"])
    # Feast tries a function on its features alone when it is registered.
    who = inputs["customer_id"] if "customer_id" in inputs else inputs["price"].astype(str)
    return pd.DataFrame({"told": who + ("!" if both else "?")})


def test_an_on_demand_view_sees_keys_and_both_names_of_its_inputs(prices):
    view = OnDemandFeatureView(
        name="telling",
        sources=[prices.store.get_feature_view("prices")],
        schema=[Field(name="told", dtype=String)],
        mode="pandas",
        udf=told,
        udf_string=inspect.getsource(told),
    )
    prices.store.apply([view])
    job = prices.job(entities(("anna", t("5")), ("bert", t("5"))), "prices:price", "telling:told")
    assert job.to_df()["told"].tolist() == ["anna!", "bert!"]


def test_on_demand_features_are_streamed_too(prices):
    double = OnDemandFeatureView(
        name="double",
        sources=[prices.store.get_feature_view("prices")],
        schema=[Field(name="doubled", dtype=Int64)],
        mode="pandas",
        udf=doubled,
        udf_string=inspect.getsource(doubled),
    )
    prices.store.apply([double])
    # In the first piece nobody has a price.
    asked = entities(*[("cara", t("5"))] * 150_000, *[("anna", t("5"))] * 3)
    job = prices.job(asked, "prices:price", "double:doubled")

    assert job.to_parquet(prices.folder / "out.parquet") == 150_003
    streamed = pq.read_table(prices.folder / "out.parquet")
    assert streamed.schema.field("doubled").type == pa.int64()
    assert streamed["doubled"].to_pylist() == [None] * 150_000 + [4] * 3
    job.persist(SavedDatasetDuckDBStorage("doubled"))
    with duckdb.connect(str(prices.warehouse), read_only=True) as con:
        assert con.execute("SELECT sum(doubled) FROM doubled").fetchall() == [(12,)]


def doubled(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"doubled": (frame["price"] * 2).astype("Int64")})


def test_the_sql_of_a_result_can_be_run_again(prices):
    asked = "SELECT 'anna' AS customer_id, TIMESTAMP '2020-01-05' AS event_timestamp"
    sql = prices.job(asked, "prices:price").to_sql()

    with duckdb.connect(str(prices.warehouse), read_only=True) as con:
        assert con.execute(sql).fetchall() == [("anna", t("5"), 2.0)]


def test_memory_and_threads_are_those_of_the_settings(tmp_path):
    repo = Repo(tmp_path, memory_limit="123MiB", threads=1)
    repo.fill("one", "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP)", ("anna", 1, t("1")))
    repo.apply(view("one", [customer], [Field(name="n", dtype=Int64)], created=False))
    asked = (
        "SELECT 'anna' AS customer_id, now() AS event_timestamp, "
        "current_setting('memory_limit') AS memory, current_setting('threads') AS threads"
    )
    found = repo.job(asked, "one:n").to_arrow().to_pylist()[0]
    assert (found["memory"], found["threads"], found["n"]) == ("123.0 MiB", 1, 1)


def pull(repo: Repo, how: Callable[..., Any], start: str, end: str, created: bool = True) -> Any:
    source = repo.store.get_feature_view("prices").batch_source
    job = how(
        repo.store.config,
        source,
        ["customer_id"],
        ["price"],
        "known_at",
        "created_at" if created else None,
        t(start).replace(tzinfo=UTC),
        t(end),
    )
    rows = job.to_arrow().to_pylist()
    return sorted((row["customer_id"], row["price"]) for row in rows)


def test_pull_latest_is_the_newest_row_of_each_key_in_the_range(prices, request):
    latest = DuckDBOfflineStore.pull_latest_from_table_or_query

    assert pull(prices, latest, "1", "31") == [("anna", 2.0), ("bert", 10.0)]
    assert pull(prices, latest, "1", "5") == [("anna", 2.0), ("bert", 10.0)]
    assert pull(prices, latest, "1", "4") == [("anna", 1.0), ("bert", 10.0)]
    # Bert's row began before the range; as an interval it still holds in it.
    still = [("bert", 10.0)] if "as intervals" in request.node.name else []
    assert pull(prices, latest, "4", "31", created=False) == [("anna", 2.0), *still]
    assert pull(prices, latest, "1", "1") == []


def test_pull_all_is_every_row_in_the_range(prices):
    everything = DuckDBOfflineStore.pull_all_from_table_or_query

    assert pull(prices, everything, "1", "31") == [("anna", 1.0), ("anna", 2.0), ("bert", 10.0)]
    assert pull(prices, everything, "3", "4") == [("bert", 10.0)]


def test_a_push_appends_where_there_are_no_intervals(repo):
    columns = "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP, created_at TIMESTAMP)"
    repo.fill("clicks", columns, ("anna", 1, t("1"), t("1")))
    repo.apply(view("clicks", [customer], [Field(name="n", dtype=Int64)]))
    # Feast puts the columns in the source's order itself.
    pushed = {"created_at": [t("6")], "n": [7], "known_at": [t("6")], "customer_id": ["anna"]}

    repo.store.write_to_offline_store("clicks", pd.DataFrame(pushed))

    assert repo.ask(entities(("anna", t("5")), ("anna", t("6"))), "clicks:n") == [(1,), (7,)]


def test_what_is_computed_from_purchases_cannot_be_pushed_into_its_history(repo):
    columns = "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP, valid_to TIMESTAMP)"
    repo.fill("bought", columns, ("anna", 1, t("1"), None))
    fields = [Field(name="n", dtype=Int64)]
    repo.apply(view("bought", [customer], fields, valid_to=True, created=False))
    pushed = {"customer_id": ["anna"], "n": [7], "known_at": [t("6")], "valid_to": [None]}

    with pytest.raises(
        ValueError, match=r"overlap the one that holds .*let `lookbook features build` write"
    ):
        repo.store.write_to_offline_store("bought", pd.DataFrame(pushed))


def test_a_push_to_a_query_is_refused(repo):
    columns = "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP)"
    repo.fill("raw", columns, ("anna", 1, t("1")))
    fields = [Field(name="n", dtype=Int64)]
    repo.apply(view("seen", [customer], fields, created=False, table=None, query="FROM raw"))
    pushed = pd.DataFrame({"customer_id": ["anna"], "n": [7], "known_at": [t("6")]})

    with pytest.raises(ValueError, match="'seen' reads a query"):
        repo.store.write_to_offline_store("seen", pushed)


def test_a_push_uses_the_tables_own_names_and_types(repo):
    repo.fill("raw", "(who VARCHAR, pieces BIGINT, known_at TIMESTAMP)", ("anna", 1, t("1")))
    mapping = {"pieces": "n", "who": "customer_id"}
    fields = [Field(name="n", dtype=Int64)]
    repo.apply(view("raw", [customer], fields, created=False, field_mapping=mapping))
    pushed = {"who": ["anna"], "pieces": [7], "known_at": [pd.Timestamp(t("6"), tz="UTC")]}

    repo.store.write_to_offline_store("raw", pd.DataFrame(pushed))
    assert repo.ask(entities(("anna", t("5")), ("anna", t("6"))), "raw:n") == [(1,), (7,)]
    with pytest.raises(ValueError, match="do not fit the table raw"):
        repo.store.write_to_offline_store("raw", pd.DataFrame(pushed | {"pieces": ["many"]}))


# Logged features


def logs(store: FeatureStore, service: FeatureService, *rows: tuple[Any, ...]) -> pa.Table:
    """What a server logs: (customer, price, when)."""
    schema = FeatureServiceLoggingSource(service, "test").get_schema(store.registry)
    columns: dict[str, list[Any]] = {name: [None] * len(rows) for name in schema.names}
    for name, place in (("customer_id", 0), ("prices__price", 1), ("__log_timestamp", 2)):
        columns[name] = [row[place] for row in rows]
    return pa.table({name: pa.array(columns[name], schema.field(name).type) for name in columns})


@pytest.fixture
def served(prices: Repo) -> FeatureService:
    config = LoggingConfig(destination=DuckDBLoggingDestination(table="logs.served"))
    service = FeatureService(
        name="served", features=[prices.store.get_feature_view("prices")], logging_config=config
    )
    prices.store.apply([service])
    return prices.store.get_feature_service("served")


def test_logged_features_are_appended_and_come_back(prices, served, tmp_path):
    when = [t(day).replace(tzinfo=UTC) for day in ("5", "6", "7")]
    prices.store.write_logged_features(
        logs(prices.store, served, ("anna", 2.0, when[0]), ("bert", 10.0, when[1])), served
    )
    (tmp_path / "more").mkdir()
    pq.write_table(
        logs(prices.store, served, ("anna", None, when[2])), tmp_path / "more" / "1.parquet"
    )
    prices.store.write_logged_features(tmp_path / "more", served)

    def found(start: int, end: int) -> list[Any]:
        job = prices.store._get_provider().retrieve_feature_service_logs(
            feature_service=served,
            start_date=when[start],
            end_date=when[end],
            config=prices.store.config,
            registry=prices.store.registry,
        )
        rows = job.to_arrow().to_pylist()
        return sorted(
            (row["__log_timestamp"], row["customer_id"], row["prices__price"]) for row in rows
        )

    everything = [(when[0], "anna", 2.0), (when[1], "bert", 10.0), (when[2], "anna", None)]
    assert found(0, 2) == everything
    assert found(1, 1) == everything[1:2]


def test_a_service_that_grows_widens_its_log(prices, served):
    now = t("5").replace(tzinfo=UTC)
    prices.store.write_logged_features(logs(prices.store, served, ("anna", 2.0, now)), served)
    prices.fill("clicks", "(customer_id VARCHAR, n BIGINT, known_at TIMESTAMP)")
    clicks = view("clicks", [customer], [Field(name="n", dtype=Int64)], created=False)
    wider = FeatureService(
        name="served",
        features=[prices.store.get_feature_view("prices"), clicks],
        logging_config=served.logging_config,
    )
    prices.apply(clicks, wider)
    more = logs(prices.store, wider, ("bert", 10.0, now))
    prices.store.write_logged_features(more, wider)

    with duckdb.connect(str(prices.warehouse), read_only=True) as con:
        sql = "SELECT customer_id, prices__price, clicks__n FROM logs.served ORDER BY 1"
        assert con.execute(sql).fetchall() == [("anna", 2.0, None), ("bert", 10.0, None)]


def test_a_warehouse_in_use_is_said_when_logs_are_written(prices, served):
    rows = logs(prices.store, served, ("anna", 2.0, t("5").replace(tzinfo=UTC)))
    hold = f"import duckdb; c = duckdb.connect({str(prices.warehouse)!r}); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()
        with pytest.raises(WarehouseError, match="in use by another process"):
            prices.store.write_logged_features(rows, served)
        other.communicate(b"\n")
    prices.store.write_logged_features(rows, served)


def test_logs_go_to_the_warehouse_only(prices, served):
    config = LoggingConfig(destination=FileLoggingDestination(path=str(prices.folder / "logs")))
    elsewhere = FeatureService(name="elsewhere", features=[], logging_config=config)
    with pytest.raises(ValueError, match="go to DuckDBLoggingDestination"):
        prices.store.write_logged_features(logs(prices.store, served), elsewhere)


# The source


def test_a_source_survives_the_registry(prices):
    prices.store.refresh_registry()
    kept = prices.store.get_feature_view("prices").batch_source
    given = DuckDBSource.from_proto(kept.to_proto())
    assert given == kept
    assert given.table == "prices"
    other = DuckDBSource(name="prices", table="other", timestamp_field="known_at")
    assert other != kept


def test_a_source_is_a_table_or_a_query():
    for wrong in ({}, {"table": "a", "query": "SELECT 1"}):
        with pytest.raises(ValueError, match="either a table or a query"):
            DuckDBSource(name="s", timestamp_field="t", **wrong)


def test_types_of_the_warehouse_are_types_of_feast(repo):
    assert value_type("VARCHAR[]") is ValueType.STRING_LIST
    assert value_type("DECIMAL(18,3)") is ValueType.DOUBLE
    assert value_type("STRUCT(a INTEGER)[]") is ValueType.STRUCT_LIST
    assert value_type("MAP(VARCHAR, INTEGER)") is ValueType.MAP
    with pytest.raises(ValueError, match="cast the column"):
        value_type("HUGEINT")
    repo.fill("typed", "(customer_id VARCHAR, tags VARCHAR[], known_at TIMESTAMP)")
    source = DuckDBSource(name="typed", table="typed", timestamp_field="known_at")
    assert list(source.get_table_column_names_and_types(repo.store.config)) == [
        ("customer_id", "VARCHAR"),
        ("tags", "VARCHAR[]"),
        ("known_at", "TIMESTAMP"),
    ]


def test_lists_come_back_whole(repo):
    repo.fill(
        "lists",
        "(customer_id VARCHAR, tags VARCHAR[], known_at TIMESTAMP)",
        ("anna", ["a", "b"], t("1")),
        ("bert", [], t("1")),
    )
    repo.apply(view("lists", [customer], [Field(name="tags", dtype=Array(String))], created=False))
    asked = entities(*[(who, t("2")) for who in ("anna", "bert", "cara")])
    assert repo.ask(asked, "lists:tags") == [(["a", "b"],), ([],), (None,)]


# Against Feast's own store


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ttl", [FOREVER, timedelta(days=9)])
def test_the_same_answers_as_feasts_own_store_where_that_is_right(tmp_path, seed, ttl):
    rng = random.Random(seed)
    history = pd.DataFrame(
        [
            (f"c{rng.randint(0, 9)}", f"a{rng.randint(0, 4)}", n, rng.random(), start + timedelta(hours=rng.randint(0, 900)), start)
            for n in range(600) for start in [datetime(2020, 1, 1, tzinfo=UTC)]
        ],
        columns=["customer_id", "article_id", "n", "x", "known_at", "created_at"],
    ).drop_duplicates(["customer_id", "article_id", "known_at"])  # fmt: skip
    asked = pd.DataFrame(
        [
            (f"c{rng.randint(0, 11)}", f"a{rng.randint(0, 5)}", history.known_at[0] + timedelta(hours=rng.randint(-200, 900)), n)
            for n in range(400)
        ],
        columns=["customer_id", "article_id", "event_timestamp", "number"],
    )  # fmt: skip
    history.to_parquet(tmp_path / "history.parquet")
    fields = [Field(name="n", dtype=Int64), Field(name="x", dtype=Float64)]

    ours = Repo(tmp_path)
    path = tmp_path / "history.parquet"
    with duckdb.connect(str(ours.warehouse)) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(
            "CREATE TABLE history AS SELECT * REPLACE (make_timestamp(epoch_ns(known_at) // 1000) AS "
            f"known_at, make_timestamp(epoch_ns(created_at) // 1000) AS created_at) FROM '{path}'"
        )
    ours.apply(view("history", [customer, article], fields, ttl=ttl))
    (tmp_path / "feast").mkdir()
    theirs = FeatureStore(
        config=RepoConfig(
            project="test",
            provider="local",
            registry=str(tmp_path / "feast" / "registry.db"),
            offline_store={"type": "duckdb"},
            online_store={"type": "sqlite", "path": str(tmp_path / "feast" / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    file_source = FileSource(
        name="history",
        path=str(path),
        timestamp_field="known_at",
        created_timestamp_column="created_at",
    )
    same = FeatureView(
        name="history",
        entities=[customer, article],
        ttl=ttl,
        schema=[*KEYS, *fields],
        source=file_source,
    )
    theirs.apply([customer, article, same])

    wanted = ["history:n", "history:x"]
    mine = ours.job(asked, *wanted).to_df()
    feast = theirs.get_historical_features(entity_df=asked, features=wanted).to_df()

    columns = ["number", "customer_id", "article_id", "n", "x"]
    feast = feast.sort_values("number").reset_index(drop=True)
    pd.testing.assert_frame_equal(
        mine[columns], feast[columns], check_dtype=False, check_exact=True
    )
    assert 0.2 < mine["n"].notna().mean() < 1
