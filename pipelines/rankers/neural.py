"""What all neural rankers share: how rows become tensors, what is learnt from them, and explanations.

A ranker of this kind is a network, one short class: `embedded` says what a row is, `scored` what follows
from it. Examples are customers of a week, each with all their candidates that came to something and some
of the others, drawn anew each time; so a customer's history is embedded once for all their candidates.
"""

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor, nn

from pipelines.neural.encoding import FeatureEncoder, padded
from pipelines.neural.layers import MLP, AttentionPooling, BucketEmbedding
from pipelines.neural.losses import binary_cross_entropy, listwise_softmax
from pipelines.neural.training import (
    Batch,
    TrainingSettings,
    mean_loss,
    seeded,
    train,
)
from pipelines.neural.weights import load_network, save_network
from pipelines.rankers.base import (
    HISTORY,
    LABELS,
    PURCHASE,
    Parts,
    Ranker,
    kept_of,
    learnable,
    require_columns,
    told,
)

SAMPLE = 200_000
"""Rows, evenly from all parts, that teach the encoder."""
BLOCK = 4096
"""Rows that are scored at once."""
STEPS = 32
"""Points on the way from nothing known to the row at which an explanation asks the network."""
KNOTS = 5
"""Places of a number between which networks read a straight line."""
LENGTH = 20
"""So many articles of a customer's history, the newest, are read."""
FORGET = 0.5
"""The share of articles that training hides."""
PATIENCE = 2
"""Epochs that were no better for the customers held out, after which training stops."""
ARTICLE = "article_id"


@dataclass(frozen=True)
class Sizes:
    """What a network must know of its rows.

    Attributes:
        numbers: how many columns are numbers (N).
        texts: how many codes each column of texts has (T); code 0 is missing.
        articles: how many articles have a vector of their own; place 0 is any other.
        objectives: how many things there are to tell the chance of (O).
    """

    numbers: int
    texts: tuple[int, ...]
    articles: int
    objectives: int


class RankingNetwork(nn.Module):
    """Encoded rows -> logits. B rows with N numbers and T texts, D numbers of a vector, O objectives.

    A number is read as how near it is to each of K = `KNOTS` places, evenly between its least and its greatest
    quantile, and whether it is missing: what is linear in these K + 1 is a line with bends, on which
    neighbours learn from each other (Gorishniy et al., "On Embeddings for Numerical Features", NeurIPS 2022).

    Args:
        sizes: of the rows.
        width: D.
        history: whether to look at the article and at what the customer bought.
    """

    def __init__(self, sizes: Sizes, width: int, history: bool = True) -> None:
        super().__init__()
        self.sizes = sizes
        self.width = width
        self.history = history
        # The last number of each vector is a weight of its own, that of a linear model.
        self.texts = BucketEmbedding(sizes.texts, width + 1)
        self.bias = nn.Parameter(torch.zeros(sizes.objectives))
        # What decays, decays to how often it comes to something at all.
        self.register_buffer("base", torch.zeros(sizes.objectives))
        if history:
            self.articles = nn.Embedding(sizes.articles + 1, width + 1)
            nn.init.normal_(self.articles.weight, std=0.05)
            self.attention = AttentionPooling(width)

    @property
    def number_size(self) -> int:
        """N (K + 1)."""
        return self.sizes.numbers * (KNOTS + 1)

    @property
    def field_count(self) -> int:
        """F: texts, the article, and what the customer bought."""
        return len(self.sizes.texts) + 2 * self.history

    def embedded(self, batch: Batch) -> Batch:
        """What each row is: numbers (B x K + 1 x N) and texts (B x T x D + 1); with history also article
        (B x D + 1) and sequence (G x L x D), the histories of G customers."""
        found = {"numbers": self.near(batch["numbers"]), "texts": self.texts(batch["texts"])}
        if self.history:
            found["article"] = self.articles(batch["article"])
            found["sequence"] = self.articles(batch["history"])[..., : self.width]
        return found

    def near(self, numbers: Tensor) -> Tensor:
        """From 0 to 1, how near each number is to each knot, and 1 if it is missing: B x N -> B x K + 1 x N."""
        # What is missing stands at a knot of its own, far from the others.
        away = float(KNOTS + 1)
        at = torch.tensor([*map(float, range(KNOTS)), away], device=numbers.device)
        place = ((numbers + 1) * ((KNOTS - 1) / 2)).nan_to_num_(away)
        return (place[:, None] - at[:, None]).abs_().neg_().add_(1).clamp_min_(0)

    @abstractmethod
    def scored(self, parts: Batch, batch: Batch) -> Tensor:
        """What `embedded` gave -> by how much the logits are above those of any row (B x O)."""

    def logits(self, parts: Batch, batch: Batch) -> Tensor:
        """What `embedded` gave -> B x O."""
        return self.scored(parts, batch) + self.bias + self.base

    def forward(self, batch: Batch) -> Tensor:
        """numbers (B x N, NaN where there is none), texts (B x T codes), article (B places), and whose (B) of
        the G histories (G x L places of articles, with weights, 0 for padding) -> B x O."""
        return self.logits(self.embedded(batch), batch)

    def fields(self, parts: Batch, batch: Batch) -> Tensor:
        """B x F x D; the last is what the customer bought, as far as it bears on the article."""
        found = [parts["texts"][..., : self.width]]
        if self.history:
            article = parts["article"][:, : self.width]
            bought = self.attention(article, parts["sequence"], batch["weights"], batch["whose"])
            found += [article[:, None], bought[:, None]]
        return torch.cat(found, dim=1)


