"""Logistic regression: the floor that every other ranker must beat."""

from torch import Tensor

from pipelines.neural.training import Batch
from pipelines.rankers.neural import Linear, NeuralRanker, RankingNetwork, Sizes


class LogisticRegression(NeuralRanker):
    """The log odds are a sum over columns: a weight for each text, and for a number a line through a weight at
    each of a few quantiles.

    Its explanations are exact: what a column adds, less what it adds where nothing is known.

    Args:
        listwise, negatives, epochs, batch_size, learning_rate, weight_decay, seed: see
            `NeuralRanker`.
    """

    name = "logistic_regression"
    reads_history = False

    def __init__(
        self,
        listwise: float = 0.3,
        negatives: int = 100,
        epochs: int = 5,
        batch_size: int = 16,
        learning_rate: float = 3e-3,
        weight_decay: float = 1.0,
        seed: int = 7,
    ) -> None:
        super().__init__(
            0, listwise, negatives, epochs, batch_size, learning_rate, weight_decay, seed
        )

    def make(self, sizes: Sizes) -> RankingNetwork:
        return _Linear(sizes)


class _Linear(RankingNetwork):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes, 0, history=False)
        self.linear = Linear(self)

    def scored(self, parts: Batch, batch: Batch) -> Tensor:
        return self.linear(parts)
