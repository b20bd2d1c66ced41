"""What the networks share that learn from customers' weeks what comes next: the examples, and the way from
a customer's articles to scores of those on sale."""

import math
from abc import abstractmethod
from pathlib import Path
from typing import Generic, NamedTuple, Self, TypeVar

import numpy as np
from scipy import sparse
from torch import nn

from feature_repo.windows import DECAY_DAYS, RECENT_ARTICLES
from pipelines.assortment import Assortment
from pipelines.neural.training import Examples, Loss, TrainingSettings, seeded, train
from pipelines.neural.weights import load_network, save_network
from pipelines.retrievers.base import NOTHING, Asked, Past, Proposals, Retriever, best_of_each

_BLOCK = 1_000
"""Customers scored at a time: what bounds the memory of a batch."""
_WIDTHS = (16, 128)
_EPOCHS = (4, 60)

Network = TypeVar("Network", bound=nn.Module)

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
        days_ago: days from the week's first day to the cutoff (W,).
        bought: articles bought in the week, 1 for each (W x V).
        before: articles bought before it, each line decayed by exp(-age / 30 days) to the week's first
            day (W x V).
    """

    days_ago: np.ndarray
    bought: sparse.csr_matrix
    before: sparse.csr_matrix


class NextWeek(Retriever, Generic[Network]):
    """A network that foretells a customer's next week from what they bought until now.

    It knows the V articles that sold most of late; what else customers bought is left out, and those of
    whom nothing is left get no candidates. Before it has learnt anything its scores are what sold of late.

    Args:
        weeks: look-back in weeks of the purchases to foretell.
        examples: weeks of customers to learn from, at most, the newest.
        articles: V, at most.
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
        steps: int,
        batch_size: int,
        learning_rate: float,
        seed: int,
    ) -> None:
        self.weeks = weeks
        self.examples = examples
        self.articles = articles
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
        self.network: Network | None = None
        """None while no article is known."""

    @abstractmethod
    def make(self) -> Network:
        """A network for the known articles, of this width."""

    @abstractmethod
    def start(self, network: Network) -> None:
        """Let the network's scores be the logarithms of `sold`."""

    @abstractmethod
    def lesson(self, found: ShoppingWeeks, steps: int) -> tuple[Loss, Examples]:
        """What to learn in so many steps, of weeks that have something on both sides."""

    @abstractmethod
    def ready(self, network: Network) -> None:
        """Take from the network what a request needs."""

    @abstractmethod
    def scores(self, bought: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
        """Scores (N x S) and which articles they are of (S,), ascending; N customers' articles are N x V."""

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        sold = past.query(_SOLD, weeks=self.weeks, decay=DECAY_DAYS)
        best = np.sort(np.argsort(-sold["sold"], kind="stable")[: self.articles])
        self._know(sold["article"][best].astype("int64"), sold["sold"][best])
        found = self._weeks(past)
        # Twice the width for eight times the purchases.
        width = 2.0 ** round(1 + np.log2(max(1, found.bought.nnz)) / 3)
        self.width = int(np.clip(width, *_WIDTHS))
        self.network = None
        if not len(self.known):
            return self
        with seeded(self.seed):
            network = self.make()
        self.start(network)
        if len(found.days_ago):
            of_an_epoch = math.ceil(len(found.days_ago) / self.batch_size)
            epochs = int(np.clip(self.steps // of_an_epoch, *_EPOCHS))
            loss, examples = self.lesson(found, epochs * of_an_epoch)
            settings = TrainingSettings(epochs, self.batch_size, self.learning_rate, seed=self.seed)
            train(network, loss, examples, settings)
        self._serve(network)
        return self

    def _serve(self, network: Network) -> None:
        self.network = network
        self.ready(network)

    def _know(self, places: np.ndarray, sold: np.ndarray) -> None:
        self.known = places
        self.sold = sold / max(1e-12, sold.sum())
        self.column_of = np.full(len(self.assortment), -1)
        self.column_of[places] = np.arange(len(places))

    def _weeks(self, past: Past) -> ShoppingWeeks:
        values = {"cutoff": past.cutoff, "weeks": self.weeks, "most": self.examples}
        past.con.execute(_WEEKS, values)
        try:
            weeks = past.query(
                "SELECT $cutoff - start AS days_ago FROM shopping_weeks ORDER BY week"
            )
            bought = past.query(_BOUGHT)
            before = past.query(_BEFORE, decay=DECAY_DAYS, length=RECENT_ARTICLES)
        finally:
            past.con.execute("DROP TABLE shopping_weeks")
        count = len(weeks["days_ago"])
        next_bought = self._matrix(
            bought["week"], bought["article"], np.ones(len(bought["week"])), count
        )
        known_before = self._matrix(before["week"], before["article"], before["weight"], count)
        useful = (np.diff(next_bought.indptr) > 0) & (np.diff(known_before.indptr) > 0)
        return ShoppingWeeks(weeks["days_ago"][useful], next_bought[useful], known_before[useful])

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
        bought = self._matrix(history.customer, history.article, history.weight, len(asked))
        # Nothing is said of those of whom nothing is known.
        heard = np.flatnonzero(np.diff(bought.indptr))
        parts = []
        for start in range(0, len(heard), _BLOCK):
            customers = heard[start : start + _BLOCK]
            scores, places = self.scores(bought[customers])
            best = best_of_each(scores, places, k)
            parts.append(best._replace(customer=customers[best.customer]))
        if not parts:
            return NOTHING
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
