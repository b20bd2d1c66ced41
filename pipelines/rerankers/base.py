"""What every re-ranker is: it puts one customer's ranked candidates into another order.

Candidates come as a `Slate`, arrays in the ranker's order, and positions in it come out. So re-rankers
chain, the same code answers one request and an evaluation of thousands, and none of them has a state.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import pandas as pd

from feature_repo.errors import LookbookError
from pipelines.article_facts import ArticleFacts
from pipelines.columns import Coded, SameTable, Table, coded, objects, taken
from pipelines.retrievers.base import PURCHASE, days_since_epoch, recent_lists, session_lists

LEAST = 1e-6
"""No chance counts as less, so that every candidate can be compared by how many times as likely it is."""
CHANCE = "chance"
RANK_BEFORE = "rank_before"
ON_SLOT = "on_slot"
Brought = Literal["pinned", "sponsored"]
"""Why an article must be a candidate, whether a retriever names it or not."""


class RerankerError(LookbookError):
    """A re-ranker cannot be made as it was asked for; the text says what it takes."""


class Bought(NamedTuple):
    """What the customer bought, each article once.

    Attributes:
        ids: article ids (H,).
        age: days since it was last bought (H,).
        times: lines bought (H,).
    """

    ids: np.ndarray
    age: np.ndarray
    times: np.ndarray


NOTHING = Bought(np.array([], dtype=object), np.array([]), np.array([]))


@dataclass(frozen=True)
class Slate:
    """One customer's C candidates, the best first; made by `Slate.of`.

    The chance belongs to the place in the order: it never rises from one candidate to the next, and
    after a re-ranker has moved candidates the first of them has the highest chance again. So the next
    one of a chain works from the order that it gets.

    Attributes:
        ids: article ids (C,).
        article: their places in the assortment of the facts (C,), -1 for those that it does not know.
        relevance: from 1 to `LEAST` (C,), never rising.
        facts: what is known of articles.
        moment: when it is asked (UTC).
        bought: what the customer bought.
        out_of_stock: ids of articles that cannot be had now.
        sponsored: ids of articles that somebody pays for, the first before all.
    """

    ids: np.ndarray
    article: np.ndarray
    relevance: np.ndarray
    facts: ArticleFacts
    moment: datetime
    bought: Bought = NOTHING
    out_of_stock: Collection[str] = ()
    sponsored: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        ids: Sequence[str] | np.ndarray,
        facts: ArticleFacts,
        moment: datetime,
        *,
        chance: np.ndarray | None = None,
        bought: Bought = NOTHING,
        out_of_stock: Collection[str] = (),
        sponsored: Sequence[str] = (),
        article: np.ndarray | None = None,
    ) -> Self:
        """A slate of candidates in the ranker's order.

        Args:
            chance: of each candidate (C,), as a ranker's calibration gives it; stretches of equal
                chances become slopes. Without it the n-th counts 1 / log2(n + 1), as in DCG.
            article: their places in the assortment of the facts, if they are known already.
        """
        listed = np.asarray(ids, dtype=object)
        if chance is None:
            relevance = by_rank(len(listed))
        else:
            relevance = _sloping(np.nan_to_num(np.asarray(chance, dtype="float64")))
        if article is None:
            article = facts.assortment.places(listed)
        return cls(listed, article, relevance, facts, moment, bought, out_of_stock, sponsored)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def vectors(self) -> np.ndarray:
        """Unit vectors whose product is the likeness of two candidates (C x D float64), zeros where
        nothing is known: such an article is like none."""
        return self.known(self.facts.vectors, 0.0)

    def groups(self, kind: str) -> np.ndarray:
        """The number of each candidate's group (C,), -1 where it is not known."""
        return self.known(self.facts.groups[kind], -1).astype("int64")

    def known(self, values: np.ndarray, otherwise: float) -> np.ndarray:
        """Of values by article those of the candidates (C, ...) float64.

        Args:
            otherwise: for articles that the facts do not know.
        """
        found = np.full((len(self), *values.shape[1:]), otherwise, dtype="float64")
        has = self.article >= 0
        found[has] = values[self.article[has]]
        return found

    def taken(self, order: np.ndarray) -> "Slate":
        """The candidates at these positions, in this order."""
        return replace(
            self,
            ids=self.ids[order],
            article=self.article[order],
            relevance=np.sort(self.relevance[order])[::-1].copy(),
        )


NOWHERE = np.array([], dtype="int64")


class Arranged(NamedTuple):
    """A page, and what stands on it for which reason.

    Attributes:
        order: as `Reranker.order` gives it.
        pinned: which positions of the slate are pinned to the page.
        sponsored: which stand on a sponsored slot; customers must be told.
    """

    order: np.ndarray
    pinned: np.ndarray = NOWHERE
    sponsored: np.ndarray = NOWHERE


