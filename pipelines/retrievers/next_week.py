"""What the networks share that learn from customers' weeks what comes next: the examples, and the way from
a customer's articles to scores of those on sale."""

import math
from abc import abstractmethod
from pathlib import Path
from typing import Generic, NamedTuple, Self, TypeVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from feature_repo.windows import DECAY_DAYS, RECENT_ARTICLES
from pipelines.assortment import Assortment
from pipelines.neural.training import Examples, Loss, TrainingSettings, process_count, seeded, train
from pipelines.neural.weights import load_network, save_network
from pipelines.retrievers.base import NOTHING, Asked, Past, Proposals, Retriever, best_of_each

_BLOCK = 1_000
"""Customers scored at a time: what bounds the memory of a batch."""
_SHORT = 1_000
"""Steps of a training that is not worth a file to go on from."""
_WIDTHS = (16, 128)
_EPOCHS = (4, 60)
_LEAST = 1e-6
"""A weight that is as good as none: that of a purchase more than a year ago."""
_RECENCY_DAYS = 60.0
"""Time in which the weight of an example falls to 1/e."""


_WEEKS = """
CREATE OR REPLACE TEMP TABLE shopping_weeks AS
WITH firsts AS (
    SELECT customer_id, min(day) AS first_day
    FROM staging.purchases
    INNER JOIN places USING (article_id)
    WHERE day < $cutoff
    GROUP BY customer_id
),

weeks AS (
    SELECT DISTINCT
        customer_id, $cutoff - 7 * CAST(1 + (($cutoff - 1) - day) // 7 AS INTEGER) AS start
    FROM staging.purchases
    INNER JOIN places USING (article_id)
    WHERE day < $cutoff AND day >= $cutoff - 7 * CAST($weeks AS INTEGER)
),

-- Weeks before which nothing is known teach nothing.
known AS (
    SELECT customer_id, start
    FROM weeks
    INNER JOIN firsts USING (customer_id)
    WHERE first_day < start
    ORDER BY start DESC, customer_id
    LIMIT $most
)

SELECT customer_id, start, row_number() OVER (ORDER BY start DESC, customer_id) - 1 AS week
FROM known
"""

_BOUGHT = """
SELECT DISTINCT CAST(week AS INTEGER) AS week, CAST(article AS INTEGER) AS article
FROM staging.purchases
INNER JOIN places USING (article_id)
INNER JOIN shopping_weeks USING (customer_id)
WHERE day >= start AND day < start + 7
ORDER BY week, article
"""

_BEFORE = """
WITH pairs AS (
    SELECT
        week,
        article,
        max(day) AS last_day,
        -- Exact sums: those of DOUBLEs would depend on how rows are shared among threads.
        sum(CAST(line_count * exp(-(start - day) / $decay) AS DECIMAL(18, 12))) AS weight
    FROM staging.purchases
    INNER JOIN places USING (article_id)
    INNER JOIN shopping_weeks USING (customer_id)
    WHERE day < start
    GROUP BY week, article
)

SELECT
    CAST(week AS INTEGER) AS week, CAST(article AS INTEGER) AS article, CAST(weight AS FLOAT) AS weight
FROM pairs
QUALIFY row_number() OVER (PARTITION BY week ORDER BY last_day DESC, article) <= $length
ORDER BY week, article
"""

_SOLD = """
SELECT
    CAST(article AS INTEGER) AS article,
    CAST(sum(CAST(exp(-($cutoff - day) / $decay) AS DECIMAL(18, 12))) AS DOUBLE) AS sold
FROM staging.purchases
INNER JOIN places USING (article_id)
WHERE day < $cutoff AND day >= $cutoff - 7 * CAST($weeks AS INTEGER)
GROUP BY article
ORDER BY article
"""


class ShoppingWeeks(NamedTuple):
    """Weeks in which customers bought who had bought before, the newest first.

    What is known of a week's customer is strictly before the week, and as much of it as
    `customer_recent` remembers.

    Attributes:
        customer: customer ids (W,).
        start: first days (W,), datetime64.
        weight: what an example counts, exp(-days from its first day to the cutoff / 60) (W,), float32.
        bought: articles bought in the week, 1 for each (W x V).
        before: articles bought before it, each line decayed by exp(-age / 30 days) to the week's first
            day (W x V).
    """

    customer: np.ndarray
    start: np.ndarray
    weight: np.ndarray
    bought: sparse.csr_matrix
    before: sparse.csr_matrix


