"""What the two towers read: customers at the moment of each purchase, articles at the start of its week.

Everything comes through feature services, and whatever columns they give is encoded. Nothing is newer
than 00:00 UTC of the day of the purchase.
"""

import json
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor

from feature_repo.windows import DECAY_DAYS
from pipelines.assortment import Assortment
from pipelines.data.split import DAYS_IN_WEEK
from pipelines.features import MOMENT, OfflineFeatures, moment_of
from pipelines.negatives import Negatives
from pipelines.neural.encoding import FEW, FeatureEncoder, hashed, under
from pipelines.neural.training import Batch
from pipelines.retrievers.base import STATE_SERVICE, Asked, Past, days_since_epoch

CONTENT_SERVICE = "article_content"
SALES_SERVICE = "article_sales"

RECENT_DAYS = 7.0
"""Time in which the weight of a purchase falls to 1/e where recency counts, in days."""
SESSION_DAYS = 1.0
"""The same of an event of the session."""
POOLS = 3
"""Ways to weigh what a customer did: by habit, by recency, and the session."""

_ROWS = 100_000
"""Rows that are joined to features at a time: what bounds the memory of preparing."""

_PURCHASES = """
CREATE OR REPLACE TEMP TABLE tower_purchases AS
WITH bought AS (
    SELECT DISTINCT customer_id, day, article
    FROM staging.purchases
    INNER JOIN places USING (article_id)
    WHERE day < $cutoff AND day >= $cutoff - CAST($days AS INTEGER)
    QUALIFY row_number() OVER (ORDER BY day DESC, customer_id, article) <= $most
)

SELECT
    *,
    CAST(dense_rank() OVER (ORDER BY customer_id, day) - 1 AS INTEGER) AS number
FROM bought
"""
_EXAMPLES = """
SELECT number, CAST(article AS INTEGER) AS article, CAST($cutoff - day AS INTEGER) AS days_ago
FROM tower_purchases
ORDER BY number, article
"""
_POSITIVES = """
SELECT customer_id, article_id, day
FROM tower_purchases
INNER JOIN places USING (article)
ORDER BY number, article
"""
_MOMENTS = "SELECT DISTINCT number, customer_id, day FROM tower_purchases ORDER BY number"


class Doings(NamedTuple):
    """What customers did with articles, a row for each customer and article or event.

    Attributes:
        customer: position of the customer (R,), ascending.
        article: place of the article (R,).
        weights: one for each way to pool (R x POOLS).
    """

    customer: np.ndarray
    article: np.ndarray
    weights: np.ndarray


def doings(asked: Asked, assortment: Assortment, before: np.ndarray | None = None) -> Doings:
    """What the customers did, weighed.

    Args:
        before: if each customer is asked about at a moment of their own, by how many days that is
            before the moment of `asked` (N,).
    """
    history, session = asked.history(assortment), asked.session(assortment)
    age, weight, seen = history.age, history.weight, session.age
    if before is not None:
        age = age - before[history.customer]
        weight = weight * np.exp(before[history.customer] / DECAY_DAYS)
        seen = seen - before[session.customer]
    says = session.says
    bought = len(history.customer)
    weights = np.zeros((bought + len(says), POOLS), dtype="float32")
    weights[:bought, 0] = weight
    weights[:bought, 1] = np.exp(-age / RECENT_DAYS)
    weights[bought:, 2] = says * np.exp(-seen / SESSION_DAYS)
    customer = np.concatenate([history.customer, session.customer])
    article = np.concatenate([history.article, session.article])
    if bought and len(says):
        order = np.argsort(customer, kind="stable")
        customer, article, weights = customer[order], article[order], weights[order]
    return Doings(customer, article, weights)


