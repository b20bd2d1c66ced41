"""Articles' pictures as vectors: near looks alike.

A small convolutional network learns to tell product group, product type and colour group of an article
from its picture; what it knows just before it answers is the vector. Pictures of the kind that a shop takes,
one article on a plain ground, need no more.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor, nn
from torch.nn import functional

from feature_repo import places
from feature_repo.errors import LookbookError
from pipelines.content.pixels import NOT_A_PICTURE, as_pixels
from pipelines.neural.training import Batch, TrainingSettings, device_here, seeded, train
from pipelines.neural.weights import load_network, save_network

LABELS = ("product_group", "colour_group", "product_type")
"""What the network learns to tell. The product type, that pictures of one group differ in more than colour."""
HELD_OUT = 10
"""One product of so many is not learnt from, to see what has been learnt."""
SHIFT = 4
"""Pixels by which a picture is moved at most while it is learnt from."""

_SETTINGS, _NETWORK = "settings.json", "picture_encoder.safetensors"
_BATCH = 256
_READERS = 4

Progress = Callable[[str], None]


class PictureError(LookbookError):
    """Pictures cannot be learnt from or read; the text says why."""


class Pictures:
    """Pictures on disk, decoded once, as one array that need not fit into memory.

    Attributes:
        names: of those that could be read, in the order that was given.
        pixels: uint8 (N, height, width, 3), a memory map.
        broken: {name: why} of those that could not.
    """

    def __init__(self, names: list[str], pixels: np.ndarray, broken: dict[str, str]) -> None:
        self.names = names
        self.pixels = pixels
        self.broken = broken


@contextmanager
def decoded(
    files: Mapping[str, Path],
    width: int = 64,
    height: int = 96,
    progress: Progress = lambda text: None,
) -> Iterator[Pictures]:
    """The pictures in these files, while they are needed: 18 KB of disk each, below LOOKBOOK_HOME.

    Args:
        files: {article: file}; one that is missing or damaged is left out, and counted.
    """
    places.home().mkdir(parents=True, exist_ok=True)
    # A file without a name: nothing is left of it, whatever happens.
    with TemporaryFile(dir=places.home()) as file:
        shape = (max(len(files), 1), height, width, 3)
        pixels = np.memmap(file, mode="w+", dtype=np.uint8, shape=shape)
        names: list[str] = []
        broken: dict[str, str] = {}

        def read(file: Path) -> np.ndarray | str:
            try:
                with Image.open(file) as picture:
                    return as_pixels(picture, width, height)
            except NOT_A_PICTURE as error:
                return str(error) or type(error).__name__

        waiting = iter(files.items())
        done = 0
        with ThreadPoolExecutor(_READERS) as readers:
            while part := list(islice(waiting, 1000)):
                read_part = readers.map(read, [file for _, file in part])
                for (name, _), found in zip(part, read_part, strict=True):
                    if isinstance(found, str):
                        broken[name] = found
                    else:
                        pixels[len(names)] = found
                        names.append(name)
                done += len(part)
                if len(files) > 1000:
                    progress(f"{done:,} of {len(files):,} pictures read")
        yield Pictures(names, pixels[: len(names)], broken)


class PictureNetwork(nn.Module):
    """Four steps of convolutions, each halving the picture, and a vector of what is where and of which
    colour; a head for each label. About 0.15 million weights.

    Args:
        classes: how many there are of each label.
        dimensions: D, of the vector.
    """

    def __init__(self, classes: Sequence[int], dimensions: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _step(3, 16), _step(16, 32), _step(32, 64), _block(64), _step(64, 128)
        )
        self.vector = nn.Linear(2 * 128, dimensions)
        self.heads = nn.ModuleList(nn.Linear(dimensions, count) for count in classes)

    def embed(self, pixels: Tensor) -> Tensor:
        """uint8 (B x H x W x 3) -> B x D."""
        scaled = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        seen = self.trunk(scaled.contiguous(memory_format=torch.channels_last))
        pooled = torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=1)
        return self.vector(pooled)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """uint8 (B x H x W x 3) -> for each label the scores (B x its classes)."""
        vector = functional.relu(self.embed(pixels))
        return [head(vector) for head in self.heads]


def _step(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, seen: Tensor) -> Tensor:
        return seen + self.inner(seen)


def _block(size: int) -> nn.Module:
    return _Residual(
        nn.Sequential(
            nn.Conv2d(size, size, 3, padding=1, bias=False),
            nn.BatchNorm2d(size),
            nn.ReLU(inplace=True),
        )
    )


class _Labelled:
    """Examples: pictures, a little changed each time they are shown, with their labels."""

    def __init__(self, pixels: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> None:
        self._pixels = pixels
        self._rows = rows
        self._labels = torch.from_numpy(labels[rows])

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, rows: Tensor, generator: Generator) -> Batch:
        # In the order of the file, which is read more quickly.
        rows = rows.sort().values
        shown = torch.from_numpy(np.asarray(self._pixels[self._rows[rows.numpy()]]))
        return {"pixels": _changed(shown, generator), "labels": self._labels[rows]}


def _changed(pixels: Tensor, generator: Generator) -> Tensor:
    """Mirrored half of the time, and moved by up to SHIFT pixels over its own margin."""
    count, height, width, _ = pixels.shape
    mirrored = torch.rand(count, generator=generator) < 0.5
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(2), pixels)
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2, count, 1), generator=generator)
    rows = (torch.arange(height) + down).clamp(0, height - 1)
    columns = (torch.arange(width) + right).clamp(0, width - 1)
    return pixels[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _loss(network: nn.Module, batch: Batch) -> Tensor:
    """The cross entropies of all heads, each over the pictures whose label is known."""
    labels = batch["labels"].T
    lost = [
        functional.cross_entropy(scores.float(), label, ignore_index=-1, reduction="sum")
        / (label >= 0).sum().clamp_min(1)
        for scores, label in zip(network(batch["pixels"]), labels, strict=True)
    ]
    return torch.stack(lost).sum()


def held_out(products: Sequence[str]) -> np.ndarray:
    """Which pictures are not learnt from, by product: its variants look alike, so they stay together."""
    return np.array([zlib.crc32(product.encode()) % HELD_OUT == 0 for product in products], bool)


class PictureEncoder:
    """Pictures as unit vectors (N x D float32).

    Cost: `fit` some 10 million multiplications a picture and epoch, three times over; `encode` once.

    Args:
        epochs: times each picture is learnt from.
        dimensions: D.
        width: of the pictures that are looked at, in pixels.
        height: of these.
        batch_size: pictures of a step.
        learning_rate: at the start; it falls to zero along half a cosine.
        seed: of the network and of the order and the changes of pictures.
    """

    def __init__(
        self,
        epochs: int = 12,
        dimensions: int = 64,
        width: int = 64,
        height: int = 96,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        seed: int = 7,
    ) -> None:
        self.epochs = epochs
        self.dimensions = dimensions
        self.width = width
        self.height = height
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.seed = seed
        self.classes: dict[str, list[str]] = {}
        self.metrics: dict[str, Any] = {}
        self._network: PictureNetwork | None = None

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "epochs": self.epochs,
            "dimensions": self.dimensions,
            "width": self.width,
            "height": self.height,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
        }

    def fit(
        self,
        pixels: np.ndarray,
        labels: Mapping[str, Sequence[str | None]],
        products: Sequence[str],
        progress: Progress = lambda text: None,
        checkpoint: Path | None = None,
    ) -> Self:
        """Learn from all but the held-out products, and measure on those; `metrics` has the figures.

        Args:
            pixels: uint8 (N, height, width, 3).
            labels: {label: of each picture} for LABELS; None where it is not known.
            products: of each picture, which product it shows.
            checkpoint: a file that lets a run that was killed go on, until whoever keeps the encoder
                deletes it.

        Raises:
            PictureError: there are no pictures.
        """
        if not len(pixels):
            raise PictureError("There are no pictures to learn from.")
        known = {name: [value or "" for value in labels[name]] for name in LABELS}
        self.classes = {name: sorted(set(values) - {""}) for name, values in known.items()}
        place = {
            name: {"": -1} | {c: n for n, c in enumerate(of)} for name, of in self.classes.items()
        }
        numbers = np.array(
            [[place[name][value] for name, value in zip(known, row, strict=True)]
             for row in zip(*known.values(), strict=True)]
        )  # fmt: skip
        apart = held_out(products)
        if apart.all():
            apart[:] = False
        learnt, tested = np.flatnonzero(~apart), np.flatnonzero(apart)
        self._network = self._new_network()
        settings = TrainingSettings(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=1e-3,
            cosine=True,
            seed=self.seed,
        )
        history = train(
            self._network,
            _loss,
            _Labelled(pixels, learnt, numbers),
            settings,
            checkpoint=checkpoint,
            keep_checkpoint=True,
            progress=lambda line: progress(f"pictures: {line}"),
        )
        self.metrics = {
            "epochs": self.epochs,
            "pictures_learnt": len(learnt),
            "pictures_held_out": len(tested),
            "loss": history.losses[-1] if history.losses else None,
            "pictures_per_second": history.examples_per_second,
            **self._measured(pixels, numbers, learnt, tested),
        }
        return self

    def _new_network(self) -> PictureNetwork:
        with seeded(self.seed):
            network = PictureNetwork(
                [max(1, len(self.classes[name])) for name in LABELS], self.dimensions
            )
        return network.to(memory_format=torch.channels_last)

    def _measured(
        self, pixels: np.ndarray, labels: np.ndarray, learnt: np.ndarray, tested: np.ndarray
    ) -> dict[str, float | None]:
        """Of each label the share of held-out pictures that is told right, and what naming the most
        common one each time would give."""
        told = self._asked(
            lambda network, shown: torch.stack([s.argmax(1) for s in network(shown)], 1),
            pixels,
            tested,
        )
        found: dict[str, float | None] = {}
        for number, name in enumerate(LABELS):
            truth = labels[tested, number]
            known = truth >= 0
            there = labels[learnt, number]
            common = np.bincount(there[there >= 0], minlength=1).argmax()
            any_known = bool(known.any())
            found[f"{name}_accuracy"] = (
                float((told[known, number] == truth[known]).mean()) if any_known else None
            )
            found[f"{name}_most_common"] = (
                float((truth[known] == common).mean()) if any_known else None
            )
        return found

    @property
    def _trained(self) -> PictureNetwork:
        if self._network is None:
            raise PictureError("The picture encoder has not learnt yet: call fit or load.")
        return self._network

    def _asked(
        self,
        ask: Callable[[PictureNetwork, Tensor], Tensor],
        pixels: np.ndarray,
        rows: np.ndarray,
        progress: Progress = lambda text: None,
    ) -> np.ndarray:
        """What the network answers of these pictures, some at a time."""
        device = device_here()
        network = self._trained.to(device).eval()
        answers = []
        with torch.inference_mode():
            for number, start in enumerate(range(0, max(1, len(rows)), _BATCH)):
                shown = torch.from_numpy(np.array(pixels[rows[start : start + _BATCH]]))
                answers.append(ask(network, shown.to(device)).cpu().numpy())
                if number and number % 40 == 0:
                    progress(f"{start:,} of {len(rows):,} pictures encoded")
        network.cpu()
        return np.concatenate(answers)

    def encode(self, pixels: np.ndarray, progress: Progress = lambda text: None) -> np.ndarray:
        """uint8 (N, height, width, 3) -> N x D unit vectors, float32."""
        return self._asked(
            lambda network, shown: functional.normalize(network.embed(shown), dim=1),
            pixels,
            np.arange(len(pixels)),
            progress,
        )

    def encode_picture(self, picture: Image.Image) -> np.ndarray:
        """One picture of any size, such as somebody searches by, as one such vector (D,).

        Raises:
            PictureError: its data are damaged.
        """
        try:
            pixels = as_pixels(picture, self.width, self.height)
        except NOT_A_PICTURE as error:
            raise PictureError(f"The picture cannot be read: {error}") from error
        found: np.ndarray = self.encode(pixels[None])[0]
        return found

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs into the folder, without pickle."""
        record = {"settings": self.settings, "classes": self.classes}
        (folder / _SETTINGS).write_text(json.dumps(record, indent=1), encoding="utf-8")
        save_network(self._trained, folder / _NETWORK)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            WeightsError: the weights are missing or damaged.
        """
        record = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        encoder = cls(**record["settings"])
        encoder.classes = record["classes"]
        encoder._network = load_network(encoder._new_network(), folder / _NETWORK)
        return encoder
