"""DLRM: numbers through one perceptron, then products of vectors, then another perceptron.

Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipelines.neural.layers import MLP
from pipelines.neural.training import Batch
from pipelines.rankers.neural import NeuralRanker, RankingNetwork, Sizes


class DLRM(NeuralRanker):
    """All numbers together, each with whether it is there, become one vector in the bottom perceptron; each text, the
    article and what the customer bought have one each. The top perceptron reads the first and the products of
    all pairs.

    Args:
        bottom, top: sizes of the hidden layers of the two perceptrons.
        dropout: after each of them.
        width: numbers of each vector.
        learning: how it learns, see `NeuralRanker`.
    """

    name = "dlrm"

    def __init__(
        self,
        bottom: Sequence[int] = (64,),
        top: Sequence[int] = (64, 32),
        dropout: float = 0.1,
        width: int = 8,
        **learning: Any,
    ) -> None:
        super().__init__(width=width, **learning)
        self.bottom = bottom
        self.top = top
        self.dropout = dropout

    def make(self, sizes: Sizes) -> RankingNetwork:
        return _Interactions(sizes, self.width, self.bottom, self.top, self.dropout)


class _Interactions(RankingNetwork):
    def __init__(
        self,
        sizes: Sizes,
        width: int,
        bottom: Sequence[int],
        top: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__(sizes, width)
        self.bottom = MLP(self.number_size, *bottom, width, dropout=dropout)
        vectors = self.field_count + 1
        pairs = torch.triu_indices(vectors, vectors, offset=1)
        self.register_buffer("pairs", pairs, persistent=False)
        self.top = MLP(width + pairs.shape[1], *top, 1, dropout=dropout)

    def scored(self, parts: Batch, batch: Batch) -> Tensor:
        numbers = self.bottom(parts["numbers"].flatten(1))  # B x D
        vectors = torch.cat([numbers[:, None], self.fields(parts, batch)], dim=1)
        products = vectors @ vectors.transpose(1, 2)  # B x V x V
        first, second = self.pairs
        return self.top(torch.cat([numbers, products[:, first, second]], dim=1))