class RowEncoder:
    """Encodes the rows of a service: a `FeatureEncoder` to which moments are days ago."""

    def __init__(self) -> None:
        self.features = FeatureEncoder()
        self.moments: list[str] = []

    def fit(self, rows: pd.DataFrame) -> Self:
        """Learn from rows that have their moment in `event_timestamp`."""
        self.moments = [
            name
            for name in rows.columns
            if "__" in name and pd.api.types.is_datetime64_any_dtype(rows[name].dtype)
        ]
        self.features.fit(self._with_days(rows, rows[MOMENT]))
        return self

    def encode(self, rows: pd.DataFrame, moment: datetime | None = None) -> dict[str, Tensor]:
        """codes, numbers and vectors, as of one moment or of each row's own.

        Raises:
            EncodingError: a column is missing.
        """
        if moment is not None and len(rows) <= FEW:
            # A single request cannot wait for pandas.
            values = dict(zip(rows.columns, rows.to_numpy(dtype=object).T.tolist(), strict=True))
            for name in self.moments:
                if name in values:
                    values[name] = [
                        None if value is None or value is pd.NaT else (moment - value) / _DAY
                        for value in values[name]
                    ]
            return self.features.encode(values)
        return self.features.encode(
            self._with_days(rows, rows[MOMENT] if moment is None else pd.Timestamp(moment))
        )

    def _with_days(self, rows: pd.DataFrame, moment: pd.Series | pd.Timestamp) -> pd.DataFrame:
        there = [name for name in self.moments if name in rows]
        return rows.assign(**{n: (moment - rows[n]).dt.total_seconds() / 86_400 for n in there})

    def said(self) -> list[object]:
        """All that it learnt."""
        of = self.features
        return [of.numbers, of.texts, of.hashes, of.vectors, self.moments]

    def save(self, file: Path) -> None:
        self.features.save(file)
        file.with_suffix(".moments.json").write_text(json.dumps(self.moments))

    @classmethod
    def load(cls, file: Path) -> Self:
        made = cls()
        made.features = FeatureEncoder.load(file)
        made.moments = json.loads(file.with_suffix(".moments.json").read_text())
        return made


_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Purchases:
    """Past purchases with what was known before each: what the towers learn from.

    A is the number of articles, W that of weeks; week 0 stands for the cutoff, week w for the start of
    the w-th week before it. E purchases were made at M distinct moments of customers.

    Attributes:
        moment: which moment each purchase belongs to (E,).
        article: place of the article (E,).
        week: in which week, from 1 (E,).
        customers: encoded state of the customer at each moment (M x ...).
        doings: what the customer had done by then (customer: the moment).
        content: encoded content of the articles (A x ...).
        ids: hashes of article ids (A,), 0 where nothing was ever sold.
        sales: how articles sold at the start of each week, encoded ((W + 1) A x ...).
        on_sale: places of the articles on sale at the start of each week from 1 on.
        own: places of negatives that each purchase has of its own (E x K), -1 where there are fewer.
        own_log_q: log of the chance that each is among them (E x K), infinite where there is none.
        encoders: of customers, content and sales.
    """

    moment: np.ndarray
    article: np.ndarray
    week: np.ndarray
    customers: dict[str, Tensor]
    doings: Doings
    content: dict[str, Tensor]
    ids: Tensor
    sales: dict[str, Tensor]
    on_sale: list[np.ndarray]
    own: np.ndarray
    own_log_q: np.ndarray
    encoders: "Encoders"

    @classmethod
    def before(
        cls, past: Past, weeks: int, most: int, seed: int, negatives: Negatives | None = None
    ) -> "Purchases | None":
        """The purchases of the last weeks before the cutoff; None if there are none.

        Args:
            weeks: so many at most.
            most: so many purchases at most, the newest.
            seed: of the order in which rows are read, the first of which teach the encoder, and of
                negatives.
            negatives: that each purchase is to have of its own.
        """
        past.query(_PURCHASES, days=DAYS_IN_WEEK * weeks, most=most)
        found = past.query(_EXAMPLES)
        if not len(found["number"]):
            return None
        week = (found["days_ago"] - 1) // DAYS_IN_WEEK + 1
        customer, customers, done = _customers(past, seed)
        content, sales, encoded_content, encoded_sales = _articles(past, int(week.max()))
        on_sale = []
        for number in range(1, int(week.max()) + 1):
            then = Assortment.at(past.con, past.cutoff - timedelta(days=DAYS_IN_WEEK * number))
            places = past.assortment.places(then.ids[then.on_sale])
            # The file of articles names those too that came later: what was first sold after the week
            # was not on offer in it.
            begins = np.isin(places, found["article"][week == number])
            later = then.is_new[then.on_sale] & ~past.assortment.is_new[places] & ~begins
            on_sale.append(places[(places >= 0) & ~later])
        own, own_log_q = _own_negatives(past, len(week), negatives, seed)
        ids = hashed(past.assortment.ids)
        ids[torch.from_numpy(past.assortment.is_new)] = 0
        return cls(
            moment=found["number"].astype("int64"),
            article=found["article"].astype("int64"),
            week=week.astype("int64"),
            customers=customers,
            doings=done,
            content=encoded_content,
            ids=ids,
            sales=encoded_sales,
            on_sale=on_sale,
            own=own,
            own_log_q=own_log_q,
            encoders=Encoders(customer, content, sales),
        )

    def __len__(self) -> int:
        return len(self.article)


