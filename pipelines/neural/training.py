"""The one torch loop: every neural model is trained here.

A model brings its network, a loss of one batch and its examples; `train` brings the device, the order
of the rows, the steps, progress, checkpoints and, under `torchrun`, the other processes.

Every draw (the order of an epoch, dropout, negatives) is seeded by the run's seed and by where in the
run it is made. So a run that was killed goes on from its checkpoint to the same weights, bit for bit on
one CPU, and the same seed gives the same network.
"""

import atexit
import hashlib
import io
import json
import math
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from feature_repo.errors import LookbookError
from feature_repo.places import whole_file

Batch = dict[str, Tensor]
Loss = Callable[[nn.Module, Batch], Tensor]
"""The mean loss of a batch (a scalar), given the network."""

PROGRESS_SECONDS = 5.0


class TrainingError(LookbookError):
    """A network cannot be trained like this; the text says what to change."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Attributes:
        epochs: times each example is seen, at most.
        batch_size: examples of a step in each process, at most; the batches of an epoch are of equal size.
        learning_rate: of AdamW (Loshchilov and Hutter, ICLR 2019).
        weight_decay: decoupled.
        cosine: whether the learning rate falls to zero over the run, along half a cosine.
        seed: of the order of examples and all draws.
        patience: with a validation, stop after so many epochs without a better figure and go back to the
            weights of the best; 0 never stops early.
    """

    epochs: int = 5
    batch_size: int = 1024
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    cosine: bool = False
    seed: int = 7
    patience: int = 0


@dataclass
class History:
    """What a training run did.

    Attributes:
        losses: mean loss over the examples of each epoch.
        validations: the validation's figure after each epoch, lower is better; empty without one.
        examples_per_second: of all processes together, since the run was last started.
    """

    losses: list[float] = field(default_factory=list)
    validations: list[float] = field(default_factory=list)
    examples_per_second: float = 0.0


class Examples(Protocol):
    """What a network learns from: numbered examples, made into batches when they are needed."""

    def __len__(self) -> int: ...

    def batch(self, rows: Tensor, generator: Generator) -> Batch:
        """The examples as tensors, usually with the rows along the first dimension.

        Args:
            rows: which examples (B,), int64.
            generator: a seeded CPU generator, for whatever the batch draws (negatives, augmentation).
        """
        ...


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's own draws are seeded inside, and as they were after: for making a network."""
    device = device_here()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        _set_seed(seed)
        yield


def device_here() -> torch.device:
    """The GPU of this process if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def process_count() -> int:
    """How many processes train together: those that `torchrun` started, else 1."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def is_main() -> bool:
    """Whether this process is the one that reports and saves."""
    return process_count() == 1 or os.environ["RANK"] == "0"


def wait_for_all() -> None:
    """Go on when every process has come this far."""
    if _join():
        distributed.barrier()


def _join() -> bool:
    """Whether there are other processes; the group is made when it is first needed."""
    if process_count() == 1:
        return False
    if not distributed.is_initialized():
        gpu = torch.cuda.is_available()
        if gpu:
            torch.cuda.set_device(device_here())
        # The others wait while the main one validates or writes.
        distributed.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(hours=2))
        atexit.register(_leave)
    return True


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _shared(content: bytes | None) -> bytes | None:
    """What the main process has, in every process."""
    if not _join():
        return content
    size = torch.tensor([-1 if content is None else len(content)], device=device_here())
    distributed.broadcast(size, 0)
    if size.item() < 0:
        return None
    sent = torch.empty(int(size.item()), dtype=torch.uint8, device=device_here())
    if is_main():
        sent.copy_(torch.frombuffer(bytearray(content or b""), dtype=torch.uint8))
    distributed.broadcast(sent, 0)
    return sent.cpu().numpy().tobytes()


def _summed(numbers: list[float]) -> list[float]:
    """Sums over all processes."""
    if not _join():
        return numbers
    tensor = torch.tensor(numbers, dtype=torch.float64, device=device_here())
    distributed.all_reduce(tensor)
    return [float(number) for number in tensor]


