"""The last events of a customer: what a join gives at any moment, and what a push changes of it."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast.data_source import PushMode, PushSource

from feature_repo.errors import InputError
from feature_repo.raw_tables import RAW_TABLES
from feature_repo.stores.connection import WarehouseError
from feature_repo.stores.duckdb_source import DuckDBSource
from feature_repo.windows import SESSION_EVENTS
from pipelines import feature_tables, features
from pipelines.data.load import load
from pipelines.features import OfflineFeatures, OnlineFeatures, moment_of
from pipelines.online import materialize
from pipelines.recommender import customer_state, is_known
from pipelines.warehouse import reading, writing
from tests.feature_worlds import (
    ANNA,
    BERT,
    KINDS,
    MICROSECOND,
    SCARF,
    SHIRT,
    SOCKS,
    Event,
    day,
    midnight,
)
from tests.test_features import expected_customer_session

LISTS = ("session_articles", "session_kinds", "session_moments")
NOON = midnight(9) + timedelta(hours=12)
"""On the last day built."""
END = midnight(10)


class Shop:
    """A folder in the Kaggle layout with a purchase on day 9, and events that come in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        bought = (str(day(9)), BERT, SHIRT, "0.1", "2")
        self._write("articles", [("article_id",), (SHIRT,), (SCARF,)])
        self._write("customers", [("customer_id",), (ANNA,), (BERT,)])
        names = ("t_dat", "customer_id", "article_id", "price", "sales_channel_id")
        self._write("transactions", [names, bought])
        load(str(folder))

    def _write(self, table: str, lines: list[tuple[str, ...]]) -> None:
        names = RAW_TABLES[table].column_names
        rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
        frame = pd.DataFrame(rows, columns=lines[0]).reindex(columns=names)
        frame.to_csv(self.folder / RAW_TABLES[table].file, index=False)

    def tell(self, *events: Event) -> None:
        """Load these events, and no others."""
        names = ("event_time", "customer_id", "article_id", "kind", "surface")
        rows = [(str(e.moment), e.customer, e.article, e.kind, e.surface or "") for e in events]
        self._write("interactions", [names, *rows])
        load(str(self.folder))


@pytest.fixture
def shop(home: Path, tmp_path: Path) -> Shop:
    features.apply()
    return Shop(tmp_path / "shop")


def join(moments: list[tuple[str, datetime]], **options: Any) -> Any:
    """The store's job for customers at moments."""
    rows = pd.DataFrame(moments, columns=["customer_id", "event_timestamp"])
    rows["event_timestamp"] = rows["event_timestamp"].dt.tz_localize(UTC)
    names = [f"customer_session:{name}" for name in LISTS]
    job = features.feature_store().get_historical_features(entity_df=rows, features=names)
    return job.with_options(**options)


def sessions(moments: list[tuple[str, datetime]], **options: Any) -> list[dict[str, Any] | None]:
    """What a join gives, row by row; None where every list is missing."""
    found = []
    for row in join(moments, **options).to_df()[list(LISTS)].to_dict("records"):
        missing = {name for name, values in row.items() if values is None}
        assert missing in (set(), set(LISTS))
        found.append(None if missing else {name: list(values) for name, values in row.items()})
    return found


def session(customer: str = ANNA, moment: datetime = END, **options: Any) -> Any:
    (found,) = sessions([(customer, moment)], **options)
    return found


