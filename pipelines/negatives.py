"""Negatives: for articles that customers bought, others that they could have bought and did not.

Every strategy draws from articles on sale: sold in the `ON_SALE_DAYS` days before the moment, strictly; what a
customer was shown was on sale too, whether or not it had sold.
None ever names what the customer buys in the period, nor uses what only later days tell.

Each negative comes with `log_q`, the logarithm of the probability with which it is among those of its
positive. What to do with it is a matter of the loss, for the sum over negatives, each divided by that
probability, estimates the sum over everything that could have been drawn (Horvitz and Thompson, JASA 1952):

- Sampled softmax subtracts `log_q` from the score of a negative (Bengio and Senécal, IEEE TNN 2008; Yi et
  al., RecSys 2019). Otherwise the model learns the score less log_q: popular articles, drawn often, sink.
- Binary cross entropy weights a negative's row with exp(-log_q); where all have the same probability s,
  taking log s from the logits does the same (King and Zeng, 2001; He et al., ADKDD 2014). Otherwise chances
  are too high, for most negatives are missing.
- Pairwise losses (BPR, lambdarank) ask only which is first: no correction, the strategy is part of the goal.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from feature_repo.errors import InputError
from pipelines.assortment import ON_SALE_DAYS

FOR_NEUMF = 5
"""Negatives of a positive (He et al., WWW 2017, find 3 to 6 best)."""
FOR_RANKER = 30
"""Negatives of a positive, over all strategies."""

COLUMNS = ["row", "customer_id", "article_id", "day", "log_q"]


class NegativesError(InputError):
    """Negatives cannot be drawn from what was given; the text says what is missing."""


class Pairs(NamedTuple):
    """Groups (R,), ascending, and codes of articles (R,), ascending within a group, each pair once."""

    group: np.ndarray
    article: np.ndarray

    @classmethod
    def once(cls, group: np.ndarray, article: np.ndarray) -> "Pairs":
        """Pairs in any order, some more than once."""
        span = int(article.max(initial=0)) + 1
        key = np.sort(group.astype("int64") * span + article)
        key = key[np.diff(key, prepend=-1) > 0]
        return cls(key // span, key % span)

    def of(self, groups: slice) -> "Pairs":
        """Those of some groups."""
        start, end = np.searchsorted(self.group, [groups.start, groups.stop])
        return Pairs(self.group[start:end], self.article[start:end])


class Drawn(NamedTuple):
    """Negatives (M,): the position of the positive in its moment, the article, the log of the chance."""

    position: np.ndarray
    article: np.ndarray
    log_q: np.ndarray


class Moment(NamedTuple):
    """The positives of one moment, and what was known before it.

    Attributes:
        row: row numbers of the positives (P,).
        group: of each, one for a customer in a period (P,), ascending.
        sold: lines of each article sold in the `ON_SALE_DAYS` days before (A,); on sale are those with some.
        barred: what each group buys.
    """

    row: np.ndarray
    group: np.ndarray
    sold: np.ndarray
    barred: Pairs


class Negatives(ABC):
    """A strategy.

    Args:
        n: the most negatives of a positive.
    """

    name: ClassVar[str]
    known: ClassVar[str] = "SELECT article_id, day FROM staging.purchases"
    """SQL: articles that may be drawn, and days on which they were seen to be on sale."""

    def __init__(self, n: int = FOR_NEUMF) -> None:
        if n < 0:
            raise NegativesError(f"n is {n}: give how many negatives to draw, 0 or more.")
        self.n = n

    def draw(
        self, con: duckdb.DuckDBPyConnection, positives: pd.DataFrame, *, seed: int = 0
    ) -> pd.DataFrame:
        """Negatives of the positives; fewer than `n` where fewer articles are left, each once for a positive.

        Args:
            con: the warehouse: `staging.purchases`, and `raw.interactions` where the strategy reads it.
            positives: customer_id, article_id, day: the first day, 00:00 UTC, of the period in which it was
                bought, that day or a week. All that a customer buys in a period stands here, for that is
                what cannot be a negative.
            seed: the same seed, positives and past give the same negatives.

        Returns:
            A row for each negative, in order of row and article: row (position of the positive),
            customer_id, article_id (of the negative), day, log_q.

        Raises:
            NegativesError: a column or a value is missing, or a table that the strategy needs is missing
                or empty.
        """
        self.check(con)
        with _asking(con, positives, self.starts, self.known) as asked:
            pairs = self.pairs(asked)
            parts = []
            for day, moment, groups in asked.moments():
                rng = np.random.default_rng([seed, day + _DAYS_BEFORE_1970])
                drawn = self.pick(moment, pairs.of(groups), rng)
                parts.append(Drawn(moment.row[drawn.position], *drawn[1:]))
            row, article, log_q = (
                np.concatenate([np.array([], dtype=kind), *(part[column] for part in parts)])
                for column, kind in enumerate(("int64", "int64", "float64"))
            )
            order = np.lexsort((article, row))
            row, article = row[order], article[order]
            found = {
                "row": row,
                "customer_id": positives["customer_id"].to_numpy()[row],
                "article_id": asked.articles[article],
                "day": positives["day"].take(row).array,
                "log_q": log_q[order],
            }
        return pd.DataFrame(found, columns=COLUMNS)

    def check(self, con: duckdb.DuckDBPyConnection) -> None:  # noqa: B027
        """Refuse a warehouse that lacks what the strategy needs."""

    def starts(self, day: np.ndarray) -> np.ndarray:
        """The first day of the period that each day, in days since 1970, belongs to."""
        return day

    def pairs(self, asked: "Asked") -> Pairs:
        """What the strategy knows of groups and articles."""
        return Pairs(np.array([], dtype="int64"), np.array([], dtype="int64"))

    @abstractmethod
    def pick(self, moment: Moment, pairs: Pairs, rng: np.random.Generator) -> Drawn:
        """The negatives of one moment.

        Args:
            pairs: those of the moment's groups.
        """


class RandomPerWeek(Negatives):
    """Any article on sale when the customer's week began, each as likely: `n` for a customer and a week.

    They stand at the customer's first positive of the week. Correction: log_q is the same for all but for
    what the customer buys, so a ranker's order needs none, and chances need it.

    Args:
        n: the most negatives of a customer in a week.
        first_day: on which weeks begin, 0 for Monday to 6.
    """

    name = "random_per_week"

    def __init__(self, n: int = FOR_NEUMF, first_day: int = 0) -> None:
        super().__init__(n)
        self.first_day = first_day

    def starts(self, day: np.ndarray) -> np.ndarray:
        # Day 0 was a Thursday.
        return day - (day + 3 - self.first_day) % 7

    def pick(self, moment: Moment, pairs: Pairs, rng: np.random.Generator) -> Drawn:
        group, first = np.unique(moment.group, return_index=True)
        drawn = _from_sale((moment.sold > 0).astype("int64"), group, moment.barred, self.n, rng)
        return drawn._replace(position=first[drawn.position])


class LeaveOneOut(Negatives):
    """Any article on sale that the customer never bought before, each as likely (He et al., WWW 2017).

    For models that know nothing of the pair but its ids: to one that sees that the customer bought an article
    before, it would say that this is always so of positives and never of negatives.
    Correction: log_q is the same for all but for what each customer bought.
    """

    name = "leave_one_out"

    def pairs(self, asked: "Asked") -> Pairs:
        return asked.query(
            """
            SELECT DISTINCT asked_group, article
            FROM asked_for AS asked
            INNER JOIN staging.purchases AS past USING (customer_id)
            INNER JOIN article_codes USING (article_id)
            WHERE past.day < asked.day
            """
        )

    def pick(self, moment: Moment, pairs: Pairs, rng: np.random.Generator) -> Drawn:
        bought, before = moment.barred, pairs
        barred = Pairs.once(
            np.concatenate([bought.group, before.group]),
            np.concatenate([bought.article, before.article]),
        )
        weights = (moment.sold > 0).astype("int64")
        return _from_sale(weights, moment.group, barred, self.n, rng)


class LeastSelling(Negatives):
    """The articles on sale that sold least in the last days, each as likely; of equal ones the first by id.

    Correction: log_q makes up for the draws among them, but what sells more is never drawn, which nothing
    makes up for: for a part of the negatives, beside another strategy.

    Args:
        share: of the articles on sale, above 0 to 1.
    """

    name = "least_selling"

    def __init__(self, n: int = FOR_NEUMF, share: float = 0.5) -> None:
        super().__init__(n)
        self.share = share

    def pick(self, moment: Moment, pairs: Pairs, rng: np.random.Generator) -> Drawn:
        on_sale = np.flatnonzero(moment.sold)
        order = np.argsort(moment.sold[on_sale], kind="stable")
        weights = np.zeros(len(moment.sold), dtype="int64")
        weights[on_sale[order[: int(np.ceil(self.share * len(on_sale)))]]] = 1
        return _from_sale(weights, moment.group, moment.barred, self.n, rng)


class PopularityWeighted(Negatives):
    """Articles on sale by what sold in the last days, to a power (Mikolov et al., NeurIPS 2013).

    `n` draws, each of which may fall on any article; one that is drawn more than once is one negative.
    Correction: subtract log_q for softmax, or popular articles are pushed down for being popular.

    Args:
        power: of the lines sold: 0 makes all as likely, 1 draws as customers buy.
    """

    name = "popularity"

    def __init__(self, n: int = FOR_NEUMF, power: float = 0.75) -> None:
        super().__init__(n)
        self.power = power

    def pick(self, moment: Moment, pairs: Pairs, rng: np.random.Generator) -> Drawn:
        # Whole numbers, so that chances are exact.
        weights = np.where(moment.sold > 0, 1000 * moment.sold.astype("float64") ** self.power, 0)
        weights = np.rint(weights).astype("int64")
        return _from_sale(weights, moment.group, moment.barred, self.n, rng)


class LastTransactions(Negatives):
    """What the customer's last `n` transactions before the moment bought, as far as it is on sale.

    Hard negatives: they teach what is not bought again. Correction: none, for each comes with certainty
    and log_q is 0; they say nothing of other articles, so another strategy stands beside them.
    """

    name = "last_transactions"

    def pairs(self, asked: "Asked") -> Pairs:
        return asked.query(
            """
            WITH transactions AS (
                SELECT DISTINCT asked_group, past.day, article_id
                FROM asked_for AS asked
                INNER JOIN staging.purchases AS past USING (customer_id)
                WHERE past.day < asked.day
                QUALIFY dense_rank() OVER (PARTITION BY asked_group ORDER BY past.day DESC, article_id) <= $n
            )

            SELECT DISTINCT asked_group, article
            FROM transactions
            INNER JOIN article_codes USING (article_id)
            """,
            n=self.n,
        )

    def pick(self, moment: Moment, pairs: Pairs, rng: np.random.Generator) -> Drawn:
        own = Pairs(*(column[moment.sold[pairs.article] > 0] for column in pairs))
        return _from_own(moment, own, self.n, rng)


class Shown(Negatives):
    """What the customer was shown in the days before the moment and passed over, or dismissed.

    An impression is skipped, and a dismissal stands, if the customer did not view, put in the cart or buy
    the article afterwards, up to the moment. Correction: log_q is that of drawing from what was shown; that
    it was shown at all had a chance of its own, which impressions keep as `propensity`.

    Args:
        days: how long before the moment.
    """

    name = "shown"
    known = """
    SELECT article_id, day FROM staging.purchases
    UNION ALL
    SELECT article_id, CAST(event_time AS DATE) FROM raw.interactions
    WHERE kind IN ('impression', 'dismiss')
    """

    def __init__(self, n: int = FOR_NEUMF, days: int = 7) -> None:
        super().__init__(n)
        self.days = days

    def check(self, con: duckdb.DuckDBPyConnection) -> None:
        try:
            some = con.execute("FROM raw.interactions LIMIT 1").fetchone()
        except duckdb.CatalogException:
            some = None
        if some is None:
            raise NegativesError(
                "The warehouse has no interactions, of which the negatives 'shown' are drawn: load "
                "interactions, or choose another of " + ", ".join(sorted(NEGATIVES)) + "."
            )

    def pairs(self, asked: "Asked") -> Pairs:
        return asked.query(
            """
            WITH events AS (
                SELECT customer_id, article_id, event_time, kind IN ('impression', 'dismiss') AS passed
                FROM raw.interactions
                UNION ALL
                -- A purchase's time of day is not known: it may follow all that was seen that day.
                SELECT customer_id, article_id, CAST(day + 1 AS TIMESTAMP) - INTERVAL 1 MICROSECOND, false
                FROM staging.purchases
            )

            SELECT asked_group, article
            FROM asked_for AS asked
            INNER JOIN events USING (customer_id)
            INNER JOIN article_codes USING (article_id)
            WHERE
                event_time < CAST(asked.day AS TIMESTAMP)
                AND event_time >= CAST(asked.day - CAST($days AS INTEGER) AS TIMESTAMP)
            GROUP BY asked_group, article
            HAVING max(event_time) FILTER (passed)
                > coalesce(max(event_time) FILTER (NOT passed), TIMESTAMP '1900-01-01')
            """,
            days=self.days,
        )

    def pick(self, moment: Moment, pairs: Pairs, rng: np.random.Generator) -> Drawn:
        return _from_own(moment, pairs, self.n, rng)


NEGATIVES: dict[str, type[Negatives]] = {
    strategy.name: strategy
    for strategy in (
        LeaveOneOut,
        LeastSelling,
        RandomPerWeek,
        LastTransactions,
        PopularityWeighted,
        Shown,
    )
}

_DAYS_BEFORE_1970 = 719_163
"""From the year 1 on: seeds are not negative."""
_FAR = 10_000


@dataclass(frozen=True)
class Asked:
    """What positives there are, by moment.

    Attributes:
        con: the warehouse, with `asked_for` (asked_group, customer_id, day) and `article_codes`
            (article_id, article).
        articles: ids of all articles that may be drawn at any moment (A,), ascending.
        row: row numbers of the positives (P,), in order of group.
        group: of each (P,): one for a customer in a period, numbered in order of day.
        days: of each group (G,), days since 1970, ascending.
        sold: day, article and lines of what was sold, in order of day.
        barred: what each group buys.
    """

    con: duckdb.DuckDBPyConnection
    articles: np.ndarray
    row: np.ndarray
    group: np.ndarray
    days: np.ndarray
    sold: tuple[np.ndarray, ...]
    barred: Pairs

    def query(self, sql: str, **values: object) -> Pairs:
        """Columns asked_group and article of a query."""
        found = self.con.execute(sql, values).fetchnumpy()
        return Pairs.once(found["asked_group"], found["article"])

    def moments(self) -> Iterator[tuple[int, Moment, slice]]:
        """Each day, its moment, and its groups."""
        sold_on, article, lines = self.sold
        for day in np.unique(self.days):
            groups = slice(*np.searchsorted(self.days, [day, day + 1]))
            start, end = np.searchsorted(self.group, [groups.start, groups.stop])
            before = slice(*np.searchsorted(sold_on, [day - ON_SALE_DAYS, day]))
            sold = np.bincount(article[before], lines[before], len(self.articles))
            yield (
                int(day),
                Moment(
                    self.row[start:end],
                    self.group[start:end],
                    sold.astype("int64"),
                    self.barred.of(groups),
                ),
                groups,
            )


_SPAN = "WHERE day >= $first - CAST($days AS INTEGER) AND day < $last"


@contextmanager
def _asking(
    con: duckdb.DuckDBPyConnection,
    positives: pd.DataFrame,
    starts: Callable[[np.ndarray], np.ndarray],
    known: str,
) -> Iterator[Asked]:
    """The positives by group, while their tables stand in the warehouse."""
    day = starts(_days(positives))
    customer, names = pd.factorize(positives["customer_id"], sort=True)
    key = day * max(len(names), 1) + customer
    groups, first, group = np.unique(key, return_index=True, return_inverse=True)
    days = day[first]
    row = np.argsort(group, kind="stable")
    group = group[row]
    span = {
        "first": _date(days.min(initial=_FAR)),
        "last": _date(days.max(initial=-_FAR)),
        "days": ON_SALE_DAYS,
    }
    try:
        ids = con.execute(
            f"SELECT DISTINCT article_id FROM ({known}) {_SPAN} ORDER BY article_id", span
        ).fetchnumpy()["article_id"]
    except duckdb.CatalogException as error:
        raise NegativesError(
            "The warehouse has no purchases, of which articles on sale are known: load transactions and "
            "build features."
        ) from error
    articles = np.asarray(ids, dtype=object)
    tables = {
        "asked_for": {
            "asked_group": np.arange(len(groups)),
            "customer_id": pa.array(names[customer[first]].tolist(), pa.string()),
            "day": days.astype("datetime64[D]"),
        },
        "article_codes": {
            "article_id": pa.array(articles.tolist(), pa.string()),
            "article": np.arange(len(articles)),
        },
    }
    try:
        for name, table in tables.items():
            con.register(name, pa.table(table))
        sold = con.execute(
            f"""
            SELECT CAST(day - DATE '1970-01-01' AS BIGINT) AS day, article, CAST(sum(line_count) AS BIGINT)
            FROM staging.purchases
            INNER JOIN article_codes USING (article_id)
            {_SPAN}
            GROUP BY ALL
            ORDER BY ALL
            """,
            span,
        ).fetchnumpy()
        bought = pd.Index(articles).get_indexer(pd.Index(positives["article_id"].to_numpy()[row]))
        yield Asked(
            con,
            articles,
            row,
            group,
            days,
            tuple(np.asarray(column) for column in sold.values()),
            Pairs.once(group[bought >= 0], bought[bought >= 0]),
        )
    finally:
        for name in tables:
            con.unregister(name)


def _days(positives: pd.DataFrame) -> np.ndarray:
    """The day of each positive, in days since 1970."""
    missing = [name for name in COLUMNS[1:4] if name not in positives]
    if missing:
        raise NegativesError(f"Positives have no {' and no '.join(missing)}: give {COLUMNS[1:4]}.")
    empty = positives[COLUMNS[1:4]].isna().any(axis=1).to_numpy()
    if empty.any():
        raise NegativesError(
            f"Row {int(np.argmax(empty))} of the positives has an empty value: leave such rows out."
        )
    moments = pd.to_datetime(positives["day"], utc=True).dt.tz_localize(None)
    return moments.to_numpy("datetime64[D]").astype("int64")


def _date(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=int(day))


def _from_sale(
    weights: np.ndarray, group: np.ndarray, barred: Pairs, n: int, rng: np.random.Generator
) -> Drawn:
    """Draws of what all may be offered, by weight.

    What is barred is taken out of the line on which articles lie, as long as they weigh, and draws beyond it
    move on by its length: nothing is drawn in vain, however much is barred.

    Args:
        weights: whole numbers (A,), 0 for what is not to be drawn.
        group: of each positive (P,), ascending.
        n: draws of a positive. If all weigh the same they are of different articles.
    """
    places = np.flatnonzero(weights)
    weights = weights[places]
    alike = bool((weights == weights[:1]).all())
    if alike:
        weights = np.ones_like(weights)
    line = np.concatenate([[0], np.cumsum(weights)])
    at = np.searchsorted(places, barred.article)
    here = at < len(places)
    here[here] = places[at[here]] == barred.article[here]
    whose, at = barred.group[here], at[here]
    gone = np.concatenate([[0], np.cumsum(weights[at])])
    first = np.searchsorted(whose, group)
    left = line[-1] - (gone[np.searchsorted(whose, group, side="right")] - gone[first])  # P
    if alike:
        point, found = _different(left, n, rng)
    else:
        point = rng.integers(0, np.maximum(left, 1)[:, None], size=(len(group), n))
        found = np.broadcast_to(left[:, None] > 0, point.shape)
    # Where on a group's own line each barred article was cut out: P x n draws look up how many lie before.
    cut = line[at] - (gone[:-1] - gone[np.searchsorted(whose, whose)])
    span = line[-1] + 1
    passed = np.searchsorted(whose * span + cut, group[:, None] * span + point, side="right")
    point = point + gone[passed] - gone[first][:, None]
    rank = np.sort(np.where(found, np.searchsorted(line, point, side="right") - 1, -1), axis=1)
    found = rank >= 0
    found[:, 1:] &= rank[:, 1:] != rank[:, :-1]
    position, _ = np.nonzero(found)
    rank = rank[found]
    with np.errstate(divide="ignore"):
        if alike:
            chance = np.minimum(n / left[position], 1.0)
        else:
            chance = -np.expm1(n * np.log1p(-weights[rank] / left[position]))
    return Drawn(position, places[rank], np.log(chance))


def _different(left: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`n` different whole numbers below each of `left`, every set as likely (Floyd; Bentley, CACM 1987).

    Returns:
        P x n, and which of them there are: no more than `left`.
    """
    chosen = np.full((len(left), n), -1, dtype="int64")
    count = np.minimum(left, n)
    for step in range(n):
        last = left - count + step
        found = step < count
        point = rng.integers(0, np.where(found, last, 0) + 1)
        again = (chosen[:, :step] == point[:, None]).any(axis=1)
        chosen[:, step] = np.where(found, np.where(again, last, point), -1)
    return chosen, chosen >= 0


def _from_own(moment: Moment, pairs: Pairs, n: int, rng: np.random.Generator) -> Drawn:
    """`n` different ones of a list that each group has of its own, each as likely."""
    span = len(moment.sold)
    key = pairs.group * span + pairs.article
    may = ~np.isin(key, moment.barred.group * span + moment.barred.article)
    whose, article = pairs.group[may], pairs.article[may]
    first = np.searchsorted(whose, moment.group)
    own = np.searchsorted(whose, moment.group, side="right") - first
    point, found = _different(own, n, rng)
    position, _ = np.nonzero(found)
    chance = np.minimum(n / own[position], 1.0)
    return Drawn(position, article[first[position] + point[found]], np.log(chance))