class Rows(NamedTuple):
    """Rows of a sparse matrix, none of them empty, one after the other.

    For a request, making a sparse matrix of scipy costs more than what is done with it.

    Attributes:
        starts: where each row begins (N,).
        column: (R,).
        value: (R,).
    """

    starts: np.ndarray
    column: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, matrix: sparse.csr_matrix) -> "Rows":
        return cls(matrix.indptr[:-1], matrix.indices, matrix.data)

    @property
    def row(self) -> np.ndarray:
        """Which row each column stands in (R,)."""
        row = np.zeros(len(self.column), dtype="int64")
        row[self.starts[1:]] = 1
        return np.cumsum(row)

    def times(self, table: np.ndarray) -> np.ndarray:
        """The product with a matrix of D columns (N x D)."""
        return np.asarray(
            np.add.reduceat(table[self.column] * self.value[:, None], self.starts, axis=0)
        )

    def as_shares(self) -> "Rows":
        """Each row divided by its sum, in float32."""
        weight = np.maximum(self.value, _LEAST)
        total = np.add.reduceat(weight, self.starts)
        return self._replace(value=(weight / total[self.row]).astype("float32"))

    def of_length_one(self) -> "Rows":
        """Each row divided by its length, in float32."""
        length = np.sqrt(np.add.reduceat(self.value.astype("float64") ** 2, self.starts))
        return self._replace(value=(self.value / length[self.row]).astype("float32"))


class Own(nn.Module):
    """What an article gains from being the customer's own: a + b x log of its decayed weight.

    A few numbers between input and output cannot tell a customer's articles from their like; this can, and
    leaves to the network what comes in addition. It starts from what is usual, and is learnt.
    """

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Parameter(torch.tensor([2.0, 0.5]))

    def forward(self, weight: Tensor) -> Tensor:
        """Weights, 0 where an article is not the customer's own, of any shape -> the same shape."""
        gained = self.line[0] + self.line[1] * weight.clamp_min(_LEAST).log()
        return torch.where(weight > 0, gained, 0.0)


class WithOwn(nn.Module):
    """A network of articles with a term for the customer's own."""

    def __init__(self) -> None:
        super().__init__()
        self.own = Own()


Network = TypeVar("Network", bound=WithOwn)