def pushed(*events: Event) -> pd.DataFrame:
    """A row of a push for each event."""
    return pd.DataFrame(
        {
            "customer_id": [e.customer for e in events],
            "session_articles": [[e.article] for e in events],
            "session_kinds": [[e.kind] for e in events],
            "session_moments": [[(e.moment - datetime(1970, 1, 1)) // MICROSECOND] for e in events],
            "valid_from": pd.to_datetime([e.moment for e in events], utc=True),
            "created_at": pd.to_datetime([datetime.now(UTC)] * len(events)),
        }
    )


def push(*events: Event) -> None:
    features.feature_store().push("interactions", pushed(*events), to=PushMode.OFFLINE)


def count(table: str, where: str = "true") -> int:
    with reading() as con:
        (found,) = con.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone() or ()
    return int(found)


# At any moment


def test_any_join_gives_what_the_events_say(shop: Shop, tmp_path: Path) -> None:
    rng = random.Random(1)
    people = [ANNA, ANNA, ANNA, BERT, "zoe"]
    events = [
        Event(
            midnight(rng.randrange(9)) + MICROSECOND * rng.randrange(12),
            rng.choice(KINDS),
            rng.choice(people),
            rng.choice([SHIRT, SCARF, SOCKS]),
            rng.choice([None, "page", "mail"]),
        )
        for _ in range(700)
    ]
    shop.tell(*events)
    feature_tables.build()
    asked = [
        (rng.choice([*people, "nobody"]), rng.choice(events).moment + MICROSECOND * rng.choice([-1, 0, 1]))
        for _ in range(400)
    ]  # fmt: skip

    def known(customer: str, moment: datetime) -> dict[str, Any] | None:
        of_customer = (e for e in events if e.customer == customer and e.moment <= moment)
        return expected_customer_session(of_customer)

    expected = [known(*row) for row in asked]
    assert sessions(asked) == expected
    assert sum(len(e["session_kinds"]) == SESSION_EVENTS for e in expected if e) > 20
    assert None in expected
    # What happens at the moment itself is known then, unless that is not wanted.
    before = [known(customer, moment - MICROSECOND) for customer, moment in asked]
    assert sessions(asked, strict=True) == before != expected
    earlier = [known(customer, moment - timedelta(days=2)) for customer, moment in asked]
    assert sessions(asked, embargo=timedelta(days=2)) == earlier

    join(asked).to_parquet(tmp_path / "joined.parquet")
    stored = pq.read_table(tmp_path / "joined.parquet", columns=list(LISTS)).to_pylist()
    assert [None if row["session_kinds"] is None else row for row in stored] == expected


def test_events_of_the_day_after_the_last_built_are_known_at_their_moment(shop: Shop) -> None:
    later = midnight(10) + timedelta(hours=5)
    shop.tell(Event(NOON), Event(later, "cart"))
    feature_tables.build(through=day(9))

    assert session(moment=later - MICROSECOND)["session_kinds"] == ["view"]
    assert session(moment=later)["session_kinds"] == ["cart", "view"]


def test_late_events_are_not_in_a_training_set_as_it_was_made_before(shop: Shop) -> None:
    shop.tell(Event(NOON))
    feature_tables.build()
    made = datetime.now(UTC)
    shop.tell(Event(NOON - timedelta(days=3), "cart"))
    feature_tables.build()

    assert session()["session_kinds"] == ["view", "cart"]
    assert session(moment=NOON - MICROSECOND)["session_kinds"] == ["cart"]
    assert session(moment=NOON - MICROSECOND, created_until=made) is None
    assert session(created_until=datetime.now(UTC))["session_kinds"] == ["view", "cart"]


def test_nobody_is_known_by_a_session_where_there_are_no_events(shop: Shop) -> None:
    feature_tables.build()
    offline = OfflineFeatures(moment_of(day(10)))

    state = customer_state([ANNA], offline)

    assert session() is None
    assert set(state.columns) >= {f"customer_session__{name}" for name in LISTS}
    assert not is_known(state)
    assert is_known(customer_state([BERT], offline))


def test_who_has_only_looked_is_known(shop: Shop) -> None:
    shop.tell(Event(NOON, customer="zoe"), Event(NOON, "impression", customer="yan"))
    feature_tables.build()
    offline = OfflineFeatures(moment_of(day(10)))

    assert is_known(customer_state(["zoe"], offline))
    assert not is_known(customer_state(["yan"], offline))


# Pushes


def test_a_pushed_event_is_in_the_next_join_and_twice_is_once(shop: Shop) -> None:
    shop.tell(Event(NOON, surface="page"))
    feature_tables.build()
    late = Event(NOON - timedelta(hours=1), "dismiss", article=SCARF)

    push(Event(NOON, "cart"), Event(NOON, "cart"), late)
    push(Event(NOON, "cart"))
    # The file told of this one, and of where it was.
    push(Event(NOON))

    assert session() == expected_customer_session([Event(NOON), Event(NOON, "cart"), late])
    assert count("raw.interactions") == count("staging.actions") == 3
    with reading() as con:
        row = con.execute("FROM raw.interactions WHERE kind = 'cart'").fetchall()
        newest = con.execute("SELECT max(known_at) FROM raw.interactions").fetchone()
    assert row == [(NOON, ANNA, SHIRT, "cart", *[None] * 5, *(newest or ()))]
    once = session()
    with writing() as con:
        con.execute("DELETE FROM features.builds")
    feature_tables.build()
    assert session() == once


def test_lists_that_grow_online_are_those_of_a_join(shop: Shop) -> None:
    rng = random.Random(2)

    def some(number: int, first: datetime) -> list[Event]:
        return [
            Event(
                first + MICROSECOND * rng.randrange(30),
                rng.choice(KINDS[1:]),
                rng.choice([ANNA, ANNA, BERT, "zoe"]),
                rng.choice([SHIRT, SCARF]),
            )
            for _ in range(number)
        ]

    shop.tell(*some(200, NOON))
    feature_tables.build()
    materialize(day(9))
    store, rows = (
        features.feature_store(),
        pd.DataFrame({"customer_id": [ANNA, BERT, "zoe", "yan"]}),
    )
    later = END + timedelta(hours=3)
    for first in (END + timedelta(hours=1), NOON, END + timedelta(hours=2)):
        events = some(30, first)
        for told in (events, rng.sample(events, 20)):
            store.push("interactions", pushed(*told), to=PushMode.ONLINE_AND_OFFLINE)

        moment = later.replace(tzinfo=UTC)
        stores = (OnlineFeatures(moment), OfflineFeatures(moment))
        online, offline = (
            [
                None if values is None else list(values)
                for name in LISTS
                for values in found.read(rows, "customer_state")[f"customer_session__{name}"]
            ]
            for found in stores
        )
        assert online == offline
        assert online[3] is None
        assert len(online[0]) == SESSION_EVENTS


def test_an_event_that_a_file_tells_after_it_was_pushed_is_one(shop: Shop) -> None:
    feature_tables.build()
    push(Event(NOON))
    shop.tell(Event(NOON, surface="page"), Event(NOON, "cart", surface="page"))
    feature_tables.build()

    assert session() == expected_customer_session([Event(NOON), Event(NOON, "cart")])
    assert count("staging.actions") == 2


def test_a_row_of_a_push_may_hold_several_events(shop: Shop) -> None:
    feature_tables.build()
    events = [Event(NOON), Event(NOON - MICROSECOND, "cart", article=SCARF)]
    several = pushed(events[0])
    for name in LISTS:
        several[name] = [expected_customer_session(events)[name]]

    features.feature_store().push("interactions", several, to=PushMode.OFFLINE)

    assert session() == expected_customer_session(events)


def test_who_and_what_is_pushed_is_there_from_then_on(shop: Shop) -> None:
    feature_tables.build()

    push(Event(NOON, customer="zoe", article="0000000099"), Event(NOON, customer="zoe"))

    assert session("zoe")["session_articles"] == ["0000000099", SHIRT]
    assert count("raw.customers", "customer_id = 'zoe' AND from_transactions") == 1
    assert count("raw.articles", "article_id = '0000000099' AND from_transactions") == 1


def test_events_that_were_loaded_and_not_built_come_with_a_push(shop: Shop) -> None:
    feature_tables.build()
    shop.tell(Event(NOON))
    assert session() is None

    push(Event(NOON, "cart"))

    assert session()["session_kinds"] == ["view", "cart"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"session_kinds": ["impression"]}, "no impression.*'kind': impression"),
        ({"session_kinds": ["glance"]}, "'kind': glance"),
        ({"session_kinds": []}, "lists of equal lengths.*'kind': NULL"),
        ({"session_kinds": ["view", "cart"]}, "lists of equal lengths.*'article_id': NULL"),
        ({"session_articles": ["1"]}, "ten digits"),
        ({"session_moments": [2**53]}, "a moment that has been"),
        ({"customer_id": ""}, "must have a customer"),
        ({"customer_id": None}, "must have a customer"),
    ],
)
def test_what_is_no_event_is_refused_and_nothing_is_written(
    shop: Shop, change: dict[str, Any], said: str
) -> None:
    feature_tables.build()
    rows = pushed(Event(NOON), Event(NOON, "cart"))
    for name, value in change.items():
        rows.at[1, name] = value

    with pytest.raises(InputError, match=f"pushed to 'customer_session'.*{said}"):
        features.feature_store().push("interactions", rows, to=PushMode.OFFLINE)

    assert count("raw.interactions") == 0
    assert session() is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"session_articles": [1]}, "BIGINT"),
        ({"session_moments": ["noon"]}, "noon"),
        ({"session_kinds": "view"}, "UNNEST"),
    ],
)
def test_values_of_other_types_are_refused(shop: Shop, change: dict[str, Any], said: str) -> None:
    feature_tables.build()
    rows = (
        pushed(Event(NOON)).drop(columns=list(change)).assign(**{k: [v] for k, v in change.items()})
    )

    with pytest.raises(InputError, match=f"pushed to 'customer_session'.*{said}"):
        features.feature_store().push("interactions", rows, to=PushMode.OFFLINE)


