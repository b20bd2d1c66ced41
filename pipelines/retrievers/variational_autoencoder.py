"""Variational autoencoder: from all that a customer bought, through a few numbers, to what comes next.

Mult-VAE (Liang, Krishnan, Hoffman and Jebara, WWW 2018). The paper's network gives back its input; this
one gives the purchases of the week that follows, so that it learns what is bought again and what went out
of fashion.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from pipelines.neural.losses import multinomial_vae
from pipelines.neural.training import Batch, Examples, Loss
from pipelines.retrievers.base import Past
from pipelines.retrievers.next_week import NextWeek, Rows, ShoppingWeeks, WithOwn


class VariationalAutoencoder(NextWeek["MultVAE"]):
    """A customer's articles x, decayed and scaled to length 1, become

        h = tanh(E'x + e),  z ~ Normal(mean(h), variance(h)),  scores = W tanh(Dz + d) + c,

    to which `Own` adds for the customer's own articles. c starts at the log of what sold of late, and the
    softmax of the scores should be what the customer bought in the week after x. With width D, E and W
    are V x D. A step of training costs batch x V x D; a request, which takes the mean for z, a row of E for
    each article of the customer, three D x D layers, and a product with S x D of W: at D = 128 some 0.2 ms
    for 5,000 offered and 0.5 ms for 10,000.

    Args:
        weeks, examples, articles, most_offered, steps, batch_size, learning_rate, seed: see `NextWeek`.
        dropout: the share of x that training leaves out.
        beta: weight of the divergence from the prior at the end; it grows from 0 over the first half.
    """

    name = "variational_autoencoder"

    def __init__(
        self,
        weeks: int = 40,
        examples: int = 300_000,
        articles: int = 20_000,
        most_offered: int = 5_000,
        steps: int = 300,
        batch_size: int = 256,
        learning_rate: float = 3e-3,
        dropout: float = 0.7,
        beta: float = 0.001,
        seed: int = 7,
    ) -> None:
        self.dropout = dropout
        self.beta = beta
        super().__init__(
            weeks, examples, articles, most_offered, steps, batch_size, learning_rate, seed
        )

    def make(self) -> "MultVAE":
        return MultVAE(len(self.known), self.width, self.dropout)

    def start(self, network: "MultVAE") -> None:
        with torch.no_grad():
            network.out.weight.zero_()
            network.out.bias.copy_(torch.from_numpy(np.log(self.sold)))

    def lesson(self, past: Past, found: ShoppingWeeks, steps: int) -> tuple[Loss, Examples]:
        def loss(network: nn.Module, batch: Batch) -> Tensor:
            scores, mean, log_variance = network(batch)
            bought = torch.zeros_like(scores)
            bought[batch["row"], batch["bought"]] = batch["weight"].to(bought.dtype)
            return multinomial_vae(
                scores, bought, mean, log_variance, beta=self.beta * network.annealed(steps / 2)
            )

        return loss, _Weeks(found)

    def ready(self, network: "MultVAE") -> None:
        found = {name: tensor.numpy() for name, tensor in network.eval().state_dict().items()}
        self._table, self._shift = found["table.weight"], found["shift"]
        self._mean = found["mean.weight"].T, found["mean.bias"]
        self._decoder = found["decoder.weight"].T, found["decoder.bias"]
        self._out = found["out.weight"][self.offered].T, found["out.bias"][self.offered]

    def scores(self, shares: Rows) -> np.ndarray:
        hidden = np.tanh(shares.of_length_one().times(self._table) + self._shift)
        z = hidden @ self._mean[0] + self._mean[1]
        decoded = np.tanh(z @ self._decoder[0] + self._decoder[1])
        return decoded @ self._out[0] + self._out[1]

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return "Customers who bought what you did bought it next."


class MultVAE(WithOwn):
    """Articles and their weights -> scores of all articles, and the posterior of z.

    Args:
        articles: V.
        width: D.
        dropout: the share of weights that training sets to 0.
    """

    def __init__(self, articles: int, width: int, dropout: float) -> None:
        super().__init__()
        # A request touches the rows of a customer's articles alone.
        self.table = nn.EmbeddingBag(articles, width, mode="sum", include_last_offset=True)
        nn.init.normal_(self.table.weight, std=0.3)
        self.shift = nn.Parameter(torch.zeros(width))
        self.left_out = nn.Dropout(dropout)
        self.mean = nn.Linear(width, width)
        self.log_variance = nn.Linear(width, width)
        self.decoder = nn.Linear(width, width)
        self.out = nn.Linear(width, articles)
        # Part of the state, so that a run which goes on anneals on.
        self.register_buffer("steps", torch.zeros(()))

    def annealed(self, steps: float) -> Tensor:
        """From 0 to 1 in the first so many steps."""
        if self.training:
            self.steps += 1
        return (self.steps / max(1.0, steps)).clamp(max=1)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """before, before_row, own and scaled (all rows' articles one after the other), starts (B + 1)
        -> B x V, B x D, B x D."""
        scaled = self.left_out(batch["scaled"])
        hidden = torch.tanh(self.table(batch["before"], batch["starts"], scaled) + self.shift)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = mean
        if self.training:
            z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        scores = self.out(torch.tanh(self.decoder(z)))
        own = self.own(batch["own"]).to(scores.dtype)
        scores = scores.index_put((batch["before_row"], batch["before"]), own, accumulate=True)
        return scores, mean, log_variance


class _Weeks:
    """Weeks as batches; what is in a row of a matrix follows what is in the row above."""

    def __init__(self, found: ShoppingWeeks) -> None:
        self.before, self.bought, self.weight = found.before, found.bought, found.weight

    def __len__(self) -> int:
        return len(self.weight)

    def batch(self, rows: Tensor, generator: Generator) -> Batch:
        before, bought = self.before[rows.numpy()], self.bought[rows.numpy()]
        row = np.repeat(np.arange(len(rows)), np.diff(bought.indptr))
        arrays = {
            "before_row": np.repeat(np.arange(len(rows)), np.diff(before.indptr)),
            "before": before.indices.astype("int64"),
            "own": before.data,
            "scaled": Rows.of(before).as_shares().of_length_one().value,
            "starts": before.indptr.astype("int64"),
            "bought": bought.indices.astype("int64"),
            "row": row,
            "weight": self.weight[rows.numpy()][row],
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
