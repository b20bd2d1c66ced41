"""Building blocks of networks. B rows, F fields, L places of a sequence, D numbers of an embedding."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pipelines.neural.encoding import Spec


class MLP(nn.Sequential):
    """Dense layers with ReLU between them and none after the last.

    Args:
        sizes: of the input, of every layer, and of the output.
        dropout: after each ReLU.
    """

    def __init__(self, *sizes: int, dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for size, following in pairwise(sizes):
            if layers:
                layers += [nn.ReLU(), nn.Dropout(dropout)] if dropout else [nn.ReLU()]
            layers.append(nn.Linear(size, following))
        super().__init__(*layers)


class HashedEmbedding(nn.Module):
    """A table of fixed size for any number of ids: the sum of a row for each of several hashes.

    Two ids share all their rows only with chance buckets^-hashes (Svenstrup et al., NIPS 2017). The same id
    finds the same rows on every machine.

    Args:
        buckets: rows of the table.
        width: D.
        hashes: rows of an id.
    """

    def __init__(self, buckets: int, width: int, hashes: int = 2) -> None:
        super().__init__()
        self.buckets = buckets
        self.table = nn.Embedding(buckets, width)
        nn.init.normal_(self.table.weight, std=width**-0.5 / hashes**0.5)
        salts = [(0x9E3779B97F4A7C15 * (n + 1) + 2**63) % 2**64 - 2**63 for n in range(hashes)]
        self.register_buffer("salts", torch.tensor(salts), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 of any shape (`encoding.hashed` makes them of texts) -> ... x D."""
        return self.table(_mixed(ids[..., None] ^ self.salts) % self.buckets).sum(dim=-2)


def _mixed(ids: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele et al., OOPSLA 2014), which spreads what differs over all bits."""
    ids = (ids ^ _shifted(ids, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    ids = (ids ^ _shifted(ids, 27)) * (0x94D049BB133111EB - 2**64)
    return (ids ^ _shifted(ids, 31)) & (2**63 - 1)


def _shifted(ids: Tensor, bits: int) -> Tensor:
    """To the right without the sign, which torch would draw in."""
    return (ids >> bits) & (2 ** (64 - bits) - 1)


class BucketEmbedding(nn.Module):
    """One table for several fields of codes, each with rows of its own.

    Args:
        sizes: how many codes each field has (F).
        width: D.
    """

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        starts = torch.tensor([0, *sizes]).cumsum(0)
        self.register_buffer("starts", starts[:-1], persistent=False)
        # Codes that training never sees stay near nothing.
        self.table = nn.Embedding(max(1, int(starts[-1])), width)
        nn.init.normal_(self.table.weight, std=0.05)

    def forward(self, codes: Tensor) -> Tensor:
        """B x F int64 -> B x F x D."""
        return self.table(codes + self.starts)


def pooled(sequence: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of each row's sequence; zeros where all weights are zero.

    Args:
        sequence: B x L x D.
        weights: at least 0, and 0 for places that are padding (B x L).

    Returns:
        B x D.
    """
    weights = weights.to(sequence.dtype)
    total = (sequence * weights[..., None]).sum(dim=1)
    return total / weights.sum(dim=1, keepdim=True).clamp_min(1e-6)


class AttentionPooling(nn.Module):
    """The mean of a sequence weighed by how well each place fits a query (DIN; Zhou et al., KDD 2018).

    How well is what a perceptron with one hidden layer says of [query, place, query - place, query * place],
    on top of the place's own weight. G sequences, of which several queries may ask the same.
    """

    def __init__(self, width: int, hidden: int = 16) -> None:
        super().__init__()
        # The first layer in parts, for the first two are worked out once for a query and for a place.
        self.query = nn.Linear(width, hidden)
        self.place = nn.Linear(width, hidden, bias=False)
        self.both = nn.Linear(width, hidden, bias=False)
        self.fit = nn.Linear(hidden, 1, bias=False)

    def forward(self, query: Tensor, sequence: Tensor, weights: Tensor, whose: Tensor) -> Tensor:
        """B x D, G x L x D, G x L (0 for padding), and which sequence each query asks (B) -> B x D; zeros
        where all weights are zero."""
        there = weights > 0
        bonus = weights.clamp_min(1e-9).log().masked_fill(~there, -1e9)  # G x L
        asked = _each(sequence, whose)
        hidden = self.both(query[:, None] * asked) + self.query(query)[:, None]  # B x L x hidden
        hidden = torch.relu(hidden + _each(self.place(sequence), whose))
        scores = self.fit(hidden).squeeze(-1).float() + _each(bonus, whose)  # B x L
        shares = scores.softmax(dim=1) * _each(there, whose)
        return (shares.to(asked.dtype)[:, None] @ asked).squeeze(1)


def _each(of_sequences: Tensor, whose: Tensor) -> Tensor:
    """That of each query's sequence (B x ...); without a copy if all ask the same."""
    if len(of_sequences) == 1:
        return of_sequences.expand(len(whose), *of_sequences.shape[1:])
    return of_sequences[whose]


class FeatureEmbedding(nn.Module):
    """What a `FeatureEncoder` encoded, as fields of equal width: codes, then vectors.

    Args:
        spec: of the encoder.
        width: D.
    """

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.width = width
        self.codes = BucketEmbedding(spec.codes, width)
        self.vectors = nn.ModuleList(nn.Linear(size, width) for size in spec.vectors)

    @property
    def field_count(self) -> int:
        return len(self.spec.codes) + len(self.spec.vectors)

    @property
    def size(self) -> int:
        """Of the output: F D."""
        return self.field_count * self.width

    def fields(self, batch: dict[str, Tensor]) -> Tensor:
        """The encoded rows -> B x F x D."""
        found = [self.codes(batch["codes"])]  # B x C x D
        parts = batch["vectors"].split(list(self.spec.vectors), dim=1) if self.vectors else []
        found += [
            layer(part)[:, None] for layer, part in zip(self.vectors, parts, strict=True)
        ]  # B x 1 x D
        return torch.cat(found, dim=1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The encoded rows -> B x (F D)."""
        return self.fields(batch).flatten(1)