@dataclass(frozen=True)
class Encoders:
    """Of the three services that the towers read."""

    customer: RowEncoder
    content: RowEncoder
    sales: RowEncoder

    def save(self, folder: Path) -> None:
        for name, encoder in vars(self).items():
            encoder.save(folder / f"{name}.json")

    @classmethod
    def load(cls, folder: Path) -> "Encoders":
        names = cls.__dataclass_fields__
        return cls(**{name: RowEncoder.load(folder / f"{name}.json") for name in names})


def _own_negatives(
    past: Past, purchases: int, negatives: Negatives | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Places and log q of each purchase's own negatives (E x K each)."""
    width = negatives.n if negatives else 0
    places = np.full((purchases, width), -1, dtype="int64")
    log_q = np.full((purchases, width), np.inf, dtype="float32")
    if negatives:
        drawn = negatives.draw(past.con, pd.DataFrame(past.query(_POSITIVES)), seed=seed)
        row = drawn["row"].to_numpy()
        column = np.arange(len(row)) - np.searchsorted(row, row)
        places[row, column] = past.assortment.places(drawn["article_id"].tolist())
        log_q[row, column] = drawn["log_q"]
        log_q[places < 0] = np.inf
    return places, log_q


def _customers(past: Past, seed: int) -> tuple[RowEncoder, dict[str, Tensor], Doings]:
    """Customers at each moment, read in parts in an order of chance."""
    found = past.query(_MOMENTS)
    days = found["day"].astype("datetime64[D]")
    moments = pd.DatetimeIndex(days).tz_localize("UTC")
    end = moment_of(past.cutoff)
    before = days_since_epoch(end) - days.astype("float64")
    rows = pd.DataFrame({"customer_id": found["customer_id"], MOMENT: moments})
    order = np.random.default_rng(seed).permutation(len(rows))
    encoder = RowEncoder()
    parts, whose, done = [], [], []
    for start in range(0, len(rows), _ROWS):
        chosen = order[start : start + _ROWS]
        state = OfflineFeatures().read(rows.iloc[chosen].reset_index(drop=True), STATE_SERVICE)
        if not start:
            encoder.fit(state)
        parts.append(_packed(encoder.encode(state)))
        did = doings(Asked(state, end), past.assortment, before[chosen])
        whose.append(chosen[did.customer])
        done.append(did)
    back = torch.from_numpy(np.argsort(order))
    encoded = {name: torch.cat([part[name] for part in parts])[back] for name in parts[0]}
    customer = np.concatenate(whose)
    turn = np.argsort(customer, kind="stable")
    article, weights = (np.concatenate([getattr(d, n) for d in done]) for n in Doings._fields[1:])
    return encoder, encoded, Doings(customer[turn], article[turn].astype("int32"), weights[turn])


def _articles(
    past: Past, weeks: int
) -> tuple[RowEncoder, RowEncoder, dict[str, Tensor], dict[str, Tensor]]:
    """Encoders and encoded rows of the articles' content, and of their sales week by week."""
    ids = past.assortment.ids
    end = pd.Timestamp(moment_of(past.cutoff))
    content = OfflineFeatures().read(
        pd.DataFrame({"article_id": ids, MOMENT: end}), CONTENT_SERVICE
    )
    of_content, of_sales = RowEncoder().fit(content), RowEncoder()
    # The cutoff comes last: only what was different in some week that is learnt from can teach anything.
    ago = np.append(np.arange(1, weeks + 1), 0)
    starts = end - pd.to_timedelta(DAYS_IN_WEEK * ago, unit="D")
    at_once = max(1, _ROWS // len(ids))
    parts = []
    for first in range(0, weeks + 1, at_once):
        some = starts[first : first + at_once]
        rows = pd.DataFrame({"article_id": np.tile(ids, len(some)), MOMENT: some.repeat(len(ids))})
        sales = OfflineFeatures().read(rows, SALES_SERVICE)
        if not first:
            of_sales.fit(sales[sales[MOMENT] < end])
        parts.append(_packed(of_sales.encode(sales)))
    encoded = {
        name: torch.cat([part[name] for part in parts]).roll(len(ids), 0) for name in parts[0]
    }
    return of_content, of_sales, _packed(of_content.encode(content)), encoded


def _packed(encoded: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same in less memory."""
    codes = encoded["codes"]
    small = codes.numel() == 0 or int(codes.max()) < 2**15
    return encoded | {"codes": codes.to(torch.int16 if small else torch.int32)}


def rows_of(encoded: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """Some rows of what was packed, ready for a network."""
    found = {name: tensor[rows] for name, tensor in encoded.items()}
    return found | {"codes": found["codes"].long()}


class TowerExamples:
    """Purchases as batches: customers, what each bought, and articles that somebody might have bought.

    The articles of a batch are B that were bought and N drawn evenly from those on sale in the weeks of
    the purchases (mixed negative sampling; Yang et al., WWW 2020). `log_q` is the log of how often such
    columns are expected to be that article in that week. After them come the K negatives that each of the
    purchases has of its own, in order of purchase, with `own_log_q` (B x K).

    Args:
        negatives: N as a share of B.
    """

    def __init__(self, purchases: Purchases, negatives: float) -> None:
        self.data = purchases
        self.negatives = negatives
        self.articles = len(purchases.ids)
        weeks = len(purchases.on_sale)
        self.starts = np.searchsorted(
            purchases.doings.customer, np.arange(len(next(iter(purchases.customers.values()))) + 1)
        )
        self.every = np.concatenate(purchases.on_sale)
        self.sizes = np.array([len(places) for places in purchases.on_sale])
        cell = purchases.week * self.articles + purchases.article
        share = np.bincount(cell, minlength=(weeks + 1) * self.articles) / len(cell)
        self.week_shares = np.bincount(purchases.week - 1, minlength=weeks) / len(cell)
        even = np.zeros_like(share)
        for week, places in enumerate(purchases.on_sale, start=1):
            even[week * self.articles + places] = self.week_shares[week - 1] / max(1, len(places))
        mixed = (share + negatives * even) / (1 + negatives)
        with np.errstate(divide="ignore"):
            self.log_q = torch.from_numpy(np.log(mixed).astype("float32"))

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, rows: Tensor, generator: Generator) -> Batch:
        data, chosen = self.data, rows.numpy()
        moment, article, week = data.moment[chosen], data.article[chosen], data.week[chosen]
        more, their_week = self._draw(int(len(chosen) * self.negatives), generator)
        shared = len(chosen) + len(more)
        own = data.own[chosen]
        article = np.concatenate([article, more, np.maximum(own, 0).ravel()])
        week = np.concatenate([week, their_week, np.repeat(week, own.shape[1])])
        starts, ends = self.starts[moment], self.starts[moment + 1]
        sizes = ends - starts
        did = np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        places, place = np.unique(
            np.concatenate([article, data.doings.article[did]]), return_inverse=True
        )
        cell = torch.from_numpy(week * self.articles + article)
        return {
            **under("customer", rows_of(data.customers, torch.from_numpy(moment))),
            **under("content", rows_of(data.content, torch.from_numpy(places))),
            **under("sales", rows_of(data.sales, cell)),
            "ids": data.ids[torch.from_numpy(places)],
            "article": torch.from_numpy(place[: len(article)]),
            "done": torch.from_numpy(place[len(article) :]),
            "doer": torch.from_numpy(np.repeat(np.arange(len(chosen)), sizes)),
            "weights": torch.from_numpy(data.doings.weights[did]),
            "log_q": self.log_q[cell[:shared]] + math.log(shared),
            "own_log_q": torch.from_numpy(data.own_log_q[chosen]),
        }

    def _draw(self, count: int, generator: Generator) -> tuple[np.ndarray, np.ndarray]:
        """Articles on sale (N,), and the week of each."""
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator).item()))
        shares = self.week_shares * (self.sizes > 0)
        if not count or not shares.sum():
            return np.array([], dtype="int64"), np.array([], dtype="int64")
        week = rng.choice(len(shares), count, p=shares / shares.sum())
        turn = (rng.random(count) * self.sizes[week]).astype("int64")
        return self.every[np.cumsum(self.sizes)[week] - self.sizes[week] + turn], week + 1
