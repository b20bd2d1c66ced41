"""What every retriever is: fitted on what was known before a day, it names candidates for customers.

A retriever keeps only what it learnt of articles. What it needs to know of a customer comes in as a
row of the feature service `customer_state`, read as of the moment in evaluation and from the online
store in serving, so both run the same code on the same values.

Inside, articles are places in an `Assortment` and customers are positions, so that one request costs
microseconds and thousands of customers are a few matrix products.
"""

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from feature_repo import places
from feature_repo.windows import DECAY_DAYS
from pipelines.assortment import Assortment
from pipelines.columns import Columns, SameTable, Table, taken

STATE_SERVICE = "customer_state"
COLUMNS = ["customer_id", "article_id", "score", "rank"]
FUSION = 60.0
"""How slowly a rank loses weight where ranks of several sources are put together: reciprocal rank fusion
(Cormack, Clarke and Buettcher, SIGIR 2009), with its customary constant."""
EVENT_WEIGHTS = {"view": 0.3, "cart": 0.7, "purchase": 1.0}
"""How much an event says, beside a purchase. What was dismissed says nothing."""
DISMISS, PURCHASE = "dismiss", "purchase"


class History(NamedTuple):
    """What customers bought, a row for each customer and article, in order of customers.

    Attributes:
        customer: position of the customer (R,).
        article: place of the article (R,).
        age: days since the customer last bought it (R,).
        times: lines bought (R,).
        weight: lines bought, each decayed by exp(-age / 30 days) to now (R,).
    """

    customer: np.ndarray
    article: np.ndarray
    age: np.ndarray
    times: np.ndarray
    weight: np.ndarray


class Session(NamedTuple):
    """What customers did last, a row for each event, newest first.

    Attributes:
        customer: position of the customer (R,).
        article: place of the article (R,).
        kind: view, cart, purchase or dismiss (R,).
        age: days since the event (R,).
    """

    customer: np.ndarray
    article: np.ndarray
    kind: np.ndarray
    age: np.ndarray

    @property
    def says(self) -> np.ndarray:
        """How much each event says by its kind (R,); of an article that was waved away since, none says anything."""
        says = np.array([EVENT_WEIGHTS.get(kind, 0.0) for kind in self.kind], dtype="float64")
        if (self.kind == DISMISS).any():
            says[self.last == DISMISS] = 0.0
        return says

    @property
    def last(self) -> np.ndarray:
        """What each event's customer did last with its article (R,)."""
        pair = self.customer * (self.article.max(initial=0) + 1) + self.article
        _, newest, which = np.unique(pair, return_index=True, return_inverse=True)
        return np.asarray(self.kind[newest[which]])


class Proposals(NamedTuple):
    """Candidates, in order of customer and rank.

    Attributes:
        customer: position of the customer (M,).
        article: place of the article (M,).
        score: higher is better (M,), float64.
        rank: from 1 for each customer (M,).
    """

    customer: np.ndarray
    article: np.ndarray
    score: np.ndarray
    rank: np.ndarray


_HISTORY = """
WITH pairs AS (
    SELECT
        customer_id,
        article,
        min($cutoff - day) AS age,
        sum(line_count) AS times,
        -- Exact sums: those of DOUBLEs would depend on how rows are shared among threads.
        sum(CAST(line_count * exp(-($cutoff - day) / $decay) AS DECIMAL(18, 12))) AS weight
    FROM staging.purchases
    INNER JOIN places USING (article_id)
    WHERE day < $cutoff AND day >= $cutoff - CAST($days AS INTEGER)
    GROUP BY customer_id, article
)

SELECT
    CAST(dense_rank() OVER (ORDER BY customer_id) - 1 AS INTEGER) AS customer,
    CAST(article AS INTEGER) AS article,
    CAST(age AS FLOAT) AS age,
    CAST(times AS FLOAT) AS times,
    CAST(weight AS FLOAT) AS weight
FROM pairs
ORDER BY customer, article
"""


