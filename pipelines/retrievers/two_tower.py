"""Two towers: one makes a vector of a customer, one of an article, and their product says how well they fit.

Covington, Adams and Sargin, "Deep neural networks for YouTube recommendations" (RecSys 2016); sampled softmax
with correction for how often articles are drawn as in Yi et al. (RecSys 2019), with evenly drawn articles
added to those of the batch as in Yang et al. (WWW 2020).

An article is the sum of embeddings of its id (hashed) and of all that is known of its content, as in LightFM
(Kula, 2015), so one that was never sold has a vector too. The article's tower adds how it sells; the
customer's tower adds the profile to the means of what the customer did, weighed in several ways.

N customers, A articles, D numbers of a vector, R rows of what customers did.
"""

import hashlib
import json
import math
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from pipelines.assortment import Assortment
from pipelines.columns import Table, as_frame
from pipelines.nearest import Index
from pipelines.negatives import FOR_NEUMF, NEGATIVES
from pipelines.neural.encoding import Spec, part
from pipelines.neural.layers import MLP, FeatureEmbedding, HashedEmbedding
from pipelines.neural.losses import sampled_softmax
from pipelines.neural.training import Batch, TrainingSettings, process_count, seeded, train
from pipelines.neural.weights import load_network, save_network
from pipelines.retrievers.base import NOTHING, Asked, Past, Proposals, Retriever, ranked
from pipelines.retrievers.tower_data import (
    POOLS,
    Doings,
    Encoders,
    Purchases,
    TowerExamples,
    doings,
    rows_of,
)

Top = Literal["dot", "mlp"]

_BLOCK = 4_096
"""Articles that go through a tower at a time."""
_SHORT = 1_000_000
"""Purchases times epochs that are learnt in a minute or two: such a run starts again if it was killed."""
_LEAST_STEPS = 300
_RIVALS = 64
"""Articles of a batch against which the MLP on top learns."""
_SHORTLIST = 4
"""How many times as many articles as are wanted the MLP on top puts in order."""
_JUDGED = 100_000
"""Pairs of customer and article that go through the MLP on top at a time."""


@dataclass(frozen=True)
class Size:
    """How large the towers are and how long they learn.

    Attributes:
        dimension: D.
        hidden: width of the layer inside each tower.
        field: width of the embedding of each field of the profile and of sales.
        buckets: rows of the table for hashed article ids.
        batch_size: purchases of a step.
        epochs: how many times each purchase is seen.
    """

    dimension: int
    hidden: int
    field: int
    buckets: int
    batch_size: int
    epochs: int