class Reranker(ABC):
    """From one order of a customer's candidates to another.

    Settings are keyword arguments of `__init__` that JSON can hold. One of them is `strength`, and at 0
    the ranker's order stays as it is; rules have none. The same slate always gets the same answer, and
    of equal candidates the earlier stays before the other.
    """

    name: ClassVar[str]

    @abstractmethod
    def order(self, slate: Slate, k: int) -> np.ndarray:
        """Positions in the slate in their new order (at most C), each once.

        The first k are the page; behind it stands what would fill it up. Only what `left_out` says is
        missing.

        Args:
            k: places on the page, 0 or more.
        """

    def arranged(self, slate: Slate, k: int) -> Arranged:
        """As `order`, with the places that are given for a reason of their own."""
        return Arranged(self.order(slate, k))

    def left_out(self, slate: Slate) -> np.ndarray:
        """Which candidates may on no account be shown (C,)."""
        return np.zeros(len(slate), dtype=bool)

    def brings(self, reason: Brought) -> Sequence[str]:
        """Ids of articles that must be candidates of everybody for it, being pinned or sponsored."""
        return ()

    def named(self) -> list[str]:
        """Ids of articles that its settings name."""
        return []

    def settings(self) -> dict[str, Any]:
        """What it was made with."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


class Chain(Reranker):
    """Several re-rankers, one after the other.

    What any of them leaves out is taken out before the first, so that none chooses what the next must
    take away.

    Args:
        most: so many of the candidates that are left may come to the page, beside those that are pinned or
            sponsored; all if None. The others stand behind in their order.
    """

    name = "chain"

    def __init__(self, steps: Sequence[Reranker], most: int | None = None) -> None:
        self.steps = tuple(steps)
        self.most = most

    def order(self, slate: Slate, k: int) -> np.ndarray:
        return self.arranged(slate, k).order

    def arranged(self, slate: Slate, k: int) -> Arranged:
        order = np.flatnonzero(~self.left_out(slate))
        behind = NOWHERE
        if self.most is not None and len(order) > self.most:
            wanted = {*self.brings("pinned"), *self.brings("sponsored"), *slate.sponsored}
            first = np.arange(len(order)) < max(self.most, k)
            if wanted:
                first |= np.fromiter((i in wanted for i in slate.ids[order]), bool, len(order))
            order, behind = order[first], order[~first]
        pinned, sponsored = NOWHERE, NOWHERE
        for step in self.steps:
            found = step.arranged(slate.taken(order), k)
            pinned = np.concatenate([pinned, order[found.pinned]])
            sponsored = np.concatenate([sponsored, order[found.sponsored]])
            order = order[found.order]
        return Arranged(np.concatenate([order, behind]), pinned, sponsored)

    def brings(self, reason: Brought) -> Sequence[str]:
        return tuple(
            dict.fromkeys(article for step in self.steps for article in step.brings(reason))
        )

    def left_out(self, slate: Slate) -> np.ndarray:
        found = super().left_out(slate)
        for step in self.steps:
            found |= step.left_out(slate)
        return found

    def named(self) -> list[str]:
        return [article for step in self.steps for article in step.named()]

    def settings(self) -> dict[str, Any]:
        return {"steps": [[step.name, step.settings()] for step in self.steps]}


def rerank(
    rows: SameTable,
    reranker: Reranker,
    facts: ArticleFacts,
    moment: datetime,
    k: int,
    *,
    state: Table | None = None,
    out_of_stock: Collection[str] = (),
    sponsored: Sequence[str] = (),
    most: int | None = None,
    with_rest: bool = False,
) -> SameTable:
    """Each customer's k first candidates after re-ranking.

    Args:
        rows: customer_id, article_id, rank (from 1), perhaps chance, and any others, which are kept.
        state: `customer_state` of these customers; without it nothing counts as bought.
        most: of each customer, as in `Chain`.
        with_rest: also what stands behind the first k.

    Returns:
        such rows in order of customer_id and the new rank, with `rank_before`, and `on_slot`: whether the
        place is a sponsored one.
    """
    chain = Chain(reranker.steps if isinstance(reranker, Chain) else [reranker], most)
    purchases = {} if state is None else bought_by(state, moment)
    # Customers are sorted as `top` sorts them.
    one = coded(rows, "customer_id")
    if one is not None and one.is_one:
        customer, names = one.codes, list(one.names[:1])
    else:
        customer, distinct = pd.factorize(rows["customer_id"], sort=True)
        names = list(distinct)
    article = coded(rows, "article_id")
    sorted_rows = np.lexsort((np.asarray(rows["rank"]), customer))
    starts = np.searchsorted(customer[sorted_rows], np.arange(len(names) + 1))
    ids = objects(rows, "article_id")
    chances = np.asarray(rows[CHANCE], dtype="float64") if CHANCE in rows else None
    chosen, ranks, paid = [NOWHERE], [NOWHERE], [NOWHERE]
    for number, name in enumerate(names):
        own = sorted_rows[starts[number] : starts[number + 1]]
        slate = Slate.of(
            ids[own],
            facts,
            moment,
            chance=None if chances is None else chances[own],
            bought=purchases.get(name, NOTHING),
            out_of_stock=out_of_stock,
            sponsored=sponsored,
            article=_places(article, own, facts),
        )
        arranged = chain.arranged(slate, k)
        page = own[arranged.order if with_rest else arranged.order[:k]]
        chosen.append(page)
        paid.append(own[arranged.sponsored])
        ranks.append(np.arange(1, len(page) + 1))
    places = np.concatenate(chosen)
    found = taken(rows, places)
    return found.assign(
        **{
            RANK_BEFORE: np.asarray(found["rank"]),
            "rank": np.concatenate(ranks),
            ON_SLOT: np.isin(places, np.concatenate(paid)),
        }
    )


def _places(article: Coded | None, rows: np.ndarray, facts: ArticleFacts) -> np.ndarray | None:
    """Where articles stand in the assortment, if their names are numbered as there."""
    if article is None or article.names is not facts.assortment.names:
        return None
    return article.codes[rows]


def bought_by(state: Table, moment: datetime) -> dict[str, Bought]:
    """{customer_id: what they bought} of those who did, also in their session.

    Args:
        state: rows of `customer_state`.
        moment: from when days are counted back (UTC).
    """
    rows = recent_lists(state)
    session = session_lists(state) if "customer_session__session_kinds" in state else None
    customer, ids, times = (rows[name] for name in ("customer", "article_id", "times"))
    age = (days_since_epoch(moment) - rows["day"].astype("float64")).clip(min=0)
    found = {}
    edges = np.searchsorted(customer, np.arange(len(state) + 1))
    for number, name in enumerate(state["customer_id"]):
        own = slice(edges[number], edges[number + 1])
        if own.start < own.stop:
            found[name] = Bought(ids[own], age[own], times[own].astype("float64"))
    if session is None or not (now := session["kind"] == PURCHASE).any():
        return found
    names = objects(state, "customer_id")
    seconds = moment.astimezone(UTC).timestamp()
    for number, article, at in zip(
        *(session[column][now] for column in ("customer", "article_id", "moment")), strict=True
    ):
        days = max(seconds - float(at) / 1e6, 0.0) / 86_400
        before = found.get(names[number], NOTHING)
        known = before.ids == article
        if not known.any():
            found[names[number]] = Bought(
                np.append(before.ids, article),
                np.append(before.age, days),
                np.append(before.times, 1.0),
            )
        elif before.age[known].item() > days:
            found[names[number]] = before._replace(age=np.where(known, days, before.age))
    return found


def by_rank(size: int) -> np.ndarray:
    """1 / log2(rank + 1) of ranks from 1: what a place is worth, as DCG has it (Järvelin and Kekäläinen,
    TOIS 2002), also how much each is looked at."""
    return np.asarray(1 / np.log2(np.arange(2, size + 2)))


def _sloping(chances: np.ndarray) -> np.ndarray:
    """From the highest chance to the lowest (C,), without steps.

    The order is the ranker's, so chances of another objective may not undo it. A calibration has steps, on
    which the ranker's order still tells which is likelier: between the middles of two steps the
    logarithm falls evenly.
    """
    falling = np.sort(chances.clip(LEAST, 1.0))[::-1]
    starts = np.flatnonzero(np.append(True, falling[1:] != falling[:-1])[: len(falling)])
    if len(starts) == len(falling):
        return falling.copy()
    middles = (starts + np.append(starts[1:], len(falling)) - 1) / 2
    return np.asarray(np.exp(np.interp(np.arange(len(falling)), middles, np.log(falling[starts]))))


def page_then_rest(page: np.ndarray, size: int) -> np.ndarray:
    """The positions of the page, then all others in their order (`size` in all)."""
    rest = np.ones(size, dtype=bool)
    rest[page] = False
    return np.concatenate([page, np.flatnonzero(rest)])


def require_share(name: str, strength: float) -> float:
    """
    Raises:
        RerankerError: it does not lie between 0 and 1.
    """
    if not 0 <= strength <= 1:
        raise RerankerError(f"The strength of {name} is {strength}: give one from 0 to 1.")
    return float(strength)


def require_positive(name: str, what: str, value: float, *, zero: bool = True) -> float:
    """
    Raises:
        RerankerError: it is negative, no number, or 0 where it may not be.
    """
    if not (0 <= value < float("inf")) or (value == 0 and not zero):
        least = "0 or more" if zero else "more than 0"
        raise RerankerError(f"The {what} of {name} is {value}: give {least}.")
    return float(value)
