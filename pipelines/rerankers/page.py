"""A page of several carousels on which nothing stands twice."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from pipelines.article_facts import ArticleFacts
from pipelines.rerankers.base import RerankerError

Claim = Literal["first", "rank"]


def without_repeats(
    carousels: Sequence[Sequence[str] | np.ndarray],
    k: int | Sequence[int],
    facts: ArticleFacts | None = None,
    *,
    claim: Claim = "first",
    before: int = 0,
) -> list[np.ndarray]:
    """What each carousel shows, so that an article stands once on the page.

    A carousel that gives up an article fills up from its own further candidates.

    Args:
        carousels: each one's article ids, the best first and more than it shows, in order of the page.
        k: how many each shows, one number for all or one for each.
        facts: if given, colours of the same product count as one article.
        claim: who shows what several have. `first`: the carousel that stands first. `rank`: the one in
            which it ranks best, the first of those that rank it alike; so the first carousel does not take
            the best of all others.
        before: so many of the first carousels claim theirs before the others, whatever they rank.

    Returns:
        for each carousel the positions in its list (at most k), ascending.

    Raises:
        RerankerError: there are not as many k as carousels, or no such claim.
    """
    sizes = [k] * len(carousels) if isinstance(k, int) else list(k)
    if len(sizes) != len(carousels):
        raise RerankerError(
            f"There are {len(carousels)} carousels and {len(sizes)} sizes: give one for each."
        )
    if claim not in ("first", "rank"):
        raise RerankerError(f"No claim is called {claim!r}: say first or rank.")
    keys = [_keys(ids, facts) for ids in carousels]
    asked = [(nth, rank) for nth, own in enumerate(keys) for rank in range(len(own))]
    if claim == "rank":
        asked.sort(key=lambda pair: (pair[0] >= before, pair[1], pair[0]))
    taken: set[int | str] = set()
    shown: list[list[int]] = [[] for _ in carousels]
    for nth, rank in asked:
        key = keys[nth][rank]
        if len(shown[nth]) < sizes[nth] and key not in taken:
            taken.add(key)
            shown[nth].append(rank)
    return [np.array(positions, dtype="int64") for positions in shown]


def _keys(ids: Sequence[str] | np.ndarray, facts: ArticleFacts | None) -> list[int | str]:
    """What makes each article one: the number of its product, or its id where that is not known."""
    if facts is None:
        return list(ids)
    place = facts.assortment.places(list(ids))
    product = facts.groups["product"]
    return [
        int(product[at]) if at >= 0 and product[at] >= 0 else article
        for article, at in zip(ids, place, strict=True)
    ]