def mean_loss(
    network: nn.Module, loss: Loss, examples: Examples, *, batch_size: int = 4096, seed: int = 7
) -> float:
    """The mean loss over examples in order, without learning; the network ends in eval mode."""
    device = next(network.parameters()).device
    network.eval()
    total = 0.0
    with torch.no_grad(), seeded(seed):
        for part, rows in enumerate(torch.arange(len(examples)).split(batch_size)):
            batch = examples.batch(rows, Generator().manual_seed(_seed(seed, part)))
            total += float(loss(network, _on(batch, device))) * len(rows)
    return total / max(1, len(examples))


def train(
    network: nn.Module,
    loss: Loss,
    examples: Examples,
    settings: TrainingSettings | None = None,
    *,
    validation: Callable[[nn.Module], float] | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 30.0,
    keep_checkpoint: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> History:
    """Fit the network to the examples.

    On a GPU if there is one, in mixed precision; under `torchrun` with all its processes, each taking its
    share of every epoch and all ending with the same weights. Every parameter must take part in the loss.

    Args:
        network: changed in place; it ends on the CPU, in float32 and in eval mode.
        loss: gets the network and a batch on its device, gives the mean loss of the batch.
        examples: at least one; the same in every process.
        settings: the defaults if None.
        validation: gives a figure, lower is better, of the network in eval mode on its device; asked after
            each epoch, in the main process alone. `mean_loss` of other examples is one.
        checkpoint: a file that lets a run that was killed go on. It is written after every epoch and every
            `checkpoint_seconds`, whole or not at all; one of another run or a damaged one is not used;
            it is gone when the training ends, unless it is kept.
        checkpoint_seconds: more if writing takes more than a twentieth of the time; 0 is every step.
        keep_checkpoint: leave it, with the end of the training in it, to a caller who has more to do before
            the network is safe.
        progress: told now and then how far it is.

    Raises:
        TrainingError: there are no examples, or the loss is no number any more.
    """
    return _Run(network, loss, examples, settings or TrainingSettings(), progress).train(
        validation, checkpoint, checkpoint_seconds, keep_checkpoint
    )


class _WithLoss(nn.Module):
    """A network that gives its loss: gradients of several processes meet in one forward."""

    def __init__(self, network: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.network = network
        self.loss = loss

    def forward(self, batch: Batch) -> Tensor:
        return self.loss(self.network, batch)


class _Run:
    """A training run: where it is, and everything that a checkpoint holds."""

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        examples: Examples,
        settings: TrainingSettings,
        progress: Callable[[str], None],
    ) -> None:
        if not len(examples):
            raise TrainingError("There is nothing to learn from: load a longer history.")
        self.several = _join()
        self.rank = int(os.environ["RANK"]) if self.several else 0
        self.processes = process_count()
        self.progress = progress if is_main() else lambda line: None
        self.settings = settings
        self.examples = examples
        self.device = device_here()
        self.network = network.to(self.device)
        self.steps = math.ceil(math.ceil(len(examples) / self.processes) / settings.batch_size)
        self.with_loss: nn.Module = _WithLoss(network, loss)
        if self.several:
            self.with_loss = DistributedDataParallel(self.with_loss)
        self.optimizer = torch.optim.AdamW(
            [parameter for parameter in network.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        gpu = self.device.type == "cuda"
        bfloat = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        self.autocast = torch.autocast(
            self.device.type, torch.bfloat16 if bfloat or not gpu else torch.float16, enabled=gpu
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=gpu and not bfloat)
        self.epoch, self.step, self.seen = 0, 0, 0
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.history = History()
        self.best: dict[str, Tensor] | None = None
        self.fingerprint = ""

    def train(
        self,
        validation: Callable[[nn.Module], float] | None,
        checkpoint: Path | None,
        checkpoint_seconds: float,
        keep_checkpoint: bool,
    ) -> History:
        settings, history = self.settings, self.history
        if checkpoint:
            self._resume(checkpoint)
        started = said = saved = time.monotonic()
        pause, begun, before = checkpoint_seconds, self.epoch * self.steps + self.step, self._done()
        with seeded(settings.seed):
            while self.epoch < settings.epochs and not self._stale():
                for batch, size in self._batches():
                    self._learn(batch, size)
                    now = time.monotonic()
                    if now - said >= PROGRESS_SECONDS:
                        steps = self.epoch * self.steps + self.step
                        left = (now - started) / (steps - begun)
                        left *= settings.epochs * self.steps - steps
                        rate = (self._done() - before) / (now - started)
                        self.progress(self._line(rate, f", {_duration(left)} left"))
                        said = now
                    if checkpoint and self.step < self.steps and now - saved >= pause:
                        self._save(checkpoint)
                        saved = time.monotonic()
                        pause = checkpoint_seconds and max(checkpoint_seconds, 20 * (saved - now))
                self._end_epoch(validation)
                took = max(1e-9, time.monotonic() - started)
                history.examples_per_second = (self._done() - before) / took
                figure = f", validation {history.validations[-1]:.4f}" if validation else ""
                self.progress(
                    f"epoch {self.epoch} of {settings.epochs}: loss {history.losses[-1]:.4f}{figure}, "
                    f"{history.examples_per_second:,.0f} examples/s"
                )
                if checkpoint and (keep_checkpoint or self.epoch < settings.epochs):
                    self._save(checkpoint)
                    saved = time.monotonic()
        if self.best is not None:
            self.network.load_state_dict(self.best)
        if self.several:
            # Running means of batch normalisation are each process's own.
            for tensor in self.network.state_dict().values():
                distributed.broadcast(tensor, 0)
        self.network.to("cpu").eval()
        if checkpoint and is_main() and not keep_checkpoint:
            checkpoint.unlink(missing_ok=True)
        return history

    def _batches(self) -> Iterator[tuple[Batch, int]]:
        """The batches of this epoch that are still to come, on the CPU, and how many rows each has."""
        order = torch.randperm(
            len(self.examples),
            generator=Generator().manual_seed(_seed(self.settings.seed, self.epoch)),
        )
        # All processes take equally many, so a few rows come twice.
        order = torch.cat([order, order[: -len(order) % self.processes]])
        parts = torch.tensor_split(order[self.rank :: self.processes], self.steps)

        def made(step: int) -> tuple[Batch, int]:
            generator = Generator().manual_seed(self._place(step, 0))
            return self.examples.batch(parts[step], generator), len(parts[step])

        coming = map(made, range(self.step, self.steps))
        return _ahead(coming) if self.device.type == "cuda" else coming

    def _place(self, step: int, use: int) -> int:
        """The seed of draws at a step of this epoch in this process."""
        return _seed(self.settings.seed, self.epoch, step, self.rank, use)

    def _learn(self, batch: Batch, size: int) -> None:
        _set_seed(self._place(self.step, 1))
        self.with_loss.train()
        self.optimizer.zero_grad(set_to_none=True)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        with self.autocast:
            loss = self.with_loss(_on(batch, self.device))
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # Read only now and then: reading waits for the GPU.
        self.loss_sum += loss.detach().double() * size
        self.seen += size
        self.step += 1

    def _learning_rate(self) -> float:
        if not self.settings.cosine:
            return self.settings.learning_rate
        share = (self.epoch + self.step / self.steps) / self.settings.epochs
        return self.settings.learning_rate * (1 + math.cos(math.pi * share)) / 2

    def _end_epoch(self, validation: Callable[[nn.Module], float] | None) -> None:
        total, seen = _summed([self._loss_sum(), float(self.seen)])
        self.history.losses.append(total / seen)
        self.epoch, self.step, self.seen = self.epoch + 1, 0, 0
        self.loss_sum.zero_()
        if validation is None:
            return
        self.network.eval()
        figure = 0.0
        if is_main():
            with torch.no_grad():
                figure = float(validation(self.network))
        (figure,) = _summed([figure])
        if self.settings.patience and figure < min(self.history.validations, default=math.inf):
            self.best = {
                name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()
            }
        self.history.validations.append(figure)

    def _stale(self) -> bool:
        """Whether patience with the validation has run out."""
        figures, patience = self.history.validations, self.settings.patience
        return bool(patience and figures) and (
            len(figures) - 1 - figures.index(min(figures)) >= patience
        )

    def _done(self) -> int:
        """Examples learnt from since the first start, by all processes."""
        return self.epoch * len(self.examples) + self.seen * self.processes

    def _loss_sum(self) -> float:
        total = float(self.loss_sum)
        if not math.isfinite(total):
            raise TrainingError(
                f"The loss is no number any more in epoch {self.epoch + 1}: a smaller learning rate "
                f"than {self.settings.learning_rate} may help, or a feature is infinite."
            )
        return total

    def _line(self, rate: float, rest: str) -> str:
        return (
            f"epoch {self.epoch + 1} of {self.settings.epochs}, {self.step / self.steps:.0%}: "
            f"loss {self._loss_sum() / self.seen:.4f}, {rate:,.0f} examples/s{rest}"
        )

    def _fingerprint(self) -> str:
        """What must be the same for a checkpoint to be of this run: settings, network and examples,
        of which the first batch stands for all."""
        shapes = {name: list(tensor.shape) for name, tensor in self.network.state_dict().items()}
        said = [
            asdict(self.settings),
            repr(self.network),
            shapes,
            len(self.examples),
            self.processes,
        ]
        found = hashlib.sha256(json.dumps(said).encode())
        rows = torch.arange(min(len(self.examples), 64))
        first = self.examples.batch(rows, Generator().manual_seed(self.settings.seed))
        for name in sorted(first):
            found.update(name.encode())
            found.update(first[name].detach().cpu().double().numpy().tobytes())
        return found.hexdigest()

    def _save(self, file: Path) -> None:
        if not is_main():
            return
        state = {
            "fingerprint": self.fingerprint,
            "place": [self.epoch, self.step, self.seen],
            "loss_sum": self._loss_sum(),
            "history": asdict(self.history),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best": self.best,
        }
        with whole_file(file) as partial:
            torch.save(state, partial)

    def _resume(self, file: Path) -> None:
        """Go on where the checkpoint is, if there is one of this run."""
        self.fingerprint = self._fingerprint()
        state = self._read(file) if is_main() else None
        content = None
        if self.several:
            buffer = io.BytesIO()
            torch.save(state, buffer)
            content = _shared(buffer.getvalue() if state else None)
            state = torch.load(io.BytesIO(content), weights_only=True) if content else None
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step, self.seen = state["place"]
        self.loss_sum.fill_(state["loss_sum"])
        self.history.losses[:] = state["history"]["losses"]
        self.history.validations[:] = state["history"]["validations"]
        self.best = state["best"]
        self.progress(
            f"goes on from {file.name}: epoch {self.epoch + 1}, {self.step / self.steps:.0%}"
        )

    def _read(self, file: Path) -> dict[str, Any] | None:
        if not file.exists():
            return None
        try:
            # Torch does not look at the checksums that it writes.
            if zipfile.ZipFile(file).testzip():
                raise ValueError(file)
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            fingerprint = state["fingerprint"]
        except Exception:  # damage shows in many ways
            self.progress(f"{file.name} is damaged: training starts from the beginning")
            return None
        if fingerprint != self.fingerprint:
            self.progress(
                f"{file.name} is of other settings or examples: training starts from the beginning"
            )
            return None
        return state


def _on(batch: Batch, device: torch.device) -> Batch:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def _ahead(coming: Iterator[tuple[Batch, int]]) -> Iterator[tuple[Batch, int]]:
    """The same, each made while the GPU works on the one before."""
    with ThreadPoolExecutor(1) as worker:
        following = worker.submit(next, coming, None)
        while (found := following.result()) is not None:
            following = worker.submit(next, coming, None)
            yield found


def _set_seed(seed: int) -> None:
    """As `torch.manual_seed`, which without a GPU takes a trace of the stack at every call."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed(seed)


def _seed(*parts: int) -> int:
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