class NextWeek(Retriever, Generic[Network]):
    """A network that foretells a customer's next week from what they bought until now.

    It knows the V articles that sold most of late; what else customers bought is left out, and those of
    whom nothing is left get no candidates. Before it has learnt anything it names what sold of late, the
    customer's own first.

    Args:
        weeks: look-back in weeks of the purchases to foretell.
        examples: weeks of customers to learn from, at most, the newest.
        articles: V, at most.
        most_offered: how many articles it scores for a customer, those on sale that sold most of late.
        steps: of training, about; but every example is seen at least 4 times and at most 60 times.
        batch_size: weeks of a step.
        learning_rate: of AdamW.
        seed: of weights, order and draws.
    """

    def __init__(
        self,
        weeks: int,
        examples: int,
        articles: int,
        most_offered: int,
        steps: int,
        batch_size: int,
        learning_rate: float,
        seed: int,
    ) -> None:
        self.weeks = weeks
        self.examples = examples
        self.articles = articles
        self.most_offered = most_offered
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.seed = seed
        self.known = np.array([], dtype="int64")
        """Places of the articles that it knows, ascending (V,)."""
        self.sold = np.array([], dtype="float64")
        """The share of each in what sold of late (V,)."""
        self.column_of = np.array([], dtype="int64")
        """Which of those each place of the assortment is, -1 if none (A,)."""
        self.width = _WIDTHS[0]
        self.offered = np.array([], dtype="int64")
        """Which of the known articles it scores, ascending (S,)."""
        self._own = np.zeros(2, dtype="float32")
        self.network: Network | None = None
        """None while no article is known."""

    @abstractmethod
    def make(self) -> Network:
        """A network for the known articles, of this width."""

    @abstractmethod
    def start(self, network: Network) -> None:
        """Let the network's scores be the logarithms of `sold`."""

    @abstractmethod
    def lesson(self, past: Past, found: ShoppingWeeks, steps: int) -> tuple[Loss, Examples]:
        """What to learn in so many steps, of weeks that have something on both sides."""

    @abstractmethod
    def ready(self, network: Network) -> None:
        """Take from the network what a request needs: the scores of the articles `offered`."""

    @abstractmethod
    def scores(self, shares: Rows) -> np.ndarray:
        """Scores of the articles `offered` (N x S) for N customers' shares of the articles they bought."""

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        sold = past.query(_SOLD, weeks=self.weeks, decay=DECAY_DAYS)
        best = np.sort(np.argsort(-sold["sold"], kind="stable")[: self.articles])
        self._know(sold["article"][best].astype("int64"), sold["sold"][best])
        found = self.weeks_before(past)
        # Twice the width for eight times the purchases.
        width = 2.0 ** round(1 + np.log2(max(1, found.bought.nnz)) / 3)
        self.width = int(np.clip(width, *_WIDTHS))
        self.network = None
        if not len(self.known):
            return self
        with seeded(self.seed):
            network = self.make()
        self.start(network)
        if len(found.weight):
            of_an_epoch = math.ceil(len(found.weight) / self.batch_size / process_count())
            epochs = int(np.clip(self.steps // of_an_epoch, *_EPOCHS))
            loss, examples = self.lesson(past, found, epochs * of_an_epoch)
            settings = TrainingSettings(epochs, self.batch_size, self.learning_rate, seed=self.seed)
            long = epochs * of_an_epoch > _SHORT
            checkpoint = self.checkpoint(past) if long else None
            train(network, loss, examples, settings, checkpoint=checkpoint, progress=past.progress)
        self._serve(network)
        return self

    def _serve(self, network: Network) -> None:
        self.network = network
        on_sale = np.flatnonzero(self.assortment.on_sale[self.known])
        best = np.argsort(-self.sold[on_sale], kind="stable")[: self.most_offered]
        self.offered = np.sort(on_sale[best])
        self._offer_of = np.full(len(self.known), -1)
        self._offer_of[self.offered] = np.arange(len(self.offered))
        self._own = network.own.line.detach().numpy()
        self.ready(network)

    def all_scores(self, bought: Rows) -> np.ndarray:
        """What the network says with the customer's own (N x S), of decayed weights by known article."""
        found = self.scores(bought.as_shares())
        column = self._offer_of[bought.column]
        own = np.flatnonzero(column >= 0)
        weight = np.maximum(bought.value[own], _LEAST)
        found[bought.row[own], column[own]] += self._own[0] + self._own[1] * np.log(weight)
        return found

    def _know(self, places: np.ndarray, sold: np.ndarray) -> None:
        self.known = places
        self.sold = sold / max(1e-12, sold.sum())
        self.column_of = np.full(len(self.assortment), -1)
        self.column_of[places] = np.arange(len(places))

    def weeks_before(self, past: Past) -> ShoppingWeeks:
        """The examples, of articles that are known."""
        past.query(_WEEKS, weeks=self.weeks, most=self.examples)
        try:
            weeks = past.query(
                "SELECT customer_id, start, $cutoff - start AS age FROM shopping_weeks ORDER BY week"
            )
            bought = past.query(_BOUGHT)
            before = past.query(_BEFORE, decay=DECAY_DAYS, length=RECENT_ARTICLES)
        finally:
            past.con.execute("DROP TABLE shopping_weeks")
        count = len(weeks["start"])
        next_bought = self._matrix(
            bought["week"], bought["article"], np.ones(len(bought["week"])), count
        )
        known_before = self._matrix(before["week"], before["article"], before["weight"], count)
        useful = (np.diff(next_bought.indptr) > 0) & (np.diff(known_before.indptr) > 0)
        return ShoppingWeeks(
            weeks["customer_id"][useful],
            weeks["start"][useful],
            np.exp(-weeks["age"][useful] / _RECENCY_DAYS).astype("float32"),
            next_bought[useful],
            known_before[useful],
        )

    def _matrix(
        self, row: np.ndarray, article: np.ndarray, weight: np.ndarray, rows: int
    ) -> sparse.csr_matrix:
        """Weights by row and known article (rows x V)."""
        column = self.column_of[article]
        there = column >= 0
        found = sparse.csr_matrix(
            (weight[there].astype("float32"), (row[there], column[there])), (rows, len(self.known))
        )
        found.sort_indices()
        return found

    def propose(self, asked: Asked, k: int) -> Proposals:
        history = asked.history(self.assortment)
        column = self.column_of[history.article]
        there = np.flatnonzero(column >= 0)
        # Nothing is said of those of whom nothing is known.
        whose = history.customer[there]
        first = np.flatnonzero(np.append(len(there) > 0, whose[1:] != whose[:-1]))
        parts = []
        for start in range(0, len(first), _BLOCK):
            starts = first[start : start + _BLOCK]
            end = first[start + _BLOCK] if start + _BLOCK < len(first) else len(there)
            here = there[starts[0] : end]
            rows = Rows(starts - starts[0], column[here], history.weight[here].astype("float32"))
            best = best_of_each(self.all_scores(rows), self.known[self.offered], k)
            parts.append(best._replace(customer=whose[starts][best.customer]))
        if not parts:
            return NOTHING
        if len(parts) == 1:
            return parts[0]
        return Proposals(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def save(self, folder: Path) -> None:
        self.assortment.save(folder)
        np.savez(folder / "known.npz", known=self.known, sold=self.sold, width=self.width)
        if self.network is not None:
            save_network(self.network, folder / "network.safetensors")

    def load(self, folder: Path) -> Self:
        self.assortment = Assortment.load(folder)
        with np.load(folder / "known.npz", allow_pickle=False) as saved:
            self._know(saved["known"], saved["sold"])
            self.width = int(saved["width"])
        if len(self.known):
            self._serve(load_network(self.make(), folder / "network.safetensors"))
        return self
