"""A factorisation machine: every pair of things known of a row has a weight, from few numbers.

Rendle, "Factorization Machines", ICDM 2010.
"""

from typing import Any

from torch import Tensor

from pipelines.neural.training import Batch
from pipelines.rankers.neural import Linear, NeuralRanker, Pairs, RankingNetwork, Sizes


class FactorizationMachine(NeuralRanker):
    """The log odds are a sum over columns and over pairs of them, the product of their vectors.

    Among the things that are known are how near each number is to its knots, the article, and what the customer
    bought. Explanations are exact.

    Args:
        width: numbers of each vector.
        learning: how it learns, see `NeuralRanker`.
    """

    name = "factorization_machine"

    def __init__(
        self,
        width: int = 8,
        **learning: Any,
    ) -> None:
        super().__init__(width=width, **learning)

    def make(self, sizes: Sizes) -> RankingNetwork:
        return _Pairs(sizes, self.width)


class _Pairs(RankingNetwork):
    def __init__(self, sizes: Sizes, width: int) -> None:
        super().__init__(sizes, width)
        self.linear, self.pairs = Linear(self), Pairs(self)

    def scored(self, parts: Batch, batch: Batch) -> Tensor:
        return self.linear(parts) + self.pairs(parts, self.fields(parts, batch))
