"""Fairness to customers' tastes, and to articles that are seldom seen."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pipelines.article_facts import GROUPS, ArticleFacts
from pipelines.rerankers.base import (
    Reranker,
    RerankerError,
    Slate,
    by_rank,
    page_then_rest,
    require_positive,
    require_share,
)

SMOOTHING = 0.01
"""How much of the customer's mix is taken into the page's, so that a group that is not shown costs much and
not infinitely much (Steck's alpha)."""


class Calibrated(Reranker):
    """A page whose mix of product groups follows what the customer buys.

    A ranker that is right on average shows a customer who buys 70% dresses and 30% shoes dresses alone, and
    a customer of a small group what the many like: lesser interests and smaller groups are crowded out. The
    page is built up one by one, each time with the candidate with the most

        (1 - strength) * sum of relevance - strength * KL(customer's mix || page's mix)

    where relevance is counted in that of the best candidate. At 0 the order is the ranker's, at 1 only the
    mix counts. Steck, "Calibrated Recommendations", RecSys 2018.

    Customers of whom little is known are taken to buy what everybody buys, to the extent of `prior` lines;
    those without purchases keep the ranker's order.

    Args:
        strength: 0 to 1.
        kind: which groups, of `article_facts.GROUPS`.
        half_life: days after which a purchase counts half.
        prior: lines of the shop's mix that are added to the customer's.
    """

    name = "calibrated"

    def __init__(
        self,
        strength: float = 0.25,
        kind: str = "product_group",
        half_life: float = 180.0,
        prior: float = 2.0,
    ) -> None:
        if kind not in GROUPS:
            raise RerankerError(f"There are no groups by {kind!r}; there are: {', '.join(GROUPS)}.")
        self.strength = require_share(self.name, strength)
        self.kind = kind
        self.half_life = require_positive(self.name, "half-life", half_life, zero=False)
        self.prior = require_positive(self.name, "prior", prior)

    def mix(self, slate: Slate) -> np.ndarray | None:
        """The customer's share of each group (G,), None if nothing bought is known."""
        facts = slate.facts
        place = facts.assortment.places(slate.bought.ids)
        group = np.full(len(place), -1)
        group[place >= 0] = facts.groups[self.kind][place[place >= 0]]
        weight = slate.bought.times * np.exp2(-slate.bought.age / self.half_life)
        shop = facts.mix[self.kind]
        own = np.zeros(len(shop))
        np.add.at(own, group[group >= 0], weight[group >= 0])
        if not own.sum() > 0:
            return None
        own += self.prior * shop
        return np.asarray(own / own.sum())

    def order(self, slate: Slate, k: int) -> np.ndarray:
        count = min(k, len(slate))
        wanted = self.mix(slate) if count and self.strength else None
        if wanted is None:
            return np.arange(len(slate))
        # What has no group takes a place and gives nothing to any.
        number = slate.groups(self.kind)
        kinds, group = np.unique(number, return_inverse=True)
        target = np.where(kinds >= 0, wanted[kinds], 0.0)
        relevance = (1 - self.strength) * slate.relevance / slate.relevance[0]
        # Of a group the next is always its first: relevance never rises along the slate.
        queues = [np.flatnonzero(group == g) for g in range(len(kinds))]
        nth = np.zeros(len(kinds), dtype="int64")
        head = np.array([queue[0] for queue in queues])
        shown = np.zeros(len(kinds))
        value = relevance[head]
        page = np.empty(count, dtype="int64")
        for step in range(count):
            # Between candidates only the part of their own group differs.
            before = (1 - SMOOTHING) * shown / (step + 1) + SMOOTHING * target
            after = before + (1 - SMOOTHING) / (step + 1)
            gain = value + self.strength * target * np.log(
                np.divide(after, before, out=np.ones_like(after), where=target > 0)
            )
            best = int(gain.argmax())
            ties = np.flatnonzero(gain == gain[best])
            if len(ties) > 1:
                best = int(ties[head[ties].argmin()])
            page[step] = head[best]
            shown[best] += 1
            nth[best] += 1
            if nth[best] < len(queues[best]):
                head[best] = queues[best][nth[best]]
                value[best] = relevance[head[best]]
            else:
                value[best] = -np.inf
        return page_then_rest(page, len(slate))


class Exposure(Reranker):
    """What is shown more than its fair share counts less: relevance / max(1, times fair)^strength.

    At 0 the order is the ranker's; at 1 an article that has ten times its fair share of attention counts a
    tenth. How many times its fair share an article has is told by `measured_exposure` of a sample of pages.
    Without it what an article sells stands for how much it is shown, against an equal share for all
    that are on sale.

    Singh and Joachims ("Fairness of Exposure in Rankings", KDD 2018) draw each page at random from a mixture
    that gives every article exposure by its merit on average; Biega, Gummadi and Weikum ("Equity of
    Attention", SIGIR 2018) keep an account of attention and merit over all pages ever shown, and settle it
    with each. Here a page must be the same if it is asked for again, and knows of no other page. So this
    is the simple part of both: the ratio of an article's attention to what it is owed, measured beforehand,
    is a discount. It makes exposure more even and does not make it fair to a given degree: measure again
    with the discount on, and see.

    Args:
        strength: 0 or more.
        times: article id -> its attention in fair shares; those it does not name have no more than theirs.
    """

    name = "exposure"

    def __init__(self, strength: float = 0.2, times: Mapping[str, float] | None = None) -> None:
        self.strength = require_positive(self.name, "strength", strength)
        self.times = None if times is None else dict(times)

    def order(self, slate: Slate, k: int) -> np.ndarray:
        if self.times is None:
            times = slate.known(slate.facts.share, 0.0) * len(slate.facts.assortment.for_sale)
        else:
            of = self.times
            times = np.fromiter((of.get(i, 0.0) for i in slate.ids), "float64", len(slate))
        return np.argsort(-slate.relevance / np.maximum(times, 1.0) ** self.strength, kind="stable")


def measured_exposure(
    pages: pd.DataFrame, facts: ArticleFacts, k: int, *, by_sales: bool = False
) -> dict[str, float]:
    """How many times its fair share of attention each article has, of those that have more than theirs.

    Attention of the n-th place on a page is 1 / log2(n + 1), that of places after the k-th 0.

    Args:
        pages: article_id, rank (from 1) of a sample of pages.
        by_sales: an article is owed attention in proportion to what it sells (the disparate treatment of
            Singh and Joachims), at least an equal share of what is on sale; by default an equal share.
    """
    shown = pages[pages["rank"] <= k]
    attention = shown.assign(attention=by_rank(k)[shown["rank"].to_numpy() - 1])
    total = attention.groupby("article_id")["attention"].sum()
    equal = 1 / max(len(facts.assortment.for_sale), 1)
    owed = np.full(len(facts.assortment), equal)
    if by_sales:
        owed = np.maximum(facts.share, equal)
        owed = owed / owed[facts.assortment.on_sale].sum()
    place = facts.assortment.places(total.index.to_numpy(dtype=object))
    times = total.to_numpy() / max(total.sum(), 1e-12)
    times = times / np.where(place >= 0, np.append(owed, equal)[place], equal)
    return {str(i): float(t) for i, t in zip(total.index, times, strict=True) if t > 1}
