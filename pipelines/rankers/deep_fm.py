"""DeepFM: a factorisation machine and a perceptron over the same vectors.

Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pipelines.neural.training import Batch
from pipelines.rankers.neural import (
    Linear,
    NeuralRanker,
    Pairs,
    Perceptron,
    RankingNetwork,
    Sizes,
)


class DeepFM(NeuralRanker):
    """The log odds are those of a factorisation machine, for pairs, and of a perceptron, for what takes more.

    Args:
        hidden: sizes of the perceptron's layers.
        dropout: after each of them.
        width: numbers of each vector.
        learning: how it learns, see `NeuralRanker`.
    """

    name = "deep_fm"

    def __init__(
        self,
        hidden: Sequence[int] = (64, 32),
        dropout: float = 0.1,
        width: int = 8,
        **learning: Any,
    ) -> None:
        super().__init__(width=width, **learning)
        self.hidden = hidden
        self.dropout = dropout

    def make(self, sizes: Sizes) -> RankingNetwork:
        return _DeepFM(sizes, self.width, self.hidden, self.dropout)


class _DeepFM(RankingNetwork):
    def __init__(self, sizes: Sizes, width: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__(sizes, width)
        self.linear, self.pairs = Linear(self), Pairs(self)
        self.perceptron = Perceptron(self, *hidden, 1, dropout=dropout)

    def scored(self, parts: Batch, batch: Batch) -> Tensor:
        fields = self.fields(parts, batch)
        shallow = self.linear(parts) + self.pairs(parts, fields)
        return shallow + self.perceptron(parts, fields)
