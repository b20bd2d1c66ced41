"""NeuMF: matrix factorisation and a multi-layer perceptron in one network.

He, Liao, Zhang, Nie, Hu and Chua, "Neural Collaborative Filtering", WWW 2017. The paper learns numbers for
each customer; here a customer is the weighted mean of what is learnt of the articles they bought, as in
FISM (Kabbur et al., KDD 2013) and SVD++ (Koren, KDD 2008). So whoever came yesterday is answered too, and
nothing is kept of any customer.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Generator, Tensor, nn

from pipelines.neural.layers import MLP
from pipelines.neural.losses import binary_cross_entropy
from pipelines.neural.training import Batch, Examples, Loss
from pipelines.retrievers.next_week import NextWeek, ShoppingWeeks


class NeuMF(NextWeek["NeuMFNetwork"]):
    """A customer is p = sum of weight x P[article] over the articles bought, weights decayed and of sum 1, an
    article q = Q[article], each of two halves of width D: one for the product, one for the perceptron.

        score = w'(p1 * q1) + v'relu(L(relu(Wp p2 + Wq q2 + b))) + c[article]

    The sigmoid of the score is the chance that the customer buys the article in the week. Wq Q is worked
    out beforehand, so that a request costs articles on offer x (D + D D / 2) multiplications: only the
    best-selling `offered` are scored.

    Args:
        weeks, examples, articles, steps, batch_size, learning_rate, seed: see `NextWeek`.
        positives: purchases drawn from a week each time it is seen.
        negatives: articles drawn for each of them, from those on sale at that moment.
        offered: how many articles it scores for a customer, those that sold most of late.
        recency: time in which an example's weight falls to 1/e, in days.
    """

    name = "neu_mf"

    def __init__(
        self,
        weeks: int = 40,
        examples: int = 1_000_000,
        articles: int = 20_000,
        steps: int = 600,
        batch_size: int = 256,
        learning_rate: float = 3e-3,
        positives: int = 8,
        negatives: int = 5,
        offered: int = 5_000,
        recency: float = 60.0,
        seed: int = 7,
    ) -> None:
        self.positives = positives
        self.negatives = negatives
        self.offered = offered
        self.recency = recency
        super().__init__(weeks, examples, articles, steps, batch_size, learning_rate, seed)

    def make(self) -> "NeuMFNetwork":
        return NeuMFNetwork(len(self.known), min(self.width, 32))

    def start(self, network: "NeuMFNetwork") -> None:
        with torch.no_grad():
            network.product.weight.zero_()
            network.perceptron[-1].weight.zero_()
            network.popularity.weight.copy_(torch.from_numpy(np.log(self.sold))[:, None])

    def lesson(self, found: ShoppingWeeks, steps: int) -> tuple[Loss, Examples]:
        kept = self.negatives / max(1, len(self.known))

        def loss(network: nn.Module, batch: Batch) -> Tensor:
            scores = network(batch)
            labels = torch.zeros_like(scores)
            labels[:, : self.positives] = 1
            weights = batch["weight"][:, None].expand_as(scores)
            return binary_cross_entropy(scores, labels, kept=kept, weights=weights)

        return loss, _Weeks(found, self.positives, self.negatives, self.recency)

    def ready(self, network: "NeuMFNetwork") -> None:
        width = network.width
        with torch.no_grad():
            on_sale = np.flatnonzero(self.assortment.on_sale[self.known])
            best = on_sale[np.argsort(-self.sold[on_sale], kind="stable")[: self.offered]]
            best.sort()
            q = network.articles.weight[torch.from_numpy(best)]
            self._places = self.known[best]
            self._customers = network.customers.weight.numpy()
            self._product = (q[:, :width] * network.product.weight).numpy().T.copy()
            self._of_article = network.article_part(q[:, width:]).numpy()
            self._of_customer = network.customer_part.weight.numpy().T.copy()
            self._layers = [
                (layer.weight.numpy().T.copy(), layer.bias.numpy())
                for layer in network.perceptron
                if isinstance(layer, nn.Linear)
            ]
            self._popularity = network.popularity.weight[torch.from_numpy(best), 0].numpy()

    def scores(self, bought: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
        customers = of_sum_one(bought) @ self._customers  # N x 2D
        width = customers.shape[1] // 2
        found = customers[:, :width] @ self._product + self._popularity  # N x S
        of_customer = customers[:, width:] @ self._of_customer
        (inner, shift), (outer, last) = self._layers
        for row, own in enumerate(of_customer):
            hidden = np.maximum(self._of_article + own, 0)  # S x D
            found[row] += (np.maximum(hidden @ inner + shift, 0) @ outer)[:, 0] + last
        return found, self._places

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return "It goes with what you bought."


class NeuMFNetwork(nn.Module):
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
        """before and share (all rows' articles one after the other), starts (B + 1), asked (B x S) -> B x S."""
        p = self.customers(batch["before"], batch["starts"], batch["share"])[:, None]  # B x 1 x 2D
        q = self.articles(batch["asked"])  # B x S x 2D
        width = self.width
        product = self.product(p[..., :width] * q[..., :width])
        hidden = torch.relu(self.customer_part(p[..., width:]) + self.article_part(q[..., width:]))
        found = product + self.perceptron(hidden) + self.popularity(batch["asked"])
        return found.squeeze(-1)


class _Weeks:
    """Weeks as batches, each with some of its purchases and negatives drawn for each of them."""

    def __init__(
        self, found: ShoppingWeeks, positives: int, negatives: int, recency: float
    ) -> None:
        self.before = of_sum_one(found.before)
        self.bought = found.bought
        self.positives = positives
        self.negatives = negatives
        self.weight = np.exp(-found.days_ago / recency).astype("float32")

    def __len__(self) -> int:
        return len(self.weight)

    def batch(self, rows: Tensor, generator: Generator) -> Batch:
        before = self.before[rows.numpy()]
        starts = torch.from_numpy(self.bought.indptr.astype("int64"))
        first, count = starts[rows], starts[rows + 1] - starts[rows]
        drawn = torch.rand(len(rows), self.positives, generator=generator) * count[:, None]
        bought = torch.from_numpy(self.bought.indices)[first[:, None] + drawn.long()]
        others = torch.randint(
            self.bought.shape[1],
            (len(rows), self.positives * self.negatives),
            generator=generator,
        )
        return {
            "before": torch.from_numpy(before.indices.astype("int64")),
            "share": torch.from_numpy(before.data),
            "starts": torch.from_numpy(before.indptr.astype("int64")),
            "asked": torch.cat([bought.long(), others], dim=1),
            "weight": torch.from_numpy(self.weight[rows.numpy()]),
        }


def of_sum_one(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    """Each row divided by its sum."""
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    total = np.bincount(row, rows.data, rows.shape[0])
    scaled = (rows.data / total[row]).astype("float32")
    return sparse.csr_matrix((scaled, rows.indices, rows.indptr), rows.shape)