@dataclass(frozen=True)
class Past:
    """What retrievers learn from: the warehouse as it was on `cutoff` 00:00 UTC.

    Attributes:
        con: an open connection; whoever reads takes days strictly before `cutoff`.
        assortment: the articles known then.
        progress: told how far a long fit is.
    """

    con: duckdb.DuckDBPyConnection
    cutoff: date
    assortment: Assortment
    progress: Callable[[str], None] = lambda text: None

    @classmethod
    def at(
        cls,
        con: duckdb.DuckDBPyConnection,
        cutoff: date,
        progress: Callable[[str], None] = lambda text: None,
    ) -> "Past":
        past = cls(con, cutoff, Assortment.at(con, cutoff), progress)
        table = pa.table(
            {
                "article_id": pa.array(past.assortment.ids.tolist(), pa.string()),
                "article": np.arange(len(past.assortment), dtype="int32"),
            }
        )
        con.register("arriving_places", table)
        con.execute(f"CREATE OR REPLACE TEMP TABLE {past._places} AS FROM arriving_places")
        con.unregister("arriving_places")
        return past

    @property
    def _places(self) -> str:
        return f"places_{self.assortment.digest[:16]}"

    def query(self, sql: str, **values: object) -> dict[str, np.ndarray]:
        """The columns that a query gives, as arrays; `$cutoff` is the cutoff, and `places` (article_id,
        article) the assortment's articles with their places."""
        # A connection may have seen several pasts: each query sees the places of its own.
        self.con.execute(f"CREATE OR REPLACE TEMP VIEW places AS FROM {self._places}")
        used = {"cutoff": self.cutoff, **values}
        found = self.con.execute(sql, {n: v for n, v in used.items() if f"${n}" in sql})
        return {name: np.asarray(column) for name, column in found.fetchnumpy().items()}

    def history(self, days: int) -> History:
        """All pairs of customer and article bought in the last `days` days, customers numbered from 0."""
        found = self.query(_HISTORY, days=days, decay=DECAY_DAYS)
        return History(*(found[name] for name in History._fields))


@dataclass(frozen=True)
class Asked:
    """Of whom candidates are asked: rows of `customer_state`, and the moment (UTC)."""

    state: Table
    moment: datetime
    _known: dict[tuple[str, str], Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, state: Table, moment: datetime) -> Self:
        """The same for one request, in which several ask it: what the first has read of the lists stays."""
        if not isinstance(state, Columns):
            return cls(state, moment)
        # What was read, and not this: else each would hold the other.
        return cls(state, moment, state.memo.setdefault(moment, {}))

    def __len__(self) -> int:
        return len(self.state)

    @cached_property
    def customers(self) -> np.ndarray:
        """Customer ids (N,)."""
        return np.asarray(self.state["customer_id"])

    def positions(self, pairs: Table) -> np.ndarray:
        """The position of each pair's customer (R,), -1 of one who is not asked about."""
        if len(self) == 1:
            # An index of pandas costs more than the rest of a request for one.
            return np.where(np.asarray(pairs["customer_id"]) == self.customers[0], 0, -1)
        return pd.Index(self.customers).get_indexer(pd.Index(pairs["customer_id"]))

    def history(self, assortment: Assortment) -> History:
        """What they bought of the assortment's articles."""
        key = ("history", assortment.digest)
        if key not in self._known:
            lists = recent_lists(self.state)
            place = assortment.places(lists["article_id"])
            age = days_since_epoch(self.moment) - lists["day"].astype("float64")
            weight = lists["weight"].astype("float64") * np.exp(-age / DECAY_DAYS)
            known = place >= 0
            columns = (lists["customer"], place, age, lists["times"].astype("float64"), weight)
            self._known[key] = History(*(column[known] for column in columns))
        found: History = self._known[key]
        return found

    def session(self, assortment: Assortment) -> Session:
        """What they did last with the assortment's articles."""
        key = ("session", assortment.digest)
        if key not in self._known:
            lists = session_lists(self.state)
            place = assortment.places(lists["article_id"])
            now = self.moment.astimezone(UTC).timestamp()
            age = (now - lists["moment"].astype("float64") / 1e6) / 86_400
            known = (place >= 0) & (age >= 0)
            columns = (lists["customer"], place, lists["kind"], age)
            self._known[key] = Session(*(column[known] for column in columns))
        found: Session = self._known[key]
        return found