class Linear(nn.Module):
    """The sum of a weight for each thing that is known of a row."""

    def __init__(self, network: RankingNetwork) -> None:
        super().__init__()
        self.numbers = nn.Linear(network.number_size, 1, bias=False)
        nn.init.zeros_(self.numbers.weight)

    def forward(self, parts: Batch) -> Tensor:
        """What `RankingNetwork.embedded` gave -> B x 1."""
        found = self.numbers(parts["numbers"].flatten(1)) + parts["texts"][..., -1].sum(1, True)
        return found + parts["article"][:, -1:] if "article" in parts else found


class Pairs(nn.Module):
    """The sum over all pairs of things that are known of a row, of the products of their vectors."""

    def __init__(self, network: RankingNetwork) -> None:
        super().__init__()
        self.numbers = nn.Linear(network.number_size, network.width, bias=False)
        nn.init.normal_(self.numbers.weight, std=0.01)

    def forward(self, parts: Batch, fields: Tensor) -> Tensor:
        """What `RankingNetwork.embedded` and `fields` gave -> B x 1."""
        numbers = parts["numbers"].flatten(1)
        total = self.numbers(numbers) + fields.sum(dim=1)  # B x D
        of_itself = numbers.square() @ self.numbers.weight.square().sum(dim=0)  # B
        of_itself = of_itself + fields.square().sum(dim=(1, 2))
        return (total.square().sum(dim=1) - of_itself)[:, None] / 2


class Perceptron(nn.Module):
    """Dense layers on numbers, fields, and the article times what the customer bought.

    Args:
        network: whose parts it reads.
        sizes: of every layer, and of the output.
        dropout: after each layer but the last.
    """

    def __init__(self, network: RankingNetwork, *sizes: int, dropout: float) -> None:
        super().__init__()
        fields = (network.field_count + network.history) * network.width
        # One layer in two parts: to put numbers and fields side by side takes as long as the product.
        self.numbers = nn.Linear(network.number_size, sizes[0])
        self.fields = nn.Linear(fields, sizes[0], bias=False)
        rest = [nn.ReLU(), nn.Dropout(dropout), MLP(*sizes, dropout=dropout)]
        self.rest = nn.Sequential(*rest[: 3 * (len(sizes) > 1)])

    def forward(self, parts: Batch, fields: Tensor) -> Tensor:
        """What `RankingNetwork.embedded` and `fields` gave -> B x the last of the sizes."""
        seen = fields.flatten(1)
        if "article" in parts:
            seen = torch.cat([seen, fields[:, -2] * fields[:, -1]], dim=1)
        return self.rest(self.numbers(parts["numbers"].flatten(1)) + self.fields(seen))


