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
        sparse: gradients only for rows that a batch touches; for tables much larger than a batch.
    """

    def __init__(self, buckets: int, width: int, hashes: int = 2, sparse: bool = False) -> None:
        super().__init__()
        self.buckets = buckets
        self.table = nn.Embedding(buckets, width, sparse=sparse)
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
        sparse: as in `HashedEmbedding`.
    """

    def __init__(self, sizes: Sequence[int], width: int, sparse: bool = False) -> None:
        super().__init__()
        starts = torch.tensor([0, *sizes]).cumsum(0)
        self.register_buffer("starts", starts[:-1], persistent=False)
        # Codes that training never sees stay near nothing.
        self.table = nn.Embedding(max(1, int(starts[-1])), width, sparse=sparse)
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
    """The mean of a sequence weighed by how well each place fits a query (DIN; Zhou et al., KDD 2018)."""

    def __init__(self, width: int, hidden: int = 32) -> None:
        super().__init__()
        self.fit = MLP(4 * width, hidden, 1)

    def forward(self, query: Tensor, sequence: Tensor, weights: Tensor) -> Tensor:
        """B x D, B x L x D, B x L (0 for padding) -> B x D; zeros where all weights are zero."""
        asked = query[:, None].expand_as(sequence)
        both = torch.cat([asked, sequence, asked - sequence, asked * sequence], dim=-1)
        scores = self.fit(both).squeeze(-1).float()  # B x L
        scores = scores.masked_fill(weights <= 0, -1e9)
        return pooled(sequence, scores.softmax(dim=1) * (weights > 0))


class FeatureEmbedding(nn.Module):
    """What a `FeatureEncoder` encoded, as fields of equal width: codes, then vectors, then sequences.

    Args:
        spec: of the encoder.
        width: D.
        tables: for sequences (by name), an embedding to share, such as that of the articles; the others
            have one of their own.
    """

    def __init__(self, spec: Spec, width: int, tables: dict[str, nn.Module] | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.width = width
        self.codes = BucketEmbedding(spec.codes, width)
        self.vectors = nn.ModuleList(nn.Linear(size, width) for size in spec.vectors)
        shared = tables or {}
        self.sequences = nn.ModuleDict(
            {
                name: shared[name] if name in shared else BucketEmbedding([size], width)
                for name, size in spec.sequences.items()
            }
        )

    @property
    def field_count(self) -> int:
        return len(self.spec.codes) + len(self.spec.vectors) + len(self.spec.sequences)

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
        for name, table in self.sequences.items():
            sequence = table(batch[name])  # B x L x D
            found.append(pooled(sequence, batch[f"{name}.weights"])[:, None])
        return torch.cat(found, dim=1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The encoded rows -> B x (F D)."""
        return self.fields(batch).flatten(1)