def test_a_push_needs_all_lists_and_tables_that_are_built(shop: Shop) -> None:
    store, rows = features.feature_store(), pa.Table.from_pandas(pushed(Event(NOON)))
    view = store.get_feature_view("customer_session")
    write = store._get_provider().offline_write_batch
    with pytest.raises(WarehouseError, match="lookbook features build"):
        write(store.config, view, rows, None)
    feature_tables.build()

    with pytest.raises(InputError, match="session_kinds"):
        write(store.config, view, rows.drop_columns("session_kinds"), None)
    # Feast wants all that a row has, the warehouse what it needs.
    with pytest.raises(ValueError, match="created_at"):
        store.push(
            "interactions", pushed(Event(NOON)).drop(columns="created_at"), to=PushMode.OFFLINE
        )
    write(store.config, view, rows.drop_columns(["created_at", "valid_from"]), None)

    assert session()["session_kinds"] == ["view"]


# What is declared


def test_the_source_is_registered_as_it_is_declared(home: Path) -> None:
    from feature_repo.views.customers import customer_session

    features.apply()
    found = features.feature_store().get_feature_view("customer_session")

    assert isinstance(found.stream_source, PushSource)
    assert found.stream_source.name == "interactions"
    assert found.batch_source == customer_session.batch_source
    assert found.tags["online"] == "append"
    assert int(found.tags["keep"]) == SESSION_EVENTS
    other = DuckDBSource.from_proto(found.batch_source.to_proto())
    assert other == found.batch_source
    other.append += "; SELECT 1"
    assert other != found.batch_source


def test_a_source_that_appends_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="appending must select from pushed_rows"):
        DuckDBSource("clicks", query="FROM clicks", append="INSERT INTO clicks FROM others")
