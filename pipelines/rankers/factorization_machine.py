"""A factorisation machine: every pair of things known of a row has a weight, from few numbers.

Rendle, "Factorization Machines", ICDM 2010.
"""

from torch import Tensor

from pipelines.neural.training import Batch
from pipelines.rankers.neural import Linear, NeuralRanker, Pairs, RankingNetwork, Sizes


class FactorizationMachine(NeuralRanker):
    """The log odds are a sum over columns and over pairs of them, the product of their vectors.

    Among the things that are known are how near each number is to its knots, the article, and what the customer
    bought. Explanations are exact.

    Args:
        width, listwise, negatives, epochs, batch_size, learning_rate, weight_decay, seed: see
            `NeuralRanker`.
    """

    name = "factorization_machine"

    def __init__(
        self,
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

    def make(self, sizes: Sizes) -> RankingNetwork:
        return _Pairs(sizes, self.width)


class _Pairs(RankingNetwork):
    def __init__(self, sizes: Sizes, width: int) -> None:
        super().__init__(sizes, width)
        self.linear, self.pairs = Linear(self), Pairs(self)

    def scored(self, parts: Batch, batch: Batch) -> Tensor:
        return self.linear(parts) + self.pairs(parts, self.fields(parts, batch))
