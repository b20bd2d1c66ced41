"""Logistic regression: the floor that every other ranker must beat."""

from torch import Tensor

from pipelines.neural.training import Batch
from pipelines.rankers.neural import Linear, NeuralRanker, RankingNetwork, Sizes


class LogisticRegression(NeuralRanker):
    """The log odds are a sum over columns: a weight for each text, and for a number a line through a weight at
    each of a few quantiles.

    Its explanations are exact: what a column adds, less what it adds where nothing is known.

    Args:
        learning: how it learns, see `NeuralRanker`; it has no vectors, so `width` is 0.
    """

    name = "logistic_regression"
    reads_history = False

    def make(self, sizes: Sizes) -> RankingNetwork:
        return _Linear(sizes)


class _Linear(RankingNetwork):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes, 0, history=False)
        self.linear = Linear(self)

    def scored(self, parts: Batch, batch: Batch) -> Tensor:
        return self.linear(parts)
