"""Small shops for tests of retrievers: a list of purchases in, a home with everything built out.

A world is a list of purchases (customer, article, days before the cutoff): day 1 is the last that may
be known, day 0 is the cutoff itself and already the future.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from feature_repo.raw_tables import ARTICLE_CONTENT, RAW_TABLES
from pipelines import feature_tables, features
from pipelines.data.load import load
from pipelines.features import OfflineFeatures
from pipelines.model_catalog import make_retriever
from pipelines.recommender import customer_state
from pipelines.retrievers.base import Past, Retriever
from pipelines.warehouse import reading, writing

CUTOFF = date(2020, 9, 16)
MOMENT = datetime(2020, 9, 16, tzinfo=UTC)

Purchase = tuple[str, str, int]

STAR, SHIRT, SOCKS, COAT, BOOTS = (f"000000000{n}" for n in range(1, 6))
OBVIOUS: list[Purchase] = [
    # Everybody buys the star, and whatever else is bought is bought with it.
    *(("ann", STAR, day) for day in (2, 3)),
    ("ann", SHIRT, 2),
    ("ann", SOCKS, 3),
    *((f"c{n}", STAR, 2) for n in range(10)),
    *((f"c{n}", SHIRT if n % 2 else SOCKS, 2) for n in range(10)),
    # Two customers live in another world.
    *((customer, article, 5) for customer in ("zoe", "zac") for article in (COAT, BOOTS)),
]


def a_random_shop(seed: int = 1) -> list[Purchase]:
    rng = np.random.default_rng(seed)
    return [
        (f"c{rng.integers(30):02}", f"0{rng.integers(40):09}", int(rng.integers(1, 55)))
        for _ in range(600)
    ]


RANDOM = a_random_shop()
EVERYBODY = sorted({customer for customer, _, _ in RANDOM})
KNOWN_ARTICLES = {article for _, article, _ in RANDOM}
PLANTED = [
    *RANDOM,
    *(
        (customer, article, days)
        for customer in (*EVERYBODY, "somebody new")
        for article in ("0000000007", "0888888888")
        for days in (0, -1, -30)
    ),
]
"""The random shop, and what happens from the cutoff on."""

GONE = "0000000777"
FORGOTTEN = [*RANDOM, *((customer, GONE, 70) for customer in EVERYBODY)]
"""The random shop, and an article that everybody bought and nobody since."""


_LOOKS = [
    ("Top", "Red"),
    ("Top", "Blue"),
    ("Trousers", "Red"),
    ("Shoes", "Black"),
    ("Shoes", "White"),
]


@dataclass(frozen=True)
class World:
    """A home with its feature tables, applied, and what may be asked of it."""

    home: Path

    @contextmanager
    def inside(self) -> Iterator[None]:
        """LOOKBOOK_HOME is this world's."""
        before = os.environ.get("LOOKBOOK_HOME")
        os.environ["LOOKBOOK_HOME"] = str(self.home)
        try:
            yield
        finally:
            os.environ.pop("LOOKBOOK_HOME")
            if before is not None:
                os.environ["LOOKBOOK_HOME"] = before

    def fit(self, name: str, cutoff: date = CUTOFF, **settings: object) -> Retriever:
        """A retriever of the catalogue, fitted on this world, with its own or these settings."""
        with self.inside(), reading() as con:
            return make_retriever(name, settings or None).fit(Past.at(con, cutoff))

    def state(self, customers: Iterable[str], moment: datetime = MOMENT) -> pd.DataFrame:
        """The service `customer_state`."""
        with self.inside():
            return customer_state(list(customers), OfflineFeatures(moment))


Worlds = Callable[[Iterable[Purchase]], World]
"""What the fixture `worlds` is: the home of a list of purchases, made once."""


def world(
    folder: Path,
    purchases: Iterable[Purchase],
    *,
    unsold: Sequence[str] = (),
    embedded: bool = True,
) -> World:
    """A shop in which these purchases were made; a repeated one is a quantity.

    Everybody of whom something is known has an age and a postal code. What is bought was looked at
    that morning. What is first bought later is on no file of articles. Of the first five articles the star is of the shirt's type and has the colour of the
    socks, and the other two are alike; so it goes on for all others.

    Args:
        unsold: articles that are on file and were never bought.
        embedded: whether articles have vectors of words and pictures, which say what the looks say.
    """
    rows = list(purchases)
    files = folder / "files"
    files.mkdir(parents=True)
    customers = sorted({customer for customer, _, _ in rows}) or ["nobody"]
    sold = {article for _, article, days in rows if days >= 1}
    articles = sorted(sold | set(unsold)) or ["0000000000"]
    _write(
        files / "customers.parquet",
        "customers",
        [
            {
                "customer_id": customer,
                "age": 20 + 10 * (_number(customer) % 4),
                "postal_code": f"p{_number(customer) % 3}",
            }
            for customer in customers
        ],
    )
    _write(
        files / "articles.parquet",
        "articles",
        [
            {
                "article_id": article,
                "product_code": article[:7],
                "prod_name": f"Article {int(article)}",
                "product_type_name": _LOOKS[(int(article) - 1) % 5][0],
                "product_group_name": "Feet" if int(article) % 5 in (4, 0) else "Body",
                "colour_group_name": _LOOKS[(int(article) - 1) % 5][1],
            }
            for article in articles
        ],
    )
    _write(
        files / "transactions_train.parquet",
        "transactions",
        [
            {
                "t_dat": CUTOFF - timedelta(days=days),
                "customer_id": customer,
                "article_id": article,
                "price": 0.02,
                "sales_channel_id": 2,
            }
            for customer, article, days in rows
        ],
    )
    _write(
        files / "interactions.parquet",
        "interactions",
        [
            {
                "event_time": datetime(2020, 9, 16, 9) - timedelta(days=days),
                "customer_id": customer,
                "article_id": article,
                "kind": "view",
            }
            for customer, article, days in sorted(set(rows))
        ],
    )
    made = World(folder / "home")
    with made.inside():
        load(str(files))
        if embedded:
            _embed(articles)
        feature_tables.build()
        features.apply()
    return made


def _embed(articles: list[str]) -> None:
    """Vectors that say type and colour."""
    kinds = {
        value: place for place, value in enumerate(sorted({v for look in _LOOKS for v in look}))
    }
    rows = []
    for article in articles:
        vector = [0.0] * len(kinds)
        for value in _LOOKS[(int(article) - 1) % 5]:
            vector[kinds[value]] = 1.0
        rows.append((article, vector, vector))
    with writing() as con:
        con.execute(ARTICLE_CONTENT.create)
        con.executemany(
            "INSERT INTO raw.article_content (article_id, text_embedding, image_embedding) "
            "VALUES (?, ?, ?)",
            rows,
        )


def _number(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0]


def _write(file: Path, table: str, rows: list[dict[str, object]]) -> None:
    columns = RAW_TABLES[table].column_names
    pd.DataFrame(rows).reindex(columns=columns).to_parquet(file, index=False)