def size_for(purchases: int, articles: int) -> Size:
    """The size that so many purchases to learn from can fill.

    Widths grow with about the cube root of the purchases and batches with their square root: 600 purchases
    get 16 numbers in batches of 32, a million 64 in batches of 1,024. Every purchase is seen once, for
    networks with embeddings of ids begin to learn by heart when they see one again (Zhang et al., "One-epoch
    phenomenon", CIKM 2022); more often only where there are too few for `_LEAST_STEPS` steps.
    """
    log = math.log2(max(2, purchases))
    dimension = int(np.clip(2 ** round(log / 3.3), 16, 128))
    batch_size = int(np.clip(2 ** round(log / 2), 32, 2048))
    steps = -(-purchases // batch_size)
    return Size(
        dimension=dimension,
        hidden=4 * dimension,
        field=max(4, dimension // 8),
        buckets=int(np.clip(2 ** round(math.log2(max(2, articles))), 64, 2**20)),
        batch_size=batch_size,
        epochs=-(-_LEAST_STEPS * process_count() // steps),
    )


class Towers(nn.Module):
    """Both towers, and the MLP on top if there is one.

    Args:
        customer: of the encoder of customers; `content` and `sales` likewise of articles.
        top: `dot` or `mlp`.
        forget: share of the articles of a batch whose id training hides, so that content must do, and of
            customers of whom it hides what they did, so that the profile must.
        dropout: inside the towers.
    """

    def __init__(
        self,
        customer: Spec,
        content: Spec,
        sales: Spec,
        size: Size,
        top: Top = "dot",
        forget: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        width = size.dimension
        self.forget = forget
        self.ids = HashedEmbedding(size.buckets, width)
        # Ids that are seldom seen stay near nothing, and their content speaks.
        nn.init.normal_(self.ids.table.weight, std=0.01)
        self.content = FeatureEmbedding(content, width)
        self.sales = FeatureEmbedding(sales, size.field)
        self.article = MLP(
            width + self.sales.size + sales.numbers, size.hidden, width, dropout=dropout
        )
        self.profile = FeatureEmbedding(customer, size.field)
        self.customer = MLP(
            POOLS * (width + 1) + self.profile.size + customer.numbers,
            size.hidden,
            width,
            dropout=dropout,
        )
        self.habits = nn.Parameter(torch.full((POOLS,), 1.0 / POOLS))
        self.sharpness = nn.Parameter(torch.tensor(math.log(10.0)))
        self.top = MLP(3 * width, size.hidden, 1) if top == "mlp" else None

    def items(self, content: Batch, ids: Tensor) -> Tensor:
        """What articles are, whatever they sell: A x D.

        Args:
            content: encoded.
            ids: hashes, 0 for an article whose id says nothing (A,).
        """
        known = ids != 0
        if self.training:
            known = known & (torch.rand(len(ids), device=ids.device) >= self.forget)
        return self.content.fields(content).sum(dim=1) + self.ids(ids) * known[:, None]

    def articles(self, items: Tensor, sales: Batch) -> Tensor:
        """A x D, each of length 1."""
        seen = torch.cat([items, self.sales(sales), sales["numbers"]], dim=1)
        return functional.normalize(items + self.article(seen), dim=1)

    def customers(self, profile: Batch, doer: Tensor, done: Tensor, weights: Tensor) -> Tensor:
        """N x D, each of length 1.

        Args:
            profile: encoded rows of customers.
            doer: position of the customer (R,).
            done: what each article that they did something with is (R x D).
            weights: R x POOLS.
        """
        count, width = len(profile["codes"]), done.shape[1]
        if self.training:
            shown = torch.rand(count, device=done.device) >= self.forget
            weights = weights * shown[doer, None]
        sums = done.new_zeros(count, POOLS, width + 1)
        # The last column sums up the weights alone.
        rows = torch.cat([done, done.new_ones(len(done), 1)], dim=1)
        sums = sums.index_add(0, doer, weights[:, :, None].to(rows.dtype) * rows[:, None, :])
        total = sums[:, :, -1:]
        pools = sums[:, :, :-1] / total.clamp_min(1e-6)  # N x POOLS x D
        amounts = torch.log1p(total).squeeze(2)  # N x POOLS
        seen = torch.cat(
            [pools.flatten(1), amounts, self.profile(profile), profile["numbers"]], dim=1
        )
        mixed = (pools * self.habits[:, None]).sum(dim=1)
        return functional.normalize(mixed + self.customer(seen), dim=1)

    def scale(self) -> Tensor:
        """What products are multiplied with: one over the temperature."""
        return self.sharpness.clamp(max=math.log(33.0)).exp()

    def judged(self, customers: Tensor, articles: Tensor) -> Tensor:
        """Logits of the MLP on top, N x A.

        Args:
            customers: N x D.
            articles: A x D, or N x A x D if each customer has their own.
        """
        assert self.top is not None
        each = articles if articles.dim() == 3 else articles.expand(len(customers), -1, -1)
        whose = customers[:, None].expand_as(each)
        found: Tensor = self.top(torch.cat([whose, each, whose * each], dim=2)).squeeze(2)
        return found

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Vectors of the batch's customers and of all its articles, as `TowerExamples` gives them."""
        items = self.items(part("content", batch), batch["ids"])
        articles = self.articles(items[batch["article"]], part("sales", batch))
        customers = self.customers(
            part("customer", batch), batch["doer"], items[batch["done"]], batch["weights"]
        )
        return customers, articles


def tower_loss(towers: nn.Module, batch: Batch) -> Tensor:
    """Softmax of what was bought against every other article of the batch; an MLP on top learns the same
    against some of them."""
    assert isinstance(towers, Towers)
    customers, articles = towers(batch)
    log_q, own_log_q = batch["log_q"], batch["own_log_q"]
    count, shared = len(customers), len(log_q)
    article = batch["article"][:shared]
    hits = article[:count, None] == article[None, :]  # B x shared
    articles, own = articles[:shared], articles[shared:].view(*own_log_q.shape, customers.shape[1])

    def lost(bought: Tensor, others: Tensor, own: Tensor, log_q: Tensor, columns: Tensor) -> Tensor:
        # What is drawn for a purchase alone is in nobody else's sum.
        against = torch.cat([others, own], dim=1)
        chances = torch.cat([log_q[columns].expand(count, -1), own_log_q], dim=1)
        masked = torch.cat([hits[:, columns], torch.zeros_like(own, dtype=torch.bool)], dim=1)
        return sampled_softmax(bought, against, log_q[:count], chances, hits=masked)

    every = torch.arange(shared, device=article.device)
    # Products of mixed precision are off by a tenth where they are multiplied with 33.
    with torch.autocast(article.device.type, enabled=False):
        scores = customers.float() @ articles.float().T * towers.scale()
        of_own = torch.einsum("bd,bkd->bk", customers.float(), own.float()) * towers.scale()
    found = lost(scores[every[:count], every[:count]], scores, of_own, log_q, every)
    if towers.top is None:
        return found
    # The MLP learns from the towers, which learn from the product alone: it is what finds the shortlist.
    customers, articles, own = customers.detach(), articles.detach(), own.detach()
    rivals = every[torch.randperm(shared, device=every.device)[:_RIVALS]]
    return found + lost(
        towers.judged(customers, articles[:count, None]).squeeze(1),
        towers.judged(customers, articles[rivals]),
        towers.judged(customers, own),
        # So many columns fewer are drawn for each purchase.
        log_q + math.log(len(rivals) / shared),
        rivals,
    )


class _CustomerTower:
    """What `Towers.customers` gives, without torch, which takes its time over every small step."""

    def __init__(self, towers: Towers) -> None:
        profile = towers.profile
        self.codes = profile.codes.table.weight.detach().numpy()
        self.starts = profile.codes.starts.numpy()
        self.ends = np.cumsum(profile.spec.vectors)[:-1]
        self.vectors = [_layers(nn.Sequential(layer)) for layer in profile.vectors]
        self.top = _layers(towers.customer)
        self.habits = towers.habits.detach().numpy()

    def __call__(self, profile: dict[str, np.ndarray], did: Doings, done: np.ndarray) -> np.ndarray:
        """N x D, each of length 1; `done` is what each row of `did` is about (R x D)."""
        count, width = len(profile["codes"]), done.shape[1]
        sums = np.zeros((count, POOLS, width), dtype="float32")
        total = np.zeros((count, POOLS), dtype="float32")
        if len(done):
            first = np.flatnonzero(np.diff(did.customer, prepend=-1))
            whose = did.customer[first]
            sums[whose] = np.add.reduceat(did.weights[:, :, None] * done[:, None, :], first)
            total[whose] = np.add.reduceat(did.weights, first)
        pools = sums / np.maximum(total, 1e-6)[:, :, None]
        parts = [pools.reshape(count, -1), np.log1p(total)]
        parts.append(self.codes[profile["codes"] + self.starts].reshape(count, -1))
        if self.vectors:
            stretches = np.split(profile["vectors"], self.ends, axis=1)
            parts += [_through(*both) for both in zip(self.vectors, stretches, strict=True)]
        parts.append(profile["numbers"])
        found = self.habits @ pools + _through(self.top, np.concatenate(parts, axis=1))
        length = np.sqrt(np.einsum("nd,nd->n", found, found))
        return np.asarray(found / np.maximum(length, 1e-12)[:, None])


def _layers(network: nn.Sequential) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (in x out) and biases of the dense layers."""
    dense = [layer for layer in network if isinstance(layer, nn.Linear)]
    return [
        (np.ascontiguousarray(d.weight.detach().numpy().T), d.bias.detach().numpy()) for d in dense
    ]


def _through(layers: list[tuple[np.ndarray, np.ndarray]], values: np.ndarray) -> np.ndarray:
    """Dense layers with ReLU between them, as `MLP`."""
    for number, (weight, bias) in enumerate(layers):
        if number:
            np.maximum(values, 0, out=values)
        values = values @ weight + bias
    return values


class TwoTower(Retriever):
    """Articles on sale whose vectors are nearest to the customer's.

    With `top="dot"` an article's score is sigmoid(product / temperature). With `top="mlp"` the product only
    finds a shortlist, `_SHORTLIST` times as long as what is wanted, and an MLP over both vectors puts it in
    order: score sigmoid(MLP).

    Cost of fitting: the features of every moment at which somebody bought, then epochs x purchases times a
    few products of hidden x fields; of a request: one row through the customer's tower and a search.

    Args:
        top: `dot` or `mlp`.
        weeks: look-back in weeks of the purchases to learn from, at most.
        purchases: how many of them, at most, the newest.
        negatives: articles on sale drawn for each batch, as a share of it.
        own: a strategy of `pipelines.negatives` that draws negatives for each purchase, none if empty. They
            stand beside those of the batch, so what they draw counts for more than its share: hard
            negatives, of which the model is to be surer than the purchases alone would make it.
        own_count: how many of them.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        forget: share of articles whose id training hides, and of customers whose past it hides.
        dropout: inside the towers.
        seed: of weights, order and draws.
    """

    name = "two_tower"

    def __init__(
        self,
        top: Top = "dot",
        weeks: int = 12,
        purchases: int = 2_000_000,
        negatives: float = 1.0,
        own: str = "",
        own_count: int = FOR_NEUMF,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.01,
        forget: float = 0.1,
        dropout: float = 0.1,
        seed: int = 7,
    ) -> None:
        self.top: Top = top
        self.weeks = weeks
        self.purchases = purchases
        self.negatives = negatives
        self.own = own
        self.own_count = own_count
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.forget = forget
        self.dropout = dropout
        self.seed = seed
        self.towers: Towers | None = None
        """None where there was nothing to learn from."""

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        self.towers = None
        own = NEGATIVES[self.own](self.own_count) if self.own else None
        data = Purchases.before(past, self.weeks, self.purchases, self.seed, own)
        if data is None:
            return self
        self.encoders = data.encoders
        self.size = size_for(len(data), int((data.ids != 0).sum()))
        towers = self._made()
        settings = TrainingSettings(
            epochs=self.size.epochs,
            batch_size=self.size.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            cosine=True,
            seed=self.seed,
        )
        train(
            towers,
            tower_loss,
            TowerExamples(data, self.negatives),
            settings,
            checkpoint=self.checkpoint(past) if len(data) * self.size.epochs > _SHORT else None,
            progress=past.progress,
        )
        with torch.inference_mode():
            self._take(towers, *self._embedded(towers, data))
        queries = self._sample(data)
        self.index = Index.build(
            self.vectors[self.assortment.for_sale],
            made_for=self.version(),
            queries=queries,
        )
        return self

    def _made(self) -> Towers:
        of = self.encoders
        specs = (of.customer.features.spec, of.content.features.spec, of.sales.features.spec)
        with seeded(self.seed):
            return Towers(*specs, self.size, self.top, self.forget, self.dropout)

    def _embedded(self, towers: Towers, data: Purchases) -> tuple[np.ndarray, np.ndarray]:
        """What all articles are, and their vectors as of the cutoff (A x D each)."""
        items, vectors = [], []
        for places_here in torch.arange(len(data.ids)).split(_BLOCK):
            items.append(towers.items(rows_of(data.content, places_here), data.ids[places_here]))
            # Week 0 stands first: a place is also the row of its sales at the cutoff.
            vectors.append(towers.articles(items[-1], rows_of(data.sales, places_here)))
        return torch.cat(items).numpy(), torch.cat(vectors).numpy()

    def _take(self, towers: Towers, items: np.ndarray, vectors: np.ndarray) -> None:
        self.towers, self.items, self.vectors = towers, items, vectors
        self._scale = float(towers.scale().detach())
        self._customer_tower = _CustomerTower(towers)

    def version(self) -> str:
        """A fingerprint of weights and encoders: an index is of one pair of towers."""
        assert self.towers is not None
        found = hashlib.sha256()
        for name, tensor in sorted(self.towers.state_dict().items()):
            found.update(name.encode() + tensor.numpy().tobytes())
        for encoder in vars(self.encoders).values():
            found.update(json.dumps(encoder.said()).encode())
        return found.hexdigest()[:16]

    def _sample(self, data: Purchases, count: int = 500) -> np.ndarray:
        """Vectors of customers that may ask, to measure an index with."""
        chosen = np.unique(np.linspace(0, len(data) - 1, count).astype("int64"))
        batch = TowerExamples(data, 0).batch(torch.from_numpy(chosen), torch.Generator())
        assert self.towers is not None
        with torch.inference_mode():
            return self.towers(batch)[0].numpy()

    def customers(self, asked: Asked) -> np.ndarray:
        """Vectors of the customers (N x D)."""
        encoded = self.encoders.customer.encode(as_frame(asked.state), asked.moment)
        did = doings(asked, self.assortment)
        return self._customer_tower(
            {name: tensor.numpy() for name, tensor in encoded.items()}, did, self.items[did.article]
        )

    def propose(self, asked: Asked, k: int) -> Proposals:
        if self.towers is None or not len(asked) or not len(self.index):
            return NOTHING
        vectors = self.customers(asked)
        wanted = k if self.top == "dot" else k * _SHORTLIST
        scores, found = self.index.search(vectors, wanted)
        article = self.assortment.for_sale[found]  # N x K
        logits = scores.astype("float64") * self._scale
        if self.top == "mlp":
            logits = self._judged(vectors, article)
        customer = np.repeat(np.arange(len(vectors)), article.shape[1])
        known = found.ravel() >= 0
        best = ranked(customer[known], article.ravel()[known], logits.ravel()[known], k)
        return best._replace(score=1 / (1 + np.exp(-best.score)))

    def _judged(self, vectors: np.ndarray, article: np.ndarray) -> np.ndarray:
        """N x K logits of the MLP on top."""
        assert self.towers is not None
        found = np.empty(article.shape)
        at_once = max(1, _JUDGED // max(1, article.shape[1]))
        with torch.inference_mode():
            for start in range(0, len(vectors), at_once):
                some = slice(start, start + at_once)
                theirs = torch.from_numpy(self.vectors[article[some]])
                found[some] = self.towers.judged(torch.from_numpy(vectors[some]), theirs).numpy()
        return found

    def because(self, asked: Asked, pairs: Table) -> list[str | None]:
        found: list[str | None] = [None] * len(pairs)
        if self.towers is None:
            return found
        history = asked.history(self.assortment)
        customers = asked.positions(pairs)
        wanted = self.assortment.places(list(pairs["article_id"]))
        for pair, (customer, place) in enumerate(zip(customers, wanted, strict=True)):
            own = slice(*np.searchsorted(history.customer, [customer, customer + 1]))
            bought = history.article[own]
            if customer < 0 or place < 0 or not len(bought):
                continue
            shares = self.items[bought] @ self.vectors[place] * history.weight[own]
            best = int(shares.argmax())
            if shares[best] > 0:
                found[pair] = str(self.assortment.ids[bought[best]])
        return found

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return f"Suits somebody who bought {led_by}." if led_by else "Suits you, we think."

    def save(self, folder: Path) -> None:
        self.assortment.save(folder)
        if self.towers is None:
            return
        (folder / "size.json").write_text(json.dumps(asdict(self.size)))
        self.encoders.save(folder)
        save_network(self.towers, folder / "towers.safetensors")
        save_file({"items": self.items, "vectors": self.vectors}, folder / "articles.safetensors")
        self.index.save(folder)

    def load(self, folder: Path) -> Self:
        self.assortment = Assortment.load(folder)
        self.towers = None
        if not (folder / "size.json").exists():
            return self
        self.size = Size(**json.loads((folder / "size.json").read_text()))
        self.encoders = Encoders.load(folder)
        towers = load_network(self._made(), folder / "towers.safetensors")
        saved = load_file(folder / "articles.safetensors")
        self._take(towers, saved["items"], saved["vectors"])
        self.index = Index.load(folder, made_for=self.version())
        return self
