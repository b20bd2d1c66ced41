"""A page whose articles are unlike each other."""

import numpy as np

from pipelines.rerankers.base import Reranker, Slate, page_then_rest, require_share

RIDGE = 1e-3
"""How much of itself even a twin adds: sets of twins, or of more articles than the vectors have
dimensions, can then still be compared."""

DECIMALS = 9
"""Twins differ in the last digits of matrix products; rounded, the earlier comes first."""


class Dpp(Reranker):
    """The likeliest set under a determinantal point process, chosen greedily.

    The page is built up one by one, each time with the candidate that most adds to

        (1 - strength) * sum of log(relevance) + strength * log det(likeness of the chosen)

    which is, times strength, the logarithm of the determinant of the kernel quality x likeness x quality with
    quality = relevance^((1 - strength) / (2 strength)). The determinant of likeness is the squared volume that
    the articles' unit vectors span: two that are alike span little. A candidate adds to it by how much of its
    vector lies outside of what is chosen, 1 at first and nothing for a twin, squared. So strength is the rate of
    exchange: at 0 the order is the ranker's; at 0.5 one that is half as likely is chosen if twice as much of
    it lies outside; at 1 only likeness counts. What the facts do not know is unlike everything.

    Chen, Zhang and Zhou, "Fast Greedy MAP Inference for Determinantal Point Process to Improve
    Recommendation Diversity", NeurIPS 2018: one row of the Cholesky factor for each article chosen, O(k² C)
    in all. Quality is the logarithm of the chance there, so that only ratios of chances count.

    Args:
        strength: 0 to 1.
    """

    name = "dpp"

    def __init__(self, strength: float = 0.2) -> None:
        self.strength = require_share(self.name, strength)

    def order(self, slate: Slate, k: int) -> np.ndarray:
        size = len(slate)
        count = min(k, size)
        if not count or not self.strength:
            return np.arange(size)
        vectors = slate.vectors
        own = np.where((vectors != 0).any(axis=1), RIDGE, 1.0)
        quality = (1 - self.strength) * np.log(slate.relevance)
        left = np.ones(size)
        """Squared length of what lies outside of the chosen."""
        factor = np.empty((count, size))
        page = np.empty(count, dtype="int64")
        gain = quality.round(DECIMALS)
        for step in range(count):
            best = int(gain.argmax())
            page[step] = best
            likeness = vectors @ vectors[best]
            likeness *= 1 - RIDGE
            likeness[best] += own[best]
            row = factor[step]
            np.subtract(likeness, factor[:step, best] @ factor[:step], out=row)
            row /= np.sqrt(left[best])
            left -= row * row
            np.maximum(left, RIDGE * RIDGE, out=left)
            np.log(left, out=gain)
            gain *= self.strength
            gain += quality
            np.round(gain, DECIMALS, out=gain)
            gain[page[: step + 1]] = -np.inf
        return page_then_rest(page, size)


class Mmr(Reranker):
    """Maximal marginal relevance: each is weighed against the one chosen that is most like it.

    The page is built up one by one, each time with the candidate with the most

        (1 - strength) * relevance - strength * likeness to the nearest of those chosen

    where relevance is counted in that of the best candidate, so that both lie between 0 and 1. At 0 the
    order is the ranker's, at 1 only likeness counts. A likeness below 0 counts as 0, as does that of what the
    facts do not know.

    Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and
    Producing Summaries", SIGIR 1998. Unlike a determinant it sees pairs only: three articles that are each
    half like the others count as much as two.

    Args:
        strength: 0 to 1.
    """

    name = "mmr"

    def __init__(self, strength: float = 0.2) -> None:
        self.strength = require_share(self.name, strength)

    def order(self, slate: Slate, k: int) -> np.ndarray:
        size = len(slate)
        count = min(k, size)
        if not count or not self.strength:
            return np.arange(size)
        vectors = slate.vectors
        quality = (1 - self.strength) * slate.relevance / slate.relevance[0]
        nearest = np.zeros(size)
        page = np.empty(count, dtype="int64")
        for step in range(count):
            gain = np.round(quality - self.strength * nearest, DECIMALS)
            gain[page[:step]] = -np.inf
            best = int(gain.argmax())
            page[step] = best
            np.maximum(nearest, vectors @ vectors[best], out=nearest)
        return page_then_rest(page, size)
