"""Wide & deep: a linear model for what is to be remembered, a perceptron for what is to be generalised.

Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016.
"""

from collections.abc import Sequence

from torch import Tensor

from pipelines.neural.training import Batch
from pipelines.rankers.neural import Linear, NeuralRanker, Perceptron, RankingNetwork, Sizes


class WideAndDeep(NeuralRanker):
    """The log odds are those of a linear model over buckets, texts, crosses and the article, and of a perceptron
    over the vectors of the same.

    Args:
        hidden: sizes of the perceptron's layers.
        dropout: after each of them.
        width, listwise, negatives, epochs, batch_size, learning_rate, weight_decay, seed: see
            `NeuralRanker`.
    """

    name = "wide_and_deep"

    def __init__(
        self,
        hidden: Sequence[int] = (64, 32),
        dropout: float = 0.1,
        width: int = 8,
        listwise: float = 0.3,
        negatives: int = 100,
        epochs: int = 5,
        batch_size: int = 16,
        learning_rate: float = 3e-3,
        weight_decay: float = 1.0,
        seed: int = 7,
    ) -> None:
        super().__init__(
            width, listwise, negatives, epochs, batch_size, learning_rate, weight_decay, seed
        )
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
