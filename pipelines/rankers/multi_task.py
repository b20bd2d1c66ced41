"""What comes of a candidate, all at once: whether it is viewed, put into the cart, bought.

Ma, Zhao, Yi, Chen, Hong and Chi, "Modeling Task Relationships in Multi-task Learning with Multi-gate
Mixture-of-Experts", KDD 2018. The chance of a purchase is that of a candidate being bought in the week, whether or not it
is shown; those of a view and a cart are of showing it, for of what was not shown nobody knows (`base.LABELS`). Each is
calibrated; weights put them on one scale, and are the shop's to choose.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.neural.layers import MLP
from pipelines.neural.training import Batch
from pipelines.rankers.base import PURCHASE
from pipelines.rankers.neural import NeuralRanker, Perceptron, RankingNetwork, Sizes


class MultiTask(NeuralRanker):
    """Experts read what wide & deep reads; each objective has a gate, which says how much each expert counts for it
    in each row, and a tower of its own. Objectives are those of which there is an example; purchase alone where
    nothing else was written down.

    Args:
        experts: how many; 1 is a bottom that all share.
        expert: size of each.
        tower: sizes of the hidden layers of each tower.
        dropout: of what experts say, and after each hidden layer.
        width: numbers of each vector.
        learning: how it learns, see `NeuralRanker`.
    """

    name = "multi_task"

    def __init__(
        self,
        experts: int = 4,
        expert: int = 32,
        tower: Sequence[int] = (16,),
        dropout: float = 0.1,
        width: int = 8,
        **learning: Any,
    ) -> None:
        super().__init__(width=width, **learning)
        self.experts = experts
        self.expert = expert
        self.tower = tower
        self.dropout = dropout

    def make(self, sizes: Sizes) -> RankingNetwork:
        return _Experts(sizes, self.width, self.experts, self.expert, self.tower, self.dropout)

    def objectives_of(self, positives: dict[str, int]) -> tuple[str, ...]:
        return tuple(name for name, count in positives.items() if count or name == PURCHASE)


class _Experts(RankingNetwork):
    def __init__(
        self,
        sizes: Sizes,
        width: int,
        experts: int,
        expert: int,
        tower: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__(sizes, width)
        self.shape = experts, expert
        self.gated = sizes.objectives, experts
        # All experts and gates at once.
        self.bottom = Perceptron(
            self, experts * expert + sizes.objectives * experts, dropout=dropout
        )
        self.dropout = nn.Dropout(dropout)
        self.towers = nn.ModuleList(
            MLP(expert, *tower, 1, dropout=dropout) for _ in range(sizes.objectives)
        )

    def scored(self, parts: Batch, batch: Batch) -> Tensor:
        found = self.bottom(parts, self.fields(parts, batch))
        experts, gates = found.split([math.prod(self.shape), math.prod(self.gated)], dim=1)
        said = self.dropout(torch.relu(experts)).unflatten(1, self.shape)  # B x E x H
        shares = gates.unflatten(1, self.gated).softmax(dim=2)  # B x O x E
        mixed = shares @ said  # B x O x H
        logits = [tower(mixed[:, place]) for place, tower in enumerate(self.towers)]
        return torch.cat(logits, dim=1)
