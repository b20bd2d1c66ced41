"""Small worlds for tests of features: a handful of purchases and events in, every table and view out."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pandas as pd
from hypothesis import strategies as st

from feature_repo import feature_sql
from feature_repo.raw_tables import ARTICLE_CONTENT, READ_TABLES
from feature_repo.windows import WINDOWS
from pipelines import feature_tables

Row = dict[str, Any]

ANNA, BERT, CARA = "anna", "bert", "cara"
SHIRT, SCARF, SOCKS = "0000000001", "0000000002", "0000000003"
ARTICLES: dict[str, Row] = {
    SHIRT: {
        "product_code": "1",
        "product_group_name": "Upper body",
        "colour_group_name": "Red",
        "index_group_name": "Ladieswear",
        "visual_cluster": "Upper body 01",
        "text_embedding": [0.6, 0.8],
        "image_embedding": [1.0, 0.0],
    },
    SCARF: {
        "product_group_name": "Accessories",
        "colour_group_name": "Red",
        "text_embedding": [0.0, 1.0],
    },
    SOCKS: {
        "product_code": "1",
        "product_group_name": "Upper body",
        "colour_group_name": "Blue",
        "index_group_name": "Menswear",
        "visual_cluster": "Upper body 02",
        "image_embedding": [0.0, 1.0],
    },
}
"""What is known of the articles; of others nothing."""
START = date(2020, 1, 1)
MICROSECOND = timedelta(microseconds=1)
WITH_HISTORY = [view for view in feature_sql.VIEW_KEYS if not view.endswith("_profile")]


@dataclass(frozen=True)
class Purchase:
    day: date
    customer: str = ANNA
    article: str = SHIRT
    price: str = "10"
    channel: int = 2
    quantity: int = 1

    @property
    def spend(self) -> Decimal:
        return round(Decimal(float(self.price)), 9) * self.quantity


@dataclass(frozen=True)
class Event:
    moment: datetime
    kind: str = "view"
    customer: str = ANNA
    article: str = SHIRT
    surface: str | None = None


@dataclass(frozen=True)
class Customer:
    age: int | None = None
    postal_code: str | None = None


def day(number: int) -> date:
    return START + timedelta(number)


def midnight(when: date | int) -> datetime:
    """The start of a day, given as such or as a number of days since the first of 2020."""
    when = day(when) if isinstance(when, int) else when
    return datetime(when.year, when.month, when.day)


class Tables:
    """The feature tables, in memory, of these purchases: the project's SQL run by its builder."""

    con = duckdb.connect(config={"threads": 2})

    def __init__(
        self,
        purchases: Iterable[Purchase],
        customers: dict[str, Customer] | None = None,
        through: date | None = None,
        articles: dict[str, Row] = ARTICLES,
        events: Iterable[Event] = (),
    ) -> None:
        self.purchases: list[Purchase] = []
        self.events: list[Event] = []
        self.customers: dict[str, Customer] = {}
        self.articles: dict[str, Row] = {}
        self.loads = 0
        for schema in ("raw", "staging", "features"):
            self.con.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}")
        for table in READ_TABLES.values():
            self.con.execute(table.create)
        self.con.execute(
            "CREATE TABLE raw.loads (loaded_at TIMESTAMP, table_name VARCHAR, sha256 VARCHAR, "
            "loaded BIGINT, updated BIGINT)"
        )
        self.grow(purchases, customers, through, articles, events)

    def grow(
        self,
        purchases: Iterable[Purchase] = (),
        customers: dict[str, Customer] | None = None,
        through: date | None = None,
        articles: dict[str, Row] | None = None,
        events: Iterable[Event] = (),
    ) -> feature_tables.Build:
        """Load more purchases and events and newer attributes, and build through a day as `lookbook` does."""
        arrived, told = list(purchases), list(events)
        self.purchases += arrived
        self.events += told
        self.customers |= customers or {}
        self.articles |= articles or {}
        self.loads += 1
        self._load(arrived, told)
        built = feature_tables.bring(self.con, through)
        self.through = built.through
        self.history = {
            view: self._rows_by_key(view, keys) for view, keys in feature_sql.VIEW_KEYS.items()
        }
        return built

    def _load(self, arrived: list[Purchase], told: list[Event]) -> None:
        known_at = datetime(2021, 1, 1) + timedelta(hours=self.loads)
        bought = pd.DataFrame(
            [(p.day, p.customer, p.article, float(p.price), p.channel, p.quantity) for p in arrived],
            columns=["t_dat", "customer_id", "article_id", "price", "sales_channel_id", "quantity"],
        ).assign(known_at=known_at)  # fmt: skip
        seen = pd.DataFrame(
            [(e.moment, e.kind, e.customer, e.article, e.surface) for e in told],
            columns=["event_time", "kind", "customer_id", "article_id", "surface"],
        ).assign(known_at=known_at)
        people = dict.fromkeys([*self.customers, *(p.customer for p in self.purchases)])
        known = [(name, self.customers.get(name, Customer())) for name in people]
        customers = pd.DataFrame(
            {
                "customer_id": [name for name, _ in known],
                "age": pd.array([c.age for _, c in known], dtype="Int64"),
                "postal_code": pd.array([c.postal_code for _, c in known], dtype="string"),
            }
        )
        articles = pd.DataFrame(
            [
                {"article_id": a} | self.articles.get(a, {})
                for a in sorted({p.article for p in self.purchases})
            ]
        )
        learnt = [column for column in ARTICLE_CONTENT.column_names if column in articles]
        content = articles[learnt]
        articles = articles.drop(columns=[name for name in learnt if name != "article_id"])
        for name in ("customers", "articles", "article_content"):
            self.con.execute(f"DELETE FROM raw.{name}")
        for name, rows in (
            ("transactions", bought),
            ("interactions", seen),
            ("customers", customers),
            ("articles", articles),
            ("article_content", content),
        ):
            if len(rows):
                self.con.register("given", rows)
                self.con.execute(f"INSERT INTO raw.{name} BY NAME SELECT * FROM given")
        self.con.execute(
            "INSERT INTO raw.loads VALUES (now(), 'transactions', ?, 1, 0)", [f"load {self.loads}"]
        )

    def _rows_by_key(self, view: str, keys: tuple[str, ...]) -> dict[tuple[str, ...], list[Row]]:
        source = f"features.{view}"
        if view in feature_sql.AS_OF:
            source = f"({feature_sql.whole_history(view)})"
        found = self.con.execute(f"SELECT * EXCLUDE (created_at) FROM {source}")
        names = [column[0] for column in found.description or ()]
        rows: dict[tuple[str, ...], list[Row]] = {}
        for values in found.fetchall():
            row = dict(zip(names, values, strict=True))
            rows.setdefault(tuple(row.pop(key) for key in keys), []).append(row)
        return rows

    def at(self, view: str, moment: datetime, *keys: str) -> Row | None:
        """The features that hold at a moment, or nothing."""
        holding = [
            row
            for row in self.history[view].get(keys, [])
            if row["valid_from"] <= moment and (row["valid_to"] is None or moment < row["valid_to"])
        ]
        assert len(holding) <= 1, f"{view} {keys}: two rows hold at {moment}"
        return (
            {n: v for n, v in holding[0].items() if n not in ("valid_from", "valid_to")}
            if holding
            else None
        )

    def known_until(self, moment: datetime) -> dict[str, dict[tuple[str, ...], list[Row]]]:
        """All rows as someone at this moment would have them: later changes have not come."""
        return {
            view: {
                key: [
                    row | {"valid_to": min((t for t in [row["valid_to"]] if t and t <= moment), default=None)}
                    for row in rows
                    if row["valid_from"] <= moment
                ]
                for key, rows in self.history[view].items()
                if rows[0]["valid_from"] <= moment
            }
            for view in self.history
        }  # fmt: skip


