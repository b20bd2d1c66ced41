"""A small network and its examples, light enough to be imported by processes that tests start."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pipelines.neural.layers import MLP
from pipelines.neural.training import Batch, TrainingSettings, seeded


class Line(nn.Module):
    """y = w x + b, through a hidden layer with dropout, so that draws matter."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.layers = MLP(3, 8, 1, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).squeeze(1)


def squared(network: nn.Module, batch: Batch) -> Tensor:
    return ((network(batch["x"]) - batch["y"]) ** 2).mean()


def a_line(rows: int = 100) -> dict[str, Tensor]:
    x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(1))
    return {"x": x, "y": x @ torch.tensor([1.0, -2.0, 0.5]) + 3}


def a_network(dropout: float = 0.2) -> Line:
    with seeded(3):
        return Line(dropout)


class TensorExamples:
    """Examples that are rows of tensors of equal length, by name."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        lengths = {name: len(tensor) for name, tensor in tensors.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"tensors of one length are needed, and at least one: {lengths}")
        self.tensors = dict(tensors)

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        return {name: tensor[rows] for name, tensor in self.tensors.items()}


class Noisy(TensorExamples):
    """Examples that draw, remember what they were asked, and can stop the run."""

    def __init__(
        self, stop_at: int = -1, stop: Callable[[], None] | None = None, noise: float = 0.1
    ) -> None:
        super().__init__(a_line())
        self.noise = noise
        self.asked: list[Tensor] = []
        self.stop_at = stop_at
        self.stop = stop

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        if len(self.asked) == self.stop_at and self.stop:
            self.stop()
        self.asked.append(rows)
        made = super().batch(rows, generator)
        return {**made, "y": made["y"] + self.noise * torch.randn(len(rows), generator=generator)}


SHORT = TrainingSettings(epochs=3, batch_size=30, learning_rate=0.01, cosine=True)


class Stopped(Exception):
    pass


def stopped() -> None:
    raise Stopped


def together() -> nn.Module:
    """With running means, which each process would have for itself."""
    with seeded(3):
        return nn.Sequential(nn.BatchNorm1d(3, affine=False, momentum=0.5), Line(dropout=0))
