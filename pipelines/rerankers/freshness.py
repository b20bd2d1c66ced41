"""A page that shows what came lately."""

import numpy as np

from pipelines.rerankers.base import Reranker, Slate, require_positive


class Freshness(Reranker):
    """Articles launched lately count more: relevance * (1 + strength * 2^(-days on sale / half_life)).

    With a strength of 1 an article counts double on its first day, and half as much more after a
    half-life. At 0 the order is the ranker's. Launched is the day of the first sale; what the facts do not
    know gains nothing.

    Args:
        strength: 0 or more.
        half_life: days in which the advantage halves.
        unsold: whether what never sold counts as launched now. The file of articles has no dates: where it
            names what comes only next season, False.
    """

    name = "freshness"

    def __init__(self, strength: float = 0.5, half_life: float = 14.0, unsold: bool = True) -> None:
        self.strength = require_positive(self.name, "strength", strength)
        self.half_life = require_positive(self.name, "half-life", half_life, zero=False)
        self.unsold = bool(unsold)

    def order(self, slate: Slate, k: int) -> np.ndarray:
        facts, known = slate.facts, np.flatnonzero(slate.article >= 0)
        places = slate.article[known]
        if not self.unsold:
            sold = ~np.isnan(facts.launched[places])
            known, places = known[sold], places[sold]
        worth = slate.relevance.copy()
        days = facts.days_on_sale(slate.moment, places)
        worth[known] *= 1 + self.strength * np.exp2(-days / self.half_life)
        return np.argsort(-worth, kind="stable")