_RECENT = {"article_id": "articles", "day": "days", "times": "times", "weight": "weights"}
_SESSION = {"article_id": "articles", "kind": "kinds", "moment": "moments"}


class Retriever(ABC):
    """From all articles to the likely ones.

    Subclasses take their settings as keyword arguments of `__init__`, so that the model catalogue
    can list them and a version can record them. What they propose is on sale at the cutoff.
    """

    name: ClassVar[str]
    assortment: Assortment = Assortment.empty()

    @abstractmethod
    def fit(self, past: Past) -> Self:
        """Learn from what was known at the cutoff, and keep its assortment."""

    @abstractmethod
    def propose(self, asked: Asked, k: int) -> Proposals:
        """At most k articles on sale for each customer that is asked about."""

    def candidates(self, state: pd.DataFrame, moment: datetime, k: int) -> pd.DataFrame:
        """At most k articles for each customer, as a table.

        Args:
            state: rows of the service `customer_state`, one per customer.
            moment: when the question is asked (UTC).
            k: at most so many for each customer.

        Returns:
            customer_id, article_id, score (higher is better) and rank (from 1), in order of customer_id
            and rank.

        Raises:
            ValueError: k is below 0.
        """
        if k < 0:
            raise ValueError(f"k is {k}: how many candidates a customer may get, 0 or more.")
        asked = Asked(state, moment)
        found = self.propose(asked, k)
        order = np.argsort(asked.customers.astype(str)[found.customer], kind="stable")
        return pd.DataFrame(
            {
                "customer_id": asked.customers[found.customer[order]],
                "article_id": self.assortment.ids[found.article[order]],
                "score": found.score[order],
                "rank": found.rank[order],
            },
            columns=COLUMNS,
        )

    def because(self, asked: Asked, pairs: Table) -> list[str | None]:
        """The article of the customer's own that most led to each pair, None where none did.

        Args:
            asked: as for `propose`.
            pairs: customer_id, article_id.
        """
        return [None] * len(pairs)

    @abstractmethod
    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        """Why it named an article, as a sentence for the customer.

        Args:
            row: a recommendation with the columns that the ranker saw; any may be missing.
            led_by: the name of the article that `because` gave.
        """

    def settings(self) -> dict[str, Any]:
        """What it was made with."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def checkpoint(self, past: Past) -> Path:
        """Where a long training that is killed leaves how far it came, for the next with these settings."""
        said = json.dumps(self.settings(), sort_keys=True, default=str)
        digest = hashlib.sha256(said.encode()).hexdigest()[:12]
        return places.home() / "training" / f"{self.name}-{past.cutoff}-{digest}.pt"

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything that `load` needs into the folder, without pickle."""

    @abstractmethod
    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""


def days_since_epoch(moment: datetime) -> float:
    """Days from 1970-01-01 00:00 UTC to the moment, with fractions."""
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / 86_400


def recent_purchases(state: Table) -> pd.DataFrame:
    """The lists of `customer_recent` as rows, in order.

    Returns:
        customer (position in `state`), article_id, day (since 1970-01-01), times, weight.
    """
    return pd.DataFrame(recent_lists(state))


def recent_lists(state: Table) -> dict[str, np.ndarray]:
    """The columns of `recent_purchases`."""
    return _lists(state, "customer_recent__recent_", _RECENT)


def session_lists(state: Table) -> dict[str, np.ndarray]:
    """The lists of `customer_session` one after the other: customer (position in `state`), article_id, kind and
    moment (microseconds since 1970)."""
    return _lists(state, "customer_session__session_", _SESSION)