class NeuralRanker(Ranker):
    """Learns the chance of each candidate and the order of each customer's.

    The loss is binary cross entropy, in which a row counts 1 / share where only a share of such rows is kept,
    plus `listwise` times the softmax of each customer's candidates (Sheng et al., "Joint Optimization of
    Ranking and Calibration", KDD 2023). Numbers are read as their place among quantiles, and an article by
    its own vector. One that training has not seen has the vector that training gives to any
    article, a share `FORGET` of the time.

    A ranker has settings of its own and passes the others on.

    Args:
        width: numbers of a vector.
        listwise: what the order within a customer's candidates counts beside the chance of each.
        negatives: how many candidates that came to nothing are drawn of a customer each time, on average;
            all if 0.
        epochs: times each customer is seen, at most; fewer when `PATIENCE` with the customers held out runs out.
        batch_size: customers of a step.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        seed: of weights, order and draws.
    """

    reads_history: ClassVar[bool] = True

    def __init__(
        self,
        width: int = 0,
        listwise: float = 0.3,
        negatives: int = 100,
        epochs: int = 5,
        batch_size: int = 16,
        learning_rate: float = 3e-3,
        weight_decay: float = 1.0,
        seed: int = 7,
    ) -> None:
        super().__init__()
        self.width = width
        self.listwise = listwise
        self.negatives = negatives
        self.training = TrainingSettings(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            cosine=True,
            seed=seed,
            patience=PATIENCE,
        )
        # Texts that were never seen are as missing.
        self.encoder = FeatureEncoder(unseen=0)
        self._know([])
        self.network: RankingNetwork | None = None

    @abstractmethod
    def make(self, sizes: Sizes) -> RankingNetwork:
        """A new network."""

    def objectives_of(self, positives: dict[str, int]) -> tuple[str, ...]:
        """What to learn.

        Args:
            positives: for each of the labels that all parts have, in how many rows it is 1.
        """
        return (PURCHASE,)

    def _learn(
        self,
        parts: Parts,
        held_out: Parts,
        checkpoint: Path | None,
        progress: Callable[[str], None],
    ) -> None:
        self.network = None
        rows = self._look_at(parts)
        examples = _Examples(self, parts, rows, self.negatives, FORGET)
        rest = _Examples(self, held_out, sum(map(len, held_out)))
        network = self._made()
        with torch.no_grad():
            network.base.copy_(examples.log_odds())
        train(
            network,
            self._loss,
            examples,
            self.training,
            validation=(lambda found: mean_loss(found, self._loss, rest, batch_size=16))
            if len(rest)
            else None,
            checkpoint=checkpoint,
            progress=progress,
        )
        self.network = network

    def _look_at(self, parts: Parts) -> int:
        """Fit the encoder and see which articles and objectives there are; returns how many rows."""
        sample, seen, rows = [], set(), 0
        positives = dict.fromkeys(LABELS, 0)
        for part in parts:
            rows += len(part)
            seen.update(part[ARTICLE].unique().tolist())
            # What one part does not tell of, none can be compared in.
            positives = {n: count for n, count in positives.items() if LABELS[n] in part}
            for name in positives:
                positives[name] += int((part[LABELS[name]] > 0).sum())
            # Evenly from the rows in an order of their own, so that theirs does not matter.
            order = _ordered(part)
            most = max(1, SAMPLE // max(1, len(parts)))
            sample.append(part.iloc[order[:: max(1, len(order) // most)]])
        found = pd.concat(sample, ignore_index=True)
        self.encoder = FeatureEncoder(unseen=0).fit(found, learnable(found))
        self._know(sorted(seen) if self.reads_history else [])
        self.objectives = self.objectives_of(positives)
        return rows

    def _made(self) -> RankingNetwork:
        spec = self.encoder.spec
        texts = spec.codes[spec.numbers :]
        sizes = Sizes(spec.numbers, texts, len(self.articles), len(self.objectives))
        with seeded(self.training.seed):
            return self.make(sizes)

    def _know(self, articles: list[str]) -> None:
        self.articles = articles
        self._places = {article: place for place, article in enumerate(articles, start=1)}

    def _fitted(self) -> RankingNetwork:
        if self.network is None:
            raise ValueError("This ranker has not been trained: call fit or load first.")
        return self.network

    def _loss(self, network: nn.Module, batch: Batch) -> Tensor:
        logits, labels = network(batch), batch["labels"].clamp(min=0)
        weights = batch["counts"][:, None] * (batch["labels"] >= 0)
        # Several objectives are learnt side by side, each from the rows of which it is known.
        lost = torch.stack(
            [
                binary_cross_entropy(logits[:, o], labels[:, o], weights=weights[:, o])
                for o in range(labels.shape[1])
            ]
        ).sum()
        if self.listwise:
            lost = lost + self.listwise * listwise_softmax(
                logits, labels, batch["whose"], weights=weights
            )
        return lost

    def encoded(self, rows: pd.DataFrame) -> Batch:
        """Rows as `RankingNetwork.forward` reads them.

        Raises:
            LookbookError: a column of training is missing.
        """
        batch = self.features(rows)
        if self.reads_history:
            require_columns(rows, HISTORY)
            ids, weights = _lists(rows)
            # Mostly the rows of a customer share one list, which is read once.
            same = np.fromiter(map(id, ids), dtype="int64", count=len(ids))
            _, first, whose = np.unique(same, return_index=True, return_inverse=True)
            batch["article"] = self.places(rows[ARTICLE].tolist())
            batch["whose"] = torch.from_numpy(whose)
            batch["history"], batch["weights"] = self.histories(ids[first], weights[first])
        return batch

    def features(self, rows: pd.DataFrame) -> Batch:
        """numbers (R x N, NaN where there is none) and texts (R x T)."""
        found, count = self.encoder.encode(rows), self.encoder.spec.numbers
        missing = found["codes"][:, :count] == 0
        return {
            "numbers": found["numbers"].masked_fill_(missing, torch.nan),
            "texts": found["codes"][:, count:],
        }

    def places(self, articles: Sequence[str]) -> Tensor:
        """The place of each article among those with a vector, 0 for others (R,)."""
        return torch.tensor([self._places.get(a, 0) for a in articles], dtype=torch.int64)

    def histories(
        self, ids: Sequence[Any] | np.ndarray, weights: Sequence[Any] | np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """Lists of ids and of their weights -> places and weights (G x `LENGTH` each), 0 for nothing."""
        whose: list[int] = []
        which: list[int] = []
        weigh: list[float] = []
        for customer, (bought, much) in enumerate(zip(ids, weights, strict=True)):
            if not isinstance(bought, list | tuple | np.ndarray):
                continue
            for article, weight in zip(bought, much, strict=True):
                place = self._places.get(article, 0)
                if place and weight > 0:
                    whose.append(customer)
                    which.append(place)
                    weigh.append(weight)
        found = padded(
            np.array(whose, dtype="int64"),
            np.array(which, dtype="int64"),
            np.array(weigh, dtype="float32"),
            len(ids),
            LENGTH,
        )
        return torch.from_numpy(found[0]), torch.from_numpy(found[1])

    def _raw(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        network = self._fitted()
        batch = self.encoded(rows)
        with torch.inference_mode():
            blocks = [
                network(_part(batch, slice(start, start + BLOCK)))
                for start in range(0, max(1, len(rows)), BLOCK)
            ]
        logits = torch.cat(blocks).double().numpy()
        return {name: logits[:, place].copy() for place, name in enumerate(self.objectives)}

    def explain(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Integrated gradients (Sundararajan et al., ICML 2017) of the vectors and numbers behind each column,
        on the way from a row of which nothing is known. What the sum over `STEPS` points misses is shared
        out by size."""
        network, batch = self._fitted(), self.encoded(rows)
        names = list(self.encoder.spec.fields) + [ARTICLE, HISTORY[0]] * self.reads_history
        blocks = [
            self._effects(network, _part(batch, slice(start, start + BLOCK // 8)))
            for start in range(0, max(1, len(rows)), BLOCK // 8)
        ]
        return pd.DataFrame(np.concatenate(blocks), columns=names, index=rows.index)

    def _effects(self, network: RankingNetwork, batch: Batch) -> np.ndarray:
        """B x columns."""
        purchase = self.objectives.index(PURCHASE)
        if self.reads_history:
            whose = batch["whose"]
            own = {name: batch[name][whose] for name in ("history", "weights")}
            batch = {**batch, **own, "whose": torch.arange(len(whose))}
        nothing = {name: torch.zeros_like(tensor) for name, tensor in batch.items()}
        nothing["numbers"].fill_(torch.nan)
        with torch.no_grad():
            ends = network.embedded(batch)
            starts = network.embedded(nothing)
            for name in ends.keys() & {"article", "sequence"}:
                starts[name] = torch.zeros_like(starts[name])
            score = network.logits(ends, batch)[:, purchase].double().numpy()
            base = network.logits(starts, batch)[:, purchase].double().numpy()
        sums = {name: torch.zeros_like(tensor) for name, tensor in ends.items()}
        for step in range(STEPS):
            share = (step + 0.5) / STEPS
            between = {
                name: (start + share * (ends[name] - start)).requires_grad_()
                for name, start in starts.items()
            }
            logits = network.logits(between, batch)[:, purchase]
            slopes = torch.autograd.grad(logits.sum(), list(between.values()), allow_unused=True)
            for name, slope in zip(between, slopes, strict=True):
                if slope is not None:
                    sums[name] += slope / STEPS
        steps = {name: ((ends[name] - starts[name]) * sums[name]).double().numpy() for name in ends}
        columns, numbers = len(self.encoder.spec.fields), self.encoder.spec.numbers
        effects = np.zeros((len(score), columns + 2 * self.reads_history))
        effects[:, :numbers] = steps["numbers"].sum(axis=1)
        effects[:, numbers:columns] = steps["texts"].sum(axis=2)
        if self.reads_history:
            effects[:, columns] = steps["article"].sum(axis=1)
            effects[:, columns + 1] = steps["sequence"].sum(axis=(1, 2))
        sizes = np.abs(effects)
        total = sizes.sum(axis=1, keepdims=True)
        shares = np.divide(sizes, total, out=np.zeros_like(sizes), where=total > 0)
        return effects + shares * (score - base - effects.sum(axis=1))[:, None]

    def _save(self, folder: Path) -> dict[str, Any]:
        save_network(self._fitted(), folder / "network.safetensors")
        self.encoder.save(folder / "encoder.json")
        (folder / "articles.json").write_text(json.dumps(self.articles))
        return {}

    def _load(self, folder: Path, said: dict[str, Any]) -> None:
        self.encoder = FeatureEncoder.load(folder / "encoder.json")
        self._know(json.loads((folder / "articles.json").read_text()))
        self.network = load_network(self._made(), folder / "network.safetensors")


def _lists(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The lists of `HISTORY`, ids and weights (R each)."""
    return rows[HISTORY[0]].to_numpy(dtype=object), rows[HISTORY[1]].to_numpy(dtype=object)


def _ordered(part: pd.DataFrame) -> np.ndarray:
    """The rows by week, customer and article (R,)."""
    keys = [pd.factorize(part[name], sort=True)[0] for name in (ARTICLE, "customer_id", "week")]
    return np.lexsort(keys)


def _part(batch: Batch, rows: slice) -> Batch:
    """Some of the rows, with the histories of their customers alone."""
    histories = {"history", "weights"}
    found = {name: tensor[rows] for name, tensor in batch.items() if name not in histories}
    if "whose" in found:
        some, found["whose"] = torch.unique(found["whose"], return_inverse=True)
        found |= {name: batch[name][some] for name in histories}
    return found


class _Examples:
    """Customers of a week with their candidates, packed; an example is a customer.

    M rows of K customers, N numbers, T texts, O objectives, L places of a history.

    Args:
        ranker: that is to read them; its encoder is fitted.
        parts: whose rows they are.
        rows: M.
        negatives: see `NeuralRanker`.
        forget: the share of articles that is hidden.

    Attributes:
        numbers: M x N. texts: M x T. article: M. labels: M x O, -1 where it is not known.
        counts: for how many such rows each stands (M).
        came: whether it came to any of the objectives, or was shown (M).
        starts: where each customer's rows begin, and where the last one's end (K + 1).
        history, weights: K x L.
    """

    def __init__(
        self,
        ranker: NeuralRanker,
        parts: Parts,
        rows: int,
        negatives: int = 0,
        forget: float = 0.0,
    ) -> None:
        self.negatives = negatives
        self.forget = forget
        self.reads_history = ranker.reads_history
        spec = ranker.encoder.spec
        texts = len(spec.codes) - spec.numbers
        self.numbers = torch.empty((rows, spec.numbers), dtype=torch.float16)
        self.texts = torch.empty((rows, texts), dtype=torch.int16)
        self.article = torch.zeros(rows, dtype=torch.int32)
        self.labels = torch.empty((rows, len(ranker.objectives)), dtype=torch.int8)
        self.counts = torch.empty(rows)
        self.came = torch.zeros(rows, dtype=torch.bool)
        starts, end = [], 0
        history, weights = ranker.histories([], [])
        histories, weigh = [history.int()], [weights]
        for part in parts:
            if part.empty:
                continue
            ordered = part.iloc[_ordered(part)]
            here = slice(end, end + len(part))
            found = ranker.features(ordered)
            self.numbers[here], self.texts[here] = found["numbers"], found["texts"]
            labels = [ordered[LABELS[name]].to_numpy("int8") for name in ranker.objectives]
            self.labels[here] = torch.from_numpy(np.stack(labels, axis=1))
            self.came[here] = torch.from_numpy(told(ordered))
            self.counts[here] = torch.from_numpy(1 / kept_of(ordered)).float()
            first = np.flatnonzero(~ordered.duplicated(["week", "customer_id"]))
            starts.append(first + end)
            if self.reads_history:
                self.article[here] = ranker.places(ordered[ARTICLE].tolist()).int()
                history, weights = ranker.histories(*_lists(ordered.iloc[first]))
                histories.append(history.int())
                weigh.append(weights)
            end += len(part)
        self.starts = torch.from_numpy(np.concatenate([*starts, [end]]).astype("int64"))
        self.history, self.weights = torch.cat(histories), torch.cat(weigh)

    def log_odds(self) -> Tensor:
        """Of each objective in all data (O)."""
        counts = self.counts.double()[:, None] * (self.labels >= 0)
        came = (counts * self.labels).sum(dim=0)
        return torch.log(came / (counts.sum(dim=0) - came).clamp_min(1)).float()

    def __len__(self) -> int:
        return len(self.starts) - 1

    def batch(self, rows: Tensor, generator: Generator) -> Batch:
        first, count = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        whose = torch.arange(len(rows)).repeat_interleave(count)
        row = torch.arange(len(whose)) + (first - count.cumsum(0) + count)[whose]
        counts = self.counts[row]
        if self.negatives:
            came = self.came[row]
            others = torch.zeros(len(rows)).index_add(0, whose, (~came).float())
            share = (self.negatives / others.clamp_min(1)).clamp(max=1)[whose]
            taken = came | (torch.rand(len(row), generator=generator) < share)
            counts = torch.where(came, counts, counts / share)[taken]
            whose, row = whose[taken], row[taken]
        found = {
            "numbers": self.numbers[row].float(),
            "texts": self.texts[row].long(),
            "labels": self.labels[row].float(),
            "counts": counts,
            "whose": whose,
        }
        if self.reads_history:
            hidden = torch.rand(len(row), generator=generator) < self.forget
            found["article"] = self.article[row].long().masked_fill(hidden, 0)
            found["history"] = self.history[rows].long()
            found["weights"] = self.weights[rows]
        return found