class Fresh(Tables):
    """Tables in a database of their own, to compare with."""

    con = duckdb.connect(config={"threads": 2})


EDGES = sorted({n + d for w in WINDOWS if w.days for n in (0, w.days) for d in (-1, 0, 1)} - {-1})

purchases_of_a_shop = st.lists(
    st.builds(
        Purchase,
        day=st.builds(day, st.integers(0, 20) | st.sampled_from(EDGES)),
        customer=st.sampled_from([ANNA, BERT, CARA]),
        article=st.sampled_from([SHIRT, SHIRT, SCARF, SOCKS]),
        price=st.sampled_from(["0.1", "0.2", "0.7", "19.99", "0.0508305084745763"]),
        channel=st.sampled_from([1, 2]),
        quantity=st.sampled_from([1, 1, 1, 2, 5]),
    ),
    min_size=1,
    max_size=20,
).filter(lambda purchases: len(purchases) > 3 or len(purchases) == 1)
KINDS = ("impression", "view", "cart", "purchase", "dismiss")

events_of_a_shop = st.lists(
    st.builds(
        Event,
        # Few moments, so that several events are at one, and one of them told twice.
        moment=st.builds(
            lambda number, after: midnight(number) + after,
            st.integers(0, 6),
            st.sampled_from([timedelta(0), MICROSECOND, timedelta(hours=7), -MICROSECOND]),
        ),
        kind=st.sampled_from(KINDS),
        customer=st.sampled_from([ANNA, ANNA, BERT, "zoe"]),
        article=st.sampled_from([SHIRT, SCARF, SOCKS]),
        surface=st.sampled_from([None, "page"]),
    ),
    max_size=25,
)
customers_of_a_shop = st.fixed_dictionaries(
    {
        name: st.builds(
            Customer,
            age=st.sampled_from([None, 18, 25, 40, 71]),
            postal_code=st.sampled_from([None, "north", "south"]),
        )
        for name in (ANNA, BERT, CARA)
    }
)


def a_busy_shop(customers: int = 80, purchases: int = 2500, days: int = 300) -> Tables:
    rng = random.Random(5)
    rows = [
        Purchase(
            day(int(days * rng.random() ** 0.5)),
            f"c{int(customers * rng.random() ** 2)}",
            f"{int(30 * rng.random() ** 2):010}",
            rng.choice(["0.1", "7.3", "0.0508305084745763"]),
            rng.choice([1, 2]),
            rng.choice([1, 1, 3]),
        )
        for _ in range(purchases)
    ]
    people = {
        f"c{n}": Customer(20 + n % 50, f"p{n % 7}" if n % 5 else None) for n in range(customers)
    }
    seen = [
        Event(
            midnight(rng.randrange(days)) + timedelta(seconds=rng.randrange(86_400)),
            rng.choice(KINDS),
            f"c{int(customers * rng.random() ** 2)}",
            f"{int(30 * rng.random()):010}",
        )
        for _ in range(purchases // 2)
    ]
    return Tables(rows, people, events=seen)
