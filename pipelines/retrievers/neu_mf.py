"""NeuMF: matrix factorisation and a multi-layer perceptron in one network.

He, Liao, Zhang, Nie, Hu and Chua, "Neural Collaborative Filtering", WWW 2017. The paper learns numbers for
each customer; here a customer is the weighted mean of what is learnt of the articles they bought, as in
FISM (Kabbur et al., KDD 2013) and SVD++ (Koren, KDD 2008). So whoever came yesterday is answered too, and
nothing is kept of any customer.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor, nn

from pipelines.negatives import FOR_NEUMF, RandomPerWeek
from pipelines.neural.encoding import padded
from pipelines.neural.layers import MLP
from pipelines.neural.losses import binary_cross_entropy
from pipelines.neural.training import Batch, Examples, Loss
from pipelines.retrievers.base import Past
from pipelines.retrievers.next_week import NextWeek, Rows, ShoppingWeeks, WithOwn

_POOL = 2
"""How many times as many negatives as an example shows at once are drawn for it beforehand."""


class NeuMF(NextWeek["NeuMFNetwork"]):
    """A customer is p = sum of weight x P[article] over the articles bought, weights decayed and of sum 1, an
    article q = Q[article], each of two halves of width D: one for the product, one for the perceptron.

        score = w'(p1 * q1) + v'relu(L(relu(Wp p2 + Wq q2 + b))) + c[article]

    and what `Own` adds for the customer's own articles. c starts at the log of what sold of late.
    The sigmoid of the score is the chance that the customer buys the article in the week. Wq Q is worked
    out beforehand, so that a request costs articles on offer x (2 D + D D / 2) multiplications: only
    the best-selling `most_offered` are scored. Each example has 2 x positives x negatives rows in memory,
    of which it shows another half each time.

    Args:
        weeks, examples, articles, most_offered, steps, batch_size, learning_rate, seed: see `NextWeek`.
        positives: purchases drawn from a week each time it is seen.
        negatives: articles drawn for each of them, from those on sale at that moment.
    """

    name = "neu_mf"

    def __init__(
        self,
        weeks: int = 40,
        examples: int = 200_000,
        articles: int = 20_000,
        most_offered: int = 5_000,
        steps: int = 300,
        batch_size: int = 256,
        learning_rate: float = 3e-3,
        positives: int = 8,
        negatives: int = FOR_NEUMF,
        seed: int = 7,
    ) -> None:
        self.positives = positives
        self.negatives = negatives
        super().__init__(
            weeks, examples, articles, most_offered, steps, batch_size, learning_rate, seed
        )

    def make(self) -> "NeuMFNetwork":
        return NeuMFNetwork(len(self.known), min(self.width, 32))

    def start(self, network: "NeuMFNetwork") -> None:
        with torch.no_grad():
            network.product.weight.zero_()
            network.perceptron[-1].weight.zero_()
            network.perceptron[-1].bias.zero_()
            network.popularity.weight.copy_(torch.from_numpy(np.log(self.sold))[:, None])

    def lesson(self, past: Past, found: ShoppingWeeks, steps: int) -> tuple[Loss, Examples]:
        def loss(network: nn.Module, batch: Batch) -> Tensor:
            scores = network(batch)
            labels = torch.zeros_like(scores)
            labels[:, : self.positives] = 1
            return binary_cross_entropy(
                scores, labels, kept=batch["kept"], weights=batch["weights"]
            )

        return loss, self._weeks_with_negatives(past, found)

    def _weeks_with_negatives(self, past: Past, found: ShoppingWeeks) -> "_Weeks":
        """Negatives are of all articles on sale when the week began, but for what the customer buys in it.

        One may be bought before: that is no reason against it, as in the paper, where nobody buys twice.
        """
        ids = self.assortment.ids[self.known]
        week = np.repeat(np.arange(len(found.weight)), np.diff(found.bought.indptr))
        positives = pd.DataFrame(
            {
                "customer_id": found.customer[week],
                "article_id": ids[found.bought.indices],
                "day": found.start[week],
            }
        )
        pool = _POOL * self.positives * self.negatives
        drawing = RandomPerWeek(pool, first_day=past.cutoff.weekday())
        drawn = drawing.draw(past.con, positives, seed=self.seed)
        column = pd.Index(ids).get_indexer(pd.Index(drawn["article_id"]))
        there = column >= 0
        of, article, log_q = week[drawn["row"][there]], column[there], drawn["log_q"][there]
        places, taken = padded(of, article, np.exp(log_q), len(found.weight), pool)
        return _Weeks(
            found,
            self.positives,
            self.negatives,
            torch.from_numpy(places.astype("int32")),
            torch.from_numpy(taken),
        )

    def ready(self, network: "NeuMFNetwork") -> None:
        width = network.width
        with torch.no_grad():
            q = network.articles.weight[self.offered]
            self._product = (q[:, :width] * network.product.weight).numpy().T.copy()
            self._of_article = network.article_part(q[:, width:]).numpy().T.copy()
        found = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        self._customers = found["customers.weight"]
        self._of_customer = found["customer_part.weight"].T
        self._inner = found["perceptron.0.weight"], found["perceptron.0.bias"][:, None]
        self._outer = found["perceptron.2.weight"][0], found["perceptron.2.bias"][0]
        self._popularity = found["popularity.weight"][self.offered, 0]

    def scores(self, shares: Rows) -> np.ndarray:
        customers = shares.times(self._customers)  # N x 2D
        width = customers.shape[1] // 2
        found = customers[:, :width] @ self._product + self._popularity  # N x S
        for row, own in enumerate(customers[:, width:] @ self._of_customer):
            hidden = self._of_article + own[:, None]  # D x S
            np.maximum(hidden, 0, out=hidden)
            hidden = self._inner[0] @ hidden  # D / 2 x S
            hidden += self._inner[1]
            np.maximum(hidden, 0, out=hidden)
            found[row] += self._outer[0] @ hidden + self._outer[1]
        return found

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return "It goes with what you bought."


class NeuMFNetwork(WithOwn):
    """Customers, as what they bought, and articles -> scores.

    Args:
        articles: V.
        width: D.
    """

    def __init__(self, articles: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.customers = nn.EmbeddingBag(articles, 2 * width, mode="sum", include_last_offset=True)
        self.articles = nn.Embedding(articles, 2 * width)
        self.popularity = nn.Embedding(articles, 1)
        for table in (self.customers, self.articles):
            nn.init.normal_(table.weight, std=0.3)
        self.product = nn.Linear(width, 1, bias=False)
        # One layer on [p; q], in two parts that can be worked out apart.
        self.customer_part = nn.Linear(width, width, bias=False)
        self.article_part = nn.Linear(width, width)
        self.perceptron = MLP(width, width // 2, 1)

    def forward(self, batch: Batch) -> Tensor:
        """before and share (all rows' articles one after the other), starts (B + 1), asked and own (B x S)
        -> B x S."""
        p = self.customers(batch["before"], batch["starts"], batch["share"])[:, None]  # B x 1 x 2D
        q = self.articles(batch["asked"])  # B x S x 2D
        width = self.width
        product = self.product(p[..., :width] * q[..., :width])
        hidden = torch.relu(self.customer_part(p[..., width:]) + self.article_part(q[..., width:]))
        found = product + self.perceptron(hidden) + self.popularity(batch["asked"])
        return found.squeeze(-1) + self.own(batch["own"])


class _Weeks:
    """Weeks as batches, each with some of its purchases and of its negatives, drawn anew each time.

    Args:
        found: the weeks.
        positives: how many purchases to draw of each.
        negatives: how many negatives to draw for each of them.
        pool: columns of articles to draw negatives from (W x N).
        taken: the chance with which each came into the pool, 0 where there is none (W x N).
    """

    def __init__(
        self,
        found: ShoppingWeeks,
        positives: int,
        negatives: int,
        pool: Tensor,
        taken: Tensor,
    ) -> None:
        self.found = found
        self.positives = positives
        self.shown = positives * negatives
        self.pool = pool
        self.taken = taken
        self.starts = torch.from_numpy(found.bought.indptr.astype("int64"))
        self.bought = torch.from_numpy(found.bought.indices.astype("int64"))
        self.weight = torch.from_numpy(found.weight)

    def __len__(self) -> int:
        return len(self.weight)

    def batch(self, rows: Tensor, generator: Generator) -> Batch:
        first, count = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        drawn = torch.rand(len(rows), self.positives, generator=generator) * count[:, None]
        bought = self.bought[first[:, None] + drawn.long()]
        taken = self.taken[rows]
        turn = torch.rand(taken.shape, generator=generator).masked_fill(taken == 0, -1)
        shown = turn.topk(min(self.shown, taken.shape[1]), dim=1).indices
        pooled = (taken > 0).sum(dim=1)
        asked = torch.cat([bought, self.pool[rows].gather(1, shown).long()], dim=1)
        there = torch.cat([torch.ones(bought.shape), (taken.gather(1, shown) > 0).float()], dim=1)
        # A share of the negatives was taken, and another of the purchases.
        of_pool = (shown.shape[1] / pooled.clamp_min(1)).clamp(max=1)
        share = taken.amax(dim=1) * of_pool * count / self.positives
        before = self.found.before[rows.numpy()]
        row = np.repeat(np.arange(len(rows)), asked.shape[1])
        own = np.asarray(before[row, asked.numpy().ravel()]).reshape(asked.shape)
        return {
            "before": torch.from_numpy(before.indices.astype("int64")),
            "share": torch.from_numpy(Rows.of(before).as_shares().value),
            "starts": torch.from_numpy(before.indptr.astype("int64")),
            "asked": asked,
            "own": torch.from_numpy(own),
            "weights": there * self.weight[rows, None],
            "kept": share.clamp_min(1e-9)[:, None],
        }
