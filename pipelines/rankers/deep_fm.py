"""DeepFM: a factorisation machine and a perceptron over the same vectors.

Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.
"""

from collections.abc import Sequence

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
        width, listwise, negatives, epochs, batch_size, learning_rate, weight_decay, seed: see
            `NeuralRanker`.
    """

    name = "deep_fm"

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
