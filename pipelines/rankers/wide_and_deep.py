"""Wide & deep: a linear model for what is to be remembered, a perceptron for what is to be generalised.

Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pipelines.neural.training import Batch
from pipelines.rankers.neural import Linear, NeuralRanker, Perceptron, RankingNetwork, Sizes


class WideAndDeep(NeuralRanker):
    """The log odds are those of a linear model over buckets, texts, crosses and the article, and of a perceptron
    over the vectors of the same.

    Args:
        hidden: sizes of the perceptron's layers.
        dropout: after each of them.
        width: numbers of each vector.
        learning: how it learns, see `NeuralRanker`.
    """

    name = "wide_and_deep"

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
        return _WideAndDeep(sizes, self.width, self.hidden, self.dropout)


class _WideAndDeep(RankingNetwork):
    def __init__(self, sizes: Sizes, width: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__(sizes, width)
        self.linear = Linear(self)
        self.perceptron = Perceptron(self, *hidden, 1, dropout=dropout)

    def scored(self, parts: Batch, batch: Batch) -> Tensor:
        deep = self.perceptron(parts, self.fields(parts, batch))
        return self.linear(parts) + deep