def _lists(state: Table, prefix: str, columns: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Lists that go together by position, one after the other, with `customer` (position in `state`)."""
    lists = {ours: state[f"{prefix}{theirs}"].tolist() for ours, theirs in columns.items()}
    sizes = [0 if _missing(found) else len(found) for found in lists["article_id"]]
    flat: dict[str, np.ndarray] = {"customer": np.repeat(np.arange(len(state)), sizes)}
    for name, found in lists.items():
        kept = [np.asarray(values) for values in found if not _missing(values)]
        empty = np.array([], dtype=object if name in ("article_id", "kind") else "float64")
        flat[name] = np.concatenate(kept) if kept else empty
    return flat


def _missing(values: object) -> bool:
    return values is None or isinstance(values, float)


def ranked(customer: np.ndarray, article: np.ndarray, score: np.ndarray, k: int) -> Proposals:
    """Each customer's k best by score; equal scores in order of place.

    Args:
        customer: positions (R,), in any order.
        article: places (R,), each once for a customer.
        score: (R,).
    """
    order = np.lexsort((article, -score, customer))
    whose = customer[order]
    rank = np.arange(1, len(order) + 1)
    if len(order) and whose[0] != whose[-1]:
        starts = np.flatnonzero(whose[1:] != whose[:-1]) + 1
        rank[starts[0] :] -= np.repeat(starts, np.append(starts[1:], len(order)) - starts)
    if len(order) > k:
        best = rank <= k
        order, rank = order[best], rank[best]
    return Proposals(customer[order], article[order], score[order].astype("float64"), rank)


def best_of_each(scores: np.ndarray, places: np.ndarray, k: int) -> Proposals:
    """The k best columns of each row of a dense matrix; minus infinity is no candidate.

    Args:
        scores: N x S.
        places: which article each column is (S,), ascending.
    """
    count = min(k, scores.shape[1])
    if not count or not len(scores):
        return NOTHING
    wanted = np.isfinite(scores)
    if count < scores.shape[1]:
        # All that are as good as the last one, so that of equal ones the first are kept.
        wanted &= scores >= np.partition(scores, -count, axis=1)[:, [-count]]
    customer, column = np.nonzero(wanted)
    return ranked(customer, places[column], scores[wanted], k)


def best_of_sparse(scores: sparse.csr_matrix, on_sale: np.ndarray, k: int) -> Proposals:
    """The k best stored values of each row of a sparse matrix, of articles on sale.

    Args:
        scores: N x A.
        on_sale: which columns count (A,).
    """
    counts = on_sale[scores.indices]
    # What cannot be among the best is left out before anything is sorted.
    for row in np.flatnonzero(np.diff(scores.indptr) > k):
        stretch = slice(scores.indptr[row], scores.indptr[row + 1])
        values = scores.data[stretch][counts[stretch]]
        if len(values) > k:
            counts[stretch] &= scores.data[stretch] >= np.partition(values, -k)[-k]
    customer = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    return ranked(customer[counts], scores.indices[counts].astype("int64"), scores.data[counts], k)


class Weights(NamedTuple):
    """How much rows of a matrix count for customers; a row may come several times, and then its sum counts.

    Attributes:
        customer: position of the customer (R,).
        row: of the matrix (R,).
        weight: (R,).
    """

    customer: np.ndarray
    row: np.ndarray
    weight: np.ndarray

    def matrix(self, customers: int, rows: int) -> sparse.csr_matrix:
        """customers x rows."""
        return sparse.csr_matrix((self.weight, (self.customer, self.row)), (customers, rows))


def best_of_sums(
    weights: Weights,
    customers: int,
    matrix: sparse.csr_matrix,
    on_sale: np.ndarray,
    k: int,
    *,
    rows_too: bool = True,
) -> Proposals:
    """Each customer's k best articles by the sum of their rows of a matrix, each times its weight.

    Args:
        customers: N, how many are asked about.
        matrix: rows x A.
        on_sale: which columns count (A,).
        rows_too: whether a customer's rows may be among their best, where the matrix is A x A.
    """
    if customers != 1:
        # Of another type than the matrix, scipy would convert the whole matrix.
        counts = weights.matrix(customers, matrix.shape[0]).astype(matrix.dtype)
        scores = counts @ matrix
        if rows_too:
            return best_of_sparse(scores, on_sale, k)
        most = int(np.bincount(weights.customer).max(initial=0))
        best = best_of_sparse(scores, on_sale, k + most)
        return without(best, weights.customer, weights.row, k)
    # For one, making sparse matrices costs more than what is in them.
    cells, sizes = cells_of(matrix, weights.row)
    value = matrix.data[cells] * np.repeat(weights.weight, sizes)
    scores = np.bincount(matrix.indices[cells], value, matrix.shape[1])
    if not rows_too:
        scores[weights.row] = 0
    article = np.flatnonzero(scores != 0)  # of truth values it is ten times as quick
    article = article[on_sale[article]]
    found = scores[article]
    if len(found) > k:
        article = article[found >= np.partition(found, -k)[-k]]
    return ranked(np.zeros(len(article), dtype="int64"), article, scores[article], k)


def cells_of(matrix: sparse.csr_matrix, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the values of these rows stand in the matrix, one row after the other, and how many each has."""
    starts = matrix.indptr[rows]
    sizes = matrix.indptr[rows + 1] - starts
    return np.arange(sizes.sum()) + np.repeat(starts - (np.cumsum(sizes) - sizes), sizes), sizes


def without(found: Proposals, customer: np.ndarray, article: np.ndarray, k: int) -> Proposals:
    """Each customer's k best of what was found that are none of these pairs.

    Args:
        customer: positions (R,).
        article: places (R,).
    """
    span = 1 + max(found.article.max(initial=0), article.max(initial=0))
    left = ~np.isin(found.customer * span + found.article, customer * span + article)
    return ranked(found.customer[left], found.article[left], found.score[left], k)


NOTHING = Proposals(
    np.array([], dtype="int64"),
    np.array([], dtype="int64"),
    np.array([], dtype="float64"),
    np.array([], dtype="int64"),
)


def top(rows: SameTable, k: int) -> SameTable:
    """Each customer's k best rows by score, ranked; equal scores in order of article id.

    Args:
        rows: customer_id, article_id, score, and any others, which are kept.
    """
    score = np.asarray(rows["score"], dtype="float64")
    if isinstance(rows, Columns) and _is_in_order(rows):
        order = np.argsort(-score, kind="stable")[:k]
        return rows.take(order).assign(rank=np.arange(1, len(order) + 1))
    # The order is found on codes, so that only the rows that stay are copied.
    customer, _ = pd.factorize(rows["customer_id"], sort=True)
    article, _ = pd.factorize(rows["article_id"], sort=True)
    order = np.lexsort((article, -score, customer))
    ordered = customer[order]
    rank = np.arange(len(rows)) - np.searchsorted(ordered, ordered) + 1
    best = rank <= k
    return taken(rows, order[best]).assign(rank=rank[best])


def _is_in_order(rows: Columns) -> bool:
    """Whether they are of one customer, and in order of article id."""
    if not len(rows):
        return True
    customer, article = rows.coded("customer_id"), rows.coded("article_id")
    # The names of articles are in order, so their numbers say it too.
    return (
        customer is not None
        and article is not None
        and customer.is_one
        and bool((article.codes[:-1] <= article.codes[1:]).all())
    )


def largest(matrix: sparse.csr_matrix, k: int) -> sparse.csr_matrix:
    """Of each row of the matrix its k largest values; of equal ones those of the first columns."""
    kept = np.ones(matrix.nnz, dtype=bool)
    for row in np.flatnonzero(np.diff(matrix.indptr) > k):
        stretch = slice(matrix.indptr[row], matrix.indptr[row + 1])
        values = matrix.data[stretch]
        least = np.partition(values, -k)[-k]
        chosen = values > least
        ties = np.flatnonzero(values == least)
        by_column = np.argsort(matrix.indices[stretch][ties])
        chosen[ties[by_column[: k - np.count_nonzero(chosen)]]] = True
        kept[stretch] = chosen
    starts = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    found = sparse.csr_matrix((matrix.data[kept], matrix.indices[kept], starts), matrix.shape)
    found.sort_indices()
    return found
